/* SPDX-License-Identifier: MIT */
/* The generations of a mailbox's UIDs in the index, while one takes the place of another. */
#include "config.h"

#include "test-cache.h"

#include "mail/apply.h"
#include "mail/identity.h"

struct job {
	uint32_t space, to; /* a generation, and one beside it */
};

/* MAILBOX is listed, with five messages in SPACE. */
static bool
list(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct mailbox_record box;
	uint32_t space;
	(void)data;
	if (!txn_space_alloc(txn, &space, fault))
		return false;
	assert_int_equal(space, SPACE);
	for (uint32_t uid = 1; uid <= 5; uid++)
		if (!put_message(txn, SPACE, uid, 0, 0, fault))
			return false;
	if (!cache_mailbox_get(cache_txn_view(txn), MAILBOX, &box))
		return false;
	box.listed = true;
	box.uidvalidity = 1;
	box.messages = 5;
	return txn_mailbox_put(txn, &box, fault);
}

/* Two messages in the new generation. */
static bool
build(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct job *job = data;
	bool ok = true;
	for (uint32_t uid = 1; ok && uid <= 2; uid++) {
		const char *name = uid == 1 ? "x.eml" : "y.eml";
		struct message_record record = { .space = job->to, .recno = uid, .uid = 10 + uid,
			                         .name = name, .name_len = 5 };
		ok = txn_message_put(txn, MAILBOX, &record, fault);
	}
	return ok;
}

static bool
drop(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct job *job = data;
	return txn_mailbox_delete(txn, MAILBOX, fault) &&
	       apply_space_drop(txn, MAILBOX, job->space, fault);
}

static unsigned
count(struct cache *cache, uint32_t space)
{
	struct cache_view *view = cache_view_begin(cache);
	uint32_t uid = 0;
	unsigned found = 0;
	while (cache_uid_next(view, space, uid, &uid))
		found++;
	cache_view_end(view);
	return found;
}

static bool
is_of_it(struct cache *cache, uint32_t space)
{
	struct cache_view *view = cache_view_begin(cache);
	struct mailbox_record box;
	assert_true(cache_mailbox_get(view, MAILBOX, &box));
	bool is = apply_space_is(view, &box, space);
	cache_view_end(view);
	return is;
}

/* The space for a UIDVALIDITY, of the mailbox or of another one under its name. */
static uint32_t
space_for(struct fixture *f, uint64_t uidvalidity, const char *other)
{
	struct account account = { .cache = f->cache };
	struct fault fault = { 0 };
	uint32_t space = 0;
	if (!apply_space(&account, MAILBOX, uidvalidity, other, &space, &fault))
		fail_msg("%s", fault.text);
	return space;
}

static void
await_none(struct cache *cache, uint32_t space)
{
	for (int i = 0; i < 10000 && count(cache, space) > 0; i++)
		usleep(1000);
	assert_int_equal(count(cache, space), 0);
}

static void
test_both_go(void **state)
{
	struct fixture *f = *state;
	must_run(f->cache, list, NULL);
	assert_int_equal(space_for(f, 1, NULL), SPACE);
	struct job job = { SPACE, space_for(f, 2, NULL) };
	assert_int_not_equal(job.to, SPACE);
	must_run(f->cache, build, &job);
	assert_int_equal(count(f->cache, job.to), 2);
	assert_true(is_of_it(f->cache, SPACE));
	assert_true(is_of_it(f->cache, job.to));
	assert_false(is_of_it(f->cache, job.to + 1));
	must_run(f->cache, drop, &job);
	await_none(f->cache, SPACE);
	await_none(f->cache, job.to);
}

/* What was built for one UIDVALIDITY is not gone on with under another. */
static void
test_one_that_came_to_nothing(void **state)
{
	struct fixture *f = *state;
	must_run(f->cache, list, NULL);
	struct job job = { SPACE, space_for(f, 2, NULL) };
	must_run(f->cache, build, &job);
	assert_int_equal(space_for(f, 2, NULL), job.to);
	uint32_t other = space_for(f, 3, NULL);
	assert_int_not_equal(other, job.to);
	await_none(f->cache, job.to);
	assert_int_equal(count(f->cache, SPACE), 5);
	/* Another mailbox with the same UIDVALIDITY has UIDs of its own. */
	assert_int_not_equal(space_for(f, 3, "another"), other);
}

/* Labels and flags of several messages that are known have changed: their rows are written twice,
 * and the first time moves what they point to. */
static void
test_labels_and_flags(void **state)
{
	static const char *const labels[] = { "a-label-that-was-not-there-before" };
	static const char *const keywords[] = { "$Work" };
	struct fixture *f = *state;
	struct account account = { .cache = f->cache };
	const struct apply_final final = { .removals_only = true };
	struct fault fault = { 0 };
	must_run(f->cache, list, NULL);
	account.mboxes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	struct apply_batch *batch = apply_batch_new(&account, MAILBOX, SPACE, 1, false);
	for (uint32_t uid = 1; uid <= 5; uid++) {
		const struct imap_fetch fetch = {
			.uid = uid, .has_flags = true,
			.flags = { IMAP_FLAG_FLAGGED, 1, keywords },
			.has_gm_labels = true, .gm_label_count = 1, .gm_labels = labels,
		};
		apply_update(batch, &fetch);
	}
	if (!apply_finish(&batch, &final, &fault))
		fail_msg("%s", fault.text);
	g_hash_table_destroy(account.mboxes);
	struct cache_view *view = cache_view_begin(f->cache);
	for (uint32_t uid = 1; uid <= 5; uid++) {
		struct message_record record;
		char name[32], emailid[32];
		g_snprintf(name, sizeof name, "%u.eml", uid);
		g_snprintf(emailid, sizeof emailid, "E%u", uid);
		assert_true(cache_message_by_uid(view, SPACE, uid, &record));
		assert_string_equal(record.name, name);
		assert_string_equal(record.emailid, emailid);
		assert_string_equal(record.labels, labels[0]);
		assert_string_equal(record.keywords, keywords[0]);
		assert_int_equal(record.flags, IMAP_FLAG_FLAGGED);
	}
	cache_view_end(view);
}

static bool
put_twin(struct cache_txn *txn, uint32_t space, uint32_t uid, uint64_t ino, struct fault *fault)
{
	char name[32], emailid[32];
	g_snprintf(name, sizeof name, "%u.eml", uid);
	g_snprintf(emailid, sizeof emailid, "an-id-of-%u", uid);
	const struct message_record record = { .space = space, .recno = uid, .uid = uid, .ino = ino,
		                               .name = name, .name_len = strlen(name),
		                               .emailid = emailid };
	return txn_message_put(txn, MAILBOX, &record, fault);
}

struct found {
	enum identity_kind kind[5];
	uint64_t ino[5];
};

/* Five messages of a generation that is no longer the present one, and the same five of a new one,
 * of which each is looked for while the others are being buried. */
static bool
look_for_stale(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct found *found = data;
	uint32_t old, new;
	bool ok = list(txn, NULL, fault) && txn_space_alloc(txn, &old, fault) &&
	          txn_space_alloc(txn, &new, fault);
	for (uint32_t uid = 1; ok && uid <= 5; uid++)
		ok = put_twin(txn, old, uid, 2000 + uid, fault) &&
		     put_twin(txn, new, uid, 0, fault);
	struct identity identity = { .name = g_string_new(NULL) };
	for (uint32_t uid = 1; ok && uid <= 5; uid++) {
		struct message_record record;
		ok = cache_message_by_uid(cache_txn_view(txn), new, uid, &record) &&
		     identity_find(txn, MAILBOX, 2, &record, &identity, fault);
		found->kind[uid - 1] = identity.kind;
		found->ino[uid - 1] = identity.ino;
	}
	g_string_free(identity.name, TRUE);
	return ok;
}

static void
test_stale_ones_are_found(void **state)
{
	struct fixture *f = *state;
	struct found found = { 0 };
	must_run(f->cache, look_for_stale, &found);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(found.kind[i], IDENTITY_MOVED);
		assert_int_equal(found.ino[i], 2001 + i);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_go, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_one_that_came_to_nothing, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(test_labels_and_flags, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(test_stale_ones_are_found, fixture_setup,
		                                fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
