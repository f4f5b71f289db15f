/* SPDX-License-Identifier: MIT */
/* The bodies: see body.h, and store.c for the file they are in. */
#include "config.h"

#include "cache/body.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "cache/env.h"

/* More than that between two tendings is not remembered: which goes first is not vital. */
#define TOUCHED_MAX 20000u
/* Given back at once when the disk is full. */
#define SHRINK_MIN  ((uint64_t)4 << 20)
#define HEADER_MAX  ((uint64_t)1 << 20)

/* --- reading --------------------------------------------------------------------------- */

static struct cache *
view_cache(const struct cache_view *view)
{
	return atomic_load_explicit(&view->cache, memory_order_relaxed);
}

static bool
get_chunk(struct cache *cache, MDB_txn *txn, uint64_t blob, uint32_t chunk, MDB_val *value_r)
{
	unsigned char octets[12];
	key_u64(octets, blob);
	key_u32(octets + 8, chunk);
	MDB_val key = VAL(octets, 12);
	return mdb_get(txn, cache->body_data, &key, value_r) == 0;
}

bool
body_info_get(struct cache_view *view, uint64_t key, struct body_info *info_r)
{
	MDB_txn *txn = view_bodies(view);
	struct disk_info info;
	if (txn == NULL || !store_info_get(view_cache(view), txn, key, &info))
		return false;
	*info_r = (struct body_info){ .size = info.size, .origin = info.origin,
		                      .complete = info.chunks == store_chunk_count(info.size),
		                      .blob = info.blob };
	return true;
}

bool
body_same(struct cache_view *view, uint64_t a, uint64_t b, bool *same_r)
{
	MDB_txn *txn = view_bodies(view);
	struct disk_info first, second;
	if (txn == NULL || !store_info_get(view_cache(view), txn, a, &first) ||
	    !store_info_get(view_cache(view), txn, b, &second) || first.hashed == 0 ||
	    second.hashed == 0)
		return false;
	*same_r = first.size == second.size &&
	          memcmp(first.digest, second.digest, DIGEST_LEN) == 0;
	return true;
}

static bool
same_chunks(struct cache *cache, MDB_txn *txn, const struct disk_info *a, const struct disk_info *b)
{
	MDB_val first, second;
	for (uint32_t chunk = 0; chunk < store_chunk_count(a->size); chunk++)
		if (get_chunk(cache, txn, a->blob, chunk, &first) &&
		    (!get_chunk(cache, txn, b->blob, chunk, &second) ||
		     first.mv_size != second.mv_size ||
		     memcmp(first.mv_data, second.mv_data, first.mv_size) != 0))
			return false;
	return true;
}

bool
body_agrees(struct cache_view *view, uint64_t part, uint64_t whole, bool *same_r)
{
	MDB_txn *txn = view_bodies(view);
	struct disk_info first, second;
	if (body_same(view, part, whole, same_r))
		return true;
	if (txn == NULL || !store_info_get(view_cache(view), txn, part, &first) ||
	    !store_info_get(view_cache(view), txn, whole, &second) || second.hashed == 0)
		return false;
	*same_r = first.size == second.size && same_chunks(view_cache(view), txn, &first, &second);
	return true;
}

static void
digest_of(GChecksum *sum, unsigned char digest_r[DIGEST_LEN])
{
	gsize len = DIGEST_LEN;
	g_checksum_get_digest(sum, digest_r, &len);
	g_checksum_free(sum);
}

/* How much of the text belongs to the header section, given how many line ends (LF, CRs left out)
 * came last before it; *ended_r: the empty line is in it. */
static size_t
header_part(const char *text, size_t len, unsigned *newlines, bool *ended_r)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			(*newlines)++;
		else if (text[i] != '\r')
			*newlines = 0;
		if (*newlines == 2) {
			*ended_r = true;
			return i + 1;
		}
	}
	return len;
}

bool
body_header_digest(struct cache_view *view, uint64_t key, unsigned char digest_r[32])
{
	struct body_info info;
	bool ended = false, ok = true;
	unsigned newlines = 1; /* a message may begin with the empty line */
	uint64_t at = 0;
	if (!body_info_get(view, key, &info) || !info.complete)
		return false;
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	while (ok && !ended && at < info.size) {
		struct iovec iov;
		size_t octets;
		ok = at <= HEADER_MAX &&
		     body_read(view, key, at, BODY_CHUNK, &iov, 1, &octets) == 1;
		if (!ok)
			break;
		size_t part = header_part(iov.iov_base, iov.iov_len, &newlines, &ended);
		g_checksum_update(sum, iov.iov_base, (gssize)part);
		at += iov.iov_len;
	}
	digest_of(sum, digest_r);
	return ok;
}

unsigned
body_read(struct cache_view *view, uint64_t key, uint64_t offset, size_t len, struct iovec *iov,
          unsigned iov_max, size_t *octets_r)
{
	MDB_txn *txn = view_bodies(view);
	struct disk_info info;
	unsigned count = 0;
	*octets_r = 0;
	if (txn == NULL || !store_info_get(view_cache(view), txn, key, &info) ||
	    offset >= info.size)
		return 0;
	if (len > info.size - offset)
		len = (size_t)(info.size - offset);
	while (len > 0 && count < iov_max) {
		MDB_val value;
		size_t within = (size_t)(offset % BODY_CHUNK);
		if (!get_chunk(view_cache(view), txn, info.blob, (uint32_t)(offset / BODY_CHUNK),
		               &value) || value.mv_size <= within)
			break;
		size_t take = MIN(value.mv_size - within, len);
		iov[count].iov_base = (char *)value.mv_data + within;
		iov[count++].iov_len = take;
		*octets_r += take;
		offset += take;
		len -= take;
	}
	return count;
}

uint64_t
body_stored(struct cache *cache)
{
	struct body_counters counters = { 0 };
	struct cache_view *view = cache_view_begin(cache);
	MDB_txn *txn = view_bodies(view);
	if (txn == NULL || store_counters_get(cache, txn, &counters) != 0)
		counters.live = 0;
	cache_view_end(view);
	return counters.live;
}

/* --- writing --------------------------------------------------------------------------- */

struct body_write {
	uint64_t key, origin, size, from;
	const void *data;
	size_t len;
	uint32_t chunk;
	uint64_t blob;               /* to be sealed */
	unsigned char digest[DIGEST_LEN];
};

typedef int write_fn(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
                     const struct body_write *write_);

static int
start_body(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
           const struct body_write *write_, struct disk_info *info_r)
{
	int result = write_->size > cache->body_limit
	                     ? ENOBUFS
	                     : store_drop(cache, txn, counters, write_->key);
	if (result != 0)
		return result;
	*info_r = (struct disk_info){ .size = write_->size, .origin = write_->origin,
		                      .blob = ++counters->blob, .tick = ++counters->tick };
	result = store_lru(cache, txn, info_r->tick, write_->key, true);
	return result != 0 ? result : store_info_put(cache, txn, write_->key, info_r);
}

static int
put_chunk(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t body,
          struct disk_info *info, uint32_t chunk, const void *data, size_t len)
{
	unsigned char octets[12];
	int result = store_make_room(cache, txn, counters, body, store_cost(len));
	if (result != 0)
		return result;
	key_u64(octets, info->blob);
	key_u32(octets + 8, chunk);
	MDB_val key = VAL(octets, 12), value = VAL(NULL, len);
	result = mdb_put(txn, cache->body_data, &key, &value, MDB_RESERVE | MDB_NOOVERWRITE);
	if (result == MDB_KEYEXIST)
		return 0;
	if (result != 0)
		return result;
	memcpy(value.mv_data, data, len);
	info->chunks++;
	info->live += store_cost(len);
	counters->live += store_cost(len);
	return store_info_put(cache, txn, body, info);
}

static int
write_whole(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
            const struct body_write *write_)
{
	struct disk_info info = { .size = write_->size, .origin = write_->origin,
		                  .tick = ++counters->tick };
	int result = store_link(cache, txn, counters, write_->key, write_->digest, &info);
	if (result != ENOENT)
		return result;
	result = start_body(cache, txn, counters, write_, &info);
	for (size_t at = 0; result == 0 && at < write_->len; at += BODY_CHUNK)
		result = put_chunk(cache, txn, counters, write_->key, &info,
		                   (uint32_t)(at / BODY_CHUNK), (const char *)write_->data + at,
		                   MIN(write_->len - at, BODY_CHUNK));
	if (result == 0)
		result = store_seal(cache, txn, &info, write_->digest);
	return result != 0 ? result : store_info_put(cache, txn, write_->key, &info);
}

/* A body that came in chunks is complete: the same octets may be there already. */
static int
write_seal(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
           const struct body_write *write_)
{
	struct disk_info info, linked;
	if (!store_info_get(cache, txn, write_->key, &info) || info.blob != write_->blob ||
	    info.hashed != 0)
		return 0;
	linked = info;
	linked.tick = ++counters->tick;
	int result = store_link(cache, txn, counters, write_->key, write_->digest, &linked);
	if (result != ENOENT)
		return result;
	result = store_seal(cache, txn, &info, write_->digest);
	return result != 0 ? result : store_info_put(cache, txn, write_->key, &info);
}

static int
write_begin(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
            const struct body_write *write_)
{
	struct disk_info info;
	if (store_info_get(cache, txn, write_->key, &info) && info.size == write_->size &&
	    (info.origin == write_->origin || info.hashed != 0))
		return 0;
	return start_body(cache, txn, counters, write_, &info);
}

static int
write_chunk(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
            const struct body_write *write_)
{
	struct disk_info info;
	if (!store_info_get(cache, txn, write_->key, &info) ||
	    (info.origin != write_->origin && info.hashed == 0))
		return ENOENT;
	if (info.hashed != 0) /* it was completed meanwhile, perhaps shared */
		return write_->chunk < store_chunk_count(info.size) ? 0 : EINVAL;
	uint64_t start = (uint64_t)write_->chunk * BODY_CHUNK;
	if (start >= info.size || write_->len != MIN(info.size - start, BODY_CHUNK))
		return EINVAL;
	return put_chunk(cache, txn, counters, write_->key, &info, write_->chunk, write_->data,
	                 write_->len);
}

static int
write_adopt(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
            const struct body_write *write_)
{
	struct disk_info info;
	unsigned char digest[DIGEST_LEN];
	if (!store_info_get(cache, txn, write_->from, &info) || info.hashed == 0)
		return ENOENT;
	memcpy(digest, info.digest, DIGEST_LEN);
	info.tick = ++counters->tick;
	return store_link(cache, txn, counters, write_->key, digest, &info);
}

static int
write_drop(struct cache *cache, MDB_txn *txn, struct body_counters *counters,
           const struct body_write *write_)
{
	return store_drop(cache, txn, counters, write_->key);
}

static int
touch_all(struct cache *cache, MDB_txn *txn, struct body_counters *counters, GHashTable *touched)
{
	GHashTableIter iter;
	gpointer pointer;
	int result = 0;
	g_hash_table_iter_init(&iter, touched);
	while (result == 0 && g_hash_table_iter_next(&iter, &pointer, NULL)) {
		struct disk_info info;
		uint64_t key = (uint64_t)*(const gint64 *)pointer;
		if (!store_info_get(cache, txn, key, &info))
			continue;
		result = store_lru(cache, txn, info.tick, key, false);
		info.tick = ++counters->tick;
		if (result == 0)
			result = store_lru(cache, txn, info.tick, key, true);
		if (result == 0)
			result = store_info_put(cache, txn, key, &info);
	}
	return result;
}

static int
transact(struct cache *cache, write_fn *run, const struct body_write *write_, GHashTable *touched)
{
	struct body_counters counters;
	MDB_txn *txn;
	int result = mdb_txn_begin(cache->body_env, NULL, 0, &txn);
	if (result != 0)
		return result;
	result = store_counters_get(cache, txn, &counters);
	if (result == 0)
		result = run != NULL ? run(cache, txn, &counters, write_)
		                     : touch_all(cache, txn, &counters, touched);
	if (result == 0)
		result = store_counters_put(cache, txn, &counters);
	if (result == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return result;
}

/* Says once a minute that the store does not work. Returns false. */
static bool
complain(struct cache *cache, int result, struct fault *fault)
{
	const char *why = result == ENOBUFS ? "no room within cache_size" : mdb_strerror(result);
	if (env_may_complain(&cache->complained_ns))
		log_warn("a message could not be cached in %s: %s", cache->body_dir, why);
	return fault_set(fault, FAULT_CACHE, "the cache in %s: %s", cache->body_dir, why);
}

static bool
write_body(struct cache *cache, write_fn *run, const struct body_write *write_,
           struct fault *fault)
{
	if (cache->body_env == NULL)
		return fault_set(fault, FAULT_CACHE, "bodies are not cached");
	int result = transact(cache, run, write_, NULL);
	if ((result == MDB_MAP_FULL || result == ENOSPC || result == EDQUOT || result == EIO) &&
	    store_shrink(cache, MAX(2 * (uint64_t)write_->len, SHRINK_MIN)) == 0)
		result = transact(cache, run, write_, NULL);
	if (result == ENOENT)
		return fault_set(fault, FAULT_CACHE, "the body was dropped from the cache");
	if (result == EINVAL)
		return fault_set(fault, FAULT_INVALID, "the chunk is not of that body");
	return result == 0 || complain(cache, result, fault);
}

bool
body_put(struct cache *cache, uint64_t key, uint64_t origin, const void *data, size_t len,
         struct fault *fault)
{
	struct body_write write_ = { .key = key, .origin = origin, .size = len, .data = data,
		                     .len = len };
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_checksum_update(sum, data, (gssize)len);
	digest_of(sum, write_.digest);
	return write_body(cache, write_whole, &write_, fault);
}

bool
body_begin(struct cache *cache, uint64_t key, uint64_t origin, uint64_t size, struct fault *fault)
{
	const struct body_write write_ = { .key = key, .origin = origin, .size = size };
	return write_body(cache, write_begin, &write_, fault);
}

/* Hashes a body that is complete by now, without the write lock. */
static void
seal(struct cache *cache, uint64_t key)
{
	struct body_write write_ = { .key = key };
	struct disk_info info;
	struct cache_view *view = cache_view_begin(cache);
	MDB_txn *txn = view_bodies(view);
	bool complete = txn != NULL && store_info_get(cache, txn, key, &info) &&
	                info.hashed == 0 && info.chunks == store_chunk_count(info.size);
	if (complete) {
		GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
		for (uint64_t at = 0; complete && at < info.size; at += BODY_CHUNK) {
			struct iovec iov;
			size_t octets;
			complete = body_read(view, key, at, BODY_CHUNK, &iov, 1, &octets) == 1;
			if (complete)
				g_checksum_update(sum, iov.iov_base, (gssize)iov.iov_len);
		}
		write_.blob = info.blob;
		digest_of(sum, write_.digest);
	}
	cache_view_end(view);
	if (complete)
		write_body(cache, write_seal, &write_, NULL);
}

bool
body_put_chunk(struct cache *cache, uint64_t key, uint64_t origin, uint32_t chunk,
               const void *data, size_t len, struct fault *fault)
{
	const struct body_write write_ = { .key = key, .origin = origin, .data = data, .len = len,
		                           .chunk = chunk };
	if (!write_body(cache, write_chunk, &write_, fault))
		return false;
	seal(cache, key);
	return true;
}

bool
body_adopt(struct cache *cache, uint64_t key, uint64_t from, struct fault *fault)
{
	const struct body_write write_ = { .key = key, .from = from };
	return write_body(cache, write_adopt, &write_, fault);
}

void
body_drop(struct cache *cache, uint64_t key)
{
	const struct body_write write_ = { .key = key };
	if (cache->body_env != NULL)
		write_body(cache, write_drop, &write_, NULL);
}

/* --- use ------------------------------------------------------------------------------- */

void
body_pin(struct cache *cache, uint64_t key)
{
	pthread_mutex_lock(&cache->body_lock);
	guint count = GPOINTER_TO_UINT(g_hash_table_lookup(cache->pins, &key));
	g_hash_table_replace(cache->pins, env_new_key(key), GUINT_TO_POINTER(count + 1));
	pthread_mutex_unlock(&cache->body_lock);
}

void
body_unpin(struct cache *cache, uint64_t key)
{
	pthread_mutex_lock(&cache->body_lock);
	guint count = GPOINTER_TO_UINT(g_hash_table_lookup(cache->pins, &key));
	if (count <= 1)
		g_hash_table_remove(cache->pins, &key);
	else
		g_hash_table_replace(cache->pins, env_new_key(key), GUINT_TO_POINTER(count - 1));
	pthread_mutex_unlock(&cache->body_lock);
}

void
body_touch(struct cache *cache, uint64_t key)
{
	pthread_mutex_lock(&cache->body_lock);
	if (g_hash_table_size(cache->touched) < TOUCHED_MAX &&
	    !g_hash_table_contains(cache->touched, &key))
		g_hash_table_add(cache->touched, env_new_key(key));
	pthread_mutex_unlock(&cache->body_lock);
}

void
store_tend(struct cache *cache)
{
	if (cache->body_env == NULL)
		return;
	pthread_mutex_lock(&cache->body_lock);
	GHashTable *touched = cache->touched;
	bool any = g_hash_table_size(touched) > 0;
	if (any)
		cache->touched = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	pthread_mutex_unlock(&cache->body_lock);
	if (!any)
		return;
	int result = transact(cache, NULL, NULL, touched);
	if (result != 0)
		complain(cache, result, NULL);
	g_hash_table_destroy(touched);
}
