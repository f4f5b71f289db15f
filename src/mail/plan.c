/* SPDX-License-Identifier: MIT */
/* The planner: see plan.h. */
#include "config.h"

#include "mail/plan-internal.h"

#include <glib.h>

/* Without CONDSTORE: so many of the latest messages have their flags fetched each time. */
#define RECENT_MAX 500u

static const enum imap_flag searched[PLAN_SEARCHED] = {
	IMAP_FLAG_SEEN, IMAP_FLAG_ANSWERED, IMAP_FLAG_FLAGGED, IMAP_FLAG_DELETED, IMAP_FLAG_DRAFT,
};

struct plan *
plan_new(const struct plan_known *known, unsigned can)
{
	struct plan *plan = g_new0(struct plan, 1);
	plan->known = *known;
	plan->can = can;
	plan->fresh = seqset_new();
	plan->got = seqset_new();
	plan->told = seqset_new();
	plan->vanished = seqset_new();
	plan->seen = seqset_new();
	plan->found = seqset_new();
	plan->before = seqset_new();
	plan->set = seqset_new();
	plan->doubtful = seqset_new();
	plan->certain = true;
	plan->delta = plan_qresync(plan) != 0;
	return plan;
}

void
plan_free(struct plan **plan)
{
	struct plan *p = *plan;
	if (p == NULL)
		return;
	seqset_free(&p->fresh);
	seqset_free(&p->got);
	seqset_free(&p->told);
	seqset_free(&p->vanished);
	seqset_free(&p->seen);
	seqset_free(&p->found);
	seqset_free(&p->before);
	seqset_free(&p->set);
	seqset_free(&p->doubtful);
	for (unsigned i = 0; i < PLAN_SEARCHED; i++)
		seqset_free(&p->flagged[i]);
	g_free(p);
	*plan = NULL;
}

uint64_t
plan_qresync(const struct plan *plan)
{
	const struct plan_known *known = &plan->known;
	bool usable = (plan->can & PLAN_CAN_QRESYNC) != 0 && known->listed && !known->compare;
	return usable ? known->highestmodseq : 0;
}

/* --- sums ---------------------------------------------------------------------------------- */

struct seqset *
plan_known_uids(const struct plan *plan)
{
	struct seqset *set = seqset_new();
	uint32_t uid = 0;
	while ((uid = plan->known.next(plan->known.ctx, uid, NULL)) != 0)
		seqset_add(set, uid);
	return set;
}

/* Leaves of what is told to have vanished only what is known: ranges may cover what never was. */
static void
confine_vanished(struct plan *plan)
{
	size_t count;
	const struct seq_range *ranges = seqset_ranges(plan->told, &count);
	seqset_clear(plan->vanished);
	for (size_t i = 0; i < count; i++) {
		uint32_t uid = ranges[i].first - 1;
		while ((uid = plan->known.next(plan->known.ctx, uid, NULL)) != 0 &&
		       uid <= ranges[i].last)
			seqset_add(plan->vanished, uid);
	}
	seqset_subtract(plan->fresh, plan->told);
}

static bool
sum_is_right(const struct plan *plan)
{
	/* Had nothing been left out, it could not be right. */
	return plan->expunged == 0 && plan->known.count + seqset_count(plan->fresh) ==
	                                  plan->exists + seqset_count(plan->vanished);
}

/* So much at once is worth a second opinion. */
static bool
is_much(const struct plan *plan)
{
	uint64_t vanished = seqset_count(plan->vanished);
	return vanished > 0 &&
	       (plan->exists == 0 || (vanished > 10 && vanished > plan->known.count / 2));
}

/* --- the stages ---------------------------------------------------------------------------- */

void
plan_selected(struct plan *plan, const struct plan_state *state)
{
	const struct plan_known *known = &plan->known;
	plan->state = *state;
	plan->exists = state->exists;
	bool modseq = (plan->can & PLAN_CAN_CONDSTORE) != 0 && state->highestmodseq != 0;
	bool same_count = known->listed && state->exists == known->count &&
	                  state->uidnext == known->uidnext && state->uidnext != 0;
	if (!modseq)
		plan->state.highestmodseq = 0;
	bool usable = modseq && known->highestmodseq != 0 &&
	              state->highestmodseq >= known->highestmodseq;
	/* Without them, or with older ones, the delta was of nothing. */
	plan->delta = plan->delta && usable;
	/* Something changed: a delta of nothing does not tell what. */
	bool told = plan->delta &&
	            (plan->heard || state->highestmodseq == known->highestmodseq);
	if (!usable)
		seqset_clear(plan->told);
	bool went_back = state->uidnext != 0 && state->uidnext < known->uidnext;
	plan->doubtful_list = known->uidnext == 0 || known->miscounted;
	if (!known->listed || known->compare) {
		plan->stage = STAGE_UIDS;
		plan->wholly = known->listed || known->next(known->ctx, 0, NULL) != 0;
	} else if (plan->unreadable || went_back) {
		/* What the delta said is not all there is; or UIDs are given twice. */
		plan->stage = STAGE_UIDS;
		plan->wholly = true;
	} else if (modseq && !usable) {
		plan->stage = plan->doubtful_list ? STAGE_UIDS : STAGE_ARRIVALS;
		plan->wholly = true;
	} else if (plan->doubtful_list) {
		plan->stage = usable && !told ? STAGE_CHANGES : STAGE_UIDS;
	} else if (usable && state->highestmodseq == known->highestmodseq && same_count &&
	           !plan->heard) {
		plan->unchanged = true;
		plan->stage = STAGE_DONE;
	} else if (usable && told) {
		plan->stage = STAGE_SUM;
	} else {
		bool changed = usable && state->highestmodseq > known->highestmodseq;
		plan->stage = changed ? STAGE_CHANGES : STAGE_ARRIVALS;
	}
}

static bool
ask_changes(struct plan *plan, struct plan_question *question)
{
	question->ask = PLAN_ASK_CHANGES;
	question->modseq = plan->known.highestmodseq;
	question->to = plan->doubtful_list ? UINT32_MAX : MAX(plan->known.uidnext, 2) - 1;
	return true;
}

static bool
ask_arrivals(struct plan *plan, struct plan_question *question)
{
	bool none = plan->state.uidnext != 0 && plan->state.uidnext == plan->known.uidnext &&
	            plan->exists <= plan->known.count;
	if (none || plan->exists == 0) {
		plan->stage = STAGE_SUM;
		return false;
	}
	seqset_clear(plan->found);
	plan->listing = true;
	question->ask = PLAN_ASK_ARRIVALS;
	question->from = MAX(plan->known.uidnext, 1);
	return true;
}

/* Messages came or were there, and there are none: a mailbox may seem empty that isn't. */
static bool
came_to_nothing(const struct plan *plan)
{
	return plan->exists == 0 && (plan->known.prior ||
	                             plan->state.uidnext > MAX(plan->known.uidnext, 1));
}

static void
check_sum(struct plan *plan)
{
	confine_vanished(plan);
	bool right = sum_is_right(plan);
	if (right && !came_to_nothing(plan) && !is_much(plan)) {
		plan->summed = true;
		plan->stage = STAGE_NEW;
	} else if (!right && plan->delta && !plan->noop_done) {
		plan->stage = STAGE_NOOP;
	} else {
		/* If the delta was wrong, it need not have told all flags. */
		plan->mismatch = plan->delta && !right;
		plan->doubtful_list = true;
		plan->stage = plan->mismatch ? STAGE_CHANGES : STAGE_UIDS;
	}
}

static bool
ask_uids(struct plan *plan, struct plan_question *question)
{
	seqset_clear(plan->found);
	if (plan->exists == 0 && plan->way == 0) {
		plan_settle_uids(plan);
		plan->stage = STAGE_EMPTY;
		return false;
	}
	plan->listing = plan->way == 2;
	question->ask = PLAN_ASK_UIDS;
	question->way = plan->way;
	return true;
}

static bool
ask_empty(struct plan *plan, struct plan_question *question)
{
	if (!seqset_is_empty(plan->found) ||
	    (seqset_is_empty(plan->vanished) && !came_to_nothing(plan))) {
		plan->stage = STAGE_GONE;
		return false;
	}
	plan->has_count = false;
	question->ask = PLAN_ASK_COUNT;
	return true;
}

/* What a SEARCH did not find may be had by FETCH: it may have found numbers, not UIDs. */
static bool
ask_gone(struct plan *plan, struct plan_question *question)
{
	seqset_clear(plan->set);
	seqset_unite(plan->set, plan->vanished);
	if ((plan->way == 2 && plan->surplus == 0) || seqset_is_empty(plan->found) ||
	    seqset_is_empty(plan->set)) {
		plan->stage = STAGE_NEW;
		return false;
	}
	question->ask = PLAN_ASK_FLAGS;
	question->set = plan->set;
	return true;
}

/* Those of which all items have come already need not be asked for. */
static bool
ask_new(struct plan *plan, struct plan_question *question)
{
	if (plan->known.compare) {
		plan->stage = STAGE_COMPARE;
		return false;
	}
	seqset_clear(plan->set);
	seqset_unite(plan->set, plan->fresh);
	seqset_subtract(plan->set, plan->got);
	if (seqset_is_empty(plan->set)) {
		plan->stage = STAGE_SEARCH;
		return false;
	}
	question->ask = PLAN_ASK_NEW;
	question->set = plan->set;
	return true;
}

/* Which known messages have the flags that are searched for; of each the smaller side. */
static void
know_flags(struct plan *plan)
{
	struct seqset *without[PLAN_SEARCHED];
	uint32_t uid = 0;
	unsigned flags;
	for (unsigned i = 0; i < PLAN_SEARCHED; i++) {
		plan->flagged[i] = seqset_new();
		without[i] = seqset_new();
	}
	while ((uid = plan->known.next(plan->known.ctx, uid, &flags)) != 0)
		for (unsigned i = 0; i < PLAN_SEARCHED; i++)
			seqset_add((flags & searched[i]) != 0 ? plan->flagged[i] : without[i], uid);
	for (unsigned i = 0; i < PLAN_SEARCHED; i++) {
		plan->lacking[i] = seqset_count(without[i]) < seqset_count(plan->flagged[i]);
		struct seqset *larger = plan->lacking[i] ? plan->flagged[i] : without[i];
		if (plan->lacking[i])
			plan->flagged[i] = without[i];
		seqset_free(&larger);
	}
}

static bool
ask_search(struct plan *plan, struct plan_question *question)
{
	bool needed = plan->known.listed && plan->known.count > 0 && !plan->wholly &&
	              plan->state.highestmodseq == 0;
	if (!needed || plan->search == PLAN_SEARCHED) {
		plan->stage = STAGE_FLAGS;
		return false;
	}
	if (plan->search == 0)
		know_flags(plan);
	seqset_clear(plan->found);
	question->ask = PLAN_ASK_SEARCH;
	question->flag = searched[plan->search];
	question->without = plan->lacking[plan->search];
	return true;
}

/* The last ones that are known. */
static void
add_recent(struct plan *plan)
{
	struct seqset *known = plan_known_uids(plan);
	uint64_t skip = seqset_count(known);
	skip = skip > RECENT_MAX ? skip - RECENT_MAX : 0;
	size_t count;
	const struct seq_range *ranges = seqset_ranges(known, &count);
	for (size_t i = 0; i < count; i++) {
		uint64_t len = (uint64_t)ranges[i].last - ranges[i].first + 1;
		if (len > skip)
			seqset_add_range(plan->doubtful, ranges[i].first + (uint32_t)skip,
			                 ranges[i].last);
		skip -= MIN(skip, len);
	}
	struct seqset *unknown = seqset_copy(plan->doubtful);
	seqset_subtract(unknown, known);
	seqset_subtract(unknown, plan->fresh);
	/* What was found may have come since. */
	uint32_t end = plan->state.uidnext != 0 ? plan->state.uidnext : plan->last_uid + 1;
	plan->doubt |= !seqset_is_empty(unknown) && seqset_first(unknown) < end;
	seqset_free(&unknown);
	seqset_intersect(plan->doubtful, known);
	seqset_free(&known);
}

static bool
ask_flags(struct plan *plan, struct plan_question *question)
{
	if (plan->wholly) {
		seqset_free(&plan->doubtful);
		plan->doubtful = plan_known_uids(plan);
	} else if (plan->search > 0) {
		add_recent(plan);
	}
	seqset_subtract(plan->doubtful, plan->vanished);
	seqset_subtract(plan->doubtful, plan->got);
	if (seqset_is_empty(plan->doubtful)) {
		plan->stage = STAGE_DONE;
		return false;
	}
	seqset_clear(plan->found);
	plan->listing = true;
	question->ask = PLAN_ASK_FLAGS;
	question->set = plan->doubtful;
	return true;
}

static bool
ask_compare(struct plan *plan, struct plan_question *question)
{
	seqset_clear(plan->set);
	seqset_unite(plan->set, plan->found);
	if (seqset_is_empty(plan->set)) {
		plan->compared = true;
		plan->stage = STAGE_DONE;
		return false;
	}
	seqset_clear(plan->found);
	plan->listing = true;
	question->ask = PLAN_ASK_COMPARE;
	question->set = plan->set;
	return true;
}

bool
plan_next(struct plan *plan, uint32_t exists, struct plan_question *question_r)
{
	plan->exists = exists;
	for (;;) {
		*question_r = (struct plan_question){ 0 };
		plan->unreadable = plan->listing = plan->shrunk = false;
		bool ask = false;
		switch (plan->stage) {
		case STAGE_CHANGES:
			ask = ask_changes(plan, question_r);
			break;
		case STAGE_ARRIVALS:
			ask = ask_arrivals(plan, question_r);
			break;
		case STAGE_SUM:
			check_sum(plan);
			break;
		case STAGE_NOOP:
			question_r->ask = PLAN_ASK_NOOP;
			ask = true;
			break;
		case STAGE_UIDS:
			ask = ask_uids(plan, question_r);
			break;
		case STAGE_EMPTY:
			ask = ask_empty(plan, question_r);
			break;
		case STAGE_GONE:
			ask = ask_gone(plan, question_r);
			break;
		case STAGE_NEW:
			ask = ask_new(plan, question_r);
			break;
		case STAGE_SEARCH:
			ask = ask_search(plan, question_r);
			break;
		case STAGE_FLAGS:
			ask = ask_flags(plan, question_r);
			break;
		case STAGE_COMPARE:
			ask = ask_compare(plan, question_r);
			break;
		case STAGE_DONE:
			return false;
		}
		if (ask)
			return true;
	}
}

/* What is there has not all been had, or is not known: 0. That a message was heard of which came
 * during the sync does not mean that those before it were. */
static uint32_t
next_uidnext(const struct plan *plan)
{
	struct seqset *missing = seqset_copy(plan->fresh);
	seqset_subtract(missing, plan->got);
	bool complete = plan->certain && !plan->doubt && seqset_is_empty(missing);
	seqset_free(&missing);
	uint32_t known = plan->listed_uids ? 0 : plan->known.uidnext;
	uint32_t told = plan->state.uidnext != 0 ? plan->state.uidnext : plan->last_uid + 1;
	return complete ? MAX(told, known) : 0;
}

void
plan_result(const struct plan *plan, struct plan_result *result_r)
{
	*result_r = (struct plan_result){
		.unchanged = plan->unchanged, .vanished = plan->vanished,
		.highestmodseq = plan->certain ? plan->state.highestmodseq : 0,
		.uidnext = next_uidnext(plan),
		.recount = plan->recount,
		.compared = plan->compared, .certain = plan->certain,
		.mismatch = plan->mismatch && plan->surplus == 0,
		.surplus = plan->surplus,
	};
}
