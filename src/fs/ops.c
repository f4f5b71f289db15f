/* SPDX-License-Identifier: MIT */
/* The operations: what they share, and those on any node. See ops.h. */
#include "config.h"

#include <string.h>

#include "fs/ops-internal.h"

struct fs *
req_fs(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

void
fs_init(struct fs *fs)
{
	fs->files = file_table_new();
	fs->notes = tree_notes_new();
	fs->parks = park_lot_new();
	atomic_init(&fs->init_patched, false);
	atomic_init(&fs->pushing, 0);
}

void
fs_release(struct fs *fs)
{
	file_table_free(&fs->files);
	tree_notes_free(&fs->notes);
	park_lot_free(&fs->parks);
}

/* --- parked requests ------------------------------------------------------------------- */

static void
call_interrupted(fuse_req_t req, void *data)
{
	struct call *call = data;
	(void)req;
	park_interrupt(&call->park);
}

static void
call_arm(struct park *park)
{
	struct call *call = (struct call *)park;
	fuse_req_interrupt_func(call->req, call_interrupted, call);
}

static void
call_disarm(struct park *park)
{
	struct call *call = (struct call *)park;
	fuse_req_interrupt_func(call->req, NULL, NULL);
}

void
call_abandon(struct park *park, bool interrupted)
{
	struct call *call = (struct call *)park;
	fuse_reply_err(call->req, interrupted ? EINTR : errno_of(FAULT_CANCELLED));
}

static void
call_destroy(struct park *park)
{
	g_free(park);
}

struct call *
call_new(fuse_req_t req, void (*step)(struct park *, const struct fault *))
{
	struct call *call = g_new0(struct call, 1);
	call->fs = req_fs(req);
	call->req = req;
	park_init(&call->park, call->fs->parks);
	call->park.step = step;
	call->park.abandon = call_abandon;
	call->park.destroy = call_destroy;
	call->park.arm = call_arm;
	call->park.disarm = call_disarm;
	return call;
}

void
call_end(struct call *call, int err)
{
	if (!park_claim(&call->park))
		return;
	fuse_reply_err(call->req, err);
	park_finish(&call->park);
}

void
call_wait_listing(struct call *call, const struct tree_state *state)
{
	struct fetch_wait *wait = park_wait(&call->park);
	if (wait == NULL)
		return;
	account_listing_wait(call->fs->account, state->mailbox, state->step, &wait->wait);
	wait_unref(&wait->wait);
}

/* --- attributes ------------------------------------------------------------------------ */

uint32_t
ops_listing_of(const struct mailbox_record *mailbox)
{
	return node_selectable(mailbox) ? mailbox->id : ROOT_MAILBOX;
}

/* Never less than `refresh`: the entries of a long listing must live until its reader asks for
 * them, and a sync that finds a change tells the kernel. */
double
ops_valid_s(struct fs *fs, uint32_t listing)
{
	return MAX(account_valid_s(fs->account, listing), fs->refresh_s);
}

void
ops_stat(struct fs *fs, const struct node *node, struct stat *st_r)
{
	if (!node->is_message) {
		node_stat_mailbox(&fs->look, &node->mailbox, st_r);
		return;
	}
	node_stat_message(&fs->look, node->mailbox.read_only, &node->message, st_r);
	file_told(fs->files, &node->message, st_r);
}

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = req_fs(req);
	struct node node;
	struct stat st;
	uint32_t listing = ROOT_MAILBOX;
	(void)fi;
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, ino, &node);
	if (found) {
		ops_stat(fs, &node, &st);
		listing = ops_listing_of(&node.mailbox);
	}
	cache_view_end(view);
	if (found) {
		account_used(fs->account, listing);
		fuse_reply_attr(req, &st, ops_valid_s(fs, listing));
	} else if (file_last_stat(fs->files, ino, &st)) {
		fuse_reply_attr(req, &st, fs->refresh_s);
	} else {
		fuse_reply_err(req, errno_of_handle(FAULT_GONE));
	}
}

static void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	/* Without a quota: a petabyte is free. */
	uint64_t used = 0, limit = (uint64_t)1 << 50;
	struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = NAME_LEN_MAX,
		              .f_files = 1u << 30, .f_ffree = 1u << 30, .f_favail = 1u << 30 };
	(void)ino;
	account_quota(req_fs(req)->account, &used, &limit);
	st.f_blocks = limit / st.f_frsize;
	st.f_bfree = st.f_bavail = (limit > used ? limit - used : 0) / st.f_frsize;
	fuse_reply_statfs(req, &st);
}

/* The kernel forgot the inode, and its pages with it. Nothing else is kept by inode. */
static void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	(void)count;
	file_dropped(req_fs(req)->files, ino);
	fuse_reply_none(req);
}

static void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		file_dropped(req_fs(req)->files, forgets[i].ino);
	fuse_reply_none(req);
}

static void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void
op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	op_fsync(req, ino, 0, fi);
}

/* --- extended attributes --------------------------------------------------------------- */

static void
reply_xattr(fuse_req_t req, const GString *value, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, value->len);
	else if (value->len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value->str, value->len);
}

/* `ls -l` asks for security.selinux and system.posix_acl_access of each file, and goes on asking
 * unless it is told that this filesystem has none at all. */
static void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = req_fs(req);
	struct node node;
	if (!g_str_has_prefix(name, "user.")) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	GString *value = g_string_new(NULL);
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, ino, &node);
	uint32_t listing = found ? ops_listing_of(&node.mailbox) : ROOT_MAILBOX;
	int err = !found                                ? errno_of_handle(FAULT_GONE)
	          : !node_xattr_get(&node, name, value) ? ENODATA
	                                                : 0;
	cache_view_end(view);
	account_used(fs->account, listing);
	if (err != 0)
		fuse_reply_err(req, err);
	else
		reply_xattr(req, value, size);
	g_string_free(value, TRUE);
}

static void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = req_fs(req);
	struct node node;
	GString *names = g_string_new(NULL);
	struct cache_view *view = cache_view_begin(fs->cache);
	bool found = node_get(view, ino, &node);
	if (found)
		node_xattr_list(&node, names);
	cache_view_end(view);
	if (!found)
		fuse_reply_err(req, errno_of_handle(FAULT_GONE));
	else
		reply_xattr(req, names, size);
	g_string_free(names, TRUE);
}

/* --- what is not for messages ---------------------------------------------------------- */

static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int which, struct fuse_file_info *fi)
{
	(void)ino, (void)st, (void)which, (void)fi;
	fuse_reply_err(req, EPERM);
}

static void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)parent, (void)name, (void)mode, (void)dev;
	fuse_reply_err(req, EPERM);
}

static void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	fuse_reply_err(req, EPERM);
}

static void
op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void
op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target, (void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
          const char *new_name, unsigned flags)
{
	(void)parent, (void)name, (void)new_parent, (void)new_name, (void)flags;
	fuse_reply_err(req, EPERM);
}

static void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino, (void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void
op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
          struct fuse_file_info *fi)
{
	(void)parent, (void)name, (void)mode, (void)fi;
	fuse_reply_err(req, EPERM);
}

static void
op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
         struct fuse_file_info *fi)
{
	(void)ino, (void)data, (void)size, (void)off, (void)fi;
	fuse_reply_err(req, EPERM);
}

static void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
            int flags)
{
	(void)ino, (void)value, (void)size, (void)flags;
	fuse_reply_err(req, g_str_has_prefix(name, "user.") ? EPERM : EOPNOTSUPP);
}

static void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	fuse_reply_err(req, g_str_has_prefix(name, "user.") ? EPERM : EOPNOTSUPP);
}

/* --- the table ------------------------------------------------------------------------- */

static void
op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	/* Always with attributes: left to itself the kernel asks for each file once more. */
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	conn->want |= conn->capable & FUSE_CAP_READDIRPLUS;
	/* Read-ahead that waits for the network must not keep others from reading. */
	conn->max_background = 65535;
	conn->congestion_threshold = 65535;
}

static const struct fuse_lowlevel_ops table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
};

const struct fuse_lowlevel_ops *
ops_table(void)
{
	return &table;
}
