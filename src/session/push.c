/* SPDX-License-Identifier: MIT */
/*
 * Listening to what the server says unasked, by IDLE (RFC 2177) or NOTIFY
 * (RFC 5465): see conn.h.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/internal.h"

/* From IDLE to its `+`; most servers need milliseconds, those that need longer never send it. */
#define IDLE_START_S 15

/* --- IDLE ------------------------------------------------------------------------------ */

/* The `+` has not come. That may be a sleep of this machine, or the line: so it is banned when that
 * happens again on a connection that was opened after that. */
static bool
idle_timed_out(struct conn *conn, int64_t slept_ns, struct fault *fault)
{
	bool slept = clock_slept_ns() - slept_ns > CLOCK_SEC;
	if (conn->fault.kind == FAULT_TIMEOUT && !slept &&
	    pool_doubt(conn->pool, IMAP_CAP_IDLE, clock_boot_ns(), conn->opened_ns)) {
		log_debug("[%u] IDLE is offered and does not work", conn->number);
		conn_ban(conn, IMAP_CAP_IDLE);
	}
	return conn_failed(conn, fault);
}

/* The server answered instead of waiting. */
static bool
idle_refused(struct conn *conn, uint32_t tag, struct fault *fault)
{
	struct conn_reply reply = {0};
	if (!conn_wait(conn, tag, &reply, fault))
		return false;
	if (reply.status == IMAP_STATUS_BAD)
		conn_ban(conn, IMAP_CAP_IDLE);
	if (conn_reply_fault(&reply, fault, "IDLE"))
		fault_set(fault, FAULT_REFUSED, "IDLE ended at once: %s", reply.text);
	conn_reply_clear(&reply);
	return false;
}

bool
conn_idle(struct conn *conn, struct fault *fault)
{
	if (!conn_drain(conn))
		return conn_failed(conn, fault);
	int64_t slept_ns = clock_slept_ns();
	conn->continued = false;
	uint32_t tag = conn_send(conn, conn_command(conn, "IDLE"));
	stream_set_end(conn->stream, clock_boot_ns() + IDLE_START_S * CLOCK_SEC);
	conn_flush(conn);
	const struct pending *pending = conn_pending(conn, tag);
	while (!conn->continued && !pending->done && conn->alive)
		conn_read(conn);
	stream_set_end(conn->stream, 0);
	conn->idle_tag = tag;
	if (conn->continued && conn->alive) {
		pool_trust(conn->pool, IMAP_CAP_IDLE);
		return true;
	}
	conn->idle_tag = 0;
	return conn->alive ? idle_refused(conn, tag, fault)
	                   : idle_timed_out(conn, slept_ns, fault);
}

bool
conn_idle_end(struct conn *conn, struct fault *fault)
{
	uint32_t tag = conn->idle_tag;
	g_assert(tag != 0);
	if (!conn_pending(conn, tag)->done && conn->alive)
		conn_answer(conn, "DONE");
	conn->idle_tag = 0;
	return conn_wait(conn, tag, NULL, fault);
}

/* --- NOTIFY ---------------------------------------------------------------------------- */

/* In the order of enum conn_event. */
static const char *const event_names[] = { "MessageNew MessageExpunge", "FlagChange",
	                                   "MailboxName", "SubscriptionChange" };

static uint32_t
send_notify(struct conn *conn, unsigned events)
{
	struct imap_command *command = conn_command(conn, "NOTIFY");
	imap_command_raw(command, "SET STATUS");
	imap_command_open(command);
	imap_command_raw(command, "personal");
	imap_command_open(command);
	for (unsigned i = 0; i < G_N_ELEMENTS(event_names); i++)
		if ((events >> i & 1) != 0)
			imap_command_raw(command, event_names[i]);
	imap_command_close(command);
	imap_command_close(command);
	return conn_send(conn, command);
}

/* The events that BADEVENT names. */
static unsigned
events_named(const char *words)
{
	unsigned named = 0;
	char **each = g_strsplit(words != NULL ? words : "", " ", -1);
	for (char **word = each; *word != NULL; word++)
		for (unsigned i = 0; i < G_N_ELEMENTS(event_names); i++) {
			size_t len = strcspn(event_names[i], " ");
			if (strlen(*word) == len &&
			    g_ascii_strncasecmp(event_names[i], *word, len) == 0)
				named |= 1u << i;
		}
	g_strfreev(each);
	return named;
}

/* RFC 5465 has BADEVENT list what the server can do; Dovecot lists what it can't. */
static unsigned
events_left(unsigned events, const struct conn_reply *reply)
{
	if (reply->status != IMAP_STATUS_NO || reply->code != IMAP_CODE_BADEVENT)
		return 0;
	unsigned named = events_named(reply->code_args);
	return (named & CONN_EVENT_MESSAGES) != 0 ? events & named : events & ~named;
}

/* Where CONDSTORE isn't enabled, changes of flags are not told (RFC 5465 section 5.1). */
static bool
enable_modseq(struct conn *conn)
{
	if (!conn_has(conn, IMAP_CAP_CONDSTORE) || conn_enabled(conn, IMAP_CAP_CONDSTORE) ||
	    conn_enabled(conn, IMAP_CAP_QRESYNC))
		return true;
	if (conn_has(conn, IMAP_CAP_ENABLE))
		return conn_run(conn, conn_command(conn, "ENABLE CONDSTORE"), NULL, NULL);
	struct imap_command *command = conn_command(conn, "STATUS");
	imap_command_mailbox(command, "INBOX", strlen("INBOX"));
	imap_command_raw(command, "(HIGHESTMODSEQ)");
	return conn_run(conn, command, NULL, NULL);
}

bool
conn_notify(struct conn *conn, unsigned *events_r, struct fault *fault)
{
	unsigned events = CONN_EVENT_ALL;
	struct conn_reply reply = {0};
	if (!enable_modseq(conn))
		return conn_failed(conn, fault);
	for (;;) {
		conn->notified = true; /* before, since it may be taken back in the same breath */
		if (!conn_wait(conn, send_notify(conn, events), &reply, fault))
			return false;
		if (reply.status == IMAP_STATUS_OK)
			break;
		conn->notified = false;
		unsigned left = events_left(events, &reply);
		if ((left & CONN_EVENT_MESSAGES) == 0 || left == events) {
			conn_reply_fault(&reply, fault, "NOTIFY");
			conn_ban(conn, IMAP_CAP_NOTIFY);
			break;
		}
		events = left;
	}
	bool ok = reply.status == IMAP_STATUS_OK;
	if (ok && !conn->notified)
		ok = fault_set(fault, FAULT_REFUSED, "NOTIFY is too much for the server");
	if (ok)
		*events_r = events;
	conn_reply_clear(&reply);
	return ok;
}

/* --- listening ------------------------------------------------------------------------- */

static bool
listening(struct conn *conn)
{
	return conn->idle_tag != 0 ? !conn_pending(conn, conn->idle_tag)->done : conn->notified;
}

bool
conn_listen(struct conn *conn, int64_t until_ns, enum conn_heard *heard_r, struct fault *fault)
{
	unsigned before = conn->heard;
	for (;;) {
		enum stream_event event;
		struct fault broken;
		if (!conn_poll(conn))
			return conn_failed(conn, fault);
		if (conn->heard != before || !listening(conn)) {
			*heard_r = listening(conn) ? CONN_HEARD_NEWS : CONN_HEARD_END;
			return true;
		}
		conn_release_input(conn);
		if (!stream_listen(conn->stream, until_ns, &event, &broken)) {
			conn_fail(conn, &broken);
			return conn_failed(conn, fault);
		}
		if (event != STREAM_READABLE) {
			*heard_r = event == STREAM_WOKEN ? CONN_HEARD_WAKE : CONN_HEARD_NOTHING;
			return true;
		}
	}
}

void
conn_wake(struct conn *conn)
{
	stream_wake(conn->stream);
}
