/* SPDX-License-Identifier: MIT */
/*
 * The operations: requests of the kernel in, replies out. ops*.c and mount.c are
 * the only files that see libfuse.
 *
 * Workers answer from the cache and never wait; what needs the network is
 * parked (fs/park.h) and answered by whoever fulfils it. Calls that change
 * anything but deletion answer EPERM, never ENOSYS, which the kernel would
 * remember.
 */
#ifndef FS_OPS_H
#define FS_OPS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "fs/file.h"
#include "fs/node.h"
#include "fs/notify.h"
#include "fs/park.h"
#include "fs/tree.h"
#include "mail/account.h"

struct fuse_session;
struct fuse_lowlevel_ops;

/* What the handlers share; libfuse's user data. */
struct fs {
	struct account *account;
	struct cache *cache;
	struct node_look look;
	double refresh_s;             /* for which the kernel keeps what it found */
	bool sync;                    /* deletions wait for the server */
	struct fuse_session *session; /* set before the first request */
	struct file_table *files;
	struct tree_notes *notes;
	struct park_lot *parks;
	atomic_bool init_patched;     /* the reply to INIT has been written */
	atomic_int pushing;           /* pushes of pages under way */
};

void fs_init(struct fs *fs);
/* No request may be outstanding. */
void fs_release(struct fs *fs);

/* Static. */
const struct fuse_lowlevel_ops *ops_table(void);

/*
 * Sends what libfuse has to say, and asks the kernel, in the reply to INIT, for
 * parallel directory operations, which libfuse 3.14 forgets. To be called between
 * mounting and serving. Returns 0 or a negative errno.
 */
int ops_hook_io(struct fs *fs);

/* Tell the kernel, for the notifier; ctx is the struct fs. */
extern const struct notify_sink ops_notify_sink;

#endif
