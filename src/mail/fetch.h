/* SPDX-License-Identifier: MIT */
/*
 * Fetching the octets of messages: what fetch.c (who wants what, which command
 * is sent), origin.c (where they are had from), receive.c (what the server
 * answers) and deliver.c (who gets it) share. Private to mail/.
 *
 * A struct fetch stands for a message that is open or wanted. It hangs on its
 * mailbox's queue while somebody waits and no worker has it; joined are all who
 * want the same message, and up to a bound the messages of a mailbox in one
 * command.
 */
#ifndef MAIL_FETCH_H
#define MAIL_FETCH_H

#include "cache/body.h"
#include "mail/internal.h"

struct fetch {
	uint64_t ino;           /* constant */
	/* As the index says, by fetch_locate(). */
	uint64_t key;           /* of the body in the cache */
	uint32_t mailbox, space, uid;
	uint64_t uidvalidity;
	uint64_t hint;          /* RFC822.SIZE */
	bool hint_true, seen;
	bool marked;            /* the server set \Seen for a FETCH of ours: it is nobody else's */
	bool probable;          /* MESSAGE_PROBABLE: it may not be what the inode was before */
	bool compare;           /* the octets decide, with those of `prior`: none is given before */
	uint64_t prior;
	/* account->lock */
	GPtrArray *waits;       /* struct fetch_wait, with references */
	bool queued, running;   /* queued: in a mailbox's queue, or waiting to be put there */
	unsigned pins;
	uint64_t pinned, led;   /* body keys: that of the first pin; that it fetches for all */
	/* Of the worker that runs it; read with the lock when nobody does. */
	uint64_t size;          /* valid if size_known */
	bool size_known;
	bool whole;             /* sizes or ranges of this server can't be believed: in one piece */
	bool nostore;           /* the cache has no room for it */
	bool untraced;          /* a reader has got octets that were not stored */
	unsigned failures;      /* tries without anything gained */
	int64_t awaited_ns;     /* boottime: a sync that began before this is not what it awaits */
	bool delivered;         /* in the command under way */
	uint64_t read_on;       /* where a reader that reads on would ask next */
	uint32_t window;        /* chunks to fetch at once then */
};

/* A command's worth of fetches on a connection. */
struct receive {
	struct worker *worker;
	struct account *account;
	GPtrArray *batch;       /* struct fetch */
	/* A range was asked for; else whole messages. */
	bool range;
	uint64_t origin, length;
	/* The literal under way. */
	struct fetch *fetch;    /* NULL: it is dropped */
	bool chunked;           /* handed on chunk by chunk, else kept in the buffer */
	uint64_t literal_size, literal_origin, position;
	GByteArray *buffer;
	/* The proof of a size: what came for BODY[]<SIZE-1>. */
	bool probing, probed;
	uint64_t probe_origin, probe_size;
	GByteArray *first;      /* the first chunk, until the size is proven */
	bool gained;            /* something new has come */
};

void receive_init(struct receive *receive, struct worker *worker, GPtrArray *batch);
void receive_release(struct receive *receive);
/* The handlers for the connection; valid as long as `receive`. */
struct conn_handler receive_handler(struct receive *receive);

static inline uint64_t
fetch_origin(const struct fetch *fetch)
{
	return (uint64_t)fetch->space << 32 | fetch->uid;
}

struct ending;

/* --- fetch.c ------------------------------------------------------------------------------ */

/* Into its mailbox's queue. Lock held. */
void fetch_enqueue(struct account *account, struct fetch *fetch);

/* --- origin.c ----------------------------------------------------------------------------- */

/* Takes from the index where the message stands. False: it does not any more. */
bool fetch_locate(struct account *account, struct fetch *fetch);
/* It fetches its body for all who want that; false: another one does, and it is queued again when
 * that has ended. Lock held. */
bool fetch_lead(struct account *account, struct fetch *fetch);
void fetch_unlead(struct account *account, struct fetch *fetch);
/* The whole body is there by now; then those who wait are served (not where it is to be judged). */
bool fetch_from_cache(struct account *account, struct fetch *fetch, struct ending *done);
/* It is queued again when the mailbox was synced; anew: by a sync that begins from now on. Lock
 * held. */
void fetch_await_sync(struct account *account, struct fetch *fetch, bool anew);
/* Those of a batch that may be other messages than their inodes were, and whose octets could tell
 * nothing. One that gets another inode number goes to `ended`, its waits to `stale`. */
void fetch_presume(struct account *account, GPtrArray *batch, GPtrArray *ended,
                   struct ending *stale);
/* Those to be compared that have come with the command (all: that are here). Waits. */
void fetch_judge(struct account *account, GPtrArray *fetches, bool all, struct ending *stale);

/* --- deliver.c ---------------------------------------------------------------------------- */

/* Waits that are to be ended once the lock is released. */
struct ending {
	GPtrArray *waits;
};
void ending_init(struct ending *ending);
/* Ends them all and frees the list. Call it under no lock. */
void ending_run(struct ending *ending, const struct fault *fault);

/* Gives a reference back; for GPtrArray. */
void fetch_wait_release(gpointer wait);
/* The first chunk that a READ touches, and the one behind the last. */
uint32_t fetch_first_chunk(const struct fetch_wait *wait);
uint32_t fetch_end_chunk(const struct fetch_wait *wait, uint64_t size);
/* Takes from the cache what it has for a READ. */
void fetch_fill(struct account *account, const struct fetch *fetch, struct fetch_wait *wait);
/* Moves the wait at index i to those to be ended. Lock held. */
void fetch_end_later(struct fetch *fetch, guint i, struct ending *ending);
/* The same for all. Lock held. */
void fetch_end_all(struct fetch *fetch, struct ending *ending);
/* The same for those that are fulfilled; `opens`: an OPEN is, too. Lock held. */
void fetch_end_fulfilled(struct fetch *fetch, bool opens, struct ending *ending);

/* The whole message is here: stores it, answers all who wait. */
void fetch_whole(struct account *account, struct fetch *fetch, const void *data, size_t len);
/* The true size of a larger one is known: makes room for its chunks. */
void fetch_sized(struct account *account, struct fetch *fetch, uint64_t size);
/* A chunk of it is here. */
void fetch_chunk(struct account *account, struct fetch *fetch, uint32_t chunk, const void *data,
                 size_t len);

#endif
