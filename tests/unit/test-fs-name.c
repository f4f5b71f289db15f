/* SPDX-License-Identifier: MIT */
/* Tests of fs/name: names from headers of every kind. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/name.h"

#define DATE "Date: Fri, 3 May 2024 16:12:05 +0200\r\n"
#define DAY  "2024-05-03T141205_"

/* The name without its digest: what stands before the last "_". */
static char *
name_of(const char *header, size_t len, int64_t internaldate)
{
	unsigned char identity[NAME_IDENTITY_SIZE];
	GString *name = g_string_new(NULL);
	name_from_header(header, len, internaldate, name, identity);
	assert_true(g_utf8_validate(name->str, (gssize)name->len, NULL));
	assert_true(name->len <= 255);
	assert_true(g_str_has_suffix(name->str, ".eml"));
	assert_true(name->str[0] != '-' && name->str[0] != '.');
	char *last = strrchr(name->str, '_');
	assert_non_null(last);
	assert_int_equal(strlen(last), 1 + 10 + 4);
	unsigned bars = 0;
	for (const char *c = name->str; *c != 0; c += g_utf8_skip[(unsigned char)*c]) {
		gunichar u = g_utf8_get_char(c);
		bars += u == '_';
		assert_true(g_unichar_isalnum(u) || g_unichar_ismark(u) || strchr("-_.~", (int)u));
	}
	assert_int_equal(bars, 3);
	*last = '\0';
	return g_string_free(name, FALSE);
}

static void
test_table(void **state)
{
	(void)state;
	static const struct {
		const char *header, *name;
	} table[] = {
		{ DATE "From: Alice Smith <a@example.org>\r\nSubject: Re: Lunch on Friday\r\n",
		  DAY "Alice-Smith_Re-Lunch-on-Friday" },
		{ DATE "From: a.b@example.org\r\nSubject:\r\n", DAY "a-b-example-org_" },
		{ DATE "From: \"Smith, Alice\" <a@b>\r\n", DAY "Smith-Alice_" },
		{ DATE "From: <a@b.c>\r\nSubject: x\r\n", DAY "a-b-c_x" },
		{ DATE "From: a@b (Alice Comment)\r\n", DAY "Alice-Comment_" },
		{ DATE "From: Team: x@y.z, b@c;\r\n", DAY "Team_" },
		{ DATE "From: \r\nSubject: x\r\n", DAY "_x" },
		{ DATE "Subject: -rf .. /etc/passwd; $(rm) `x` *?\r\n", DAY "_rf-etc-passwd-rm-x" },
		{ DATE "Subject: a\033[2Jb\x07\r\n", DAY "_a-2Jb" },
		{ DATE "Subject: =?UTF-8?B?U2Now7ZuZSBHcsO8w59l?=\r\n", DAY "_Schöne-Grüße" },
		{ DATE "Subject: =?iso-8859-1?Q?Sch=F6ne?= =?iso-8859-1?Q?_Gr=FC=DFe?=\r\n",
		  DAY "_Schöne-Grüße" },
		{ DATE "Subject: =?UTF-8?Q?Sch=C3?=\r\n =?UTF-8?Q?=B6n?=\r\n", DAY "_Schön" },
		{ DATE "Subject: Gr\xfc\xdf" "e\r\n", DAY "_Grüße" },
		{ DATE "Subject: Gr\xc3\xbc\xc3\x9f" "e\r\n", DAY "_Grüße" },
		{ DATE "Subject: e\xcc\x81t\xc3\xa9\r\n", DAY "_été" },
		{ DATE "Subject: \xf0\x9f\x8e\x89 Party \xf0\x9f\x8e\x89\r\n", DAY "_Party" },
		{ DATE "Subject: \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae" "x\r\n",
		  DAY "_שלום-x" },
		{ DATE "Subject: one\r\n two\r\n\tthree\r\n", DAY "_one-two-three" },
		{ DATE "subject : odd\r\nSubject: second\r\n", DAY "_odd" },
		{ DATE "Subject: one\rtwo\r\n", DAY "_onetwo" },
		{ "Subject: no date\r\n", "2020-09-13T122640__no-date" },
		{ "Date: nonsense\r\nSubject: x\r\n", "2020-09-13T122640__x" },
		{ "Date: Fri, 3 May 1950 16:12:05 +0200\r\n", "2020-09-13T122640__" },
		{ "Date: Fri, 3 May 2150 16:12:05 +0200\r\n", "2020-09-13T122640__" },
		{ "Date: 3 May 2024 10:12:05 EDT\r\n", "2024-05-03T141205__" },
		{ "", "2020-09-13T122640__" },
		{ "From me\r\nno header at all", "2020-09-13T122640__" },
		{ "\r\nSubject: in the body\r\n", "2020-09-13T122640__" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		char *name = name_of(table[i].header, strlen(table[i].header), 1600000000);
		assert_string_equal(name, table[i].name);
		g_free(name);
	}
}

static void
test_bounds(void **state)
{
	(void)state;
	GString *header = g_string_new(DATE "From: ");
	for (int i = 0; i < 500; i++)
		g_string_append(header, "Ä b ");
	g_string_append(header, "<a@b>\r\nSubject: ");
	for (int i = 0; i < 2000; i++)
		g_string_append(header, i % 7 ? "ü" : " x");
	g_string_append(header, "\r\n");
	g_free(name_of(header->str, header->len, 0));
	GRand *random = g_rand_new_with_seed(1);
	for (int i = 0; i < 3000; i++) {
		for (gsize j = 0; j < header->len; j++)
			if (g_rand_int_range(random, 0, 20) == 0)
				header->str[j] = (char)g_rand_int_range(random, 0, 256);
		g_free(name_of(header->str, MIN(header->len, 400 + (gsize)i), INT64_MIN));
	}
	g_rand_free(random);
	g_string_free(header, TRUE);
}

static void
identity(const char *header, int64_t date, unsigned char out[NAME_IDENTITY_SIZE])
{
	GString *name = g_string_new(NULL);
	name_from_header(header, strlen(header), date, name, out);
	g_string_free(name, TRUE);
}

static void
test_identity(void **state)
{
	(void)state;
	unsigned char a[NAME_IDENTITY_SIZE], b[NAME_IDENTITY_SIZE];
	static const struct {
		const char *left, *right;
		int64_t left_date, right_date;
		bool same;
	} table[] = {
		{ "Subject: x\r\nMessage-ID: <1>\r\n", "message-id: <1>\r\nSUBJECT:  x \r\n", 1, 2, true },
		{ "Subject: x\r\n", "Subject: x\r\n", 1, 2, false },
		{ "Subject: x\r\n", "Subject: x\r\n", 1, 1, true },
		{ "Subject:\r\nMessage-ID: <1>\r\n", "Message-ID: <1>\r\n", 1, 1, false },
		{ "Subject: a\r\n b\r\nMessage-ID: <1>\r\n", "Subject: a b\r\nMessage-ID: <1>\r\n", 1, 1,
		  true },
		{ "Subject: x\r\nFrom: y\r\nMessage-ID: <1>\r\n",
		  "From: x\r\nSubject: y\r\nMessage-ID: <1>\r\n", 1, 1, false },
		{ "Message-ID: <1>\r\nX: 1\r\n", "Message-ID: <1>\r\nX: 2\r\n", 1, 1, true },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		identity(table[i].left, table[i].left_date, a);
		identity(table[i].right, table[i].right_date, b);
		assert_int_equal(memcmp(a, b, sizeof a) == 0, table[i].same);
	}
}

static void
test_numbers_and_uids(void **state)
{
	(void)state;
	GString *name = g_string_new(NULL);
	name_numbered("a_b.eml", 2, name);
	assert_string_equal(name->str, "a_b~2.eml");
	name_from_uid(UINT64_C(1) << 40, 7, name);
	assert_string_equal(name->str, "1099511627776.7.eml");
	g_string_free(name, TRUE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_numbers_and_uids),
	};
	name_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
