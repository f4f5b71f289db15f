/* SPDX-License-Identifier: MIT */
/*
 * The planner: what a sync of one mailbox has to ask the server, and what its
 * answers mean for the index. Pure: no I/O, no locks, no clock, no index; so a
 * test can drive it through any history.
 *
 *     plan_new(known, can)
 *     plan_qresync()                  what goes into the SELECT
 *       plan_fetch(), plan_vanished(), plan_expunged(), plan_unreadable()    while it is answered
 *     plan_selected(state)
 *     while (plan_next(exists, &question))
 *       the same, plan_got() and plan_found(), while the question is answered
 *       plan_answered(exists, ok)
 *     plan_result()
 *
 * Three ways feed it:
 *
 *     QRESYNC    the SELECT itself tells what changed and vanished (RFC 7162 section 3.2.5)
 *     CONDSTORE  CHANGEDSINCE tells what changed; what vanished shows in the count
 *     neither    what came and went shows in UIDNEXT and the count; system flags by SEARCHes,
 *                those of the latest messages by FETCH
 *
 * By each the sum must be right: known + new - vanished = EXISTS. If it is not, the list of UIDs
 * decides, which must have EXISTS members itself, and what it lacks must not be had by FETCH:
 * absence alone removes nothing. If it is the same however it is asked for, EXISTS is wrong, and
 * that is known from then on. What the server says is never believed twice over: a delta that
 * can't be read, a mod-sequence that went back or that it does not keep costs a look at all flags.
 *
 * What the applier may do at once: additions and flags. What it must do last, in one transaction:
 * the removals and values of struct plan_result. A sync that was cut off is done again from what
 * the index has by then.
 */
#ifndef MAIL_PLAN_H
#define MAIL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "imap/fetch.h"
#include "imap/seqset.h"

/* What the index has of the mailbox, under one UIDVALIDITY. */
struct plan_known {
	bool listed;            /* completely, once */
	bool compare;           /* a comparison of everything is due */
	bool prior;             /* it takes the place of one that had messages (UIDVALIDITY) */
	uint64_t highestmodseq; /* 0: none */
	uint32_t uidnext;       /* messages of this UID on are new; 0: a list of UIDs is needed */
	uint32_t count;         /* messages */
	int64_t surplus;        /* EXISTS counted so many more than could be listed, last time */
	bool miscounted;        /* it did so once: no sum tells anything */
	/* The least UID greater than `after`, 0: none; *flags_r (if not NULL): its enum imap_flag
	 * bits. What it tells must not lack messages that it had when the plan was made. */
	uint32_t (*next)(void *ctx, uint32_t after, unsigned *flags_r);
	void *ctx;
};

enum plan_can {
	PLAN_CAN_QRESYNC = 1 << 0,   /* it is enabled */
	PLAN_CAN_CONDSTORE = 1 << 1,
};

/* The mailbox as the tagged OK of its SELECT left it. */
struct plan_state {
	uint64_t highestmodseq; /* 0: none (NOMODSEQ, no CONDSTORE) */
	uint32_t uidnext;       /* 0: not told */
	uint32_t exists;
};

enum plan_ask {
	PLAN_ASK_NOOP,     /* NOOP: the server may have news */
	PLAN_ASK_CHANGES,  /* UID FETCH 1:`to` (UID FLAGS) (CHANGEDSINCE `modseq`) */
	PLAN_ASK_ARRIVALS, /* UID FETCH `from`:* with all items of a message */
	PLAN_ASK_UIDS,     /* by `way`: 0 UID SEARCH ALL, as ESEARCH where it works; 1 UID SEARCH
	                    * UID 1:*, plain; 2 UID FETCH 1:* (UID) */
	PLAN_ASK_COUNT,    /* STATUS (MESSAGES): plan_found_count() */
	PLAN_ASK_SEARCH,   /* UID SEARCH for `flag`, or for messages without it */
	PLAN_ASK_FLAGS,    /* UID FETCH `set` (UID FLAGS) */
	PLAN_ASK_NEW,      /* UID FETCH `set` with all items: whatever it takes to get them */
	PLAN_ASK_COMPARE,  /* UID FETCH `set` with all items: known ones are compared */
};

struct plan_question {
	enum plan_ask ask;
	const struct seqset *set; /* the plan's, until plan_answered() */
	uint32_t from, to;
	uint64_t modseq;
	unsigned way;
	enum imap_flag flag;
	bool without;             /* SEARCH: messages that lack the flag */
};

/* What a FETCH response means. */
enum plan_meaning {
	PLAN_NOTHING,
	PLAN_FLAGS, /* of a known message */
	PLAN_NEW,   /* a message that is not in the index (its items, if it has them) */
};

struct plan_result {
	bool unchanged;               /* there is nothing to apply at all */
	const struct seqset *vanished; /* known messages that are gone; the plan's */
	uint64_t highestmodseq;       /* to be stored; 0: the next sync looks at all flags */
	uint32_t uidnext;             /* to be stored; 0: some that are there were not had */
	bool recount;                 /* the index's own count of messages was wrong */
	bool compared;                /* everything was compared */
	bool certain;                 /* false: the server's answers contradict each other */
	bool mismatch;                /* a QRESYNC delta's sum was wrong */
	int64_t surplus;              /* EXISTS counts so many too many, whatever is asked */
};

struct plan;

/* Copies `known`. */
struct plan *plan_new(const struct plan_known *known, unsigned can);
void plan_free(struct plan **plan);

/* The mod-sequence for SELECT's QRESYNC parameter; 0: plain SELECT. */
uint64_t plan_qresync(const struct plan *plan);

/* A FETCH response with that UID (0: it has none). known: the index has it. */
enum plan_meaning plan_fetch(struct plan *plan, uint32_t uid, bool known);
/* Of a new message all items have come. */
void plan_got(struct plan *plan, uint32_t uid);
/* VANISHED, (EARLIER) or not. */
void plan_vanished(struct plan *plan, const struct seqset *uids);
/* EXPUNGE: a message went, which one is not known. */
void plan_expunged(struct plan *plan);
/* UIDs of SEARCH and ESEARCH. */
void plan_found(struct plan *plan, const struct seqset *uids);
void plan_found_count(struct plan *plan, uint32_t messages);
/* A response that could not be read: what it said is unknown. */
void plan_unreadable(struct plan *plan);

/* The SELECT ended with OK, under the UIDVALIDITY that `known` is of. */
void plan_selected(struct plan *plan, const struct plan_state *state);
/* exists: as the server has told so far. False: nothing is left to ask. */
bool plan_next(struct plan *plan, uint32_t exists, struct plan_question *question_r);
/* exists: as the server has told by now. ok: the question was answered with OK. */
void plan_answered(struct plan *plan, uint32_t exists, bool ok);
/* After plan_next() was false. */
void plan_result(const struct plan *plan, struct plan_result *result_r);

#endif
