/* SPDX-License-Identifier: MIT */
/* The account as others see it: see account.h. */
#include "config.h"

#include "mail/account.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/internal.h"

/* OPENDIR waits for no longer than this for a sync. */
#define REFRESH_WAIT_NS CLOCK_SEC
/* What the kernel is told of a mailbox whose news come by push: a day. */
#define WATCHED_VALID_NS (86400 * CLOCK_SEC)
/* At the start a connection that can't be had is tried for so long. */
#define REFUSED_WAIT_US (3 * G_TIME_SPAN_SECOND)

/* Which mailboxes were listed completely before. */
static void
load_mailboxes(struct account *account)
{
	struct mailbox_record record;
	struct octets value;
	struct cache_view *view = cache_view_begin(account->cache);
	for (uint32_t id = 0; cache_mailbox_next(view, id, &record); id = record.id)
		work_mbox(account, record.id)->complete = record.listed;
	work_mbox(account, ROOT_MAILBOX)->complete = cache_meta_get(view, "tree listed", &value);
	cache_view_end(view);
}

struct account *
account_new(const struct account_config *config, struct cache *cache)
{
	struct account *account = g_new0(struct account, 1);
	struct fault fault;
	account->config = *config;
	account->cache = cache;
	account->pool = pool_new(config->connections);
	g_mutex_init(&account->lock);
	g_cond_init(&account->work);
	g_cond_init(&account->state);
	account->mboxes = g_hash_table_new_full(NULL, NULL, NULL, NULL);
	account->fetches = g_hash_table_new(g_int64_hash, g_int64_equal);
	account->leaders = g_hash_table_new(g_int64_hash, g_int64_equal);
	account->followers = g_ptr_array_new();
	account->parked = g_ptr_array_new();
	load_mailboxes(account);
	if (!change_load(account, &fault))
		log_error("the journal of pending changes can't be read: %s", fault.text);
	sync_note_start(account);
	work_start(account);
	return account;
}

const struct account_config *
account_config(const struct account *account)
{
	return &account->config;
}

/* The login and the first look at the tree are not over. Lock held. */
static bool
is_starting(struct account *account, struct mbox *tree)
{
	if (account->login == LOGIN_PENDING)
		return true;
	if (account->login == LOGIN_FAILED || tree->synced_ns != 0)
		return false;
	/* A line that was cut in the middle of the listing is tried again. */
	if (!tree->sync_running)
		work_want_sync(account, tree);
	return true;
}

bool
account_wait_login(struct account *account, int wait_ms, struct fault *fault)
{
	gint64 began = g_get_monotonic_time();
	gint64 until = began + (gint64)wait_ms * 1000;
	g_mutex_lock(&account->lock);
	struct mbox *tree = work_mbox(account, ROOT_MAILBOX);
	while (is_starting(account, tree)) {
		/* A server that refuses is not waited for long, less so with an index to show. */
		gint64 now = g_get_monotonic_time();
		bool refused = account->line_fault.kind == FAULT_UNREACHABLE &&
		               (tree->complete || now - began > REFUSED_WAIT_US);
		if (refused || now >= until)
			break;
		g_cond_wait_until(&account->state, &account->lock, MIN(until, now + 200000));
	}
	bool ok = account->login == LOGIN_DONE && tree->synced_ns != 0;
	if (!ok) {
		if (account->line_fault.kind != FAULT_NONE)
			*fault = account->line_fault;
		else
			fault_set(fault, FAULT_TIMEOUT, "%s does not answer",
			          account->config.conn.host);
	}
	g_mutex_unlock(&account->lock);
	return ok;
}

void
account_emit(struct account *account, enum account_event_kind kind, uint64_t dir_ino, uint64_t ino,
             const char *name)
{
	const struct account_event event = { kind, dir_ino, ino, name };
	if (account->config.event != NULL)
		account->config.event(account->config.event_ctx, &event);
}

/* --- the end --------------------------------------------------------------------------- */

/* Waits until nothing is pending, or nothing has moved for `timeout` seconds. */
static void
drain(struct account *account)
{
	g_mutex_lock(&account->lock);
	account->draining = true;
	g_cond_broadcast(&account->work);
	unsigned pending = change_pending(account);
	int64_t moved = clock_boot_ns();
	int64_t most = (int64_t)account->config.timeout_s * CLOCK_SEC;
	if (account->connected == 0)
		most = MIN(most, 5 * CLOCK_SEC);
	while (pending > 0 && clock_boot_ns() < moved + most) {
		g_cond_wait_until(&account->state, &account->lock, g_get_monotonic_time() + 200000);
		unsigned left = change_pending(account);
		if (left != pending)
			moved = clock_boot_ns();
		pending = left;
	}
	g_mutex_unlock(&account->lock);
}

static void
end_parked(struct account *account)
{
	struct wait_list list = { 0 };
	struct fault fault;
	fault_set(&fault, FAULT_CANCELLED, "the filesystem is being unmounted");
	g_mutex_lock(&account->lock);
	for (guint i = 0; i < account->parked->len; i++) {
		struct wait *wait = g_ptr_array_index(account->parked, i);
		wait_list_add(&list, wait);
		wait_unref(wait);
	}
	g_ptr_array_set_size(account->parked, 0);
	g_mutex_unlock(&account->lock);
	wait_list_end(&list, &fault);
	fetch_fail_all(account, &fault);
}

bool
account_stop(struct account *account, struct fault *fault)
{
	struct fault refused = { 0 };
	drain(account);
	work_stop(account);
	end_parked(account);
	sync_note_end(account);
	cache_flush(account->cache, &refused);
	g_mutex_lock(&account->lock);
	unsigned pending = change_pending(account);
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (mbox->change_fault.kind != FAULT_NONE)
			refused = mbox->change_fault;
	}
	g_mutex_unlock(&account->lock);
	if (refused.kind != FAULT_NONE)
		*fault = refused;
	else if (pending > 0)
		fault_set(fault, FAULT_TIMEOUT, "%u change%s could not be sent to the server; the "
		          "next mount sends %s", pending, pending == 1 ? "" : "s",
		          pending == 1 ? "it" : "them");
	return refused.kind == FAULT_NONE && pending == 0;
}

static void
mbox_free(struct mbox *mbox)
{
	wait_list_end(&mbox->change_waits, NULL);
	wait_list_end(&mbox->refresh_waits, NULL);
	wait_list_end(&mbox->listing_waits, NULL);
	g_free(mbox);
}

void
account_free(struct account **account)
{
	struct account *a = *account;
	GHashTableIter iter;
	gpointer value;
	if (a == NULL)
		return;
	fetch_free_all(a);
	change_free_all(a);
	g_hash_table_iter_init(&iter, a->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		mbox_free(value);
	g_hash_table_destroy(a->mboxes);
	g_hash_table_destroy(a->fetches);
	g_hash_table_destroy(a->leaders);
	g_ptr_array_free(a->followers, TRUE);
	g_queue_clear(&a->read_queue);
	g_queue_clear(&a->change_queue);
	g_queue_clear(&a->sync_queue);
	g_ptr_array_free(a->parked, TRUE);
	pool_free(&a->pool);
	g_free(a->prefix);
	g_free(a->delimiter);
	g_free(a);
	*account = NULL;
}

/* --- directories ----------------------------------------------------------------------- */

/* Somebody waits: it goes before what is synced for its own sake. Lock held. */
static void
hurry(struct account *account, struct mbox *mbox)
{
	struct mbox *tree = work_mbox(account, ROOT_MAILBOX);
	if (mbox == tree || !mbox->sync_queued || account->sync_queue.head->data == mbox)
		return;
	g_queue_remove(&account->sync_queue, mbox);
	if (account->sync_queue.length > 0 && account->sync_queue.head->data == tree)
		g_queue_push_nth(&account->sync_queue, mbox, 1);
	else
		g_queue_push_head(&account->sync_queue, mbox);
}

bool
account_refresh(struct account *account, uint32_t id, struct wait *wait)
{
	int64_t now = clock_boot_ns();
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	mbox->used_ns = now;
	push_used(account, mbox, now);
	bool fresh = mbox->complete && mbox->synced_ns != 0 && !mbox->dirty &&
	             (mbox->watched ||
	              now - mbox->synced_ns < (int64_t)account->config.refresh_s * CLOCK_SEC);
	if (!fresh && !mbox->gone) {
		tree_want_look(account, mbox, true);
		hurry(account, mbox);
		line_wish(account, now);
	}
	/* A server that is silent is not waited for again and again, nor is a look at many
	 * mailboxes that takes longer than anybody waits. */
	bool slow = mbox->look_wanted && account->look_took_ns > REFRESH_WAIT_NS;
	bool serve = fresh || mbox->gone || !mbox->complete || slow || work_stalled(account, now) ||
	             now - mbox->failed_ns < (int64_t)account->config.refresh_s * CLOCK_SEC;
	if (!serve) {
		wait->deadline_ns = now + REFRESH_WAIT_NS;
		wait->soft = true;
		wait_list_add(&mbox->refresh_waits, wait);
		watch_park(account, wait);
	}
	g_mutex_unlock(&account->lock);
	return serve;
}

enum listing
account_listing(struct account *account, uint32_t id, uint64_t *step_r)
{
	g_mutex_lock(&account->lock);
	const struct mbox *mbox = work_mbox(account, id);
	enum listing listing = mbox->complete ? LISTING_COMPLETE : LISTING_RUNNING;
	*step_r = mbox->step;
	g_mutex_unlock(&account->lock);
	return listing;
}

void
account_listing_wait(struct account *account, uint32_t id, uint64_t step, struct wait *wait)
{
	int64_t now = clock_boot_ns();
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	bool over = mbox->complete || mbox->step != step;
	struct fault fault;
	bool away = !over && line_is_away(account, &fault);
	if (!over && !away) {
		mbox->used_ns = now;
		work_want_sync(account, mbox);
		hurry(account, mbox);
		wait->deadline_ns = now + (int64_t)account->config.timeout_s * CLOCK_SEC;
		wait_list_add(&mbox->listing_waits, wait);
		watch_park(account, wait);
	}
	g_mutex_unlock(&account->lock);
	if (over || away)
		wait_end(wait, away ? &fault : NULL);
}

double
account_valid_s(struct account *account, uint32_t id)
{
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	int64_t left = 0;
	if (mbox->watched && !mbox->dirty) {
		/* From now on the kernel need not ask, so that it is for us to follow. */
		mbox->held = true;
		left = WATCHED_VALID_NS;
	} else if (mbox->complete && mbox->synced_ns != 0 && !mbox->dirty)
		left = mbox->synced_ns + (int64_t)account->config.refresh_s * CLOCK_SEC -
		       clock_boot_ns();
	g_mutex_unlock(&account->lock);
	return left > 0 ? (double)left / CLOCK_SEC : 0;
}

void
account_used(struct account *account, uint32_t id)
{
	int64_t now = clock_boot_ns();
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, id);
	mbox->used_ns = now;
	push_used(account, mbox, now);
	/* Not polled for a while: the next look finds it fresh. */
	if (mbox->complete && !mbox->gone && !mbox->watched &&
	    now - MAX(mbox->synced_ns, mbox->failed_ns) >=
	            (int64_t)account->config.refresh_s * CLOCK_SEC)
		tree_want_look(account, mbox, true);
	g_mutex_unlock(&account->lock);
}

/* --- quota ----------------------------------------------------------------------------- */

bool
account_quota(struct account *account, uint64_t *used_r, uint64_t *limit_r)
{
	struct cache_view *view = cache_view_begin(account->cache);
	struct octets value;
	uint64_t numbers[2];
	bool known = cache_meta_get(view, "quota", &value) && value.len == sizeof numbers;
	if (known) {
		memcpy(numbers, value.data, sizeof numbers);
		*used_r = numbers[0];
		*limit_r = numbers[1];
	}
	cache_view_end(view);
	return known;
}
