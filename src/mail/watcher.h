/* SPDX-License-Identifier: MIT */
/* What push.c (whom to stand on, whom to believe) and watcher.c (the threads) share. */
#ifndef MAIL_WATCHER_H
#define MAIL_WATCHER_H

#include "mail/internal.h"
#include "mail/push.h"

/* Targets that are no mailbox. */
#define WATCH_NONE 0u
#define WATCH_ALL  UINT32_MAX

struct watcher {
	struct account *account;
	GThread *thread;
	unsigned number;       /* of its connection, in the log */
	bool inbox;            /* it stands on INBOX or nowhere */

	/* account->lock */
	struct conn *conn;     /* or NULL */
	uint32_t target;       /* what it is to stand on */
	int64_t target_ns;     /* boottime since when */
	bool renew;            /* it is to make sure that the line works, and to begin anew */
	bool probe;            /* it is to make sure that the line works */
	uint32_t standing;     /* WATCH_ALL, or the mailbox selected; changed by its thread alone */
	int64_t covering_ns;   /* boottime since when it hears of that, 0: not yet */

	/* The thread's own. */
	int64_t asked_ns;      /* boottime: of what happened since the server tells */
	bool answering;        /* what comes answers our question, and is no news */
	unsigned failures, refusals; /* in a row */
	int64_t after_ns;      /* boottime: not before, after a failure */
	int64_t connected_ns;
	unsigned rounds;       /* in a row that nobody ended */
	int64_t round_ns;      /* for how long one IDLE may last here */
};

void *watcher_thread(void *watcher);

/* --- push.c; all with the lock held ---------------------------------------------------- */

/* The watcher stands on the mailbox; what changed since since_ns is told. */
void push_cover(struct watcher *watcher, struct mbox *mbox, int64_t since_ns);
/* It stands nowhere. */
void push_uncover(struct watcher *watcher);
/* Something was heard of it: unasked, or as an answer. */
void push_heard(const struct watcher *watcher, struct mbox *mbox);
/* The server's numbers of at_ns are those of the index: as good as a sync. */
void push_fresh(struct mbox *mbox, int64_t at_ns);
/* The watcher's line has been proven to work: what is suspected of not being told was not told. */
void push_judge(struct watcher *watcher);
/* It is offered, but of no use. */
void push_ban(struct account *account, enum imap_cap cap, const char *why);

#endif
