/* SPDX-License-Identifier: MIT */
/*
 * The ticker: ends waits at their deadlines, gives the watchers their targets,
 * and has mailboxes polled whose news don't come by push. It runs ten times a
 * second while anything is parked, else twice.
 */
#include "config.h"

#include "base/clock.h"
#include "mail/internal.h"

void
watch_park(struct account *account, struct wait *wait)
{
	g_ptr_array_add(account->parked, wait_ref(wait));
	g_cond_broadcast(&account->state);
}

/* Takes the waits whose time has come (or that ended otherwise) out of the parked ones. Lock
 * held. */
static void
take_expired(struct account *account, int64_t now, struct wait_list *soft, struct wait_list *hard)
{
	int64_t timeout = (int64_t)account->config.timeout_s * CLOCK_SEC;
	int64_t progress = work_progress_ns(account);
	for (guint i = 0; i < account->parked->len;) {
		struct wait *wait = g_ptr_array_index(account->parked, i);
		if (!atomic_load(&wait->claimed)) {
			if (now < wait->deadline_ns || (!wait->soft && now < progress + timeout)) {
				i++;
				continue;
			}
			wait_list_add(wait->soft ? soft : hard, wait);
		}
		wait_unref(wait);
		g_ptr_array_remove_index_fast(account->parked, i);
	}
}

/* Lock held. */
static void
poll_mailboxes(struct account *account, int64_t now)
{
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		int64_t interval = push_poll_ns(account, mbox, now);
		if (push_settle_due(mbox, now)) /* STATUS may know no more than NOTIFY does */
			work_want_sync(account, mbox);
		else if (interval > 0 && now - MAX(mbox->synced_ns, mbox->failed_ns) >= interval)
			tree_want_look(account, mbox, false);
	}
}

void *
watch_thread(void *data)
{
	struct account *account = data;
	g_mutex_lock(&account->lock);
	while (!account->stopping) {
		gint64 pause = account->parked->len > 0 ? 100 : 500;
		g_cond_wait_until(&account->state, &account->lock,
		                  g_get_monotonic_time() + pause * 1000);
		if (account->parked->len > 0) /* the wake-up was for a new one: its time is later */
			g_cond_wait_until(&account->state, &account->lock,
			                  g_get_monotonic_time() + 50 * 1000);
		int64_t now = clock_boot_ns();
		push_tick(account, now);
		poll_mailboxes(account, now);
		struct wait_list soft = { 0 }, hard = { 0 };
		take_expired(account, now, &soft, &hard);
		struct fault fault;
		if (account->line_fault.kind != FAULT_NONE && account->connected == 0)
			fault = account->line_fault;
		else
			fault_set(&fault, FAULT_TIMEOUT, "no answer from the server within %u s",
			          account->config.timeout_s);
		g_mutex_unlock(&account->lock);
		wait_list_end(&soft, NULL);
		wait_list_end(&hard, &fault);
		g_mutex_lock(&account->lock);
	}
	g_mutex_unlock(&account->lock);
	return NULL;
}
