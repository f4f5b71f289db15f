/* SPDX-License-Identifier: MIT */
/* The operations on messages: see ops.h and file.h. */
#include "config.h"

#include <fcntl.h>

#include "cache/body.h"
#include "fs/ops-internal.h"

/* Bodies up to this size are pushed into the kernel's pages when they are opened: one request
 * less a file. */
#define PUSH_MAX   65536u
#define PUSH_PIECE ((size_t)1 << 20)
/* A push may wait for a READ that another worker has to answer, so most of them stay free. */
#define PUSHING_MAX 4
/* A READ of the kernel's largest size crosses no more chunks. */
#define READ_IOV_MAX 8

static bool
push_range(struct fs *fs, uint64_t ino, off_t off, void *data, size_t len)
{
	struct fuse_bufvec vec = FUSE_BUFVEC_INIT(len);
	vec.buf[0].mem = data;
	return fuse_lowlevel_notify_store(fs->session, ino, off, &vec, 0) == 0;
}

static void
push_data(struct fs *fs, const struct file *file, GByteArray *data)
{
	for (size_t off = 0; off < data->len; off += PUSH_PIECE)
		if (!push_range(fs, file->ino, (off_t)off, data->data + off,
		                MIN(PUSH_PIECE, data->len - off)))
			return;
}

static void
push_cached(struct fs *fs, struct cache_view *view, const struct file *file)
{
	struct iovec iov;
	size_t octets, size = (size_t)atomic_load(&file->size);
	if (size == 0 || size > PUSH_MAX || file_pushed(fs->files, file->ino))
		return;
	if (body_read(view, atomic_load(&file->key), 0, size, &iov, 1, &octets) != 1 ||
	    octets != size || !push_range(fs, file->ino, 0, iov.iov_base, size))
		file_dropped(fs->files, file->ino);
}

/* Gives the kernel the octets before it asks for them. It waits for pages that a READ has locked:
 * so never while that READ is parked, perhaps to be answered by this very thread. */
static void
push_body(struct fs *fs, struct cache_view *view, struct file *file)
{
	if (atomic_load(&file->reads) > 0)
		return;
	if (atomic_fetch_add(&fs->pushing, 1) < PUSHING_MAX) {
		GByteArray *data = file_data(fs->files, file);
		if (data == NULL)
			push_cached(fs, view, file);
		else if (!file_pushed(fs->files, file->ino))
			push_data(fs, file, data);
		if (data != NULL)
			g_byte_array_unref(data);
	}
	atomic_fetch_sub(&fs->pushing, 1);
}

/* The message of which octets are there is open from now on; NULL: the inode is another's by
 * now. */
static struct file *
open_file(struct call *call, uint64_t size, uint64_t key, GByteArray *data)
{
	struct fs *fs = call->fs;
	struct node node;
	struct file *file = NULL;
	struct stat st;
	if (!account_pin(fs->account, call->ino)) {
		if (data != NULL)
			g_byte_array_unref(data);
		return NULL;
	}
	struct cache_view *view = cache_view_begin(fs->cache);
	if (node_get(view, call->ino, &node) && node.is_message &&
	    message_body_key(&node.message) == key) {
		ops_stat(fs, &node, &st);
		node_set_size(&st, size);
		file = file_open(fs->files, call->ino, key, &st, data);
		/* The kernel asks again, and then gets the true one. */
		if (file_true_size(fs->files, call->ino, call->hint, call->proven, size))
			fuse_lowlevel_notify_inval_inode(fs->session, call->ino, -1, 0);
		if (call->doubtful)
			file_dropped(fs->files, call->ino);
		else
			push_body(fs, view, file);
	} else {
		if (data != NULL)
			g_byte_array_unref(data);
		account_unpin(fs->account, call->ino);
	}
	cache_view_end(view);
	return file;
}

/* Replies, and ends the call. data: the message, if the cache has no place for it; becomes ours. */
static void
open_finish(struct call *call, uint64_t size, uint64_t key, GByteArray *data)
{
	struct fs *fs = call->fs;
	call->doubtful |= key != call->key || file_doubted(fs->files, call->ino);
	struct file *file = open_file(call, size, key, data);
	if (file == NULL) {
		fuse_reply_err(call->req, errno_of_handle(FAULT_GONE));
	} else {
		call->fi.fh = (uintptr_t)file;
		call->fi.keep_cache = !call->doubtful;
		call->fi.noflush = 1;
		if (fuse_reply_open(call->req, &call->fi) != 0) {
			account_unpin(fs->account, call->ino);
			file_close(fs->files, &file);
		} else if (call->doubtful) {
			file_trusted(fs->files, call->ino);
		}
	}
	park_finish(&call->park);
}

static void
open_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	if (fault != NULL) {
		call_end(call, errno_of_handle(fault->kind));
	} else if (park->result != NULL) {
		if (!park_claim(park))
			return;
		GByteArray *data = park->result->data;
		park->result->data = NULL;
		open_finish(call, park->result->size, park->result->key, data);
	} else {
		struct fetch_wait *wait = park_wait(park);
		uint64_t size;
		if (wait == NULL)
			return;
		wait->ino = call->ino;
		bool now = account_open(call->fs->account, wait, &size);
		if (now && park_claim(park))
			open_finish(call, size, wait->key, NULL);
		wait_unref(&wait->wait);
	}
}

void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = req_fs(req);
	struct node node;
	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC) != 0) {
		fuse_reply_err(req, EPERM);
		return;
	}
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, ino, &node);
	uint32_t listing = found ? ops_listing_of(&node.mailbox) : ROOT_MAILBOX;
	cache_view_end(view);
	if (!found || !node.is_message) {
		fuse_reply_err(req, found ? EISDIR : errno_of_handle(FAULT_GONE));
		return;
	}
	account_used(fs->account, listing);
	struct call *call = call_new(req, open_step);
	call->ino = ino;
	call->fi = *fi;
	call->hint = node.message.size;
	call->proven = (node.message.state & MESSAGE_SIZE_TRUE) != 0;
	call->key = message_body_key(&node.message);
	call->doubtful = (node.message.state & MESSAGE_PROBABLE) != 0;
	if (call->doubtful)
		file_doubt(fs->files, ino);
	park_run(&call->park);
}

void
op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = req_fs(req);
	struct file *file = (struct file *)(uintptr_t)fi->fh;
	account_unpin(fs->account, ino);
	file_close(fs->files, &file);
	fuse_reply_err(req, 0);
}

static void
read_abandon(struct park *park, bool interrupted)
{
	struct call *call = (struct call *)park;
	struct file *file = (struct file *)(uintptr_t)call->fi.fh;
	atomic_fetch_sub(&file->reads, 1); /* before the reply: a RELEASE may follow that */
	call_abandon(park, interrupted);
}

static void
read_step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	struct file *file = (struct file *)(uintptr_t)call->fi.fh;
	if (park->result == NULL) {
		/* Before it can be interrupted: a RELEASE may follow at once. */
		uint64_t key = atomic_load(&file->key);
		struct fetch_wait *wait = park_wait(park);
		if (wait == NULL)
			return;
		wait->ino = call->ino;
		wait->offset = (uint64_t)call->off;
		wait->length = call->size;
		wait->key = key;
		account_read(call->fs->account, wait);
		wait_unref(&wait->wait);
		return;
	}
	if (!park_claim(park))
		return;
	GByteArray *data = park->result->data;
	atomic_fetch_sub(&file->reads, 1);
	if (fault != NULL)
		fuse_reply_err(call->req, errno_of_handle(fault->kind));
	else if (data == NULL || data->len < call->size)
		/* It is not what was opened: the kernel would take that for its end. */
		fuse_reply_err(call->req, EIO);
	else
		fuse_reply_buf(call->req, (char *)data->data, call->size);
	park_finish(park);
}

/* From the octets that the cache could not take. False: they are not all there. */
static bool
read_held(struct fs *fs, fuse_req_t req, struct file *file, size_t size, off_t off)
{
	GByteArray *data = file_data(fs->files, file);
	if (data == NULL)
		return false;
	bool there = (uint64_t)off + size <= data->len;
	if (there)
		fuse_reply_buf(req, (char *)data->data + off, size);
	g_byte_array_unref(data);
	return there;
}

/* From the cache's own pages, without a copy. False: they are not all there. */
static bool
read_cached(struct fs *fs, fuse_req_t req, const struct file *file, size_t size, off_t off)
{
	struct iovec iov[READ_IOV_MAX];
	size_t octets;
	struct cache_view *view = cache_view_begin(fs->cache);
	unsigned count = body_read(view, atomic_load(&file->key), (uint64_t)off, size, iov,
	                           READ_IOV_MAX, &octets);
	bool there = octets == size;
	if (there)
		fuse_reply_iov(req, iov, (int)count);
	cache_view_end(view);
	return there;
}

void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = req_fs(req);
	struct file *file = (struct file *)(uintptr_t)fi->fh;
	uint64_t whole = atomic_load(&file->size);
	if ((uint64_t)off >= whole) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	size = (size_t)MIN(size, whole - (uint64_t)off);
	if (off == 0 && whole <= PUSH_MAX) /* the kernel asks: so it has lost what it was given */
		file_dropped(fs->files, ino);
	if (read_held(fs, req, file, size, off) || read_cached(fs, req, file, size, off))
		return;
	struct call *call = call_new(req, read_step);
	call->park.abandon = read_abandon;
	call->ino = ino;
	call->fi = *fi;
	call->size = size;
	call->off = off;
	atomic_fetch_add(&file->reads, 1);
	park_run(&call->park);
}
