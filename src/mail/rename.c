/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes that other clients renamed, so that they keep their directories'
 * inodes, and their messages' names, inodes and bodies.
 *
 * What LIST names for the first time may be what the index has under another
 * name. The old name must stand for it no longer: the server says that there is
 * no such mailbox, or another MAILBOXID or UIDVALIDITY is there now.
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "mail/tree.h"

#define ASK_MAX 5000 /* new mailboxes that are asked for; more are a new account */

/* A mailbox of the index. */
struct known {
	uint32_t id, parent;
	GPtrArray *parts; /* NULL until path_of() */
	char *path, *raw, *mailboxid;
	uint64_t uidvalidity;
	uint32_t uidnext, exists;
	bool selectable, suspect, free; /* free: its old name does not stand for it any more */
	bool unsure;                    /* several would do */
	const struct tree_entry *match;
	unsigned like;                  /* enum likeness of the match */
	GPtrArray *target;              /* components of its new path; the entry's, or of own */
	bool own_target;
	bool proven;                    /* it is its match, for sure */
};

struct search {
	struct tree *tree;
	GPtrArray *known;      /* struct known */
	GHashTable *by_id, *by_path, *by_raw;
	GPtrArray *fresh;      /* struct tree_entry that no path of the index leads to */
	bool identified;       /* something in the index can be recognised */
};

static void
known_free(gpointer data)
{
	struct known *known = data;
	if (known->parts != NULL)
		g_ptr_array_free(known->parts, TRUE);
	if (known->own_target)
		g_ptr_array_free(known->target, TRUE);
	g_free(known->path);
	g_free(known->raw);
	g_free(known->mailboxid);
	g_free(known);
}

static const char *
last_of(GPtrArray *parts)
{
	return g_ptr_array_index(parts, parts->len - 1);
}

static char *
joined(GPtrArray *parts, guint count)
{
	GString *path = g_string_new(NULL);
	for (guint i = 0; i < count; i++) {
		if (i > 0)
			g_string_append_c(path, '/');
		g_string_append(path, g_ptr_array_index(parts, i));
	}
	return g_string_free(path, FALSE);
}

/* --- what the index has ------------------------------------------------------------------ */

/* NULL: it is at the top. */
static const struct known *
parent_of(const struct search *search, const struct known *known)
{
	return g_hash_table_lookup(search->by_id, GUINT_TO_POINTER(known->parent));
}

/* `parts` has the mailbox's own name so far: those of its parents are put before it. */
static void
place_known(struct search *search, struct known *known)
{
	GPtrArray *parts = known->parts;
	const struct known *up = parent_of(search, known);
	for (guint depth = 0; up != NULL && depth < 1000; depth++) {
		g_ptr_array_insert(parts, 0, g_strdup(last_of(up->parts)));
		up = g_hash_table_lookup(search->by_id, GUINT_TO_POINTER(up->parent));
	}
	known->path = joined(parts, parts->len);
	g_hash_table_insert(search->by_path, known->path, known);
}

static void
load_known(struct search *search)
{
	struct mailbox_record record;
	struct cache_view *view = cache_view_begin(search->tree->account->cache);
	for (uint32_t id = 0; cache_mailbox_next(view, id, &record); id = record.id) {
		if (record.id == ROOT_MAILBOX)
			continue;
		struct known *known = g_new0(struct known, 1);
		known->id = record.id;
		known->parent = record.parent;
		known->parts = g_ptr_array_new_with_free_func(g_free);
		g_ptr_array_add(known->parts, g_strdup(record.name));
		known->raw = g_strndup(record.raw, record.raw_len);
		known->mailboxid = g_strdup(record.mailboxid != NULL ? record.mailboxid : "");
		known->uidvalidity = record.listed ? record.uidvalidity : 0;
		known->uidnext = record.uidnext;
		known->exists = record.exists;
		known->selectable = record.raw_len > 0 && (record.attrs & IMAP_ATTR_NOSELECT) == 0;
		search->identified |= known->uidvalidity != 0 || *known->mailboxid != '\0';
		g_ptr_array_add(search->known, known);
		g_hash_table_insert(search->by_id, GUINT_TO_POINTER(known->id), known);
		if (*known->raw != '\0')
			g_hash_table_insert(search->by_raw, known->raw, known);
	}
	cache_view_end(view);
	for (guint i = 0; i < search->known->len; i++)
		place_known(search, g_ptr_array_index(search->known, i));
}

static void
find_fresh(struct search *search)
{
	const struct tree *tree = search->tree;
	for (guint i = 0; i < tree->entries->len; i++) {
		struct tree_entry *entry = g_ptr_array_index(tree->entries, i);
		if (entry->parts->len == 0 || g_hash_table_contains(search->by_path, entry->path) ||
		    g_hash_table_lookup(tree->paths, entry->path) != entry)
			continue;
		struct known *known = g_hash_table_lookup(search->by_raw, entry->raw);
		if (known == NULL) {
			g_ptr_array_add(search->fresh, entry);
		} else {
			/* The same name, shown in another place: the prefix is another. */
			known->match = entry;
			known->target = entry->parts;
		}
	}
}

/* --- candidates -------------------------------------------------------------------------- */

static bool
ask_fresh(struct search *search, struct fault *fault)
{
	GPtrArray *raws = g_ptr_array_new();
	for (guint i = 0; i < search->fresh->len; i++) {
		const struct tree_entry *entry = g_ptr_array_index(search->fresh, i);
		bool ask = (entry->attrs & IMAP_ATTR_NOSELECT) == 0 &&
		           status_get(search->tree, entry->raw) == NULL;
		g_ptr_array_add(raws, ask ? entry->raw : NULL);
	}
	enum absence *absence = g_new0(enum absence, raws->len + 1);
	bool ok = status_ask(search->tree, raws, absence, fault);
	/* Dovecot's LIST goes on naming what was renamed within the second of another LIST. */
	for (guint i = 0; ok && i < search->fresh->len; i++) {
		struct tree_entry *entry = g_ptr_array_index(search->fresh, i);
		entry->gone = absence[i] == ABSENCE_SURE;
	}
	g_free(absence);
	g_ptr_array_free(raws, TRUE);
	return ok;
}

/* How sure it is that the new mailbox is the known one. */
enum likeness { UNLIKE, LIKE_NUMBERS, LIKE_NAME, SAME_ID };

static enum likeness
likeness(const struct known *known, const struct tree_entry *entry,
         const struct tree_status *status)
{
	if (*status->mailboxid != '\0' && *known->mailboxid != '\0')
		return strcmp(status->mailboxid, known->mailboxid) == 0 ? SAME_ID : UNLIKE;
	if (known->uidvalidity == 0 || known->uidnext == 0 || !status->has_uidvalidity ||
	    !status->has_uidnext || !status->has_messages ||
	    status->uidvalidity != known->uidvalidity || status->uidnext < known->uidnext)
		return UNLIKE;
	uint64_t most = (uint64_t)known->exists + (status->uidnext - known->uidnext);
	if (status->messages > most)
		return UNLIKE;
	return strcmp(last_of(known->parts), last_of(entry->parts)) == 0 ? LIKE_NAME : LIKE_NUMBERS;
}

/* Asks whether the old names of those that are like something new still stand for them. */
static bool
ask_suspects(struct search *search, struct fault *fault)
{
	struct tree *tree = search->tree;
	GPtrArray *raws = g_ptr_array_new(), *suspects = g_ptr_array_new();
	for (guint i = 0; i < search->fresh->len; i++) {
		const struct tree_entry *entry = g_ptr_array_index(search->fresh, i);
		const struct tree_status *status = status_get(tree, entry->raw);
		for (guint k = 0; status != NULL && k < search->known->len; k++) {
			struct known *known = g_ptr_array_index(search->known, k);
			if (known->suspect || !known->selectable || known->match != NULL ||
			    likeness(known, entry, status) == UNLIKE)
				continue;
			known->suspect = true;
			g_ptr_array_add(suspects, known);
			g_ptr_array_add(raws, known->raw);
		}
	}
	enum absence *absence = g_new0(enum absence, raws->len + 1);
	bool ok = status_ask(tree, raws, absence, fault);
	for (guint i = 0; ok && i < suspects->len; i++) {
		struct known *known = g_ptr_array_index(suspects, i);
		const struct tree_status *now = status_get(tree, known->raw);
		/* What LIST has must be told by its code. */
		bool listed = g_hash_table_contains(tree->raws, known->raw);
		bool gone = absence[i] >= (listed ? ABSENCE_SURE : ABSENCE_LIKELY);
		bool other = now != NULL && !gone &&
		             ((now->has_uidvalidity && known->uidvalidity != 0 &&
		               now->uidvalidity != known->uidvalidity) ||
		              (*now->mailboxid != '\0' && *known->mailboxid != '\0' &&
		               strcmp(now->mailboxid, known->mailboxid) != 0));
		known->free = gone || other;
	}
	g_free(absence);
	g_ptr_array_free(raws, TRUE);
	g_ptr_array_free(suspects, TRUE);
	return ok;
}

/* The one known mailbox that the entry may be, best likeness first; NULL: none, or several. */
static struct known *
best_match(struct search *search, const struct tree_entry *entry, enum likeness *like_r)
{
	const struct tree_status *status = status_get(search->tree, entry->raw);
	struct known *best = NULL;
	enum likeness most = UNLIKE;
	bool several = false;
	for (guint i = 0; status != NULL && i < search->known->len; i++) {
		struct known *known = g_ptr_array_index(search->known, i);
		enum likeness like = known->suspect && known->free ? likeness(known, entry, status)
		                                                   : UNLIKE;
		if (like == UNLIKE || like < most)
			continue;
		several = like == most;
		most = like;
		best = known;
	}
	*like_r = most;
	return several ? NULL : best;
}

static void
match_all(struct search *search)
{
	for (guint i = 0; i < search->fresh->len; i++) {
		const struct tree_entry *entry = g_ptr_array_index(search->fresh, i);
		enum likeness like;
		struct known *known = best_match(search, entry, &like);
		if (known == NULL || like < known->like)
			continue;
		known->unsure = like == known->like;
		known->like = like;
		known->match = entry;
		known->target = entry->parts;
	}
	for (guint i = 0; i < search->known->len; i++) {
		struct known *known = g_ptr_array_index(search->known, i);
		if (known->unsure) {
			known->match = NULL;
			known->target = NULL;
		}
	}
}

/* It moved along with what it lies below. */
static bool
moved_along(struct search *search, const struct known *known)
{
	const struct known *up = parent_of(search, known);
	if (up == NULL || up->match == NULL || !up->proven)
		return false;
	char *above = joined(known->target, known->target->len - 1);
	bool along = strcmp(above, up->match->path) == 0 &&
	             strcmp(last_of(known->target), last_of(known->parts)) == 0;
	g_free(above);
	return along;
}

static gint
by_path_length(gconstpointer a, gconstpointer b)
{
	const struct known *x = *(struct known *const *)a, *y = *(struct known *const *)b;
	return (x->parts->len > y->parts->len) - (x->parts->len < y->parts->len);
}

/* What only numbers speak for must have the known messages; parents first. False: the line is
 * lost. */
static bool
prove_all(struct search *search, struct fault *fault)
{
	g_ptr_array_sort(search->known, by_path_length);
	for (guint i = 0; i < search->known->len; i++) {
		struct known *known = g_ptr_array_index(search->known, i);
		if (known->match == NULL || known->like == UNLIKE)
			continue;
		known->proven = known->like == SAME_ID || moved_along(search, known);
		if (!known->proven &&
		    !proof_same(search->tree, known->id, known->match, &known->proven, fault))
			return false;
		if (!known->proven) {
			log_debug("\"%s\" is like \"%s\" was, but has other messages",
			          known->match->path, known->path);
			known->match = NULL;
			known->target = NULL;
		}
	}
	return true;
}

/* --- directories above ------------------------------------------------------------------- */

/* A directory without messages, whose sub-mailbox `known` has gone from below it, is what stands
 * above the new place now, if that is new too and the old place is no more. */
static void
match_parent(struct search *search, const struct known *known)
{
	GPtrArray *parts = known->target;
	for (guint level = parts->len - 1; level > 0; level--) {
		struct known *up = g_hash_table_lookup(search->by_id,
		                                       GUINT_TO_POINTER(known->parent));
		if (up == NULL || up->selectable || up->match != NULL || up->target != NULL ||
		    strcmp(g_ptr_array_index(parts, level), last_of(known->parts)) != 0 ||
		    g_hash_table_contains(search->tree->paths, up->path))
			return;
		char *path = joined(parts, level);
		bool known_path = g_hash_table_contains(search->by_path, path);
		const struct tree_entry *entry = g_hash_table_lookup(search->tree->paths, path);
		g_free(path);
		if (known_path)
			return;
		up->match = entry;
		up->target = g_ptr_array_new_with_free_func(g_free);
		up->own_target = true;
		for (guint i = 0; i < level; i++)
			g_ptr_array_add(up->target, g_strdup(g_ptr_array_index(parts, i)));
		known = up;
	}
}

static gint
by_depth(gconstpointer a, gconstpointer b)
{
	const struct tree_rename *x = *(struct tree_rename *const *)a;
	const struct tree_rename *y = *(struct tree_rename *const *)b;
	return (x->parts->len > y->parts->len) - (x->parts->len < y->parts->len);
}

static void
rename_free(gpointer data)
{
	struct tree_rename *rename = data;
	g_ptr_array_free(rename->parts, TRUE);
	g_free(rename);
}

static void
collect(struct search *search)
{
	for (guint i = 0; i < search->known->len; i++) {
		const struct known *known = g_ptr_array_index(search->known, i);
		if (known->match != NULL)
			match_parent(search, known);
	}
	for (guint i = 0; i < search->known->len; i++) {
		const struct known *known = g_ptr_array_index(search->known, i);
		if (known->target == NULL)
			continue;
		struct tree_rename *rename = g_new0(struct tree_rename, 1);
		rename->id = known->id;
		rename->entry = known->match;
		rename->same_raw = known->match != NULL &&
		                   strcmp(known->match->raw, known->raw) == 0;
		rename->parts = g_ptr_array_new_with_free_func(g_free);
		for (guint k = 0; k < known->target->len; k++)
			g_ptr_array_add(rename->parts,
			                g_strdup(g_ptr_array_index(known->target, k)));
		g_ptr_array_add(search->tree->renames, rename);
	}
	g_ptr_array_sort(search->tree->renames, by_depth);
}

bool
rename_find(struct tree *tree, struct fault *fault)
{
	struct search search = { .tree = tree };
	search.known = g_ptr_array_new_with_free_func(known_free);
	search.fresh = g_ptr_array_new();
	search.by_id = g_hash_table_new(NULL, NULL);
	search.by_path = g_hash_table_new(g_str_hash, g_str_equal);
	search.by_raw = g_hash_table_new(g_str_hash, g_str_equal);
	g_ptr_array_set_free_func(tree->renames, rename_free);
	load_known(&search);
	find_fresh(&search);
	bool ok = true;
	if (search.fresh->len > 0 && search.fresh->len <= ASK_MAX && search.identified) {
		ok = ask_fresh(&search, fault) && ask_suspects(&search, fault);
		if (ok) {
			match_all(&search);
			ok = prove_all(&search, fault);
		}
	}
	if (ok)
		collect(&search);
	g_hash_table_destroy(search.by_raw);
	g_hash_table_destroy(search.by_path);
	g_hash_table_destroy(search.by_id);
	g_ptr_array_free(search.fresh, TRUE);
	g_ptr_array_free(search.known, TRUE);
	return ok;
}

/* --- into the index: in the writer's thread ----------------------------------------------- */

/* Gives what lies below the mailbox the raw names that follow from its own. */
static bool
rename_below(struct cache_txn *txn, uint32_t id, const char *old, const char *new, unsigned depth,
             struct fault *fault)
{
	GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	struct mailbox_record record;
	struct cache_view *view = cache_txn_view(txn);
	for (uint32_t after = 0; cache_child_next(view, id, after, &record); after = record.id)
		g_array_append_val(ids, record.id);
	size_t old_len = strlen(old);
	bool ok = true;
	for (guint i = 0; ok && depth < 1000 && i < ids->len; i++) {
		uint32_t child = g_array_index(ids, uint32_t, i), other;
		if (!cache_mailbox_get(view, child, &record) || record.raw_len <= old_len ||
		    memcmp(record.raw, old, old_len) != 0)
			continue;
		char *before = g_strndup(record.raw, record.raw_len);
		char *after = g_strconcat(new, before + old_len, NULL);
		if (!cache_mailbox_by_raw(view, after, strlen(after), &other)) {
			record.raw = after;
			record.raw_len = strlen(after);
			record.compared_ns = 0;
			ok = txn_mailbox_put(txn, &record, fault) &&
			     rename_below(txn, child, before, after, depth + 1, fault);
		}
		g_free(before);
		g_free(after);
	}
	g_array_free(ids, TRUE);
	return ok;
}

/* The directory that the mailbox goes to, made if need be. *parent_r is left alone where it would
 * lie below itself. */
static bool
find_parent(struct cache_txn *txn, struct tree *tree, const struct tree_rename *rename,
            uint32_t *parent_r, struct fault *fault)
{
	uint32_t id = ROOT_MAILBOX;
	for (guint i = 0; i + 1 < rename->parts->len; i++) {
		const char *name = g_ptr_array_index(rename->parts, i);
		uint32_t parent = id;
		if (!cache_mailbox_child(cache_txn_view(txn), parent, name, strlen(name), &id) &&
		    !tree_create(txn, tree, parent, name, NULL, &id, fault))
			return false;
		if (id == rename->id)
			return true;
	}
	*parent_r = id;
	return true;
}

static bool
move_record(struct cache_txn *txn, struct tree *tree, const struct tree_rename *rename,
            uint32_t parent, struct fault *fault)
{
	struct mailbox_record record;
	const char *name = last_of(rename->parts);
	const struct tree_entry *entry = rename->entry;
	if (!cache_mailbox_get(cache_txn_view(txn), rename->id, &record))
		return true;
	const struct tree_status *status = entry != NULL ? status_get(tree, entry->raw) : NULL;
	uint32_t old_parent = record.parent;
	uint64_t ino = record.ino, old_dir = 0, new_dir = 0;
	char *old_name = g_strdup(record.name);
	char *old_raw = g_strndup(record.raw, record.raw_len);
	bool moved = parent != old_parent || strcmp(old_name, name) != 0;
	record.parent = parent;
	record.name = name;
	record.name_len = strlen(name);
	record.raw = entry != NULL ? entry->raw : "";
	record.raw_len = strlen(record.raw);
	record.attrs = entry != NULL ? entry->attrs : IMAP_ATTR_NOSELECT | IMAP_ATTR_NONEXISTENT;
	if (status != NULL && *status->mailboxid != '\0')
		record.mailboxid = status->mailboxid;
	if (!rename->same_raw)
		record.compared_ns = 0;
	bool ok = txn_mailbox_put(txn, &record, fault);
	if (ok && moved)
		ok = tree_count_child(txn, old_parent, parent != old_parent ? -1 : 0, &old_dir,
		                      fault) &&
		     tree_count_child(txn, parent, parent != old_parent ? 1 : 0, &new_dir, fault);
	if (ok && moved) {
		log_debug("the mailbox \"%s\" is now called \"%s\"", old_name, name);
		tree_note(tree, EVENT_MAILBOX_GONE, old_dir, ino, old_name);
		tree_note(tree, EVENT_MAILBOX_NEW, new_dir, ino, name);
	}
	if (ok && entry != NULL && *old_raw != '\0' && !rename->same_raw)
		ok = rename_below(txn, rename->id, old_raw, entry->raw, 0, fault);
	g_free(old_name);
	g_free(old_raw);
	return ok;
}

bool
rename_apply(struct cache_txn *txn, struct tree *tree, struct fault *fault)
{
	for (guint i = 0; i < tree->renames->len; i++) {
		const struct tree_rename *rename = g_ptr_array_index(tree->renames, i);
		const struct tree_entry *entry = rename->entry;
		const char *name = last_of(rename->parts);
		uint32_t parent = UINT32_MAX, other;
		if (!find_parent(txn, tree, rename, &parent, fault))
			return false;
		struct cache_view *view = cache_txn_view(txn);
		bool taken = parent == UINT32_MAX ||
		             (cache_mailbox_child(view, parent, name, strlen(name), &other) &&
		              other != rename->id) ||
		             (entry != NULL &&
		              cache_mailbox_by_raw(view, entry->raw, entry->raw_len, &other) &&
		              other != rename->id);
		if (!taken && !move_record(txn, tree, rename, parent, fault))
			return false;
	}
	return true;
}

void
rename_done(struct tree *tree)
{
	struct account *account = tree->account;
	g_mutex_lock(&account->lock);
	for (guint i = 0; i < tree->renames->len; i++) {
		const struct tree_rename *rename = g_ptr_array_index(tree->renames, i);
		struct mbox *mbox = work_mbox(account, rename->id);
		if (tree->worker->selected == rename->id)
			tree->worker->selected = 0;
		if (mbox->complete && rename->entry != NULL)
			work_mark_dirty(account, mbox);
	}
	g_mutex_unlock(&account->lock);
}
