/* SPDX-License-Identifier: MIT */
/* Tests of imap/seqset: against a plain array of bits, and from text. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap/seqset.h"
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets_against_bits),
		cmocka_unit_test(test_sets_from_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
