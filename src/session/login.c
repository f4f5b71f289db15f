/* SPDX-License-Identifier: MIT */
/*
 * Opening a connection: greeting, TLS, login, and what is agreed on after it.
 *
 * Capabilities are forgotten at STARTTLS and when the login command goes out
 * (some servers tell the new ones before its OK), and asked for again unless
 * the server volunteered them. Whatever arrived in clear text behind the answer
 * to STARTTLS is an attack and ends the connection.
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "session/internal.h"

static bool
ask_caps(struct conn *conn)
{
	return conn->caps_known || conn_run(conn, conn_command(conn, "CAPABILITY"), NULL, NULL);
}

/* --- greeting and TLS ------------------------------------------------------------------ */

static bool
start_tls(struct conn *conn)
{
	const struct conn_config *config = conn->config;
	const struct tls_config files = { .cafile = config->cafile,
		                          .certfile = config->certfile,
		                          .keyfile = config->keyfile };
	struct fault fault;
	conn_release_input(conn);
	if (!stream_start_tls(conn->stream, &files, config->host, &fault))
		return conn_fail(conn, &fault);
	if (config->trace)
		log_debug("[%u] %s", conn->number, tls_describe(stream_tls(conn->stream)));
	return true;
}

static bool
read_greeting(struct conn *conn)
{
	const char *host = conn->config->host;
	unsigned port = conn->config->port;
	if (!conn_read(conn)) {
		if (conn->fault.kind == FAULT_TIMEOUT)
			fault_set(&conn->fault, FAULT_TIMEOUT,
				  "%s port %u sends no greeting (imaps:// is "
				  "for port 993, imap:// for port 143)",
				  host, port);
		return false;
	}
	if (conn->greeting == GREETING_NONE)
		return conn_fail_with(conn, FAULT_PROTOCOL, "%s port %u does not speak IMAP", host,
		                      port);
	return true;
}

static bool
refuse_cleartext(struct conn *conn, enum fault_kind kind, const char *why)
{
	return conn_fail_with(conn, kind,
			      "%s %s; no password was sent. Use imaps://%s if the server "
			      "has it",
			      conn->config->host, why, conn->config->host);
}

static bool
upgrade(struct conn *conn)
{
	struct conn_reply reply = {0};
	if (conn->greeting == GREETING_PREAUTH)
		return refuse_cleartext(conn, FAULT_TLS, "skips the login and so TLS (PREAUTH)");
	if (!ask_caps(conn))
		return false;
	if (!imap_caps_has(&conn->caps, IMAP_CAP_STARTTLS))
		return refuse_cleartext(conn, FAULT_UNSUPPORTED, "does not offer STARTTLS");
	/* An answer to STARTTLS that came before the command makes the connection fail here. */
	if (!conn_poll(conn))
		return false;
	if (!conn_run(conn, conn_command(conn, "STARTTLS"), &reply, NULL))
		return false;
	bool agreed = reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
	if (!agreed)
		return refuse_cleartext(conn, FAULT_UNSUPPORTED, "refuses STARTTLS");
	if (conn->input_used < conn->input_len || !imap_parser_idle(conn->parser))
		return refuse_cleartext(conn, FAULT_TLS,
		                        "or somebody in between slipped something in before TLS");
	imap_parser_reset(conn->parser);
	conn_forget_caps(conn);
	return start_tls(conn);
}

/* --- login ----------------------------------------------------------------------------- */

static bool
line_send(void *ctx, struct imap_command *command, struct fault *fault)
{
	struct conn *conn = ctx;
	conn_forget_caps(conn);
	conn->continued = false;
	conn->login_tag = conn_send(conn, command);
	conn_flush(conn);
	return conn->alive || conn_failed(conn, fault);
}

static bool
line_answer(void *ctx, const char *line, struct fault *fault)
{
	struct conn *conn = ctx;
	return conn_answer(conn, line) || conn_failed(conn, fault);
}

static bool
line_wait(void *ctx, struct auth_event *event_r, struct fault *fault)
{
	struct conn *conn = ctx;
	struct pending *pending = conn_pending(conn, conn->login_tag);
	while (!conn->continued && !pending->done)
		if (!conn_read(conn))
			return conn_failed(conn, fault);
	if (!pending->done) {
		conn->continued = false;
		event_r->kind = AUTH_EVENT_CONTINUE;
		g_strlcpy(event_r->text, conn->continue_text->str, sizeof event_r->text);
		return true;
	}
	struct conn_reply reply = {0};
	if (!conn_wait(conn, conn->login_tag, &reply, fault))
		return false;
	event_r->kind = AUTH_EVENT_DONE;
	event_r->status = reply.status;
	event_r->code = reply.code;
	g_strlcpy(event_r->text, reply.text, sizeof event_r->text);
	conn_reply_clear(&reply);
	return true;
}

/* Tells whether the secret was shown, so that a refused token is worth a new one. */
struct source {
	const struct auth_secret_source *real;
	bool used;
};

static bool
source_get(void *ctx, bool refresh, GString *secret_r, struct fault *fault)
{
	struct source *source = ctx;
	if (!source->real->get(source->real->ctx, refresh, secret_r, fault))
		return false;
	source->used = true;
	return true;
}

static bool
log_in(struct conn *conn, bool refresh, bool *refused_r, struct fault *fault)
{
	const struct conn_config *config = conn->config;
	const struct auth_line line = { conn, line_send, line_answer, line_wait };
	struct source source = { .real = &config->secret };
	const struct auth_secret_source secret = {
		.get = config->secret.get != NULL ? source_get : NULL,
		.ctx = &source,
		.is_token = config->secret.is_token,
	};
	const struct auth_request request = {
		.line = &line,
		.caps = &conn->caps,
		.user = config->user,
		.force = config->auth,
		.secret = &secret,
		.refresh = refresh,
		/* Without TLS only loopback has come so far. */
		.line_is_safe = true,
		.have_certificate = config->certfile != NULL && stream_tls(conn->stream) != NULL,
		.host = config->host,
		.port = config->port,
		.tls = stream_tls(conn->stream),
	};
	bool ir_broken = false;
	conn->secret = true;
	bool ok = auth_login(&request, &ir_broken, fault);
	conn->secret = false;
	if (ir_broken && conn->pool != NULL)
		pool_ban(conn->pool, IMAP_CAP_SASL_IR);
	*refused_r = !ok && source.used && fault->kind == FAULT_AUTH;
	if (!ok && conn->alive)
		conn_fail(conn, fault);
	return ok;
}

/* --- what is agreed on afterwards ------------------------------------------------------ */

static uint32_t
send_id(struct conn *conn)
{
	static const char *const fields[] = { "name", PACKAGE_NAME, "version", PACKAGE_VERSION };
	struct imap_command *command = conn_command(conn, "ID");
	imap_command_open(command);
	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
		imap_command_astring(command, fields[i], strlen(fields[i]));
	imap_command_close(command);
	return conn_send(conn, command);
}

/* 0: nothing to enable. */
static uint32_t
send_enable(struct conn *conn)
{
	struct imap_command *command = conn_command(conn, "ENABLE");
	bool any = false;
	const char *const *name = conn->config->enable;
	for (; name != NULL && *name != NULL; name++) {
		struct imap_caps one = {0};
		imap_caps_add(&one, *name);
		if ((one.bits & conn->caps.bits) == 0 || (one.bits & ~conn->caps.bits) != 0)
			continue;
		imap_command_raw(command, *name);
		any = true;
	}
	if (any)
		return conn_send(conn, command);
	imap_command_free(&command);
	return 0;
}

/* Refusals do no harm. COMPRESS comes last, since nothing may follow it before its answer. */
static bool
settle(struct conn *conn)
{
	uint32_t id = 0, enable = 0, compress = 0;
	struct conn_reply reply = {0};
	if (!ask_caps(conn))
		return false;
	if (conn_has(conn, IMAP_CAP_ID))
		id = send_id(conn);
	if (conn_has(conn, IMAP_CAP_ENABLE))
		enable = send_enable(conn);
	if (conn->config->compress && conn_has(conn, IMAP_CAP_COMPRESS_DEFLATE))
		compress = conn_send(conn, conn_command(conn, "COMPRESS DEFLATE"));
	if (id != 0 && !conn_wait(conn, id, NULL, NULL))
		return false;
	if (enable != 0 && !conn_wait(conn, enable, NULL, NULL))
		return false;
	if (compress == 0)
		return true;
	if (!conn_wait(conn, compress, &reply, NULL))
		return false;
	if (reply.status == IMAP_STATUS_OK) {
		conn_release_input(conn);
		stream_start_deflate(conn->stream);
	}
	conn_reply_clear(&reply);
	return true;
}

static bool
set_up(struct conn *conn, bool refresh, bool *refused_r)
{
	const struct conn_config *config = conn->config;
	struct fault fault;
	if (config->tls == CONN_TLS_OFF && !stream_is_loopback(conn->stream))
		return conn_fail_with(conn, FAULT_TLS,
				      "tls=off is for this machine alone, and %s is "
				      "another one",
				      config->host);
	if (config->tls == CONN_TLS_IMPLICIT && !start_tls(conn))
		return false;
	if (!read_greeting(conn) || (config->tls == CONN_TLS_STARTTLS && !upgrade(conn)))
		return false;
	if (!ask_caps(conn))
		return false;
	if (!imap_caps_has(&conn->caps, IMAP_CAP_IMAP4REV1) &&
	    !imap_caps_has(&conn->caps, IMAP_CAP_IMAP4REV2))
		return conn_fail_with(conn, FAULT_UNSUPPORTED, "%s does not speak IMAP4rev1",
		                      config->host);
	if (conn->greeting != GREETING_PREAUTH && !log_in(conn, refresh, refused_r, &fault))
		return false;
	return settle(conn);
}

static bool
open_once(const struct conn_config *config, struct pool *pool, unsigned number, bool refresh,
          bool *refused_r, struct conn **conn_r, struct fault *fault)
{
	struct stream *stream;
	unsigned timeout_s = config->timeout_s != 0 ? config->timeout_s : CONN_TIMEOUT_S;
	int cancel_fd = pool != NULL ? pool_cancel_fd(pool) : -1;
	*refused_r = false;
	if (!stream_connect(config->host, config->port, timeout_s, cancel_fd, &stream, fault))
		return false;
	struct conn *conn = conn_new(config, pool, number, stream);
	if (!set_up(conn, refresh, refused_r)) {
		conn_failed(conn, fault);
		conn_free(&conn);
		return false;
	}
	stream_set_cancel_fd(conn->stream, -1);
	*conn_r = conn;
	return true;
}

bool
conn_open(const struct conn_config *config, struct pool *pool, unsigned number,
          struct conn **conn_r, struct fault *fault)
{
	bool refused;
	if (open_once(config, pool, number, false, &refused, conn_r, fault))
		return true;
	if (!refused || !config->secret.is_token)
		return false;
	/* Tokens expire. On a connection of its own: some servers close after a refusal. */
	log_debug("[%u] the token was refused; asking for a new one", number);
	return open_once(config, pool, number, true, &refused, conn_r, fault);
}
