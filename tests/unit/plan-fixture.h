/* SPDX-License-Identifier: MIT */
/* What the tests of mail/plan share: a mailbox that is known, and a server's answers in few words. */
#ifndef PLAN_FIXTURE_H
#define PLAN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "mail/plan.h"

#define QRESYNC (PLAN_CAN_QRESYNC | PLAN_CAN_CONDSTORE)

struct fixture {
	struct seqset *known, *seen; /* all UIDs, and those that are \Seen */
	struct plan *plan;
};

static inline int
setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	f->known = seqset_new();
	f->seen = seqset_new();
	*state = f;
	return 0;
}

static inline int
teardown(void **state)
{
	struct fixture *f = *state;
	plan_free(&f->plan);
	plan_free(&f->plan);
	seqset_free(&f->known);
	seqset_free(&f->seen);
	g_free(f);
	return 0;
}

static inline uint32_t
next_known(void *ctx, uint32_t after, unsigned *flags_r)
{
	const struct fixture *f = ctx;
	uint32_t uid = seqset_next(f->known, after);
	if (flags_r != NULL)
		*flags_r = seqset_contains(f->seen, uid) ? IMAP_FLAG_SEEN : 0;
	return uid;
}

static inline struct seqset *
set_of(const char *text)
{
	struct seqset *set = seqset_new();
	assert_true(text[0] == '\0' || seqset_parse(set, text, strlen(text), 0));
	return set;
}

static inline void
assert_set(const struct seqset *set, const char *expected)
{
	GString *text = g_string_new(NULL);
	if (set != NULL)
		seqset_format(set, text);
	assert_string_equal(text->str, expected);
	g_string_free(text, TRUE);
}

/* A listed mailbox that has these messages, its last UID being the last one given. */
static inline void
begin(struct fixture *f, const char *known, uint64_t modseq, unsigned can)
{
	seqset_clear(f->known);
	if (known[0] != '\0')
		assert_true(seqset_parse(f->known, known, strlen(known), 0));
	const struct plan_known have = {
		.listed = true, .highestmodseq = modseq, .uidnext = seqset_last(f->known) + 1,
		.count = (uint32_t)seqset_count(f->known), .next = next_known, .ctx = f,
	};
	plan_free(&f->plan);
	f->plan = plan_new(&have, can);
}

static inline void
selected(struct fixture *f, uint32_t exists, uint32_t uidnext, uint64_t modseq)
{
	plan_selected(f->plan, &(struct plan_state){ modseq, uidnext, exists });
}

static inline struct plan_question
asks(struct fixture *f, uint32_t exists, enum plan_ask ask)
{
	struct plan_question question;
	assert_true(plan_next(f->plan, exists, &question));
	assert_int_equal(question.ask, ask);
	return question;
}

static inline struct plan_result
ends(struct fixture *f, uint32_t exists)
{
	struct plan_question question;
	struct plan_result result;
	if (plan_next(f->plan, exists, &question))
		fail_msg("question %d is asked", question.ask);
	plan_result(f->plan, &result);
	return result;
}

static inline void
found(struct fixture *f, const char *uids)
{
	struct seqset *set = set_of(uids);
	plan_found(f->plan, set);
	seqset_free(&set);
}

static inline void
vanished(struct fixture *f, const char *uids)
{
	struct seqset *set = set_of(uids);
	plan_vanished(f->plan, set);
	seqset_free(&set);
}

/* FETCH responses; `whole`: with all items. */
static inline void
fetched(struct fixture *f, const char *uids, bool whole)
{
	struct seqset *set = set_of(uids);
	for (uint32_t uid = seqset_next(set, 0); uid != 0; uid = seqset_next(set, uid)) {
		bool known = seqset_contains(f->known, uid);
		assert_int_equal(plan_fetch(f->plan, uid, known), known ? PLAN_FLAGS : PLAN_NEW);
		if (!known && whole)
			plan_got(f->plan, uid);
	}
	seqset_free(&set);
}

/* The five SEARCHes for flags: all are honest, nothing has changed. */
static inline void
no_flags_changed(struct fixture *f, uint32_t exists)
{
	for (unsigned flags = 0, i = 0; i < 5; i++) {
		struct plan_question question = asks(f, exists, PLAN_ASK_SEARCH);
		assert_true((flags & question.flag) == 0);
		flags |= question.flag;
		const struct seqset *having = question.flag == IMAP_FLAG_SEEN ? f->seen : NULL;
		struct seqset *set = question.without ? seqset_copy(f->known) : seqset_new();
		if (having != NULL && question.without)
			seqset_subtract(set, having);
		else if (having != NULL)
			seqset_unite(set, having);
		plan_found(f->plan, set);
		seqset_free(&set);
		plan_answered(f->plan, exists, true);
	}
}

/* What a SEARCH did not find is not had by FETCH either. */
static inline void
are_gone(struct fixture *f, uint32_t exists, const char *uids)
{
	assert_set(asks(f, exists, PLAN_ASK_FLAGS).set, uids);
	plan_answered(f->plan, exists, true);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
