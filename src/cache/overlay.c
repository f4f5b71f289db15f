/* SPDX-License-Identifier: MIT */
/*
 * Hidden messages: see cache.h. An entry is needed until every snapshot that a
 * thread reads, or may begin to read, is of the transaction that recorded it or
 * a later one.
 */
#include "config.h"

#include "cache/env.h"

void
cache_hide(struct cache *cache, uint64_t ino)
{
	struct hidden_entry *entry = g_new0(struct hidden_entry, 1);
	entry->ino = ino;
	pthread_mutex_lock(&cache->hidden_lock);
	g_hash_table_replace(cache->hidden, &entry->ino, entry);
	atomic_store(&cache->hidden_count, g_hash_table_size(cache->hidden));
	pthread_mutex_unlock(&cache->hidden_lock);
}

void
cache_hide_recorded(struct cache_txn *txn, uint64_t ino)
{
	g_array_append_val(txn->hidden, ino);
}

void
cache_unhide(struct cache *cache, uint64_t ino)
{
	pthread_mutex_lock(&cache->hidden_lock);
	g_hash_table_remove(cache->hidden, &ino);
	atomic_store(&cache->hidden_count, g_hash_table_size(cache->hidden));
	pthread_mutex_unlock(&cache->hidden_lock);
}

bool
overlay_hidden(struct cache *cache, uint64_t ino)
{
	if (atomic_load_explicit(&cache->hidden_count, memory_order_relaxed) == 0)
		return false;
	pthread_mutex_lock(&cache->hidden_lock);
	bool hidden = g_hash_table_contains(cache->hidden, &ino);
	pthread_mutex_unlock(&cache->hidden_lock);
	return hidden;
}

void
overlay_committed(struct cache_txn *txn, uint64_t id)
{
	struct cache *cache = txn->cache;
	if (txn->hidden->len == 0)
		return;
	pthread_mutex_lock(&cache->hidden_lock);
	for (guint i = 0; i < txn->hidden->len; i++) {
		const uint64_t *ino = &g_array_index(txn->hidden, uint64_t, i);
		struct hidden_entry *entry = g_hash_table_lookup(cache->hidden, ino);
		if (entry != NULL)
			entry->recorded = id;
	}
	pthread_mutex_unlock(&cache->hidden_lock);
	g_array_set_size(txn->hidden, 0);
}

void
overlay_purge(struct cache *cache)
{
	if (atomic_load(&cache->hidden_count) == 0)
		return;
	GHashTableIter iter;
	gpointer value;
	uint64_t newest = 0;
	pthread_mutex_lock(&cache->hidden_lock);
	g_hash_table_iter_init(&iter, cache->hidden);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		newest = MAX(newest, ((const struct hidden_entry *)value)->recorded);
	/* All or none: who reads is done in no time, and then the next purge finds none. */
	if (newest != 0 && views_all_since(cache, newest)) {
		g_hash_table_iter_init(&iter, cache->hidden);
		while (g_hash_table_iter_next(&iter, NULL, &value))
			if (((const struct hidden_entry *)value)->recorded != 0)
				g_hash_table_iter_remove(&iter);
	}
	atomic_store(&cache->hidden_count, g_hash_table_size(cache->hidden));
	pthread_mutex_unlock(&cache->hidden_lock);
}
