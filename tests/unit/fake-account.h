/* SPDX-License-Identifier: MIT */
/*
 * An account without a server, for the tests of fs/: it stands in for mail/ at
 * link time. What the "server" does is decided by switches in memory that the
 * test shares with the process that serves the mount.
 *
 * The cache is filled by hand: the root with INBOX (messages with bodies),
 * Archive (\Noselect) with Archive/2024, and Slow, whose first listing is
 * "running" until the switch says otherwise.
 */
#ifndef TEST_FAKE_ACCOUNT_H
#define TEST_FAKE_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/cache.h"
#include "mail/account.h"

enum { FAKE_INBOX = 1, FAKE_ARCHIVE = 2, FAKE_2024 = 3, FAKE_SLOW = 4 };

struct fake_switches {
	atomic_bool slow_listed;    /* Slow is complete */
	atomic_uint slow_target;    /* how many of its messages the server has sent */
	atomic_uint slow_step;      /* how many of them can be seen; the account's */
	atomic_bool listing_fails;
	atomic_bool fetch_goes;     /* octets that are not in the cache arrive */
	atomic_bool fetch_fails;
	atomic_bool store_fails;    /* what arrives can't be stored */
	atomic_bool refresh_waits;  /* opendir has to wait */
	atomic_bool sync_goes;      /* the server acknowledges changes */
	atomic_bool login_fails;    /* no server at the start */
	atomic_bool read_only;
	atomic_bool stop_hangs;     /* changes are pending at the end */
	atomic_int stopping;        /* account_stop() was called */
	atomic_int opens, reads, deletes, pins, waiting, used;
	atomic_ulong quota_used, quota_limit;
	/* One event, given to the mount when the number is changed. */
	atomic_int event_number;
	enum account_event_kind event_kind;
	uint64_t event_dir, event_ino;
	char event_name[256];
};

/* Shared with children; all off, but fetch_goes and sync_goes. */
struct fake_switches *fake_switches_new(void);
/* What all fake accounts look at. */
extern struct fake_switches *fake;

/* The octets of the n-th message of a mailbox (1, 2, ...) of that size. */
char *fake_body(uint32_t mailbox, uint32_t n, size_t size);

struct fake_message {
	const char *name;
	size_t size;      /* true size */
	size_t hint;      /* what the server says */
	bool cached;
};

/* Makes the tree of mailboxes in an empty cache. False: it could not be written. */
bool fake_fill_tree(struct cache *cache);
/* Adds a message; its record number and UID are n. Returns its inode, 0 on failure. */
uint64_t fake_fill_message(struct cache *cache, uint32_t mailbox, uint32_t n,
                           const struct fake_message *message);

#endif
