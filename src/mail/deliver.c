/* SPDX-License-Identifier: MIT */
/*
 * What has come of a message: into the cache, and to those who wait for it. See
 * fetch.h.
 */
#include "config.h"

#include <string.h>

#include "mail/fetch.h"

/* --- waits -------------------------------------------------------------------------------- */

void
fetch_wait_clear(struct fetch_wait *wait)
{
	if (wait->data != NULL)
		g_byte_array_free(wait->data, TRUE);
	wait->data = NULL;
}

void
fetch_wait_release(gpointer data)
{
	wait_unref(data);
}

void
ending_run(struct ending *ending, const struct fault *fault)
{
	for (guint i = 0; i < ending->waits->len; i++)
		wait_end(g_ptr_array_index(ending->waits, i), fault);
	g_ptr_array_free(ending->waits, TRUE);
}

void
ending_init(struct ending *ending)
{
	ending->waits = g_ptr_array_new_with_free_func(fetch_wait_release);
}

void
fetch_end_later(struct fetch *fetch, guint i, struct ending *ending)
{
	struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
	g_ptr_array_add(ending->waits, wait_ref(&wait->wait));
	g_ptr_array_remove_index_fast(fetch->waits, i);
}

void
fetch_end_all(struct fetch *fetch, struct ending *ending)
{
	while (fetch->waits->len > 0)
		fetch_end_later(fetch, fetch->waits->len - 1, ending);
}

uint32_t
fetch_first_chunk(const struct fetch_wait *wait)
{
	return (uint32_t)(wait->offset / BODY_CHUNK);
}

uint32_t
fetch_end_chunk(const struct fetch_wait *wait, uint64_t size)
{
	uint64_t end = MIN(wait->offset + wait->length, size);
	return (uint32_t)((end + BODY_CHUNK - 1) / BODY_CHUNK);
}

/* The octets that a READ gets of a message of that size. */
static size_t
wanted(const struct fetch_wait *wait, uint64_t size)
{
	uint64_t end = MIN(wait->offset + wait->length, size);
	return end > wait->offset ? (size_t)(end - wait->offset) : 0;
}

/* What a READ has of the message is of no use if that had another size then. */
static void
forget_other_size(struct fetch_wait *wait, uint64_t size)
{
	if (wait->data == NULL || wait->data->len == wanted(wait, size))
		return;
	fetch_wait_clear(wait);
	wait->filled[0] = 0;
}

/* Copies what a chunk has for a READ, once. The READ is for at most 64 chunks (16 MiB). */
static void
offer(struct fetch_wait *wait, uint64_t size, uint32_t chunk, const unsigned char *data, size_t len)
{
	uint64_t start = (uint64_t)chunk * BODY_CHUNK;
	uint64_t end = wait->offset + wanted(wait, size);
	forget_other_size(wait, size);
	if (end == wait->offset || chunk < fetch_first_chunk(wait) ||
	    chunk >= fetch_end_chunk(wait, size) ||
	    (wait->filled[0] >> (chunk - fetch_first_chunk(wait)) & 1) != 0)
		return;
	if (wait->data == NULL) {
		wait->data = g_byte_array_new();
		g_byte_array_set_size(wait->data, (guint)(end - wait->offset));
	}
	uint64_t from = MAX(start, wait->offset), to = MIN(start + len, end);
	memcpy(wait->data->data + (from - wait->offset), data + (from - start), to - from);
	wait->filled[0] |= UINT64_C(1) << (chunk - fetch_first_chunk(wait));
}

static bool
is_filled(const struct fetch_wait *wait, uint64_t size)
{
	uint32_t count = fetch_end_chunk(wait, size) - fetch_first_chunk(wait);
	return count >= 64 ? wait->filled[0] == UINT64_MAX
	                   : wait->filled[0] == (UINT64_C(1) << count) - 1;
}

void
fetch_fill(struct account *account, const struct fetch *fetch, struct fetch_wait *wait)
{
	struct cache_view *view = cache_view_begin(account->cache);
	struct body_info info;
	bool usable = body_info_get(view, fetch->key, &info) && info.size == fetch->size &&
	              (info.complete || info.origin == fetch_origin(fetch));
	uint32_t end = fetch_end_chunk(wait, fetch->size);
	for (uint32_t chunk = fetch_first_chunk(wait); usable && chunk < end; chunk++) {
		struct iovec iov;
		size_t octets;
		if (body_read(view, fetch->key, (uint64_t)chunk * BODY_CHUNK, BODY_CHUNK, &iov, 1,
		              &octets) == 1)
			offer(wait, fetch->size, chunk, iov.iov_base, iov.iov_len);
	}
	cache_view_end(view);
}

void
fetch_end_fulfilled(struct fetch *fetch, bool opens, struct ending *ending)
{
	for (guint i = fetch->waits->len; i > 0; i--) {
		struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i - 1);
		wait->size = fetch->size;
		if (atomic_load(&wait->wait.claimed)) {
			g_ptr_array_remove_index_fast(fetch->waits, i - 1);
			continue;
		}
		if (wait->length == 0) {
			wait->key = fetch->key;
			if (opens)
				fetch_end_later(fetch, i - 1, ending);
			continue;
		}
		forget_other_size(wait, fetch->size);
		if (wait->offset >= fetch->size || is_filled(wait, fetch->size)) {
			if (wait->data == NULL)
				wait->data = g_byte_array_new();
			fetch_end_later(fetch, i - 1, ending);
		}
	}
}

/* --- what has come ------------------------------------------------------------------------ */

struct size_task {
	struct account *account;
	uint64_t ino, key, size, dir_ino;
	bool changed;
};

static bool
size_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct size_task *task = data;
	struct message_record record;
	struct mailbox_record mailbox;
	uint32_t id;
	task->changed = false;
	/* Another message may have the inode by now. */
	if (!cache_message_by_ino(cache_txn_view(txn), task->ino, &id, &record) ||
	    message_body_key(&record) != task->key)
		return true;
	if (cache_mailbox_get(cache_txn_view(txn), id, &mailbox))
		task->dir_ino = mailbox.ino;
	task->changed = record.size != task->size;
	record.size = task->size;
	record.state |= MESSAGE_SIZE_TRUE;
	return txn_message_put(txn, id, &record, fault);
}

static void
size_done(void *data, const struct fault *fault)
{
	struct size_task *task = data;
	if (fault == NULL && task->changed)
		account_emit(task->account, EVENT_MESSAGE_ATTR, task->dir_ino, task->ino, NULL);
	g_free(task);
}

/* The index learns the truth where RFC822.SIZE was none. */
static void
correct_size(struct account *account, const struct fetch *fetch)
{
	if (fetch->size == fetch->hint)
		return;
	struct size_task *task = g_new0(struct size_task, 1);
	task->account = account;
	task->ino = fetch->ino;
	task->key = fetch->key;
	task->size = fetch->size;
	const struct cache_task cache_task = { .run = size_run, .done = size_done, .data = task,
		                               .when = CACHE_SOON };
	cache_submit(account->cache, &cache_task);
}

void
fetch_whole(struct account *account, struct fetch *fetch, const void *data, size_t len)
{
	struct ending ending;
	bool stored = body_put(account->cache, fetch->key, fetch_origin(fetch), data, len, NULL);
	fetch->size = len;
	correct_size(account, fetch);
	ending_init(&ending);
	g_mutex_lock(&account->lock);
	fetch->size_known = true;
	fetch->nostore = !stored;
	for (guint i = 0; i < fetch->waits->len; i++) {
		struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
		for (size_t at = 0; at < len && wait->length > 0; at += BODY_CHUNK)
			offer(wait, len, (uint32_t)(at / BODY_CHUNK),
			      (const unsigned char *)data + at, MIN(len - at, BODY_CHUNK));
		if (wait->length == 0 && !stored && wait->data == NULL) {
			wait->data = g_byte_array_new();
			g_byte_array_append(wait->data, data, (guint)len);
		}
	}
	if (!fetch->compare)
		fetch_end_fulfilled(fetch, true, &ending);
	g_mutex_unlock(&account->lock);
	ending_run(&ending, NULL);
}

void
fetch_sized(struct account *account, struct fetch *fetch, uint64_t size)
{
	bool stored = body_begin(account->cache, fetch->key, fetch_origin(fetch), size, NULL);
	g_mutex_lock(&account->lock);
	fetch->size = size;
	fetch->size_known = true;
	fetch->nostore = !stored;
	g_mutex_unlock(&account->lock);
	correct_size(account, fetch);
}

void
fetch_chunk(struct account *account, struct fetch *fetch, uint32_t chunk, const void *data,
            size_t len)
{
	struct ending ending;
	bool stored = !fetch->nostore &&
	              body_put_chunk(account->cache, fetch->key, fetch_origin(fetch), chunk, data,
	                             len, NULL);
	ending_init(&ending);
	g_mutex_lock(&account->lock);
	fetch->nostore = !stored;
	for (guint i = 0; i < fetch->waits->len; i++) {
		struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
		if (wait->length > 0) {
			offer(wait, fetch->size, chunk, data, len);
			fetch->untraced |= !stored;
		}
	}
	if (!fetch->compare)
		fetch_end_fulfilled(fetch, true, &ending);
	g_mutex_unlock(&account->lock);
	ending_run(&ending, NULL);
}
