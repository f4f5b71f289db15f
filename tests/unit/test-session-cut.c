/* SPDX-License-Identifier: MIT */
/*
 * A whole session, cut at every octet that the server sends: each time the
 * connection must end in a fault, at once, and what was told as done must be
 * done. The same octet by octet, whole.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>


#include "dialogue.h"

static const char body[] = "From: a\r\nSubject: b\r\n\r\n) a1 OK {5}\r\n* BYE\r\n";

static const struct turn login[] = {
	SEND("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello"),
	EXPECT("AUTHENTICATE PLAIN *"),
	SEND("* CAPABILITY IMAP4rev1 ID ENABLE CONDSTORE UNSELECT COMPRESS=DEFLATE"),
	REPLY("OK in"),
	EXPECT("ID *"), EXPECT("ENABLE CONDSTORE"),
	SEND("* ID (\"name\" \"x\")"), RAW("a2 OK\r\n"), SEND("* ENABLED CONDSTORE"),
	RAW("a3 OK\r\n"), END };
static const struct turn compress[] = { EXPECT("COMPRESS DEFLATE"), REPLY("OK"), DEFLATE, END };
static const struct turn rest[] = {
	EXPECT("EXAMINE \"INBOX\""), SEND("* 2 EXISTS"), SEND("* FLAGS (\\Seen \\Deleted)"),
	SEND("* OK [UIDVALIDITY 7] ok"), SEND("* OK [UIDNEXT 10] ok"), REPLY("OK [READ-ONLY] done"),
	EXPECT("UID FETCH 9 (UID BODY.PEEK*)"),
	RAW("* 2 FETCH (UID 9 BODY[] {43}\r\n"), { TURN_SEND, body }, RAW(" FLAGS (\\Seen))\r\n"),
	REPLY("OK done"), END };
static const struct turn logout[] = { EXPECT("LOGOUT"), SEND("* BYE"), REPLY("OK"), END };

struct run {
	uint64_t cut;     /* UINT64_MAX: not at all */
	bool deflate;
	size_t chop;
	uint64_t sent;
};

static void
script(struct peer *peer, void *ctx)
{
	struct run *run = ctx;
	peer_accept(peer);
	peer_chop(peer, run->chop);
	if (run->cut != UINT64_MAX)
		peer_cut_after(peer, run->cut);
	dialogue_run(peer, login);
	if (run->deflate)
		dialogue_run(peer, compress);
	dialogue_run(peer, rest);
	/* The client may be gone before the end of a block of deflate, which holds no more text. */
	peer_chop(peer, 0);
	dialogue_run(peer, logout);
	run->sent = peer_sent(peer);
}

static bool
want_body(void *ctx, const struct imap_response *partial, const char *item, uint64_t size)
{
	(void)ctx, (void)partial, (void)item;
	return size == sizeof body - 1;
}

static void
take_body(void *ctx, const char *data, size_t len)
{
	g_string_append_len(ctx, data, (gssize)len);
}

/* How far it came: 1 opened, 2 selected, 3 fetched. */
static int
session(const struct conn_config *config, struct pool *pool, struct fault *fault)
{
	struct conn *conn;
	if (!conn_open(config, pool, 1, &conn, fault))
		return 0;
	GString *data = g_string_new(NULL);
	const struct conn_handler handler = { .ctx = data, .literal_begin = want_body,
		                              .literal_data = take_body };
	int reached = 1;
	conn_set_handler(conn, &handler);
	if (conn_select(conn, "INBOX", 5, true, NULL, fault)) {
		reached = 2;
		assert_int_equal(conn_selected(conn)->uidvalidity, 7);
		struct imap_command *command = conn_command(conn, "UID FETCH");
		imap_command_set(command, "9");
		imap_command_raw(command, "(UID BODY.PEEK[])");
		if (conn_run(conn, command, NULL, fault)) {
			reached = 3;
			assert_int_equal(data->len, sizeof body - 1);
			assert_memory_equal(data->str, body, data->len);
		}
	}
	if (reached == 3)
		conn_logout(conn);
	assert_int_equal(conn_alive(conn), false);
	conn_free(&conn);
	g_string_free(data, TRUE);
	return reached;
}

static int
run_session(struct run *run, struct fault *fault)
{
	static const char *const enable[] = { "CONDSTORE", NULL };
	struct dialogue_secret secret = { .secrets = { "secret" } };
	struct pool *pool = pool_new(1);
	struct peer *peer = peer_new(script, run);
	struct conn_config config = dialogue_config(peer, &secret, false);
	config.enable = enable;
	config.compress = true;
	if (!run->deflate)
		pool_ban(pool, IMAP_CAP_COMPRESS_DEFLATE);
	fault_clear(fault);
	int reached = session(&config, pool, fault);
	pool_free(&pool);
	if (run->cut == UINT64_MAX)
		peer_finish(&peer);
	else
		peer_forget(&peer);
	return reached;
}

static void
run_all_cuts(bool deflate)
{
	struct fault fault;
	struct run whole = { .cut = UINT64_MAX, .deflate = deflate };
	int reached = run_session(&whole, &fault), last = 0;
	assert_int_equal(reached, 3);
	assert_true(whole.sent > 400);
	for (uint64_t cut = 0; cut < whole.sent; cut++) {
		struct run run = { .cut = cut, .deflate = deflate };
		reached = run_session(&run, &fault);
		/* More octets never get us less far. */
		assert_true(reached >= last);
		last = reached;
		if (reached < 3) {
			assert_string_not_equal(fault.text, "");
			if (fault.kind != FAULT_UNREACHABLE && fault.kind != FAULT_PROTOCOL)
				fail_msg("cut at %u: %s", (unsigned)cut, fault.text);
		}
	}
	assert_int_equal(last, 3);
}

static void
test_cut_at_every_octet(void **state)
{
	(void)state;
	run_all_cuts(false);
}

static void
test_cut_at_every_octet_compressed(void **state)
{
	(void)state;
	run_all_cuts(true);
}

static void
test_octet_by_octet(void **state)
{
	(void)state;
	struct fault fault;
	struct run plain = { .cut = UINT64_MAX, .chop = 1 };
	struct run deflated = { .cut = UINT64_MAX, .chop = 1, .deflate = true };
	assert_int_equal(run_session(&plain, &fault), 3);
	assert_int_equal(run_session(&deflated, &fault), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_octet_by_octet),
		cmocka_unit_test(test_cut_at_every_octet),
		cmocka_unit_test(test_cut_at_every_octet_compressed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
