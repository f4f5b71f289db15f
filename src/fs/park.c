/* SPDX-License-Identifier: MIT */
/*
 * Parked calls: see park.h.
 *
 * Each wait is a round of its own, since a wait ends but once. A round holds
 * its park; the park holds its present round, and none while step() runs
 * after a wake-up: then nobody else can end the call.
 */
#include "config.h"

#include "fs/park.h"

#include <time.h>

/* What is being replied to when a lot closes takes no longer. */
#define CLOSE_WAIT_S 10

struct park_round {
	struct fetch_wait fetch; /* first: the account's waits are rounds */
	struct park *park;
};

struct park_lot {
	pthread_mutex_t lock;
	pthread_cond_t empty;
	bool closed;
	GQueue parked;    /* of struct park, by their links */
	GHashTable *dirs; /* inode -> number of parked calls */
	void (*idle)(void *ctx);
	void *idle_ctx;
};

/* --- the lot --------------------------------------------------------------------------- */

struct park_lot *
park_lot_new(void)
{
	struct park_lot *lot = g_new0(struct park_lot, 1);
	pthread_mutex_init(&lot->lock, NULL);
	pthread_cond_init(&lot->empty, NULL);
	g_queue_init(&lot->parked);
	lot->dirs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	return lot;
}

void
park_lot_free(struct park_lot **lot)
{
	if (*lot == NULL)
		return;
	g_hash_table_destroy((*lot)->dirs);
	pthread_mutex_destroy(&(*lot)->lock);
	pthread_cond_destroy(&(*lot)->empty);
	g_free(*lot);
	*lot = NULL;
}

bool
park_lot_busy(struct park_lot *lot, uint64_t dir)
{
	pthread_mutex_lock(&lot->lock);
	bool busy = g_hash_table_contains(lot->dirs, &dir);
	pthread_mutex_unlock(&lot->lock);
	return busy;
}

void
park_lot_on_idle(struct park_lot *lot, void (*idle)(void *ctx), void *ctx)
{
	pthread_mutex_lock(&lot->lock);
	lot->idle = idle;
	lot->idle_ctx = ctx;
	pthread_mutex_unlock(&lot->lock);
}

unsigned
park_lot_count(struct park_lot *lot)
{
	pthread_mutex_lock(&lot->lock);
	unsigned count = lot->parked.length;
	pthread_mutex_unlock(&lot->lock);
	return count;
}

/* False: the lot is closed. */
static bool
lot_enter(struct park_lot *lot, struct park *park)
{
	pthread_mutex_lock(&lot->lock);
	bool open = !lot->closed;
	if (open && !park->listed) {
		park->listed = true;
		park->link.data = park;
		g_queue_push_tail_link(&lot->parked, &park->link);
		if (park->dir != 0) {
			guint count = GPOINTER_TO_UINT(g_hash_table_lookup(lot->dirs, &park->dir));
			g_hash_table_replace(lot->dirs, g_memdup2(&park->dir, sizeof park->dir),
			                     GUINT_TO_POINTER(count + 1));
		}
	}
	pthread_mutex_unlock(&lot->lock);
	return open;
}

static void
lot_leave(struct park_lot *lot, struct park *park)
{
	void (*idle)(void *) = NULL;
	void *ctx = NULL;
	pthread_mutex_lock(&lot->lock);
	if (park->listed) {
		park->listed = false;
		g_queue_unlink(&lot->parked, &park->link);
		guint count = park->dir == 0 ? 0 : GPOINTER_TO_UINT(
			g_hash_table_lookup(lot->dirs, &park->dir));
		if (count > 1) {
			g_hash_table_replace(lot->dirs, g_memdup2(&park->dir, sizeof park->dir),
			                     GUINT_TO_POINTER(count - 1));
		} else if (count == 1) {
			g_hash_table_remove(lot->dirs, &park->dir);
			idle = lot->idle;
			ctx = lot->idle_ctx;
		}
		if (lot->parked.length == 0)
			pthread_cond_broadcast(&lot->empty);
	}
	pthread_mutex_unlock(&lot->lock);
	if (idle != NULL)
		idle(ctx);
}

/* --- one call -------------------------------------------------------------------------- */

void
park_init(struct park *park, struct park_lot *lot)
{
	*park = (struct park){ .lot = lot };
	pthread_mutex_init(&park->lock, NULL);
	atomic_init(&park->refs, 1);
}

static void
park_unref(struct park *park)
{
	if (atomic_fetch_sub(&park->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&park->lock);
	park->destroy(park);
}

void
park_run(struct park *park)
{
	park->step(park, NULL);
}

static void
round_destroy(struct wait *wait)
{
	struct park_round *round = (struct park_round *)wait;
	struct park *park = round->park;
	fetch_wait_clear(&round->fetch);
	g_free(round);
	park_unref(park);
}

static void
round_done(struct wait *wait, const struct fault *fault)
{
	struct park_round *round = (struct park_round *)wait;
	struct park *park = round->park;
	pthread_mutex_lock(&park->lock);
	park->round = NULL;
	pthread_mutex_unlock(&park->lock);
	park->result = &round->fetch;
	park->step(park, fault);
	/* The park's reference to the round; nothing else of it may be touched any more. */
	wait_unref(wait);
}

/* Replies with an error; the caller has the claim. */
static void
give_up(struct park *park, bool interrupted, bool disarm)
{
	if (disarm && park->armed && park->disarm != NULL)
		park->disarm(park);
	park->abandon(park, interrupted);
	park_finish(park);
}

struct fetch_wait *
park_wait(struct park *park)
{
	if (!park->armed) {
		park->armed = true;
		if (park->arm != NULL)
			park->arm(park);
	}
	struct park_round *round = g_new0(struct park_round, 1);
	wait_init(&round->fetch.wait, round_done, round_destroy);
	round->park = park;
	atomic_fetch_add(&park->refs, 1);
	park->result = NULL;
	/* In one go: whoever closes the lot finds all of its calls with their rounds. */
	pthread_mutex_lock(&park->lock);
	bool open = lot_enter(park->lot, park), interrupted = park->interrupted;
	if (open && !interrupted)
		park->round = (struct park_round *)wait_ref(&round->fetch.wait);
	pthread_mutex_unlock(&park->lock);
	if (open && !interrupted)
		return &round->fetch;
	wait_unref(&round->fetch.wait);
	give_up(park, open, true);
	return NULL;
}

bool
park_claim(struct park *park)
{
	pthread_mutex_lock(&park->lock);
	struct park_round *round = park->round;
	bool mine = round == NULL || wait_claim(&round->fetch.wait);
	pthread_mutex_unlock(&park->lock);
	if (mine && park->armed && park->disarm != NULL)
		park->disarm(park);
	return mine;
}

void
park_finish(struct park *park)
{
	pthread_mutex_lock(&park->lock);
	struct park_round *round = park->round;
	park->round = NULL;
	pthread_mutex_unlock(&park->lock);
	lot_leave(park->lot, park);
	if (round != NULL)
		wait_unref(&round->fetch.wait);
	park_unref(park);
}

/* Claims the present round, if there is one. */
static bool
claim_round(struct park *park, bool interrupted)
{
	pthread_mutex_lock(&park->lock);
	park->interrupted |= interrupted;
	bool mine = park->round != NULL && wait_claim(&park->round->fetch.wait);
	pthread_mutex_unlock(&park->lock);
	return mine;
}

void
park_interrupt(struct park *park)
{
	if (claim_round(park, true))
		give_up(park, true, false);
}

void
park_lot_close(struct park_lot *lot)
{
	GPtrArray *all = g_ptr_array_new();
	pthread_mutex_lock(&lot->lock);
	lot->closed = true;
	for (GList *link = lot->parked.head; link != NULL; link = link->next) {
		struct park *park = link->data;
		atomic_fetch_add(&park->refs, 1);
		g_ptr_array_add(all, park);
	}
	pthread_mutex_unlock(&lot->lock);
	for (guint i = 0; i < all->len; i++) {
		struct park *park = g_ptr_array_index(all, i);
		if (claim_round(park, false))
			give_up(park, false, true);
		park_unref(park);
	}
	g_ptr_array_free(all, TRUE);
	struct timespec until;
	int err = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_WAIT_S;
	pthread_mutex_lock(&lot->lock);
	while (lot->parked.length > 0 && err == 0)
		err = pthread_cond_clockwait(&lot->empty, &lot->lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&lot->lock);
}
