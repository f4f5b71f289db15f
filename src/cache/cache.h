/* SPDX-License-Identifier: MIT */
/*
 * The cache of one account: the index (mailboxes, messages, names, inodes and
 * the journal of changes not yet on the server) and the bodies (cache/body.h),
 * each an LMDB environment. One process at a time.
 *
 * Reading: a view is a snapshot of both, cheap to begin (a thread keeps its
 * transaction and renews it), to be ended soon and never held across the
 * network. Everything read in a view points into the database and dies with it.
 *
 * Writing: one thread owns all writes to the index. Others submit tasks; tasks
 * run in order and share a transaction, which is committed when somebody is in
 * a hurry, when it has grown (some thousand messages: memory stays bounded),
 * else within a second. Commits are durable.
 *
 * A message is keyed by (space, recno): a space is one generation of a
 * mailbox's UIDs (a mailbox and a UIDVALIDITY), recno its place in listings,
 * never used again. Inode numbers are allocated once, never used again.
 *
 * A message whose deletion has been asked for is hidden at once, in memory,
 * until the transaction that records the intent is visible to every reader.
 *
 * An index that can't be read any more (the disk fails) finds nothing: every
 * get is false, and a scan says so in `failed`. An empty directory is one whose
 * mailbox is there and whose scan has not failed.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "cache/record.h"

struct cache;
struct cache_view;
struct cache_txn;

struct cache_config {
	const char *state_dir;   /* of the index; made if it is not there */
	const char *body_dir;    /* of the bodies */
	uint64_t body_limit;     /* octets of bodies that are kept */
};

/*
 * FAULT_BUSY: another process (its pid is told) has it open. FAULT_CACHE: the index can't be opened
 * or made, or is of a later version. One that is damaged is set aside (*.bad) and made anew.
 * Without a place for bodies it opens all the same, and stores none. Not across fork(): open it in
 * the child.
 */
bool cache_open(const struct cache_config *config, struct cache **cache_r, struct fault *fault);
/* Writes what is pending. No view may be open, no other thread may use it. NULL in *cache is
 * accepted. */
void cache_close(struct cache **cache);

/* --- reading --------------------------------------------------------------------------- */

/* Nested calls of one thread share the snapshot. Never NULL; it belongs to the thread. */
struct cache_view *cache_view_begin(struct cache *cache);
void cache_view_end(struct cache_view *view);

/* All that get or find: false when there is no such thing. What they set dies with the view. */

bool cache_mailbox_get(struct cache_view *view, uint32_t id, struct mailbox_record *record_r);
/* A sub-mailbox by its shown name. */
bool cache_mailbox_child(struct cache_view *view, uint32_t parent, const char *name, size_t len,
                         uint32_t *id_r);
/* By the name that the server has for it. */
bool cache_mailbox_by_raw(struct cache_view *view, const char *raw, size_t len, uint32_t *id_r);
/* The first mailbox of an id greater than `after`; false at the end. */
bool cache_mailbox_next(struct cache_view *view, uint32_t after, struct mailbox_record *record_r);
/* The first sub-mailbox of an id greater than `after`. */
bool cache_child_next(struct cache_view *view, uint32_t parent, uint32_t after,
                      struct mailbox_record *record_r);

bool cache_inode_get(struct cache_view *view, uint64_t ino, struct inode_record *record_r);
/* Hidden and \Deleted ones too. */
bool cache_message_get(struct cache_view *view, uint32_t space, uint32_t recno,
                       struct message_record *record_r);
bool cache_message_by_uid(struct cache_view *view, uint32_t space, uint32_t uid,
                          struct message_record *record_r);
/* Which message of the space has the name, hidden and \Deleted ones too. */
bool cache_name_get(struct cache_view *view, uint32_t space, const char *name, size_t len,
                    uint32_t *recno_r);
/* Listed ones only. */
bool cache_message_by_name(struct cache_view *view, uint32_t space, const char *name, size_t len,
                           struct message_record *record_r);
/* By inode number: the record and its mailbox's id; hidden and \Deleted ones too. */
bool cache_message_by_ino(struct cache_view *view, uint64_t ino, uint32_t *mailbox_r,
                          struct message_record *record_r);
/* Listed, and not hidden in memory either. */
bool cache_message_visible(struct cache_view *view, const struct message_record *record);

/* A walk over the listed messages of a space, by recno from `from` on. Scans of one view may be
 * mixed. After the last one look at `failed`: true where it ended early because the index can't be
 * read, which must not look like the end of a directory. */
struct cache_scan {
	struct cache_view *view;
	uint32_t space;
	uint32_t from;  /* the next recno that may come */
	bool failed;
};
void cache_scan_init(struct cache_scan *scan, struct cache_view *view, uint32_t space,
                     uint32_t from);
bool cache_scan_next(struct cache_scan *scan, struct message_record *record_r);
/* All UIDs of a space, ascending: the first one greater than `after`, false at the end. Walking
 * on from the last answer costs a step, not a search. */
bool cache_uid_next(struct cache_view *view, uint32_t space, uint32_t after, uint32_t *uid_r);

/* --- identities ---
 *
 * Messages are found by what they are: their EMAILID (or X-GM-MSGID, X-GUID), and the digest of
 * their header fields. What is found by the header fields is a candidate, no more.
 */
enum cache_ident { CACHE_IDENT_EMAILID, CACHE_IDENT_HEADER };
struct cache_place {
	uint32_t space, recno;
};
#define CACHE_IDENT_MAX 64u
/* Messages of any space, those of generations to come or gone included, up to max (and
 * CACHE_IDENT_MAX). */
unsigned cache_ident_find(struct cache_view *view, enum cache_ident kind,
                          const struct message_record *like, struct cache_place *places,
                          unsigned max);

/* A message that vanished: kept for a day, so that it can be revived where it turns up. */
struct tomb_record {
	struct message_record message; /* as it was; space and recno are 0 in what is read */
	uint32_t mailbox;
	int64_t buried_ns;             /* real time */
	/* Where we moved it to ourselves; target_uid 0: not known. */
	uint32_t target_mailbox, target_uid;
	uint64_t target_uidvalidity;
};
unsigned cache_tomb_find(struct cache_view *view, enum cache_ident kind,
                         const struct message_record *like, uint64_t *inos, unsigned max);
bool cache_tomb_by_place(struct cache_view *view, uint32_t mailbox, uint64_t uidvalidity,
                         uint32_t uid, uint64_t *ino_r);
bool cache_tomb_get(struct cache_view *view, uint64_t ino, struct tomb_record *tomb_r);

/* The journal's first record with a number greater than `after`. */
bool cache_journal_next(struct cache_view *view, uint64_t after, struct journal_record *record_r);
/* A stored value by name. */
bool cache_meta_get(struct cache_view *view, const char *name, struct octets *value_r);

/* --- writing --------------------------------------------------------------------------- */

enum cache_when {
	CACHE_SOON, /* within a second; at once if nothing was written for a second */
	CACHE_NOW,  /* as soon as what was submitted before has run */
};

/*
 * run: does the work, false (with a fault) if it can't: then nothing of it remains, and the others
 * are unharmed. It may be called more than once (the transaction is taken back when another task
 * fails), and must then do the same again from the start. done: after the commit (fault: NULL), or
 * with what failed; may be NULL. done is called once for each, in the order of submission. Both are
 * called by the writer's thread, without a lock, and may submit more tasks but not wait for them.
 */
struct cache_task {
	bool (*run)(struct cache_txn *txn, void *data, struct fault *fault);
	void (*done)(void *data, const struct fault *fault);
	void *data;
	size_t octets; /* about how much memory it holds; above 16 MiB of all submitters wait */
	enum cache_when when;
	bool no_wait;  /* never wait for room in the queue */
};

/* Any thread. Waits for nothing but room in the queue. */
void cache_submit(struct cache *cache, const struct cache_task *task);
/* Submits, and waits for the commit. Never from the writer's thread. */
bool cache_run(struct cache *cache, bool (*run)(struct cache_txn *, void *, struct fault *),
               void *data, struct fault *fault);
/* All that was submitted before, and did not fail, is on the disk. */
bool cache_flush(struct cache *cache, struct fault *fault);

/* A view on the transaction's own state, for the functions above (not for bodies). What it gave
 * points into the database until the next write in the transaction; as an argument of that write
 * it is fine. */
struct cache_view *cache_txn_view(struct cache_txn *txn);

/* Writes the record and the rows that lead to it. FAULT_EXISTS: the shown name stands for another
 * mailbox of that parent, or the raw name for another one; FAULT_INVALID: a name too long. */
bool txn_mailbox_put(struct cache_txn *txn, const struct mailbox_record *record,
                     struct fault *fault);
/* The rows of the mailbox alone; its space is the caller's to delete. */
bool txn_mailbox_delete(struct cache_txn *txn, uint32_t id, struct fault *fault);
/* Writes the record and the rows that lead to it (UID, name, inode, identities); what it had under
 * the same (space, recno) before gives way. An inode number that the record did not have (0: none
 * yet) leads to that recno of the mailbox from now on, wherever it led; in another space than the
 * mailbox's present one it must be the recno that it leads to already.
 * FAULT_EXISTS: the UID or the name is another message's; FAULT_INVALID: no name, or one above 255
 * octets. */
bool txn_message_put(struct cache_txn *txn, uint32_t mailbox, const struct message_record *record,
                     struct fault *fault);
/* The inode number is forgotten unless it leads to another record by now. */
bool txn_message_delete(struct cache_txn *txn, const struct message_record *record,
                        struct fault *fault);
/* The same, and leaves a tombstone, in the place of an earlier one, unless the inode number lives
 * on elsewhere: tomb->message is the message, tomb->mailbox where it was. */
bool txn_message_bury(struct cache_txn *txn, const struct tomb_record *tomb, struct fault *fault);
/* The tombstone is no longer needed: its message was revived. */
bool txn_tomb_delete(struct cache_txn *txn, uint64_t ino, struct fault *fault);
/* The space's messages are no longer wanted: they are deleted bit by bit from now on, after a
 * restart too; those whose inode number does not live on elsewhere leave tombstones. */
bool txn_space_retire(struct cache_txn *txn, uint32_t space, struct fault *fault);
/* Whether no message of the space has that name, hidden ones included. */
bool txn_name_free(struct cache_txn *txn, uint32_t space, const char *name, size_t len);
bool txn_ino_alloc(struct cache_txn *txn, uint64_t *ino_r, struct fault *fault);
bool txn_mailbox_id_alloc(struct cache_txn *txn, uint32_t *id_r, struct fault *fault);
bool txn_space_alloc(struct cache_txn *txn, uint32_t *space_r, struct fault *fault);
bool txn_journal_put(struct cache_txn *txn, const struct journal_record *record,
                     struct fault *fault);
bool txn_journal_delete(struct cache_txn *txn, uint64_t seq, struct fault *fault);
bool txn_meta_put(struct cache_txn *txn, const char *name, const void *data, size_t len,
                  struct fault *fault);

/* --- hidden messages ------------------------------------------------------------------- */

/* Not listed from now on. If the task that records it fails, unhide it. */
void cache_hide(struct cache *cache, uint64_t ino);
/* The index says it now (called in run() of the task that sets MESSAGE_HIDDEN): forgotten as soon
 * as no older snapshot can be read. */
void cache_hide_recorded(struct cache_txn *txn, uint64_t ino);
/* Listed again, if the index says so. */
void cache_unhide(struct cache *cache, uint64_t ino);

/* Whether every row of the index leads where it should; for tests and -d. Walks all of it. */
bool cache_check(struct cache *cache, struct fault *fault);

#endif
