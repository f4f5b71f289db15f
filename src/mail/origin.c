/* SPDX-License-Identifier: MIT */
/*
 * Where the octets of a message are had from, and whether they are what they
 * were: see fetch.h.
 *
 * A message may move, or its mailbox may be renumbered, while somebody waits for
 * its octets or has it open: so where it stands is read from the index again
 * before each command. Several messages may have one body, which is fetched once.
 * A message that is only probably what its inode was before (identity.h, renumber.c)
 * is fetched whole and compared with that before anybody gets an octet of it: if all
 * of the old one is there, or as far as it is there and somebody has it open. If it
 * is the same, it goes on as the old body. Who has it open and can't be told by what
 * is stored keeps the inode to himself. Else nobody has the old octets any more, but
 * for the kernel's pages, which the OPEN drops.
 */
#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "mail/apply.h"
#include "mail/fetch.h"

/* It is open as what it was before. Lock held, or it is nobody else's. */
static bool
is_held(const struct fetch *fetch)
{
	return fetch->pins > 0 && fetch->pinned != fetch->key;
}

bool
fetch_locate(struct account *account, struct fetch *fetch)
{
	struct message_record record;
	struct mailbox_record mailbox;
	struct body_info info;
	uint32_t id;
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_message_by_ino(view, fetch->ino, &id, &record) &&
	             cache_mailbox_get(view, id, &mailbox);
	if (known) {
		uint64_t key = message_body_key(&record);
		bool moved = fetch->space != record.space || fetch->uid != record.uid ||
		             fetch->key != key;
		fetch->key = key;
		fetch->mailbox = id;
		fetch->space = record.space;
		fetch->uid = record.uid;
		fetch->uidvalidity = mailbox.uidvalidity;
		fetch->prior = (record.state & MESSAGE_PROBABLE) != 0 ? record.prior : 0;
		fetch->probable = (record.state & MESSAGE_PROBABLE) != 0;
		fetch->seen = (record.flags & IMAP_FLAG_SEEN) != 0;
		if (moved) {
			/* Ranges under another UID are another matter, and so are the tries. */
			fetch->failures = 0;
			fetch->hint = fetch->size = record.size;
			fetch->hint_true = (record.state & MESSAGE_SIZE_TRUE) != 0;
			fetch->size_known = fetch->whole = false;
			fetch->read_on = 0;
			fetch->window = 1;
		}
		fetch->compare = fetch->prior != 0 && body_info_get(view, fetch->prior, &info) &&
		                 (info.complete || is_held(fetch));
		fetch->whole |= fetch->compare;
	}
	cache_view_end(view);
	return known;
}

/* --- one fetch a body ----------------------------------------------------------------------- */

/* Lock held. */
bool
fetch_lead(struct account *account, struct fetch *fetch)
{
	struct fetch *leader = g_hash_table_lookup(account->leaders, &fetch->key);
	if (leader != NULL && leader != fetch) {
		fetch->running = false;
		fetch->queued = true; /* nowhere, until the leader has ended */
		g_ptr_array_add(account->followers, fetch);
		return false;
	}
	fetch->led = fetch->key;
	g_hash_table_insert(account->leaders, &fetch->led, fetch);
	return true;
}

/* Lock held. */
void
fetch_unlead(struct account *account, struct fetch *fetch)
{
	if (g_hash_table_lookup(account->leaders, &fetch->led) != fetch)
		return;
	g_hash_table_remove(account->leaders, &fetch->led);
	for (guint i = account->followers->len; i > 0; i--) {
		struct fetch *follower = g_ptr_array_index(account->followers, i - 1);
		if (follower->key != fetch->led)
			continue;
		g_ptr_array_remove_index_fast(account->followers, i - 1);
		follower->queued = false;
		fetch_enqueue(account, follower);
	}
}

bool
fetch_from_cache(struct account *account, struct fetch *fetch, struct ending *done)
{
	struct body_info info;
	struct cache_view *view = cache_view_begin(account->cache);
	bool here = body_info_get(view, fetch->key, &info) && info.complete;
	cache_view_end(view);
	if (!here || fetch->probable)
		return here;
	g_mutex_lock(&account->lock);
	fetch->size = info.size;
	fetch->size_known = true;
	for (guint i = 0; i < fetch->waits->len; i++) {
		struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
		if (wait->length > 0 && !atomic_load(&wait->wait.claimed))
			fetch_fill(account, fetch, wait);
	}
	fetch_end_fulfilled(fetch, true, done);
	g_mutex_unlock(&account->lock);
	return true;
}

/* --- waiting for a sync ---------------------------------------------------------------------- */

/* Lock held. */
void
fetch_await_sync(struct account *account, struct fetch *fetch, bool anew)
{
	struct mbox *mbox = work_mbox(account, fetch->mailbox);
	fetch->awaited_ns = anew ? clock_boot_ns() : 0;
	fetch->running = false;
	fetch->queued = true;
	g_queue_push_tail(&mbox->displaced, fetch);
	if (anew && mbox->sync_running)
		mbox->sync_again = true;
	work_want_sync(account, mbox);
}

/* Lock held. */
void
fetch_sync_ended(struct account *account, struct mbox *mbox, int64_t began_ns)
{
	GQueue displaced = mbox->displaced;
	g_queue_init(&mbox->displaced);
	struct fetch *fetch;
	while ((fetch = g_queue_pop_head(&displaced)) != NULL) {
		/* What this one did not see the next one will, which is wanted already. */
		if (fetch->awaited_ns > began_ns && mbox->sync_queued) {
			g_queue_push_tail(&mbox->displaced, fetch);
			continue;
		}
		fetch->queued = false;
		fetch_enqueue(account, fetch);
	}
}

/* --- what a message was before ---------------------------------------------------------------- */

enum verdict {
	VERDICT_SAME,
	VERDICT_OTHER, /* it has got another inode number */
	VERDICT_VOID,  /* it is yet another one by now */
};

struct verdict_task {
	struct account *account;
	uint64_t ino, key, body; /* body: the key that it has from now on */
	enum verdict verdict;
	uint64_t dir_ino;
	char *name;
};

static bool
verdict_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct verdict_task *task = data;
	struct message_record record;
	struct mailbox_record mailbox;
	uint32_t id;
	uint64_t ino = task->ino;
	if (!cache_message_by_ino(cache_txn_view(txn), task->ino, &id, &record) ||
	    (record.state & MESSAGE_PROBABLE) == 0 || message_body_key(&record) != task->key) {
		task->verdict = VERDICT_VOID;
		return true;
	}
	if (cache_mailbox_get(cache_txn_view(txn), id, &mailbox))
		task->dir_ino = mailbox.ino;
	g_free(task->name);
	task->name = g_strdup(record.name);
	/* Counting up writes, and may move what the record points to. */
	if (task->verdict == VERDICT_OTHER &&
	    (!txn_ino_alloc(txn, &ino, fault) ||
	     !cache_message_by_ino(cache_txn_view(txn), task->ino, &id, &record)))
		return false;
	record.state &= ~(uint32_t)MESSAGE_PROBABLE;
	record.prior = 0;
	record.ino = ino;
	record.body = task->body;
	return apply_message_put(txn, id, &record, fault);
}

static enum verdict
pronounce(struct account *account, const struct fetch *fetch, enum verdict verdict, uint64_t body)
{
	struct verdict_task task = { .account = account, .ino = fetch->ino, .key = fetch->key,
		                     .body = body, .verdict = verdict };
	struct fault fault;
	if (!cache_run(account->cache, verdict_run, &task, &fault)) {
		log_error("%s", fault.text);
		task.verdict = VERDICT_OTHER;
	} else if (task.verdict == VERDICT_OTHER) {
		log_debug("inode %llu: the message that turned up is another one",
		          (unsigned long long)task.ino);
		account_emit(account, EVENT_MESSAGE_GONE, task.dir_ino, task.ino, task.name);
	}
	g_free(task.name);
	return task.verdict;
}

static void
presumed(void *data, const struct fault *fault)
{
	struct verdict_task *task = data;
	(void)fault;
	g_free(task->name);
	g_free(task);
}

/* One of which nothing can be compared. */
static enum verdict
presume_one(struct account *account, struct fetch *fetch)
{
	g_mutex_lock(&account->lock);
	bool held = is_held(fetch);
	g_mutex_unlock(&account->lock);
	if (held)
		return pronounce(account, fetch, VERDICT_OTHER, fetch->key);
	struct verdict_task *task = g_new0(struct verdict_task, 1);
	*task = (struct verdict_task){ .account = account, .ino = fetch->ino, .key = fetch->key,
		                       .body = fetch->key, .verdict = VERDICT_SAME };
	/* Until that is written it is presumed again. */
	const struct cache_task cache_task = { .run = verdict_run, .done = presumed, .data = task,
		                               .when = CACHE_SOON };
	cache_submit(account->cache, &cache_task);
	return VERDICT_SAME;
}

static enum verdict
judge_one(struct account *account, struct fetch *fetch)
{
	struct body_info info;
	bool same = false;
	g_mutex_lock(&account->lock);
	bool held = is_held(fetch), untraced = fetch->untraced;
	g_mutex_unlock(&account->lock);
	struct cache_view *view = cache_view_begin(account->cache);
	bool there = body_info_get(view, fetch->prior, &info);
	bool agrees = there && body_agrees(view, fetch->prior, fetch->key, &same) && same &&
	              !(held && untraced);
	cache_view_end(view);
	if (!there && !held)
		return pronounce(account, fetch, VERDICT_SAME, fetch->key);
	if (!agrees)
		return pronounce(account, fetch, VERDICT_OTHER, fetch->key);
	/* Who has it open reads on. */
	body_adopt(account->cache, fetch->prior, fetch->key, NULL);
	enum verdict verdict = pronounce(account, fetch, VERDICT_SAME, fetch->prior);
	if (verdict == VERDICT_SAME) {
		body_drop(account->cache, fetch->key);
		g_mutex_lock(&account->lock);
		fetch->key = fetch->prior;
		g_mutex_unlock(&account->lock);
	}
	return verdict;
}

/* What one of those is that may be other messages than they were. True: it is done with. */
static bool
take_verdict(struct account *account, struct fetch *fetch, enum verdict verdict,
             struct ending *stale)
{
	g_mutex_lock(&account->lock);
	/* Of one that is void nobody gets anything: it is located anew. */
	fetch->compare = verdict == VERDICT_VOID;
	fetch->probable = verdict == VERDICT_VOID;
	if (verdict == VERDICT_OTHER)
		fetch_end_all(fetch, stale);
	g_mutex_unlock(&account->lock);
	return verdict != VERDICT_SAME;
}

void
fetch_presume(struct account *account, GPtrArray *batch, GPtrArray *ended, struct ending *stale)
{
	for (guint i = batch->len; i > 0; i--) {
		struct fetch *fetch = g_ptr_array_index(batch, i - 1);
		if (fetch->probable && !fetch->compare &&
		    take_verdict(account, fetch, presume_one(account, fetch), stale)) {
			g_ptr_array_add(ended, fetch);
			g_ptr_array_remove_index(batch, i - 1);
		}
	}
}

void
fetch_judge(struct account *account, GPtrArray *fetches, bool all, struct ending *stale)
{
	for (guint i = 0; i < fetches->len; i++) {
		struct fetch *fetch = g_ptr_array_index(fetches, i);
		if (fetch->compare && (all || fetch->delivered))
			take_verdict(account, fetch, judge_one(account, fetch), stale);
	}
}
