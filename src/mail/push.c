/* SPDX-License-Identifier: MIT */
/*
 * Push: whom the watchers stand on, what is covered, whether it is believed, and
 * what is polled. See push.h. All of it runs with the lock held.
 */
#include "config.h"

#include "mail/push.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/watcher.h"

/* A mailbox that nobody looked at for so long is no longer polled. */
#define IN_USE_NS (600 * CLOCK_SEC)
/* Servers hold news back for a while; Dovecot for half a second. */
#define GRACE_NS (3 * CLOCK_SEC)
#define DOUBT_UNTOLD 3u
#define DOUBT_LATE   1u
#define DOUBTS_MAX   6u
/* How seldom a watched mailbox in use is compared: after some proofs, and after many. */
#define CHECK_NS (60 * CLOCK_SEC)
#define CHECK_PROVEN_NS (300 * CLOCK_SEC)
#define PROVEN 16u
/* The watcher leaves a mailbox for another when that one alone was used for so long. */
#define HOP_NS (2 * CLOCK_SEC)
/* A mailbox that could not be watched is tried again after so long. */
#define REFUSED_NS (600 * CLOCK_SEC)
/* Where NOTIFY told of a change the mailbox is synced again so much later, until nothing is new. */
#define SETTLE_NS (2 * CLOCK_SEC)
#define SLEPT_NS CLOCK_SEC
/* A line on which nothing was heard for so long may be dead. */
#define SILENCE_NS (60 * CLOCK_SEC)

/* --- life ------------------------------------------------------------------------------ */

void
push_start(struct account *account)
{
	struct push *push = &account->push;
	unsigned connections = account->config.connections;
	push->count = connections < 2 ? 0 : connections < 4 ? 1 : 2;
	push->wanted = MIN(push->count, 1);
	push->watchers = g_new0(struct watcher, MAX(push->count, 1));
	push->slept_ns = clock_slept_ns();
	g_cond_init(&push->wake);
	for (unsigned i = 0; i < push->count; i++) {
		struct watcher *watcher = &push->watchers[i];
		watcher->account = account;
		watcher->number = connections + 1 + i;
		watcher->inbox = i > 0;
		watcher->thread = g_thread_new("imapfs-push", watcher_thread, watcher);
	}
}

void
push_cancel(struct account *account)
{
	struct push *push = &account->push;
	for (unsigned i = 0; i < push->count; i++)
		if (push->watchers[i].conn != NULL)
			conn_cancel(push->watchers[i].conn);
	g_cond_broadcast(&push->wake);
}

void
push_stop(struct account *account)
{
	struct push *push = &account->push;
	for (unsigned i = 0; i < push->count; i++)
		g_thread_join(push->watchers[i].thread);
	g_free(push->watchers);
	push->watchers = NULL;
	push->count = 0;
	g_cond_clear(&push->wake);
}

static void
wake(struct watcher *watcher)
{
	if (watcher->conn != NULL)
		conn_wake(watcher->conn);
	g_cond_broadcast(&watcher->account->push.wake);
}

/* --- what is covered ------------------------------------------------------------------- */

static void
set_watched(struct mbox *mbox)
{
	mbox->watched = mbox->covered_by != NULL && mbox->complete && !mbox->gone &&
	                mbox->synced_ns != 0 && mbox->synced_ns >= mbox->covered_ns;
}

void
push_cover(struct watcher *watcher, struct mbox *mbox, int64_t since_ns)
{
	if (watcher->covering_ns == 0)
		watcher->covering_ns = since_ns;
	if (mbox->covered_by == NULL) {
		mbox->covered_by = watcher;
		mbox->covered_ns = since_ns;
	}
	set_watched(mbox);
}

static void
uncover(struct mbox *mbox)
{
	mbox->covered_by = NULL;
	mbox->watched = false;
	mbox->suspect_ns = 0;
	mbox->accused = false;
}

/* Two may stand on one mailbox for a moment. */
static void
hand_over(struct push *push, struct mbox *mbox)
{
	for (unsigned i = 0; i < push->count; i++) {
		struct watcher *other = &push->watchers[i];
		if (other->covering_ns != 0 && other->standing == mbox->id)
			push_cover(other, mbox, other->covering_ns);
	}
}

void
push_uncover(struct watcher *watcher)
{
	GHashTableIter iter;
	gpointer value;
	watcher->covering_ns = 0;
	g_hash_table_iter_init(&iter, watcher->account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (mbox->covered_by == watcher) {
			uncover(mbox);
			hand_over(&watcher->account->push, mbox);
		}
	}
}

void
push_heard(const struct watcher *watcher, struct mbox *mbox)
{
	/* An answer is no push. */
	if (!watcher->answering)
		mbox->heard_ns = clock_boot_ns();
	/* What was never listed is nobody's concern yet. */
	if (mbox->complete && !mbox->gone)
		work_mark_dirty(watcher->account, mbox);
}

void
push_fresh(struct mbox *mbox, int64_t at_ns)
{
	if (mbox->complete && !mbox->dirty && !mbox->sync_running && !mbox->sync_queued) {
		mbox->synced_ns = MAX(mbox->synced_ns, at_ns);
		mbox->removed_ns = MAX(mbox->removed_ns, at_ns);
	}
	set_watched(mbox);
}

/* --- whether it is believed ------------------------------------------------------------ */

static void
prove(struct push *push)
{
	push->doubts = 0;
	push->proofs++;
}

void
push_ban(struct account *account, enum imap_cap cap, const char *why)
{
	GHashTableIter iter;
	gpointer value;
	if (pool_banned(account->pool, cap))
		return;
	pool_ban(account->pool, cap);
	log_warn("%s offers %s, but %s; doing without it", account->config.conn.host,
	         imap_cap_name(cap), why);
	account->push.doubts = account->push.proofs = 0;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		uncover(value);
}

/* The watcher was of no use for a change. */
static void
doubt(struct watcher *watcher, unsigned weight)
{
	struct push *push = &watcher->account->push;
	bool all = watcher->standing == WATCH_ALL;
	log_debug("connection %u: a change was told %s", watcher->number,
	          weight == DOUBT_LATE ? "late" : "not at all");
	push->doubts += weight;
	push->proofs /= 2;
	if (push->doubts >= DOUBTS_MAX)
		push_ban(watcher->account, all ? IMAP_CAP_NOTIFY : IMAP_CAP_IDLE,
		         "does not tell in time what changed");
}

void
push_used(struct account *account, const struct mbox *mbox, int64_t now)
{
	struct watcher *watcher = mbox->covered_by;
	int64_t most = MIN(SILENCE_NS, 2 * (int64_t)account->config.timeout_s * CLOCK_SEC);
	if (watcher == NULL || watcher->conn == NULL || watcher->probe ||
	    now - conn_progress_ns(watcher->conn) <= most)
		return;
	watcher->probe = true;
	wake(watcher);
}

void
push_own_change(struct account *account)
{
	account->push.own_ns = clock_boot_ns();
}

void
push_synced(struct account *account, struct mbox *mbox, int64_t previous_ns, bool changed)
{
	const struct push *push = &account->push;
	set_watched(mbox);
	/* What the first sync finds nobody need have told. */
	bool news = changed && mbox->covered_by != NULL && previous_ns != 0;
	mbox->unsettled = news && mbox->covered_by->standing == WATCH_ALL;
	if (!news)
		return;
	if (mbox->heard_ns >= previous_ns)
		prove(&account->push);
	/* Of what we did ourselves servers need not tell. */
	else if (mbox->covered_ns <= previous_ns && push->woken_ns < previous_ns &&
	         push->own_ns < previous_ns && change_pending(account) == 0)
		mbox->suspect_ns = clock_boot_ns();
}

/* Whether what a sync found was heard of after all; else the line is to be tried. */
static void
suspect(struct mbox *mbox, int64_t now)
{
	struct watcher *watcher = mbox->covered_by;
	if (mbox->accused) /* from now on the watcher's to find out */
		return;
	if (mbox->heard_ns >= mbox->suspect_ns) {
		mbox->suspect_ns = 0;
		doubt(watcher, DOUBT_LATE);
	} else if (now >= mbox->suspect_ns + GRACE_NS) {
		mbox->accused = true;
		watcher->renew = true;
		wake(watcher);
	}
}

void
push_judge(struct watcher *watcher)
{
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, watcher->account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (mbox->covered_by != watcher || !mbox->accused)
			continue;
		mbox->accused = false;
		mbox->suspect_ns = 0;
		doubt(watcher, DOUBT_UNTOLD);
	}
}

/* --- what is polled -------------------------------------------------------------------- */

static bool
in_use(const struct mbox *mbox, int64_t now)
{
	return mbox->used_ns != 0 && now - mbox->used_ns < IN_USE_NS;
}

bool
push_settle_due(const struct mbox *mbox, int64_t now)
{
	return mbox->unsettled && mbox->complete && !mbox->gone &&
	       mbox->failed_ns <= mbox->synced_ns && now - mbox->synced_ns >= SETTLE_NS;
}

int64_t
push_poll_ns(const struct account *account, const struct mbox *mbox, int64_t now)
{
	/* A little early, so that the news are there when the kernel asks again. */
	int64_t refresh = (int64_t)account->config.refresh_s * CLOCK_SEC * 9 / 10;
	bool used = in_use(mbox, now);
	if (!mbox->complete || mbox->gone || (!used && !mbox->held))
		return 0;
	if (!mbox->watched || mbox->dirty)
		return MAX(refresh, 1);
	/* The watcher itself compares now and then. */
	if (!used)
		return 0;
	unsigned proofs = account->push.proofs;
	int64_t most = proofs < PROVEN ? CHECK_NS : CHECK_PROVEN_NS;
	return MAX(MIN(refresh << MIN(proofs, PROVEN), most), MAX(refresh, 1));
}

unsigned
push_worker_max(const struct account *account)
{
	return MAX(account->config.connections, 1) - account->push.wanted;
}

void
push_connected(struct account *account, const struct conn *conn)
{
	struct push *push = &account->push;
	push->known = true;
	push->idle = conn_has(conn, IMAP_CAP_IDLE);
	/* Without mod-sequences NOTIFY does not tell of flags. */
	push->notify = conn_has(conn, IMAP_CAP_NOTIFY) && conn_has(conn, IMAP_CAP_CONDSTORE);
	if (account->connected > 1)
		return;
	GHashTableIter iter;
	gpointer value;
	int64_t now = clock_boot_ns();
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		/* Not to be waited for any longer: the ticker has them synced. */
		if (mbox->held || in_use(mbox, now))
			mbox->failed_ns = 0;
		mbox->lines_lost = 0;
	}
}

/* --- targets --------------------------------------------------------------------------- */

static uint32_t
inbox_id(struct account *account)
{
	struct push *push = &account->push;
	if (push->inbox == 0) {
		struct cache_view *view = cache_view_begin(account->cache);
		uint32_t id;
		if (cache_mailbox_by_raw(view, "INBOX", strlen("INBOX"), &id))
			push->inbox = id;
		cache_view_end(view);
	}
	return push->inbox;
}

static bool
may_stand_on(const struct mbox *mbox, int64_t now)
{
	return mbox->id != ROOT_MAILBOX && mbox->complete && !mbox->gone &&
	       (mbox->refused_ns == 0 || now - mbox->refused_ns > REFUSED_NS);
}

/* The mailbox used last, but for `other`; NULL: none was. */
static const struct mbox *
used_last(const struct account *account, uint32_t other, int64_t now)
{
	const struct mbox *last = NULL;
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct mbox *mbox = value;
		if (may_stand_on(mbox, now) && mbox->id != other && mbox->used_ns != 0 &&
		    (last == NULL || mbox->used_ns > last->used_ns))
			last = mbox;
	}
	return last;
}

static bool
any_followed(const struct account *account, int64_t now)
{
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct mbox *mbox = value;
		if (mbox->complete && (mbox->held || in_use(mbox, now)))
			return true;
	}
	return false;
}

/* Whether there may be watchers: a worker has its connection, or has hope of one. Where the server
 * allows no more than the watchers have, they give way. */
static bool
may_watch(const struct account *account)
{
	return account->push.known && account->login == LOGIN_DONE && !account->draining &&
	       (account->connected > 0 ||
	        (account->line_fault.kind == FAULT_NONE && !pool_is_full(account->pool)));
}

static void
set_target(struct watcher *watcher, uint32_t target, int64_t now)
{
	if (watcher->target == target)
		return;
	watcher->target = target;
	watcher->target_ns = now;
	wake(watcher);
}

static void
target_idle(struct account *account, struct watcher *watcher, uint32_t other, int64_t now)
{
	const struct mbox *last = used_last(account, other, now);
	const struct mbox *present = NULL;
	if (watcher->target != WATCH_NONE && watcher->target != WATCH_ALL)
		present = work_mbox(account, watcher->target);
	bool stay = present != NULL && present->id != other && may_stand_on(present, now) &&
	            (last == NULL || now - present->used_ns < HOP_NS ||
	             now - watcher->target_ns < HOP_NS);
	if (!stay)
		set_target(watcher, last != NULL ? last->id : WATCH_NONE, now);
}

static void
set_targets(struct account *account, int64_t now)
{
	struct push *push = &account->push;
	bool notify = push->notify && !pool_banned(account->pool, IMAP_CAP_NOTIFY);
	bool idle = push->idle && !pool_banned(account->pool, IMAP_CAP_IDLE);
	if (push->known)
		push->wanted = notify ? MIN(push->count, 1) : idle ? push->count : 0;
	bool any = may_watch(account) && any_followed(account, now);
	for (unsigned i = push->count; i > 0; i--) {
		struct watcher *watcher = &push->watchers[i - 1];
		uint32_t inbox = watcher->inbox ? inbox_id(account) : WATCH_NONE;
		bool stands_on_inbox = inbox != WATCH_NONE &&
		                       may_stand_on(work_mbox(account, inbox), now);
		if (!any || i > push->wanted)
			set_target(watcher, WATCH_NONE, now);
		else if (notify)
			set_target(watcher, WATCH_ALL, now);
		else if (watcher->inbox)
			set_target(watcher, stands_on_inbox ? inbox : WATCH_NONE, now);
		else /* INBOX has its own, if that one has a connection */
			target_idle(account, watcher,
			            i < push->count && push->watchers[i].conn != NULL
			                    ? push->watchers[i].target
			                    : WATCH_NONE, now);
	}
}

/* After a sleep a line may be dead without a sign, and the news lost. */
static void
notice_sleep(struct account *account, int64_t now)
{
	struct push *push = &account->push;
	int64_t slept = clock_slept_ns();
	GHashTableIter iter;
	gpointer value;
	if (slept - push->slept_ns > SLEPT_NS) {
		push->woken_ns = now;
		pool_hurry(account->pool);
		g_hash_table_iter_init(&iter, account->mboxes);
		while (g_hash_table_iter_next(&iter, NULL, &value)) {
			struct mbox *mbox = value;
			mbox->covered_ns = now;
			set_watched(mbox);
		}
		for (unsigned i = 0; i < push->count; i++) {
			if (push->watchers[i].covering_ns != 0)
				push->watchers[i].covering_ns = now;
			push->watchers[i].renew = true;
			wake(&push->watchers[i]);
		}
	}
	push->slept_ns = slept;
}

/* A line that died may not be the only one: watchers would be the last to find out. */
static void
notice_break(struct account *account)
{
	struct push *push = &account->push;
	if (push->broke_ns == account->broke_ns)
		return;
	push->broke_ns = account->broke_ns;
	for (unsigned i = 0; i < push->count; i++) {
		push->watchers[i].renew = true;
		wake(&push->watchers[i]);
	}
}

void
push_tick(struct account *account, int64_t now)
{
	GHashTableIter iter;
	gpointer value;
	notice_sleep(account, now);
	notice_break(account);
	set_targets(account, now);
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (mbox->covered_by == NULL)
			continue;
		set_watched(mbox); /* a look at all of them may have said that it is fresh */
		if (mbox->suspect_ns != 0)
			suspect(mbox, now);
	}
}
