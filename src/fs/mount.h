/* SPDX-License-Identifier: MIT */
/*
 * The mounted filesystem, from the cache's opening to its closing.
 *
 * mount_run() is called by the process that serves (after the fork of a program
 * that goes to the background), in its main thread, once. It
 *
 *     looks at the mount point, detaches a dead mount that is left there,
 *     opens the cache, starts the account, waits for the login,
 *     mounts, calls ready(), serves until SIGTERM, SIGINT, SIGHUP or an unmount,
 *     unmounts, lets pending changes go out, closes the cache.
 *
 * A second signal while it is ending ends the process at once; what is pending
 * then waits in the cache for the next mount.
 *
 * Without a server it mounts what the cache holds, if the tree of mailboxes was
 * listed before; a refused password or certificate is fatal even so.
 */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/fault.h"
#include "cache/cache.h"
#include "mail/account.h"

/* All strings stay the caller's and must live until mount_run() returns. */
struct mount_config {
	const char *source;         /* as it shall stand in /proc/mounts; holds no secret */
	const char *mountpoint;     /* absolute */
	const char *const *options; /* further options for the kernel or libfuse, each as it follows
	                             * -o ("nodev", "max_read=65536"), NULL at the end; or NULL.
	                             * "nonempty" is taken too. */
	bool read_only;             /* -o ro */
	bool allow_other;
	bool sync;                  /* -o sync: deletions wait for the server */
	uid_t uid;                  /* the owner of everything */
	gid_t gid;
	mode_t umask;               /* taken from 0777 (directories) and 0666 (messages); the
	                             * default of the program is 0077 */
	struct cache_config cache;
	struct account_config account; /* but for namer, event, event_ctx, read_only, which
	                                * mount_run() sets */
	/* The filesystem is mounted; warning is one line, or NULL. Called once, in the thread of
	 * mount_run(), or not at all if it fails. May be NULL. */
	void (*ready)(void *ctx, const char *warning);
	void *ready_ctx;
};

/*
 * True: it was mounted and has been unmounted. False, with a line that says what is wrong and what
 * to do: it could not be mounted (ready() was not called), or changes were refused or are still
 * pending at the end (it was called).
 */
bool mount_run(const struct mount_config *config, struct fault *fault);

#endif
