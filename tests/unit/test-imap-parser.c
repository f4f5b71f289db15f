/* SPDX-License-Identifier: MIT */
/*
 * Tests of the response parser: what comes out of each oddity that servers send, whole and octet
 * by octet; what is skipped, what is fatal, and each limit.
 *
 * What comes out is written so:  * 5 FETCH (UID 7 BODY[] <3>)   with "strings" in quotes, NIL as
 * it was spelt, <n> for a streamed literal; tagged and status responses as  a1 OK [CODE args] text.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap/parser.h"

static void
dump_args(const struct imap_arg *args, unsigned count, bool space, GString *out)
{
	for (unsigned i = 0; i < count; i++) {
		if (space || i > 0)
			g_string_append_c(out, ' ');
		switch (args[i].type) {
		case IMAP_ARG_NIL:
		case IMAP_ARG_ATOM:
			g_string_append_len(out, args[i].str, (gssize)args[i].len);
			break;
		case IMAP_ARG_STRING:
			g_string_append_c(out, '"');
			g_string_append_len(out, args[i].str, (gssize)args[i].len);
			g_string_append_c(out, '"');
			break;
		case IMAP_ARG_STREAMED:
			g_string_append_printf(out, "<%u>", (unsigned)args[i].size);
			break;
		case IMAP_ARG_LIST:
			g_string_append_c(out, '(');
			dump_args(args[i].items, args[i].count, false, out);
			g_string_append_c(out, ')');
			break;
		}
	}
}

static void
dump_response(const struct imap_response *response, GString *out)
{
	static const char *const marks[] = { "", "*", "+" };
	g_string_append_printf(out, "%s%s", response->tag, marks[response->kind]);
	if (response->has_number)
		g_string_append_printf(out, " %u", response->number);
	if (response->name[0] != '\0')
		g_string_append_printf(out, " %s", response->name);
	if (response->code != NULL) {
		g_string_append_printf(out, " [%s", response->code);
		dump_args(response->code_args, response->code_count, true, out);
		g_string_append_c(out, ']');
	}
	dump_args(response->args, response->count, true, out);
	if (response->text_len > 0)
		g_string_append_printf(out, " %s", response->text);
	if (response->numbers != NULL)
		g_string_append_printf(out, " #%s", response->numbers);
}

/* One event as text. Octets of a streamed literal are put together. */
static void
dump_event(struct imap_parser *parser, enum imap_parse what, GString *out)
{
	size_t len;
	const char *data;
	switch (what) {
	case IMAP_PARSE_MORE:
		break;
	case IMAP_PARSE_RESPONSE:
		dump_response(imap_parser_response(parser), out);
		g_string_append_c(out, '\n');
		break;
	case IMAP_PARSE_LITERAL_BEGIN:
		dump_response(imap_parser_response(parser), out);
		g_string_append_printf(out, " %s=", imap_parser_literal(parser)->item);
		break;
	case IMAP_PARSE_LITERAL_DATA:
		data = imap_parser_data(parser, &len);
		g_string_append_len(out, data, (gssize)len);
		break;
	case IMAP_PARSE_LITERAL_END:
		g_string_append(out, ".\n");
		break;
	case IMAP_PARSE_SKIPPED:
		assert_string_not_equal(imap_parser_error(parser), "");
		g_string_append_printf(out, "skipped at %u\n", (unsigned)imap_parser_offset(parser));
		break;
	case IMAP_PARSE_FATAL:
		assert_string_not_equal(imap_parser_error(parser), "");
		g_string_append(out, "fatal\n");
		break;
	}
}

/* The octets are fed from a copy that ends where they end, so that reading beyond shows. */
static char *
dump(const struct imap_limits *limits, const char *data, size_t len, size_t step)
{
	struct imap_parser *parser = imap_parser_new();
	GString *out = g_string_new(NULL);
	enum imap_parse what = IMAP_PARSE_MORE;
	if (limits != NULL)
		imap_parser_set_limits(parser, limits);
	for (size_t at = 0; at < len && what != IMAP_PARSE_FATAL;) {
		size_t n = MIN(step, len - at), done = 0;
		char *part = g_memdup2(data + at, n);
		do {
			size_t used;
			what = imap_parser_feed(parser, part + done, n - done, &used);
			assert_true(used <= n - done);
			done += used;
			dump_event(parser, what, out);
		} while (what != IMAP_PARSE_MORE && what != IMAP_PARSE_FATAL);
		assert_true(done == n || what == IMAP_PARSE_FATAL);
		g_free(part);
		at += n;
	}
	if (what != IMAP_PARSE_FATAL && !imap_parser_idle(parser))
		g_string_append(out, "more\n");
	imap_parser_free(&parser);
	return g_string_free(out, FALSE);
}

static void
check(const struct imap_limits *limits, const char *data, size_t len, const char *expected)
{
	static const size_t steps[] = { SIZE_MAX, 1, 2, 3, 5, 7, 16 };
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		char *text = dump(limits, data, len, steps[i]);
		if (strcmp(text, expected) != 0)
			fail_msg("%zu at a time: %s\ngives    %s\ninstead of %s", steps[i], data,
			         text, expected);
		g_free(text);
	}
}

struct row {
	const char *input, *expected;
};

static void
check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(NULL, rows[i].input, strlen(rows[i].input), rows[i].expected);
}

static void
test_status_responses(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "* OK hello\r\n", "* OK hello\n" },
		{ "* ok\r\n", "* OK\n" },
		{ "a1 OK\r\n", "a1 OK\n" },
		{ "a1  no   [trycreate]  no such box \r\n", "a1 NO [TRYCREATE] no such box \n" },
		{ "a1 BAD[PARSE]x\r\n", "a1 BAD [PARSE] x\n" },
		{ "* BYE\r\n", "* BYE\n" },
		{ "* PREAUTH [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
		  "* PREAUTH [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\n" },
		{ "* OK [UIDNEXT 7]\r\n", "* OK [UIDNEXT 7]\n" },
		{ "* OK []\r\n", "* OK\n" },
		{ "* OK [ ] text\r\n", "* OK text\n" },
		{ "* OK text with ] and [x] in it {5}\r\n", "* OK text with ] and [x] in it {5}\n" },
		{ "* OK [X] a ] b\r\n", "* OK [X] a ] b\n" },
		{ "* OK [PERMANENTFLAGS (\\Seen a]b \\*)] ok\r\n",
		  "* OK [PERMANENTFLAGS (\\Seen a]b \\*)] ok\n" },
		{ "* NO [BADCHARSET ({5}\r\nUTF-8 \"a]b\")] no\r\n",
		  "* NO [BADCHARSET (\"UTF-8\" \"a]b\")] no\n" },
		{ "a1 OK [COPYUID 4154  ] done\r\n", "a1 OK [COPYUID 4154] done\n" },
		{ "* [COPYUID 1 2 3]\r\n", "* OK [COPYUID 1 2 3]\n" },
		/* A code that can't be read is text; the status is never lost. */
		{ "* OK [CAPABILITY\r\n", "* OK [CAPABILITY\n" },
		{ "a1 NO [foo (bar] text\r\n", "a1 NO [foo (bar] text\n" },
		{ "a1 NO [foo \"bar] text\r\n", "a1 NO [foo \"bar] text\n" },
		{ "a1 OK [x {5}\r\na2 OK\r\n", "a1 OK [x {5}\na2 OK\n" },
		{ "+\r\n", "+\n" },
		{ "+ \r\n", "+\n" },
		{ "+ go on\r\n", "+ go on\n" },
		{ "+eyJ9\r\n", "+ eyJ9\n" },
		{ "+ text {3}\r\n* OK\r\n", "+ text {3}\n* OK\n" },
	};
	check_rows(rows, G_N_ELEMENTS(rows));
}

static void
test_data_responses(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "* 5 EXISTS\r\n", "* 5 EXISTS\n" },
		{ "*  5  exists \n", "* 5 EXISTS\n" },
		{ "* 4294967295 EXPUNGE\r\r\n", "* 4294967295 EXPUNGE\n" },
		{ "\r\n\n* 1 RECENT\n", "* 1 RECENT\n" },
		{ "* SEARCH\r\n", "* SEARCH #\n" },
		{ "* SEARCH 1 2 (MODSEQ 9)\r\n", "* SEARCH #1 2 (MODSEQ 9)\n" },
		{ "* LIST () \"/\" \"a \\\"b\\\\\"\r\n", "* LIST () \"/\" \"a \"b\\\"\n" },
		{ "* LIST (\\Noselect) nil box\r\n", "* LIST (\\Noselect) nil box\n" },
		{ "* LIST () \"\\\" \"x\"\r\n", "* LIST () \"\\\" \"x\"\n" },
		{ "* LIST () \"\\\\\" {3+}\r\na\\b\r\n", "* LIST () \"\\\" \"a\\b\"\n" },
		{ "* LIST () \"/\" [Gmail]/All\r\n", "* LIST () \"/\" [Gmail]/All\n" },
		{ "* LIST () \"/\" a\tb\r\n", "* LIST () \"/\" a\tb\n" },
		{ "* LIST () \"/\" {0}\r\n \"x\"\r\n", "* LIST () \"/\" \"\" \"x\"\n" },
		{ "* LIST () \"/\" Entw\xfcrfe\r\n", "* LIST () \"/\" Entw\xfcrfe\n" },
		{ "* LIST () \"/\" {9}x\r\n", "* LIST () \"/\" {9}x\n" },
		{ "* STATUS {5}\r\nINBOX (MESSAGES 1 )\r\n", "* STATUS \"INBOX\" (MESSAGES 1)\n" },
		{ "* QUOTA \"\" (STORAGE 9.37e+06 1)\r\n", "* QUOTA \"\" (STORAGE 9.37e+06 1)\n" },
		{ "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", "* NAMESPACE ((\"\" \"/\")) NIL NIL\n" },
		{ "* FLAGS (\"\\Deleted\" \"\\\\Seen\" 1 NIL \\*)\r\n",
		  "* FLAGS (\"\\Deleted\" \"\\Seen\" 1 NIL \\*)\n" },
		{ "* FLAGS ())\r\n", "* FLAGS ()\n" },
	};
	check_rows(rows, G_N_ELEMENTS(rows));
}

static void
test_fetch_streams_bodies_alone(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "* 1 FETCH (FLAGS (\\Seen) UID 7)\r\n", "* 1 FETCH (FLAGS (\\Seen) UID 7)\n" },
		{ "* 1 FETCH(UID 7)\r\n", "* 1 FETCH (UID 7)\n" },
		{ "* 1 FETCH (UID 7 BODY[] {5}\r\nhello FLAGS ())\r\n",
		  "* 1 FETCH (UID 7 BODY[] <5>) BODY[]=hello.\n"
		  "* 1 FETCH (UID 7 BODY[] <5> FLAGS ())\n" },
		{ "* 1 FETCH (BODY[]<0>~{3}\r\na\nb UID 7)\r\n",
		  "* 1 FETCH (BODY[]<0> <3>) BODY[]<0>=a\nb.\n* 1 FETCH (BODY[]<0> <3> UID 7)\n" },
		{ "* 1 FETCH (rfc822 {0}\r\n)\r\n",
		  "* 1 FETCH (rfc822 <0>) rfc822=.\n* 1 FETCH (rfc822 <0>)\n" },
		{ "* 1 FETCH (BINARY[1.2] {1}\r\nx)\r\n",
		  "* 1 FETCH (BINARY[1.2] <1>) BINARY[1.2]=x.\n* 1 FETCH (BINARY[1.2] <1>)\n" },
		{ "* 1 FETCH (BODY[TEXT] {1}\r\nx BODY[1] {1}\ny)\n",
		  "* 1 FETCH (BODY[TEXT] <1>) BODY[TEXT]=x.\n"
		  "* 1 FETCH (BODY[TEXT] <1> BODY[1] <1>) BODY[1]=y.\n"
		  "* 1 FETCH (BODY[TEXT] <1> BODY[1] <1>)\n" },
		{ "* 1 FETCH (BODY[HEADER.FIELDS (DATE \"X ]\")]<0> {4}\r\na: b RFC822.HEADER {0}\r\n)\r\n",
		  "* 1 FETCH (BODY[HEADER.FIELDS (DATE \"X ]\")]<0> \"a: b\" RFC822.HEADER \"\")\n" },
		{ "* 1 FETCH (BODY[1.MIME] {1}\r\nx BODY[2.HEADER] {1}\r\ny)\r\n",
		  "* 1 FETCH (BODY[1.MIME] \"x\" BODY[2.HEADER] \"y\")\n" },
		{ "* 1 FETCH (BODY[] NIL RFC822 \"\" BODY[] \"x\")\r\n",
		  "* 1 FETCH (BODY[] NIL RFC822 \"\" BODY[] \"x\")\n" },
		{ "* 1 FETCH (FLAGS (a[b c]d {x}) UID 1)\r\n",
		  "* 1 FETCH (FLAGS (a[b c]d {x}) UID 1)\n" },
		/* A mailbox, not an item. */
		{ "* STATUS RFC822 (X {1}\r\nx)\r\n", "* STATUS RFC822 (X \"x\")\n" },
		{ "* LIST () RFC822 {1}\r\nx\r\n", "* LIST () RFC822 \"x\"\n" },
	};
	check_rows(rows, G_N_ELEMENTS(rows));
}

static void
test_what_is_not_understood_is_skipped(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "CAPABILITY completed.\r\n* 1 EXISTS\r\n", "skipped at 0\n* 1 EXISTS\n" },
		{ "* 1 FETCH (UID 1\r\n* 2 EXISTS\r\n", "skipped at 16\n* 2 EXISTS\n" },
		{ "* LIST () \"/ x\r\na OK\r\n", "skipped at 10\na OK\n" },
		{ "* 4294967296 EXISTS\r\n", "skipped at 2\n" },
		{ "* 5\r\n*\r\n", "skipped at 3\nskipped at 6\n" },
		{ "* 1 FETCH (BODY[ {3}\r\n* x BODY[] {3}\r\nabc)\r\na OK\r\n",
		  "skipped at 11\na OK\n" },
		{ "* X (\" a {4}\r\n*\r\n\n b {2}\r\nxx)\r\n* 1 EXISTS\r\n",
		  "skipped at 5\n* 1 EXISTS\n" },
		/* Bodies that were handed out before: the caller drops them with the rest. */
		{ "* 1 FETCH (BODY[] {1}\r\nx \"\r\n",
		  "* 1 FETCH (BODY[] <1>) BODY[]=x.\nskipped at 25\n" },
	};
	check_rows(rows, G_N_ELEMENTS(rows));
}

static void
test_out_of_step_is_fatal(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "* 1 FETCH (BODY[] {3}\r\nabcd)\r\n* OK\r\n",
		  "* 1 FETCH (BODY[] <3>) BODY[]=abc.\nfatal\n" },
		{ "* LIST () \"/\" {1}\r\nab\r\n", "fatal\n" },
		{ "* X \" {1}\r\nab\r\n", "fatal\n" },
		{ "* X {99999999999999999999}\r\n", "fatal\n" },
		{ "* X {-1}\r\n", "fatal\n" },
		{ "* X {}\r\n", "fatal\n" },
		{ "* 1 FETCH (BODY[] {1099511627777}\r\n", "fatal\n" },
		/* What follows may be a message that somebody wrote to look like a response. */
		{ "stray line {22}\r\na1 OK\r\n", "fatal\n" },
	};
	check_rows(rows, G_N_ELEMENTS(rows));
}

static void
test_literals_may_hold_anything(void **state)
{
	(void)state;
	static const char input[] = "* 1 FETCH (BODY[] {6}\r\na\0\r\n))"
	                            ")\r\n* LIST () \"/\" {3}\r\n\0\r\n\r\n";
	struct imap_parser *parser = imap_parser_new();
	size_t at = 0, used, len, seen = 0;
	enum imap_parse what;
	do {
		what = imap_parser_feed(parser, input + at, sizeof input - 1 - at, &used);
		if (what == IMAP_PARSE_LITERAL_DATA) {
			const char *data = imap_parser_data(parser, &len);
			assert_ptr_equal(data, input + at); /* no copy is made */
			assert_memory_equal(data, "a\0\r\n))", 6);
			seen += len;
		}
		at += used;
		if (what == IMAP_PARSE_RESPONSE && at == sizeof input - 1) {
			const struct imap_arg *name = &imap_parser_response(parser)->args[2];
			assert_int_equal(name->len, 3);
			assert_memory_equal(name->str, "\0\r\n", 4);
			seen++;
		}
	} while (what != IMAP_PARSE_MORE);
	assert_int_equal(seen, 7);
	imap_parser_free(&parser);
}

static void
test_each_limit(void **state)
{
	(void)state;
	struct imap_limits limits = { .line = 40, .numbers = 60, .literal = 10, .discard = 20,
		                      .arena = 100000, .stream = 100, .depth = 2, .args = 5 };
	static const struct row rows[] = {
		{ "* OK 678901234567890123456789012345678\r\n",
		  "* OK 678901234567890123456789012345678\n" },
		{ "* OK 6789012345678901234567890123456789012\r\n", "fatal\n" },
		{ "* OK 6789012345678901234567890123456789012", "fatal\n" },
		{ "* SEARCH 1234567 1234567 1234567 1234567 1234567\r\n",
		  "* SEARCH #1234567 1234567 1234567 1234567 1234567\n" },
		{ "* X a {1}\r\nb c {1}\r\nd e {1}\r\nf g {1}\r\nh i {1}\r\nj\r\n", "fatal\n" },
		{ "* X {10}\r\n1234567890\r\n", "* X \"1234567890\"\n" },
		{ "* X {11}\r\n12345678901\r\na OK\r\n", "skipped at 8\na OK\n" },
		{ "* X {21}\r\n", "fatal\n" },
		{ "* 1 FETCH (BODY[] {101}\r\n", "fatal\n" },
		{ "* X ((1))\r\n", "* X ((1))\n" },
		{ "* X (((1)))\r\na OK\r\n", "skipped at 6\na OK\n" },
		{ "* X 1 2 3 4 5\r\n", "* X 1 2 3 4 5\n" },
		{ "* X 1 2 3 4 5 6\r\na OK\r\n", "skipped at 15\na OK\n" },
		{ "a OK [X 1 2 3 4 5 6] t\r\n", "a OK [X 1 2 3 4 5 6] t\n" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		check(&limits, rows[i].input, strlen(rows[i].input), rows[i].expected);
	limits.arena = 32;
	limits.line = 1000;
	check(&limits, "* X (1 2)\r\n* 1 EXISTS\r\n", 23, "skipped at 8\n* 1 EXISTS\n");
}

/* The default limits stand up to a hostile server, in little time. */
static void
test_hostile_floods(void **state)
{
	(void)state;
	GString *flood = g_string_new("* X ");
	for (int i = 0; i < 500000; i++)
		g_string_append_c(flood, '(');
	g_string_append(flood, "\r\n* 1 EXISTS\r\n");
	char *text = dump(NULL, flood->str, flood->len, 4096);
	assert_string_equal(text, "skipped at 36\n* 1 EXISTS\n");
	g_free(text);
	g_string_assign(flood, "* X ");
	for (int i = 0; i < 200000; i++)
		g_string_append(flood, "\"\\\\\" ");
	g_string_append(flood, "\r\n* 1 EXISTS\r\n");
	text = dump(NULL, flood->str, flood->len, 4096);
	assert_true(g_str_has_prefix(text, "skipped at ") && g_str_has_suffix(text, "* 1 EXISTS\n"));
	g_free(text);
	g_string_assign(flood, "* OK ");
	for (unsigned i = 0; i <= IMAP_LINE_MAX; i++)
		g_string_append_c(flood, 'x');
	text = dump(NULL, flood->str, flood->len, SIZE_MAX);
	assert_string_equal(text, "fatal\n");
	g_free(text);
	g_string_assign(flood, "* SEARCH");
	for (unsigned i = 1; i <= 300000; i++)
		g_string_append_printf(flood, " %u", i);
	g_string_append(flood, "\r\n");
	text = dump(NULL, flood->str, flood->len, SIZE_MAX);
	assert_true(strlen(text) > IMAP_LINE_MAX && g_str_has_prefix(text, "* SEARCH #1 2 "));
	g_free(text);
	g_string_free(flood, TRUE);
}

static void
test_fatal_lasts_until_reset(void **state)
{
	(void)state;
	struct imap_parser *parser = imap_parser_new();
	size_t used = 99;
	assert_int_equal(imap_parser_feed(parser, "* X {}\r\n", 8, &used), IMAP_PARSE_FATAL);
	assert_int_equal(imap_parser_feed(parser, "* OK\r\n", 6, &used), IMAP_PARSE_FATAL);
	assert_int_equal(used, 0);
	assert_false(imap_parser_idle(parser));
	imap_parser_reset(parser);
	assert_true(imap_parser_idle(parser));
	assert_int_equal(imap_parser_feed(parser, "* 1 FETCH (X {3}\r\nab", 20, &used), IMAP_PARSE_MORE);
	assert_false(imap_parser_idle(parser));
	imap_parser_reset(parser);
	assert_int_equal(imap_parser_feed(parser, "a OK\r\nmore", 10, &used), IMAP_PARSE_RESPONSE);
	assert_int_equal(used, 6); /* what follows is still the caller's */
	assert_true(imap_parser_idle(parser));
	assert_int_equal(imap_parser_feed(parser, "", 0, &used), IMAP_PARSE_MORE);
	imap_parser_free(&parser);
	imap_parser_free(&parser);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_responses),
		cmocka_unit_test(test_data_responses),
		cmocka_unit_test(test_fetch_streams_bodies_alone),
		cmocka_unit_test(test_what_is_not_understood_is_skipped),
		cmocka_unit_test(test_out_of_step_is_fatal),
		cmocka_unit_test(test_literals_may_hold_anything),
		cmocka_unit_test(test_each_limit),
		cmocka_unit_test(test_hostile_floods),
		cmocka_unit_test(test_fatal_lasts_until_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
