/* SPDX-License-Identifier: MIT */
/* What the kernel is told without having asked: see ops.h and notify.h. */
#include "config.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/ops-internal.h"

/* --- for the notifier ------------------------------------------------------------------ */

static bool
sink_busy(void *ctx, uint64_t dir_ino)
{
	struct fs *fs = ctx;
	return park_lot_busy(fs->parks, dir_ino);
}

/*
 * Entries are left alone while the directory is listed for the first time: lookups that wait there
 * hold its lock, and no answer that a name is missing was given for the kernel to keep.
 */
static bool
entries_known(struct fs *fs, uint64_t dir_ino)
{
	struct node dir;
	struct tree_state state = { .complete = true };
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, dir_ino, &dir) && !dir.is_message;
	uint32_t id = found ? dir.mailbox.id : ROOT_MAILBOX;
	bool selectable = found && node_selectable(&dir.mailbox);
	cache_view_end(view);
	if (found)
		tree_state_get(fs->account, id, selectable, &state);
	return state.complete;
}

/* Takes the directory's lock, which LOOKUP and READDIR hold until their answer is taken in; there
 * is no entry of that name. */
static void
sink_settle(void *ctx, uint64_t dir_ino)
{
	struct fs *fs = ctx;
	static const char nothing[] = "\1";
	if (entries_known(fs, dir_ino))
		fuse_lowlevel_notify_inval_entry(fs->session, dir_ino, nothing, strlen(nothing));
}

static void
sink_attr(void *ctx, uint64_t ino)
{
	struct fs *fs = ctx;
	struct node node;
	struct cache_view *view = cache_view_begin(fs->cache);
	if (node_get(view, ino, &node) && node.is_message)
		file_settled(fs->files, &node.message);
	cache_view_end(view);
	fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

static void
sink_data(void *ctx, uint64_t ino)
{
	struct fs *fs = ctx;
	file_dropped(fs->files, ino);
	fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
}

/* The directory above, 0: there is none. *name_r: what it has there, to be freed. */
static uint64_t
parent_of(struct fs *fs, uint64_t dir_ino, char **name_r)
{
	struct node dir;
	struct mailbox_record parent;
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, dir_ino, &dir) && !dir.is_message && dir_ino != ROOT_INO &&
	             cache_mailbox_get(view, dir.mailbox.parent, &parent);
	uint64_t parent_ino = found ? parent.ino : 0;
	*name_r = found ? g_strdup(dir.mailbox.name) : NULL;
	cache_view_end(view);
	return parent_ino;
}

/* The directory's own attributes change too. */
static void
sink_listing(void *ctx, uint64_t dir_ino)
{
	struct fs *fs = ctx;
	char *name;
	uint64_t parent = parent_of(fs, dir_ino, &name);
	if (parent != 0 && !park_lot_busy(fs->parks, parent))
		sink_settle(fs, parent);
	tree_notes_forget(fs->notes, dir_ino);
	fuse_lowlevel_notify_inval_inode(fs->session, dir_ino, 0, 0);
	g_free(name);
}

/* A directory's own entry leads to all below it: without it they are looked up anew. */
static void
sink_entries(void *ctx, uint64_t dir_ino)
{
	struct fs *fs = ctx;
	char *name;
	uint64_t parent = parent_of(fs, dir_ino, &name);
	if (parent != 0)
		fuse_lowlevel_notify_inval_entry(fs->session, parent, name, strlen(name));
	g_free(name);
}

static void
sink_entry_new(void *ctx, uint64_t dir_ino, const char *name)
{
	struct fs *fs = ctx;
	if (entries_known(fs, dir_ino))
		fuse_lowlevel_notify_inval_entry(fs->session, dir_ino, name, strlen(name));
}

static void
sink_entry_gone(void *ctx, uint64_t dir_ino, uint64_t ino, const char *name)
{
	struct fs *fs = ctx;
	struct node node;
	if (!entries_known(fs, dir_ino))
		return;
	struct cache_view *view = cache_view_begin(fs->cache);
	bool moved = node_get(view, ino, &node);
	cache_view_end(view);
	if (moved)
		fuse_lowlevel_notify_inval_entry(fs->session, dir_ino, name, strlen(name));
	else
		fuse_lowlevel_notify_delete(fs->session, dir_ino, ino, name, strlen(name));
}

const struct notify_sink ops_notify_sink = {
	.busy = sink_busy,
	.settle = sink_settle,
	.attr = sink_attr,
	.data = sink_data,
	.listing = sink_listing,
	.entries = sink_entries,
	.entry_new = sink_entry_new,
	.entry_gone = sink_entry_gone,
};

/* --- the reply to INIT ----------------------------------------------------------------- */

/* libfuse sets this bit in what it wants, and forgets it in what it sends. */
static void
patch_init(struct fs *fs, struct iovec *iov, int count)
{
	struct fuse_out_header header;
	if (count < 2 || iov[0].iov_len != sizeof header)
		return;
	memcpy(&header, iov[0].iov_base, sizeof header);
	size_t flags = offsetof(struct fuse_init_out, flags);
	uint32_t value;
	if (header.unique == 0 || header.error != 0 || iov[1].iov_len < flags + sizeof value)
		return; /* a notification */
	char *place = (char *)iov[1].iov_base + flags;
	memcpy(&value, place, sizeof value);
	value |= FUSE_PARALLEL_DIROPS;
	memcpy(place, &value, sizeof value);
	atomic_store(&fs->init_patched, true);
}

static ssize_t
hook_writev(int fd, struct iovec *iov, int count, void *data)
{
	struct fs *fs = data;
	if (!atomic_load_explicit(&fs->init_patched, memory_order_relaxed))
		patch_init(fs, iov, count);
	return writev(fd, iov, count);
}

static ssize_t
hook_read(int fd, void *buffer, size_t size, void *data)
{
	(void)data;
	return read(fd, buffer, size);
}

int
ops_hook_io(struct fs *fs)
{
	static const struct fuse_custom_io io = { .writev = hook_writev, .read = hook_read };
	return fuse_session_custom_io(fs->session, &io, fuse_session_fd(fs->session));
}
