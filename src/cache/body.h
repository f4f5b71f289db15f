/* SPDX-License-Identifier: MIT */
/*
 * The bodies of messages, as far as they were fetched, up to a limit of octets:
 * the least recently used go first, never one that is pinned.
 *
 * A body is cut into chunks of BODY_CHUNK octets (the last one shorter); a
 * chunk that is there is whole. A complete body is the message's, whatever its
 * origin; one of which chunks are missing is continued under the UID that it was
 * begun under alone: what was stored under another origin is dropped, never mixed
 * in. Complete bodies with the same octets, by their SHA-256, are stored once,
 * under however many keys.
 *
 * The store may vanish or be full at any time: reads then miss, and puts fail
 * (FAULT_CACHE), which costs the caller nothing but a later fetch.
 *
 * All functions may be called by any thread; the body_put ones wait for the
 * disk's cache alone, not for the disk, and must not be called in the run() of
 * a task.
 *
 * The keys are inode numbers, or others that the caller makes sure are never
 * used again: bodies of another index, or of an older state of it, are not
 * believed.
 */
#ifndef CACHE_BODY_H
#define CACHE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "cache/cache.h"

/* 64 pages less LMDB's page header: the value fills whole pages. */
#define BODY_CHUNK (64u * 4096u - 16u)

struct body_info {
	uint64_t size;   /* true size, octets */
	uint64_t origin; /* space << 32 | UID */
	bool complete;   /* every chunk is there */
	uint64_t blob;   /* what holds the octets, never 0 */
};

/* False: nothing of it is there. */
bool body_info_get(struct cache_view *view, uint64_t key, struct body_info *info_r);
/* Points iov at up to `len` octets from `offset` on, as many as are there without a gap, and says
 * how many pieces. *octets_r is what they hold: less than asked also at the end of the body. */
unsigned body_read(struct cache_view *view, uint64_t key, uint64_t offset, size_t len,
                   struct iovec *iov, unsigned iov_max, size_t *octets_r);
/* False: one of them is not complete. Else *same_r: they hold the same octets. */
bool body_same(struct cache_view *view, uint64_t a, uint64_t b, bool *same_r);
/* The same, but of the first one chunks may be missing: those that are there tell. */
bool body_agrees(struct cache_view *view, uint64_t part, uint64_t whole, bool *same_r);
/* SHA-256 of the header section of a complete body: up to and with the first empty line, or all of
 * it. False: it is not complete, or the section is longer than 1 MiB. */
bool body_header_digest(struct cache_view *view, uint64_t key, unsigned char digest_r[32]);

/* The whole body at once, in place of what was there. */
bool body_put(struct cache *cache, uint64_t key, uint64_t origin, const void *data, size_t len,
              struct fault *fault);
/* A body of that size will come in chunks. What is there stays if origin and size are the same. */
bool body_begin(struct cache *cache, uint64_t key, uint64_t origin, uint64_t size,
                struct fault *fault);
/* One whole chunk of a body that was begun; it may be there already. FAULT_CACHE also if the body
 * was evicted, or has another origin, by now; FAULT_INVALID if it has no chunk of that number and
 * length. */
bool body_put_chunk(struct cache *cache, uint64_t key, uint64_t origin, uint32_t chunk,
                    const void *data, size_t len, struct fault *fault);
/* The octets of another one, which is complete, in place of what was there. */
bool body_adopt(struct cache *cache, uint64_t key, uint64_t from, struct fault *fault);
void body_drop(struct cache *cache, uint64_t key);

/* In use: not evicted. Counted. */
void body_pin(struct cache *cache, uint64_t key);
void body_unpin(struct cache *cache, uint64_t key);
/* It was used. Cheap. */
void body_touch(struct cache *cache, uint64_t key);

/* Octets that are stored, as they count against the limit. */
uint64_t body_stored(struct cache *cache);

#endif
