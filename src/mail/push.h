/* SPDX-License-Identifier: MIT */
/*
 * Push: watchers, threads with a connection each, that listen to what the server
 * says unasked. What is heard marks mailboxes dirty; a worker syncs them.
 *
 *     NOTIFY    one watcher for all mailboxes (RFC 5465), where they have mod-sequences
 *     IDLE      one for the mailbox used last, and with four connections one for INBOX
 *     neither   none: mailboxes in use are polled
 *
 * Watchers count among the account's connections, the last of which is never theirs, and give
 * way when no worker can get one.
 *
 * A mailbox is covered while a watcher stands on it, and watched (mbox->watched) from the end of
 * the first good sync that began after that; its news come by push then, and the kernel is given
 * long times. A mailbox that was given them is held: it is followed as long as the account lives,
 * by polling where no watcher stands on it.
 *
 * Push is no promise that is believed: mailboxes in use are compared with the server every
 * `refresh` at first, less often with each proof, which is a change that was heard of before it was
 * found. What a check finds and no watcher hears of, on a line that works, is a strike; what it
 * finds before it is heard of counts less (it may be chance; but Dovecot's NOTIFY tells of what is
 * delivered behind its back only when somebody opened the mailbox). After two strikes, or six of
 * the others, without a proof in between, the capability is banned for the host: NOTIFY gives way
 * to IDLE, that to polling.
 *
 * Of a burst of changes NOTIFY may leave out the last (Dovecot does): where it told of something,
 * the mailbox is synced until nothing is new.
 */
#ifndef MAIL_PUSH_H
#define MAIL_PUSH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct account;
struct conn;
struct mbox;
struct watcher;

/* An account's part in it. account->lock. */
struct push {
	struct watcher *watchers;
	unsigned count;
	unsigned wanted;      /* watchers that are to have a connection now */
	GCond wake;           /* a watcher's target is another, or the end is near */
	bool known;           /* a login told what the server offers: */
	bool notify, idle;
	uint32_t inbox;       /* its id, 0: not known yet */
	unsigned doubts;      /* since the last proof */
	unsigned proofs;
	int64_t slept_ns;     /* of this machine, as clock_slept_ns() says */
	int64_t woken_ns;     /* boottime when the end of a sleep was last noticed */
	int64_t broke_ns;     /* account->broke_ns, as last noticed */
	int64_t own_ns;       /* boottime when a change of our own last ended */
};

/* Starts the watchers' threads; what they are for is decided by the first login. */
void push_start(struct account *account);
/* account->stopping is set: ends what the watchers are at. Lock held. */
void push_cancel(struct account *account);
/* Waits for the watchers to end. */
void push_stop(struct account *account);

/* All with the lock held. */

/* Every now and then: gives the watchers their targets, notices sleeps, suspects. */
void push_tick(struct account *account, int64_t now);
/* A worker has connected, after a time without any connection or not. */
void push_connected(struct account *account, const struct conn *conn);
/* Somebody uses the mailbox: a watcher that has heard nothing for long, not even what it was told
 * to keep the line open, makes sure that its line works. */
void push_used(struct account *account, const struct mbox *mbox, int64_t now);
/* A worker has tried to change something on the server. */
void push_own_change(struct account *account);
/* A good sync has ended; the one before began at previous_ns (0: there was none). `changed`:
 * something was other than the index had it. */
void push_synced(struct account *account, struct mbox *mbox, int64_t previous_ns, bool changed);
/* How many connections workers may have. */
unsigned push_worker_max(const struct account *account);
/* It is to be synced again since NOTIFY may not have told of all that changed. */
bool push_settle_due(const struct mbox *mbox, int64_t now);
/* So many ns after its last sync the mailbox is to be synced again, unasked; 0: never. */
int64_t push_poll_ns(const struct account *account, const struct mbox *mbox, int64_t now);

#endif
