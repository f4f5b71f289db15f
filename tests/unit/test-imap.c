/* SPDX-License-Identifier: MIT */
/* Tests of imap/: the parser on its corpus however it is fed, and each decoder's table. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap-print.h"
#include "imap/command.h"
#include "imap/date.h"
#include "imap/names.h"
#include "imap/response.h"
#include "imap/utf7.h"

/* --- the parser --------------------------------------------------------------------------- */

static char *
print(const char *data, size_t len, size_t step, bool *ok_r)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	*ok_r = imap_print((const uint8_t *)data, len, step, out);
	fclose(out);
	return text;
}

static void
test_corpus_is_understood_however_it_is_fed(void **state)
{
	(void)state;
	GDir *dir = g_dir_open(CORPUS_DIR, 0, NULL);
	const char *name;
	unsigned files = 0;
	assert_non_null(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		char *path = g_build_filename(CORPUS_DIR, name, NULL), *data;
		gsize len;
		bool ok, again_ok;
		assert_true(g_file_get_contents(path, &data, &len, NULL));
		char *whole = print(data, len, 0, &ok);
		if (ok == g_str_has_prefix(name, "bad-"))
			fail_msg("%s:\n%s", name, whole);
		for (size_t step = 1; step < 8; step++) {
			char *parts = print(data, len, step, &again_ok);
			assert_string_equal(parts, whole);
			assert_int_equal(again_ok, ok);
			free(parts);
		}
		free(whole);
		g_free(data);
		g_free(path);
		files++;
	}
	g_dir_close(dir);
	assert_true(files >= 30);
}

static enum imap_parse
feed_all(struct imap_parser *parser, const char *data, size_t len)
{
	enum imap_parse what;
	do {
		size_t used;
		what = imap_parser_feed(parser, data, len, &used);
		data += used;
		len -= used;
	} while (what != IMAP_PARSE_MORE && what != IMAP_PARSE_FATAL && what != IMAP_PARSE_SKIPPED &&
	         what != IMAP_PARSE_RESPONSE);
	return what;
}

static void
test_limits_hold(void **state)
{
	(void)state;
	struct imap_limits limits;
	imap_limits_default(&limits);
	limits.line = 100;
	limits.literal = 10;
	limits.discard = 20;
	limits.args = 5;
	limits.depth = 2;
	static const struct {
		const char *text;
		enum imap_parse what;
	} table[] = {
		{ "* OK fine\r\n", IMAP_PARSE_RESPONSE },
		{ "* LIST () \"/\" {10}\r\n0123456789\r\n", IMAP_PARSE_RESPONSE },
		{ "* LIST () \"/\" {11}\r\n01234567890\r\n", IMAP_PARSE_SKIPPED },
		{ "* LIST () \"/\" {21}\r\n", IMAP_PARSE_FATAL },
		{ "* X 1 2 3 4 5 6\r\n", IMAP_PARSE_SKIPPED },
		{ "* X (((1)))\r\n", IMAP_PARSE_SKIPPED },
		{ "* X ((1))\r\n", IMAP_PARSE_RESPONSE },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct imap_parser *parser = imap_parser_new();
		imap_parser_set_limits(parser, &limits);
		assert_int_equal(feed_all(parser, table[i].text, strlen(table[i].text)),
		                 table[i].what);
		imap_parser_free(&parser);
	}
	char line[200];
	struct imap_parser *parser = imap_parser_new();
	imap_parser_set_limits(parser, &limits);
	memset(line, 'x', sizeof line);
	assert_int_equal(feed_all(parser, line, sizeof line), IMAP_PARSE_FATAL);
	assert_int_equal(feed_all(parser, "* OK\r\n", 6), IMAP_PARSE_FATAL);
	imap_parser_reset(parser);
	assert_int_equal(feed_all(parser, "* OK\r\n", 6), IMAP_PARSE_RESPONSE);
	imap_parser_free(&parser);
}

/* Parses one response, which stays valid until the parser is freed. */
static const struct imap_response *
parse(struct imap_parser **parser_r, const char *text)
{
	*parser_r = imap_parser_new();
	assert_int_equal(feed_all(*parser_r, text, strlen(text)), IMAP_PARSE_RESPONSE);
	return imap_parser_response(*parser_r);
}

static void
test_fetch_is_decoded(void **state)
{
	(void)state;
	struct imap_parser *parser;
	struct imap_fetch fetch;
	const struct imap_response *response =
		parse(&parser, "* 7 FETCH (FLAGS (\\Seen $Junk) UID 42 RFC822.SIZE 12 INTERNALDATE "
		               "\" 1-Jan-1970 00:00:10 +0000\" BODY[HEADER.FIELDS (DATE)] {6}\r\n"
		               "a: b\r\n BODY[] {3}\r\nabc MODSEQ (9))\r\n");
	assert_true(imap_fetch_decode(response, &fetch));
	assert_int_equal(fetch.seq, 7);
	assert_int_equal(fetch.uid, 42);
	assert_int_equal(fetch.flags.bits, IMAP_FLAG_SEEN);
	assert_int_equal(fetch.flags.keyword_count, 1);
	assert_string_equal(fetch.flags.keywords[0], "$Junk");
	assert_int_equal(fetch.size, 12);
	assert_true(fetch.has_internaldate && fetch.internaldate == 10);
	assert_int_equal(fetch.header_len, 6);
	assert_int_equal(fetch.body.state, IMAP_BODY_STREAMED);
	assert_int_equal(fetch.body.size, 3);
	assert_int_equal(fetch.modseq, 9);
	imap_parser_free(&parser);
	response = parse(&parser, "* 7 FETCH (UID 1 UID 2)\r\n");
	assert_true(imap_fetch_decode(response, &fetch));
	assert_int_equal(fetch.uid, 0);
	imap_parser_free(&parser);
}

static void
test_capabilities(void **state)
{
	(void)state;
	struct imap_parser *parser;
	struct imap_caps caps;
	assert_true(imap_caps_decode(parse(&parser, "* CAPABILITY imap4rev1 uidplus AUTH=plain "
	                                            "auth=SCRAM-SHA-1 compress=deflate qresync\r\n"),
	                             &caps));
	assert_true(imap_caps_has(&caps, IMAP_CAP_IMAP4REV1));
	assert_true(imap_caps_has(&caps, IMAP_CAP_UIDPLUS));
	assert_true(imap_caps_has(&caps, IMAP_CAP_CONDSTORE));
	assert_true(imap_caps_auth(&caps, "PLAIN"));
	assert_true(imap_caps_auth(&caps, "SCRAM-SHA-1"));
	assert_false(imap_caps_auth(&caps, "SCRAM-SHA"));
	assert_true(imap_caps_remove(&caps, "compress"));
	assert_false(imap_caps_has(&caps, IMAP_CAP_COMPRESS_DEFLATE));
	assert_true(imap_caps_remove(&caps, "auth=plain"));
	assert_false(imap_caps_auth(&caps, "PLAIN"));
	assert_false(imap_caps_remove(&caps, "NONSENSE"));
	imap_parser_free(&parser);
}

static void
test_copyuid_is_all_or_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned count;
	} table[] = {
		{ "a OK [COPYUID 38505 304,319:320 3956:3958] Done\r\n", 3 },
		{ "* OK [COPYUID 1 5,3 7,6] Done\r\n", 2 },
		{ "a OK [COPYUID 1 1:3 7]\r\n", 0 },
		{ "a OK [COPYUID 4154  ]\r\n", 0 },
		{ "a OK [COPYUID 1 3:1 7:9]\r\n", 0 },
		{ "a OK [COPYUID 1 1,1 7:8]\r\n", 0 },
		{ "a OK [COPYUID 1 1:4294967295 1:4294967295]\r\n", 0 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct imap_parser *parser;
		struct imap_copyuid copyuid = { 0 };
		bool known = imap_copyuid_decode(parse(&parser, table[i].text), &copyuid);
		assert_int_equal(known, table[i].count > 0);
		assert_int_equal(copyuid.count, table[i].count);
		if (i == 1)
			assert_true(copyuid.source[0] == 5 && copyuid.dest[0] == 7);
		imap_parser_free(&parser);
	}
}

/* --- sets --------------------------------------------------------------------------------- */

static void
assert_set(const struct seqset *set, const char *text)
{
	GString *out = g_string_new(NULL);
	seqset_format(set, out);
	assert_string_equal(out->str, text);
	g_string_free(out, TRUE);
}

static void
test_sets_against_bits(void **state)
{
	(void)state;
	GRand *random = g_rand_new_with_seed(4711);
	for (int round = 0; round < 300; round++) {
		bool bits[2][70] = { { false } };
		struct seqset *sets[2] = { seqset_new(), seqset_new() };
		for (int step = 0; step < 20; step++) {
			int which = g_rand_int_range(random, 0, 2);
			uint32_t first = (uint32_t)g_rand_int_range(random, 0, 64);
			uint32_t last = first + (uint32_t)g_rand_int_range(random, 0, 6);
			bool add = g_rand_int_range(random, 0, 3) > 0;
			if (add)
				seqset_add_range(sets[which], first, last);
			else
				seqset_remove_range(sets[which], first, last);
			for (uint32_t i = MAX(first, 1); i <= last; i++)
				bits[which][i] = add;
		}
		struct seqset *both = seqset_copy(sets[0]), *either = seqset_copy(sets[0]);
		struct seqset *without = seqset_copy(sets[0]);
		seqset_intersect(both, sets[1]);
		seqset_unite(either, sets[1]);
		seqset_subtract(without, sets[1]);
		unsigned count = 0;
		for (uint32_t i = 1; i < 70; i++) {
			assert_int_equal(seqset_contains(sets[0], i), bits[0][i]);
			assert_int_equal(seqset_contains(both, i), bits[0][i] && bits[1][i]);
			assert_int_equal(seqset_contains(either, i), bits[0][i] || bits[1][i]);
			assert_int_equal(seqset_contains(without, i), bits[0][i] && !bits[1][i]);
			count += bits[0][i];
		}
		assert_int_equal(seqset_count(sets[0]), count);
		for (uint32_t uid = seqset_next(sets[0], 0); uid != 0; uid = seqset_next(sets[0], uid))
			count--;
		assert_int_equal(count, 0);
		struct seqset *again = seqset_new();
		GString *text = g_string_new(NULL);
		for (uint32_t cursor = 0; seqset_next_chunk(sets[0], &cursor, 3, 8, text);) {
			assert_true(seqset_parse(again, text->str, text->len, 0));
			g_string_truncate(text, 0);
		}
		assert_true(seqset_equal(again, sets[0]));
		g_string_free(text, TRUE);
		seqset_free(&again);
		seqset_free(&both);
		seqset_free(&either);
		seqset_free(&without);
		seqset_free(&sets[0]);
		seqset_free(&sets[1]);
	}
	g_rand_free(random);
}

static void
test_sets_from_text(void **state)
{
	(void)state;
	struct seqset *set = seqset_new();
	assert_true(seqset_parse(set, "7,3:1,9:*", 9, 12));
	assert_set(set, "1:3,7,9:12");
	static const char *const bad[] = { "", "0", "1,", "a", "4294967296", "1:2:3", "*" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_false(seqset_parse(set, bad[i], strlen(bad[i]), 0));
	assert_set(set, "1:3,7,9:12");
	seqset_add_range(set, 1, UINT32_MAX);
	assert_int_equal(seqset_count(set), UINT32_MAX);
	assert_int_equal(seqset_next(set, UINT32_MAX), 0);
	seqset_free(&set);
}

/* --- commands ----------------------------------------------------------------------------- */

static void
test_commands_quote(void **state)
{
	(void)state;
	struct imap_command *command = imap_command_new("COPY", IMAP_LITERALS_SYNC);
	size_t len;
	bool wait;
	imap_command_set(command, "1:5,7");
	imap_command_open(command);
	imap_command_flag(command, "\\Deleted");
	imap_command_close(command);
	imap_command_mailbox(command, "a \"b\\", 5);
	imap_command_astring(command, "x\r\nA1 DELETE y", 14);
	imap_command_secret(command, "pass", 4);
	assert_true(imap_command_end(command, NULL));
	assert_int_equal(imap_command_pieces(command), 2);
	assert_string_equal(imap_command_piece(command, 0, &len, &wait),
	                    "COPY 1:5,7 (\\Deleted) \"a \\\"b\\\\\" {14}\r\n");
	assert_false(wait);
	assert_string_equal(imap_command_piece(command, 1, &len, &wait),
	                    "x\r\nA1 DELETE y \"pass\"\r\n");
	assert_true(wait);
	assert_null(strstr(imap_command_trace(command), "pass"));
	imap_command_free(&command);
	assert_null(command);
}

static void
test_commands_refuse(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "\\", "a b", "\\Recent", "x\r\n", "\\*", "a)" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct fault fault;
		struct imap_command *command = imap_command_new("X", IMAP_LITERALS_PLUS);
		imap_command_flag(command, bad[i]);
		assert_false(imap_command_end(command, &fault));
		assert_int_equal(fault.kind, FAULT_INVALID);
		imap_command_free(&command);
	}
	struct imap_command *command = imap_command_new("X", IMAP_LITERALS_PLUS);
	imap_command_astring(command, "a\0b", 3);
	assert_false(imap_command_end(command, NULL));
	imap_command_free(&command);
}

/* --- names and dates ---------------------------------------------------------------------- */

static void
test_utf7_is_strict_and_reversible(void **state)
{
	(void)state;
	static const struct {
		const char *utf7, *utf8;
	} table[] = {
		{ "INBOX", "INBOX" },
		{ "Entw&APw-rfe", "Entwürfe" },
		{ "A &- B", "A & B" },
		{ "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語" },
		{ "&2D3eAA-", "😀" },
		{ "A & B", NULL }, { "&AAA", NULL }, { "&AAAA-", NULL }, { "a\x7f", NULL },
		{ "&AGE-", NULL }, { "&U,BTFw-&ZeVnLIqe-", NULL }, { "&2D0-", NULL }, { "&", NULL },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		GString *text = g_string_new(NULL), *back = g_string_new(NULL);
		bool valid = imap_utf7_to_utf8(table[i].utf7, strlen(table[i].utf7), text);
		assert_int_equal(valid, table[i].utf8 != NULL);
		assert_string_equal(text->str, valid ? table[i].utf8 : "");
		if (valid) {
			assert_true(imap_utf7_from_utf8(text->str, text->len, back));
			assert_string_equal(back->str, table[i].utf7);
		}
		g_string_free(text, TRUE);
		g_string_free(back, TRUE);
	}
}

static char *
shown(const struct imap_name_rules *rules, const char *raw)
{
	GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
	char *text = NULL;
	if (imap_name_split(rules, raw, strlen(raw), parts)) {
		g_ptr_array_add(parts, NULL);
		text = g_strjoinv(" | ", (char **)parts->pdata);
	}
	g_ptr_array_free(parts, TRUE);
	return text;
}

static void
test_mailbox_names(void **state)
{
	(void)state;
	const struct imap_name_rules slash = { .delimiter = "/", .delimiter_len = 1 };
	const struct imap_name_rules dot = { .delimiter = ".", .delimiter_len = 1,
		                             .prefix = "INBOX.", .prefix_len = 6 };
	const struct imap_name_rules none = { 0 };
	static const struct {
		int rules;
		const char *raw, *shown;
	} table[] = {
		{ 0, "inbox", "INBOX" },
		{ 0, "Inbox/sub", "INBOX | sub" },
		{ 0, "a/b/", "a | b" },
		{ 0, "../../etc", "%2E%2E | %2E%2E | etc" },
		{ 0, "a//b", "a | %00 | b" },
		{ 0, "lost+found", "%6Cost+found" },
		{ 0, "x/lost+found", "x | lost+found" },
		{ 0, "50%20", "50%2520" },
		{ 0, "100%", "100%" },
		{ 0, "A & B", "A %26 B" },
		{ 0, "a\033[2J", "a%1B[2J" },
		{ 0, "&IC4-x", "%E2%80%AEx" },
		{ 1, "INBOX", "INBOX" },
		{ 1, "INBOX.Entw&APw-rfe.a/b", "Entwürfe | a%2Fb" },
		{ 1, "INBOX.INBOX", "%49NBOX" },
		{ 1, "INBOX.", NULL },
		{ 2, "a/b.c", "a%2Fb.c" },
	};
	const struct imap_name_rules *rules[] = { &slash, &dot, &none };
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		char *text = shown(rules[table[i].rules], table[i].raw);
		if (table[i].shown == NULL)
			assert_null(text);
		else
			assert_string_equal(text, table[i].shown);
		g_free(text);
	}
	char longest[600];
	memset(longest, 'y', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	char *text = shown(&slash, longest);
	assert_int_equal(strlen(text), IMAP_COMPONENT_MAX);
	g_free(text);
}

static void
test_components_lead_back(void **state)
{
	(void)state;
	const struct imap_name_rules dot = { .delimiter = ".", .delimiter_len = 1,
		                             .prefix = "INBOX.", .prefix_len = 6 };
	static const char *const raws[] = { "INBOX", "INBOX.Entw&APw-rfe", "INBOX.a/b",
		                            "INBOX.50%20", "INBOX.&2D3eAA-", "INBOX.lost+found",
		                            "INBOX.A & B", "INBOX.a\xff&-", "INBOX.INBOX", "INBOX.&IC4-" };
	for (size_t i = 0; i < G_N_ELEMENTS(raws); i++) {
		char *text = shown(&dot, raws[i]);
		GString *raw = g_string_new(NULL);
		assert_true(imap_name_child(&dot, "", 0, text, raw, NULL));
		assert_string_equal(raw->str, raws[i]);
		g_string_free(raw, TRUE);
		g_free(text);
	}
	GString *raw = g_string_new(NULL);
	struct fault fault;
	assert_false(imap_name_child(&dot, "INBOX", 5, "below", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "inbox", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "%41", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "%00", raw, &fault));
	assert_true(imap_name_child(&dot, "INBOX.a", 7, "b c", raw, &fault));
	assert_string_equal(raw->str, "INBOX.a.b c");
	assert_false(imap_name_child(&dot, "", 0, "a.b", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "lost+found", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "..", raw, &fault));
	assert_false(imap_name_child(&dot, "", 0, "\xff", raw, &fault));
	assert_int_equal(fault.kind, FAULT_INVALID);
	assert_string_equal(raw->str, "INBOX.a.b c");
	g_string_free(raw, TRUE);
}

static void
test_trash_names(void **state)
{
	(void)state;
	assert_int_equal(imap_name_trash_rank("Trash"), 1);
	assert_true(imap_name_trash_rank("[Gmail]/PAPIERKORB") > 1);
	assert_true(imap_name_trash_rank("Éléments supprimés") > 1);
	assert_int_equal(imap_name_trash_rank("Trashy"), 0);
	assert_int_equal(imap_name_trash_rank("Trash/old"), 0);
}

static void
test_dates(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t time; /* -1: none */
	} table[] = {
		{ "17-Jul-1996 02:44:25 -0700", 837596665 },
		{ " 1-jan-1970 00:00:00 +0000", 0 },
		{ "29-Feb-2024 12:00:00 +0530", 1709188200 },
		{ "01-Jan-2000 10:00", 946720800 },
		{ "00-Jan-0000 00:00:00 +0000", -1 },
		{ "29-Feb-2023 12:00:00 +0000", -1 },
		{ "01-Jan-1899 00:00:00 +0000", -1 },
		{ "01-Foo-2000 00:00:00 +0000", -1 },
		{ "01-Jan-2000 25:00:00 +0000", -1 },
		{ "", -1 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		int64_t time = -1;
		imap_date_parse(table[i].text, strlen(table[i].text), &time);
		assert_int_equal(time, table[i].time);
	}
	char text[IMAP_DATE_SIZE];
	imap_date_format(837596665, text);
	assert_string_equal(text, "17-Jul-1996 09:44:25 +0000");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus_is_understood_however_it_is_fed),
		cmocka_unit_test(test_limits_hold),
		cmocka_unit_test(test_fetch_is_decoded),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_copyuid_is_all_or_nothing),
		cmocka_unit_test(test_sets_against_bits),
		cmocka_unit_test(test_sets_from_text),
		cmocka_unit_test(test_commands_quote),
		cmocka_unit_test(test_commands_refuse),
		cmocka_unit_test(test_utf7_is_strict_and_reversible),
		cmocka_unit_test(test_mailbox_names),
		cmocka_unit_test(test_components_lead_back),
		cmocka_unit_test(test_trash_names),
		cmocka_unit_test(test_dates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
