/* SPDX-License-Identifier: MIT */
/*
 * The file of the bodies: opening it, deciding whether to believe it, and making
 * room in it.
 *
 *     meta  "format"    FORMAT
 *           "uuid"      of the index that the keys belong to
 *           "index"     number of that index's last transaction, at opening and closing
 *           "counters"  struct body_counters
 *     info  key         struct disk_info
 *     data  blob, no.   a chunk; a blob is one fetch of one body
 *     lru   tick, key   -
 *     refs  blob        how many keys have it, if more than one
 *     digest SHA-256    struct disk_digest: the blob of those octets
 *
 * It is written without waiting for the disk, so after a power cut it may be
 * damaged: a file beside it, `bodies.state`, tells under which boot of the
 * machine it is in use, or that it was closed cleanly.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/env.h"

#define FORMAT       2u
#define MAP_SIZE_MAX ((uint64_t)1 << 40)
#define COMPACT_MIN  ((uint64_t)64 << 20)
#define EVICT_MAX    4096 /* bodies in one transaction */
#define STATE_LEN    64

uint32_t
store_chunk_count(uint64_t size)
{
	return (uint32_t)((size + BODY_CHUNK - 1) / BODY_CHUNK);
}

/* Values of about half a page and more get pages of their own, with a header of 16 octets. */
uint64_t
store_cost(size_t len)
{
	return len <= 2018 ? len + 32 : (len + 16 + 4095) / 4096 * 4096;
}

/* --- the state file -------------------------------------------------------------------- */

/* Fixed length and in place, so that it can be said on a full disk too. */
static bool
write_state(const char *dir, const char *state)
{
	char text[STATE_LEN + 1] = { 0 };
	char *path = g_build_filename(dir, "bodies.state", NULL);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	g_strlcpy(text, state, sizeof text);
	bool ok = fd >= 0 && pwrite(fd, text, STATE_LEN, 0) == STATE_LEN && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	/* None is not believed either. */
	if (!ok)
		ok = unlink(path) == 0 || errno == ENOENT;
	g_free(path);
	return ok;
}

static bool
read_file(const char *path, char text_r[STATE_LEN + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t len = read(fd, text_r, STATE_LEN);
	close(fd);
	text_r[MAX(len, 0)] = '\0';
	g_strchomp(text_r);
	return len > 0;
}

static bool
believable(const char *dir, const char *boot_id)
{
	char state[STATE_LEN + 1];
	char *path = g_build_filename(dir, "bodies.state", NULL);
	bool known = read_file(path, state);
	g_free(path);
	return known && (strcmp(state, "clean") == 0 || strcmp(state, boot_id) == 0);
}

/* --- opening --------------------------------------------------------------------------- */

static bool
remove_store(const char *path)
{
	char *lock = g_strconcat(path, "-lock", NULL);
	bool ok = (unlink(path) == 0 || errno == ENOENT) &&
	          (unlink(lock) == 0 || errno == ENOENT);
	g_free(lock);
	return ok;
}

static uint64_t
last_index_txn(const struct cache *cache)
{
	MDB_envinfo info;
	return mdb_env_info(cache->env, &info) == 0 ? info.me_last_txnid : 0;
}

/* The tables, empty if the store is new. MDB_INVALID: it belongs to another index, or to a later
 * state of this one (which was restored from a backup): the keys, inode numbers, may mean other
 * messages. */
static int
open_tables(struct cache *cache, MDB_txn *txn)
{
	char uuid[36];
	uint64_t seen = 0, format = FORMAT, present = last_index_txn(cache);
	struct body_counters counters = { 0 };
	int result;
	if ((result = mdb_dbi_open(txn, "meta", MDB_CREATE, &cache->body_meta)) != 0 ||
	    (result = mdb_dbi_open(txn, "info", MDB_CREATE, &cache->body_info)) != 0 ||
	    (result = mdb_dbi_open(txn, "data", MDB_CREATE, &cache->body_data)) != 0 ||
	    (result = mdb_dbi_open(txn, "lru", MDB_CREATE, &cache->body_lru)) != 0 ||
	    (result = mdb_dbi_open(txn, "refs", MDB_CREATE, &cache->body_refs)) != 0 ||
	    (result = mdb_dbi_open(txn, "digest", MDB_CREATE, &cache->body_digest)) != 0)
		return result;
	result = env_meta_get(txn, cache->body_meta, "uuid", uuid, sizeof uuid);
	if (result == MDB_NOTFOUND) {
		result = env_meta_put(txn, cache->body_meta, "uuid", cache->uuid, sizeof uuid);
		if (result == 0)
			result = env_meta_put(txn, cache->body_meta, "format", &format,
			                      sizeof format);
		if (result == 0)
			result = store_counters_put(cache, txn, &counters);
	} else if (result == 0 && memcmp(uuid, cache->uuid, sizeof uuid) != 0) {
		result = MDB_INVALID;
	} else if (result == 0) {
		result = env_meta_get(txn, cache->body_meta, "format", &format, sizeof format);
		if (result == 0)
			result = env_meta_get(txn, cache->body_meta, "index", &seen, sizeof seen);
		if (result == 0 && (format != FORMAT || seen > present))
			result = MDB_INVALID;
		if (result == 0)
			result = store_counters_get(cache, txn, &counters);
	}
	return result != 0 ? result
	                   : env_meta_put(txn, cache->body_meta, "index", &present, sizeof present);
}

/* Room for what is kept, three times over for what is free but can't be used again yet. */
static size_t
map_size(const struct cache *cache)
{
	uint64_t limit = MIN(cache->body_limit, MAP_SIZE_MAX / 4);
	return (size_t)(limit * 3 + ((uint64_t)1 << 30));
}

static int
try_store(struct cache *cache, const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	int result = env_open_file(path, MDB_NOSYNC | MDB_NORDAHEAD, map_size(cache), &env);
	if (result != 0)
		return result;
	if (!env_is_whole(env, path))
		result = MDB_CORRUPTED;
	if (result == 0 && (result = mdb_txn_begin(env, NULL, 0, &txn)) == 0) {
		result = open_tables(cache, txn);
		if (result != 0)
			mdb_txn_abort(txn);
		else
			result = mdb_txn_commit(txn);
	}
	if (result == 0)
		cache->body_env = env;
	else
		mdb_env_close(env);
	return result;
}

/* Copies the file without its free pages if these are more than half of it. */
static void
compact(struct cache *cache, const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	struct body_counters counters = { 0 };
	struct stat file;
	if (lstat(path, &file) != 0 || (uint64_t)file.st_size < COMPACT_MIN ||
	    env_open_file(path, MDB_NOSYNC | MDB_RDONLY, map_size(cache), &env) != 0)
		return;
	bool known = env_is_whole(env, path) && mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0;
	if (known) {
		known = mdb_dbi_open(txn, "meta", 0, &cache->body_meta) == 0 &&
		        store_counters_get(cache, txn, &counters) == 0;
		mdb_txn_abort(txn);
	}
	char *copy = g_strconcat(path, ".new", NULL);
	unlink(copy);
	bool worth = known && counters.live < (uint64_t)file.st_size / 2;
	bool copied = worth && mdb_env_copy2(env, copy, MDB_CP_COMPACT) == 0 &&
	              chmod(copy, 0600) == 0;
	mdb_env_close(env);
	if (copied && rename(copy, path) == 0)
		log_debug("%s: compacted from %lld octets", path, (long long)file.st_size);
	else
		unlink(copy);
	g_free(copy);
}

void
store_open(struct cache *cache, const char *dir, uint64_t limit)
{
	char boot_id[STATE_LEN + 1] = "unknown";
	char *path = g_build_filename(dir, "bodies.mdb", NULL);
	cache->body_dir = g_strdup(dir);
	cache->body_limit = limit;
	read_file("/proc/sys/kernel/random/boot_id", boot_id);
	int result = g_mkdir_with_parents(dir, 0700) == 0 ? 0 : errno;
	if (result == 0) {
		env_warn_if_remote(dir);
		if (!believable(dir, boot_id) && !remove_store(path))
			result = errno;
		else if (!write_state(dir, boot_id))
			result = EIO;
	}
	if (result == 0) {
		compact(cache, path);
		result = try_store(cache, path);
		/* LMDB's own results are negative: it is damaged, or another index's. */
		if (result < 0 && result != MDB_MAP_FULL && remove_store(path))
			result = try_store(cache, path);
	}
	if (result != 0)
		log_warn("%s: %s; bodies of messages are not cached", path, mdb_strerror(result));
	g_free(path);
}

void
store_close(struct cache *cache)
{
	MDB_txn *txn;
	if (cache->body_env == NULL)
		return;
	store_tend(cache);
	uint64_t present = last_index_txn(cache);
	if (mdb_txn_begin(cache->body_env, NULL, 0, &txn) == 0) {
		if (env_meta_put(txn, cache->body_meta, "index", &present, sizeof present) == 0)
			mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	bool synced = mdb_env_sync(cache->body_env, 1) == 0;
	mdb_env_close(cache->body_env);
	cache->body_env = NULL;
	if (synced)
		write_state(cache->body_dir, "clean");
}

/* --- rows ------------------------------------------------------------------------------ */

int
store_counters_get(struct cache *cache, MDB_txn *txn, struct body_counters *counters_r)
{
	return env_meta_get(txn, cache->body_meta, "counters", counters_r, sizeof *counters_r);
}

int
store_counters_put(struct cache *cache, MDB_txn *txn, const struct body_counters *counters)
{
	struct body_counters copy = *counters;
	return env_meta_put(txn, cache->body_meta, "counters", &copy, sizeof copy);
}

bool
store_info_get(struct cache *cache, MDB_txn *txn, uint64_t key, struct disk_info *info_r)
{
	unsigned char octets[8];
	key_u64(octets, key);
	MDB_val mdb_key = VAL(octets, 8), value;
	if (mdb_get(txn, cache->body_info, &mdb_key, &value) != 0 ||
	    value.mv_size != sizeof *info_r)
		return false;
	memcpy(info_r, value.mv_data, sizeof *info_r);
	return true;
}

int
store_info_put(struct cache *cache, MDB_txn *txn, uint64_t key, const struct disk_info *info)
{
	unsigned char octets[8];
	struct disk_info copy = *info;
	key_u64(octets, key);
	MDB_val mdb_key = VAL(octets, 8), value = VAL(&copy, sizeof copy);
	return mdb_put(txn, cache->body_info, &mdb_key, &value, 0);
}

int
store_lru(struct cache *cache, MDB_txn *txn, uint64_t tick, uint64_t key, bool there)
{
	unsigned char octets[16];
	key_u64(octets, tick);
	key_u64(octets + 8, key);
	MDB_val mdb_key = VAL(octets, 16), value = VAL(octets, 0);
	int result = there ? mdb_put(txn, cache->body_lru, &mdb_key, &value, 0)
	                   : mdb_del(txn, cache->body_lru, &mdb_key, NULL);
	return result == MDB_NOTFOUND ? 0 : result;
}

/* --- making room ----------------------------------------------------------------------- */

static int
drop_chunks(struct cache *cache, MDB_txn *txn, uint64_t blob)
{
	unsigned char from[12];
	MDB_cursor *cursor;
	int result = mdb_cursor_open(txn, cache->body_data, &cursor);
	while (result == 0) {
		key_u64(from, blob);
		key_u32(from + 8, 0);
		MDB_val key = VAL(from, 12), value;
		result = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (result != 0 || key.mv_size != 12 || memcmp(key.mv_data, from, 8) != 0) {
			mdb_cursor_close(cursor);
			return result == MDB_NOTFOUND ? 0 : result;
		}
		result = mdb_cursor_del(cursor, 0);
		if (result != 0)
			mdb_cursor_close(cursor);
	}
	return result;
}

/* --- sharing --------------------------------------------------------------------------- */

struct disk_digest {
	uint64_t blob, size, live, chunks;
};

static uint64_t
refs_get(struct cache *cache, MDB_txn *txn, uint64_t blob)
{
	unsigned char octets[8];
	uint64_t refs = 1;
	key_u64(octets, blob);
	MDB_val key = VAL(octets, 8), value;
	if (mdb_get(txn, cache->body_refs, &key, &value) == 0 && value.mv_size == sizeof refs)
		memcpy(&refs, value.mv_data, sizeof refs);
	return refs;
}

static int
refs_put(struct cache *cache, MDB_txn *txn, uint64_t blob, uint64_t refs)
{
	unsigned char octets[8];
	key_u64(octets, blob);
	MDB_val key = VAL(octets, 8), value = VAL(&refs, sizeof refs);
	int result = refs > 1 ? mdb_put(txn, cache->body_refs, &key, &value, 0)
	                      : mdb_del(txn, cache->body_refs, &key, NULL);
	return result == MDB_NOTFOUND ? 0 : result;
}

static bool
digest_get(struct cache *cache, MDB_txn *txn, const unsigned char digest[DIGEST_LEN],
           struct disk_digest *row_r)
{
	unsigned char octets[DIGEST_LEN];
	memcpy(octets, digest, DIGEST_LEN);
	MDB_val key = VAL(octets, DIGEST_LEN), value;
	if (mdb_get(txn, cache->body_digest, &key, &value) != 0 || value.mv_size != sizeof *row_r)
		return false;
	memcpy(row_r, value.mv_data, sizeof *row_r);
	return true;
}

static int
digest_del(struct cache *cache, MDB_txn *txn, const struct disk_info *info)
{
	struct disk_digest row;
	unsigned char octets[DIGEST_LEN];
	if (info->hashed == 0 || !digest_get(cache, txn, info->digest, &row) ||
	    row.blob != info->blob)
		return 0;
	memcpy(octets, info->digest, DIGEST_LEN);
	MDB_val key = VAL(octets, DIGEST_LEN);
	return mdb_del(txn, cache->body_digest, &key, NULL);
}

int
store_seal(struct cache *cache, MDB_txn *txn, struct disk_info *info,
           const unsigned char digest[DIGEST_LEN])
{
	struct disk_digest row = { info->blob, info->size, info->live, info->chunks };
	unsigned char octets[DIGEST_LEN];
	memcpy(octets, digest, DIGEST_LEN);
	memcpy(info->digest, digest, DIGEST_LEN);
	info->hashed = 1;
	MDB_val key = VAL(octets, DIGEST_LEN), value = VAL(&row, sizeof row);
	return mdb_put(txn, cache->body_digest, &key, &value, 0);
}

int
store_link(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t key,
           const unsigned char digest[DIGEST_LEN], struct disk_info *info)
{
	struct disk_digest row;
	if (!digest_get(cache, txn, digest, &row) || row.size != info->size)
		return ENOENT;
	/* First, lest dropping what the key had takes the blob away. */
	int result = refs_put(cache, txn, row.blob, refs_get(cache, txn, row.blob) + 1);
	if (result == 0)
		result = store_drop(cache, txn, counters, key);
	info->blob = row.blob;
	info->live = row.live;
	info->chunks = row.chunks;
	info->hashed = 1;
	memcpy(info->digest, digest, DIGEST_LEN);
	if (result == 0)
		result = store_lru(cache, txn, info->tick, key, true);
	return result != 0 ? result : store_info_put(cache, txn, key, info);
}

int
store_drop(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t key)
{
	struct disk_info info;
	unsigned char octets[8];
	int result;
	if (!store_info_get(cache, txn, key, &info))
		return 0;
	uint64_t refs = refs_get(cache, txn, info.blob);
	if (refs > 1) {
		result = refs_put(cache, txn, info.blob, refs - 1);
	} else {
		result = drop_chunks(cache, txn, info.blob);
		if (result == 0)
			result = digest_del(cache, txn, &info);
		counters->live -= MIN(info.live, counters->live);
	}
	key_u64(octets, key);
	MDB_val mdb_key = VAL(octets, 8);
	if (result == 0)
		result = mdb_del(txn, cache->body_info, &mdb_key, NULL);
	if (result == 0)
		result = store_lru(cache, txn, info.tick, key, false);
	return result;
}

/* The least recently used body that may go. What was read since the last tending only goes when
 * there is nothing else. */
static int
find_victim(struct cache *cache, MDB_txn *txn, uint64_t keep, bool touched_too, uint64_t *key_r)
{
	MDB_cursor *cursor;
	MDB_val mdb_key, value;
	bool found = false;
	int result = mdb_cursor_open(txn, cache->body_lru, &cursor);
	if (result != 0)
		return result;
	pthread_mutex_lock(&cache->body_lock);
	while (!found && (result = mdb_cursor_get(cursor, &mdb_key, &value, MDB_NEXT)) == 0) {
		*key_r = key_get_u64((const unsigned char *)mdb_key.mv_data + 8);
		found = *key_r != keep && !g_hash_table_contains(cache->pins, key_r) &&
		        (touched_too || !g_hash_table_contains(cache->touched, key_r));
	}
	pthread_mutex_unlock(&cache->body_lock);
	mdb_cursor_close(cursor);
	return result;
}

int
store_make_room(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t keep,
                uint64_t need)
{
	uint64_t victim;
	if (need > cache->body_limit)
		return ENOBUFS;
	for (int i = 0; counters->live > cache->body_limit - need; i++) {
		if (i == EVICT_MAX)
			return ENOBUFS;
		int result = find_victim(cache, txn, keep, false, &victim);
		if (result == MDB_NOTFOUND)
			result = find_victim(cache, txn, keep, true, &victim);
		if (result != 0)
			return result == MDB_NOTFOUND ? ENOBUFS : result;
		if ((result = store_drop(cache, txn, counters, victim)) != 0)
			return result;
	}
	return 0;
}

/* Evicts at least that many octets, if there are so many. */
static int
evict(struct cache *cache, MDB_txn *txn, struct body_counters *counters, uint64_t octets)
{
	uint64_t goal = counters->live - MIN(counters->live, octets), victim;
	int result = 0;
	while (result == 0 && counters->live > goal) {
		result = find_victim(cache, txn, 0, true, &victim);
		if (result == 0)
			result = store_drop(cache, txn, counters, victim);
	}
	return result == MDB_NOTFOUND ? 0 : result;
}

/* Pages that are freed in one transaction are used again from the next but one on: so there are
 * two. */
int
store_shrink(struct cache *cache, uint64_t octets)
{
	struct body_counters counters;
	MDB_txn *txn;
	int result = 0;
	for (int round = 0; round < 2 && result == 0; round++) {
		if ((result = mdb_txn_begin(cache->body_env, NULL, 0, &txn)) != 0)
			return result;
		result = store_counters_get(cache, txn, &counters);
		if (result == 0 && round == 0)
			result = evict(cache, txn, &counters, octets);
		if (result == 0)
			result = store_counters_put(cache, txn, &counters);
		if (result == 0)
			result = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	return result;
}
