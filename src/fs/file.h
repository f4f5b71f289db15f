/* SPDX-License-Identifier: MIT */
/*
 * Open messages, and what the kernel was told and given of messages.
 *
 * A struct file stands for an open message, shared by all its handles. It keeps
 * the last stat (an open message that vanished still answers fstat), its true
 * size, the key of its body, and the octets themselves if the cache could not
 * take them.
 *
 * The size that the server states is a hint. The kernel may have been told it
 * before the truth was known, so the table remembers, a bit an inode, where
 * that is so, and the true sizes that differ from the hint until the index has
 * them. Another bit an inode says that the body was pushed into the kernel's
 * pages, and one that these may be those of another message, which had the inode.
 *
 * All functions may be called by any thread.
 */
#ifndef FS_FILE_H
#define FS_FILE_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/record.h"

struct file {
	uint64_t ino;
	_Atomic uint64_t size;      /* true size, octets */
	_Atomic uint64_t key;       /* of the body */
	_Atomic(GByteArray *) data; /* the whole message, or NULL: see file_data() */
	atomic_int reads;           /* READs that are waiting for the network */
	/* The table's own. */
	unsigned opens;
	struct stat st;
};

struct file_table;

struct file_table *file_table_new(void);
/* No file may be open. NULL in *table is accepted. */
void file_table_free(struct file_table **table);

/* One more handle of the message. data (or NULL) becomes the table's. */
struct file *file_open(struct file_table *table, uint64_t ino, uint64_t key,
                       const struct stat *st, GByteArray *data);
/* The octets if the table has them, else NULL. They are the caller's to unref once they are sent:
 * the reader may have closed the message before its reply has returned. */
GByteArray *file_data(struct file_table *table, struct file *file);
/* One handle less; sets *file to NULL. */
void file_close(struct file_table *table, struct file **file);
/* The last stat of an open message; false: it is not open. */
bool file_last_stat(struct file_table *table, uint64_t ino, struct stat *st_r);

/* A stat goes to the kernel: corrects its size, or notes that it holds a mere hint. */
void file_told(struct file_table *table, const struct message_record *record, struct stat *st);
/*
 * OPEN knows the true size; hint is what the index said before, proven if that was the truth.
 * Returns whether the kernel may believe in another size, and has to be told.
 */
bool file_true_size(struct file_table *table, uint64_t ino, uint64_t hint, bool proven,
                    uint64_t size);
/* The index may have the true size by now: forgotten here, if so. */
void file_settled(struct file_table *table, const struct message_record *record);

/* The octets are in the kernel now; true if they were believed to be there before. */
bool file_pushed(struct file_table *table, uint64_t ino);
/* They may no longer be. */
void file_dropped(struct file_table *table, uint64_t ino);

/* The kernel may have pages of another message, until an OPEN was answered that drops them. */
void file_doubt(struct file_table *table, uint64_t ino);
bool file_doubted(struct file_table *table, uint64_t ino);
void file_trusted(struct file_table *table, uint64_t ino);

#endif
