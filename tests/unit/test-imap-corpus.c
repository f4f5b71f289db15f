/* SPDX-License-Identifier: MIT */
/* Tests of the parser and the decoders on a corpus of responses, however it is fed. */
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
#include "imap/response.h"
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus_is_understood_however_it_is_fed),
		cmocka_unit_test(test_limits_hold),
		cmocka_unit_test(test_fetch_is_decoded),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_copyuid_is_all_or_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
