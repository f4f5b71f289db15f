/* SPDX-License-Identifier: MIT */
/*
 * What the planner's files share: plan.c (what to ask) and plan-answer.c (what the
 * answers mean). Nobody else includes this.
 */
#ifndef MAIL_PLAN_INTERNAL_H
#define MAIL_PLAN_INTERNAL_H

#include "mail/plan.h"

#define PLAN_SEARCHED 5u /* flags that are searched for, where there are no mod-sequences */

enum stage {
	STAGE_CHANGES,
	STAGE_ARRIVALS,
	STAGE_SUM,      /* is known + new - vanished what the server has? */
	STAGE_NOOP,
	STAGE_UIDS,
	STAGE_EMPTY,    /* all is gone: is that so? */
	STAGE_GONE,     /* some are: is that so? */
	STAGE_NEW,
	STAGE_SEARCH,
	STAGE_FLAGS,
	STAGE_COMPARE,
	STAGE_DONE,
};

struct plan {
	struct plan_known known;
	unsigned can;
	struct plan_state state;
	enum stage stage;
	struct seqset *fresh;    /* not known, and there */
	struct seqset *got;      /* of those: with all items */
	struct seqset *told;     /* said to have vanished */
	struct seqset *vanished; /* known, and gone */
	struct seqset *seen;     /* heard of in any way, and not said to have vanished since */
	struct seqset *found;    /* by the question under way */
	struct seqset *before;   /* the list of UIDs as the way before had it */
	struct seqset *set;      /* of the question under way */
	struct seqset *doubtful; /* known messages whose flags may be others */
	bool delta;              /* the SELECT carried QRESYNC */
	bool unreadable;         /* something in the present answer */
	bool heard;              /* a FETCH or VANISHED at all */
	bool listing;            /* FETCH responses are members of `found` */
	bool wholly;             /* all flags are to be looked at */
	bool summed;             /* what is gone is settled */
	bool doubtful_list;      /* only the list of UIDs can say what is there */
	bool unchanged, certain, mismatch, noop_done, listed_uids, recount, compared;
	unsigned expunged;       /* messages that went, which ones was not told */
	bool doubt;              /* a sum was right, but not all that is known is there, or not all
	                          * that is there is known */
	bool shrunk;             /* messages went while the present question was answered */
	bool agreed;             /* the lists of UIDs are all the same, so far */
	int64_t surplus;
	unsigned way, search, lists;
	uint32_t exists, found_count;
	bool has_count;
	uint32_t last_uid;       /* the greatest UID heard of */
	/* Without CONDSTORE: which known messages have, or lack, each searched flag. */
	struct seqset *flagged[PLAN_SEARCHED];
	bool lacking[PLAN_SEARCHED];
};

/* All that is known; the caller's. */
struct seqset *plan_known_uids(const struct plan *plan);
/* `found` is all that is there, or all that can be found out: what is new, and, if it is certain,
 * what vanished. */
void plan_settle_uids(struct plan *plan);

#endif
