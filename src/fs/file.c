/* SPDX-License-Identifier: MIT */
/* Open messages and what the kernel knows of them: see file.h. */
#include "config.h"

#include "fs/file.h"

#include <pthread.h>

#include "fs/node.h"

/* A set of inode numbers: pages of bits, since the numbers are dense. */
#define PAGE_BITS  15u
#define PAGE_WORDS ((1u << PAGE_BITS) / 64u)

struct file_table {
	pthread_mutex_t lock;
	GHashTable *open;           /* inode -> struct file */
	GHashTable *sizes;          /* inode -> true size, where the index may not have it yet */
	atomic_uint size_count;     /* of `sizes`, so that it is looked at only if need be */
	GHashTable *hinted, *pushed, *doubted; /* page number -> bits */
};

struct file_table *
file_table_new(void)
{
	struct file_table *table = g_new0(struct file_table, 1);
	pthread_mutex_init(&table->lock, NULL);
	table->open = g_hash_table_new(g_int64_hash, g_int64_equal);
	table->sizes = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	table->hinted = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	table->pushed = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	table->doubted = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	return table;
}

static void
free_file(struct file *file)
{
	GByteArray *data = atomic_load(&file->data);
	if (data != NULL)
		g_byte_array_unref(data);
	g_free(file);
}

void
file_table_free(struct file_table **table)
{
	struct file_table *t = *table;
	GHashTableIter iter;
	gpointer value;
	if (t == NULL)
		return;
	/* Those whose RELEASE was lost with the mount. */
	g_hash_table_iter_init(&iter, t->open);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		free_file(value);
	g_hash_table_destroy(t->open);
	g_hash_table_destroy(t->sizes);
	g_hash_table_destroy(t->hinted);
	g_hash_table_destroy(t->pushed);
	g_hash_table_destroy(t->doubted);
	pthread_mutex_destroy(&t->lock);
	g_free(t);
	*table = NULL;
}

/* Sets or clears the bit of an inode, returns what it was. */
static bool
set_bit(GHashTable *pages, uint64_t ino, bool on)
{
	gpointer number = GSIZE_TO_POINTER(ino >> PAGE_BITS);
	uint64_t *page = g_hash_table_lookup(pages, number);
	if (page == NULL) {
		if (!on)
			return false;
		page = g_new0(uint64_t, PAGE_WORDS);
		g_hash_table_insert(pages, number, page);
	}
	uint64_t *word = &page[(ino & ((1u << PAGE_BITS) - 1)) / 64];
	uint64_t mask = (uint64_t)1 << (ino % 64);
	bool was = (*word & mask) != 0;
	*word = on ? *word | mask : *word & ~mask;
	return was;
}

/* --- open messages --------------------------------------------------------------------- */

struct file *
file_open(struct file_table *table, uint64_t ino, uint64_t key, const struct stat *st,
          GByteArray *data)
{
	pthread_mutex_lock(&table->lock);
	struct file *file = g_hash_table_lookup(table->open, &ino);
	if (file == NULL) {
		file = g_new0(struct file, 1);
		file->ino = ino;
		atomic_init(&file->size, 0);
		atomic_init(&file->key, 0);
		atomic_init(&file->data, NULL);
		atomic_init(&file->reads, 0);
		g_hash_table_insert(table->open, &file->ino, file);
	}
	GByteArray *old = atomic_load(&file->data);
	if (old != NULL && atomic_load(&file->key) == key) {
		GByteArray *spare = data;
		data = old;
		old = spare;
	}
	file->opens++;
	file->st = *st;
	atomic_store(&file->size, (uint64_t)st->st_size);
	atomic_store(&file->key, key);
	atomic_store(&file->data, data);
	pthread_mutex_unlock(&table->lock);
	if (old != NULL)
		g_byte_array_unref(old);
	return file;
}

GByteArray *
file_data(struct file_table *table, struct file *file)
{
	if (atomic_load(&file->data) == NULL)
		return NULL;
	pthread_mutex_lock(&table->lock);
	GByteArray *data = atomic_load(&file->data);
	if (data != NULL)
		g_byte_array_ref(data);
	pthread_mutex_unlock(&table->lock);
	return data;
}

void
file_close(struct file_table *table, struct file **file)
{
	struct file *f = *file;
	*file = NULL;
	pthread_mutex_lock(&table->lock);
	bool last = --f->opens == 0;
	if (last)
		g_hash_table_remove(table->open, &f->ino);
	pthread_mutex_unlock(&table->lock);
	if (!last)
		return;
	free_file(f);
}

bool
file_last_stat(struct file_table *table, uint64_t ino, struct stat *st_r)
{
	pthread_mutex_lock(&table->lock);
	const struct file *file = g_hash_table_lookup(table->open, &ino);
	if (file != NULL)
		*st_r = file->st;
	pthread_mutex_unlock(&table->lock);
	return file != NULL;
}

/* --- sizes ----------------------------------------------------------------------------- */

void
file_told(struct file_table *table, const struct message_record *record, struct stat *st)
{
	if ((record->state & MESSAGE_SIZE_TRUE) != 0)
		return;
	uint64_t ino = record->ino;
	pthread_mutex_lock(&table->lock);
	set_bit(table->hinted, ino, true);
	const uint64_t *size = g_hash_table_lookup(table->sizes, &ino);
	if (size != NULL)
		node_set_size(st, *size);
	pthread_mutex_unlock(&table->lock);
}

bool
file_true_size(struct file_table *table, uint64_t ino, uint64_t hint, bool proven, uint64_t size)
{
	pthread_mutex_lock(&table->lock);
	bool hinted = set_bit(table->hinted, ino, false);
	/* An unproven hint is what it was told; a proven size says nothing of what it was told
	 * before. */
	bool differs = hint != size || (proven && hinted);
	if (!proven && hint != size) {
		g_hash_table_replace(table->sizes, g_memdup2(&ino, sizeof ino),
		                     g_memdup2(&size, sizeof size));
		atomic_store(&table->size_count, g_hash_table_size(table->sizes));
	}
	pthread_mutex_unlock(&table->lock);
	return differs;
}

void
file_settled(struct file_table *table, const struct message_record *record)
{
	if (atomic_load(&table->size_count) == 0 || (record->state & MESSAGE_SIZE_TRUE) == 0)
		return;
	uint64_t ino = record->ino;
	pthread_mutex_lock(&table->lock);
	g_hash_table_remove(table->sizes, &ino);
	atomic_store(&table->size_count, g_hash_table_size(table->sizes));
	pthread_mutex_unlock(&table->lock);
}

/* --- pages ----------------------------------------------------------------------------- */

bool
file_pushed(struct file_table *table, uint64_t ino)
{
	pthread_mutex_lock(&table->lock);
	bool was = set_bit(table->pushed, ino, true);
	pthread_mutex_unlock(&table->lock);
	return was;
}

void
file_dropped(struct file_table *table, uint64_t ino)
{
	pthread_mutex_lock(&table->lock);
	set_bit(table->pushed, ino, false);
	pthread_mutex_unlock(&table->lock);
}

void
file_doubt(struct file_table *table, uint64_t ino)
{
	pthread_mutex_lock(&table->lock);
	set_bit(table->doubted, ino, true);
	pthread_mutex_unlock(&table->lock);
}

bool
file_doubted(struct file_table *table, uint64_t ino)
{
	pthread_mutex_lock(&table->lock);
	const uint64_t *page = g_hash_table_lookup(table->doubted,
	                                           GSIZE_TO_POINTER(ino >> PAGE_BITS));
	bool doubted = page != NULL &&
	               (page[(ino & ((1u << PAGE_BITS) - 1)) / 64] >> ino % 64 & 1) != 0;
	pthread_mutex_unlock(&table->lock);
	return doubted;
}

void
file_trusted(struct file_table *table, uint64_t ino)
{
	pthread_mutex_lock(&table->lock);
	set_bit(table->doubted, ino, false);
	pthread_mutex_unlock(&table->lock);
}
