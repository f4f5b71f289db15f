/* SPDX-License-Identifier: MIT */
/* Inode numbers and stat: see node.h. */
#include "config.h"

#include "fs/node.h"

#include "base/clock.h"
#include "imap/response.h"

#define BLOCK_SIZE 4096
/* What find and others expect a directory to have. */
#define DIRECTORY_SIZE 4096

bool
node_get(struct cache_view *view, uint64_t ino, struct node *node_r)
{
	struct inode_record inode;
	if (!cache_inode_get(view, ino, &inode) ||
	    !cache_mailbox_get(view, inode.mailbox, &node_r->mailbox))
		return false;
	node_r->is_message = inode.is_message;
	if (!inode.is_message)
		return node_r->mailbox.ino == ino;
	return cache_message_get(view, node_r->mailbox.space, inode.recno, &node_r->message) &&
	       node_r->message.ino == ino;
}

/* Also of times before 1970. */
static struct timespec
time_of_ns(int64_t ns)
{
	struct timespec time = { .tv_sec = ns / CLOCK_SEC, .tv_nsec = ns % CLOCK_SEC };
	if (time.tv_nsec < 0) {
		time.tv_sec--;
		time.tv_nsec += CLOCK_SEC;
	}
	return time;
}

void
node_stat_mailbox(const struct node_look *look, const struct mailbox_record *record,
                  struct stat *st_r)
{
	*st_r = (struct stat){
		.st_ino = record->ino,
		.st_mode = S_IFDIR | (0777 & ~look->umask),
		.st_nlink = 2 + (nlink_t)record->children,
		.st_uid = look->uid,
		.st_gid = look->gid,
		.st_size = DIRECTORY_SIZE,
		.st_blksize = BLOCK_SIZE,
		.st_blocks = DIRECTORY_SIZE / 512,
		.st_mtim = time_of_ns(record->mtime_ns),
	};
	st_r->st_atim = st_r->st_ctim = st_r->st_mtim;
}

void
node_set_size(struct stat *st, uint64_t size)
{
	st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)((size + 511) / 512);
}

void
node_stat_message(const struct node_look *look, bool read_only,
                  const struct message_record *record, struct stat *st_r)
{
	mode_t mode = (read_only ? 0444 : 0666) & ~look->umask;
	*st_r = (struct stat){
		.st_ino = record->ino,
		.st_mode = S_IFREG | mode,
		.st_nlink = 1,
		.st_uid = look->uid,
		.st_gid = look->gid,
		.st_blksize = BLOCK_SIZE,
		.st_mtim = { .tv_sec = record->mtime },
		.st_atim = { .tv_sec = record->mtime },
		.st_ctim = time_of_ns(record->ctime_ns),
	};
	node_set_size(st_r, record->size);
}

bool
node_selectable(const struct mailbox_record *record)
{
	return record->id != ROOT_MAILBOX && (record->attrs & IMAP_ATTR_NOSELECT) == 0;
}
