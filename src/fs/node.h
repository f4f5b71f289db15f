/* SPDX-License-Identifier: MIT */
/*
 * Nodes: what an inode number stands for, as stat(2) and xattrs show it.
 *
 * Inode numbers are the index's and persistent, so there is no table of them
 * here and nothing to forget. A mailbox is a directory; its link count is 2 and
 * one for each sub-mailbox, its mtime has nanoseconds and grows with each
 * change. A message is a file of one link; mtime and atime are its
 * INTERNALDATE, ctime is the last known change of its flags.
 *
 * Nothing here knows of libfuse.
 */
#ifndef FS_NODE_H
#define FS_NODE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/cache.h"

/* How the mount shows owner and mode. */
struct node_look {
	uid_t uid;
	gid_t gid;
	mode_t umask; /* taken from 0777 and 0666 */
};

struct node {
	bool is_message;
	struct mailbox_record mailbox; /* itself, or the one the message stands in */
	struct message_record message;
};

/* False: there is no such inode. Hidden and \Deleted messages are found. Valid as long as the view
 * is. */
bool node_get(struct cache_view *view, uint64_t ino, struct node *node_r);

void node_stat_mailbox(const struct node_look *look, const struct mailbox_record *record,
                       struct stat *st_r);
/* read_only: of the mailbox it stands in. */
void node_stat_message(const struct node_look *look, bool read_only,
                       const struct message_record *record, struct stat *st_r);
/* Size and blocks of a message. */
void node_set_size(struct stat *st, uint64_t size);
/* Whether messages can stand in it; if not, its listing is the tree's alone. */
bool node_selectable(const struct mailbox_record *record);

/*
 * Extended attributes, all of them text:
 *     of a message   user.imap.uid .uidvalidity .flags .internaldate .emailid .threadid .labels
 *     of a mailbox   user.imap.mailbox .uidvalidity .uidnext .messages .highestmodseq
 * .flags is `\Seen \Flagged keyword`, .internaldate is `2024-05-03T14:12:05Z`, .mailbox is the raw
 * name. One that the server gave no value for is not there.
 *
 * node_xattr_get() appends the value; false: there is no such attribute. node_xattr_list() appends
 * the names, each with its NUL.
 */
bool node_xattr_get(const struct node *node, const char *name, GString *value);
void node_xattr_list(const struct node *node, GString *names);

#endif
