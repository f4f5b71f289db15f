/* SPDX-License-Identifier: MIT */
/* The operations on directories: see ops.h and tree.h. */
#include "config.h"

#include <string.h>

#include "fs/ops-internal.h"

/* --- lookup ---------------------------------------------------------------------------- */

static void
fill_entry(struct fs *fs, uint32_t parent_listing, const struct node *node,
           struct fuse_entry_param *entry_r)
{
	*entry_r = (struct fuse_entry_param){
		.ino = node->is_message ? node->message.ino : node->mailbox.ino,
		.entry_timeout = ops_valid_s(fs, node->is_message ? parent_listing : ROOT_MAILBOX),
		.attr_timeout = ops_valid_s(fs, ops_listing_of(&node->mailbox)),
	};
	ops_stat(fs, node, &entry_r->attr);
}

/* Looks for it in the index alone. */
static int
lookup_index(struct fs *fs, uint64_t dir_ino, const char *name, struct node *dir_r,
             struct fuse_entry_param *entry_r)
{
	struct node node;
	struct cache_view *view = cache_view_begin(fs->cache);
	int err = ENOENT;
	dir_r->mailbox.id = ROOT_MAILBOX;
	if (!node_get(view, dir_ino, dir_r))
		err = ESTALE;
	else if (dir_r->is_message)
		err = ENOTDIR;
	else if (tree_lookup(view, dir_r->mailbox.id, name, strlen(name), &node)) {
		fill_entry(fs, ops_listing_of(&dir_r->mailbox), &node, entry_r);
		err = 0;
	}
	cache_view_end(view);
	return err;
}

/* 0: *entry_r is set, perhaps to say that there is none. MUST_WAIT: *state_r is set. */
static int
lookup_try(struct fs *fs, uint64_t dir_ino, const char *name, struct fuse_entry_param *entry_r,
           struct tree_state *state_r)
{
	struct node dir;
	int err = lookup_index(fs, dir_ino, name, &dir, entry_r);
	uint32_t listing = err == ESTALE ? ROOT_MAILBOX : ops_listing_of(&dir.mailbox);
	account_used(fs->account, listing);
	if (err != ENOENT)
		return err;
	/* It may have come between the look and the question: hence another look. What no message
	 * can be called depends on the tree alone (shells look for .git wherever they are). */
	bool selectable = node_selectable(&dir.mailbox) &&
	                  tree_could_be_message(name, strlen(name));
	tree_state_get(fs->account, dir.mailbox.id, selectable, state_r);
	err = lookup_index(fs, dir_ino, name, &dir, entry_r);
	if (err != ENOENT)
		return err;
	if (!state_r->complete)
		return MUST_WAIT;
	double valid = account_valid_s(fs->account, listing);
	if (valid <= 0)
		return ENOENT;
	*entry_r = (struct fuse_entry_param){ .entry_timeout = valid };
	return 0;
}

static void
lookup_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	struct fuse_entry_param entry;
	struct tree_state state;
	int err = fault != NULL ? errno_of(fault->kind)
	                        : lookup_try(call->fs, call->ino, call->name, &entry, &state);
	if (err == MUST_WAIT) {
		call_wait_listing(call, &state);
	} else if (err != 0) {
		call_end(call, err);
	} else if (park_claim(park)) {
		fuse_reply_entry(call->req, &entry);
		park_finish(park);
	}
}

void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	struct tree_state state;
	size_t len = strlen(name);
	int err = len > NAME_LEN_MAX ? ENAMETOOLONG
	                             : lookup_try(req_fs(req), parent, name, &entry, &state);
	if (err == 0) {
		fuse_reply_entry(req, &entry);
	} else if (err != MUST_WAIT) {
		fuse_reply_err(req, err);
	} else {
		struct call *call = call_new(req, lookup_step);
		call->ino = call->park.dir = parent;
		memcpy(call->name, name, len + 1);
		call_wait_listing(call, &state);
	}
}

/* --- directories ----------------------------------------------------------------------- */

/* Replies, and ends the call. */
static void
opendir_finish(struct call *call)
{
	struct fs *fs = call->fs;
	struct node node;
	struct tree_state state;
	struct tree_dir *dir = NULL;
	tree_state_get(fs->account, call->mailbox, call->mailbox != ROOT_MAILBOX, &state);
	struct cache_view *view = cache_view_begin(fs->cache);
	if (node_get(view, call->ino, &node)) {
		dir = tree_dir_open(fs->notes, &node.mailbox);
		/* What the kernel keeps of a listing that is still running could end cleanly. */
		if (!state.complete)
			tree_notes_forget(fs->notes, call->ino);
		call->fi.cache_readdir = state.complete;
		call->fi.keep_cache = state.complete &&
		                      tree_notes_unchanged(fs->notes, call->ino,
		                                           node.mailbox.mtime_ns);
		call->fi.fh = (uintptr_t)dir;
	}
	cache_view_end(view);
	if (dir == NULL)
		fuse_reply_err(call->req, errno_of_handle(FAULT_GONE));
	else if (fuse_reply_open(call->req, &call->fi) != 0)
		tree_dir_close(fs->notes, &dir);
	park_finish(&call->park);
}

static void
opendir_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	if (park->result == NULL) {
		struct fetch_wait *wait = park_wait(park);
		if (wait == NULL)
			return;
		bool now = account_refresh(call->fs->account, call->mailbox, &wait->wait);
		bool mine = now && park_claim(park);
		wait_unref(&wait->wait);
		if (mine)
			opendir_finish(call);
		return;
	}
	/* What the index has will do where nothing better was to be had. */
	if (fault != NULL && fault->kind == FAULT_CANCELLED)
		call_end(call, errno_of(fault->kind));
	else if (park_claim(park))
		opendir_finish(call);
}

void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = req_fs(req);
	struct node node;
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, ino, &node);
	uint32_t listing = found ? ops_listing_of(&node.mailbox) : ROOT_MAILBOX;
	bool branches = found && node.mailbox.children > 0;
	cache_view_end(view);
	if (!found || node.is_message) {
		fuse_reply_err(req, found ? ENOTDIR : errno_of_handle(FAULT_GONE));
		return;
	}
	account_used(fs->account, listing);
	if (branches)
		account_used(fs->account, ROOT_MAILBOX);
	struct call *call = call_new(req, opendir_step);
	call->fi = *fi;
	call->ino = ino;
	call->mailbox = listing;
	park_run(&call->park);
}

void
op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct tree_dir *dir = (struct tree_dir *)(uintptr_t)fi->fh;
	(void)ino;
	tree_dir_close(req_fs(req)->notes, &dir);
	fuse_reply_err(req, 0);
}

/* A buffer of the thread's own, for listings. */
static char *
thread_buffer(size_t size)
{
	static GPrivate key = G_PRIVATE_INIT(g_free);
	static __thread size_t have;
	char *buffer = g_private_get(&key);
	if (have < size) {
		buffer = g_malloc(size);
		g_private_replace(&key, buffer);
		have = size;
	}
	return buffer;
}

struct fill {
	struct fs *fs;
	fuse_req_t req;
	char *buffer;
	size_t size, used;
	bool plus, full;
	double message_valid, mailbox_valid;
};

static bool
fill_add(void *ctx, const struct tree_entry *entry)
{
	struct fill *fill = ctx;
	struct fs *fs = fill->fs;
	struct fuse_entry_param param = { .ino = entry->ino };
	if (entry->message != NULL) {
		node_stat_message(&fs->look, entry->dir->read_only, entry->message, &param.attr);
		param.entry_timeout = param.attr_timeout = fill->message_valid;
		if (fill->plus)
			file_told(fs->files, entry->message, &param.attr);
	} else if (entry->mailbox != NULL) {
		node_stat_mailbox(&fs->look, entry->mailbox, &param.attr);
		param.entry_timeout = fill->mailbox_valid;
		param.attr_timeout = ops_valid_s(fs, ops_listing_of(entry->mailbox));
	} else { /* the kernel wants no nodes for these */
		param.ino = 0;
		param.attr.st_ino = entry->ino;
		param.attr.st_mode = S_IFDIR;
	}
	size_t room = fill->size - fill->used;
	char *at = fill->buffer + fill->used;
	size_t need = fill->plus ? fuse_add_direntry_plus(fill->req, at, room, entry->name, &param,
	                                                  entry->cookie)
	                         : fuse_add_direntry(fill->req, at, room, entry->name, &param.attr,
	                                             entry->cookie);
	if (need > room) {
		fill->full = true;
		return false;
	}
	fill->used += need;
	return true;
}

/* Fills the thread's buffer with what is there. */
static int
readdir_try(const struct call *call, struct fill *fill_r, struct tree_state *state_r)
{
	struct fs *fs = call->fs;
	struct tree_dir *dir = (struct tree_dir *)(uintptr_t)call->fi.fh;
	tree_state_get(fs->account, dir->mailbox, dir->selectable, state_r);
	*fill_r = (struct fill){
		.fs = fs,
		.req = call->req,
		.buffer = thread_buffer(call->size),
		.size = call->size,
		.plus = call->plus,
		.message_valid = ops_valid_s(fs, dir->mailbox),
		.mailbox_valid = ops_valid_s(fs, ROOT_MAILBOX),
	};
	struct cache_view *view = cache_view_begin(fs->cache);
	enum fault_kind failure = tree_walk(view, dir, call->off, fill_add, fill_r);
	cache_view_end(view);
	if (failure != FAULT_NONE)
		return errno_of(failure);
	if (fill_r->used > 0)
		return 0;
	if (fill_r->full)
		return EINVAL;
	return state_r->complete ? 0 : MUST_WAIT;
}

static void
readdir_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	struct fill fill;
	struct tree_state state;
	int err = fault != NULL ? errno_of(fault->kind) : readdir_try(call, &fill, &state);
	if (err == MUST_WAIT) {
		call_wait_listing(call, &state);
	} else if (err != 0) {
		call_end(call, err);
	} else if (park_claim(park)) {
		fuse_reply_buf(call->req, fill.buffer, fill.used);
		park_finish(park);
	}
}

static void
read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi,
               bool plus)
{
	const struct call once = { .fs = req_fs(req), .req = req, .fi = *fi, .size = size,
		                   .off = off, .plus = plus };
	struct fill fill;
	struct tree_state state;
	int err = readdir_try(&once, &fill, &state);
	if (err == 0) {
		fuse_reply_buf(req, fill.buffer, fill.used);
	} else if (err != MUST_WAIT) {
		fuse_reply_err(req, err);
	} else {
		struct call *call = call_new(req, readdir_step);
		call->park.dir = call->ino = ino;
		call->fi = *fi;
		call->size = size;
		call->off = off;
		call->plus = plus;
		call_wait_listing(call, &state);
	}
}

void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, off, fi, false);
}

void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, off, fi, true);
}

/* Waits for the server's word on all that is pending in call->mailbox. */
static void
sync_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	if (park->result != NULL) {
		call_end(call, fault != NULL ? errno_of(fault->kind) : 0);
		return;
	}
	struct fetch_wait *wait = park_wait(park);
	if (wait == NULL)
		return;
	account_sync_changes(call->fs->account, call->mailbox, &wait->wait);
	wait_unref(&wait->wait);
}

void
op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	const struct tree_dir *dir = (const struct tree_dir *)(uintptr_t)fi->fh;
	struct call *call = call_new(req, sync_step);
	(void)datasync;
	call->park.dir = ino;
	call->mailbox = dir->mailbox == ROOT_MAILBOX ? ALL_MAILBOXES : dir->mailbox;
	park_run(&call->park);
}

void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = req_fs(req);
	struct node dir, node;
	struct fault fault;
	int err = errno_of(FAULT_GONE);
	struct cache_view *view = cache_view_begin(fs->cache);
	if (node_get(view, parent, &dir) && !dir.is_message &&
	    tree_lookup(view, dir.mailbox.id, name, strlen(name), &node))
		err = node.is_message ? 0 : EISDIR;
	cache_view_end(view);
	if (err == 0 && !account_delete(fs->account, node.message.ino, &fault))
		err = errno_of(fault.kind);
	if (err != 0 || !fs->sync) {
		fuse_reply_err(req, err);
		return;
	}
	struct call *call = call_new(req, sync_step);
	call->park.dir = parent;
	call->mailbox = dir.mailbox.id;
	park_run(&call->park);
}
