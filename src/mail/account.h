/* SPDX-License-Identifier: MIT */
/*
 * An account: the connections, the queue of work, and what is known of the
 * server beyond the index (cache/). Everything that needs the network starts
 * here; nothing in this header blocks on it but account_wait_login() and
 * account_stop().
 *
 * A few workers own one connection each and take jobs from one queue:
 * interactive reads first, then changes, then syncs. Callers outside (fs/) read
 * the index themselves and ask the account only for what is not there, by a
 * wait (mail/wait.h).
 */
#ifndef MAIL_ACCOUNT_H
#define MAIL_ACCOUNT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "cache/cache.h"
#include "mail/wait.h"
#include "session/conn.h"

struct account;

enum delete_policy { DELETE_TRASH, DELETE_EXPUNGE, DELETE_MARK };

/* Makes names of messages; fs/name.h has the real one. Called by several threads. */
struct account_namer {
	/* A name from the header fields; internaldate in seconds since 1970, INT64_MIN unknown.
	 * Also gives the 32 octets of identity. */
	void (*from_header)(const char *header, size_t len, int64_t internaldate, GString *name_r,
	                    unsigned char identity_r[32]);
	void (*from_uid)(uint64_t uidvalidity, uint32_t uid, GString *name_r);
	/* The n-th (2, 3, ...) message of that name in one directory. */
	void (*numbered)(const char *name, unsigned n, GString *name_r);
};

enum account_event_kind {
	EVENT_MESSAGE_NEW,    /* a name that was not there */
	EVENT_MESSAGE_GONE,   /* ino, name */
	EVENT_MESSAGE_ATTR,   /* flags or the size changed: attributes alone */
	EVENT_MESSAGE_DATA,   /* the octets behind ino are others now */
	EVENT_MAILBOX_NEW,
	EVENT_MAILBOX_GONE,
	EVENT_LISTING,        /* the listing of the directory changed, entries unnamed */
	EVENT_ENTRIES,        /* so many of its entries changed that none is named */
};

/* Something changed in the index, and has been committed. */
struct account_event {
	enum account_event_kind kind;
	uint64_t dir_ino;
	uint64_t ino;     /* 0 with EVENT_LISTING and EVENT_ENTRIES */
	const char *name; /* valid during the call only; NULL where unknown */
};

struct account_config {
	struct conn_config conn; /* strings stay owned by the caller, for the account's life */
	unsigned connections;    /* at most, at least 1 */
	unsigned refresh_s;
	unsigned timeout_s;
	enum delete_policy delete_policy;
	const char *trash;       /* shown name of the trash mailbox, or NULL: find it */
	bool names_by_uid;
	bool mark_seen;          /* -o seen: reading sets \Seen */
	bool read_only;
	struct account_namer namer;
	/* Called after commits, by threads that serve no request; must not block. */
	void (*event)(void *ctx, const struct account_event *event);
	void *event_ctx;
};

/* Starts the workers. The cache stays the caller's and must outlive the account. */
struct account *account_new(const struct account_config *config, struct cache *cache);

/* Waits until the first login worked and the tree of mailboxes was listed: true. False: it
 * failed for good (FAULT_AUTH, FAULT_TLS, FAULT_UNSUPPORTED), or `wait_ms` passed or the server
 * could not be reached (FAULT_TIMEOUT, FAULT_UNREACHABLE, FAULT_BUSY); the account goes on trying.
 * Blocks. */
bool account_wait_login(struct account *account, int wait_ms, struct fault *fault);

/* Lets what is pending reach the server, for at most `timeout` seconds without progress, then
 * ends all waits (FAULT_CANCELLED) and threads. What did not go out stays in the journal.
 * False with the first thing that the server refused or that is still pending. Blocks. */
bool account_stop(struct account *account, struct fault *fault);
/* After account_stop(). Sets *account to NULL; NULL is accepted. */
void account_free(struct account **account);

/* As account_new() was given it; the account's. */
const struct account_config *account_config(const struct account *account);

/* --- directories ----------------------------------------------------------------------- */

/*
 * OPENDIR of mailbox `id` (0: the root, which is the tree of mailboxes). True: serve it now,
 * it is fresh enough, or can't be better (no network, the server does not answer). False: the
 * wait will end when the sync has ended, or after a second at most (done(NULL) both times).
 * A mailbox that was never listed also starts its first listing here and returns true.
 */
bool account_refresh(struct account *account, uint32_t id, struct wait *wait);

/* What a directory that is listed for the first time shows. */
enum listing { LISTING_COMPLETE, LISTING_RUNNING };

/* The state of the listing: complete once (then always so), or running; *step_r grows with each
 * batch that became visible. Take it before reading the index. */
enum listing account_listing(struct account *account, uint32_t id, uint64_t *step_r);

/* Parks until the listing is beyond `step`, is complete (done(NULL)), or failed (fault). Starts
 * it if it isn't running. */
void account_listing_wait(struct account *account, uint32_t id, uint64_t step, struct wait *wait);

/* Seconds for which the kernel may keep entries and attributes of mailbox id: what is left of
 * `refresh`. 0: not at all. Negative entries too, once the listing is complete. */
double account_valid_s(struct account *account, uint32_t id);

/* Someone uses the mailbox: keep it in step for the next minutes. Cheap; any thread. */
void account_used(struct account *account, uint32_t id);

/* --- messages -------------------------------------------------------------------------- */

/* Waits for octets of a message. Allocated by the caller; see mail/wait.h. */
struct fetch_wait {
	struct wait wait;
	uint64_t ino;
	uint64_t offset;  /* READ: what is wanted; OPEN: 0 and 0 */
	size_t length;
	/* Of the body (struct message_record). READ: which is meant, 0: any. OPEN: a result, the
	 * one whose octets are told of. */
	uint64_t key;
	/* Results, valid in done() without a fault. */
	uint64_t size;    /* true size of the message, octets */
	GByteArray *data; /* READ: the octets from offset on, fewer only at the end of the message.
	                   * OPEN: the whole message if it could not be stored, else NULL (then it
	                   * is in the cache). Freed by fetch_wait_clear(). */
	/* The fetch engine's own. */
	uint64_t filled[2];
};
void fetch_wait_clear(struct fetch_wait *wait);

/* OPEN: ends when the true size is known and the first octets are there (the whole message up to
 * FETCH_WHOLE_MAX). True when that was so already: *size_r and wait->key are set, the wait was not
 * parked. */
#define FETCH_WHOLE_MAX (1024u * 1024u)
bool account_open(struct account *account, struct fetch_wait *wait, uint64_t *size_r);

/* READ of what the cache does not hold. Always parks (or ends the wait at once). */
void account_read(struct account *account, struct fetch_wait *wait);

/* The message is open (its body is not evicted, its state is kept), or no longer. Counted. False:
 * there is none. To be called before the index is asked whether the body is still the one that
 * OPEN told of: then it stays so, or the inode number becomes another's. */
bool account_pin(struct account *account, uint64_t ino);
void account_unpin(struct account *account, uint64_t ino);

/* --- changes --------------------------------------------------------------------------- */

/* Records the deletion of a message by the configured policy. Visible at once in the index's
 * view; on the server soon; durable within a second. False: it can't be (read-only: FAULT_READONLY;
 * not there: FAULT_GONE; DELETE_TRASH without any place for it is found out later). */
bool account_delete(struct account *account, uint64_t ino, struct fault *fault);

/* Ends when the server has acknowledged all that was pending in mailbox id (ALL_MAILBOXES: in
 * any), with the first refusal since the last call. */
#define ALL_MAILBOXES UINT32_MAX
void account_sync_changes(struct account *account, uint32_t id, struct wait *wait);

/* --- the rest -------------------------------------------------------------------------- */

/* Octets, from stored values; false: the server has no quota. */
bool account_quota(struct account *account, uint64_t *used_r, uint64_t *limit_r);

#endif
