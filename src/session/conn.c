/* SPDX-License-Identifier: MIT */
/*
 * A connection's reading and writing: see conn.h. Opening one is in login.c,
 * what responses mean in respond.c, the selected mailbox in mailbox.c, listening in push.c.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/internal.h"

#define LOGOUT_S 5u

/* --- life ------------------------------------------------------------------------------ */

static void
pending_free(gpointer data)
{
	struct pending *pending = data;
	conn_reply_clear(&pending->reply);
	g_free(pending);
}

struct conn *
conn_new(const struct conn_config *config, struct pool *pool, unsigned number,
         struct stream *stream)
{
	struct conn *conn = g_new0(struct conn, 1);
	conn->config = config;
	conn->pool = pool;
	conn->number = number;
	conn->opened_ns = clock_boot_ns();
	conn->alive = true;
	conn->stream = stream;
	conn->parser = imap_parser_new();
	conn->hungry = true;
	conn->pending = g_ptr_array_new_with_free_func(pending_free);
	conn->continue_text = g_string_new(NULL);
	return conn;
}

void
conn_free(struct conn **conn)
{
	struct conn *old = *conn;
	if (old == NULL)
		return;
	stream_free(&old->stream);
	imap_parser_free(&old->parser);
	g_ptr_array_free(old->pending, TRUE);
	g_string_free(old->continue_text, TRUE);
	g_free(old->mailbox_name);
	g_free(old);
	*conn = NULL;
}

void
conn_logout(struct conn *conn)
{
	if (!conn->alive || conn->outstanding > 0)
		return;
	conn->leaving = true;
	conn_release_input(conn);
	stream_set_timeout(conn->stream, LOGOUT_S);
	stream_set_end(conn->stream, clock_boot_ns() + LOGOUT_S * CLOCK_SEC);
	if (conn_run(conn, conn_command(conn, "LOGOUT"), NULL, NULL)) {
		conn_release_input(conn);
		stream_goodbye(conn->stream);
	}
	conn_fail_with(conn, FAULT_UNREACHABLE, "logged out");
}

void
conn_cancel(struct conn *conn)
{
	stream_cancel(conn->stream);
}

int64_t
conn_progress_ns(const struct conn *conn)
{
	return stream_progress_ns(conn->stream);
}

void
conn_touch(struct conn *conn)
{
	stream_touch(conn->stream);
}

void
conn_octets(const struct conn *conn, struct stream_octets *octets_r)
{
	stream_octets(conn->stream, octets_r);
}

bool
conn_alive(const struct conn *conn)
{
	return conn->alive;
}

bool
conn_fail(struct conn *conn, const struct fault *fault)
{
	if (!conn->alive)
		return false;
	conn->alive = false;
	conn->fault = *fault;
	if (strstr(fault->text, conn->config->host) == NULL)
		fault_prefix(&conn->fault, "%s", conn->config->host);
	if (stream_deflate_failed(conn->stream) && conn->pool != NULL)
		pool_ban(conn->pool, IMAP_CAP_COMPRESS_DEFLATE);
	return false;
}

bool
conn_fail_with(struct conn *conn, enum fault_kind kind, const char *fmt, ...)
{
	char text[FAULT_TEXT_MAX];
	struct fault fault;
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	fault_set(&fault, kind, "%s", text);
	return conn_fail(conn, &fault);
}

bool
conn_failed(const struct conn *conn, struct fault *fault)
{
	return fault_set(fault, conn->fault.kind, "%s", conn->fault.text);
}

/* --- capabilities ---------------------------------------------------------------------- */

bool
conn_has(const struct conn *conn, enum imap_cap cap)
{
	return imap_caps_has(&conn->caps, cap);
}

bool
conn_enabled(const struct conn *conn, enum imap_cap cap)
{
	return imap_caps_has(&conn->enabled, cap);
}

void
conn_ban(struct conn *conn, enum imap_cap cap)
{
	imap_caps_remove(&conn->caps, imap_cap_name(cap));
	if (conn->pool != NULL)
		pool_ban(conn->pool, cap);
}

void
conn_forget_caps(struct conn *conn)
{
	conn->caps_known = false;
	conn->caps = (struct imap_caps){0};
}

void
conn_set_caps(struct conn *conn, const struct imap_caps *caps)
{
	const char *const *without = conn->config->without;
	conn->caps_known = true;
	conn->caps = *caps;
	for (; without != NULL && *without != NULL; without++)
		if (g_ascii_strcasecmp(*without, "LOGINDISABLED") != 0)
			imap_caps_remove(&conn->caps, *without);
	for (int cap = 0; cap < IMAP_CAP_COUNT && conn->pool != NULL; cap++)
		if (pool_banned(conn->pool, (enum imap_cap)cap))
			imap_caps_remove(&conn->caps, imap_cap_name((enum imap_cap)cap));
}

void
conn_set_handler(struct conn *conn, const struct conn_handler *handler)
{
	conn->handler = handler != NULL ? *handler : (struct conn_handler){0};
}

/* --- reading --------------------------------------------------------------------------- */

void
conn_release_input(struct conn *conn)
{
	if (conn->input_used > 0)
		stream_consume(conn->stream, conn->input_used);
	conn->input = NULL;
	conn->input_len = conn->input_used = 0;
}

static void
trace_input(struct conn *conn, const char *data, size_t len)
{
	const char *line;
	size_t used;
	while (trace_feed(&conn->trace, data, len, &used, &line)) {
		bool mask = conn->secret && line[0] == '+';
		log_debug("[%u] < %s", conn->number, mask ? "+ ***" : line);
		data += used;
		len -= used;
	}
}

static void
take_literal(struct conn *conn, enum imap_parse event)
{
	const struct conn_handler *handler = &conn->handler;
	if (event == IMAP_PARSE_LITERAL_BEGIN) {
		const struct imap_literal *literal = imap_parser_literal(conn->parser);
		conn->streaming = handler->literal_begin != NULL &&
		                  handler->literal_begin(handler->ctx,
		                                         imap_parser_response(conn->parser),
		                                         literal->item, literal->size);
		return;
	}
	if (!conn->streaming)
		return;
	if (event == IMAP_PARSE_LITERAL_DATA && handler->literal_data != NULL) {
		size_t len;
		const char *data = imap_parser_data(conn->parser, &len);
		handler->literal_data(handler->ctx, data, len);
	} else if (event == IMAP_PARSE_LITERAL_END) {
		conn->streaming = false;
		if (handler->literal_end != NULL)
			handler->literal_end(handler->ctx);
	}
}

/* Feeds the parser up to its next event, and acts on that. */
static bool
feed(struct conn *conn, enum imap_parse *event_r)
{
	const char *data = conn->input != NULL ? conn->input + conn->input_used : "";
	size_t used = 0;
	*event_r = imap_parser_feed(conn->parser, data, conn->input_len - conn->input_used, &used);
	conn->input_used += used;
	conn->hungry = *event_r == IMAP_PARSE_MORE;
	if (conn->config->trace && log_debugging())
		trace_input(conn, data, used);
	switch (*event_r) {
	case IMAP_PARSE_MORE:
		return true;
	case IMAP_PARSE_RESPONSE:
		return conn_take_response(conn, imap_parser_response(conn->parser));
	case IMAP_PARSE_SKIPPED:
		return conn_take_skipped(conn, imap_parser_error(conn->parser));
	case IMAP_PARSE_FATAL:
		return conn_fail_with(conn, FAULT_PROTOCOL, "out of step with the server: %s",
		                      imap_parser_error(conn->parser));
	default:
		take_literal(conn, *event_r);
		return true;
	}
}

/* Up to the end of one response. *more_r false: nothing more is there, and `wait` was not asked. */
static bool
step(struct conn *conn, bool wait, bool *more_r)
{
	enum imap_parse event;
	struct fault fault;
	*more_r = true;
	if (!conn->alive)
		return false;
	do {
		if (conn->hungry && conn->input_used == conn->input_len) {
			conn_release_input(conn);
			bool ok = wait ? stream_fill(conn->stream, &conn->input, &conn->input_len,
						     &fault)
				       : stream_poll(conn->stream, &conn->input, &conn->input_len,
						     &fault);
			if (!ok) {
				conn->input_len = 0;
				return conn_fail(conn, &fault);
			}
			*more_r = conn->input_len > 0;
			if (!*more_r)
				return true;
		}
		if (!feed(conn, &event))
			return false;
	} while (event != IMAP_PARSE_RESPONSE && event != IMAP_PARSE_SKIPPED);
	return true;
}

bool
conn_read(struct conn *conn)
{
	bool more;
	return step(conn, true, &more);
}

bool
conn_poll(struct conn *conn)
{
	bool more = true;
	while (more)
		if (!step(conn, false, &more))
			return false;
	return true;
}

bool
conn_drain(struct conn *conn)
{
	conn_flush(conn);
	while (conn->alive && conn->outstanding > 0)
		conn_read(conn);
	return conn->alive;
}

/* --- writing --------------------------------------------------------------------------- */

/* A server that has said goodbye and closed is found out by writing; what it said is read yet. */
static bool
write_failed(struct conn *conn, const struct fault *fault)
{
	while (fault->kind == FAULT_UNREACHABLE && conn->alive)
		conn_read(conn);
	return conn_fail(conn, fault);
}

void
conn_flush(struct conn *conn)
{
	struct fault fault;
	if (!conn->alive)
		return;
	conn_release_input(conn);
	if (!stream_flush(conn->stream, &fault))
		write_failed(conn, &fault);
}

static bool
write_octets(struct conn *conn, const char *data, size_t len)
{
	struct fault fault;
	if (!conn->alive)
		return false;
	conn_release_input(conn);
	return stream_write(conn->stream, data, len, &fault) || write_failed(conn, &fault);
}

bool
conn_answer(struct conn *conn, const char *line)
{
	if (conn->config->trace)
		log_debug("[%u] > %s", conn->number, conn->secret ? "***" : line);
	if (!write_octets(conn, line, strlen(line)) || !write_octets(conn, "\r\n", 2))
		return false;
	conn_flush(conn);
	return conn->alive;
}

/* Waits for the `+` of a literal. False: the command was answered instead, or the line is lost. */
static bool
wait_continue(struct conn *conn, const struct pending *pending)
{
	conn->continued = false;
	conn_flush(conn);
	while (!conn->continued && !pending->done && conn->alive)
		conn_read(conn);
	bool go_on = conn->alive && !pending->done;
	conn->continued = false;
	return go_on;
}

static void
send_pieces(struct conn *conn, const struct imap_command *command, const struct pending *pending)
{
	char tag[16];
	struct fault fault;
	if (conn->throttle_ms > 0) {
		conn_flush(conn);
		if (conn->alive && !stream_pause(conn->stream, conn->throttle_ms, &fault))
			conn_fail(conn, &fault);
	}
	if (conn->config->trace)
		log_debug("[%u] > a%u %s", conn->number, pending->tag, imap_command_trace(command));
	int tag_len = snprintf(tag, sizeof tag, "a%u ", pending->tag);
	if (!write_octets(conn, tag, (size_t)tag_len))
		return;
	for (unsigned i = 0; i < imap_command_pieces(command); i++) {
		size_t len;
		bool wait;
		const char *piece = imap_command_piece(command, i, &len, &wait);
		if (wait && !wait_continue(conn, pending))
			return;
		if (!write_octets(conn, piece, len))
			return;
	}
}

struct imap_command *
conn_command(const struct conn *conn, const char *verb)
{
	enum imap_literals literals = IMAP_LITERALS_SYNC;
	if (conn_has(conn, IMAP_CAP_LITERAL_PLUS))
		literals = IMAP_LITERALS_PLUS;
	else if (conn_has(conn, IMAP_CAP_LITERAL_MINUS))
		literals = IMAP_LITERALS_MINUS;
	return imap_command_new(verb, literals);
}

struct pending *
conn_pending(struct conn *conn, uint32_t tag)
{
	for (guint i = 0; i < conn->pending->len; i++) {
		struct pending *pending = g_ptr_array_index(conn->pending, i);
		if (pending->tag == tag)
			return pending;
	}
	return NULL;
}

uint32_t
conn_send(struct conn *conn, struct imap_command *command)
{
	struct pending *pending = g_new0(struct pending, 1);
	g_assert(conn->idle_tag == 0);
	if (++conn->last_tag == 0)
		conn->last_tag = 1;
	pending->tag = conn->last_tag;
	g_ptr_array_add(conn->pending, pending);
	if (imap_command_end(command, &pending->fault)) {
		fault_clear(&pending->fault);
		conn->outstanding++;
		send_pieces(conn, command, pending);
	} else {
		pending->done = true;
	}
	imap_command_free(&command);
	return pending->tag;
}

bool
conn_wait(struct conn *conn, uint32_t tag, struct conn_reply *reply_r, struct fault *fault)
{
	struct pending *pending = conn_pending(conn, tag);
	g_assert(pending != NULL);
	if (!pending->done)
		conn_flush(conn);
	while (!pending->done && conn->alive)
		conn_read(conn);
	bool ok = pending->done && pending->fault.kind == FAULT_NONE;
	if (!pending->done) {
		conn->outstanding--;
		conn_failed(conn, fault);
	} else if (!ok) {
		fault_set(fault, pending->fault.kind, "%s", pending->fault.text);
	} else if (reply_r != NULL) {
		conn_reply_clear(reply_r);
		*reply_r = pending->reply;
		pending->reply = (struct conn_reply){0};
	}
	g_ptr_array_remove(conn->pending, pending);
	return ok;
}

bool
conn_run(struct conn *conn, struct imap_command *command, struct conn_reply *reply_r,
         struct fault *fault)
{
	return conn_wait(conn, conn_send(conn, command), reply_r, fault);
}

unsigned
conn_outstanding(const struct conn *conn)
{
	return conn->outstanding;
}

bool
conn_noop(struct conn *conn, struct fault *fault)
{
	return conn_run(conn, conn_command(conn, "NOOP"), NULL, fault);
}

bool
conn_probe(struct conn *conn, unsigned seconds, struct fault *fault)
{
	stream_set_end(conn->stream, clock_boot_ns() + (int64_t)seconds * CLOCK_SEC);
	bool ok = conn_noop(conn, fault);
	stream_set_end(conn->stream, 0);
	return ok;
}
