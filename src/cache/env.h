/* SPDX-License-Identifier: MIT */
/* What the files of cache/ share: the environments and their tables. Private to cache/. */
#ifndef CACHE_ENV_H
#define CACHE_ENV_H

#include <glib.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache/body.h"
#include "cache/cache.h"

#define NAME_OCTETS_MAX 255u
/* LMDB's keys end at 511 octets: longer raw names go by their digest. */
#define RAW_KEY_MAX     500u
#define RAW_OCTETS_MAX  32000u

/* A key that is only read; LMDB takes plain pointers. */
#define VAL(pointer, length) ((MDB_val){ .mv_size = (length), .mv_data = (pointer) })

/*
 * A snapshot. A thread has one for each cache and keeps its transactions, reset, between uses; only
 * that thread touches it, but for `cache` and `snapshot`.
 */
struct cache_view {
	struct cache *_Atomic cache;  /* NULL: closed; then only freed by its thread */
	struct cache_view *next_mine; /* the thread's next one */
	MDB_txn *txn, *bodies;        /* live transactions; bodies: begun when first needed */
	MDB_txn *kept, *bodies_kept;  /* the same, kept while they are reset */
	MDB_cursor *messages, *uids;  /* opened at the first use, renewed with the transaction */
	struct cache_scan *scanning;  /* where `messages` stands, if it is live */
	bool uids_live;               /* `uids` stands on (uids_space, uids_at) */
	uint32_t uids_space, uids_at;
	unsigned depth;               /* nested begins; 0: idle */
	bool own;                     /* of a write transaction: reads what that has written */
	atomic_ullong snapshot;       /* number of the transaction seen; 0: idle, 1: beginning */
};

struct cache_txn {
	struct cache *cache;
	MDB_txn *txn;
	struct cache_view view;
	GByteArray *buffer;        /* for encoding */
	GArray *hidden;            /* inodes whose hiding it records */
	unsigned puts;             /* rows written */
};

struct hidden_entry {
	uint64_t ino;              /* the key */
	uint64_t recorded;         /* the transaction that recorded it; 0: none did yet */
};

struct cache {
	/* The index. */
	MDB_env *env;
	MDB_dbi meta, mailbox, child, kids, raw, message, uid, name, inode, journal, reap,
		ident, tomb;
	char uuid[37];
	int lock_fd;

	/* The writer (writer.c). queue_lock guards down to `started`. */
	pthread_mutex_t queue_lock;
	pthread_cond_t queue_cond, room_cond;
	GQueue queue;
	size_t queued_octets;      /* of the tasks queued and in hand */
	bool stopping;
	bool started;
	pthread_t writer;
	atomic_bool reaping;       /* there are spaces or old tombstones to delete */

	/* Hidden messages: inode -> struct hidden_entry. */
	pthread_mutex_t hidden_lock;
	GHashTable *hidden;
	atomic_uint hidden_count;

	/* Views of all threads. Guarded by the lock in view.c. */
	GPtrArray *views;

	/* The bodies. */
	MDB_env *body_env;         /* NULL: bodies are not stored */
	MDB_dbi body_meta, body_info, body_data, body_lru, body_refs, body_digest;
	char *body_dir;
	uint64_t body_limit;
	pthread_mutex_t body_lock; /* guards the next ones; taken inside LMDB's write lock */
	GHashTable *pins;          /* key -> count */
	GHashTable *touched;       /* keys used since the last tending */
	atomic_llong complained_ns;
};

/* --- env.c --- */

/* Sets a fault for an LMDB result. Returns false. */
bool env_fault(struct fault *fault, int result, const char *what);
/* Opens one file as an environment, with the largest map that the system grants up to map_size. */
int env_open_file(const char *path, unsigned flags, size_t map_size, MDB_env **env_r);
/* Where a file ends before its last page, reading there is SIGBUS. That is so when somebody cut it;
 * but free pages at the end may also never have been written. False: something is missing. */
bool env_is_whole(MDB_env *env, const char *path);
/* Logs a line if the directory is on a network filesystem. */
void env_warn_if_remote(const char *dir);
/* A line at most once a minute by the clock in *last. */
bool env_may_complain(atomic_llong *last);
/* A copy on the heap, for GHashTables of g_int64_hash. */
gint64 *env_new_key(uint64_t key);
/* A value of fixed length in a table of named ones; the name has at most 15 octets. 0, or LMDB's
 * result: MDB_NOTFOUND, or MDB_CORRUPTED where what is there has another length. */
int env_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, void *data_r, size_t len);
int env_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, void *data, size_t len);

/* --- view.c --- */

void views_close(struct cache *cache);
/* The bodies' read transaction of a view; NULL: no bodies. */
MDB_txn *view_bodies(struct cache_view *view);
/* Closes the cursors of a write transaction's view, before that ends. */
void view_drop_cursors(struct cache_view *view);
/* No snapshot in use is older than this transaction. */
bool views_all_since(struct cache *cache, uint64_t txn);

/* --- overlay.c --- */

bool overlay_hidden(struct cache *cache, uint64_t ino);
/* The transaction is committed under that number. */
void overlay_committed(struct cache_txn *txn, uint64_t id);
/* Forgets what every snapshot in use tells itself. */
void overlay_purge(struct cache *cache);

/* --- index.c --- */

/* 0, or LMDB's result with the fault set. */
int index_open_tables(struct cache *cache, struct fault *fault);
/* Keys; they return the length. */
size_t index_named_key(unsigned char key[4 + NAME_OCTETS_MAX], uint32_t prefix, const char *name,
                       size_t len);
size_t index_raw_key(unsigned char key[RAW_KEY_MAX + 1], const char *raw, size_t len);
size_t index_pair_key(unsigned char key[8], uint32_t first, uint32_t second);
bool index_get(struct cache_view *view, MDB_dbi dbi, void *key, size_t len,
               struct octets *value_r);
bool index_get_id(struct cache_view *view, MDB_dbi dbi, void *key, size_t len, uint32_t *id_r);

/* --- ident.c --- */

#define IDENT_KEY_MAX 272u

/* The rows that lead to a message by its identities; length 0: it has none. The place (8 octets)
 * follows each. */
struct ident_keys {
	unsigned char emailid[IDENT_KEY_MAX], header[IDENT_KEY_MAX];
	size_t emailid_len, header_len;
};
void ident_keys(const struct message_record *record, struct ident_keys *keys_r);
/* Forgets some of the tombstones that are older than a day. */
bool txn_tombs_expire(struct cache_txn *txn, bool *more_r, struct fault *fault);

/* --- write.c --- */

bool txn_put(struct cache_txn *txn, MDB_dbi dbi, void *key, size_t key_len, void *data, size_t len,
             struct fault *fault);
/* It need not be there. */
bool txn_del(struct cache_txn *txn, MDB_dbi dbi, void *key, size_t key_len, struct fault *fault);

/* Deletes some rows of a retired space. *more_r: there is more to do, in any space. */
bool txn_reap(struct cache_txn *txn, bool *more_r, struct fault *fault);

/* --- writer.c --- */

bool writer_start(struct cache *cache, struct fault *fault);
void writer_stop(struct cache *cache);

/* --- store.c, body.c --- */

#define DIGEST_LEN 32u

/* What there is of a body. */
struct disk_info {
	uint64_t size, origin, blob;
	uint64_t live;    /* octets that the blob counts against the limit */
	uint64_t tick;    /* when it was last used */
	uint64_t chunks;  /* that are there */
	uint64_t hashed;  /* it is complete, and this is the digest of its octets: */
	unsigned char digest[DIGEST_LEN];
};

/* Of the whole store; changed in each write transaction. */
struct body_counters {
	uint64_t live, tick, blob;
};

/* What a value of that length takes of the file. */
uint64_t store_cost(size_t len);
uint32_t store_chunk_count(uint64_t size);
void store_open(struct cache *cache, const char *dir, uint64_t limit);
void store_close(struct cache *cache);
int store_counters_get(struct cache *cache, MDB_txn *txn, struct body_counters *counters_r);
int store_counters_put(struct cache *cache, MDB_txn *txn, const struct body_counters *counters);
bool store_info_get(struct cache *cache, MDB_txn *txn, uint64_t key, struct disk_info *info_r);
int store_info_put(struct cache *cache, MDB_txn *txn, uint64_t key, const struct disk_info *info);
int store_lru(struct cache *cache, MDB_txn *txn, uint64_t tick, uint64_t key, bool there);
/* Removes a body and its chunks, if it is there. */
int store_drop(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t key);
/* Gives the key the octets with that digest, if they are there; ENOENT: they aren't. info: size,
 * origin and tick are the caller's. What the key had is dropped. */
int store_link(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t key,
               const unsigned char digest[DIGEST_LEN], struct disk_info *info);
/* The key's blob is complete and has that digest: others may share it from now on. */
int store_seal(struct cache *cache, MDB_txn *txn, struct disk_info *info,
               const unsigned char digest[DIGEST_LEN]);
/* Evicts until `need` more octets fit, never `keep`. ENOBUFS: they can't. */
int store_make_room(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
                    uint64_t keep, uint64_t need);
/* Gives at least that many octets back to the file, if there are so many. */
int store_shrink(struct cache *cache, uint64_t octets);
/* Writes down what was used. The writer's thread calls it every few seconds. */
void store_tend(struct cache *cache);

#endif
