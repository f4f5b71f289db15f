/* SPDX-License-Identifier: MIT */
/* Tests of imap/names and imap/utf7: names of mailboxes, there and back. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap/names.h"
#include "imap/utf7.h"
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf7_is_strict_and_reversible),
		cmocka_unit_test(test_mailbox_names),
		cmocka_unit_test(test_components_lead_back),
		cmocka_unit_test(test_trash_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
