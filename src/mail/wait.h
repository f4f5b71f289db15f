/* SPDX-License-Identifier: MIT */
/*
 * A wait: something that is parked until the account's work fulfils it, fails
 * it, or its deadline passes; whoever claims it first ends it, all others leave
 * it alone.
 *
 *     wait_init(&w->wait, my_done, my_destroy);   one reference, the caller's
 *     account_open(account, w, &size);            takes references of its own
 *     ... my_done(&w->wait, fault) is called exactly once, by any thread,
 *         under no lock, perhaps before account_open() returns
 *     wait_unref(&w->wait);                       destroyed with the last one
 *
 * Nobody but the one whose wait_claim() returned true may call done(). An
 * interrupted caller claims the wait itself; the work goes on into the cache.
 */
#ifndef MAIL_WAIT_H
#define MAIL_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

struct wait {
	/* Ends the wait; fault is NULL when what was waited for is there. */
	void (*done)(struct wait *wait, const struct fault *fault);
	void (*destroy)(struct wait *wait);
	/* Boottime ns. With `soft`, done(NULL) is called then: what is there will do. Otherwise
	 * the wait fails when that time has come and nothing has arrived for `timeout` seconds. */
	int64_t deadline_ns;
	bool soft;
	atomic_bool claimed;
	atomic_int refs;
};

void wait_init(struct wait *wait, void (*done)(struct wait *, const struct fault *),
               void (*destroy)(struct wait *));
struct wait *wait_ref(struct wait *wait);
void wait_unref(struct wait *wait);
/* True for the first caller only, who must then end the wait. */
bool wait_claim(struct wait *wait);
/* Claims and ends it, if nobody did before. */
void wait_end(struct wait *wait, const struct fault *fault);

/* A list of waits that the same event ends. Guarded by its owner's lock, but for
 * wait_list_end(), which is called with a list that was taken out of its owner. */
struct wait_list {
	struct wait **waits;
	unsigned count, size;
};

/* Takes a reference; forgets those that were claimed meanwhile. */
void wait_list_add(struct wait_list *list, struct wait *wait);
/* Moves all waits to a list of the caller's, which is overwritten. */
void wait_list_take(struct wait_list *list, struct wait_list *taken_r);
/* Moves all waits to the end of another list. */
void wait_list_move(struct wait_list *list, struct wait_list *to);
/* Ends all of them and frees the list. Call it under no lock. */
void wait_list_end(struct wait_list *list, const struct fault *fault);

#endif
