/* SPDX-License-Identifier: MIT */
/*
 * The notifier: one thread that tells the kernel what changed on the server.
 *
 * To invalidate an entry the kernel takes the directory's lock, and to
 * invalidate pages it waits for reads in flight. So this thread serves no
 * request and holds no lock while it calls; each directory has a queue of its
 * own, and is passed over while a call in it is parked.
 *
 * A LOOKUP or READDIRPLUS that was answered before a change may reach the kernel after
 * the word of it. For entries the kernel's lock on the directory keeps that in order. Attributes
 * of an inode that the kernel does not know yet have no such guard, so the answers that are under
 * way in the directory are waited for before (settle).
 *
 * Of many events of one directory the listing is invalidated once. Where more than
 * NOTIFY_QUEUE_MAX entries wait, all of the directory's are invalidated at once,
 * since the kernel may have been told to keep them for a long time.
 */
#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/account.h"

#define NOTIFY_QUEUE_MAX 16384u

/* What the notifier calls; all by its own thread. */
struct notify_sink {
	void *ctx;
	/* A call that holds the directory's lock is waiting for the network. */
	bool (*busy)(void *ctx, uint64_t dir_ino);
	/* Returns when what was answered in the directory before has reached the kernel. */
	void (*settle)(void *ctx, uint64_t dir_ino);
	void (*attr)(void *ctx, uint64_t ino);
	void (*data)(void *ctx, uint64_t ino);
	void (*listing)(void *ctx, uint64_t dir_ino);
	void (*entries)(void *ctx, uint64_t dir_ino); /* all that are known of it */
	void (*entry_new)(void *ctx, uint64_t dir_ino, const char *name);
	void (*entry_gone)(void *ctx, uint64_t dir_ino, uint64_t ino, const char *name);
};

struct notifier;

struct notifier *notifier_new(const struct notify_sink *sink);
/* Ends the thread; events are dropped from now on. */
void notifier_stop(struct notifier *notifier);
/* Nobody may use it any more. NULL in *notifier is accepted. */
void notifier_free(struct notifier **notifier);
/* Any thread; never blocks for long. */
void notifier_event(struct notifier *notifier, const struct account_event *event);
/* A directory may be no longer busy. */
void notifier_kick(struct notifier *notifier);

#endif
