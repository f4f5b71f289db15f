/* SPDX-License-Identifier: MIT */
/*
 * Views: see cache.h. A thread keeps its read transactions (and their slots in
 * LMDB's reader table) until it ends or the cache is closed.
 */
#include "config.h"

#include <assert.h>

#include "base/log.h"
#include "cache/env.h"

/* Guards every cache's `views` and the ends of views. */
static pthread_mutex_t views_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static _Thread_local struct cache_view *my_views;
static atomic_llong complained_ns;

static void
close_txns(struct cache_view *view)
{
	if (view->messages != NULL)
		mdb_cursor_close(view->messages);
	if (view->uids != NULL)
		mdb_cursor_close(view->uids);
	if (view->kept != NULL)
		mdb_txn_abort(view->kept);
	if (view->bodies_kept != NULL)
		mdb_txn_abort(view->bodies_kept);
	view->messages = view->uids = NULL;
	view->kept = view->bodies_kept = view->txn = view->bodies = NULL;
}

static void
thread_ends(void *data)
{
	struct cache_view *view = data;
	while (view != NULL) {
		struct cache_view *next = view->next_mine;
		pthread_mutex_lock(&views_lock);
		struct cache *cache = atomic_load(&view->cache);
		if (cache != NULL) {
			g_ptr_array_remove_fast(cache->views, view);
			close_txns(view);
		}
		pthread_mutex_unlock(&views_lock);
		g_free(view);
		view = next;
	}
	my_views = NULL;
}

static void
make_exit_key(void)
{
	if (pthread_key_create(&exit_key, thread_ends) != 0)
		log_warn("threads that end keep their place in the cache");
}

/* Views of closed caches go when their thread asks for a new one. */
static struct cache_view *
view_new(struct cache *cache)
{
	for (struct cache_view **link = &my_views; *link != NULL;) {
		struct cache_view *view = *link;
		if (atomic_load(&view->cache) == NULL) {
			*link = view->next_mine;
			g_free(view);
		} else {
			link = &view->next_mine;
		}
	}
	struct cache_view *view = g_new0(struct cache_view, 1);
	atomic_init(&view->cache, cache);
	view->next_mine = my_views;
	my_views = view;
	pthread_once(&exit_once, make_exit_key);
	pthread_setspecific(exit_key, my_views);
	pthread_mutex_lock(&views_lock);
	g_ptr_array_add(cache->views, view);
	pthread_mutex_unlock(&views_lock);
	return view;
}

void
views_close(struct cache *cache)
{
	pthread_mutex_lock(&views_lock);
	for (guint i = 0; i < cache->views->len; i++) {
		struct cache_view *view = g_ptr_array_index(cache->views, i);
		close_txns(view);
		atomic_store(&view->cache, NULL);
	}
	g_ptr_array_set_size(cache->views, 0);
	pthread_mutex_unlock(&views_lock);
}

bool
views_all_since(struct cache *cache, uint64_t txn)
{
	bool all = true;
	/* Pairs with the one in cache_view_begin(): either we see that a view begins, or that view
	 * sees what is committed. */
	atomic_thread_fence(memory_order_seq_cst);
	pthread_mutex_lock(&views_lock);
	for (guint i = 0; all && i < cache->views->len; i++) {
		struct cache_view *view = g_ptr_array_index(cache->views, i);
		unsigned long long snapshot = atomic_load(&view->snapshot);
		all = snapshot == 0 || snapshot >= txn;
	}
	pthread_mutex_unlock(&views_lock);
	return all;
}

static int
begin_index(struct cache *cache, struct cache_view *view)
{
	if (view->kept != NULL)
		return mdb_txn_renew(view->kept);
	int result = mdb_txn_begin(cache->env, NULL, MDB_RDONLY, &view->kept);
	int dead;
	if (result == MDB_READERS_FULL && mdb_reader_check(cache->env, &dead) == 0)
		result = mdb_txn_begin(cache->env, NULL, MDB_RDONLY, &view->kept);
	return result;
}

struct cache_view *
cache_view_begin(struct cache *cache)
{
	struct cache_view *view = my_views;
	while (view != NULL && atomic_load_explicit(&view->cache, memory_order_relaxed) != cache)
		view = view->next_mine;
	if (view == NULL)
		view = view_new(cache);
	if (view->depth++ > 0)
		return view;
	atomic_store(&view->snapshot, 1);
	atomic_thread_fence(memory_order_seq_cst);
	int result = begin_index(cache, view);
	view->txn = result == 0 ? view->kept : NULL;
	if (result == 0)
		atomic_store_explicit(&view->snapshot, mdb_txn_id(view->kept),
		                      memory_order_release);
	else if (env_may_complain(&complained_ns))
		log_error("the index can't be read: %s", mdb_strerror(result));
	return view;
}

void
cache_view_end(struct cache_view *view)
{
	assert(view->depth > 0 && !view->own);
	if (--view->depth > 0)
		return;
	if (view->txn != NULL)
		mdb_txn_reset(view->txn);
	if (view->bodies != NULL)
		mdb_txn_reset(view->bodies);
	view->txn = view->bodies = NULL;
	view->scanning = NULL;
	view->uids_live = false;
	atomic_store_explicit(&view->snapshot, 0, memory_order_release);
}

MDB_txn *
view_bodies(struct cache_view *view)
{
	struct cache *cache = atomic_load_explicit(&view->cache, memory_order_relaxed);
	if (view->bodies != NULL || cache->body_env == NULL || view->own)
		return view->bodies;
	int result = view->bodies_kept != NULL
	                     ? mdb_txn_renew(view->bodies_kept)
	                     : mdb_txn_begin(cache->body_env, NULL, MDB_RDONLY,
	                                     &view->bodies_kept);
	if (result == 0)
		view->bodies = view->bodies_kept;
	else if (env_may_complain(&complained_ns))
		log_error("the cached bodies can't be read: %s", mdb_strerror(result));
	return view->bodies;
}

void
view_drop_cursors(struct cache_view *view)
{
	if (view->messages != NULL)
		mdb_cursor_close(view->messages);
	if (view->uids != NULL)
		mdb_cursor_close(view->uids);
	view->messages = view->uids = NULL;
	view->scanning = NULL;
	view->uids_live = false;
}
