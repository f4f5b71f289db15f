/* SPDX-License-Identifier: MIT */
/*
 * What the files of mail/ share: the account's state and its workers. Nobody
 * outside mail/ includes this.
 *
 * account->lock guards everything here that isn't marked otherwise. It is never
 * held across the network, a call into the cache that may wait, or the end of a
 * wait. Lock order: account->lock, then what is inside the cache and the pool.
 */
#ifndef MAIL_INTERNAL_H
#define MAIL_INTERNAL_H

#include <glib.h>

#include "imap/seqset.h"
#include "mail/account.h"
#include "mail/push.h"
#include "session/pool.h"

/* A mailbox's part in the work; id 0 is the tree of mailboxes itself. Created at the first use,
 * kept for the account's life. */
struct mbox {
	uint32_t id;

	GQueue fetches;      /* struct fetch that want octets; in account->read_queue if any */
	GQueue displaced;    /* those that wait until it was synced: renumbered, or not given */
	bool read_queued;

	GQueue changes;      /* struct change, by seq; in account->change_queue if any */
	bool change_queued, change_running;
	int64_t change_after_ns; /* boottime: not before, after a failure */
	struct fault change_fault; /* the first refusal since it was last told */
	struct wait_list change_waits;

	bool sync_queued, sync_running;
	bool sync_again;     /* something was heard while it ran */
	unsigned lines_lost; /* syncs in a row that ended because of the line */
	bool complete;       /* listed completely once */
	bool dirty;          /* something was heard: what is known is not fresh */
	bool gone;           /* deleted on the server */
	bool lost;           /* its last sync failed since it is not there: the tree shall tell */
	int64_t synced_ns;   /* boottime when the last good sync began, 0: never since the start */
	int64_t failed_ns;   /* boottime when a sync last failed */
	int64_t used_ns;     /* boottime when somebody last used it */
	int64_t flags_ns;    /* boottime when the last sync began that looked at it itself */
	int64_t removed_ns;  /* boottime when the last sync began whose removals are in the index */

	/* status.c */
	bool look_wanted;    /* STATUS shall tell whether it changed */
	int64_t look_ns;     /* boottime when it was last wanted while stale */
	bool has_unseen;
	uint32_t unseen;     /* as the last STATUS told */

	/* push.c */
	struct watcher *covered_by; /* which stands on it, or NULL */
	int64_t covered_ns;  /* boottime since when: what changed before then was not told */
	bool watched;        /* its news come by push: what the kernel was told holds until then */
	bool held;           /* the kernel was given long times: to be followed for good */
	int64_t heard_ns;    /* boottime when push last told of it, 0: never */
	int64_t refused_ns;  /* boottime when it could not be watched, 0: never */
	int64_t suspect_ns;  /* boottime when a sync had found what was not told, or 0 */
	bool accused;        /* it was not told in time; is the line to blame? */
	bool unsettled;      /* the last sync found changes, of which there may be more untold */

	int unwritten;       /* a batch of the present sync could not be written; atomic */
	uint64_t step;       /* batches that became visible */
	uint64_t revision;   /* of those that changed anything */
	unsigned mismatches; /* of QRESYNC's sums */
	int64_t surplus;     /* the server counted so many messages more than it listed */
	bool miscounted;     /* it did so once */
	unsigned rewinds;    /* its numbers went back, in a row, and nothing had changed for that */
	unsigned refusals;   /* syncs in a row that the server refused */
	struct wait_list refresh_waits, listing_waits;
};

/* A worker and its connection. The fields are the worker's own but for those said otherwise. */
struct worker {
	struct account *account;
	GThread *thread;
	unsigned number;
	struct conn *conn;      /* changed under account->lock: others may read its progress */
	bool idle, running;     /* account->lock */
	uint32_t selected;      /* id of the selected mailbox, 0: none */
	bool selected_writable;
	bool synced;            /* the selected mailbox was synced here, with these counters: */
	unsigned synced_exists, synced_expunges, synced_fetches;
	int64_t idle_since_ns;
};

/* Whether the server knows Dovecot's X-GUID. */
enum guid { GUID_UNKNOWN, GUID_WORKS, GUID_NONE };

enum login_state { LOGIN_PENDING, LOGIN_DONE, LOGIN_FAILED };

struct account {
	struct account_config config;
	struct cache *cache;
	struct pool *pool;      /* locks itself */

	GMutex lock;
	GCond work;             /* there is work, or the end is near */
	GCond state;            /* login, drained changes */
	bool stopping, draining;
	struct worker *workers;
	unsigned worker_count;
	GThread *ticker;
	struct push push;

	GHashTable *mboxes;     /* id -> struct mbox */
	GHashTable *fetches;    /* inode -> struct fetch */
	GHashTable *leaders;    /* body key -> struct fetch that fetches it */
	GPtrArray *followers;   /* struct fetch that wait for one of those */
	GQueue read_queue, change_queue, sync_queue; /* of struct mbox */
	unsigned syncs_running;
	unsigned idle_connected, connected;
	GPtrArray *parked;      /* struct wait with a reference: the ticker ends them */

	/* status.c */
	unsigned looks;          /* mailboxes that want one */
	bool look_all, look_useless;
	int64_t look_since_ns;   /* boottime: start of this interval of counting */
	unsigned look_count, look_before; /* mailboxes wanted while stale: in this, in the last */
	int64_t looked_ns, look_took_ns;  /* the last look's end and length */

	enum login_state login;
	struct fault line_fault; /* why there is no connection; kind NONE while there is one */
	int64_t broke_ns;        /* boottime when a connection was last lost */
	int64_t line_lost_ns;    /* boottime since when there is none, 0: never was one */
	int64_t refused_ns;      /* boottime when a connection could last not be had */
	int64_t wished_ns;       /* boottime when somebody last would have had one */
	uint64_t journal_seq;    /* the last one given */

	int guid;                /* enum guid; atomic */
	int64_t suspect_ns;      /* real time before which what was compared is not believed */

	/* The server's ways. */
	char *prefix, *delimiter;  /* of the personal namespace; NULL: none; they stay once known */
	bool prefix_known;         /* account->lock, all three */
	/* Of the tree's sync alone. */
	unsigned late_lists;       /* LISTs with STATUS in a row that were not answered in time */
	bool move_trusted;       /* a MOVE here did what it said; account->lock */
};

/* --- work.c: queue and workers --------------------------------------------------------- */

struct mbox *work_mbox(struct account *account, uint32_t id);      /* lock held */
void work_want_read(struct account *account, struct mbox *mbox);   /* lock held */
void work_want_change(struct account *account, struct mbox *mbox); /* lock held */
void work_want_sync(struct account *account, struct mbox *mbox);   /* lock held */
/* Something was heard: a sync is wanted, after the one that may be running now. Lock held. */
void work_mark_dirty(struct account *account, struct mbox *mbox);
bool work_start(struct account *account);
void work_stop(struct account *account);
/* No octet has come for a second though one is owed, or there is no connection. Lock held. */
bool work_stalled(struct account *account, int64_t now);
/* Boottime of the last octet received on any connection that is at work. Lock held. */
int64_t work_progress_ns(struct account *account);

/* --- line.c: a worker's connection; called without the lock ------------------------------ */

/* Opens one. Where that fails what waits for a line is failed after a grace. */
void line_open(struct worker *worker);
/* Gives it up, politely if it still works. */
void line_close(struct worker *worker, bool polite);
/* There is no line for a while, and it has just been tried: who would wait for one is told so at
 * once, else a grep over what is not cached would wait a second a file. The next attempt is made
 * soon. *fault_r: why. Lock held. */
bool line_is_away(struct account *account, struct fault *fault_r);
/* Somebody would have had a line just now: if there is none, it is tried soon. Lock held. */
void line_wish(struct account *account, int64_t now);
/* Asks whether it is alive, and gives it up if it is not. Meanwhile what waits may go to another
 * connection, or to a new one. */
void line_probe(struct worker *worker);

/* Selects the mailbox on the worker's connection unless it is that already. GONE when the server
 * says it is not there, or its UIDVALIDITY or MAILBOXID isn't the index's (a sync is then on its
 * way, unless `any_validity`). */
bool line_select(struct worker *worker, uint32_t id, bool writable, bool any_validity,
                 struct fault *fault);
/* The same for changes: a STORE or MOVE of what has come, and what other connections alone were
 * told of, is answered with OK and does nothing. So there is a NOOP if it is selected already. */
bool line_select_current(struct worker *worker, uint32_t id, struct fault *fault);

/* Whether what is selected is another mailbox than that of the MAILBOXID ("" or NULL: none is
 * known). */
bool line_other_mailbox(const struct conn_mailbox *mailbox, const char *mailboxid);

/* --- what workers run; called without the lock ----------------------------------------- */

void fetch_run(struct worker *worker, struct mbox *mbox);   /* fetch.c */
void change_run(struct worker *worker, struct mbox *mbox);  /* change.c */
bool sync_run(struct worker *worker, struct mbox *mbox, struct fault *fault); /* sync.c */
/* Whether all of the mailbox should be compared with the server: daily, and after a bad end. */
bool sync_compare_due(const struct account *account, const struct mailbox_record *record);
/* The program starts, and ends well: else all is compared with the server. They wait. */
void sync_note_start(struct account *account);
void sync_note_end(struct account *account);
bool tree_run(struct worker *worker, struct fault *fault);  /* tree.c */

/* --- status.c -------------------------------------------------------------------------- */

/* The mailbox is stale and wanted: it is synced; or, where several are wanted within a refresh
 * interval, one look at all of them by STATUS tells which have changed, and those are synced. It
 * counts as synced where nothing changed. Either ends its refresh_waits. `waiting`: somebody waits
 * for it, it is not only polled. Lock held. */
void tree_want_look(struct account *account, struct mbox *mbox, bool waiting);
/* Asks by STATUS, in one go, and removes from the mailboxes (ids, the table's keys) those that have
 * lost nothing since the index was last in step with them. False: the line is lost. */
bool status_drop_unchanged(struct worker *worker, GHashTable *mailboxes, struct fault *fault);

/* --- fetch.c --------------------------------------------------------------------------- */

/* Ends all that waits for octets, e.g. since there is no server. Takes the lock. */
void fetch_fail_all(struct account *account, const struct fault *fault);
void fetch_free_all(struct account *account);
/* A sync of the mailbox has ended, well or not. Lock held. */
void fetch_sync_ended(struct account *account, struct mbox *mbox, int64_t began_ns);

/* --- change.c -------------------------------------------------------------------------- */

/* Reads the journal, so that what was pending is played. */
bool change_load(struct account *account, struct fault *fault);
/* Changes that are pending anywhere. Lock held. */
unsigned change_pending(struct account *account);
/* Takes \Seen back from messages that a body's FETCH set it on, or sets it (-o seen). */
void change_seen(struct account *account, uint64_t ino, bool seen);
void change_free_all(struct account *account);
/* What is pending in the mailbox is refused, since that is another one now. Waits. */
bool change_disown(struct account *account, uint32_t mailbox, struct fault *fault);

/* --- mailbox.c ------------------------------------------------------------------------- */

/* Has the server tell the personal namespace, unless that is known. The connection's handler gives
 * the response to mailbox_take_namespace(). False: the line is lost. */
bool mailbox_ask_namespace(struct worker *worker, struct fault *fault);
void mailbox_take_namespace(struct account *account, const struct imap_response *response);
/* The trash's raw name: by option, SPECIAL-USE, or a usual name; false: there is none yet. *id_r
 * is 0 where the index does not have it. */
bool mailbox_find_trash(struct account *account, GString *raw_r, uint32_t *id_r);
/* Creates one; with a handler as above. */
bool mailbox_create_trash(struct worker *worker, GString *raw_r, struct fault *fault);

/* --- watch.c --------------------------------------------------------------------------- */

/* Has the ticker end it at its deadline. Lock held. */
void watch_park(struct account *account, struct wait *wait);
void *watch_thread(void *account);

/* --- helpers --------------------------------------------------------------------------- */

void account_emit(struct account *account, enum account_event_kind kind, uint64_t dir_ino,
                  uint64_t ino, const char *name);

#endif
