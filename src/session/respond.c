/* SPDX-License-Identifier: MIT */
/*
 * What a connection makes of responses: see conn.h. All are noted here before
 * the handler sees them.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/internal.h"

#define SKIPPED_MAX     3u /* responses in a row that make no sense; then nothing does */
#define THROTTLE_MIN_MS 50u
#define THROTTLE_MAX_MS 16000u
#define CODE_ARGS_MAX   65536u

static void
note_code(struct conn *conn, const struct imap_response *response)
{
	struct imap_caps caps;
	if (imap_caps_decode(response, &caps))
		conn_set_caps(conn, &caps);
	mailbox_note_code(conn, response);
	bool safe = stream_tls(conn->stream) != NULL || conn->config->tls == CONN_TLS_OFF;
	if (imap_response_code(response) == IMAP_CODE_ALERT && safe)
		log_warn("%s says: %s", conn->config->host, response->text);
}

/* Some servers put the refusal of a login into their goodbye. */
static bool
refuses_login(const struct conn *conn, enum imap_code code, const char *text)
{
	static const char *const words[] = { "authentic", "password", "credential", "login fail" };
	if (!conn->secret)
		return false;
	bool found = imap_code_fault(IMAP_STATUS_NO, code) == FAULT_AUTH;
	char *lower = g_ascii_strdown(text, -1);
	for (size_t i = 0; i < G_N_ELEMENTS(words) && !found; i++)
		found = strstr(lower, words[i]) != NULL;
	g_free(lower);
	return found;
}

static bool
take_bye(struct conn *conn, const struct imap_response *response)
{
	enum imap_code code = imap_response_code(response);
	enum fault_kind kind = FAULT_UNREACHABLE;
	if (conn->leaving)
		return true;
	if (conn->pool != NULL)
		pool_hint(conn->pool, clock_boot_ns(), response->text);
	if (!conn->greeted)
		return conn_fail_with(conn, FAULT_BUSY, "%s refuses the connection: %s",
		                      conn->config->host, response->text);
	if (auth_refusal_is_busy(code, response->text))
		kind = FAULT_BUSY;
	else if (refuses_login(conn, code, response->text))
		kind = FAULT_AUTH;
	return conn_fail_with(conn, kind, "%s ended the connection: %s", conn->config->host,
	                      response->text);
}

static bool
take_greeting(struct conn *conn, const struct imap_response *response)
{
	if (response->kind == IMAP_KIND_UNTAGGED && response->status == IMAP_STATUS_BYE)
		return take_bye(conn, response);
	conn->greeted = true;
	if (response->kind != IMAP_KIND_UNTAGGED)
		return true; /* read_greeting() finds out that there was none */
	if (response->status == IMAP_STATUS_OK)
		conn->greeting = GREETING_OK;
	else if (response->status == IMAP_STATUS_PREAUTH)
		conn->greeting = GREETING_PREAUTH;
	note_code(conn, response);
	return true;
}

static void
keep_copyuid(struct conn_copyuid *copyuid, const struct imap_response *response)
{
	struct imap_copyuid decoded;
	if (!imap_copyuid_decode(response, &decoded) || decoded.count == 0)
		return;
	g_free(copyuid->source);
	g_free(copyuid->dest);
	copyuid->uidvalidity = decoded.uidvalidity;
	copyuid->count = decoded.count;
	copyuid->source = g_memdup2(decoded.source, decoded.count * sizeof *decoded.source);
	copyuid->dest = g_memdup2(decoded.dest, decoded.count * sizeof *decoded.dest);
}

static void
keep_limit(struct conn_reply *reply, const struct imap_response *response)
{
	reply->limited |= imap_messagelimit_decode(response, &reply->limit_uid);
}

/* A code that may stand before the tagged response: COPYUID of a MOVE, MESSAGELIMIT where that has
 * another code. */
static void
keep_untagged_code(struct conn *conn, const struct imap_response *response)
{
	for (guint i = 0; i < conn->pending->len; i++) {
		struct pending *pending = g_ptr_array_index(conn->pending, i);
		if (!pending->done) {
			keep_copyuid(&pending->reply.copyuid, response);
			keep_limit(&pending->reply, response);
			return;
		}
	}
}

static bool
take_untagged(struct conn *conn, const struct imap_response *response)
{
	struct imap_caps caps;
	bool late = mailbox_is_late(conn, response);
	conn->heard++;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_CAPABILITY:
		if (imap_caps_decode(response, &caps))
			conn_set_caps(conn, &caps);
		break;
	case IMAP_TYPE_ENABLED:
		if (imap_enabled_decode(response, &caps))
			conn->enabled.bits |= caps.bits;
		break;
	case IMAP_TYPE_STATE:
		if (response->status == IMAP_STATUS_BYE && !take_bye(conn, response))
			return false;
		note_code(conn, response);
		keep_untagged_code(conn, response);
		if (imap_response_code(response) == IMAP_CODE_NOTIFICATIONOVERFLOW)
			conn->notified = false;
		break;
	default:
		mailbox_note(conn, response);
		break;
	}
	if (conn->handler.untagged != NULL && !late)
		conn->handler.untagged(conn->handler.ctx, response);
	return true;
}

static void
add_words(GString *words, const struct imap_arg *args, unsigned count, unsigned depth)
{
	for (unsigned i = 0; i < count && words->len < CODE_ARGS_MAX; i++) {
		const struct imap_arg *arg = &args[i];
		if (arg->type == IMAP_ARG_LIST && depth > 0) {
			add_words(words, arg->items, arg->count, depth - 1);
			continue;
		}
		g_string_append(words, words->len > 0 ? " " : "");
		g_string_append_len(words, arg->str, (gssize)MIN(arg->len, CODE_ARGS_MAX));
	}
}

/* The arguments of a code as words, those of a list among them. */
static char *
code_words(const struct imap_response *response)
{
	GString *words = g_string_new(NULL);
	add_words(words, response->code_args, response->code_count, 1);
	return g_string_free(words, FALSE);
}

static void
keep_reply(struct conn_reply *reply, const struct imap_response *response)
{
	reply->status = response->status;
	reply->code = imap_response_code(response);
	g_strlcpy(reply->text, response->text, sizeof reply->text);
	if (response->code_count > 0)
		reply->code_args = code_words(response);
	reply->has_number = imap_code_number(response, &reply->number);
	reply->has_appenduid = imap_appenduid_decode(response, &reply->append_uidvalidity,
	                                             &reply->append_uid);
	if (reply->code == IMAP_CODE_COPYUID)
		keep_copyuid(&reply->copyuid, response);
	keep_limit(reply, response);
}

/* What a server asks of those who ask too much, of all commands alike. */
static void
note_throttling(struct conn *conn, const struct imap_response *response)
{
	unsigned ms = conn->throttle_ms;
	if (imap_response_code(response) == IMAP_CODE_THROTTLED)
		ms = CLAMP(ms * 2, THROTTLE_MIN_MS, THROTTLE_MAX_MS);
	else
		ms = ms * 3 / 4 < THROTTLE_MIN_MS ? 0 : ms * 3 / 4;
	conn->throttle_ms = ms;
	if (response->status != IMAP_STATUS_OK && conn->pool != NULL)
		pool_hint(conn->pool, clock_boot_ns(), response->text);
}

static bool
take_tagged(struct conn *conn, const struct imap_response *response)
{
	struct pending *pending = NULL;
	if (g_ascii_tolower(response->tag[0]) == 'a' && g_ascii_isdigit(response->tag[1])) {
		char *end;
		guint64 tag = g_ascii_strtoull(response->tag + 1, &end, 10);
		if (*end == '\0' && tag <= UINT32_MAX)
			pending = conn_pending(conn, (uint32_t)tag);
	}
	if (pending == NULL || pending->done)
		return conn_fail_with(conn, FAULT_PROTOCOL,
				      "an answer to no command of ours: %s %s %s", response->tag,
				      response->name, response->text);
	note_code(conn, response);
	note_throttling(conn, response);
	keep_reply(&pending->reply, response);
	pending->done = true;
	conn->outstanding--;
	/* Outlook.com logs in accounts that then can do nothing. */
	if (response->status != IMAP_STATUS_OK &&
	    strstr(response->text, "authenticated but not connected") != NULL)
		return conn_fail_with(conn, FAULT_BUSY,
				      "the server does nothing after the login: %s",
				      response->text);
	return true;
}

bool
conn_take_response(struct conn *conn, const struct imap_response *response)
{
	conn->skipped = 0;
	if (!conn->greeted)
		return take_greeting(conn, response);
	switch (response->kind) {
	case IMAP_KIND_TAGGED:
		return take_tagged(conn, response);
	case IMAP_KIND_UNTAGGED:
		return take_untagged(conn, response);
	case IMAP_KIND_CONTINUE:
		conn->continued = true;
		g_string_truncate(conn->continue_text, 0);
		g_string_append_len(conn->continue_text, response->text,
				    (gssize)response->text_len);
		return true;
	}
	return true;
}

bool
conn_take_skipped(struct conn *conn, const char *error)
{
	log_debug("[%u] a response is not understood: %s", conn->number, error);
	if (!conn->greeted) {
		conn->greeted = true;
		return true;
	}
	if (conn->handler.skipped != NULL)
		conn->handler.skipped(conn->handler.ctx, error);
	if (++conn->skipped >= SKIPPED_MAX)
		return conn_fail_with(conn, FAULT_PROTOCOL,
				      "what the server sends makes no sense: %s", error);
	return true;
}

/* --- replies --------------------------------------------------------------------------- */

void
conn_reply_clear(struct conn_reply *reply)
{
	g_free(reply->code_args);
	g_free(reply->copyuid.source);
	g_free(reply->copyuid.dest);
	*reply = (struct conn_reply){0};
}

bool
conn_reply_fault(const struct conn_reply *reply, struct fault *fault, const char *what, ...)
{
	if (reply->status == IMAP_STATUS_OK)
		return true;
	char text[FAULT_TEXT_MAX];
	va_list args;
	va_start(args, what);
	vsnprintf(text, sizeof text, what, args);
	va_end(args);
	const char *code = imap_code_name(reply->code);
	return fault_set(fault, imap_code_fault(reply->status, reply->code), "%s: %s %s%s%s%s",
			 text, reply->status == IMAP_STATUS_NO ? "NO" : "BAD",
			 code[0] != '\0' ? "[" : "", code, code[0] != '\0' ? "] " : "",
			 reply->text);
}
