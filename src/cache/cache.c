/* SPDX-License-Identifier: MIT */
/* Opening and closing the cache: see cache.h. */
#include "config.h"

#include "cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/env.h"

/* Address space, not memory: the file grows with what is in it. */
#define INDEX_MAP_SIZE ((size_t)256 << 30)

static bool
lock_dir(struct cache *cache, const char *dir, struct fault *fault)
{
	char *path = g_build_filename(dir, "lock", NULL);
	char pid[32] = { 0 };
	bool ok = true;
	cache->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (cache->lock_fd < 0) {
		ok = fault_set(fault, FAULT_CACHE,
		               "the cache can't be written: %s: %s; name another with -o cache=DIR",
		               path, strerror(errno));
	} else if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		if (pread(cache->lock_fd, pid, sizeof pid - 1, 0) <= 0)
			g_strlcpy(pid, "(unknown)", sizeof pid);
		ok = fault_set(fault, FAULT_BUSY,
		               "the cache %s is in use by process %s: this account is mounted "
		               "already; unmount that, or name another cache with -o cache=DIR",
		               dir, g_strchomp(pid));
	} else {
		int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
		if (ftruncate(cache->lock_fd, 0) != 0 ||
		    pwrite(cache->lock_fd, pid, (size_t)len, 0) < 0)
			log_debug("the pid could not be written to %s", path);
	}
	g_free(path);
	return ok;
}

static bool
is_damaged(int result)
{
	return result == MDB_INVALID || result == MDB_VERSION_MISMATCH ||
	       result == MDB_CORRUPTED || result == MDB_PANIC || result == MDB_PAGE_NOTFOUND ||
	       result == MDB_INCOMPATIBLE;
}

static int
open_index_file(struct cache *cache, const char *path, struct fault *fault)
{
	int result = env_open_file(path, 0, INDEX_MAP_SIZE, &cache->env);
	if (result != 0) {
		env_fault(fault, result, path);
		return result;
	}
	if (!env_is_whole(cache->env, path)) {
		result = MDB_CORRUPTED;
		env_fault(fault, result, path);
	} else {
		result = index_open_tables(cache, fault);
	}
	if (result != 0) {
		mdb_env_close(cache->env);
		cache->env = NULL;
	}
	return result;
}

static bool
open_index(struct cache *cache, const char *dir, struct fault *fault)
{
	char *path = g_build_filename(dir, "index.mdb", NULL);
	int result = open_index_file(cache, path, fault);
	if (is_damaged(result)) {
		char *bad = g_strconcat(path, ".bad", NULL);
		log_warn("the index %s can't be read (%s); it is set aside as %s and made anew",
		         path, mdb_strerror(result), bad);
		if (rename(path, bad) == 0)
			result = open_index_file(cache, path, fault);
		g_free(bad);
	}
	g_free(path);
	return result == 0;
}

static struct cache *
cache_new(void)
{
	struct cache *cache = g_new0(struct cache, 1);
	pthread_condattr_t monotonic;
	cache->lock_fd = -1;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&cache->queue_lock, NULL);
	pthread_cond_init(&cache->queue_cond, &monotonic);
	pthread_cond_init(&cache->room_cond, NULL);
	pthread_condattr_destroy(&monotonic);
	g_queue_init(&cache->queue);
	pthread_mutex_init(&cache->hidden_lock, NULL);
	pthread_mutex_init(&cache->body_lock, NULL);
	cache->views = g_ptr_array_new();
	cache->hidden = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	cache->pins = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	cache->touched = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	return cache;
}

void
cache_close(struct cache **cache)
{
	struct cache *c = *cache;
	if (c == NULL)
		return;
	writer_stop(c);
	views_close(c);
	store_close(c);
	if (c->env != NULL)
		mdb_env_close(c->env);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	g_hash_table_destroy(c->hidden);
	g_hash_table_destroy(c->pins);
	g_hash_table_destroy(c->touched);
	g_ptr_array_free(c->views, TRUE);
	g_free(c->body_dir);
	pthread_mutex_destroy(&c->queue_lock);
	pthread_cond_destroy(&c->queue_cond);
	pthread_cond_destroy(&c->room_cond);
	pthread_mutex_destroy(&c->hidden_lock);
	pthread_mutex_destroy(&c->body_lock);
	g_free(c);
	*cache = NULL;
}

bool
cache_open(const struct cache_config *config, struct cache **cache_r, struct fault *fault)
{
	struct cache *cache = cache_new();
	bool ok = true;
	if (g_mkdir_with_parents(config->state_dir, 0700) != 0)
		ok = fault_set(fault, FAULT_CACHE,
		               "the cache's directory %s can't be made: %s; name another with "
		               "-o cache=DIR", config->state_dir, strerror(errno));
	if (ok) {
		env_warn_if_remote(config->state_dir);
		ok = lock_dir(cache, config->state_dir, fault) &&
		     open_index(cache, config->state_dir, fault);
	}
	if (ok) {
		store_open(cache, config->body_dir, config->body_limit);
		ok = writer_start(cache, fault);
	}
	if (ok)
		*cache_r = cache;
	else
		cache_close(&cache);
	return ok;
}
