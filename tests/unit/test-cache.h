/* SPDX-License-Identifier: MIT */
/* What the tests of cache/ share: a private directory, an open cache, and messages to put in. */
#ifndef TEST_CACHE_H
#define TEST_CACHE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "cache/body.h"
#include "cache/cache.h"

#define SPACE       1u
#define MAILBOX     1u
#define MAILBOX_INO (UINT64_C(1) << 40)

struct fixture {
	char dir[64], state_dir[80], body_dir[80];
	struct cache_config config;
	struct cache *cache;
};

static inline void
fixture_open(struct fixture *f)
{
	struct fault fault = { 0 };
	if (!cache_open(&f->config, &f->cache, &fault))
		fail_msg("%s", fault.text);
}

static inline int
fixture_setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_strlcpy(f->dir, "/tmp/imapfs-cache-XXXXXX", sizeof f->dir);
	assert_non_null(mkdtemp(f->dir));
	g_snprintf(f->state_dir, sizeof f->state_dir, "%s/state", f->dir);
	g_snprintf(f->body_dir, sizeof f->body_dir, "%s/bodies", f->dir);
	f->config = (struct cache_config){ f->state_dir, f->body_dir, UINT64_C(64) << 20 };
	fixture_open(f);
	*state = f;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *f = *state;
	struct fault fault = { 0 };
	char *small = g_strconcat(f->dir, "/small", NULL);
	umount2(small, MNT_DETACH); /* of a test that failed */
	g_free(small);
	if (f->cache != NULL && !cache_check(f->cache, &fault))
		print_error("%s\n", fault.text);
	cache_close(&f->cache);
	char *argv[] = { g_strdup("rm"), g_strdup("-rf"), g_strdup(f->dir), NULL };
	g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
	for (int i = 0; i < 3; i++)
		g_free(argv[i]);
	g_free(f);
	return fault.kind != FAULT_NONE;
}

/* Runs in a transaction of its own; must work. */
static inline void
must_run(struct cache *cache, bool (*run)(struct cache_txn *, void *, struct fault *), void *data)
{
	struct fault fault = { 0 };
	if (!cache_run(cache, run, data, &fault))
		fail_msg("%s", fault.text);
}

/* MAILBOX, of that present space. */
static inline bool
put_box(struct cache_txn *txn, uint32_t space, struct fault *fault)
{
	const struct mailbox_record record = {
		.id = MAILBOX, .parent = ROOT_MAILBOX, .ino = MAILBOX_INO, .space = space,
		.raw = "Box", .raw_len = 3, .name = "Box", .name_len = 3,
	};
	return txn_mailbox_put(txn, &record, fault);
}

/* Message `uid` of MAILBOX, of record number uid and inode 1000 + uid, named "uid.eml", with
 * identities of its own. The mailbox, if it is not there yet, gets SPACE. */
static inline bool
put_message(struct cache_txn *txn, uint32_t space, uint32_t uid, uint32_t flags, uint32_t state,
            struct fault *fault)
{
	char name[32], emailid[32];
	g_snprintf(name, sizeof name, "%u.eml", uid);
	g_snprintf(emailid, sizeof emailid, "E%u", uid);
	struct message_record record = {
		.space = space, .recno = uid, .uid = uid, .flags = flags, .state = state,
		.ino = 1000 + uid, .size = uid, .name = name, .name_len = strlen(name),
		.emailid = emailid,
	};
	key_u32(record.identity, uid);
	struct mailbox_record box;
	return (cache_mailbox_get(cache_txn_view(txn), MAILBOX, &box) ||
	        put_box(txn, SPACE, fault)) &&
	       txn_message_put(txn, MAILBOX, &record, fault);
}

struct range {
	uint32_t first, last, flags, state;
};

static inline bool
put_range(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct range *range = data;
	for (uint32_t uid = range->first; uid <= range->last; uid++)
		if (!put_message(txn, SPACE, uid, range->flags, range->state, fault))
			return false;
	return true;
}

static inline bool
delete_range(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct range *range = data;
	struct message_record record;
	for (uint32_t uid = range->first; uid <= range->last; uid++)
		if (cache_message_by_uid(cache_txn_view(txn), SPACE, uid, &record) &&
		    !txn_message_delete(txn, &record, fault))
			return false;
	return true;
}

/* The listed messages of the space, and the sum of their UIDs. */
static inline unsigned
count_listed(struct cache *cache, uint64_t *sum_r)
{
	struct cache_view *view = cache_view_begin(cache);
	struct cache_scan scan;
	struct message_record record;
	unsigned count = 0;
	uint64_t sum = 0;
	cache_scan_init(&scan, view, SPACE, 0);
	while (cache_scan_next(&scan, &record)) {
		count++;
		sum += record.uid;
	}
	assert_false(scan.failed);
	cache_view_end(view);
	if (sum_r != NULL)
		*sum_r = sum;
	return count;
}

static inline void
must_check(struct cache *cache)
{
	struct fault fault = { 0 };
	if (!cache_check(cache, &fault))
		fail_msg("%s", fault.text);
}

static inline bool
retire_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	const uint32_t *space = data;
	return txn_space_retire(txn, *space, fault);
}

/* Until a retired space is reaped. */
static inline void
wait_until_empty(struct cache *cache, uint32_t space)
{
	bool left = true;
	uint32_t uid;
	for (int i = 0; i < 1000 && left; i++) {
		struct cache_view *view = cache_view_begin(cache);
		left = cache_uid_next(view, space, 0, &uid);
		cache_view_end(view);
		if (left)
			usleep(10000);
	}
	assert_false(left);
}

#endif
