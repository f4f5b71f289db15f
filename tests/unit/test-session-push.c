/* SPDX-License-Identifier: MIT */
/* Tests of session/push.c: IDLE and NOTIFY against a scripted server. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "base/clock.h"

#include "dialogue.h"

#define LOGIN(caps)                                                                            \
	SEND("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello"),                          \
	EXPECT("AUTHENTICATE PLAIN *"), REPLY("OK [CAPABILITY IMAP4rev1 " caps "] in")
#define SELECTED                                                                               \
	EXPECT("EXAMINE \"INBOX\""), SEND("* 3 EXISTS"), SEND("* OK [UIDVALIDITY 7] ok"),      \
	SEND("* OK [UIDNEXT 10] ok"), REPLY("OK [READ-ONLY] done")
#define LOGOUT EXPECT("LOGOUT"), SEND("* BYE bye"), REPLY("OK")

/* A logged-in connection and all that it told its handler, a line each. */
struct fixture {
	struct peer *peer;
	struct pool *pool;
	struct dialogue_secret secret;
	struct conn_config config;
	struct conn *conn;
	GString *heard;
};

static void
note(void *ctx, const struct imap_response *response)
{
	GString *heard = ctx;
	struct imap_mailbox_status status;
	struct imap_list list;
	if (imap_status_decode(response, &status))
		g_string_append_printf(heard, "STATUS %s %u %u %u\n", status.name, status.messages,
		                       status.uidnext, (unsigned)status.highestmodseq);
	else if (imap_list_decode(response, &list))
		g_string_append_printf(heard, "LIST %s\n", list.name);
	else
		g_string_append_printf(heard, "%s %u\n", response->name, response->number);
}

static void
open_with(struct fixture *f, const struct turn *turns, unsigned timeout_s)
{
	struct fault fault;
	*f = (struct fixture){ .secret = { .secrets = { "secret" } } };
	f->peer = peer_new(dialogue_script, (void *)(uintptr_t)turns);
	f->pool = pool_new(4);
	f->config = dialogue_config(f->peer, &f->secret, false);
	f->config.timeout_s = timeout_s;
	f->heard = g_string_new(NULL);
	assert_true(conn_open(&f->config, f->pool, 1, &f->conn, &fault));
	const struct conn_handler handler = { .ctx = f->heard, .untagged = note };
	conn_set_handler(f->conn, &handler);
}

static void
close_all(struct fixture *f)
{
	if (conn_alive(f->conn))
		conn_logout(f->conn);
	conn_free(&f->conn);
	peer_finish(&f->peer);
	pool_free(&f->pool);
	g_string_free(f->heard, TRUE);
}

static void
select_inbox(struct fixture *f)
{
	assert_true(conn_select(f->conn, "INBOX", 5, true, NULL, NULL));
	g_string_truncate(f->heard, 0);
}

/* What is heard next, which must come within the peer's patience. */
static enum conn_heard
listen_next(struct fixture *f)
{
	enum conn_heard heard;
	assert_true(conn_listen(f->conn, clock_boot_ns() + PEER_WAIT_S * CLOCK_SEC, &heard, NULL));
	return heard;
}

/* Until so much was told to the handler. */
static void
listen_for(struct fixture *f, const char *wanted)
{
	while (strlen(f->heard->str) < strlen(wanted))
		assert_int_equal(listen_next(f), CONN_HEARD_NEWS);
	assert_string_equal(f->heard->str, wanted);
}

static bool
idle_works(struct fixture *f)
{
	return conn_has(f->conn, IMAP_CAP_IDLE) && !pool_banned(f->pool, IMAP_CAP_IDLE);
}

/* --- IDLE ------------------------------------------------------------------------------ */

static void
test_idle_hears(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("* OK still nothing"),
		SEND("+ idling"), SEND("* 4 EXISTS"), SEND("* 2 FETCH (FLAGS (\\Seen))"),
		LINE("DONE"), SEND("* 1 EXPUNGE"), REPLY("OK done"),
		EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	open_with(&f, turns, 5);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	listen_for(&f, "OK 0\nEXISTS 4\nFETCH 2\n");
	assert_int_equal(conn_selected(f.conn)->exists, 4);
	/* What comes between DONE and its OK is heard as well. */
	assert_true(conn_idle_end(f.conn, NULL));
	assert_string_equal(f.heard->str, "OK 0\nEXISTS 4\nFETCH 2\nEXPUNGE 1\n");
	assert_int_equal(conn_selected(f.conn)->exists, 3);
	assert_int_equal(conn_selected(f.conn)->expunges, 1);
	assert_true(conn_noop(f.conn, NULL));
	close_all(&f);
}

static void
test_idle_until(void **state)
{
	(void)state;
	static const struct turn turns[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"),
		                             LINE("DONE"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	enum conn_heard heard;
	open_with(&f, turns, 1);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	/* Longer than the timeout, which holds only where an answer is owed. */
	int64_t until = clock_boot_ns() + CLOCK_SEC * 3 / 2;
	assert_true(conn_listen(f.conn, until, &heard, NULL));
	assert_int_equal(heard, CONN_HEARD_NOTHING);
	assert_true(clock_boot_ns() >= until);
	assert_true(conn_idle_end(f.conn, NULL));
	close_all(&f);
}

static void
test_idle_never_begins(void **state)
{
	(void)state;
	static const struct turn turns[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"),
		                             SEND("* 4 EXISTS"), HANG, END };
	struct fixture f;
	struct fault fault;
	open_with(&f, turns, 1);
	select_inbox(&f);
	assert_false(conn_idle(f.conn, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	assert_false(conn_alive(f.conn));
	/* It may have been the line: not so if it happens again on the next connection. */
	assert_false(pool_banned(f.pool, IMAP_CAP_IDLE));
	assert_string_equal(f.heard->str, "EXISTS 4\n");
	assert_true(pool_doubt(f.pool, IMAP_CAP_IDLE, clock_boot_ns(), clock_boot_ns()));
	close_all(&f);
}

static void
test_idle_cut_before_it_begins(void **state)
{
	(void)state;
	static const struct turn turns[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"),
		                             SEND("* OK wait"), CUT, END };
	struct fixture f;
	struct fault fault;
	open_with(&f, turns, 5);
	select_inbox(&f);
	/* A cut line says nothing about IDLE. */
	assert_false(conn_idle(f.conn, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	assert_true(idle_works(&f));
	close_all(&f);
}

static void
test_idle_refused(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), REPLY("NO [UNAVAILABLE] not now"),
		EXPECT("IDLE"), REPLY("OK what?"), EXPECT("IDLE"), REPLY("BAD unknown"),
		EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	struct fault fault;
	open_with(&f, turns, 5);
	select_inbox(&f);
	assert_false(conn_idle(f.conn, &fault));
	assert_true(idle_works(&f));
	assert_false(conn_idle(f.conn, &fault));
	assert_true(idle_works(&f));
	assert_false(conn_idle(f.conn, &fault));
	assert_false(idle_works(&f));
	assert_true(conn_noop(f.conn, NULL));
	close_all(&f);
}

static void
test_idle_ended_by_server(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+ idling"), REPLY("OK enough"),
		EXPECT("IDLE"), SEND("+ idling"), LINE("DONE"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	open_with(&f, turns, 5);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	assert_int_equal(listen_next(&f), CONN_HEARD_END);
	assert_true(conn_idle_end(f.conn, NULL));
	assert_true(conn_idle(f.conn, NULL));
	assert_true(conn_idle_end(f.conn, NULL));
	close_all(&f);
}

/* Plays turns, listens until the line is lost, and returns why. */
static enum fault_kind
listen_to_the_end(const struct turn *turns, struct fixture *f)
{
	struct fault fault;
	enum conn_heard heard;
	open_with(f, turns, 5);
	select_inbox(f);
	assert_true(conn_idle(f->conn, NULL));
	while (conn_listen(f->conn, clock_boot_ns() + PEER_WAIT_S * CLOCK_SEC, &heard, &fault))
		assert_int_equal(heard, CONN_HEARD_NEWS);
	assert_false(conn_alive(f->conn));
	assert_false(conn_idle_end(f->conn, NULL));
	assert_true(idle_works(f));
	return fault.kind;
}

static void
test_idle_lost(void **state)
{
	(void)state;
	static const struct turn bye[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"),
		                           SEND("* BYE idle for too long"), CLOSED, END };
	static const struct turn cut[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"),
		                           SEND("* 4 EXISTS"), RAW("* 5 EXI"), CUT, END };
	struct fixture f;
	assert_int_equal(listen_to_the_end(bye, &f), FAULT_UNREACHABLE);
	close_all(&f);
	assert_int_equal(listen_to_the_end(cut, &f), FAULT_UNREACHABLE);
	assert_string_equal(f.heard->str, "EXISTS 4\n");
	close_all(&f);
}

static void
test_done_unanswered(void **state)
{
	(void)state;
	static const struct turn turns[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"),
		                             LINE("DONE"), HANG, END };
	struct fixture f;
	struct fault fault;
	open_with(&f, turns, 1);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	/* So a line that died in silence is found out. */
	assert_false(conn_idle_end(f.conn, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	assert_true(idle_works(&f));
	close_all(&f);
}

/* --- other threads --------------------------------------------------------------------- */

static void *
wake_thread(void *conn)
{
	conn_wake(conn);
	return NULL;
}

static void *
cancel_thread(void *conn)
{
	conn_cancel(conn);
	return NULL;
}

static void
test_wake(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"), SEND("* 4 EXISTS"),
		LINE("DONE"), REPLY("OK"), EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	open_with(&f, turns, 5);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	GThread *thread = g_thread_new("wake", wake_thread, f.conn);
	/* In either order, both are told. */
	bool news = false, woken = false;
	while (!news || !woken) {
		enum conn_heard heard = listen_next(&f);
		news = news || heard == CONN_HEARD_NEWS;
		woken = woken || heard == CONN_HEARD_WAKE;
	}
	g_thread_join(thread);
	/* A wake-up disturbs no command, and is not lost. */
	conn_wake(f.conn);
	conn_wake(f.conn);
	assert_int_equal(listen_next(&f), CONN_HEARD_WAKE);
	enum conn_heard heard;
	assert_true(conn_listen(f.conn, clock_boot_ns(), &heard, NULL));
	assert_int_equal(heard, CONN_HEARD_NOTHING);
	conn_wake(f.conn);
	assert_true(conn_idle_end(f.conn, NULL));
	assert_true(conn_noop(f.conn, NULL));
	close_all(&f);
}

static void
test_cancel(void **state)
{
	(void)state;
	static const struct turn turns[] = { LOGIN("IDLE"), SELECTED, EXPECT("IDLE"), SEND("+"),
		                             HANG, END };
	struct fixture f;
	struct fault fault;
	enum conn_heard heard;
	open_with(&f, turns, 5);
	select_inbox(&f);
	assert_true(conn_idle(f.conn, NULL));
	GThread *thread = g_thread_new("cancel", cancel_thread, f.conn);
	assert_false(conn_listen(f.conn, clock_boot_ns() + PEER_WAIT_S * CLOCK_SEC, &heard, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	g_thread_join(thread);
	close_all(&f);
}

/* --- NOTIFY ---------------------------------------------------------------------------- */

#define SET "NOTIFY SET STATUS (personal (MessageNew MessageExpunge"

static void
test_notify_hears(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("NOTIFY ENABLE CONDSTORE"), EXPECT("ENABLE CONDSTORE"),
		SEND("* ENABLED CONDSTORE"), REPLY("OK"),
		EXPECT(SET " FlagChange MailboxName SubscriptionChange))"),
		SEND("* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3 HIGHESTMODSEQ 4)"),
		REPLY("OK done"), SEND("* STATUS Work (HIGHESTMODSEQ 5 UIDVALIDITY 9)"),
		SEND("* LIST () \"/\" New"), EXPECT("NOOP"), SEND("* STATUS Work (MESSAGES 7)"),
		REPLY("OK"), EXPECT(SET " *"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	unsigned events = 0;
	open_with(&f, turns, 5);
	assert_true(conn_notify(f.conn, &events, NULL));
	assert_int_equal(events, CONN_EVENT_ALL);
	listen_for(&f, "ENABLED 0\nSTATUS INBOX 1 2 4\nSTATUS Work 0 0 5\nLIST New\n");
	assert_true(conn_noop(f.conn, NULL));
	assert_true(g_str_has_suffix(f.heard->str, "STATUS Work 7 0 0\n"));
	/* CONDSTORE is enabled once. */
	assert_true(conn_notify(f.conn, &events, NULL));
	close_all(&f);
}

/* What of the events is left when the server answers `answer`, and then takes them: one run of
 * turns; 0: it was given up. */
static unsigned
events_after(const struct turn *turns)
{
	struct fixture f;
	struct fault fault;
	unsigned events = 0;
	open_with(&f, turns, 5);
	bool ok = conn_notify(f.conn, &events, &fault);
	assert_int_equal(ok, events != 0);
	assert_true(conn_alive(f.conn));
	assert_int_equal(pool_banned(f.pool, IMAP_CAP_NOTIFY), !ok);
	assert_true(conn_noop(f.conn, NULL));
	close_all(&f);
	return events;
}

static void
test_notify_badevent(void **state)
{
	(void)state;
	/* As the RFC says: what the server can do. */
	static const struct turn can[] = {
		LOGIN("NOTIFY"), EXPECT(SET " FlagChange *"),
		REPLY("NO [BADEVENT (MessageNew MessageExpunge FLAGCHANGE Other)] no"),
		EXPECT(SET " FlagChange))"), REPLY("OK"), EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	/* As Dovecot does: what it can't, without the parentheses. */
	static const struct turn cannot[] = {
		LOGIN("NOTIFY"), EXPECT(SET " FlagChange *"),
		REPLY("NO [BADEVENT SubscriptionChange FlagChange] no"),
		EXPECT(SET " MailboxName))"), REPLY("OK"), EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	static const struct turn nothing[] = {
		LOGIN("NOTIFY"), EXPECT(SET " FlagChange *"), REPLY("NO [BADEVENT (Other)] no"),
		EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	static const struct turn again[] = {
		LOGIN("NOTIFY"), EXPECT(SET " *"), REPLY("NO [BADEVENT FlagChange] no"),
		EXPECT(SET " *"), REPLY("NO [BADEVENT FlagChange] no"),
		EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	assert_int_equal(events_after(can), CONN_EVENT_MESSAGES | CONN_EVENT_FLAGS);
	assert_int_equal(events_after(cannot), CONN_EVENT_MESSAGES | CONN_EVENT_MAILBOXES);
	assert_int_equal(events_after(nothing), 0);
	assert_int_equal(events_after(again), 0);
}

static void
test_notify_refused(void **state)
{
	(void)state;
	static const struct turn bad[] = { LOGIN("NOTIFY"), EXPECT(SET " *"), REPLY("BAD what"),
		                           EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	static const struct turn no[] = { LOGIN("NOTIFY"), EXPECT(SET " *"),
		                          REPLY("NO [NOTIFICATIONOVERFLOW] too much"),
		                          EXPECT("NOOP"), REPLY("OK"), LOGOUT, END };
	assert_int_equal(events_after(bad), 0);
	assert_int_equal(events_after(no), 0);
}

static void
test_notify_overflow(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("NOTIFY"), EXPECT(SET " *"), REPLY("OK"), SEND("* STATUS Work (MESSAGES 1)"),
		SEND("* OK [NOTIFICATIONOVERFLOW] sorry"), EXPECT(SET " *"),
		SEND("* OK [NOTIFICATIONOVERFLOW] sorry again"), REPLY("OK"), LOGOUT, END };
	struct fixture f;
	struct fault fault;
	unsigned events;
	open_with(&f, turns, 5);
	assert_true(conn_notify(f.conn, &events, NULL));
	enum conn_heard heard;
	do
		heard = listen_next(&f);
	while (heard == CONN_HEARD_NEWS);
	assert_int_equal(heard, CONN_HEARD_END);
	assert_string_equal(f.heard->str, "STATUS Work 1 0 0\nOK 0\n");
	assert_false(conn_notify(f.conn, &events, &fault));
	assert_true(conn_alive(f.conn));
	close_all(&f);
}

static void
test_notify_without_enable(void **state)
{
	(void)state;
	static const struct turn turns[] = {
		LOGIN("NOTIFY CONDSTORE"), EXPECT("STATUS \"INBOX\" (HIGHESTMODSEQ)"), REPLY("OK"),
		EXPECT(SET " *"), CUT, END };
	struct fixture f;
	struct fault fault;
	unsigned events;
	open_with(&f, turns, 5);
	assert_false(conn_notify(f.conn, &events, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	assert_false(pool_banned(f.pool, IMAP_CAP_NOTIFY));
	close_all(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_hears),
		cmocka_unit_test(test_idle_until),
		cmocka_unit_test(test_idle_never_begins),
		cmocka_unit_test(test_idle_cut_before_it_begins),
		cmocka_unit_test(test_idle_refused),
		cmocka_unit_test(test_idle_ended_by_server),
		cmocka_unit_test(test_idle_lost),
		cmocka_unit_test(test_done_unanswered),
		cmocka_unit_test(test_wake),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_notify_hears),
		cmocka_unit_test(test_notify_badevent),
		cmocka_unit_test(test_notify_refused),
		cmocka_unit_test(test_notify_overflow),
		cmocka_unit_test(test_notify_without_enable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
