/* SPDX-License-Identifier: MIT */
/*
 * The tree: names and listings of directories, from the index alone.
 *
 * A listing's order is `.`, `..`, the sub-mailboxes by id, the messages by
 * record number. Its offsets ("cookies") name the entry they follow, so that a
 * listing goes on correctly while entries come and go:
 *
 *     1, 2               behind `.` and `..`
 *     1 << 32 | id       behind a sub-mailbox
 *     2 << 32 | recno    behind a message
 *
 * Where a message and a sub-mailbox have one name, the mailbox has it.
 *
 * Two listings make a directory: that of the tree of mailboxes (which all
 * directories need) and that of the mailbox's messages. A directory is
 * complete once both were complete.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/cache.h"
#include "fs/node.h"
#include "mail/account.h"

/* --- open directories ------------------------------------------------------------------ */

struct tree_dir {
	uint32_t mailbox;
	uint64_t ino;
	bool selectable;
	/* Whether a sub-mailbox has a name that a message could have, as of that mtime. */
	_Atomic int64_t checked_ns;
	_Atomic bool shadows;
};

/* Which directories are open, and what the kernel keeps of their listings. Any thread. */
struct tree_notes;

struct tree_notes *tree_notes_new(void);
/* With the directories that are still open: their RELEASEDIR was lost with the mount. NULL in
 * *notes is accepted. */
void tree_notes_free(struct tree_notes **notes);

/* A handle; to be closed. */
struct tree_dir *tree_dir_open(struct tree_notes *notes, const struct mailbox_record *record);
/* Sets *dir to NULL. */
void tree_dir_close(struct tree_notes *notes, struct tree_dir **dir);

/* Where the state of a directory's listing stands. */
struct tree_state {
	bool complete;
	uint32_t mailbox; /* if not: whose listing is to be waited for, and from which step on */
	uint64_t step;
};

/* Take it before the view in which entries are looked for. */
void tree_state_get(struct account *account, uint32_t mailbox, bool selectable,
                    struct tree_state *state_r);

/* --- entries --------------------------------------------------------------------------- */

enum { TREE_SELF = 1, TREE_PARENT = 2 }; /* cookies of `.` and `..` */

struct tree_entry {
	const char *name;
	int64_t cookie;
	uint64_t ino;
	const struct mailbox_record *dir; /* where it stands */
	/* One of them, or none for `.` and `..`. */
	const struct mailbox_record *mailbox;
	const struct message_record *message;
};

/* Calls emit for each entry behind the cookie (0: from the start) until it returns false or there
 * are no more. FAULT_GONE: the directory is; FAULT_CACHE: not all that is there could be read. */
enum fault_kind tree_walk(struct cache_view *view, struct tree_dir *dir, int64_t cookie,
                          bool (*emit)(void *ctx, const struct tree_entry *entry), void *ctx);

/* Whether a message can have that name. */
bool tree_could_be_message(const char *name, size_t len);

/* The entry of that name, which is a node of its own. False: there is none. */
bool tree_lookup(struct cache_view *view, uint32_t mailbox, const char *name, size_t len,
                 struct node *node_r);

/* --- what the kernel keeps of listings ------------------------------------------------- */

/* Whether the listing that the kernel may have is still right: the directory has not changed since
 * it was last opened. Notes the time. */
bool tree_notes_unchanged(struct tree_notes *notes, uint64_t ino, int64_t mtime_ns);
/* It has none that could be right. */
void tree_notes_forget(struct tree_notes *notes, uint64_t ino);

#endif
