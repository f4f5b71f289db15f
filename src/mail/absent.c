/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes that LIST leaves out. Absence proves nothing: they are asked for by
 * name before they go, together with some that LIST has, since a server in
 * trouble lists nothing and says NO to all.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "mail/apply.h"
#include "mail/tree.h"

#define WITNESSES 3u /* that LIST has */

struct removal {
	struct tree *tree;
	uint32_t id;
};

/* What has sub-mailboxes stays as a directory without messages. */
static bool
empty_mailbox(struct cache_txn *txn, struct mailbox_record *record, struct fault *fault)
{
	uint32_t space = record->space;
	record->attrs |= IMAP_ATTR_NOSELECT | IMAP_ATTR_NONEXISTENT;
	record->space = record->exists = record->messages = record->uidnext = 0;
	record->uidvalidity = record->highestmodseq = 0;
	record->listed = false;
	record->mailboxid = "";
	record->mtime_ns = MAX(record->mtime_ns + 1, clock_real_ns());
	return txn_mailbox_put(txn, record, fault) &&
	       apply_space_drop(txn, record->id, space, fault);
}

static bool
remove_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct removal *removal = data;
	struct tree *tree = removal->tree;
	struct mailbox_record record;
	uint64_t dir_ino = 0;
	g_array_set_size(tree->events, 0);
	if (!cache_mailbox_get(cache_txn_view(txn), removal->id, &record))
		return true;
	uint32_t space = record.space;
	uint32_t parent = record.parent;
	uint64_t ino = record.ino;
	bool directory = (record.attrs & IMAP_ATTR_NOSELECT) != 0 &&
	                 g_hash_table_contains(tree->seen, GUINT_TO_POINTER(record.id));
	if (record.children > 0 || directory) {
		tree_note(tree, EVENT_LISTING, ino, 0, NULL);
		return space == 0 || empty_mailbox(txn, &record, fault);
	}
	char *name = g_strdup(record.name);
	bool ok = txn_mailbox_delete(txn, removal->id, fault) &&
	          apply_space_drop(txn, removal->id, space, fault) &&
	          tree_count_child(txn, parent, -1, &dir_ino, fault);
	if (ok)
		tree_note(tree, EVENT_MAILBOX_GONE, dir_ino, ino, name);
	g_free(name);
	return ok;
}

/* Mailboxes that LIST has, to be asked for with those that it has not: INBOX, and some more where
 * that one is none that can be asked for. Appended to raws. */
static void
add_witnesses(const struct tree *tree, GPtrArray *raws)
{
	guint end = raws->len + WITNESSES;
	for (unsigned other = 0; other < 2; other++)
		for (guint i = 0; i < tree->entries->len && raws->len < end; i++) {
			const struct tree_entry *entry = g_ptr_array_index(tree->entries, i);
			if (!entry->gone && (entry->attrs & IMAP_ATTR_NOSELECT) == 0 &&
			    imap_name_is_inbox(entry->raw, entry->raw_len) == (other == 0))
				g_ptr_array_add(raws, g_strdup(entry->raw));
		}
}

/* Whether the server tells of any of them; a server in trouble says NO to all. */
static bool
any_told(const struct tree *tree, GPtrArray *raws, guint from, int64_t since_ns)
{
	for (guint i = from; i < raws->len; i++) {
		const struct tree_status *status = status_get(tree, g_ptr_array_index(raws, i));
		if (status != NULL && status->asked_ns >= since_ns)
			return true;
	}
	return false;
}

/* The names of those that have one to be asked for, else NULL. sure_r: of these it is sure that
 * they are not there, since LIST, which has others, leaves them out. */
static bool
name_missing(const struct tree *tree, GPtrArray *raws, bool *sure_r)
{
	struct mailbox_record record;
	bool any = false;
	struct cache_view *view = cache_view_begin(tree->account->cache);
	for (guint i = 0; i < tree->missing->len; i++) {
		uint32_t id = g_array_index(tree->missing, uint32_t, i);
		bool known = cache_mailbox_get(view, id, &record);
		bool nameless = known && (record.raw_len == 0 ||
		                          ((record.attrs & IMAP_ATTR_NOSELECT) != 0 &&
		                           record.space == 0));
		sure_r[i] = nameless && tree->entries->len > 0;
		any |= known && !nameless;
		g_ptr_array_add(raws, known && !nameless ? g_strndup(record.raw, record.raw_len)
		                                         : NULL);
	}
	cache_view_end(view);
	return any;
}

/* Which of the missing the server says are not there, asked by name. What LIST has all the same
 * must be told by its code; so must all where nothing that LIST has can be asked for. */
static bool
ask_missing(struct tree *tree, bool *gone_r, struct fault *fault)
{
	guint count = tree->missing->len;
	enum absence *absence = g_new0(enum absence, count + WITNESSES);
	GPtrArray *raws = g_ptr_array_new_with_free_func(g_free);
	int64_t began_ns = clock_boot_ns();
	if (name_missing(tree, raws, gone_r))
		add_witnesses(tree, raws);
	bool ok = status_ask(tree, raws, absence, fault);
	bool works = any_told(tree, raws, count, began_ns);
	for (guint i = 0; i < count; i++) {
		const char *raw = g_ptr_array_index(raws, i);
		const struct tree_entry *entry = raw != NULL ? g_hash_table_lookup(tree->raws, raw)
		                                             : NULL;
		bool listed = entry != NULL && (entry->attrs & IMAP_ATTR_NOSELECT) == 0;
		enum absence least = listed || !works ? ABSENCE_SURE : ABSENCE_LIKELY;
		if (raw != NULL)
			gone_r[i] = absence[i] >= least;
	}
	g_free(absence);
	g_ptr_array_free(raws, TRUE);
	return ok;
}

bool
absent_remove(struct tree *tree, struct fault *fault)
{
	bool *gone = g_new0(bool, tree->missing->len + 1);
	bool ok = tree->missing->len == 0 || ask_missing(tree, gone, fault);
	for (guint i = 0; ok && i < tree->missing->len; i++) {
		struct removal removal = { tree, g_array_index(tree->missing, uint32_t, i) };
		if (!gone[i])
			continue;
		ok = cache_run(tree->account->cache, remove_run, &removal, fault);
		if (!ok)
			break;
		struct mailbox_record record;
		struct cache_view *view = cache_view_begin(tree->account->cache);
		bool left = cache_mailbox_get(view, removal.id, &record);
		cache_view_end(view);
		g_mutex_lock(&tree->account->lock);
		struct mbox *mbox = work_mbox(tree->account, removal.id);
		mbox->gone = !left;
		mbox->complete &= !left;
		g_mutex_unlock(&tree->account->lock);
		tree_emit(tree);
	}
	g_free(gone);
	return ok;
}
