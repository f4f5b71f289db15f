/* SPDX-License-Identifier: MIT */
/* Tests of mail/plan: what contradicts itself, comes at an odd moment or does not come at all. */
#include "config.h"

#include "plan-fixture.h"

/* --- while the SELECT is answered -------------------------------------------------------- */

/* With the same values as before: what is heard is news all the same. */
static void
test_news_under_the_same_modseq(void **state)
{
	struct fixture *f = *state;
	struct plan_question question;
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "3");
	selected(f, 50, 51, 500);
	assert_true(plan_next(f->plan, 50, &question));
	begin(f, "1:50", 500, QRESYNC);
	assert_int_equal(plan_fetch(f->plan, 0, false), PLAN_NOTHING);
	selected(f, 50, 51, 500);
	assert_false(ends(f, 50).unchanged);
}

/* One that came and went. */
static void
test_a_new_one_that_vanished(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, QRESYNC);
	fetched(f, "11", false);
	vanished(f, "11");
	selected(f, 10, 12, 502);
	struct plan_result result = ends(f, 10);
	assert_set(result.vanished, "");
	assert_true(result.certain && result.uidnext == 12);
}

/* One that was met, and then vanished, is gone; one that the list lacks is not, this time. */
static void
test_what_was_met_before_the_list(void **state)
{
	struct fixture *f = *state;
	for (int gone = 0; gone < 2; gone++) {
		begin(f, "1:50", 500, QRESYNC);
		fetched(f, "3,7", false);
		if (gone)
			vanished(f, "3");
		selected(f, 48, 51, 510);
		asks(f, 48, PLAN_ASK_NOOP);
		plan_answered(f->plan, 48, true);
		asks(f, 48, PLAN_ASK_CHANGES);
		plan_answered(f->plan, 48, true);
		asks(f, 48, PLAN_ASK_UIDS);
		found(f, "1,2,4:49");
		plan_answered(f->plan, 48, true);
		if (!gone) {
			/* It is not credible, until FETCH has the same. */
			assert_int_equal(asks(f, 48, PLAN_ASK_UIDS).way, 1);
			plan_answered(f->plan, 48, false);
			assert_int_equal(asks(f, 48, PLAN_ASK_UIDS).way, 2);
			fetched(f, "1,2,4:49", false);
			plan_answered(f->plan, 48, true);
		} else {
			are_gone(f, 48, "3,50");
		}
		struct plan_result result = ends(f, 48);
		assert_set(result.vanished, gone ? "3,50" : "50");
		assert_int_equal(result.uidnext, gone ? 51 : 0);
	}
}

/* --- mod-sequences ----------------------------------------------------------------------- */

/* A server that tells them though they are not used. */
static void
test_mod_sequences_that_are_switched_off(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 0, 0);
	selected(f, 50, 51, 500);
	no_flags_changed(f, 50);
	asks(f, 50, PLAN_ASK_FLAGS);
	fetched(f, "1:50", false);
	plan_answered(f->plan, 50, true);
	assert_int_equal(ends(f, 50).highestmodseq, 0);
}

/* A delta that begins behind its end is none: its sum is no mismatch. */
static void
test_a_delta_of_older_mod_sequences(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	selected(f, 49, 51, 100);
	asks(f, 49, PLAN_ASK_UIDS);
	found(f, "2:50");
	plan_answered(f->plan, 49, true);
	are_gone(f, 49, "1");
	asks(f, 49, PLAN_ASK_FLAGS);
	fetched(f, "2:50", false);
	plan_answered(f->plan, 49, true);
	assert_false(ends(f, 49).mismatch);
}

static void
begin_in_doubt(struct fixture *f, const char *known, uint64_t modseq, unsigned can)
{
	begin(f, known, modseq, can);
	const struct plan_known have = { .listed = true, .highestmodseq = modseq,
		                         .count = (uint32_t)seqset_count(f->known),
		                         .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&have, can);
}

static void
test_doubt_and_mod_sequences_that_went_back(void **state)
{
	struct fixture *f = *state;
	begin_in_doubt(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 50, 51, 100);
	asks(f, 50, PLAN_ASK_UIDS);
}

/* --- UIDNEXT ----------------------------------------------------------------------------- */

/* It is made of what was heard, and does not go back. */
static void
test_uidnext_that_is_never_told(void **state)
{
	struct fixture *f = *state;
	begin_in_doubt(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 50, 0, 500);
	asks(f, 50, PLAN_ASK_CHANGES);
	plan_answered(f->plan, 50, true);
	asks(f, 50, PLAN_ASK_UIDS);
	found(f, "1:50");
	plan_answered(f->plan, 50, true);
	assert_int_equal(ends(f, 50).uidnext, 51);
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 51, 0, 501);
	asks(f, 51, PLAN_ASK_CHANGES);
	plan_answered(f->plan, 51, true);
	assert_int_equal(asks(f, 51, PLAN_ASK_ARRIVALS).from, 51);
	fetched(f, "60", true);
	plan_answered(f->plan, 51, true);
	assert_int_equal(ends(f, 51).uidnext, 61);
	/* The last ones went long ago. */
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	seqset_remove_range(f->known, 49, 50);
	const struct plan_known have = { .listed = true, .highestmodseq = 500, .uidnext = 51,
		                         .count = 48, .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&have, PLAN_CAN_CONDSTORE);
	selected(f, 48, 0, 500);
	asks(f, 48, PLAN_ASK_ARRIVALS);
	fetched(f, "48", true);
	plan_answered(f->plan, 48, true);
	assert_int_equal(ends(f, 48).uidnext, 51);
}

/* The flags of one that came during the sync are told, those of another before it are not. */
static void
test_uidnext_is_not_what_was_heard_by_chance(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 11, 12, 501);
	asks(f, 11, PLAN_ASK_CHANGES);
	plan_answered(f->plan, 11, true);
	asks(f, 11, PLAN_ASK_ARRIVALS);
	fetched(f, "11", true);
	fetched(f, "13", false);
	plan_answered(f->plan, 12, true);
	assert_set(asks(f, 12, PLAN_ASK_NEW).set, "13");
	fetched(f, "13", true);
	plan_answered(f->plan, 13, true);
	assert_int_equal(ends(f, 13).uidnext, 12);
}

/* More are there than were, and UIDNEXT is the same. */
static void
test_arrivals_under_the_same_uidnext(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 51, 51, 500);
	assert_int_equal(asks(f, 51, PLAN_ASK_ARRIVALS).from, 51);
}

/* --- what a sync that was cut has added -------------------------------------------------- */

static void
begin_after_a_cut(struct fixture *f)
{
	begin(f, "1:12", 500, PLAN_CAN_CONDSTORE);
	const struct plan_known have = { .listed = true, .highestmodseq = 500, .uidnext = 11,
		                         .count = 12, .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&have, PLAN_CAN_CONDSTORE);
	selected(f, 12, 13, 505);
	assert_int_equal(asks(f, 12, PLAN_ASK_CHANGES).to, 10);
	plan_answered(f->plan, 12, true);
	assert_int_equal(asks(f, 12, PLAN_ASK_ARRIVALS).from, 11);
}

static void
test_what_a_cut_has_left(void **state)
{
	struct fixture *f = *state;
	begin_after_a_cut(f);
	fetched(f, "11:12", true);
	plan_answered(f->plan, 12, true);
	struct plan_result result = ends(f, 12);
	assert_true(result.certain && result.uidnext == 13 && result.highestmodseq == 505);
	/* If it does not come with the others, that the sum is right proves nothing; and its flags
	 * were not had. */
	begin_after_a_cut(f);
	fetched(f, "11", true);
	plan_answered(f->plan, 12, true);
	asks(f, 12, PLAN_ASK_UIDS);
	found(f, "1:12");
	plan_answered(f->plan, 12, true);
	assert_set(asks(f, 12, PLAN_ASK_FLAGS).set, "12");
	fetched(f, "12", false);
	plan_answered(f->plan, 12, true);
	assert_true(ends(f, 12).highestmodseq == 505);
}

/* --- messages that go in the middle ------------------------------------------------------ */

/* One went, two came, one of which is not told yet: the sum is right by chance. */
static void
test_a_sum_that_is_right_by_chance(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 11, 12, 501);
	asks(f, 11, PLAN_ASK_CHANGES);
	plan_expunged(f->plan);
	plan_answered(f->plan, 10, true);
	asks(f, 10, PLAN_ASK_ARRIVALS);
	fetched(f, "11", true);
	plan_answered(f->plan, 11, true);
	asks(f, 11, PLAN_ASK_UIDS);
}

/* A list during which messages vanish is asked for again, but not forever. */
static void
test_a_list_that_never_stands_still(void **state)
{
	struct fixture *f = *state;
	unsigned asked = 0, way = 0;
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 40, 51, 500);
	for (uint32_t exists = 39; way == 0; exists--, asked++) {
		assert_true(asked < 10);
		way = asks(f, exists + 1, PLAN_ASK_UIDS).way;
		struct seqset *gone = seqset_new(), *here = seqset_new();
		seqset_add(gone, exists + 1);
		seqset_add_range(here, 1, exists);
		plan_found(f->plan, here);
		plan_vanished(f->plan, gone);
		plan_answered(f->plan, exists, true);
		seqset_free(&gone);
		seqset_free(&here);
	}
	assert_true(asked > 2);
}

/* One of which all is wanted vanishes: nothing is missing. */
static void
test_no_answer_is_awaited_of_what_is_gone(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, QRESYNC);
	fetched(f, "11:12", false);
	selected(f, 12, 13, 502);
	asks(f, 12, PLAN_ASK_NEW);
	fetched(f, "12", true);
	vanished(f, "11");
	plan_answered(f->plan, 11, true);
	assert_int_equal(ends(f, 11).uidnext, 13);
	/* The same where flags are looked at, */
	begin(f, "1:10", 0, QRESYNC);
	selected(f, 10, 11, 510);
	assert_set(asks(f, 10, PLAN_ASK_FLAGS).set, "1:10");
	fetched(f, "1:9", false);
	vanished(f, "10");
	plan_answered(f->plan, 9, true);
	struct plan_result result = ends(f, 9);
	assert_true(result.highestmodseq == 510 && result.uidnext == 11);
}

/* --- lists and counts that are no answer ------------------------------------------------- */

static void
test_lists_that_are_no_answer(void **state)
{
	struct fixture *f = *state;
	for (int unreadable = 0; unreadable < 2; unreadable++) {
		begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
		selected(f, 49, 51, 500);
		asks(f, 49, PLAN_ASK_UIDS);
		found(f, "1:49");
		if (unreadable)
			plan_unreadable(f->plan);
		plan_answered(f->plan, 49, unreadable);
		assert_int_equal(asks(f, 49, PLAN_ASK_UIDS).way, 1);
		plan_answered(f->plan, 49, false);
		assert_int_equal(asks(f, 49, PLAN_ASK_UIDS).way, 2);
		/* This one is by FETCH itself. What another one had goes the next time. */
		fetched(f, "1:48", false);
		plan_answered(f->plan, 49, false);
		struct plan_result result = ends(f, 49);
		assert_set(result.vanished, "");
		assert_false(result.certain);
	}
}

/* What a list by FETCH lacks is not asked for by FETCH again. */
static void
test_a_list_by_fetch(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 49, 51, 500);
	for (int i = 0; i < 2; i++) {
		asks(f, 49, PLAN_ASK_UIDS);
		plan_answered(f->plan, 49, false);
	}
	assert_int_equal(asks(f, 49, PLAN_ASK_UIDS).way, 2);
	fetched(f, "2:50", false);
	plan_answered(f->plan, 49, true);
	struct plan_result result = ends(f, 49);
	assert_set(result.vanished, "1");
	assert_true(result.certain && result.uidnext == 51);
}

static void
test_a_count_that_is_refused(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 0, 51, 500);
	asks(f, 0, PLAN_ASK_COUNT);
	plan_found_count(f->plan, 0);
	plan_answered(f->plan, 0, false);
	struct plan_result result = ends(f, 0);
	assert_set(result.vanished, "");
	assert_false(result.certain);
}

/* --- comparisons ------------------------------------------------------------------------- */

static void
begin_comparison(struct fixture *f, const char *known)
{
	begin(f, known, 500, PLAN_CAN_CONDSTORE);
	const struct plan_known have = { .listed = true, .compare = true, .highestmodseq = 500,
		                         .uidnext = seqset_last(f->known) + 1,
		                         .count = (uint32_t)seqset_count(f->known),
		                         .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&have, PLAN_CAN_CONDSTORE);
}

static void
test_nothing_to_compare(void **state)
{
	struct fixture *f = *state;
	begin_comparison(f, "");
	selected(f, 0, 1, 500);
	struct plan_result result = ends(f, 0);
	assert_true(result.compared && result.certain);
}

/* What the list has and FETCH has not: the next sync looks again. */
static void
test_what_is_listed_and_not_had(void **state)
{
	struct fixture *f = *state;
	for (int gone = 0; gone < 2; gone++) {
		begin_comparison(f, "1:5");
		selected(f, 5, 6, 510);
		asks(f, 5, PLAN_ASK_UIDS);
		found(f, "1:5");
		plan_answered(f->plan, 5, true);
		assert_set(asks(f, 5, PLAN_ASK_COMPARE).set, "1:5");
		fetched(f, "1:4", true);
		if (gone)
			vanished(f, "5");
		plan_answered(f->plan, 5, true);
		struct plan_result result = ends(f, 5);
		assert_true(result.compared);
		assert_int_equal(result.uidnext, gone ? 6 : 0);
		assert_int_equal(result.highestmodseq, gone ? 510 : 0);
	}
}

/* What was deleted here since it was listed does not come back with an answer that is late. */
static void
test_what_is_deleted_during_a_comparison(void **state)
{
	struct fixture *f = *state;
	begin_comparison(f, "1:5");
	selected(f, 6, 7, 510);
	asks(f, 6, PLAN_ASK_UIDS);
	found(f, "1:6");
	plan_answered(f->plan, 6, true);
	assert_set(asks(f, 6, PLAN_ASK_COMPARE).set, "1:6");
	fetched(f, "1:2", true);
	seqset_remove(f->known, 3);
	assert_int_equal(plan_fetch(f->plan, 3, false), PLAN_NOTHING);
	fetched(f, "4:6", true);
	plan_answered(f->plan, 6, true);
	assert_int_equal(ends(f, 6).uidnext, 7);
}

/* --- flags without mod-sequences --------------------------------------------------------- */

static void
test_searches_that_are_no_answer(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:1000", 0, 0);
	seqset_add_range(f->seen, 1, 10);
	selected(f, 1000, 1001, 0);
	for (int i = 0; i < 5; i++) {
		asks(f, 1000, PLAN_ASK_SEARCH);
		plan_answered(f->plan, 1000, false);
	}
	assert_set(asks(f, 1000, PLAN_ASK_FLAGS).set, "501:1000");
}

/* A SEARCH for a flag finds a message that is not known: it was missed, unless it has just come. */
static void
test_a_search_that_finds_the_unknown(void **state)
{
	struct fixture *f = *state;
	for (uint32_t uid = 1000; uid <= 1001; uid++) {
		begin(f, "1:999", 0, 0);
		const struct plan_known have = { .listed = true, .uidnext = 1001, .count = 999,
			                         .next = next_known, .ctx = f };
		plan_free(&f->plan);
		f->plan = plan_new(&have, 0);
		selected(f, 999, 1001, 0);
		for (int i = 0; i < 5; i++) {
			asks(f, 999, PLAN_ASK_SEARCH);
			if (i == 0) {
				struct seqset *set = seqset_new();
				seqset_add(set, uid);
				plan_found(f->plan, set);
				seqset_free(&set);
			}
			plan_answered(f->plan, 999, true);
		}
		assert_set(asks(f, 999, PLAN_ASK_FLAGS).set, "500:999");
		fetched(f, "500:999", false);
		plan_answered(f->plan, 999, true);
		assert_int_equal(ends(f, 999).uidnext, uid == 1000 ? 0 : 1001);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_news_under_the_same_modseq),
		TEST(test_a_new_one_that_vanished),
		TEST(test_what_was_met_before_the_list),
		TEST(test_mod_sequences_that_are_switched_off),
		TEST(test_a_delta_of_older_mod_sequences),
		TEST(test_doubt_and_mod_sequences_that_went_back),
		TEST(test_uidnext_that_is_never_told),
		TEST(test_uidnext_is_not_what_was_heard_by_chance),
		TEST(test_arrivals_under_the_same_uidnext),
		TEST(test_what_a_cut_has_left),
		TEST(test_a_sum_that_is_right_by_chance),
		TEST(test_a_list_that_never_stands_still),
		TEST(test_no_answer_is_awaited_of_what_is_gone),
		TEST(test_lists_that_are_no_answer),
		TEST(test_a_list_by_fetch),
		TEST(test_a_count_that_is_refused),
		TEST(test_nothing_to_compare),
		TEST(test_what_is_listed_and_not_had),
		TEST(test_what_is_deleted_during_a_comparison),
		TEST(test_searches_that_are_no_answer),
		TEST(test_a_search_that_finds_the_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
