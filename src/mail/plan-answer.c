/* SPDX-License-Identifier: MIT */
/* What the server's answers mean to the plan: see plan.h. */
#include "config.h"

#include "mail/plan-internal.h"

#include <glib.h>

/* A list of UIDs during which messages went is asked for again so often. */
#define LISTS_MAX 3u
/* So many may be counted where none can be listed. */
#define FEW 10u

/* --- what the server says ------------------------------------------------------------------ */

enum plan_meaning
plan_fetch(struct plan *plan, uint32_t uid, bool known)
{
	plan->heard = true;
	if (uid == 0)
		return PLAN_NOTHING; /* flags of a message that has no name here */
	plan->last_uid = MAX(plan->last_uid, uid);
	if (plan->listing)
		seqset_add(plan->found, uid);
	else if (!plan->summed)
		seqset_add(plan->seen, uid);
	/* It was taken for gone, and is there: the list was wrong. */
	if (plan->summed && seqset_contains(plan->vanished, uid)) {
		seqset_remove(plan->vanished, uid);
		plan->doubt = true;
	}
	if (known)
		return PLAN_FLAGS;
	/* It was known when it was listed, and was deleted here since. */
	if (plan->stage == STAGE_COMPARE && seqset_contains(plan->set, uid) &&
	    !seqset_contains(plan->fresh, uid))
		return PLAN_NOTHING;
	seqset_add(plan->fresh, uid);
	return PLAN_NEW;
}

void
plan_got(struct plan *plan, uint32_t uid)
{
	seqset_add(plan->got, uid);
}

void
plan_vanished(struct plan *plan, const struct seqset *uids)
{
	plan->heard = plan->shrunk = true;
	seqset_subtract(plan->seen, uids);
	/* Later ones are told again by the next sync, which begins at this one's SELECT. */
	if (!plan->summed) {
		seqset_unite(plan->told, uids);
		return;
	}
	seqset_subtract(plan->fresh, uids);
	/* No answer is awaited of what is gone. */
	if (plan->stage == STAGE_FLAGS || plan->stage == STAGE_COMPARE)
		seqset_unite(plan->found, uids);
}

void
plan_expunged(struct plan *plan)
{
	plan->shrunk = true;
	plan->expunged++;
}

void
plan_found(struct plan *plan, const struct seqset *uids)
{
	seqset_unite(plan->found, uids);
}

void
plan_found_count(struct plan *plan, uint32_t messages)
{
	plan->has_count = true;
	plan->found_count = messages;
}

void
plan_unreadable(struct plan *plan)
{
	plan->unreadable = true;
}

/* --- the list of UIDs ---------------------------------------------------------------------- */

/* The list of UIDs is complete: it decides what is there. */
void
plan_settle_uids(struct plan *plan)
{
	struct seqset *known = plan_known_uids(plan);
	plan->recount |= plan->known.listed && plan->known.count != seqset_count(known);
	plan->known.count = (uint32_t)seqset_count(known);
	seqset_clear(plan->fresh);
	seqset_unite(plan->fresh, plan->found);
	seqset_subtract(plan->fresh, known);
	seqset_clear(plan->vanished);
	if (plan->certain) {
		seqset_unite(plan->vanished, known);
		seqset_subtract(plan->vanished, plan->found);
		/* One that this sync has met goes when the next one does not meet it either. */
		uint64_t count = seqset_count(plan->vanished);
		seqset_subtract(plan->vanished, plan->seen);
		plan->doubt |= seqset_count(plan->vanished) != count;
	}
	plan->last_uid = MAX(plan->last_uid, seqset_last(plan->found));
	plan->listed_uids = plan->summed = true;
	seqset_free(&known);
}

/* A list of UIDs has none that should be known and is not, and all that was met before, but for as
 * many as went since without a name. */
static bool
is_credible(const struct plan *plan)
{
	struct seqset *known = plan_known_uids(plan), *odd = seqset_copy(plan->found);
	seqset_subtract(odd, known);
	bool credible = !plan->known.listed || seqset_is_empty(odd) ||
	                seqset_first(odd) >= plan->known.uidnext;
	seqset_clear(odd);
	seqset_unite(odd, plan->seen);
	seqset_subtract(odd, plan->found);
	credible &= seqset_count(odd) <= plan->expunged;
	seqset_free(&known);
	seqset_free(&odd);
	return credible;
}

/* Whether all three ways gave the same list: so it is EXISTS that is wrong. An empty one is not
 * believed where there should be more than a few. */
static bool
is_unanimous(struct plan *plan, bool whole)
{
	bool same = plan->way == 0 || (plan->agreed && seqset_equal(plan->before, plan->found));
	plan->agreed = whole && same && (plan->exists <= FEW || !seqset_is_empty(plan->found));
	seqset_clear(plan->before);
	seqset_unite(plan->before, plan->found);
	return plan->agreed && plan->way == 2;
}

/* A list of UIDs: believed if it has as many members as the mailbox has messages. If some went
 * meanwhile, it may be one that lacks others and has just as many. Before EXISTS is taken for wrong
 * it gets the occasion to be told anew. */
static void
answered_uids(struct plan *plan, bool ok)
{
	bool whole = ok && !plan->unreadable;
	int64_t surplus = (int64_t)plan->exists - (int64_t)seqset_count(plan->found);
	bool expected = surplus == 0 ||
	                (surplus == plan->known.surplus &&
	                 (plan->known.count == 0 || !seqset_is_empty(plan->found)));
	bool matches = whole && expected && (plan->way == 2 || is_credible(plan));
	seqset_unite(plan->seen, plan->found);
	bool unanimous = !matches && is_unanimous(plan, whole) && !plan->shrunk;
	if (unanimous && !plan->noop_done) {
		plan->way = 0;
		plan->stage = STAGE_NOOP;
		return;
	}
	plan->certain = unanimous || (matches && !plan->shrunk);
	if (!plan->certain && plan->shrunk && ++plan->lists < LISTS_MAX)
		return;
	plan->surplus = plan->certain ? surplus : 0;
	if (!plan->certain && plan->way < 2) {
		plan->way++;
		return;
	}
	plan_settle_uids(plan);
	plan->stage = STAGE_EMPTY;
}

/* --- the end of an answer ------------------------------------------------------------------ */

/* Known messages that have the flag and were not found, or were found and don't. */
static void
take_search(struct plan *plan)
{
	struct seqset *known = plan->flagged[plan->search];
	struct seqset *here = seqset_copy(plan->found);
	seqset_subtract(here, known);
	seqset_unite(plan->doubtful, here);
	seqset_clear(here);
	seqset_unite(here, known);
	seqset_subtract(here, plan->found);
	seqset_unite(plan->doubtful, here);
	seqset_free(&here);
}

/* What a sync that was cut has added lies in the range of arrivals: did its flags come? Returns
 * whether all of it is there. */
static bool
doubt_unheard(struct plan *plan)
{
	uint32_t uid = MAX(plan->known.uidnext, 1) - 1;
	bool all = true;
	while ((uid = plan->known.next(plan->known.ctx, uid, NULL)) != 0)
		if (!seqset_contains(plan->found, uid)) {
			all = false;
			seqset_add(plan->doubtful, uid);
		}
	return all;
}

void
plan_answered(struct plan *plan, uint32_t exists, bool ok)
{
	bool good = ok && !plan->unreadable;
	plan->exists = exists;
	switch (plan->stage) {
	case STAGE_CHANGES:
		/* Without the changes all flags must be looked at. */
		plan->wholly |= !good;
		plan->stage = plan->doubtful_list ? STAGE_UIDS : STAGE_ARRIVALS;
		break;
	case STAGE_ARRIVALS:
		seqset_unite(plan->seen, plan->found);
		/* A sum that seems right proves nothing then. */
		plan->stage = doubt_unheard(plan) && good ? STAGE_SUM : STAGE_UIDS;
		break;
	case STAGE_NOOP:
		plan->noop_done = true;
		plan->stage = plan->agreed ? STAGE_UIDS : STAGE_SUM;
		break;
	case STAGE_UIDS:
		answered_uids(plan, ok);
		break;
	case STAGE_EMPTY:
		plan->certain = good && plan->has_count && plan->found_count == plan->surplus;
		if (!plan->certain)
			seqset_clear(plan->vanished);
		plan->stage = STAGE_NEW;
		break;
	case STAGE_GONE:
		plan->stage = STAGE_NEW;
		break;
	case STAGE_NEW:
		plan->stage = STAGE_SEARCH;
		break;
	case STAGE_SEARCH:
		if (good)
			take_search(plan);
		plan->search++;
		break;
	case STAGE_FLAGS:
		/* Flags that were not had must be looked at next time. */
		seqset_subtract(plan->doubtful, plan->found);
		plan->doubt |= good && !seqset_is_empty(plan->doubtful);
		if (!good || plan->doubt)
			plan->state.highestmodseq = 0;
		plan->stage = STAGE_DONE;
		break;
	case STAGE_COMPARE:
		/* What can't be had today is no reason to ask for everything again at once. */
		plan->compared = true;
		seqset_subtract(plan->set, plan->found);
		plan->doubt |= good && !seqset_is_empty(plan->set);
		if (!good || plan->doubt)
			plan->state.highestmodseq = 0;
		plan->stage = STAGE_DONE;
		break;
	case STAGE_SUM:
	case STAGE_DONE:
		break;
	}
}
