/* SPDX-License-Identifier: MIT */
/* Names and listings: see tree.h. */
#include "config.h"

#include "fs/tree.h"

#include <pthread.h>
#include <string.h>

#define COOKIE_MAILBOX ((int64_t)1 << 32)
#define COOKIE_MESSAGE ((int64_t)2 << 32)

/* What every message's name ends in (fs/name.h). */
#define MESSAGE_SUFFIX ".eml"

/* --- open directories ------------------------------------------------------------------ */

struct tree_notes {
	pthread_mutex_t lock;
	GHashTable *open;   /* struct tree_dir */
	GHashTable *mtimes; /* inode -> mtime_ns at the last opendir */
};

struct tree_notes *
tree_notes_new(void)
{
	struct tree_notes *notes = g_new0(struct tree_notes, 1);
	pthread_mutex_init(&notes->lock, NULL);
	notes->open = g_hash_table_new_full(NULL, NULL, g_free, NULL);
	notes->mtimes = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	return notes;
}

void
tree_notes_free(struct tree_notes **notes)
{
	if (*notes == NULL)
		return;
	g_hash_table_destroy((*notes)->open);
	g_hash_table_destroy((*notes)->mtimes);
	pthread_mutex_destroy(&(*notes)->lock);
	g_free(*notes);
	*notes = NULL;
}

struct tree_dir *
tree_dir_open(struct tree_notes *notes, const struct mailbox_record *record)
{
	struct tree_dir *dir = g_new0(struct tree_dir, 1);
	dir->mailbox = record->id;
	dir->ino = record->ino;
	dir->selectable = node_selectable(record);
	atomic_init(&dir->checked_ns, 0);
	atomic_init(&dir->shadows, false);
	pthread_mutex_lock(&notes->lock);
	g_hash_table_add(notes->open, dir);
	pthread_mutex_unlock(&notes->lock);
	return dir;
}

void
tree_dir_close(struct tree_notes *notes, struct tree_dir **dir)
{
	pthread_mutex_lock(&notes->lock);
	g_hash_table_remove(notes->open, *dir);
	pthread_mutex_unlock(&notes->lock);
	*dir = NULL;
}

void
tree_state_get(struct account *account, uint32_t mailbox, bool selectable,
               struct tree_state *state_r)
{
	*state_r = (struct tree_state){ .mailbox = ROOT_MAILBOX };
	bool complete = account_listing(account, ROOT_MAILBOX, &state_r->step) == LISTING_COMPLETE;
	if (complete && selectable && mailbox != ROOT_MAILBOX) {
		state_r->mailbox = mailbox;
		complete = account_listing(account, mailbox, &state_r->step) == LISTING_COMPLETE;
	}
	state_r->complete = complete;
}

/* --- entries --------------------------------------------------------------------------- */

bool
tree_could_be_message(const char *name, size_t len)
{
	size_t suffix = strlen(MESSAGE_SUFFIX);
	return len >= suffix && memcmp(name + len - suffix, MESSAGE_SUFFIX, suffix) == 0;
}

/* Whether messages have to be compared with sub-mailboxes; kept until the directory changes. */
static bool
has_shadows(struct cache_view *view, struct tree_dir *dir, const struct mailbox_record *self)
{
	if (self->children == 0)
		return false;
	if (atomic_load(&dir->checked_ns) == self->mtime_ns)
		return atomic_load(&dir->shadows);
	struct mailbox_record child;
	bool shadows = false;
	for (uint32_t id = 0; !shadows && cache_child_next(view, self->id, id, &child);
	     id = child.id)
		shadows = tree_could_be_message(child.name, child.name_len);
	atomic_store(&dir->shadows, shadows);
	atomic_store(&dir->checked_ns, self->mtime_ns);
	return shadows;
}

struct walk {
	struct cache_view *view;
	struct tree_dir *dir;
	const struct mailbox_record *self;
	int64_t cookie;
	bool (*emit)(void *ctx, const struct tree_entry *entry);
	void *ctx;
};

static bool
walk_dots(struct walk *walk)
{
	struct mailbox_record parent;
	struct tree_entry entry = { .name = ".", .cookie = TREE_SELF, .ino = walk->self->ino,
		                    .dir = walk->self };
	if (walk->cookie < TREE_SELF && !walk->emit(walk->ctx, &entry))
		return false;
	if (walk->cookie >= TREE_PARENT)
		return true;
	bool known = cache_mailbox_get(walk->view, walk->self->parent, &parent);
	entry = (struct tree_entry){ .name = "..", .cookie = TREE_PARENT,
		                     .ino = known ? parent.ino : ROOT_INO, .dir = walk->self };
	return walk->emit(walk->ctx, &entry);
}

static bool
walk_mailboxes(struct walk *walk)
{
	struct mailbox_record child;
	uint32_t after = walk->cookie < COOKIE_MAILBOX ? 0 : (uint32_t)walk->cookie;
	if (walk->cookie >= COOKIE_MESSAGE)
		return true;
	while (cache_child_next(walk->view, walk->self->id, after, &child)) {
		const struct tree_entry entry = { .name = child.name,
			                          .cookie = COOKIE_MAILBOX | child.id,
			                          .ino = child.ino, .dir = walk->self,
			                          .mailbox = &child };
		if (!walk->emit(walk->ctx, &entry))
			return false;
		after = child.id;
	}
	return true;
}

static enum fault_kind
walk_messages(struct walk *walk)
{
	struct cache_scan scan;
	struct message_record record;
	uint32_t first = 0;
	uint32_t shadow;
	if (walk->cookie >= COOKIE_MESSAGE) {
		first = (uint32_t)walk->cookie + 1;
		if (first == 0)
			return FAULT_NONE;
	}
	if (walk->self->space == 0)
		return FAULT_NONE;
	bool shadows = has_shadows(walk->view, walk->dir, walk->self);
	cache_scan_init(&scan, walk->view, walk->self->space, first);
	while (cache_scan_next(&scan, &record)) {
		if (shadows && cache_mailbox_child(walk->view, walk->self->id, record.name,
		                                   record.name_len, &shadow))
			continue;
		const struct tree_entry entry = { .name = record.name,
			                          .cookie = COOKIE_MESSAGE | record.recno,
			                          .ino = record.ino, .dir = walk->self,
			                          .message = &record };
		if (!walk->emit(walk->ctx, &entry))
			return FAULT_NONE;
	}
	return scan.failed ? FAULT_CACHE : FAULT_NONE;
}

enum fault_kind
tree_walk(struct cache_view *view, struct tree_dir *dir, int64_t cookie,
          bool (*emit)(void *ctx, const struct tree_entry *entry), void *ctx)
{
	struct mailbox_record self;
	if (!cache_mailbox_get(view, dir->mailbox, &self))
		return FAULT_GONE;
	struct walk walk = { view, dir, &self, cookie, emit, ctx };
	if (walk_dots(&walk) && walk_mailboxes(&walk))
		return walk_messages(&walk);
	return FAULT_NONE;
}

bool
tree_lookup(struct cache_view *view, uint32_t mailbox, const char *name, size_t len,
            struct node *node_r)
{
	uint32_t child;
	if (cache_mailbox_child(view, mailbox, name, len, &child)) {
		node_r->is_message = false;
		return cache_mailbox_get(view, child, &node_r->mailbox);
	}
	node_r->is_message = true;
	return cache_mailbox_get(view, mailbox, &node_r->mailbox) && node_r->mailbox.space != 0 &&
	       cache_message_by_name(view, node_r->mailbox.space, name, len, &node_r->message);
}

/* --- what the kernel keeps of listings ------------------------------------------------- */

bool
tree_notes_unchanged(struct tree_notes *notes, uint64_t ino, int64_t mtime_ns)
{
	pthread_mutex_lock(&notes->lock);
	int64_t *noted = g_hash_table_lookup(notes->mtimes, &ino);
	bool unchanged = noted != NULL && *noted == mtime_ns;
	if (noted == NULL) {
		noted = g_new(int64_t, 1);
		g_hash_table_insert(notes->mtimes, g_memdup2(&ino, sizeof ino), noted);
	}
	*noted = mtime_ns;
	pthread_mutex_unlock(&notes->lock);
	return unchanged;
}

void
tree_notes_forget(struct tree_notes *notes, uint64_t ino)
{
	pthread_mutex_lock(&notes->lock);
	g_hash_table_remove(notes->mtimes, &ino);
	pthread_mutex_unlock(&notes->lock);
}
