/* SPDX-License-Identifier: MIT */
/*
 * The applier: the one way by which what a sync found gets into the index.
 *
 * A sync collects items in a batch and submits it; the cache's writer applies
 * it in one transaction (cache/cache.h), perhaps more than once. Batches may be
 * repeated: an addition that is there already becomes an update. Removals come
 * last, and the mailbox's own values (UIDNEXT, HIGHESTMODSEQ, "listed
 * completely") after them, so that a sync that was cut off is simply done again.
 * Events and the listing's step follow the commit.
 */
#ifndef MAIL_APPLY_H
#define MAIL_APPLY_H

#include "imap/fetch.h"
#include "mail/internal.h"

struct apply_batch;

/* Removals, and the values of the mailbox when its sync is complete. */
struct apply_final {
	const struct seqset *vanished; /* NULL: none; each leaves a tombstone */
	bool removals_only;            /* the values stay as they are */
	uint64_t uidvalidity;
	uint32_t uidnext, exists;
	uint64_t highestmodseq;
	bool compared;                 /* everything was compared with the server */
	bool recount;                  /* the number of messages is to be counted */
	const char *mailboxid;         /* RFC 8474, "" for none; NULL: as it was */
};

/* A sync of the mailbox begins. */
void apply_begin(struct account *account, uint32_t mailbox);
/*
 * space: the generation of UIDs it goes into; allocated by apply_space(). building: it is not the
 * present one: messages get no inode numbers, renumber.c finds out who they are.
 */
struct apply_batch *apply_batch_new(struct account *account, uint32_t mailbox, uint32_t space,
                                    uint64_t uidvalidity, bool building);
/* NULL is accepted. Only for a batch that was not submitted. */
void apply_batch_free(struct apply_batch **batch);

/* A message with its name (valid UTF-8) and identity. mtime: seconds since 1970. replaced: what
 * the index has under that UID is another message, and goes. */
void apply_add(struct apply_batch *batch, const struct imap_fetch *fetch, int64_t mtime,
               const char *name, const unsigned char identity[32], uint32_t state, bool replaced);
/* All that the server tells of a message that is in the index: flags, labels, ids. */
void apply_update(struct apply_batch *batch, const struct imap_fetch *fetch);
/* New flags of a message that is in the index. */
void apply_flags(struct apply_batch *batch, uint32_t uid, const struct imap_flags *flags,
                 uint64_t modseq);
/* How many items it has. */
unsigned apply_count(const struct apply_batch *batch);
/* The mailboxes, other than its own, that have messages which its additions may be: ids, added to
 * the table as keys. In the caller's thread. */
void apply_relatives(const struct apply_batch *batch, GHashTable *mailboxes);

/* Hands the batch to the writer and sets *batch to NULL; does not wait, but for room in the
 * writer's queue. A failure to write is found out by apply_finish(). */
void apply_submit(struct apply_batch **batch);
/* The last one (it may be empty): waits until it and all before are committed. The mailbox's values
 * are not written if any since apply_begin() was not. *batch becomes NULL. */
bool apply_finish(struct apply_batch **batch, const struct apply_final *final,
                  struct fault *fault);

/* The space for (mailbox, uidvalidity): the present one if it matches, else a new one beside it
 * (which apply_finish() switches to), or instead of it where nothing was listed completely yet.
 * other: the MAILBOXID of a mailbox that is not the present one, whatever its UIDVALIDITY, or NULL.
 * Waits for the commit. */
bool apply_space(struct account *account, uint32_t mailbox, uint64_t uidvalidity,
                 const char *other, uint32_t *space_r, struct fault *fault);

/* Whether the space is the mailbox's present one, or the one that is being built. */
bool apply_space_is(struct cache_view *view, const struct mailbox_record *mailbox, uint32_t space);
/* In the writer's thread: the mailbox goes, and with it its present space and any other one. */
bool apply_space_drop(struct cache_txn *txn, uint32_t mailbox, uint32_t space,
                      struct fault *fault);
/* In the writer's thread: writes a message of the mailbox's present generation, after a change that
 * is not the server's. One that is being built beside it may have the message already: then that
 * follows. */
bool apply_message_put(struct cache_txn *txn, uint32_t mailbox, const struct message_record *record,
                       struct fault *fault);

/* In the writer's thread: a free name of the space, the plain one or the first free number. */
void apply_free_name(struct cache_txn *txn, const struct account *account, uint32_t space,
                     const char *name, GString *out);

#endif
