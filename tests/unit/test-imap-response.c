/* SPDX-License-Identifier: MIT */
/* Tests of the decoders: each response's typed value, and that what is malformed gives none. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap/command.h"
#include "imap/response.h"

static struct imap_parser *parser;

/* Valid until the next one. */
static const struct imap_response *
parse(const char *text)
{
	size_t used, len = strlen(text);
	enum imap_parse what;
	if (parser == NULL)
		parser = imap_parser_new();
	do {
		what = imap_parser_feed(parser, text, len, &used);
		text += used;
		len -= used;
		assert_int_not_equal(what, IMAP_PARSE_SKIPPED);
		assert_int_not_equal(what, IMAP_PARSE_FATAL);
		assert_int_not_equal(what, IMAP_PARSE_MORE);
	} while (what != IMAP_PARSE_RESPONSE);
	return imap_parser_response(parser);
}

static int
teardown(void **state)
{
	(void)state;
	imap_parser_free(&parser);
	return 0;
}

static void
test_types_need_their_number(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum imap_type type;
	} table[] = {
		{ "* 3 EXISTS\r\n", IMAP_TYPE_EXISTS },   { "* EXISTS\r\n", IMAP_TYPE_OTHER },
		{ "* 3 expunge\r\n", IMAP_TYPE_EXPUNGE }, { "* 0 RECENT\r\n", IMAP_TYPE_RECENT },
		{ "* 3 LIST () \"/\" x\r\n", IMAP_TYPE_OTHER },
		{ "* FETCH (UID 1)\r\n", IMAP_TYPE_OTHER }, { "* OK\r\n", IMAP_TYPE_STATE },
		{ "* FLAGS ()\r\n", IMAP_TYPE_FLAGS },    { "a OK\r\n", IMAP_TYPE_OTHER },
		{ "* XYZZY\r\n", IMAP_TYPE_OTHER },       { "+ x\r\n", IMAP_TYPE_OTHER },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		assert_int_equal(imap_response_type(parse(table[i].text)), table[i].type);
}

static void
test_numbers_must_fit(void **state)
{
	(void)state;
	const struct imap_response *response = parse(
		"* X 4294967295 4294967296 18446744073709551615 18446744073709551616 -1 1e3 \"7\" ()\r\n");
	uint32_t small = 99;
	uint64_t large = 99;
	assert_true(imap_arg_u32(&response->args[0], &small) && small == UINT32_MAX);
	assert_false(imap_arg_u32(&response->args[1], &small));
	assert_true(imap_arg_u64(&response->args[1], &large) && large == UINT64_C(4294967296));
	assert_true(imap_arg_u64(&response->args[2], &large) && large == UINT64_MAX);
	for (unsigned i = 3; i < 8; i++)
		assert_int_equal(imap_arg_u64(&response->args[i], &large), i == 6);
	assert_int_equal(large, 7);
	assert_int_equal(small, UINT32_MAX);
}

static void
test_fetch_takes_what_it_can(void **state)
{
	(void)state;
	struct imap_fetch fetch;
	assert_true(imap_fetch_decode(
		parse("* 2 FETCH (FLAGS (\"\\Deleted\" 1 NIL $Junk \\Odd) X-GUID abc RFC822.SIZE 9e9 "
	              "INTERNALDATE \"00-Jan-0000 00:00:00 +0000\" MODSEQ (0) EMAILID (M1) "
	              "THREADID NIL UID 4)\r\n"),
		&fetch));
	assert_int_equal(fetch.seq, 2);
	assert_int_equal(fetch.uid, 4);
	assert_int_equal(fetch.flags.bits, IMAP_FLAG_DELETED);
	assert_int_equal(fetch.flags.keyword_count, 4);
	assert_string_equal(fetch.flags.keywords[3], "\\Odd");
	assert_string_equal(fetch.guid, "abc");
	assert_string_equal(fetch.emailid, "M1");
	assert_null(fetch.threadid);
	assert_false(fetch.has_size || fetch.has_internaldate || fetch.has_modseq);
	assert_null(fetch.header);
	assert_int_equal(fetch.body.state, IMAP_BODY_ABSENT);
	/* A value too many does not turn names and values around. */
	assert_true(imap_fetch_decode(parse("* 2 FETCH (FLAGS () () UID 4)\r\n"), &fetch));
	assert_int_equal(fetch.uid, 4);
	assert_true(imap_fetch_decode(parse("* 9 UIDFETCH (FLAGS (\\Seen))\r\n"), &fetch));
	assert_true(fetch.uid == 9 && fetch.seq == 0);
	assert_true(imap_fetch_decode(
		parse("* 1 FETCH (X-GM-MSGID 1278455344230334865 X-GM-LABELS (\"\\\\Inbox\" a) UID 0)\r\n"),
		&fetch));
	assert_true(fetch.gm_msgid == UINT64_C(1278455344230334865) && fetch.uid == 0);
	assert_int_equal(fetch.gm_label_count, 2);
	assert_string_equal(fetch.gm_labels[0], "\\Inbox");
	static const char *const bad[] = { "* 0 FETCH (UID 1)\r\n", "* 1 FETCH\r\n",
		                           "* 1 FETCH UID 1\r\n", "* FETCH (UID 1)\r\n" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_false(imap_fetch_decode(parse(bad[i]), &fetch));
}

static void
test_fetch_bodies(void **state)
{
	(void)state;
	static const struct {
		const char *item;
		int section; /* its length; -1: no body */
		bool header;
		int64_t origin;
	} table[] = {
		{ "BODY[]", 0, false, -1 },          { "body[]<12>", 0, false, 12 },
		{ "RFC822", 0, false, -1 },          { "RFC822.TEXT", 4, false, -1 },
		{ "BINARY[1]", 1, false, -1 },       { "BODY[1.2]<0>", 3, false, 0 },
		{ "BODY[HEADER]", -1, true, -1 },    { "RFC822.HEADER", -1, true, -1 },
		{ "body[header.fields (A)]", -1, true, -1 },
		{ "BODY[1.HEADER]", -1, false, -1 }, { "BODY[1.MIME]", -1, false, -1 },
		{ "RFC822.SIZE", -1, false, -1 },    { "BODY", -1, false, -1 },
		{ "BODY[", -1, false, -1 },          { "BINARY.SIZE[1]", -1, false, -1 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct imap_body body = { 0 };
		const char *item = table[i].item;
		assert_int_equal(imap_body_item(item, strlen(item), &body), table[i].section >= 0);
		assert_int_equal(imap_header_item(item, strlen(item)), table[i].header);
		if (table[i].section >= 0)
			assert_int_equal(body.section_len, table[i].section);
		assert_int_equal(body.has_origin, table[i].origin >= 0);
		if (body.has_origin)
			assert_int_equal(body.origin, table[i].origin);
	}
	struct imap_fetch fetch;
	imap_fetch_decode(parse("* 1 FETCH (BODY[1] \"x\" BODY[]<3> \"abc\")\r\n"), &fetch);
	assert_true(fetch.body.state == IMAP_BODY_STRING && fetch.body.section_len == 0);
	assert_true(fetch.body.len == 3 && fetch.body.origin == 3 && fetch.body_count == 2);
	imap_fetch_decode(parse("* 1 FETCH (RFC822.HEADER \"a: b\" BODY[HEADER] \"\")\r\n"), &fetch);
	assert_int_equal(fetch.header_len, 4);
	imap_fetch_decode(parse("* 1 FETCH (BODY[] NIL)\r\n"), &fetch);
	assert_int_equal(fetch.body.state, IMAP_BODY_NIL);
}

static void
test_list(void **state)
{
	(void)state;
	static const struct {
		const char *text, *name, *delimiter;
		uint32_t attrs;
	} table[] = {
		{ "* LIST (\\hasnochildren \\Trash) \"/\" \"a b\"\r\n", "a b", "/",
		  IMAP_ATTR_HASNOCHILDREN | IMAP_USE_TRASH },
		{ "* LIST (\\NonExistent) NIL x\r\n", "x", NULL,
		  IMAP_ATTR_NONEXISTENT | IMAP_ATTR_NOSELECT },
		{ "* LSUB () \"\" NIL\r\n", "NIL", NULL, 0 },
		{ "* XLIST (\\Spam \\Starred \\AllMail \\X) \"->\" {3}\r\na\"b\r\n", "a\"b", "->",
		  IMAP_USE_JUNK | IMAP_USE_FLAGGED | IMAP_USE_ALL },
		{ "* LIST () \"\\\" A & B\r\n", "A & B", "\\", 0 },
		{ "* LIST () / x (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n", "x", "/", 0 },
	};
	struct imap_list list;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		assert_true(imap_list_decode(parse(table[i].text), &list));
		assert_int_equal(list.name_len, strlen(table[i].name));
		assert_string_equal(list.name, table[i].name);
		assert_int_equal(list.delimiter == NULL, table[i].delimiter == NULL);
		if (list.delimiter != NULL)
			assert_string_equal(list.delimiter, table[i].delimiter);
		assert_int_equal(list.attrs, table[i].attrs);
	}
	static const char *const bad[] = { "* LIST\r\n", "* LIST () \"/\"\r\n", "* LIST x \"/\" y\r\n",
		                           "* LIST () \"/\" ()\r\n", "* LIST () () x\r\n" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_false(imap_list_decode(parse(bad[i]), &list));
}

static void
test_status(void **state)
{
	(void)state;
	struct imap_mailbox_status status;
	assert_true(imap_status_decode(
		parse("* STATUS {3}\r\na b (MESSAGES 3 UIDNEXT 4294967296 UIDVALIDITY 1099511627776 "
	              "HIGHESTMODSEQ 0 UNSEEN x SIZE 9 MAILBOXID (F1) ODD 7 DELETED 1 )\r\n"),
		&status));
	assert_string_equal(status.name, "a b");
	assert_true(status.has_messages && status.messages == 3);
	assert_false(status.has_uidnext || status.has_unseen || status.has_recent);
	assert_true(status.has_uidvalidity && status.uidvalidity == UINT64_C(1099511627776));
	assert_true(status.has_highestmodseq && status.highestmodseq == 0);
	assert_true(status.has_size && status.has_deleted);
	assert_string_equal(status.mailboxid, "F1");
	assert_true(imap_status_decode(parse("* STATUS x ()\r\n"), &status));
	assert_false(status.has_messages);
	assert_false(imap_status_decode(parse("* STATUS x\r\n"), &status));
}

static char *
set_of(const struct seqset *set)
{
	GString *text = g_string_new(NULL);
	seqset_format(set, text);
	return g_string_free(text, FALSE);
}

static void
test_sets_in_responses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *set; /* NULL: none of it counts */
	} table[] = {
		{ "* SEARCH\r\n", "" },
		{ "* SEARCH 5 3  4 0 9\r\n", "3:5,9" },
		{ "* SEARCH 1 2 (MODSEQ 917)\r\n", "1:2" },
		{ "* SEARCH 1:5\r\n", NULL },
		{ "* SEARCH 1 4294967296\r\n", NULL },
		{ "* SEARCH 1 x\r\n", NULL },
		{ "* ESEARCH (TAG \"a1\") UID COUNT 3 ALL 7,1:2 MODSEQ 9\r\n", "1:2,7" },
		{ "* ESEARCH (TAG \"a1\") UID\r\n", "" },
		{ "* ESEARCH UID ALL 1,x\r\n", NULL },
		{ "* ESEARCH UID ALL ()\r\n", NULL },
		{ "* VANISHED (EARLIER) 41,43:116\r\n", "41,43:116" },
		{ "* VANISHED 1:4294967294\r\n", "1:4294967294" },
		{ "* VANISHED (EARLIER)\r\n", NULL },
		{ "* VANISHED 1:*\r\n", NULL },
		{ "* VANISHED 1,\r\n", NULL },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		const struct imap_response *response = parse(table[i].text);
		struct seqset *set = seqset_new();
		struct imap_esearch esearch = { 0 };
		uint64_t modseq = 99;
		bool earlier;
		bool ok = imap_search_decode(response, set, &modseq) ||
		          imap_esearch_decode(response, set, &esearch) ||
		          imap_vanished_decode(response, set, &earlier);
		assert_int_equal(ok, table[i].set != NULL);
		char *text = set_of(set);
		assert_string_equal(text, ok ? table[i].set : "");
		if (i == 2)
			assert_int_equal(modseq, 917);
		if (i == 6)
			assert_true(esearch.uid && esearch.has_all && esearch.count == 3 &&
			            esearch.modseq == 9 && strcmp(esearch.tag, "a1") == 0);
		if (i == 7)
			assert_false(esearch.has_all || esearch.has_count);
		g_free(text);
		seqset_free(&set);
	}
}

static void
test_the_rest(void **state)
{
	(void)state;
	struct imap_namespaces spaces;
	struct imap_quota quota;
	struct imap_quotaroot root;
	assert_true(imap_namespaces_decode(
		parse("* NAMESPACE ((\"INBOX.\" \".\" \"X\" (\"Y\")) (\"#\" NIL) ()) NIL\r\n"), &spaces));
	assert_true(spaces.personal_count == 2 && spaces.other_count == 0);
	assert_string_equal(spaces.personal[0].prefix, "INBOX.");
	assert_null(spaces.personal[1].delimiter);
	assert_true(imap_quota_decode(
		parse("* QUOTA \"\" (STORAGE 10 512 X 9.37e+06 1 MESSAGE 1 2)\r\n"), &quota));
	assert_true(quota.count == 2 && quota.resources[0].limit == 512);
	assert_string_equal(quota.resources[1].name, "MESSAGE");
	assert_false(imap_quota_decode(parse("* QUOTA x\r\n"), &quota));
	assert_true(imap_quotaroot_decode(parse("* QUOTAROOT INBOX \"\" b\r\n"), &root));
	assert_true(root.count == 2 && strcmp(root.roots[1], "b") == 0);
	const struct imap_response *response = parse("* ID (\"NAME\" \"x\" \"os\" NIL \"odd\")\r\n");
	assert_string_equal(imap_id_get(response, "name"), "x");
	assert_null(imap_id_get(response, "os"));
	assert_null(imap_id_get(response, "odd"));
	assert_null(imap_id_get(parse("* ID NIL\r\n"), "name"));
}

static void
test_codes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum fault_kind fault;
	} table[] = {
		{ "a OK x\r\n", FAULT_NONE },
		{ "a NO x\r\n", FAULT_REFUSED },
		{ "a BAD x\r\n", FAULT_PROTOCOL },
		{ "a NO [nonexistent] x\r\n", FAULT_GONE },
		{ "a NO [TRYCREATE]\r\n", FAULT_GONE },
		{ "a NO [READ-ONLY]\r\n", FAULT_READONLY },
		{ "a NO [NOPERM]\r\n", FAULT_DENIED },
		{ "a NO [OVERQUOTA]\r\n", FAULT_QUOTA },
		{ "a BAD [TOOBIG]\r\n", FAULT_TOOBIG },
		{ "a NO [ALREADYEXISTS]\r\n", FAULT_EXISTS },
		{ "a NO [CANNOT]\r\n", FAULT_INVALID },
		{ "a NO [UNAVAILABLE]\r\n", FAULT_BUSY },
		{ "a NO [AUTHENTICATIONFAILED]\r\n", FAULT_AUTH },
		{ "a NO [XYZZY 1]\r\n", FAULT_REFUSED },
		{ "* BYE\r\n", FAULT_UNREACHABLE },
		{ "* BYE [UNAVAILABLE]\r\n", FAULT_BUSY },
		{ "* PREAUTH\r\n", FAULT_NONE },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		const struct imap_response *response = parse(table[i].text);
		assert_int_equal(imap_code_fault(response->status, imap_response_code(response)),
		                 table[i].fault);
	}
	for (int code = IMAP_CODE_ALERT; code <= IMAP_CODE_UNSEEN; code++) {
		char *text = g_strdup_printf("* OK [%s 1]\r\n", imap_code_name((enum imap_code)code));
		assert_int_equal(imap_response_code(parse(text)), code);
		g_free(text);
	}
	uint64_t number;
	uint32_t uid;
	const char *id;
	struct imap_flags flags;
	assert_true(imap_code_number(parse("* OK [UIDVALIDITY 1099511627776]\r\n"), &number));
	assert_int_equal(number, UINT64_C(1099511627776));
	assert_false(imap_code_number(parse("* OK [UIDNEXT]\r\n"), &number));
	assert_false(imap_code_number(parse("* OK [HIGHESTMODSEQ -1]\r\n"), &number));
	assert_true(imap_code_id(parse("* OK [MAILBOXID (F1)] x\r\n"), &id));
	assert_string_equal(id, "F1");
	assert_true(imap_code_flags(parse("* OK [PERMANENTFLAGS (\\* a)]\r\n"), &flags));
	assert_true(flags.bits == IMAP_FLAG_ANY && flags.keyword_count == 1);
	assert_true(imap_appenduid_decode(parse("a OK [APPENDUID 38 3955] x\r\n"), &number, &uid));
	assert_true(number == 38 && uid == 3955);
	assert_false(imap_appenduid_decode(parse("a OK [APPENDUID 38 1:2] x\r\n"), &number, &uid));
	assert_true(imap_messagelimit_decode(parse("a OK [MESSAGELIMIT 1000 23221] x\r\n"), &uid));
	assert_int_equal(uid, 23221);
	assert_true(imap_messagelimit_decode(parse("a NO [MESSAGELIMIT 1000] x\r\n"), &uid));
	assert_int_equal(uid, 0);
	assert_false(imap_messagelimit_decode(parse("a NO [LIMIT] x\r\n"), &uid));
}

static void
test_capabilities_bring_others(void **state)
{
	(void)state;
	struct imap_caps caps;
	assert_true(imap_caps_decode(parse("a OK [CAPABILITY IMAP4rev1 QRESYNC LITERAL+ "
	                                   "appendlimit=35651584 X-Y LITERAL +] x\r\n"), &caps));
	assert_true(imap_caps_has(&caps, IMAP_CAP_CONDSTORE) && imap_caps_has(&caps, IMAP_CAP_ENABLE));
	assert_true(imap_caps_has(&caps, IMAP_CAP_LITERAL_MINUS));
	assert_true(caps.has_appendlimit && caps.appendlimit == 35651584);
	assert_true(imap_caps_decode(parse("* CAPABILITY CONDSTORE\r\n"), &caps));
	assert_false(imap_caps_has(&caps, IMAP_CAP_ENABLE));
	assert_false(imap_caps_has(&caps, IMAP_CAP_QRESYNC));
	assert_false(imap_caps_decode(parse("* OK [CAPABILITY\r\n"), &caps));
	assert_false(imap_caps_decode(parse("* FLAGS ()\r\n"), &caps));
	assert_true(imap_enabled_decode(parse("* ENABLED qresync\r\n"), &caps));
	assert_true(imap_caps_has(&caps, IMAP_CAP_QRESYNC));
	/* More mechanisms than there is room for are left out. */
	for (int i = 0; i < 1000; i++) {
		char word[32];
		g_snprintf(word, sizeof word, "AUTH=MECH-%d", i);
		imap_caps_add(&caps, word);
	}
	assert_true(imap_caps_auth(&caps, "mech-7"));
	assert_false(imap_caps_auth(&caps, "MECH-999"));
}

static void
test_literals_in_commands(void **state)
{
	(void)state;
	static const struct {
		enum imap_literals literals;
		size_t len;
		unsigned pieces;
		const char *head;
	} table[] = {
		{ IMAP_LITERALS_SYNC, 5, 2, "X {5}\r\n" },
		{ IMAP_LITERALS_MINUS, 4096, 1, "X {4096+}\r\n" },
		{ IMAP_LITERALS_MINUS, 4097, 2, "X {4097}\r\n" },
		{ IMAP_LITERALS_PLUS, 4097, 1, "X {4097+}\r\n" },
		{ IMAP_LITERALS_PLUS, 200000, 2, "X {200000}\r\n" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct imap_command *command = imap_command_new("X", table[i].literals);
		char *data = g_malloc(table[i].len);
		size_t len, all = 0;
		bool wait;
		memset(data, '\n', table[i].len);
		imap_command_astring(command, data, table[i].len);
		assert_true(imap_command_end(command, NULL));
		assert_int_equal(imap_command_pieces(command), table[i].pieces);
		assert_true(g_str_has_prefix(imap_command_piece(command, 0, &len, &wait),
		                             table[i].head));
		for (unsigned p = 0; p < table[i].pieces; p++) {
			imap_command_piece(command, p, &len, &wait);
			assert_int_equal(wait, p > 0);
			all += len;
		}
		assert_int_equal(all, strlen(table[i].head) + table[i].len + 2);
		assert_null(strchr(imap_command_trace(command), '\n'));
		g_free(data);
		imap_command_free(&command);
	}
	struct imap_command *command = imap_command_new("APPEND", IMAP_LITERALS_PLUS);
	size_t len;
	bool wait;
	imap_command_mailbox(command, "Entw\xc3\xbcrfe", 9);
	imap_command_date_time(command, 10);
	imap_command_number(command, UINT64_MAX);
	imap_command_literal(command, "a\0b", 3, true);
	assert_true(imap_command_end(command, NULL));
	static const char expected[] = "APPEND {9+}\r\nEntw\xc3\xbcrfe \"01-Jan-1970 00:00:10 +0000\" "
	                               "18446744073709551615 ~{3+}\r\na\0b\r\n";
	const char *piece = imap_command_piece(command, 0, &len, &wait);
	assert_int_equal(len, sizeof expected - 1);
	assert_memory_equal(piece, expected, len);
	imap_command_free(&command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types_need_their_number),
		cmocka_unit_test(test_numbers_must_fit),
		cmocka_unit_test(test_fetch_takes_what_it_can),
		cmocka_unit_test(test_fetch_bodies),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_sets_in_responses),
		cmocka_unit_test(test_the_rest),
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_capabilities_bring_others),
		cmocka_unit_test(test_literals_in_commands),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
