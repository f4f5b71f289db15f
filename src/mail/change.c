/* SPDX-License-Identifier: MIT */
/*
 * Changes by the user: intents, recorded in the journal, carried out one
 * mailbox at a time in sets, in the order they came.
 *
 * An intent is visible at once (the message is hidden), durable within a second,
 * and stays in the journal until the server has answered. After a crash it is
 * played again; what was carried out without our knowing is found out first
 * (deletion.c).
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/apply.h"
#include "mail/deletion.h"
#include "mail/identity.h"

#define SET_MAX    1000
#define SET_OCTETS 8000
#define RETRY_NS   (5 * CLOCK_SEC)

/* --- recording ---------------------------------------------------------------------------- */

/* removed: so many messages are no longer in it. changed: others are listed now. */
static bool
touch_mailbox(struct cache_txn *txn, uint32_t id, unsigned removed, bool changed,
              struct fault *fault)
{
	struct mailbox_record record;
	if ((removed == 0 && !changed) || !cache_mailbox_get(cache_txn_view(txn), id, &record))
		return true;
	if (changed)
		record.mtime_ns = MAX(record.mtime_ns + 1, clock_real_ns());
	record.messages -= MIN(removed, record.messages);
	return txn_mailbox_put(txn, &record, fault);
}

struct recorded {
	struct account *account;
	struct journal_record journal;
	uint64_t dir_ino; /* of the directory that has another listing now, or 0 */
};

/* One that was moved since is found elsewhere, with the inode that it had, and is not meant. */
static bool
find_meant(struct cache_view *view, const struct journal_record *journal, bool any_uid,
           struct message_record *record_r)
{
	uint32_t mailbox;
	return cache_message_by_ino(view, journal->ino, &mailbox, record_r) &&
	       mailbox == journal->mailbox && (any_uid || record_r->uid == journal->uid);
}

/* The intent and what it hides are one transaction. */
static bool
record_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct recorded *recorded = data;
	const struct journal_record *journal = &recorded->journal;
	struct message_record record;
	struct mailbox_record dir;
	uint32_t mailbox = journal->mailbox;
	recorded->dir_ino = 0;
	if (!txn_journal_put(txn, journal, fault))
		return false;
	if (journal->kind == JOURNAL_DELETE)
		cache_hide_recorded(txn, journal->ino);
	if (!find_meant(cache_txn_view(txn), journal, false, &record))
		return true;
	if (journal->kind == JOURNAL_DELETE) {
		record.state |= MESSAGE_HIDDEN;
		if (cache_mailbox_get(cache_txn_view(txn), mailbox, &dir))
			recorded->dir_ino = dir.ino;
	} else {
		record.flags = (record.flags | journal->flags_add) & ~journal->flags_remove;
	}
	return apply_message_put(txn, mailbox, &record, fault) &&
	       touch_mailbox(txn, mailbox, 0, journal->kind == JOURNAL_DELETE, fault);
}

static void
record_done(void *data, const struct fault *fault)
{
	struct recorded *recorded = data;
	if (fault != NULL)
		log_error("a change could not be written down, and is lost if the program ends "
		          "before the server has it: %s", fault->text);
	else if (recorded->dir_ino != 0) /* the kernel may have asked for its mtime meanwhile */
		account_emit(recorded->account, EVENT_LISTING, recorded->dir_ino, 0, NULL);
	g_free(recorded);
}

/* Takes the message's identity along, so that its copy can be recognised. */
static void
learn_message(struct account *account, struct change *change)
{
	static const unsigned char none[32];
	struct message_record record;
	uint32_t mailbox;
	struct cache_view *view = cache_view_begin(account->cache);
	change->known = cache_message_by_ino(view, change->record.ino, &mailbox, &record);
	if (change->known) {
		memcpy(change->identity, record.identity, sizeof change->identity);
		change->has_identity = memcmp(record.identity, none, sizeof none) != 0;
	}
	cache_view_end(view);
}

static void
record_change(struct account *account, const struct journal_record *record)
{
	struct change *change = g_new0(struct change, 1);
	change->record = *record;
	change->record.created_ns = clock_real_ns();
	learn_message(account, change);
	g_mutex_lock(&account->lock);
	change->record.seq = ++account->journal_seq;
	change->meant_ns = account->connected > 0 ? clock_boot_ns() : 0;
	struct mbox *mbox = work_mbox(account, record->mailbox);
	g_queue_push_tail(&mbox->changes, change);
	struct recorded *recorded = g_new0(struct recorded, 1);
	recorded->account = account;
	recorded->journal = change->record;
	const struct cache_task task = { .run = record_run, .done = record_done, .data = recorded,
		                         .when = CACHE_SOON, .no_wait = true };
	/* Before the lock is given back: its end must not overtake its beginning. */
	cache_submit(account->cache, &task);
	work_want_change(account, mbox);
	g_mutex_unlock(&account->lock);
}

bool
account_delete(struct account *account, uint64_t ino, struct fault *fault)
{
	struct message_record record;
	struct mailbox_record mailbox;
	struct journal_record journal = { .kind = JOURNAL_DELETE, .ino = ino };
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_message_by_ino(view, ino, &journal.mailbox, &record) &&
	             cache_mailbox_get(view, journal.mailbox, &mailbox) &&
	             cache_message_visible(view, &record);
	journal.uid = known ? record.uid : 0;
	journal.uidvalidity = known ? mailbox.uidvalidity : 0;
	journal.policy = (uint8_t)account->config.delete_policy;
	bool read_only = known && mailbox.read_only;
	cache_view_end(view);
	if (!known)
		return fault_set(fault, FAULT_GONE, "the message is no longer there");
	if (read_only || account->config.read_only)
		return fault_set(fault, FAULT_READONLY, "the mailbox is read-only");
	cache_hide(account->cache, ino);
	record_change(account, &journal);
	return true;
}

void
change_seen(struct account *account, uint64_t ino, bool seen)
{
	struct message_record record;
	struct mailbox_record mailbox;
	struct journal_record journal = { .kind = JOURNAL_FLAGS, .ino = ino };
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_message_by_ino(view, ino, &journal.mailbox, &record) &&
	             cache_mailbox_get(view, journal.mailbox, &mailbox) && !mailbox.read_only;
	journal.uid = known ? record.uid : 0;
	journal.uidvalidity = known ? mailbox.uidvalidity : 0;
	cache_view_end(view);
	if (seen)
		journal.flags_add = IMAP_FLAG_SEEN;
	else
		journal.flags_remove = IMAP_FLAG_SEEN;
	if (known)
		record_change(account, &journal);
}

/* Records as they were, on their way into the journal. */
struct saved {
	struct account *account;
	GArray *records; /* struct journal_record */
	struct fault fault;
};

static bool
save_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct saved *saved = data;
	for (guint i = 0; i < saved->records->len; i++)
		if (!txn_journal_put(txn, &g_array_index(saved->records, struct journal_record, i),
		                     fault))
			return false;
	return true;
}

static void
save_done(void *data, const struct fault *fault)
{
	struct saved *saved = data;
	if (fault != NULL)
		saved->fault = *fault;
}

/* Lock held: what ends meanwhile is deleted from the journal after this, not before. */
static void
save_begin(struct saved *saved, GPtrArray *changes)
{
	const struct cache_task task = { .run = save_run, .done = save_done, .data = saved,
		                         .when = CACHE_NOW, .no_wait = true };
	saved->records = g_array_new(FALSE, FALSE, sizeof(struct journal_record));
	for (guint i = 0; i < changes->len; i++)
		g_array_append_val(saved->records,
		                   ((struct change *)g_ptr_array_index(changes, i))->record);
	cache_submit(saved->account->cache, &task);
}

static bool
save_end(struct saved *saved, struct fault *fault)
{
	bool ok = cache_flush(saved->account->cache, fault);
	if (ok && saved->fault.kind != FAULT_NONE)
		*fault = saved->fault;
	g_array_free(saved->records, TRUE);
	return ok && saved->fault.kind == FAULT_NONE;
}

bool
change_save(struct account *account, GPtrArray *changes, struct fault *fault)
{
	struct saved saved = { .account = account };
	g_mutex_lock(&account->lock);
	save_begin(&saved, changes);
	g_mutex_unlock(&account->lock);
	return save_end(&saved, fault);
}

bool
change_disown(struct account *account, uint32_t mailbox, struct fault *fault)
{
	struct saved saved = { .account = account };
	GPtrArray *changes = g_ptr_array_new();
	g_mutex_lock(&account->lock);
	GList *link = work_mbox(account, mailbox)->changes.head;
	for (; link != NULL; link = link->next) {
		((struct change *)link->data)->record.uidvalidity = 0;
		g_ptr_array_add(changes, link->data);
	}
	save_begin(&saved, changes);
	g_mutex_unlock(&account->lock);
	g_ptr_array_free(changes, TRUE);
	return save_end(&saved, fault);
}

bool
change_load(struct account *account, struct fault *fault)
{
	struct journal_record record;
	(void)fault;
	struct cache_view *view = cache_view_begin(account->cache);
	g_mutex_lock(&account->lock);
	for (uint64_t seq = 0; cache_journal_next(view, seq, &record); seq = record.seq) {
		struct change *change = g_new0(struct change, 1);
		change->record = record;
		change->sent = true; /* who knows */
		learn_message(account, change);
		account->journal_seq = record.seq;
		struct mbox *mbox = work_mbox(account, record.mailbox);
		g_queue_push_tail(&mbox->changes, change);
		work_want_change(account, mbox);
	}
	g_mutex_unlock(&account->lock);
	cache_view_end(view);
	return true;
}

/* --- the end of changes ------------------------------------------------------------------- */

struct finished {
	struct account *account;
	uint32_t mailbox;
	uint64_t dir_ino;
	GPtrArray *changes; /* struct change, owned */
	GPtrArray *names;   /* of those that come back; NULL for others */
	unsigned removed, returned;
};

/* Where the message is now, if the index has that already: its body serves there, unread. */
static bool
link_body(struct cache_txn *txn, const struct change *change, const struct message_record *moved,
          struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct mailbox_record place;
	struct message_record record;
	if (change->place_uid == 0 ||
	    !cache_mailbox_get(view, change->place_mailbox, &place) ||
	    place.uidvalidity != change->place_uidvalidity ||
	    !cache_message_by_uid(view, place.space, change->place_uid, &record) ||
	    record.body != 0 || identity_differs(&record, moved))
		return true;
	record.body = message_body_key(moved);
	return txn_message_put(txn, change->place_mailbox, &record, fault);
}

static bool
bury(struct cache_txn *txn, uint32_t mailbox, const struct message_record *record,
     const struct change *change, struct fault *fault)
{
	const struct tomb_record tomb = {
		.message = *record, .mailbox = mailbox, .target_mailbox = change->place_mailbox,
		.target_uidvalidity = change->place_uidvalidity, .target_uid = change->place_uid,
	};
	return txn_message_bury(txn, &tomb, fault) && link_body(txn, change, record, fault);
}

static bool
finish_one(struct cache_txn *txn, struct finished *finished, struct change *change,
           struct fault *fault)
{
	struct message_record record;
	uint32_t mailbox = finished->mailbox;
	g_ptr_array_add(finished->names, NULL);
	if (!txn_journal_delete(txn, change->record.seq, fault))
		return false;
	/* What was renumbered comes back under its new UID. */
	bool any_uid = change->outcome == CHANGE_REFUSED;
	if (change->outcome == CHANGE_DONE ||
	    !find_meant(cache_txn_view(txn), &change->record, any_uid, &record))
		return true;
	if (change->outcome == CHANGE_REMOVED) {
		finished->removed++;
		return bury(txn, mailbox, &record, change, fault);
	}
	record.state &= ~(uint32_t)MESSAGE_HIDDEN;
	if (change->outcome == CHANGE_FLAGGED) {
		record.flags |= IMAP_FLAG_DELETED;
	} else {
		finished->names->pdata[finished->names->len - 1] = g_strdup(record.name);
		finished->returned++;
	}
	return apply_message_put(txn, mailbox, &record, fault);
}

static bool
finish_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct finished *finished = data;
	struct mailbox_record mailbox;
	g_ptr_array_set_size(finished->names, 0);
	finished->removed = finished->returned = 0;
	if (cache_mailbox_get(cache_txn_view(txn), finished->mailbox, &mailbox))
		finished->dir_ino = mailbox.ino;
	for (guint i = 0; i < finished->changes->len; i++)
		if (!finish_one(txn, finished, g_ptr_array_index(finished->changes, i), fault))
			return false;
	return touch_mailbox(txn, finished->mailbox, finished->removed, finished->returned > 0,
	                     fault);
}

static void
finish_done(void *data, const struct fault *fault)
{
	struct finished *finished = data;
	if (fault != NULL)
		log_error("%s", fault->text);
	for (guint i = 0; i < finished->changes->len; i++) {
		const struct change *change = g_ptr_array_index(finished->changes, i);
		if (fault != NULL || change->outcome != CHANGE_REFUSED ||
		    change->record.kind != JOURNAL_DELETE)
			continue;
		cache_unhide(finished->account->cache, change->record.ino);
		account_emit(finished->account, EVENT_MESSAGE_NEW, finished->dir_ino,
		             change->record.ino, g_ptr_array_index(finished->names, i));
	}
	g_ptr_array_free(finished->changes, TRUE);
	g_ptr_array_free(finished->names, TRUE);
	g_free(finished);
}

static void
log_refusals(const GPtrArray *changes)
{
	unsigned refused = 0;
	const struct change *first = NULL;
	for (guint i = 0; i < changes->len; i++) {
		const struct change *change = g_ptr_array_index(changes, i);
		if (change->outcome == CHANGE_REFUSED && change->record.kind == JOURNAL_DELETE) {
			if (refused++ == 0)
				first = change;
		}
	}
	if (refused > 0)
		log_warn("%u message%s could not be deleted and %s listed again: %s", refused,
		         refused == 1 ? "" : "s", refused == 1 ? "is" : "are", first->fault.text);
}

/* Takes what has ended out of the queue, and has the index follow. */
static void
finish(struct account *account, struct mbox *mbox, GPtrArray *batch)
{
	struct finished *finished = g_new0(struct finished, 1);
	finished->account = account;
	finished->mailbox = mbox->id;
	finished->changes = g_ptr_array_new_with_free_func(g_free);
	finished->names = g_ptr_array_new_with_free_func(g_free);
	g_mutex_lock(&account->lock);
	for (guint i = 0; i < batch->len; i++) {
		struct change *change = g_ptr_array_index(batch, i);
		if (change->outcome == CHANGE_PENDING)
			continue;
		g_queue_remove(&mbox->changes, change);
		g_ptr_array_add(finished->changes, change);
		if (change->outcome == CHANGE_REFUSED && change->record.kind == JOURNAL_DELETE &&
		    mbox->change_fault.kind == FAULT_NONE)
			mbox->change_fault = change->fault;
	}
	g_mutex_unlock(&account->lock);
	log_refusals(finished->changes);
	const struct cache_task task = { .run = finish_run, .done = finish_done, .data = finished,
		                         .when = CACHE_SOON };
	if (finished->changes->len > 0)
		cache_submit(account->cache, &task);
	else
		finish_done(finished, NULL);
}

/* --- carrying out ------------------------------------------------------------------------- */

/* The first changes of the mailbox that go into one set. Lock held. */
static void
take_batch(struct mbox *mbox, GPtrArray *batch)
{
	const struct change *first = g_queue_peek_head(&mbox->changes);
	size_t octets = 0;
	for (GList *link = mbox->changes.head; link != NULL && batch->len < SET_MAX;
	     link = link->next) {
		struct change *change = link->data;
		/* A gap between UIDs costs a number's room; ten digits and a comma at most. */
		octets += 11;
		if (change->record.kind != first->record.kind ||
		    change->record.policy != first->record.policy ||
		    change->record.uidvalidity != first->record.uidvalidity ||
		    change->record.flags_add != first->record.flags_add ||
		    change->record.flags_remove != first->record.flags_remove ||
		    octets > SET_OCTETS + 3000)
			break;
		g_ptr_array_add(batch, change);
	}
}

/* \Seen, set or taken back. */
static bool
run_flags(struct worker *worker, struct mbox *mbox, GPtrArray *batch, struct fault *fault)
{
	const struct change *first = g_ptr_array_index(batch, 0);
	struct conn_reply reply = { 0 };
	struct fault refusal;
	bool ok = line_select_current(worker, mbox->id, &refusal);
	if (!ok && !conn_alive(worker->conn)) {
		*fault = refusal;
		return false;
	}
	if (ok && conn_selected(worker->conn)->uidvalidity == first->record.uidvalidity) {
		struct seqset *set = seqset_new();
		GString *text = g_string_new(NULL);
		for (guint i = 0; i < batch->len; i++)
			seqset_add(set, ((struct change *)g_ptr_array_index(batch, i))->record.uid);
		seqset_format(set, text);
		struct imap_command *command = conn_command(worker->conn, "UID STORE");
		imap_command_set(command, text->str);
		imap_command_raw(command, first->record.flags_add != 0 ? "+FLAGS.SILENT"
		                                                       : "-FLAGS.SILENT");
		imap_command_open(command);
		imap_command_flag(command, "\\Seen");
		imap_command_close(command);
		seqset_free(&set);
		g_string_free(text, TRUE);
		ok = conn_run(worker->conn, command, &reply, fault);
		conn_reply_clear(&reply);
		if (!ok)
			return false;
	}
	for (guint i = 0; i < batch->len; i++)
		((struct change *)g_ptr_array_index(batch, i))->outcome = CHANGE_DONE;
	return true;
}

unsigned
change_pending(struct account *account)
{
	GHashTableIter iter;
	gpointer value;
	unsigned count = 0;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		count += ((struct mbox *)value)->changes.length;
	return count;
}

/* Lock held. The first refusal in the mailbox since it was last told; with the root in any. */
static void
take_fault(struct account *account, struct mbox *mbox, struct fault *fault)
{
	GHashTableIter iter;
	gpointer value = mbox;
	g_hash_table_iter_init(&iter, account->mboxes);
	do {
		struct mbox *other = value;
		if (fault->kind == FAULT_NONE)
			*fault = other->change_fault;
		other->change_fault.kind = FAULT_NONE;
	} while (mbox->id == ROOT_MAILBOX && g_hash_table_iter_next(&iter, NULL, &value));
}

/* Lock held. Who waits for the mailbox's changes, if there are none left, and who for all. */
static void
take_drained(struct account *account, struct mbox *mbox, struct wait_list waits[2],
             struct fault faults[2])
{
	if (mbox->changes.length > 0)
		return;
	if (mbox->change_waits.count > 0) {
		wait_list_take(&mbox->change_waits, &waits[0]);
		take_fault(account, mbox, &faults[0]);
	}
	struct mbox *any = work_mbox(account, ROOT_MAILBOX);
	if (any->change_waits.count > 0 && change_pending(account) == 0) {
		wait_list_take(&any->change_waits, &waits[1]);
		faults[1] = faults[0];
		take_fault(account, any, &faults[1]);
	}
}

void
change_run(struct worker *worker, struct mbox *mbox)
{
	struct account *account = worker->account;
	struct fault fault = { 0 }, refused[2] = { 0 };
	struct wait_list waits[2] = { 0 };
	GPtrArray *batch = g_ptr_array_new();
	g_mutex_lock(&account->lock);
	take_batch(mbox, batch);
	g_mutex_unlock(&account->lock);
	bool ok = true;
	if (batch->len > 0) {
		const struct change *first = g_ptr_array_index(batch, 0);
		ok = first->record.kind == JOURNAL_DELETE
		             ? deletion_run(worker, mbox->id, batch, &fault)
		             : run_flags(worker, mbox, batch, &fault);
		/* Those of a set that was cut off end together: which of them have gone tells whose
		 * a copy in the trash is. */
		if (ok || deletion_is_over(batch))
			finish(account, mbox, batch);
	}
	if (!ok)
		log_debug("changes in mailbox %u are still pending: %s", mbox->id, fault.text);
	g_mutex_lock(&account->lock);
	mbox->change_running = false;
	mbox->change_after_ns = ok || !conn_alive(worker->conn) ? 0 : clock_boot_ns() + RETRY_NS;
	if (mbox->changes.length > 0)
		work_want_change(account, mbox);
	take_drained(account, mbox, waits, refused);
	g_cond_broadcast(&account->state);
	g_mutex_unlock(&account->lock);
	for (int i = 0; i < 2; i++)
		wait_list_end(&waits[i], refused[i].kind != FAULT_NONE ? &refused[i] : NULL);
	g_ptr_array_free(batch, TRUE);
}

void
account_sync_changes(struct account *account, uint32_t id, struct wait *wait)
{
	struct fault fault = { 0 };
	g_mutex_lock(&account->lock);
	/* The root's list is for those who wait for all. */
	struct mbox *mbox = work_mbox(account, id == ALL_MAILBOXES ? ROOT_MAILBOX : id);
	bool over = id == ALL_MAILBOXES ? change_pending(account) == 0 : mbox->changes.length == 0;
	if (over) {
		take_fault(account, mbox, &fault);
	} else {
		wait->deadline_ns = clock_boot_ns() +
		                    (int64_t)account->config.timeout_s * CLOCK_SEC;
		wait_list_add(&mbox->change_waits, wait);
		watch_park(account, wait);
	}
	g_mutex_unlock(&account->lock);
	if (over)
		wait_end(wait, fault.kind != FAULT_NONE ? &fault : NULL);
}

void
change_free_all(struct account *account)
{
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		g_queue_clear_full(&((struct mbox *)value)->changes, g_free);
}
