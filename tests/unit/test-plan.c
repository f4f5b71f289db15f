/* SPDX-License-Identifier: MIT */
/* Tests of mail/plan: single situations, and the questions that are asked in them, which are the
 * fewest. Whole histories: test-plan-model.c. */
#include "config.h"

#include "plan-fixture.h"

/* --- nothing changed --------------------------------------------------------------------- */

static void
test_nothing_changed(void **state)
{
	struct fixture *f = *state;
	unsigned cans[] = { QRESYNC, PLAN_CAN_CONDSTORE };
	for (size_t i = 0; i < G_N_ELEMENTS(cans); i++) {
		begin(f, "1:100000", 500, cans[i]);
		assert_int_equal(plan_qresync(f->plan), cans[i] == QRESYNC ? 500 : 0);
		selected(f, 100000, 100001, 500);
		struct plan_result result = ends(f, 100000);
		assert_true(result.unchanged && result.certain && !result.mismatch);
		assert_int_equal(result.highestmodseq, 500);
		assert_int_equal(result.uidnext, 100001);
		assert_set(result.vanished, "");
	}
}

/* UIDNEXT and EXISTS are the same: only flags are asked for, by the smaller side of each, and those
 * of the latest 500. */
static void
test_nothing_changed_without_modseq(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:2000", 0, 0);
	seqset_add_range(f->seen, 1, 1990);
	selected(f, 2000, 2001, 0);
	no_flags_changed(f, 2000);
	struct plan_question question = asks(f, 2000, PLAN_ASK_FLAGS);
	assert_set(question.set, "1501:2000");
	fetched(f, "1501:2000", false);
	plan_answered(f->plan, 2000, true);
	struct plan_result result = ends(f, 2000);
	assert_true(result.certain && result.highestmodseq == 0 && result.uidnext == 2001);
	assert_set(result.vanished, "");
}

static void
test_the_smaller_side_is_searched(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:1000", 0, 0);
	seqset_add_range(f->seen, 1, 990);
	selected(f, 1000, 1001, 0);
	/* \Seen: those without are fewer; the others have hardly any. */
	struct plan_question question = asks(f, 1000, PLAN_ASK_SEARCH);
	assert_true(question.flag == IMAP_FLAG_SEEN && question.without);
	found(f, "5,992:1000"); /* 5 lost it, 991 got it */
	plan_answered(f->plan, 1000, true);
	question = asks(f, 1000, PLAN_ASK_SEARCH);
	assert_true(question.flag == IMAP_FLAG_ANSWERED && !question.without);
	found(f, "17");
	plan_answered(f->plan, 1000, true);
	for (int i = 0; i < 3; i++) {
		assert_false(asks(f, 1000, PLAN_ASK_SEARCH).without);
		plan_answered(f->plan, 1000, true);
	}
	question = asks(f, 1000, PLAN_ASK_FLAGS);
	assert_set(question.set, "5,17,501:1000");
	fetched(f, "5,17,501:1000", false);
	plan_answered(f->plan, 1000, true);
	ends(f, 1000);
}

static void
test_an_empty_mailbox_stays_empty(void **state)
{
	struct fixture *f = *state;
	unsigned cans[] = { QRESYNC, PLAN_CAN_CONDSTORE, 0 };
	for (size_t i = 0; i < G_N_ELEMENTS(cans); i++) {
		begin(f, "", cans[i] != 0 ? 1 : 0, cans[i]);
		selected(f, 0, 1, cans[i] != 0 ? 1 : 0);
		struct plan_result result = ends(f, 0);
		assert_true(result.certain && result.uidnext == 1);
	}
}

/* --- a little changed -------------------------------------------------------------------- */

static void
test_ten_of_each_by_qresync(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:1000", 500, QRESYNC);
	vanished(f, "1:10,5000:6000");
	fetched(f, "20:29,1001:1010", false);
	selected(f, 1000, 1011, 530);
	struct plan_question question = asks(f, 1000, PLAN_ASK_NEW);
	assert_set(question.set, "1001:1010");
	fetched(f, "1001:1010", true);
	plan_answered(f->plan, 1000, true);
	struct plan_result result = ends(f, 1000);
	assert_true(result.certain && !result.unchanged && !result.mismatch && !result.recount);
	assert_set(result.vanished, "1:10");
	assert_int_equal(result.highestmodseq, 530);
	assert_int_equal(result.uidnext, 1011);
}

static void
test_ten_of_each_by_condstore(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:1000", 500, PLAN_CAN_CONDSTORE);
	selected(f, 1000, 1011, 530);
	struct plan_question question = asks(f, 1000, PLAN_ASK_CHANGES);
	assert_true(question.modseq == 500 && question.to == 1000);
	fetched(f, "20:29", false);
	plan_answered(f->plan, 1000, true);
	question = asks(f, 1000, PLAN_ASK_ARRIVALS);
	assert_int_equal(question.from, 1001);
	fetched(f, "1001:1010", true);
	plan_answered(f->plan, 1000, true);
	/* 1000 + 10 is not 1000: some are gone. */
	question = asks(f, 1000, PLAN_ASK_UIDS);
	assert_int_equal(question.way, 0);
	found(f, "11:1010");
	plan_answered(f->plan, 1000, true);
	are_gone(f, 1000, "1:10");
	struct plan_result result = ends(f, 1000);
	assert_true(result.certain);
	assert_set(result.vanished, "1:10");
	assert_int_equal(result.highestmodseq, 530);
	assert_int_equal(result.uidnext, 1011);
}

static void
test_ten_new_by_neither(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:100", 0, 0);
	selected(f, 110, 111, 0);
	assert_int_equal(asks(f, 110, PLAN_ASK_ARRIVALS).from, 101);
	fetched(f, "101:110", true);
	plan_answered(f->plan, 110, true);
	seqset_add_range(f->known, 101, 110); /* the index has them by now */
	no_flags_changed(f, 110);
	/* The flags of the new ones have just come. */
	assert_set(asks(f, 110, PLAN_ASK_FLAGS).set, "1:100");
	fetched(f, "1:100", false);
	plan_answered(f->plan, 110, true);
	struct plan_result result = ends(f, 110);
	assert_true(result.certain && result.uidnext == 111);
}

/* `101:*` names the last message even where nothing is new. */
static void
test_uidnext_need_not_be_told(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:100", 7, PLAN_CAN_CONDSTORE);
	selected(f, 100, 0, 7);
	asks(f, 100, PLAN_ASK_ARRIVALS);
	fetched(f, "100", true);
	plan_answered(f->plan, 100, true);
	struct plan_result result = ends(f, 100);
	assert_true(result.certain && result.uidnext == 101 && result.highestmodseq == 7);
}

static void
test_the_first_listing(void **state)
{
	struct fixture *f = *state;
	const struct plan_known nothing = { .next = next_known, .ctx = f };
	f->plan = plan_new(&nothing, QRESYNC);
	assert_int_equal(plan_qresync(f->plan), 0);
	selected(f, 3, 9, 44);
	asks(f, 3, PLAN_ASK_UIDS);
	found(f, "2,5,8");
	plan_answered(f->plan, 3, true);
	assert_set(asks(f, 3, PLAN_ASK_NEW).set, "2,5,8");
	fetched(f, "2,5,8", true);
	plan_answered(f->plan, 3, true);
	struct plan_result result = ends(f, 3);
	assert_true(result.certain && result.uidnext == 9 && result.highestmodseq == 44);
}

/* What an earlier one, that was cut, has left is not fetched again; its flags are looked at. */
static void
test_a_first_listing_goes_on(void **state)
{
	struct fixture *f = *state;
	seqset_add_range(f->known, 1, 4);
	const struct plan_known some = { .next = next_known, .ctx = f };
	f->plan = plan_new(&some, PLAN_CAN_CONDSTORE);
	selected(f, 5, 7, 44);
	asks(f, 5, PLAN_ASK_UIDS);
	found(f, "2:6");
	plan_answered(f->plan, 5, true);
	are_gone(f, 5, "1");
	assert_set(asks(f, 5, PLAN_ASK_NEW).set, "5:6");
	fetched(f, "5:6", true);
	plan_answered(f->plan, 5, true);
	assert_set(asks(f, 5, PLAN_ASK_FLAGS).set, "2:4");
	fetched(f, "2:4", false);
	plan_answered(f->plan, 5, true);
	struct plan_result result = ends(f, 5);
	assert_set(result.vanished, "1");
	assert_true(result.certain && result.highestmodseq == 44 && result.uidnext == 7);
}

/* --- mod-sequences that are worth nothing ------------------------------------------------ */

static void
test_modseq_that_went_back(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "3"); /* of a delta that begins behind its end */
	selected(f, 50, 51, 100);
	assert_set(asks(f, 50, PLAN_ASK_FLAGS).set, "1:50");
	fetched(f, "1:50", false);
	plan_answered(f->plan, 50, true);
	struct plan_result result = ends(f, 50);
	assert_int_equal(result.highestmodseq, 100);
	assert_set(result.vanished, "");
}

static void
test_nomodseq(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	selected(f, 50, 51, 0);
	no_flags_changed(f, 50);
	asks(f, 50, PLAN_ASK_FLAGS);
	fetched(f, "1:50", false);
	plan_answered(f->plan, 50, true);
	/* The next sync that has mod-sequences looks at all flags, and then begins anew. */
	assert_int_equal(ends(f, 50).highestmodseq, 0);
	begin(f, "1:50", 0, QRESYNC);
	assert_int_equal(plan_qresync(f->plan), 0);
	selected(f, 50, 51, 510);
	assert_set(asks(f, 50, PLAN_ASK_FLAGS).set, "1:50");
	fetched(f, "1:50", false);
	plan_answered(f->plan, 50, true);
	assert_int_equal(ends(f, 50).highestmodseq, 510);
}

/* Changes that were refused or can't be read: all flags. */
static void
test_changes_that_were_not_had(void **state)
{
	struct fixture *f = *state;
	for (int i = 0; i < 2; i++) {
		begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
		selected(f, 50, 51, 510);
		asks(f, 50, PLAN_ASK_CHANGES);
		if (i == 1)
			plan_unreadable(f->plan);
		plan_answered(f->plan, 50, i == 1);
		assert_set(asks(f, 50, PLAN_ASK_FLAGS).set, "1:50");
		/* Not all of those come: once more next time. */
		fetched(f, "1:49", false);
		plan_answered(f->plan, 50, true);
		assert_int_equal(ends(f, 50).highestmodseq, 0);
	}
}

static void
test_an_unreadable_delta(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	plan_unreadable(f->plan);
	selected(f, 49, 51, 510);
	asks(f, 49, PLAN_ASK_UIDS);
	found(f, "1:30,32:50");
	plan_answered(f->plan, 49, true);
	are_gone(f, 49, "31");
	assert_set(asks(f, 49, PLAN_ASK_FLAGS).set, "1:30,32:50");
	fetched(f, "1:30,32:50", false);
	plan_answered(f->plan, 49, true);
	struct plan_result result = ends(f, 49);
	assert_set(result.vanished, "31");
	assert_int_equal(result.highestmodseq, 510);
}

/* --- absence proves nothing -------------------------------------------------------------- */

/* A sum that is wrong: NOOP first, then the list of UIDs. */
static void
test_vanished_of_too_much(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "1:3");
	selected(f, 49, 51, 510);
	asks(f, 49, PLAN_ASK_NOOP);
	plan_answered(f->plan, 49, true);
	/* Nor need it have told all flags. */
	struct plan_question question = asks(f, 49, PLAN_ASK_CHANGES);
	assert_true(question.modseq == 500 && question.to == UINT32_MAX);
	plan_answered(f->plan, 49, true);
	asks(f, 49, PLAN_ASK_UIDS);
	found(f, "2:50");
	plan_answered(f->plan, 49, true);
	are_gone(f, 49, "1");
	struct plan_result result = ends(f, 49);
	assert_set(result.vanished, "1");
	assert_true(result.certain && result.mismatch);
}

/* Something changed, and nothing was told. */
static void
test_a_delta_of_nothing(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	selected(f, 50, 51, 510);
	assert_int_equal(asks(f, 50, PLAN_ASK_CHANGES).modseq, 500);
	fetched(f, "7", false);
	plan_answered(f->plan, 50, true);
	struct plan_result result = ends(f, 50);
	assert_true(result.certain && !result.mismatch && result.highestmodseq == 510);
}

/* The news that were missing come with the NOOP. */
static void
test_a_noop_may_mend_the_sum(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "1:2");
	selected(f, 49, 51, 510);
	asks(f, 49, PLAN_ASK_NOOP);
	plan_answered(f->plan, 48, true);
	struct plan_result result = ends(f, 48);
	assert_set(result.vanished, "1:2");
	assert_false(result.mismatch);
}

/* The sum is right, but it is worth a second opinion. */
static void
test_more_than_half_is_confirmed(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "1:26");
	selected(f, 24, 51, 510);
	asks(f, 24, PLAN_ASK_UIDS);
	found(f, "27:50");
	plan_answered(f->plan, 24, true);
	are_gone(f, 24, "1:26");
	struct plan_result result = ends(f, 24);
	assert_set(result.vanished, "1:26");
	/* Nothing was wrong with the delta. */
	assert_false(result.mismatch);
	begin(f, "1:50", 500, QRESYNC);
	vanished(f, "1:25");
	selected(f, 25, 51, 510);
	assert_set(ends(f, 25).vanished, "1:25");
}

/* Lists that are short are asked for in other ways, the last of which decides nothing if it is
 * short too. */
static void
test_short_lists_remove_nothing(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 48, 51, 500);
	assert_int_equal(asks(f, 48, PLAN_ASK_UIDS).way, 0);
	plan_answered(f->plan, 48, true);
	assert_int_equal(asks(f, 48, PLAN_ASK_UIDS).way, 1);
	found(f, "1:20");
	plan_answered(f->plan, 48, true);
	assert_int_equal(asks(f, 48, PLAN_ASK_UIDS).way, 2);
	fetched(f, "30:50", false);
	plan_answered(f->plan, 48, true);
	struct plan_result result = ends(f, 48);
	assert_set(result.vanished, "");
	assert_false(result.certain);
	/* The next sync begins with the list. */
	assert_true(result.highestmodseq == 0 && result.uidnext == 0);
}

/* A list during which messages went may lack others: it is asked for again. */
static void
test_a_list_that_shrinks_is_asked_for_again(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 9, 11, 500);
	asks(f, 9, PLAN_ASK_UIDS);
	found(f, "1:8");
	plan_expunged(f->plan);
	plan_answered(f->plan, 8, true);
	assert_int_equal(asks(f, 8, PLAN_ASK_UIDS).way, 0);
	found(f, "1:7,9");
	plan_answered(f->plan, 8, true);
	are_gone(f, 8, "10");
	/* 8 was there a moment ago: it goes with the next sync. */
	struct plan_result result = ends(f, 8);
	assert_set(result.vanished, "10");
	assert_true(result.certain && result.uidnext == 0);
}

/* Numbers instead of UIDs: some of them should be known, or are not what has just come; or all look
 * like UIDs, and only FETCH has what they lack. */
static void
test_a_search_that_finds_numbers(void **state)
{
	struct fixture *f = *state;
	begin(f, "1001:1100", 500, PLAN_CAN_CONDSTORE);
	selected(f, 99, 1101, 501);
	asks(f, 99, PLAN_ASK_CHANGES);
	plan_answered(f->plan, 99, true);
	asks(f, 99, PLAN_ASK_UIDS);
	found(f, "1:99");
	plan_answered(f->plan, 99, true);
	assert_int_equal(asks(f, 99, PLAN_ASK_UIDS).way, 1);
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 9, 12, 500);
	asks(f, 9, PLAN_ASK_ARRIVALS);
	fetched(f, "11", true);
	plan_answered(f->plan, 9, true);
	asks(f, 9, PLAN_ASK_UIDS);
	found(f, "1:9");
	plan_answered(f->plan, 9, true);
	assert_int_equal(asks(f, 9, PLAN_ASK_UIDS).way, 1);
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 9, 11, 500);
	asks(f, 9, PLAN_ASK_UIDS);
	found(f, "1:9");
	plan_answered(f->plan, 9, true);
	assert_set(asks(f, 9, PLAN_ASK_FLAGS).set, "10");
	fetched(f, "10", false);
	plan_answered(f->plan, 9, true);
	struct plan_result result = ends(f, 9);
	assert_set(result.vanished, "");
	assert_true(result.certain && result.uidnext == 0);
}

static void
test_a_mailbox_that_seems_empty(void **state)
{
	struct fixture *f = *state;
	for (uint32_t count = 0; count <= 50; count += 50) {
		begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
		selected(f, 0, 51, 500);
		asks(f, 0, PLAN_ASK_COUNT);
		plan_found_count(f->plan, count);
		plan_answered(f->plan, 0, true);
		struct plan_question question;
		while (plan_next(f->plan, 0, &question))
			plan_answered(f->plan, 0, true);
		struct plan_result result;
		plan_result(f->plan, &result);
		assert_set(result.vanished, count == 0 ? "1:50" : "");
		assert_true(result.certain == (count == 0));
	}
	/* A delta that says the same is asked about all the same, however few they are. */
	begin(f, "1:5", 500, QRESYNC);
	vanished(f, "1:5");
	selected(f, 0, 6, 505);
	asks(f, 0, PLAN_ASK_COUNT);
	plan_found_count(f->plan, 5);
	plan_answered(f->plan, 0, true);
	assert_set(ends(f, 0).vanished, "");
	/* And one that is empty under a new UIDVALIDITY. */
	seqset_clear(f->known);
	const struct plan_known prior = { .prior = true, .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&prior, QRESYNC);
	selected(f, 0, 1, 1);
	asks(f, 0, PLAN_ASK_COUNT);
	plan_found_count(f->plan, 5);
	plan_answered(f->plan, 0, true);
	assert_false(ends(f, 0).certain);
	/* No answer is none. */
	begin(f, "1:50", 500, PLAN_CAN_CONDSTORE);
	selected(f, 0, 51, 500);
	asks(f, 0, PLAN_ASK_COUNT);
	plan_answered(f->plan, 0, true);
	struct plan_result result = ends(f, 0);
	assert_set(result.vanished, "");
	assert_false(result.certain);
}

/* An arrival that was not had is not forgotten: the next sync asks for the list of UIDs. */
static void
test_arrivals_that_were_not_had(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, QRESYNC);
	fetched(f, "11:12", false);
	selected(f, 12, 13, 502);
	asks(f, 12, PLAN_ASK_NEW);
	fetched(f, "12", true);
	plan_answered(f->plan, 12, true);
	struct plan_result result = ends(f, 12);
	assert_true(result.certain && result.uidnext == 0 && result.highestmodseq == 502);
	seqset_clear(f->known);
	seqset_add_range(f->known, 2, 10);
	seqset_add(f->known, 12);
	const struct plan_known have = { .listed = true, .highestmodseq = 502, .count = 10,
		                         .next = next_known, .ctx = f };
	plan_free(&f->plan);
	f->plan = plan_new(&have, PLAN_CAN_CONDSTORE);
	/* One went and one is lacking: the count says nothing. */
	selected(f, 10, 13, 502);
	assert_int_equal(asks(f, 10, PLAN_ASK_CHANGES).to, UINT32_MAX);
	plan_answered(f->plan, 10, true);
	asks(f, 10, PLAN_ASK_UIDS);
	found(f, "3:12");
	plan_answered(f->plan, 10, true);
	are_gone(f, 10, "2");
	assert_set(asks(f, 10, PLAN_ASK_NEW).set, "11");
	fetched(f, "11", true);
	plan_answered(f->plan, 10, true);
	result = ends(f, 10);
	assert_set(result.vanished, "2");
	assert_int_equal(result.uidnext, 13);
}

static void
test_arrivals_that_were_refused(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 0, 0);
	selected(f, 10, 12, 0); /* one came, one went */
	asks(f, 10, PLAN_ASK_ARRIVALS);
	plan_answered(f->plan, 10, false);
	asks(f, 10, PLAN_ASK_UIDS);
	found(f, "2:11");
	plan_answered(f->plan, 10, true);
	are_gone(f, 10, "1");
	assert_set(asks(f, 10, PLAN_ASK_NEW).set, "11");
}

/* UIDs are given twice, or a message is the last one's place: the list decides. */
static void
test_uidnext_that_went_back(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, PLAN_CAN_CONDSTORE);
	selected(f, 8, 9, 500);
	asks(f, 8, PLAN_ASK_UIDS);
	found(f, "1:8");
	plan_answered(f->plan, 8, true);
	are_gone(f, 8, "9:10");
	assert_set(asks(f, 8, PLAN_ASK_FLAGS).set, "1:8");
	fetched(f, "1:8", false);
	plan_answered(f->plan, 8, true);
	struct plan_result result = ends(f, 8);
	assert_set(result.vanished, "9:10");
	assert_int_equal(result.uidnext, 9);
}

/* --- the comparison of everything -------------------------------------------------------- */

static void
test_everything_is_compared(void **state)
{
	struct fixture *f = *state;
	seqset_add_range(f->known, 1, 5);
	const struct plan_known have = { .listed = true, .compare = true, .highestmodseq = 500,
		                         .uidnext = 6, .count = 7, .next = next_known, .ctx = f };
	f->plan = plan_new(&have, QRESYNC);
	assert_int_equal(plan_qresync(f->plan), 0);
	selected(f, 5, 7, 510);
	asks(f, 5, PLAN_ASK_UIDS);
	found(f, "2:6");
	plan_answered(f->plan, 5, true);
	are_gone(f, 5, "1");
	assert_set(asks(f, 5, PLAN_ASK_COMPARE).set, "2:6");
	fetched(f, "2:6", true);
	plan_answered(f->plan, 5, true);
	struct plan_result result = ends(f, 5);
	assert_true(result.compared && result.certain && result.recount);
	assert_set(result.vanished, "1");
	assert_true(result.highestmodseq == 510 && result.uidnext == 7);
}

/* --- what comes unasked ------------------------------------------------------------------ */

static void
test_what_comes_late_is_left_for_the_next_sync(void **state)
{
	struct fixture *f = *state;
	begin(f, "1:10", 500, QRESYNC);
	fetched(f, "3,11", false);
	selected(f, 11, 12, 502);
	asks(f, 11, PLAN_ASK_NEW);
	fetched(f, "11", true);
	vanished(f, "4");
	assert_int_equal(plan_fetch(f->plan, 0, false), PLAN_NOTHING);
	plan_answered(f->plan, 11, true);
	struct plan_result result = ends(f, 11);
	assert_set(result.vanished, "");
	assert_true(result.highestmodseq == 502 && result.uidnext == 12);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_changed),
		TEST(test_nothing_changed_without_modseq),
		TEST(test_the_smaller_side_is_searched),
		TEST(test_an_empty_mailbox_stays_empty),
		TEST(test_ten_of_each_by_qresync),
		TEST(test_ten_of_each_by_condstore),
		TEST(test_ten_new_by_neither),
		TEST(test_uidnext_need_not_be_told),
		TEST(test_the_first_listing),
		TEST(test_a_first_listing_goes_on),
		TEST(test_modseq_that_went_back),
		TEST(test_nomodseq),
		TEST(test_changes_that_were_not_had),
		TEST(test_an_unreadable_delta),
		TEST(test_vanished_of_too_much),
		TEST(test_a_delta_of_nothing),
		TEST(test_a_noop_may_mend_the_sum),
		TEST(test_more_than_half_is_confirmed),
		TEST(test_short_lists_remove_nothing),
		TEST(test_a_list_that_shrinks_is_asked_for_again),
		TEST(test_a_search_that_finds_numbers),
		TEST(test_a_mailbox_that_seems_empty),
		TEST(test_arrivals_that_were_not_had),
		TEST(test_arrivals_that_were_refused),
		TEST(test_uidnext_that_went_back),
		TEST(test_everything_is_compared),
		TEST(test_what_comes_late_is_left_for_the_next_sync),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
