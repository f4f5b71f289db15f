/* SPDX-License-Identifier: MIT */
/* The applier: see apply.h. */
#include "config.h"

#include "mail/apply.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "imap/utf7.h"
#include "mail/identity.h"

#define REMOVALS_MAX 2000u /* in one transaction */

G_STATIC_ASSERT(MESSAGE_FLAG_DELETED == IMAP_FLAG_DELETED);

struct item {
	struct message_record record; /* strings: in `strings`, by GString offsets below */
	bool is_new;                  /* add, else flags alone */
	bool replaced;                /* what has its UID is another message */
	bool update;                  /* it is none if it is not there */
	bool has_labels;
	size_t name, keywords, emailid, threadid, labels;
};

struct event {
	enum account_event_kind kind;
	uint64_t ino;
	char *name;                   /* or NULL */
};

struct apply_batch {
	struct account *account;
	struct mbox *mbox;
	uint32_t mailbox, space;
	uint64_t uidvalidity;
	bool building;
	GArray *items;
	GString *strings;
	bool last;
	struct apply_final final;
	uint32_t gone_from, gone_to; /* of the vanished UIDs, those to be removed now */
	/* Set by run(), for done(). */
	GArray *events;      /* struct event */
	uint64_t dir_ino;
	bool changed, switched;
};

static void
clear_event(gpointer data)
{
	struct event *event = data;
	g_free(event->name);
}

void
apply_begin(struct account *account, uint32_t mailbox)
{
	g_mutex_lock(&account->lock);
	g_atomic_int_set(&work_mbox(account, mailbox)->unwritten, false);
	g_mutex_unlock(&account->lock);
}

struct apply_batch *
apply_batch_new(struct account *account, uint32_t mailbox, uint32_t space, uint64_t uidvalidity,
                bool building)
{
	struct apply_batch *batch = g_new0(struct apply_batch, 1);
	batch->account = account;
	g_mutex_lock(&account->lock);
	batch->mbox = work_mbox(account, mailbox);
	g_mutex_unlock(&account->lock);
	batch->mailbox = mailbox;
	batch->space = space;
	batch->uidvalidity = uidvalidity;
	batch->building = building;
	batch->items = g_array_new(FALSE, FALSE, sizeof(struct item));
	batch->strings = g_string_new(NULL);
	batch->events = g_array_new(FALSE, FALSE, sizeof(struct event));
	g_array_set_clear_func(batch->events, clear_event);
	return batch;
}

void
apply_batch_free(struct apply_batch **batch)
{
	if (*batch == NULL)
		return;
	g_array_free((*batch)->items, TRUE);
	g_string_free((*batch)->strings, TRUE);
	g_array_free((*batch)->events, TRUE);
	g_free(*batch);
	*batch = NULL;
}

unsigned
apply_count(const struct apply_batch *batch)
{
	return batch->items->len;
}

/* --- collecting ------------------------------------------------------------------------ */

static size_t
add_string(struct apply_batch *batch, const char *str)
{
	size_t at = batch->strings->len;
	g_string_append(batch->strings, str != NULL ? str : "");
	g_string_append_c(batch->strings, '\0');
	return at;
}

/* Dovecot's X-GUID serves as well where there is no other. */
static size_t
add_emailid(struct apply_batch *batch, const struct imap_fetch *fetch, const char *emailid)
{
	if ((emailid == NULL || emailid[0] == '\0') && fetch->guid != NULL &&
	    fetch->guid[0] != '\0') {
		size_t at = batch->strings->len;
		g_string_append(batch->strings, MESSAGE_GUID_PREFIX);
		add_string(batch, fetch->guid);
		return at;
	}
	return add_string(batch, emailid);
}

static size_t
add_words(struct apply_batch *batch, const char *const *words, unsigned count)
{
	size_t at = batch->strings->len;
	for (unsigned i = 0; i < count; i++) {
		if (i > 0)
			g_string_append_c(batch->strings, ' ');
		g_string_append(batch->strings, words[i]);
	}
	g_string_append_c(batch->strings, '\0');
	return at;
}

/* Gmail's labels as they are shown: decoded as mailboxes are, in quotes where a blank or a quote
 * stands in one. */
static size_t
add_labels(struct apply_batch *batch, const char *const *labels, unsigned count)
{
	size_t at = batch->strings->len;
	GString *label = g_string_new(NULL);
	for (unsigned i = 0; i < count; i++) {
		g_string_truncate(label, 0);
		if (!imap_utf7_to_utf8(labels[i], strlen(labels[i]), label))
			g_string_assign(label, labels[i]);
		bool quoted = strpbrk(label->str, " \"") != NULL;
		g_string_append(batch->strings, i > 0 ? " " : "");
		g_string_append(batch->strings, quoted ? "\"" : "");
		for (const char *c = label->str; *c != '\0'; c++) {
			if (quoted && (*c == '"' || *c == '\\'))
				g_string_append_c(batch->strings, '\\');
			g_string_append_c(batch->strings, *c);
		}
		g_string_append(batch->strings, quoted ? "\"" : "");
	}
	g_string_append_c(batch->strings, '\0');
	g_string_free(label, TRUE);
	return at;
}

void
apply_add(struct apply_batch *batch, const struct imap_fetch *fetch, int64_t mtime,
          const char *name, const unsigned char identity[32], uint32_t state, bool replaced)
{
	char number[24];
	struct item item = { .is_new = true, .replaced = replaced };
	item.record.space = batch->space;
	item.record.uid = fetch->uid;
	item.record.flags = fetch->has_flags ? fetch->flags.bits & ~(unsigned)IMAP_FLAG_RECENT : 0;
	item.record.state = state;
	item.record.size = fetch->has_size ? fetch->size : 0;
	item.record.told = (state & MESSAGE_SIZE_TRUE) == 0 ? item.record.size : 0;
	item.record.mtime = mtime;
	item.record.ctime_ns = mtime * CLOCK_SEC;
	item.record.modseq = fetch->has_modseq ? fetch->modseq : 0;
	memcpy(item.record.identity, identity, sizeof item.record.identity);
	item.name = add_string(batch, name);
	item.keywords = add_words(batch, fetch->flags.keywords,
	                          fetch->has_flags ? fetch->flags.keyword_count : 0);
	g_snprintf(number, sizeof number, "%" G_GUINT64_FORMAT, fetch->gm_msgid);
	item.emailid = add_emailid(batch, fetch, fetch->has_gm_msgid ? number : fetch->emailid);
	g_snprintf(number, sizeof number, "%" G_GUINT64_FORMAT, fetch->gm_thrid);
	item.threadid = add_string(batch, fetch->has_gm_thrid ? number : fetch->threadid);
	item.labels = add_labels(batch, fetch->gm_labels,
	                         fetch->has_gm_labels ? fetch->gm_label_count : 0);
	item.has_labels = fetch->has_gm_labels;
	g_array_append_val(batch->items, item);
}

void
apply_update(struct apply_batch *batch, const struct imap_fetch *fetch)
{
	static const unsigned char none[32];
	apply_add(batch, fetch, 0, "", none, 0, false);
	g_array_index(batch->items, struct item, batch->items->len - 1).update = true;
}

void
apply_flags(struct apply_batch *batch, uint32_t uid, const struct imap_flags *flags,
            uint64_t modseq)
{
	struct item item = { .is_new = false };
	item.record.uid = uid;
	item.record.flags = flags->bits & ~(unsigned)IMAP_FLAG_RECENT;
	item.record.modseq = modseq;
	item.keywords = add_words(batch, flags->keywords, flags->keyword_count);
	g_array_append_val(batch->items, item);
}

/* --- applying: in the writer's thread --------------------------------------------------- */

static void
note_event(struct apply_batch *batch, enum account_event_kind kind,
           const struct message_record *record)
{
	struct event event = { kind, record->ino, g_strdup(record->name) };
	g_array_append_val(batch->events, event);
}

/* Writes the flags, and says what that means to those who look. differs: something else in the
 * record did change; all of it is written at once, since that moves what its strings point to. */
static bool
update_flags(struct cache_txn *txn, struct apply_batch *batch, struct message_record *record,
             const struct item *item, bool differs, struct fault *fault)
{
	const char *keywords = batch->strings->str + item->keywords;
	if (record->flags == item->record.flags && strcmp(record->keywords, keywords) == 0)
		return !differs || txn_message_put(txn, batch->mailbox, record, fault);
	bool was_listed = message_listed(record);
	record->flags = item->record.flags;
	record->keywords = keywords;
	record->keywords_len = strlen(keywords);
	record->modseq = MAX(record->modseq, item->record.modseq);
	record->ctime_ns = clock_real_ns();
	bool is_listed = message_listed(record);
	batch->changed |= was_listed != is_listed;
	note_event(batch, was_listed == is_listed ? EVENT_MESSAGE_ATTR
	                  : is_listed             ? EVENT_MESSAGE_NEW
	                                          : EVENT_MESSAGE_GONE, record);
	return txn_message_put(txn, batch->mailbox, record, fault);
}

/* Numbers are dense, so that halving finds one among thousands of equal names. */
void
apply_free_name(struct cache_txn *txn, const struct account *account, uint32_t space,
                const char *name, GString *out)
{
	const struct account_namer *namer = &account->config.namer;
	unsigned low = 1, high = 2; /* low is taken */
	g_string_assign(out, name);
	if (txn_name_free(txn, space, name, strlen(name)))
		return;
	for (;; low = high, high *= 2) {
		namer->numbered(name, high, out);
		if (txn_name_free(txn, space, out->str, out->len))
			break;
	}
	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;
		namer->numbered(name, middle, out);
		if (txn_name_free(txn, space, out->str, out->len))
			high = middle;
		else
			low = middle;
	}
	namer->numbered(name, high, out);
}

/* What is known of it from elsewhere: inode number, name, body. */
static bool
take_identity(struct cache_txn *txn, struct apply_batch *batch, struct message_record *record,
              GString *name, struct fault *fault)
{
	struct identity identity = { .name = g_string_new(NULL) };
	bool ok = identity_find(txn, batch->mailbox, batch->uidvalidity, record, &identity, fault);
	record->ino = identity.ino;
	if (identity.kind != IDENTITY_NEW)
		record->body = identity.body;
	if (identity.prior != 0) {
		record->state |= MESSAGE_PROBABLE;
		record->prior = identity.prior;
	}
	if (ok && identity.kind == IDENTITY_PROBABLE) {
		ok = txn_ino_alloc(txn, &record->body, fault);
		struct event event = { EVENT_MESSAGE_DATA, record->ino, NULL };
		g_array_append_val(batch->events, event);
	}
	if (identity.name->len > 0 &&
	    txn_name_free(txn, batch->space, identity.name->str, identity.name->len))
		g_string_assign(name, identity.name->str);
	g_string_free(identity.name, TRUE);
	return ok && (record->ino != 0 || txn_ino_alloc(txn, &record->ino, fault));
}

static bool
insert(struct cache_txn *txn, struct apply_batch *batch, struct mailbox_record *mailbox,
       const struct item *item, struct fault *fault)
{
	struct message_record record = item->record;
	GString *name = g_string_new(NULL);
	record.name = batch->strings->str + item->name;
	record.keywords = batch->strings->str + item->keywords;
	record.keywords_len = strlen(record.keywords);
	record.emailid = batch->strings->str + item->emailid;
	record.threadid = batch->strings->str + item->threadid;
	record.labels = batch->strings->str + item->labels;
	record.recno = mailbox->next_recno++;
	bool ok = batch->building || take_identity(txn, batch, &record, name, fault);
	if (name->len == 0)
		apply_free_name(txn, batch->account, batch->space, record.name, name);
	record.name = name->str;
	record.name_len = name->len;
	ok = ok && txn_message_put(txn, batch->mailbox, &record, fault);
	if (ok && mailbox->listed && !batch->building && message_listed(&record))
		note_event(batch, EVENT_MESSAGE_NEW, &record);
	batch->changed |= !batch->building;
	mailbox->messages += !batch->building;
	g_string_free(name, TRUE);
	return ok;
}

static bool
bury(struct cache_txn *txn, struct apply_batch *batch, struct mailbox_record *mailbox,
     const struct message_record *record, struct fault *fault)
{
	const struct tomb_record tomb = { .message = *record, .mailbox = batch->mailbox };
	if (message_listed(record))
		note_event(batch, EVENT_MESSAGE_GONE, record);
	batch->changed = true;
	mailbox->messages -= mailbox->messages > 0;
	return txn_message_bury(txn, &tomb, fault);
}

/* What the server tells of a message that is known. */
static bool
update(struct cache_txn *txn, struct apply_batch *batch, struct message_record *record,
       const struct item *item, struct fault *fault)
{
	bool differs = false;
	/* Labels come and go; an index of an earlier version lacks the ids. */
	if (item->is_new) {
		/* What was not asked for is as it was. */
		const char *labels = item->has_labels ? batch->strings->str + item->labels
		                                      : record->labels;
		const char *emailid = batch->strings->str + item->emailid;
		differs = strcmp(record->labels, labels) != 0 ||
		          (emailid[0] != '\0' && strcmp(record->emailid, emailid) != 0);
		record->labels = labels;
		if (emailid[0] != '\0')
			record->emailid = emailid;
		if (record->told == 0)
			record->told = item->record.told;
	}
	return update_flags(txn, batch, record, item, differs, fault);
}

static bool
apply_items(struct cache_txn *txn, struct apply_batch *batch, struct mailbox_record *mailbox,
            struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	for (guint i = 0; i < batch->items->len; i++) {
		const struct item *item = &g_array_index(batch->items, struct item, i);
		struct message_record record;
		bool ok = true;
		bool there = cache_message_by_uid(view, batch->space, item->record.uid, &record);
		if (there && item->replaced)
			ok = bury(txn, batch, mailbox, &record, fault) &&
			     insert(txn, batch, mailbox, item, fault);
		else if (there)
			ok = update(txn, batch, &record, item, fault);
		else if (item->is_new && !item->update)
			ok = insert(txn, batch, mailbox, item, fault);
		if (!ok)
			return false;
	}
	return true;
}

static bool
apply_vanished(struct cache_txn *txn, struct apply_batch *batch, struct mailbox_record *mailbox,
               struct fault *fault)
{
	struct message_record record;
	uint32_t uid = batch->gone_from;
	for (; uid != 0 && uid <= batch->gone_to; uid = seqset_next(batch->final.vanished, uid))
		if (cache_message_by_uid(cache_txn_view(txn), batch->space, uid, &record) &&
		    !bury(txn, batch, mailbox, &record, fault))
			return false;
	return true;
}

static uint32_t
count_messages(struct cache_txn *txn, uint32_t space)
{
	uint32_t uid = 0, count = 0;
	while (cache_uid_next(cache_txn_view(txn), space, uid, &uid))
		count++;
	return count;
}

/* The mailbox's own values, and the switch to a new space. */
static bool
apply_last(struct cache_txn *txn, struct apply_batch *batch, struct mailbox_record *mailbox,
           struct fault *fault)
{
	const struct apply_final *final = &batch->final;
	uint32_t old = mailbox->space;
	batch->switched = old != batch->space;
	batch->changed |= batch->switched || !mailbox->listed;
	mailbox->space = batch->space;
	mailbox->uidvalidity = final->uidvalidity;
	mailbox->uidnext = final->uidnext;
	mailbox->exists = final->exists;
	mailbox->highestmodseq = final->highestmodseq;
	mailbox->listed = true;
	mailbox->synced_ns = clock_real_ns();
	if (final->compared)
		mailbox->compared_ns = mailbox->synced_ns;
	if (batch->switched || final->recount)
		mailbox->messages = count_messages(txn, batch->space);
	return !batch->switched || txn_space_retire(txn, old, fault);
}

/* A mailbox's strings that survive the writing of other records. */
struct kept {
	char *raw, *name, *mailboxid;
};

static void
keep_strings(struct mailbox_record *mailbox, struct kept *kept)
{
	mailbox->raw = kept->raw = g_memdup2(mailbox->raw, mailbox->raw_len + 1);
	mailbox->name = kept->name = g_strdup(mailbox->name);
	mailbox->mailboxid = kept->mailboxid = g_strdup(mailbox->mailboxid);
}

static void
free_strings(struct kept *kept)
{
	g_free(kept->raw);
	g_free(kept->name);
	g_free(kept->mailboxid);
}

static bool
apply_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct apply_batch *batch = data;
	struct mailbox_record mailbox;
	g_array_set_size(batch->events, 0);
	batch->changed = batch->switched = false;
	if (batch->last && g_atomic_int_get(&batch->mbox->unwritten))
		return fault_set(fault, FAULT_CACHE, "mailbox %u: not all of its news were written",
		                 batch->mailbox);
	if (!cache_mailbox_get(cache_txn_view(txn), batch->mailbox, &mailbox) ||
	    !apply_space_is(cache_txn_view(txn), &mailbox, batch->space))
		return fault_set(fault, FAULT_GONE, "the mailbox was deleted meanwhile");
	batch->dir_ino = mailbox.ino;
	struct kept kept;
	keep_strings(&mailbox, &kept);
	if (batch->final.mailboxid != NULL)
		mailbox.mailboxid = batch->final.mailboxid;
	bool ok = apply_items(txn, batch, &mailbox, fault) &&
	          apply_vanished(txn, batch, &mailbox, fault) &&
	          (!batch->last || apply_last(txn, batch, &mailbox, fault));
	if (batch->changed)
		mailbox.mtime_ns = MAX(mailbox.mtime_ns + 1, clock_real_ns());
	ok = ok && txn_mailbox_put(txn, &mailbox, fault);
	free_strings(&kept);
	return ok;
}

/* --- after the commit ------------------------------------------------------------------- */

static void
emit_events(struct apply_batch *batch)
{
	struct account *account = batch->account;
	if (batch->switched || (batch->changed && batch->last))
		account_emit(account, EVENT_LISTING, batch->dir_ino, 0, NULL);
	for (guint i = 0; i < batch->events->len; i++) {
		const struct event *event = &g_array_index(batch->events, struct event, i);
		account_emit(account, event->kind, batch->dir_ino, event->ino, event->name);
	}
}

/* One more batch of a first listing can be seen. */
static void
next_step(struct apply_batch *batch)
{
	struct account *account = batch->account;
	struct wait_list waits;
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, batch->mailbox);
	mbox->step++;
	mbox->revision += batch->changed || batch->events->len > 0;
	wait_list_take(&mbox->listing_waits, &waits);
	g_mutex_unlock(&account->lock);
	wait_list_end(&waits, NULL);
}

static void
apply_done(void *data, const struct fault *fault)
{
	struct apply_batch *batch = data;
	if (fault != NULL) {
		log_error("%s", fault->text);
		g_atomic_int_set(&batch->mbox->unwritten, true);
	} else {
		emit_events(batch);
		next_step(batch);
	}
	apply_batch_free(&batch);
}

void
apply_submit(struct apply_batch **batch)
{
	struct apply_batch *b = *batch;
	*batch = NULL;
	if (b->items->len == 0) {
		apply_batch_free(&b);
		return;
	}
	const struct cache_task task = {
		.run = apply_run, .done = apply_done, .data = b, .when = CACHE_SOON,
		.octets = b->items->len * sizeof(struct item) + b->strings->allocated_len,
	};
	cache_submit(b->account->cache, &task);
}

/* In parts, so that no transaction grows with the mailbox. */
bool
apply_finish(struct apply_batch **batch, const struct apply_final *final, struct fault *fault)
{
	struct apply_batch *b = *batch;
	const struct seqset *vanished = final->vanished;
	uint32_t next = vanished != NULL ? seqset_next(vanished, 0) : 0;
	bool ok = true;
	*batch = NULL;
	do {
		unsigned count = 0;
		b->final = *final;
		b->gone_from = b->gone_to = next;
		for (; next != 0 && count < REMOVALS_MAX; count++) {
			b->gone_to = next;
			next = seqset_next(vanished, next);
		}
		b->last = next == 0 && !final->removals_only;
		ok = cache_run(b->account->cache, apply_run, b, fault);
		if (ok) {
			emit_events(b);
			next_step(b);
		}
		g_array_set_size(b->items, 0);
	} while (ok && next != 0);
	apply_batch_free(&b);
	return ok;
}

/* --- relatives ------------------------------------------------------------------------- */

void
apply_relatives(const struct apply_batch *batch, GHashTable *mailboxes)
{
	struct cache_view *view = cache_view_begin(batch->account->cache);
	for (guint i = 0; i < batch->items->len; i++) {
		const struct item *item = &g_array_index(batch->items, struct item, i);
		struct message_record record = item->record;
		if (!item->is_new)
			continue;
		record.emailid = batch->strings->str + item->emailid;
		identity_relatives(view, &record, mailboxes);
	}
	cache_view_end(view);
	g_hash_table_remove(mailboxes, GUINT_TO_POINTER(batch->mailbox));
}
