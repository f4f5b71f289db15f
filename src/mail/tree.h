/* SPDX-License-Identifier: MIT */
/*
 * What the files of the tree of mailboxes share (tree.c, absent.c, rename.c,
 * proof.c, status.c); nobody else includes this.
 *
 *     tree.c     LIST into the index: what is new
 *     absent.c   what LIST leaves out: what went
 *     rename.c   which of what is new is a mailbox that had another name
 *     proof.c    whether it is, by its messages
 *     status.c   STATUS: which mailboxes changed, so that only those are opened
 *
 * All of it runs in the one worker that does the tree at a time, but for what is
 * said to run in the cache writer's thread (struct cache_txn in its arguments).
 */
#ifndef MAIL_TREE_H
#define MAIL_TREE_H

#include "imap/names.h"
#include "mail/internal.h"

/* A mailbox as LIST told it. */
struct tree_entry {
	char *raw; /* without NUL */
	size_t raw_len;
	char *delimiter;
	uint32_t attrs;
	GPtrArray *parts; /* components as shown; empty: it can't be shown */
	bool gone;        /* the server says that it is not there all the same */
	char *path;       /* those with `/` in between */
};

/* What STATUS told of one (RFC 3501 section 7.2.4). What is missing is unknown. */
struct tree_status {
	bool has_messages, has_uidnext, has_uidvalidity, has_unseen;
	uint32_t messages, uidnext, unseen;
	uint64_t uidvalidity;
	uint64_t highestmodseq; /* 0: unknown, or it keeps none */
	char *mailboxid;        /* "": unknown */
	int64_t asked_ns;       /* boottime: the answer is not older */
};

/* A mailbox of the index whose place in the tree is another now. */
struct tree_rename {
	uint32_t id;
	GPtrArray *parts;               /* of its new path; owned by the tree */
	const struct tree_entry *entry; /* NULL: only its children are listed */
	bool same_raw;                  /* it is but shown elsewhere: its messages are the same */
};

struct tree {
	struct worker *worker;
	struct account *account;
	const struct conn_handler *handler;
	GPtrArray *entries;    /* struct tree_entry */
	GHashTable *raws;      /* raw name -> its entry */
	GHashTable *paths;     /* path -> its first entry; NULL for what is but a parent */
	GHashTable *statuses;  /* raw name (INBOX in capitals) -> struct tree_status */
	GPtrArray *renames;    /* struct tree_rename, parents first */
	GHashTable *seen;      /* ids that LIST named, or that are parents of such */
	GHashTable *lost;      /* ids that could not be selected, since they were not there */
	GArray *missing;       /* ids to be asked for by name, children first */
	uint64_t quota[2];
	bool has_quota;
	bool placed;           /* the entries are complete and have their places */
	bool tells_uses;       /* the special use of some is told (RFC 6154) */
	GArray *events;        /* events of the transactions, to be told when they are committed */

	/* status.c */
	int64_t began_ns;      /* boottime */
	int64_t asked_ns;      /* boottime before the question that is being answered */
	unsigned answered;     /* STATUS commands, with OK or BAD */
	bool look, look_all;   /* STATUS is wanted of some mailboxes, of all that can be had */
};

/* --- tree.c ---------------------------------------------------------------------------- */

/* To be emitted when the transaction is committed. */
void tree_note(struct tree *tree, enum account_event_kind kind, uint64_t dir_ino, uint64_t ino,
               const char *name);
/* Emits what was noted. */
void tree_emit(struct tree *tree);
/* A mailbox without a name of its own on the server, which has sub-mailboxes; or one that `entry`
 * describes. */
bool tree_create(struct cache_txn *txn, struct tree *tree, uint32_t parent, const char *name,
                 const struct tree_entry *entry, uint32_t *id_r, struct fault *fault);
/* The number of sub-mailboxes of a directory changed by delta (0: their names did). *ino_r: its
 * inode number. */
bool tree_count_child(struct cache_txn *txn, uint32_t parent, int delta, uint64_t *ino_r,
                      struct fault *fault);

/* --- absent.c -------------------------------------------------------------------------- */

/* Removes those of tree->missing that the server says are not there. False: the line is lost. */
bool absent_remove(struct tree *tree, struct fault *fault);

/* --- rename.c -------------------------------------------------------------------------- */

/*
 * Finds out which mailboxes that LIST named for the first time are known ones: by MAILBOXID (RFC
 * 8474), else by UIDVALIDITY, UIDNEXT and the number of messages, and by some of these, when the
 * old name no longer stands for it and there is one candidate alone; what lies below a renamed
 * mailbox goes with it.
 * Fills tree->renames. Asks the server only where something is new. False: the line is lost.
 */
bool rename_find(struct tree *tree, struct fault *fault);
/* Moves the records. The index's inode numbers, names of messages and spaces stay. */
bool rename_apply(struct cache_txn *txn, struct tree *tree, struct fault *fault);
/* That was committed: they are looked at again under their new names. */
void rename_done(struct tree *tree);

/* --- proof.c --------------------------------------------------------------------------- */

/* Whether the entry's messages are those of the mailbox `id` of the index, as far as some tell:
 * their sizes, dates and header fields. It is selected for that. False: the line is lost. */
bool proof_same(struct tree *tree, uint32_t id, const struct tree_entry *entry, bool *same_r,
                struct fault *fault);

/* --- status.c -------------------------------------------------------------------------- */

GHashTable *status_table(void);
/* What is asked for in STATUS, with its parentheses; the caller's. */
GString *status_items(const struct conn *conn);
void status_take(struct tree *tree, const struct imap_response *response);
/* NULL: the server told nothing (yet). */
const struct tree_status *status_get(const struct tree *tree, const char *raw);
/* What a NO to STATUS says. */
enum absence {
	ABSENCE_NONE, /* it is there, or that can't be told */
	ABSENCE_LIKELY, /* NO without a code: enough where LIST leaves it out too */
	ABSENCE_SURE,
};
/* Asks for those (raw names, NULL: left out), pipelined. absence_r: NULL, or for each. False: the
 * line is lost. */
bool status_ask(struct tree *tree, GPtrArray *raws, enum absence *absence_r, struct fault *fault);
/* Whether LIST should bring STATUS along (RFC 5819). */
bool status_by_list(const struct tree *tree);

/* Takes what looks are wanted; then asks for what LIST did not bring; then says which mailboxes
 * are fresh, and has those synced that are not. `ok`: LIST worked. */
void status_begin(struct tree *tree);
bool status_ask_wanted(struct tree *tree, struct fault *fault);
void status_decide(struct tree *tree, bool ok);

#endif
