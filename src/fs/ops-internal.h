/* SPDX-License-Identifier: MIT */
/*
 * What the files of the operations share. Nobody but fs/ops*.c includes this.
 *
 * A handler tries at once. If that can't be without the network, it makes a
 * call, which holds the request and its arguments, and parks it (fs/park.h);
 * the same try is made again when what it waited for has happened.
 */
#ifndef FS_OPS_INTERNAL_H
#define FS_OPS_INTERNAL_H

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>

#include "fs/errno.h"
#include "fs/ops.h"

#define NAME_LEN_MAX 255

/* A request that may have to wait. */
struct call {
	struct park park; /* first */
	struct fs *fs;
	fuse_req_t req;
	struct fuse_file_info fi;
	uint64_t ino;     /* LOOKUP, UNLINK: of the directory */
	uint32_t mailbox;
	bool plus;        /* READDIRPLUS */
	size_t size;      /* READ, READDIR */
	off_t off;
	uint64_t hint;    /* OPEN: the size that the index had, proven or not */
	bool proven;
	uint64_t key;     /* OPEN: of the body, at first */
	bool doubtful;    /* OPEN: what the inode was before may be another message */
	char name[NAME_LEN_MAX + 1];
};

/* What a try says beside 0 and an errno. */
enum { MUST_WAIT = -1 };

/* --- ops.c ----------------------------------------------------------------------------- */

struct fs *req_fs(fuse_req_t req);

struct call *call_new(fuse_req_t req, void (*step)(struct park *, const struct fault *));
/* Replies with an errno, if nobody did, and ends the call. */
void call_end(struct call *call, int err);
/* The abandon() of a call. */
void call_abandon(struct park *park, bool interrupted);
/* Parks until a listing is further than that state. */
void call_wait_listing(struct call *call, const struct tree_state *state);

/* The listing on which the freshness of a directory and of what is in it depends. */
uint32_t ops_listing_of(const struct mailbox_record *mailbox);
/* Seconds for which the kernel may keep what is there. */
double ops_valid_s(struct fs *fs, uint32_t listing);
/* The stat that the kernel is told. */
void ops_stat(struct fs *fs, const struct node *node, struct stat *st_r);

/* --- ops-dir.c ------------------------------------------------------------------------- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);

/* --- ops-file.c ------------------------------------------------------------------------ */

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);

#endif
