/* SPDX-License-Identifier: MIT */
/*
 * The mailboxes that a mailbox's arrivals may come from: what they have lost is
 * found out before the arrivals are shown (see sync.c).
 *
 * Who syncs a mailbox waits here for removals of others alone, and removals
 * wait for nothing; so two that wait for each other do not.
 */
#include "config.h"

#include "base/clock.h"
#include "mail/sync.h"

#define RELATIVES_MAX 16 /* other mailboxes looked at for one */

/* Takes a mailbox that nobody syncs; waits for who does, until its removals are in the index. */
static bool
claim(struct account *account, uint32_t id, int64_t since_ns)
{
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	int64_t until = clock_boot_ns() + (int64_t)account->config.timeout_s * CLOCK_SEC;
	/* One that is listed for the first time has lost nothing yet. */
	while (mbox->complete && mbox->sync_running && mbox->removed_ns < since_ns &&
	       !account->stopping && clock_boot_ns() < until)
		g_cond_wait_until(&account->state, &account->lock, g_get_monotonic_time() + 100000);
	bool mine = !mbox->sync_running && mbox->removed_ns < since_ns && mbox->complete &&
	            !mbox->gone;
	if (mine) {
		mbox->sync_running = true;
		if (mbox->sync_queued)
			g_queue_remove(&account->sync_queue, mbox);
		mbox->sync_queued = false;
	}
	g_mutex_unlock(&account->lock);
	return mine;
}

static void
release(struct account *account, uint32_t id)
{
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	mbox->sync_running = mbox->sync_again = false;
	/* Its arrivals are still to be had. */
	work_mark_dirty(account, mbox);
	g_cond_broadcast(&account->state);
	g_mutex_unlock(&account->lock);
}

static bool
look_for_removals(struct sync *sync, uint32_t id, struct fault *fault)
{
	struct sync other;
	struct fault refusal = { 0 };
	bool due;
	if (!claim(sync->account, id, sync->began_ns))
		return true;
	sync_init(&other, sync->worker, id, SYNC_REMOVALS);
	bool ok = sync_pass(&other, &due, &refusal);
	sync_release(&other);
	release(sync->account, id);
	if (!ok && !conn_alive(sync->worker->conn)) {
		*fault = refusal;
		return false;
	}
	return true;
}

/* Where what is new here may have been before. */
bool
relatives_look(struct sync *sync, GHashTable *mailboxes, struct fault *fault)
{
	GHashTableIter iter;
	gpointer key;
	unsigned count = 0;
	bool ok = true;
	g_hash_table_iter_init(&iter, mailboxes);
	while (ok && count++ < RELATIVES_MAX && g_hash_table_iter_next(&iter, &key, NULL))
		ok = look_for_removals(sync, GPOINTER_TO_UINT(key), fault);
	return ok;
}

/* A mailbox that is listed for the first time shows messages as they come: so what others have
 * lost is found out before, of those that were not looked at lately. Most have not changed, which
 * STATUS tells of all of them at once. */
bool
relatives_look_all(struct sync *sync, struct fault *fault)
{
	struct account *account = sync->account;
	GHashTable *mailboxes = g_hash_table_new(NULL, NULL);
	GHashTableIter iter;
	gpointer value;
	int64_t refresh = (int64_t)account->config.refresh_s * CLOCK_SEC;
	g_mutex_lock(&account->lock);
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_size(mailboxes) < RELATIVES_MAX &&
	       g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct mbox *mbox = value;
		if (mbox->id != ROOT_MAILBOX && mbox->id != sync->id && mbox->complete &&
		    !mbox->gone && mbox->used_ns != 0 &&
		    sync->began_ns - MAX(mbox->removed_ns, mbox->synced_ns) > refresh)
			g_hash_table_add(mailboxes, GUINT_TO_POINTER(mbox->id));
	}
	g_mutex_unlock(&account->lock);
	bool ok = g_hash_table_size(mailboxes) == 0 ||
	          (status_drop_unchanged(sync->worker, mailboxes, fault) &&
	           relatives_look(sync, mailboxes, fault));
	g_hash_table_destroy(mailboxes);
	return ok;
}
