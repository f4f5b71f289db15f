/* SPDX-License-Identifier: MIT */
/*
 * The queue of work and the workers, one connection each.
 *
 * What is to do hangs on the mailboxes (struct mbox); the queues hold mailboxes
 * that have something, oldest first: reads before changes before syncs. A
 * worker connects before it takes anything, so that a failure to connect costs
 * no work, and only when no connected worker is idle.
 */
#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "mail/internal.h"

/* Further connections than the first are closed when they had nothing to do for so long. */
#define IDLE_CLOSE_NS (300 * CLOCK_SEC)
/* Somebody who asked for what is not there is looked after for so long. */
#define WISH_NS (2 * CLOCK_SEC)
/* A connection that was idle for so long may be dead by now. */
#define DOUBT_NS (60 * CLOCK_SEC)

enum work_kind { WORK_NONE, WORK_READ, WORK_CHANGE, WORK_SYNC };

struct mbox *
work_mbox(struct account *account, uint32_t id)
{
	struct mbox *mbox = g_hash_table_lookup(account->mboxes, GUINT_TO_POINTER(id));
	if (mbox == NULL) {
		mbox = g_new0(struct mbox, 1);
		mbox->id = id;
		g_queue_init(&mbox->fetches);
		g_queue_init(&mbox->displaced);
		g_queue_init(&mbox->changes);
		g_hash_table_insert(account->mboxes, GUINT_TO_POINTER(id), mbox);
	}
	return mbox;
}

void
work_want_read(struct account *account, struct mbox *mbox)
{
	if (!mbox->read_queued) {
		mbox->read_queued = true;
		g_queue_push_tail(&account->read_queue, mbox);
	}
	g_cond_broadcast(&account->work);
}

void
work_want_change(struct account *account, struct mbox *mbox)
{
	if (!mbox->change_queued && !mbox->change_running) {
		mbox->change_queued = true;
		g_queue_push_tail(&account->change_queue, mbox);
	}
	g_cond_broadcast(&account->work);
}

void
work_want_sync(struct account *account, struct mbox *mbox)
{
	if (mbox->sync_queued || mbox->sync_running)
		return;
	mbox->sync_queued = true;
	/* The tree first: what it finds decides what else is worth a look. */
	if (mbox->id == 0)
		g_queue_push_head(&account->sync_queue, mbox);
	else
		g_queue_push_tail(&account->sync_queue, mbox);
	g_cond_broadcast(&account->work);
}

void
work_mark_dirty(struct account *account, struct mbox *mbox)
{
	mbox->dirty = true;
	if (mbox->sync_running)
		mbox->sync_again = true;
	else
		work_want_sync(account, mbox);
}

int64_t
work_progress_ns(struct account *account)
{
	int64_t latest = 0;
	for (unsigned i = 0; i < account->worker_count; i++) {
		const struct worker *worker = &account->workers[i];
		if (worker->running && worker->conn != NULL)
			latest = MAX(latest, conn_progress_ns(worker->conn));
	}
	return latest;
}

bool
work_stalled(struct account *account, int64_t now)
{
	if (account->connected == 0)
		return true;
	for (unsigned i = 0; i < account->worker_count; i++) {
		const struct worker *worker = &account->workers[i];
		if (worker->running && worker->conn != NULL &&
		    now - conn_progress_ns(worker->conn) > CLOCK_SEC)
			return true;
	}
	return false;
}

/* --- taking work ----------------------------------------------------------------------- */

/* An idle connection that has it selected learns its news more cheaply. */
static bool
is_anothers(const struct worker *worker, uint32_t id)
{
	const struct account *account = worker->account;
	for (unsigned i = 0; i < account->worker_count; i++) {
		const struct worker *other = &account->workers[i];
		if (other != worker && other->idle && other->selected == id && other->synced &&
		    worker->selected != id)
			return true;
	}
	return false;
}

static struct mbox *
take_sync(struct worker *worker)
{
	GQueue *queue = &worker->account->sync_queue;
	for (GList *link = queue->head; link != NULL; link = link->next) {
		struct mbox *mbox = link->data;
		if (!is_anothers(worker, mbox->id)) {
			g_queue_delete_link(queue, link);
			return mbox;
		}
	}
	return NULL;
}

/* The queue's first mailbox, or rather the one that this connection has selected. */
static struct mbox *
take_mbox(GQueue *queue, uint32_t selected)
{
	for (GList *link = queue->head; link != NULL && selected != 0; link = link->next) {
		struct mbox *mbox = link->data;
		if (mbox->id == selected) {
			g_queue_delete_link(queue, link);
			return mbox;
		}
	}
	return g_queue_pop_head(queue);
}

static struct mbox *
take_change(struct account *account, int64_t now)
{
	for (GList *link = account->change_queue.head; link != NULL; link = link->next) {
		struct mbox *mbox = link->data;
		if (mbox->change_after_ns <= now || account->draining) {
			g_queue_delete_link(&account->change_queue, link);
			mbox->change_queued = false;
			mbox->change_running = true;
			return mbox;
		}
	}
	return NULL;
}

static bool
sync_allowed(const struct account *account)
{
	/* One connection stays free of long listings, for readers. */
	unsigned most = account->connected > 1 ? account->connected - 1 : 1;
	return account->sync_queue.length > 0 && account->syncs_running < most &&
	       !account->draining;
}

static enum work_kind
take_work(struct worker *worker, int64_t now, struct mbox **mbox_r)
{
	struct account *account = worker->account;
	if (account->read_queue.length > 0) {
		*mbox_r = take_mbox(&account->read_queue, worker->selected);
		(*mbox_r)->read_queued = false;
		return WORK_READ;
	}
	if ((*mbox_r = take_change(account, now)) != NULL)
		return WORK_CHANGE;
	if (sync_allowed(account) && (*mbox_r = take_sync(worker)) != NULL) {
		(*mbox_r)->sync_queued = false;
		(*mbox_r)->sync_running = true;
		account->syncs_running++;
		return WORK_SYNC;
	}
	return WORK_NONE;
}

/* Whether there is anything that a further connection would serve. */
static bool
connection_wanted(const struct account *account, int64_t now)
{
	if (account->login == LOGIN_PENDING)
		return account->connected == 0;
	if (account->idle_connected > 0)
		return false;
	if (account->read_queue.length > 0)
		return true;
	for (const GList *link = account->change_queue.head; link != NULL; link = link->next) {
		const struct mbox *mbox = link->data;
		if (mbox->change_after_ns <= now || account->draining)
			return true;
	}
	/* A connection more for a sync must leave one free of syncs. */
	return account->sync_queue.length > 0 &&
	       (account->connected == 0 || account->syncs_running < account->connected);
}

/* --- the worker ------------------------------------------------------------------------ */

static void
run_sync(struct worker *worker, struct mbox *mbox)
{
	struct account *account = worker->account;
	struct fault fault = { 0 };
	int64_t began = clock_boot_ns();
	g_mutex_lock(&account->lock);
	int64_t previous_ns = mbox->synced_ns;
	uint64_t revision = mbox->revision;
	g_mutex_unlock(&account->lock);
	bool again = false;
	bool ok = mbox->id == 0 ? tree_run(worker, &fault) : sync_run(worker, mbox, &fault);
	conn_set_handler(worker->conn, NULL);
	struct wait_list refresh, listing = { 0 };
	g_mutex_lock(&account->lock);
	mbox->sync_running = false;
	account->syncs_running--;
	if (mbox->id == ROOT_MAILBOX)
		mbox->sync_again |= account->looks > 0;
	if (ok) {
		mbox->synced_ns = mbox->flags_ns = began;
		mbox->complete = true;
		mbox->dirty = mbox->sync_again;
		mbox->step++;
		mbox->lines_lost = 0;
		push_synced(account, mbox, previous_ns, mbox->revision != revision);
	} else {
		mbox->failed_ns = clock_boot_ns();
		if (fault.kind == FAULT_CANCELLED)
			mbox->failed_ns = 0;
		/* After a sleep or a cut each worker finds out for itself that its line is dead. */
		else
			again = !conn_alive(worker->conn) &&
			        mbox->lines_lost++ < account->worker_count;
	}
	mbox->refusals = ok ? 0 : mbox->refusals + conn_alive(worker->conn);
	/* What this connection is refused time and again, a new one may be given: at the second
	 * refusal, the fourth, the eighth ... */
	bool renew = mbox->refusals > 1 && (mbox->refusals & (mbox->refusals - 1)) == 0;
	if (again || (mbox->sync_again && conn_alive(worker->conn)))
		work_want_sync(account, mbox);
	mbox->sync_again = false;
	fetch_sync_ended(account, mbox, began);
	wait_list_take(&mbox->refresh_waits, &refresh);
	if (!again)
		wait_list_take(&mbox->listing_waits, &listing);
	g_cond_broadcast(&account->state);
	/* What is left to another worker (is_anothers()) may be allowed to that one only now. */
	if (account->sync_queue.length > 0)
		g_cond_broadcast(&account->work);
	g_mutex_unlock(&account->lock);
	/* An old listing serves where a new one can't be had; a first one must fail, unless another
	 * connection may yet bring it. */
	wait_list_end(&refresh, NULL);
	wait_list_end(&listing, ok ? NULL : &fault);
	if (!ok && fault.kind != FAULT_CANCELLED)
		log_warn("%s", fault.text);
	if (renew)
		conn_logout(worker->conn);
}

static void
run_change(struct worker *worker, struct mbox *mbox)
{
	change_run(worker, mbox);
	g_mutex_lock(&worker->account->lock);
	push_own_change(worker->account);
	g_mutex_unlock(&worker->account->lock);
}

static void
run_work(struct worker *worker, enum work_kind kind, struct mbox *mbox)
{
	if (kind == WORK_READ)
		fetch_run(worker, mbox);
	else if (kind == WORK_CHANGE)
		run_change(worker, mbox);
	else
		run_sync(worker, mbox);
	if (!conn_alive(worker->conn))
		line_close(worker, false);
	else
		worker->idle_since_ns = clock_boot_ns();
}

/* Sleeps until there may be something to do, at most until `until` (boottime ns). Lock held. */
static void
worker_sleep(struct worker *worker, int64_t until)
{
	struct account *account = worker->account;
	int64_t pause = CLAMP(until - clock_boot_ns(), CLOCK_MS, 60 * CLOCK_SEC);
	worker->idle = worker->conn != NULL;
	account->idle_connected += worker->idle;
	g_cond_wait_until(&account->work, &account->lock, g_get_monotonic_time() + pause / 1000);
	account->idle_connected -= worker->idle;
	worker->idle = false;
}

/* Nothing to do. Lock held, but for the time of closing or opening a connection. */
static void
worker_idle(struct worker *worker, int64_t now)
{
	struct account *account = worker->account;
	int64_t until = now + 60 * CLOCK_SEC;
	if (worker->conn != NULL) {
		if (account->connected > 1 && now - worker->idle_since_ns > IDLE_CLOSE_NS) {
			g_mutex_unlock(&account->lock);
			line_close(worker, true);
			g_mutex_lock(&account->lock);
			return;
		}
		/* Changes that wait for their time are nobody's wake-up call. */
		if (account->change_queue.length > 0)
			until = now + CLOCK_SEC / 4;
	} else if (account->login != LOGIN_FAILED && connection_wanted(account, now) &&
	           account->connected < push_worker_max(account)) {
		bool hurry = account->read_queue.length > 0 || account->parked->len > 0 ||
		             account->draining || now - account->wished_ns < WISH_NS;
		if (pool_may_connect(account->pool, now, hurry ? POOL_HURRY : POOL_PATIENT,
		                     &until)) {
			g_mutex_unlock(&account->lock);
			line_open(worker);
			g_mutex_lock(&account->lock);
			return;
		}
	} else if (account->change_queue.length > 0) {
		until = now + CLOCK_SEC / 4;
	}
	worker_sleep(worker, until);
}

/* Nothing was heard on the connection since another one broke, or the machine slept, or for long:
 * it is asked whether it is alive before anything is trusted to it. Lock held. */
static bool
is_doubtful(const struct worker *worker, int64_t now)
{
	const struct account *account = worker->account;
	int64_t most = MIN(DOUBT_NS, 2 * (int64_t)account->config.timeout_s * CLOCK_SEC);
	bool work = account->read_queue.length > 0 || account->change_queue.length > 0 ||
	            sync_allowed(account);
	return work && worker->conn != NULL &&
	       (now - worker->idle_since_ns > most || worker->idle_since_ns < account->broke_ns ||
	        worker->idle_since_ns < account->push.woken_ns);
}

static void *
worker_thread(void *data)
{
	struct worker *worker = data;
	struct account *account = worker->account;
	g_mutex_lock(&account->lock);
	while (!account->stopping) {
		struct mbox *mbox = NULL;
		int64_t now = clock_boot_ns();
		if (is_doubtful(worker, now)) {
			g_mutex_unlock(&account->lock);
			line_probe(worker);
			g_mutex_lock(&account->lock);
			continue;
		}
		enum work_kind kind = worker->conn != NULL ? take_work(worker, now, &mbox)
		                                           : WORK_NONE;
		if (kind == WORK_NONE) {
			worker_idle(worker, now);
			continue;
		}
		worker->running = true;
		conn_touch(worker->conn);
		g_mutex_unlock(&account->lock);
		run_work(worker, kind, mbox);
		g_mutex_lock(&account->lock);
		worker->running = false;
	}
	g_mutex_unlock(&account->lock);
	if (worker->conn != NULL)
		line_close(worker, true);
	return NULL;
}

bool
work_start(struct account *account)
{
	account->worker_count = MAX(account->config.connections, 1);
	account->workers = g_new0(struct worker, account->worker_count);
	for (unsigned i = 0; i < account->worker_count; i++) {
		struct worker *worker = &account->workers[i];
		worker->account = account;
		worker->number = i + 1;
	}
	push_start(account);
	for (unsigned i = 0; i < account->worker_count; i++)
		account->workers[i].thread = g_thread_new("imapfs-line", worker_thread,
		                                          &account->workers[i]);
	account->ticker = g_thread_new("imapfs-tick", watch_thread, account);
	return true;
}

void
work_stop(struct account *account)
{
	g_mutex_lock(&account->lock);
	account->stopping = true;
	g_cond_broadcast(&account->work);
	g_cond_broadcast(&account->state);
	for (unsigned i = 0; i < account->worker_count; i++)
		if (account->workers[i].conn != NULL)
			conn_cancel(account->workers[i].conn);
	push_cancel(account);
	pool_cancel(account->pool);
	g_mutex_unlock(&account->lock);
	for (unsigned i = 0; i < account->worker_count; i++)
		g_thread_join(account->workers[i].thread);
	g_thread_join(account->ticker);
	push_stop(account);
	g_free(account->workers);
	account->workers = NULL;
	account->worker_count = 0;
}
