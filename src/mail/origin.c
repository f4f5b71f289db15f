/* SPDX-License-Identifier: MIT */
/*
 * Where the octets of a message are had from, and whether they are what they
 * were: see fetch.h.
 *
 * A message may move, or its mailbox may be renumbered, while somebody waits for
 * its octets or has it open: so where it stands is read from the index again
 * before each command. Several messages may have one body, which is fetched once.
 * A message that is only probably what its inode was before (identity.h) is
 * fetched whole and compared with that before anybody gets an octet of it.
 */
#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "mail/fetch.h"

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
			/* Ranges under another UID are another matter. */
			fetch->hint = fetch->size = record.size;
			fetch->hint_true = (record.state & MESSAGE_SIZE_TRUE) != 0;
			fetch->size_known = fetch->whole = false;
			fetch->read_on = 0;
			fetch->window = 1;
		}
		/* With nothing to compare there is nothing to wait for. */
		fetch->compare = fetch->prior != 0 && body_info_get(view, fetch->prior, &info) &&
		                 info.complete;
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

/* --- a mailbox that is being renumbered ------------------------------------------------------ */

/* Lock held. */
void
fetch_await_sync(struct account *account, struct fetch *fetch)
{
	struct mbox *mbox = work_mbox(account, fetch->mailbox);
	fetch->running = false;
	fetch->queued = true;
	g_queue_push_tail(&mbox->displaced, fetch);
	work_want_sync(account, mbox);
}

/* Lock held. */
void
fetch_sync_ended(struct account *account, struct mbox *mbox)
{
	GQueue displaced = mbox->displaced;
	g_queue_init(&mbox->displaced);
	struct fetch *fetch;
	while ((fetch = g_queue_pop_head(&displaced)) != NULL) {
		fetch->queued = false;
		fetch_enqueue(account, fetch);
	}
}

/* --- what a message was before ---------------------------------------------------------------- */

struct verdict {
	struct account *account;
	uint64_t ino, dir_ino;
	bool same;
	char *name;
	bool changed;
};

static bool
verdict_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct verdict *verdict = data;
	struct message_record record;
	struct mailbox_record mailbox;
	uint32_t id;
	verdict->changed = false;
	if (!cache_message_by_ino(cache_txn_view(txn), verdict->ino, &id, &record) ||
	    (record.state & MESSAGE_PROBABLE) == 0)
		return true;
	if (cache_mailbox_get(cache_txn_view(txn), id, &mailbox))
		verdict->dir_ino = mailbox.ino;
	record.state &= ~(uint32_t)MESSAGE_PROBABLE;
	record.prior = 0;
	g_free(verdict->name);
	verdict->name = g_strdup(record.name);
	if (!verdict->same) {
		verdict->changed = true;
		/* Counting up writes, and may move what the record points to. */
		uint64_t ino;
		if (!txn_ino_alloc(txn, &ino, fault) ||
		    !cache_message_by_ino(cache_txn_view(txn), verdict->ino, &id, &record))
			return false;
		record.state &= ~(uint32_t)MESSAGE_PROBABLE;
		record.prior = 0;
		record.ino = ino;
	}
	return txn_message_put(txn, id, &record, fault);
}

bool
fetch_judge(struct account *account, struct fetch *fetch, struct fault *fault)
{
	struct verdict verdict = { .account = account, .ino = fetch->ino, .same = true };
	struct body_info info;
	struct cache_view *view = cache_view_begin(account->cache);
	bool same = false;
	bool prior_there = fetch->prior != 0 && body_info_get(view, fetch->prior, &info) &&
	                   info.complete;
	/* If there is nothing to compare it with, nobody has those octets any more. */
	verdict.same = !prior_there ||
	               (body_same(view, fetch->key, fetch->prior, &same) && same);
	cache_view_end(view);
	if (!cache_run(account->cache, verdict_run, &verdict, fault))
		verdict.changed = true;
	else if (verdict.changed)
		account_emit(account, EVENT_MESSAGE_GONE, verdict.dir_ino, verdict.ino, verdict.name);
	if (verdict.changed) {
		log_debug("inode %llu: the message that turned up is another one",
		          (unsigned long long)verdict.ino);
		fault_set(fault, FAULT_GONE, "another message has that name");
	} else {
		account_emit(account, EVENT_MESSAGE_ATTR, verdict.dir_ino, verdict.ino, NULL);
	}
	g_free(verdict.name);
	return !verdict.changed;
}
