/* SPDX-License-Identifier: MIT */
/*
 * Calls that may have to wait: tried, parked, tried again on waking.
 *
 *     struct my_call { struct park park; ... };       made by the caller of park_init()
 *
 *     step(park, fault)   does the work: called by park_run() first (fault NULL), and again
 *                         whenever what it waited for has happened or failed. It ends in one of
 *         park_claim() true, then the reply, then park_finish()
 *         park_wait() and handing that wait to the account; if the account says that it
 *                         was not needed, park_claim() as above
 *     abandon(park, interrupted)   replies with an error instead; called at most once, and never
 *                         together with a reply of step()
 *     arm(park), disarm(park)      ask for interrupts before the first wait, and no longer before
 *                         the reply; disarm() returns when no park_interrupt() is running. It is
 *                         not called if park_interrupt() itself ends the call. May be NULL.
 *     destroy(park)       frees the call
 *
 * Who ends a call is decided by one claim: the wake-up, an interrupt
 * (park_interrupt) or the end of the mount (park_lot_close). The work goes on
 * into the cache when the caller is gone.
 *
 * A lot knows all that is parked, and in which directories: the kernel holds a
 * directory's lock for some calls, and who wants that lock must not come near.
 */
#ifndef FS_PARK_H
#define FS_PARK_H

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mail/account.h"

struct park_lot;
struct park_round;

struct park {
	void (*step)(struct park *park, const struct fault *fault);
	void (*abandon)(struct park *park, bool interrupted);
	void (*destroy)(struct park *park);
	void (*arm)(struct park *park);
	void (*disarm)(struct park *park);
	uint64_t dir;              /* inode of the directory that the kernel has locked, or 0 */
	struct fetch_wait *result; /* in step(): the wait that has ended; NULL in the first try */
	/* park.c's own. */
	struct park_lot *lot;
	pthread_mutex_t lock;
	struct park_round *round;
	bool armed, interrupted, listed;
	atomic_int refs;
	GList link;
};

struct park_lot *park_lot_new(void);
/* All calls must have ended. NULL in *lot is accepted. */
void park_lot_free(struct park_lot **lot);
/* From now on nothing is parked: all that is, and all that comes, is abandoned. Returns when all
 * of it has been replied to. */
void park_lot_close(struct park_lot *lot);
/* Whether a call waits in that directory. */
bool park_lot_busy(struct park_lot *lot, uint64_t dir);
/* Called, under no lock, when the last call of a directory has ended. */
void park_lot_on_idle(struct park_lot *lot, void (*idle)(void *ctx), void *ctx);
unsigned park_lot_count(struct park_lot *lot);

/* step, abandon, destroy, and if needed arm, disarm and dir, are set by the caller afterwards. */
void park_init(struct park *park, struct park_lot *lot);
/* Runs the first try. The park may be freed when it returns. */
void park_run(struct park *park);

/* A wait for the account, initialised; ino, offset and length are the caller's to set, and so is
 * the reference to drop once the account has it. NULL: the call has been abandoned already, step()
 * just returns. Once the account has the wait, the park may be gone at any time. */
struct fetch_wait *park_wait(struct park *park);
/* Whether step() may reply. False: the call has been abandoned; step() just returns. */
bool park_claim(struct park *park);
/* After the reply. The park may be freed by it. */
void park_finish(struct park *park);

/* The caller was interrupted. Any thread, while the call has not been replied to. */
void park_interrupt(struct park *park);

#endif
