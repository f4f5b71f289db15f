/* SPDX-License-Identifier: MIT */
/*
 * How many connections there may be, and when one may be opened: the pool's
 * policy. It opens nothing itself; who does asks first and then tells how it
 * went:
 *
 *     if (pool_may_connect(pool, now, POOL_HURRY, &until)) {
 *             if (conn_open(config, pool, number, &conn, &fault))
 *                     pool_connected(pool, now);   ... later pool_lost() or pool_closed()
 *             else
 *                     pool_failed(pool, now, &fault);
 *     }
 *
 * - One attempt at a time, so that a wrong password is tried once, and a limit is hit once.
 * - A connection that is refused while others are up sets the limit to those that are up, for
 *   POOL_LIMIT_MEMORY_S seconds, or until one of them breaks: it may have been dead by then.
 * - Failures are followed by 1, 2, 4 .. 60 seconds, give or take a quarter; one in a hurry waits
 *   one second after the last failure at most. A connection that is lost within seconds
 *   after it came up, twice and more, counts as a failure.
 * - A refused login is followed by 30 s, 60 s, .. 15 min, give or take a quarter, whoever asks.
 * - What the server itself asks for ("Suggested Backoff Time: N milliseconds") is waited for, 10
 *   minutes at most, whoever asks.
 *
 * The pool also keeps what was learnt about the host: capabilities that are offered but broken.
 *
 * All functions may be called from any thread. `now` is boottime in ns (base/clock.h).
 */
#ifndef SESSION_POOL_H
#define SESSION_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "imap/caps.h"

struct pool;

#define POOL_LIMIT_MEMORY_S 600

/* limit: connections at most, at least 1. */
struct pool *pool_new(unsigned limit);
/* Frees *pool and sets it to NULL; NULL is accepted. */
void pool_free(struct pool **pool);

enum pool_want {
	POOL_PATIENT,
	POOL_HURRY, /* somebody waits */
	POOL_SPARE, /* patient, and one more must be possible after it */
};

/* True: go ahead, and report by pool_connected() or pool_failed(). False: ask again at *until_r
 * (boottime ns) or when another attempt ended or a connection was lost. */
bool pool_may_connect(struct pool *pool, int64_t now, enum pool_want want, int64_t *until_r);
void pool_connected(struct pool *pool, int64_t now);
void pool_failed(struct pool *pool, int64_t now, const struct fault *fault);
/* A connection that was up broke. */
void pool_lost(struct pool *pool, int64_t now);
/* A connection that was up was closed by us. */
void pool_closed(struct pool *pool, int64_t now);
/* The network came back: forget the pauses, but not those after a refused login and those that the
 * server asked for. */
void pool_hurry(struct pool *pool);

/* Takes note of a "Suggested Backoff Time" in what a server said; other text is ignored. conn and
 * pool_failed() do so themselves. */
void pool_hint(struct pool *pool, int64_t now, const char *text);

/* How many connections are up. */
unsigned pool_up(struct pool *pool);
/* There may not be one more now. */
bool pool_is_full(struct pool *pool);
/* How many there may be now. */
unsigned pool_limit(struct pool *pool);

/* The host offers it, but it is broken: conn_open() leaves it out of the capabilities. */
void pool_ban(struct pool *pool, enum imap_cap cap);
bool pool_banned(struct pool *pool, enum imap_cap cap);
/* It was of no use to a connection that came up at opened_ns, but that may have been the line's
 * doing: banned if it was so before, on a connection that was given up before this one came up.
 * Returns whether it is banned now. */
bool pool_doubt(struct pool *pool, enum imap_cap cap, int64_t now, int64_t opened_ns);
/* It works: what was doubted is forgotten. */
void pool_trust(struct pool *pool, enum imap_cap cap);

/* The end: attempts that are running (conn_open) and later ones fail with FAULT_CANCELLED. */
void pool_cancel(struct pool *pool);
/* Readable from pool_cancel() on; -1 where descriptors have run out. */
int pool_cancel_fd(struct pool *pool);

#endif
