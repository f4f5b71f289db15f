/* SPDX-License-Identifier: MIT */
/* Tests of a connection at work: commands, literals, responses, the selected mailbox. */
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

/* --- a client that is logged in -------------------------------------------------------- */

struct client {
	struct peer *peer;
	struct pool *pool;
	struct conn_config config;
	struct conn *conn;
	struct fault fault;
	/* What the handler saw. */
	GString *seen, *body;
	unsigned bodies, skipped;
	bool refuse_bodies;
};

struct script {
	const char *caps;
	const struct turn *turns;
};

static void
work_script(struct peer *peer, void *ctx)
{
	const struct script *script = ctx;
	peer_accept(peer);
	peer_send(peer, "* PREAUTH [CAPABILITY IMAP4rev1 %s] alice\r\n", script->caps);
	dialogue_run(peer, script->turns);
}

static void
see(void *ctx, const struct imap_response *response)
{
	struct client *client = ctx;
	if (response->has_number)
		g_string_append_printf(client->seen, "%u ", response->number);
	g_string_append_printf(client->seen, "%s;", response->name);
}

static bool
see_begin(void *ctx, const struct imap_response *partial, const char *item, uint64_t size)
{
	struct client *client = ctx;
	g_string_append_printf(client->seen, "%u:%s=%u;", partial->number, item, (unsigned)size);
	return !client->refuse_bodies;
}

static void
see_data(void *ctx, const char *data, size_t len)
{
	struct client *client = ctx;
	g_string_append_len(client->body, data, (gssize)len);
}

static void
see_end(void *ctx)
{
	struct client *client = ctx;
	client->bodies++;
}

static void
see_skipped(void *ctx, const char *error)
{
	struct client *client = ctx;
	assert_non_null(error);
	client->skipped++;
}

static void
client_start(struct client *client, struct script *script)
{
	*client = (struct client){0};
	client->peer = peer_new(work_script, script);
	client->pool = pool_new(4);
	client->config = dialogue_config(client->peer, NULL, false);
	client->seen = g_string_new(NULL);
	client->body = g_string_new(NULL);
	if (!conn_open(&client->config, client->pool, 1, &client->conn, &client->fault))
		fail_msg("%s", client->fault.text);
	const struct conn_handler handler = {client,   see,     see_begin,
					     see_data, see_end, see_skipped};
	conn_set_handler(client->conn, &handler);
}

static void
client_end(struct client *client)
{
	conn_free(&client->conn);
	assert_null(client->conn);
	conn_free(&client->conn);
	pool_free(&client->pool);
	g_string_free(client->seen, TRUE);
	g_string_free(client->body, TRUE);
	peer_finish(&client->peer);
}

#define START(caps_, ...)                                         \
	struct client client;                                     \
	const struct turn turns[] = { __VA_ARGS__, END };         \
	struct script script = { .caps = caps_, .turns = turns }; \
	client_start(&client, &script)

static uint32_t
send_plain(struct client *client, const char *verb)
{
	return conn_send(client->conn, conn_command(client->conn, verb));
}

/* Ends in a fault that ends the connection too. */
static void
expect_lost(struct client *client, enum fault_kind kind, const char *word)
{
	struct fault fault = {0};
	assert_false(conn_noop(client->conn, &fault));
	if (fault.kind != kind || (word != NULL && strstr(fault.text, word) == NULL))
		fail_msg("%s: %s", fault_kind_name(fault.kind), fault.text);
	assert_non_null(strstr(fault.text, "127.0.0.1"));
	assert_false(conn_alive(client->conn));
	/* It stays so. */
	struct fault again = {0};
	assert_false(conn_noop(client->conn, &again));
	assert_int_equal(again.kind, kind);
	assert_false(conn_select(client->conn, "INBOX", 5, true, NULL, &again));
	conn_logout(client->conn);
}

/* --- commands -------------------------------------------------------------------------- */

static void
test_pipelined_commands_may_end_in_any_order(void **state)
{
	(void)state;
	struct conn_reply reply = {0};
	START("X", EXPECT("NOOP"), EXPECT("CHECK"), EXPECT("NOOP"), SEND("* 3 EXISTS"),
	      RAW("a2 NO [SERVERBUG] no\r\n"), RAW("a3 BAD what\r\na1 OK done\r\n"));
	uint32_t first = send_plain(&client, "NOOP"), second = send_plain(&client, "CHECK"),
	         third = send_plain(&client, "NOOP");
	assert_int_equal(conn_outstanding(client.conn), 3);
	assert_true(conn_wait(client.conn, first, &reply, &client.fault));
	assert_int_equal(reply.status, IMAP_STATUS_OK);
	assert_string_equal(reply.text, "done");
	assert_true(conn_reply_fault(&reply, &client.fault, "x"));
	assert_int_equal(conn_outstanding(client.conn), 0);
	assert_true(conn_wait(client.conn, third, &reply, &client.fault));
	assert_int_equal(reply.status, IMAP_STATUS_BAD);
	assert_false(conn_reply_fault(&reply, &client.fault, "third of %d", 3));
	assert_int_equal(client.fault.kind, FAULT_PROTOCOL);
	assert_string_equal(client.fault.text, "third of 3: BAD what");
	assert_true(conn_wait(client.conn, second, &reply, &client.fault));
	assert_false(conn_reply_fault(&reply, &client.fault, "second"));
	assert_non_null(strstr(client.fault.text, "NO [SERVERBUG] no"));
	assert_string_equal(client.seen->str, "3 EXISTS;");
	conn_reply_clear(&reply);
	client_end(&client);
}

static void
test_literals_wait_for_the_server(void **state)
{
	(void)state;
	struct conn_reply reply = {0};
	START("X", EXPECT("NOOP"), EXPECT("CREATE {5}"), SEND("* 5 EXISTS"), RAW("a1 OK\r\n"),
	      SEND("+ go on"), LINE("a\xc3\xa4\xc3\xb6"), REPLY("OK made"));
	uint32_t noop = send_plain(&client, "NOOP");
	struct imap_command *command = conn_command(client.conn, "CREATE");
	imap_command_mailbox(command, "a\xc3\xa4\xc3\xb6", 5);
	assert_true(conn_run(client.conn, command, &reply, &client.fault));
	assert_int_equal(reply.status, IMAP_STATUS_OK);
	assert_true(conn_wait(client.conn, noop, NULL, &client.fault));
	assert_string_equal(client.seen->str, "5 EXISTS;");
	conn_reply_clear(&reply);
	client_end(&client);
}

static void
test_a_refused_literal_is_not_sent(void **state)
{
	(void)state;
	struct conn_reply reply = {0};
	START("X", EXPECT("APPEND \"Sent\" {4}"), REPLY("NO [OVERQUOTA] full"), EXPECT("NOOP"),
	      REPLY("OK"));
	struct imap_command *command = conn_command(client.conn, "APPEND");
	imap_command_mailbox(command, "Sent", 4);
	imap_command_literal(command, "mail", 4, false);
	assert_true(conn_run(client.conn, command, &reply, &client.fault));
	assert_int_equal(reply.code, IMAP_CODE_OVERQUOTA);
	assert_false(conn_reply_fault(&reply, &client.fault, "saving"));
	assert_int_equal(client.fault.kind, FAULT_QUOTA);
	assert_true(conn_noop(client.conn, &client.fault));
	conn_reply_clear(&reply);
	client_end(&client);
}

static void
test_literal_plus_does_not_wait(void **state)
{
	(void)state;
	START("LITERAL+", EXPECT("CREATE {2+}"), LINE("\xc3\xa4"), REPLY("OK"));
	struct imap_command *command = conn_command(client.conn, "CREATE");
	imap_command_mailbox(command, "\xc3\xa4", 2);
	assert_true(conn_run(client.conn, command, NULL, &client.fault));
	client_end(&client);
}

static void
test_what_cannot_be_said_harms_nothing(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), REPLY("OK"));
	struct imap_command *command = conn_command(client.conn, "CREATE");
	imap_command_mailbox(command, "a\0b", 3);
	assert_false(conn_run(client.conn, command, NULL, &client.fault));
	assert_int_equal(client.fault.kind, FAULT_INVALID);
	assert_true(conn_alive(client.conn));
	assert_int_equal(conn_outstanding(client.conn), 0);
	assert_true(conn_noop(client.conn, &client.fault));
	client_end(&client);
}

static void
test_codes_are_kept(void **state)
{
	(void)state;
	struct conn_reply reply = {0};
	START("X", EXPECT("NOOP"), SEND("* OK [COPYUID 99 4:6 101:103] moved"), REPLY("OK done"),
	      EXPECT("NOOP"), REPLY("OK [APPENDUID 38505 3955] saved"), EXPECT("NOOP"),
	      REPLY("OK [HIGHESTMODSEQ 18446744073709551000]"), EXPECT("NOOP"),
	      REPLY("OK [MODIFIED 7,9] some"), EXPECT("NOOP"),
	      REPLY("OK [COPYUID 99 4:6 101:102] odd"), EXPECT("NOOP"),
	      REPLY("OK [MESSAGELIMIT 1000 23221] some"), EXPECT("NOOP"),
	      SEND("* NO [MESSAGELIMIT 1000 77] some"), REPLY("OK [EXPUNGEISSUED] done"),
	      EXPECT("NOOP"), REPLY("OK done"));
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_int_equal(reply.copyuid.uidvalidity, 99);
	assert_int_equal(reply.copyuid.count, 3);
	assert_int_equal(reply.copyuid.source[2], 6);
	assert_int_equal(reply.copyuid.dest[2], 103);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_int_equal(reply.copyuid.count, 0);
	assert_true(reply.has_appenduid);
	assert_int_equal(reply.append_uidvalidity, 38505);
	assert_int_equal(reply.append_uid, 3955);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_true(reply.has_number);
	assert_true(reply.number == UINT64_C(18446744073709551000));
	assert_false(reply.has_appenduid);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_int_equal(reply.code, IMAP_CODE_MODIFIED);
	assert_string_equal(reply.code_args, "7,9");
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_int_equal(reply.copyuid.count, 0); /* sets of unequal length can't be believed */
	assert_false(reply.limited);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_true(reply.limited && reply.limit_uid == 23221);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_true(reply.limited && reply.limit_uid == 77);
	assert_true(
		conn_run(client.conn, conn_command(client.conn, "NOOP"), &reply, &client.fault));
	assert_false(reply.limited);
	conn_reply_clear(&reply);
	client_end(&client);
}

/* --- responses ------------------------------------------------------------------------- */

static void
body_script(struct peer *peer, void *ctx)
{
	(void)ctx;
	peer_accept(peer);
	peer_send(peer, "* PREAUTH [CAPABILITY IMAP4rev1] alice\r\n");
	peer_expect(peer, "NOOP");
	peer_chop(peer, 1);
	peer_send_octets(peer, "* 2 FETCH (BODY[] {9}\r\na\0\r\n)\r\nb\n UID 7)\r\n", 41);
	peer_reply(peer, "OK");
	peer_expect(peer, "NOOP");
	peer_send(peer, "* 3 FETCH (UID 9 BODY[] {3}\r\nabc)\r\n");
	peer_reply(peer, "OK");
}

static void
test_streamed_octets_are_the_servers(void **state)
{
	(void)state;
	struct client client = {0};
	client.peer = peer_new(body_script, NULL);
	client.pool = pool_new(1);
	client.config = dialogue_config(client.peer, NULL, false);
	client.seen = g_string_new(NULL);
	client.body = g_string_new(NULL);
	assert_true(conn_open(&client.config, client.pool, 1, &client.conn, &client.fault));
	const struct conn_handler handler = {&client,  see,     see_begin,
					     see_data, see_end, see_skipped};
	conn_set_handler(client.conn, &handler);
	assert_true(conn_noop(client.conn, &client.fault));
	assert_int_equal(client.body->len, 9);
	assert_memory_equal(client.body->str, "a\0\r\n)\r\nb\n", 9);
	assert_int_equal(client.bodies, 1);
	assert_string_equal(client.seen->str, "2:BODY[]=9;2 FETCH;");
	/* One that isn't wanted. */
	client.refuse_bodies = true;
	assert_true(conn_noop(client.conn, &client.fault));
	assert_int_equal(client.body->len, 9);
	assert_int_equal(client.bodies, 1);
	assert_string_equal(client.seen->str, "2:BODY[]=9;2 FETCH;3:BODY[]=3;3 FETCH;");
	client_end(&client);
}

static void
test_lines_that_make_no_sense(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), SEND("CAPABILITY completed."), SEND("* 1 EXISTS"),
	      SEND("nonsense"), SEND("* 2 FETCH (((("), REPLY("OK done"), EXPECT("NOOP"),
	      SEND("nonsense"), SEND("again nonsense"), SEND("more nonsense"), HANG);
	assert_true(conn_noop(client.conn, &client.fault));
	assert_int_equal(client.skipped, 3);
	expect_lost(&client, FAULT_PROTOCOL, "makes no sense");
	client_end(&client);
}

static void
test_an_unknown_tag(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), RAW("a9 OK surprise\r\n"), HANG);
	expect_lost(&client, FAULT_PROTOCOL, "no command");
	client_end(&client);
}

static void
test_an_answer_twice(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), RAW("a1 OK\r\na1 OK\r\n"), HANG);
	assert_true(conn_noop(client.conn, &client.fault));
	expect_lost(&client, FAULT_PROTOCOL, "no command");
	client_end(&client);
}

static void
test_goodbye(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		enum fault_kind kind;
		const char *word;
	} table[] = {
		{"* BYE Idle for too long\r\n", FAULT_UNREACHABLE, "Idle for too long"},
		{"* BYE\r\n* BYE\r\n* BYE\r\n", FAULT_UNREACHABLE, "ended the connection"},
		{"* BYE [UNAVAILABLE] going down\r\n", FAULT_BUSY, "going down"},
		{"* BYE Too many commands\r\n", FAULT_BUSY, "Too many"},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		START("X", EXPECT("NOOP"), { TURN_SEND, table[i].line }, HANG);
		expect_lost(&client, table[i].kind, table[i].word);
		client_end(&client);
	}
}

static void
test_goodbye_is_heard_by_a_writer_too(void **state)
{
	(void)state;
	START("X", SEND("* BYE Autologout"), CUT);
	g_usleep(50 * 1000);
	expect_lost(&client, FAULT_UNREACHABLE, "Autologout");
	client_end(&client);
}

static void
test_a_server_that_does_nothing_after_the_login(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), REPLY("BAD User is authenticated but not connected."), HANG);
	/* The reply itself is known; then the connection is of no use. */
	assert_true(conn_noop(client.conn, &client.fault));
	assert_false(conn_alive(client.conn));
	expect_lost(&client, FAULT_BUSY, "not connected");
	client_end(&client);
}

static void
test_throttling(void **state)
{
	(void)state;
	int64_t until, now;
	START("X", EXPECT("NOOP"), REPLY("OK [THROTTLED] slowly"), EXPECT("NOOP"), REPLY("OK"),
	      EXPECT("NOOP"),
	      REPLY("NO Request is throttled. Suggested Backoff Time: 60000 milliseconds"),
	      SEND("* BYE"), CUT);
	assert_true(conn_noop(client.conn, &client.fault));
	now = clock_boot_ns();
	assert_true(conn_noop(client.conn, &client.fault));
	assert_true(clock_boot_ns() - now >= 49 * CLOCK_MS);
	assert_true(conn_noop(client.conn, &client.fault));
	now = clock_boot_ns();
	assert_false(pool_may_connect(client.pool, now, POOL_HURRY, &until));
	assert_in_range((until - now) / CLOCK_SEC, 50, 61);
	client_end(&client);
}

/* --- the mailbox ----------------------------------------------------------------------- */

static void
test_select(void **state)
{
	(void)state;
	START("UNSELECT", EXPECT("EXAMINE \"INBOX\""), SEND("* FLAGS (\\Seen)"),
	      SEND("* 500 EXISTS"), SEND("* OK [UIDVALIDITY 1099511627776] wide"),
	      SEND("* OK [UIDNEXT 4392]"), SEND("* 1623 EXISTS"),
	      SEND("* OK [HIGHESTMODSEQ 715194045007]"),
	      SEND("* OK [PERMANENTFLAGS (\\Deleted \\Seen \\*)] ok"),
	      SEND("* OK [MAILBOXID (F2212)]"), REPLY("OK [READ-ONLY] done"),
	      /* news */
	      EXPECT("NOOP"), SEND("* 1624 EXISTS"), SEND("* 3 EXPUNGE"),
	      SEND("* VANISHED 300:310,5"), SEND("* OK [UIDNEXT 10]"), SEND("* OK [UIDNEXT 4400]"),
	      SEND("* 1 FETCH (FLAGS (\\Seen))"), REPLY("OK"),
	      /* renumbered under our feet */
	      EXPECT("NOOP"), SEND("* OK [UIDVALIDITY 5] changed"), REPLY("OK"), EXPECT("UNSELECT"),
	      REPLY("OK"));
	assert_null(conn_selected(client.conn));
	assert_true(conn_select(client.conn, "INBOX", 5, true, NULL, &client.fault));
	const struct conn_mailbox *mailbox = conn_selected(client.conn);
	assert_string_equal(mailbox->name, "INBOX");
	assert_int_equal(mailbox->name_len, 5);
	assert_true(mailbox->uidvalidity == UINT64_C(1099511627776));
	assert_int_equal(mailbox->uidnext, 4392);
	assert_int_equal(mailbox->exists, 1623);
	assert_true(mailbox->highestmodseq == UINT64_C(715194045007));
	assert_true(mailbox->read_only);
	assert_true(mailbox->has_permanentflags);
	assert_int_equal(mailbox->permanentflags,
	                 IMAP_FLAG_DELETED | IMAP_FLAG_SEEN | IMAP_FLAG_ANY);
	assert_string_equal(mailbox->mailboxid, "F2212");
	assert_int_equal(mailbox->exists_changes, 0);
	conn_set_handler(client.conn, NULL);
	assert_true(conn_noop(client.conn, &client.fault));
	assert_int_equal(mailbox->exists, 1624 - 1 - 12);
	assert_int_equal(mailbox->exists_changes, 1);
	assert_int_equal(mailbox->expunges, 13);
	assert_int_equal(mailbox->fetches, 1);
	assert_int_equal(mailbox->uidnext, 4400);
	assert_false(mailbox->stale);
	assert_true(conn_noop(client.conn, &client.fault));
	assert_true(mailbox->stale);
	assert_true(conn_unselect(client.conn, &client.fault));
	assert_null(conn_selected(client.conn));
	assert_true(conn_unselect(client.conn, &client.fault));
	client_end(&client);
}

static void
test_select_with_little_said(void **state)
{
	(void)state;
	START("X", EXPECT("SELECT \"box\""), REPLY("OK"), EXPECT("SELECT \"other\""),
	      SEND("* 2 EXISTS"), SEND("* OK [NOMODSEQ] none"), SEND("* OK [UIDVALIDITY 0]"),
	      REPLY("OK [READ-ONLY]"));
	assert_true(conn_select(client.conn, "box", 3, false, NULL, &client.fault));
	const struct conn_mailbox *mailbox = conn_selected(client.conn);
	assert_int_equal(mailbox->uidvalidity, 0);
	assert_int_equal(mailbox->exists, 0);
	assert_false(mailbox->read_only);
	assert_false(mailbox->has_permanentflags);
	assert_true(conn_select(client.conn, "other", 5, false, NULL, &client.fault));
	mailbox = conn_selected(client.conn);
	assert_string_equal(mailbox->name, "other");
	assert_true(mailbox->read_only);
	assert_int_equal(mailbox->exists, 2);
	/* Without UNSELECT nothing is sent: CLOSE would expunge. */
	assert_true(conn_unselect(client.conn, &client.fault));
	assert_non_null(conn_selected(client.conn));
	client_end(&client);
}

static void
test_select_refused(void **state)
{
	(void)state;
	static const struct { const char *reply; enum fault_kind kind; } table[] = {
		{ "NO internal error", FAULT_REFUSED },
		{ "NO [NONEXISTENT] gone", FAULT_GONE },
		{ "NO [NOPERM] no", FAULT_DENIED },
		{ "NO [UNAVAILABLE] later", FAULT_BUSY },
		{ "BAD what", FAULT_PROTOCOL },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		START("X", EXPECT("SELECT \"a\""), SEND("* 1 EXISTS"), SEND("* OK [UIDVALIDITY 3]"),
		      REPLY("OK"), EXPECT("SELECT \"b\""), SEND("* 9 EXISTS"),
		      {TURN_REPLY, table[i].reply}, EXPECT("NOOP"), SEND("* 7 EXISTS"),
		      REPLY("OK"));
		assert_true(conn_select(client.conn, "a", 1, false, NULL, &client.fault));
		assert_false(conn_select(client.conn, "b", 1, false, NULL, &client.fault));
		assert_int_equal(client.fault.kind, table[i].kind);
		assert_null(conn_selected(client.conn));
		assert_true(conn_noop(client.conn, &client.fault));
		assert_null(conn_selected(client.conn));
		client_end(&client);
	}
}

/* Two connections that open a mailbox that is made by that: one of them is told that it exists. */
static void
test_select_of_what_another_makes(void **state)
{
	(void)state;
	START("X", EXPECT("EXAMINE \"a\""), REPLY("NO [ALREADYEXISTS] it does"),
	      EXPECT("EXAMINE \"a\""), SEND("* 1 EXISTS"), REPLY("OK"),
	      EXPECT("EXAMINE \"b\""), REPLY("NO [ALREADYEXISTS] it does"),
	      EXPECT("EXAMINE \"b\""), REPLY("NO [ALREADYEXISTS] it still does"));
	assert_true(conn_select(client.conn, "a", 1, true, NULL, &client.fault));
	assert_int_equal(conn_selected(client.conn)->exists, 1);
	assert_false(conn_select(client.conn, "b", 1, true, NULL, &client.fault));
	assert_int_equal(client.fault.kind, FAULT_EXISTS);
	assert_null(conn_selected(client.conn));
	client_end(&client);
}

static void
test_select_waits_for_what_is_outstanding(void **state)
{
	(void)state;
	struct conn_reply reply = {0};
	START("X", EXPECT("NOOP"), SEND("* 5 EXISTS"), REPLY("NO late"), EXPECT("EXAMINE \"a\""),
	      SEND("* 1 EXISTS"), REPLY("OK"));
	uint32_t tag = send_plain(&client, "NOOP");
	assert_true(conn_select(client.conn, "a", 1, true, NULL, &client.fault));
	assert_int_equal(conn_selected(client.conn)->exists, 1);
	assert_true(conn_wait(client.conn, tag, &reply, &client.fault));
	assert_int_equal(reply.status, IMAP_STATUS_NO);
	conn_reply_clear(&reply);
	client_end(&client);
}

static void
test_what_came_of_the_old_mailbox_is_not_the_new_ones(void **state)
{
	(void)state;
	/* [CLOSED] without QRESYNC; then QRESYNC. */
	START("UNSELECT", EXPECT("SELECT \"a\""), SEND("* 9 EXISTS"), REPLY("OK"),
	      EXPECT("SELECT \"b\""), SEND("* 1 EXPUNGE"), SEND("* 8 EXISTS"),
	      SEND("* OK [UIDVALIDITY 1]"), SEND("* OK [CLOSED] a"), SEND("* OK [UIDVALIDITY 2]"),
	      REPLY("OK"),
	      EXPECT("EXAMINE \"c\" (QRESYNC (7 17))"), SEND("* OK [UIDVALIDITY 7]"),
	      SEND("* 4 EXISTS"), SEND("* VANISHED (EARLIER) 41,43:116"), REPLY("OK"));
	assert_true(conn_select(client.conn, "a", 1, false, NULL, &client.fault));
	assert_true(conn_select(client.conn, "b", 1, false, NULL, &client.fault));
	assert_int_equal(conn_selected(client.conn)->exists, 0);
	assert_int_equal(conn_selected(client.conn)->uidvalidity, 2);
	assert_int_equal(conn_selected(client.conn)->expunges, 0);
	g_string_truncate(client.seen, 0);
	assert_true(conn_select(client.conn, "c", 1, true, "(QRESYNC (7 17))", &client.fault));
	assert_int_equal(conn_selected(client.conn)->exists, 4);
	assert_string_equal(client.seen->str, "OK;4 EXISTS;VANISHED;");
	client_end(&client);
}

/* --- the end --------------------------------------------------------------------------- */

static void
test_logout_and_counts(void **state)
{
	(void)state;
	struct stream_octets octets;
	START("X", EXPECT("NOOP"), REPLY("OK"), EXPECT("LOGOUT"), SEND("* BYE see you"),
	      REPLY("OK"), CLOSED);
	assert_true(conn_noop(client.conn, &client.fault));
	conn_flush(client.conn);
	conn_octets(client.conn, &octets);
	assert_int_equal(octets.wire_out, strlen("a1 NOOP\r\n"));
	assert_true(octets.wire_in > 20);
	assert_int_equal(octets.wire_in, octets.plain_in);
	conn_logout(client.conn);
	client_end(&client);
}

static void
test_logout_does_not_wait_for_ever(void **state)
{
	(void)state;
	START("X", EXPECT("LOGOUT"), HANG);
	int64_t begin = clock_boot_ns();
	conn_logout(client.conn);
	assert_in_range((clock_boot_ns() - begin) / CLOCK_MS, 4000, 1000 * (PEER_WAIT_S - 1));
	client_end(&client);
}

static void
test_logout_says_nothing_while_an_answer_is_due(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), CLOSED);
	send_plain(&client, "NOOP");
	conn_flush(client.conn);
	conn_logout(client.conn);
	client_end(&client);
}

static void *
cancel_soon(void *conn)
{
	g_usleep(100 * 1000);
	conn_cancel(conn);
	return NULL;
}

static void
test_cancel_from_another_thread(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), HANG);
	GThread *thread = g_thread_new("cancel", cancel_soon, client.conn);
	expect_lost(&client, FAULT_CANCELLED, NULL);
	g_thread_join(thread);
	client_end(&client);
}

static void
test_progress_is_told(void **state)
{
	(void)state;
	START("X", EXPECT("NOOP"), REPLY("OK"));
	int64_t before = clock_boot_ns();
	assert_true(conn_noop(client.conn, &client.fault));
	int64_t told = conn_progress_ns(client.conn);
	assert_true(told >= before && told <= clock_boot_ns());
	conn_touch(client.conn);
	assert_true(conn_progress_ns(client.conn) >= told);
	client_end(&client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipelined_commands_may_end_in_any_order),
		cmocka_unit_test(test_literals_wait_for_the_server),
		cmocka_unit_test(test_a_refused_literal_is_not_sent),
		cmocka_unit_test(test_literal_plus_does_not_wait),
		cmocka_unit_test(test_what_cannot_be_said_harms_nothing),
		cmocka_unit_test(test_codes_are_kept),
		cmocka_unit_test(test_streamed_octets_are_the_servers),
		cmocka_unit_test(test_lines_that_make_no_sense),
		cmocka_unit_test(test_an_unknown_tag),
		cmocka_unit_test(test_an_answer_twice),
		cmocka_unit_test(test_goodbye),
		cmocka_unit_test(test_goodbye_is_heard_by_a_writer_too),
		cmocka_unit_test(test_a_server_that_does_nothing_after_the_login),
		cmocka_unit_test(test_throttling),
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_select_with_little_said),
		cmocka_unit_test(test_select_refused),
		cmocka_unit_test(test_select_of_what_another_makes),
		cmocka_unit_test(test_select_waits_for_what_is_outstanding),
		cmocka_unit_test(test_what_came_of_the_old_mailbox_is_not_the_new_ones),
		cmocka_unit_test(test_logout_and_counts),
		cmocka_unit_test(test_logout_does_not_wait_for_ever),
		cmocka_unit_test(test_logout_says_nothing_while_an_answer_is_due),
		cmocka_unit_test(test_cancel_from_another_thread),
		cmocka_unit_test(test_progress_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
