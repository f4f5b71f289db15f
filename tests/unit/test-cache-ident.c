/* SPDX-License-Identifier: MIT */
/* Tests of cache/: identities, tombstones and their end, generations of a mailbox, and an index of
 * the first format. */
#include "config.h"

#include "test-cache.h"

#include <lmdb.h>

#define OTHER     2u
#define OTHER_BOX 2u

/* --- identities ------------------------------------------------------------------------ */

/* What put_message() gives message `uid` to be known by. */
static struct message_record
like(uint32_t uid, char emailid[32])
{
	struct message_record record = { .emailid = emailid };
	g_snprintf(emailid, 32, "E%u", uid);
	key_u32(record.identity, uid);
	return record;
}

static unsigned
find_as(struct cache *cache, enum cache_ident kind, uint32_t uid, struct cache_place *places)
{
	char emailid[32];
	struct message_record record = like(uid, emailid);
	struct cache_view *view = cache_view_begin(cache);
	unsigned count = cache_ident_find(view, kind, &record, places, CACHE_IDENT_MAX);
	cache_view_end(view);
	return count;
}

static void
test_messages_are_found_by_identity(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[CACHE_IDENT_MAX];
	must_run(f->cache, put_range, &(struct range){ 1, 20, 0, 0 });
	for (uint32_t uid = 1; uid <= 20; uid++) {
		assert_int_equal(find_as(f->cache, CACHE_IDENT_EMAILID, uid, places), 1);
		assert_true(places[0].space == SPACE && places[0].recno == uid);
		assert_int_equal(find_as(f->cache, CACHE_IDENT_HEADER, uid, places), 1);
		assert_true(places[0].space == SPACE && places[0].recno == uid);
	}
	assert_int_equal(find_as(f->cache, CACHE_IDENT_EMAILID, 21, places), 0);
	must_run(f->cache, delete_range, &(struct range){ 7, 7, 0, 0 });
	assert_int_equal(find_as(f->cache, CACHE_IDENT_EMAILID, 7, places), 0);
	assert_int_equal(find_as(f->cache, CACHE_IDENT_HEADER, 7, places), 0);
	must_check(f->cache);
}

/* Two hundred copies of one message, half of them in another mailbox; and one that is called like
 * it and a bit longer. */
static bool
put_copies(struct cache_txn *txn, void *data, struct fault *fault)
{
	const char *emailid = data;
	char *longer = g_strconcat(emailid, "x", NULL);
	bool ok = put_box(txn, SPACE, fault);
	for (uint32_t i = 1; ok && i <= 201; i++) {
		char name[32];
		g_snprintf(name, sizeof name, "%u.eml", i);
		struct message_record record = {
			.space = i % 2 ? SPACE : OTHER, .recno = i, .uid = i, .ino = 1000 + i,
			.name = name, .name_len = strlen(name),
			.emailid = i == 201 ? longer : emailid,
		};
		memset(record.identity, 7, sizeof record.identity);
		ok = txn_message_put(txn, MAILBOX, &record, fault);
	}
	g_free(longer);
	return ok;
}

static void
test_copies_are_told_up_to_a_bound(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[CACHE_IDENT_MAX];
	struct message_record record = { .emailid = "copy", .identity = { 0 } };
	memset(record.identity, 7, sizeof record.identity);
	must_run(f->cache, put_copies, (char[]){ "copy" });
	struct cache_view *view = cache_view_begin(f->cache);
	unsigned max[] = { 0, 1, CACHE_IDENT_MAX, 10000 };
	for (size_t i = 0; i < G_N_ELEMENTS(max); i++) {
		unsigned expected = MIN(max[i], CACHE_IDENT_MAX);
		assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places,
		                                  max[i]), expected);
		assert_int_equal(cache_ident_find(view, CACHE_IDENT_HEADER, &record, places,
		                                  max[i]), expected);
	}
	record.emailid = "copyx";
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 1);
	assert_int_equal(places[0].recno, 201);
	/* What has no identity is like nothing; a prefix is another one. */
	record = (struct message_record){ .emailid = "" };
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 0);
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_HEADER, &record, places, 2), 0);
	record.emailid = "cop";
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 0);
	record.emailid = NULL;
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 0);
	cache_view_end(view);
	must_check(f->cache);
}

/* An EMAILID is a server's text: the longest that is taken, and one octet more. */
static void
test_long_ids_are_taken_or_left(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[1];
	for (size_t len = 254; len <= 1000; len += len < 257 ? 1 : 743) {
		char *emailid = g_strnfill(len, 'x');
		struct message_record record = { .emailid = emailid };
		must_run(f->cache, put_copies, emailid);
		struct cache_view *view = cache_view_begin(f->cache);
		assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 1),
		                 len <= 255);
		cache_view_end(view);
		must_check(f->cache);
		g_free(emailid);
	}
}

static bool
change_identity(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct message_record record;
	const char *emailid = data;
	assert_true(cache_message_get(cache_txn_view(txn), SPACE, 2, &record));
	record.emailid = emailid;
	memset(record.identity, *emailid, sizeof record.identity);
	return txn_message_put(txn, MAILBOX, &record, fault);
}

static void
test_a_changed_identity_leaves_no_rows_behind(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[2];
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	must_run(f->cache, change_identity, (char[]){ "new" });
	assert_int_equal(find_as(f->cache, CACHE_IDENT_EMAILID, 2, places), 0);
	assert_int_equal(find_as(f->cache, CACHE_IDENT_HEADER, 2, places), 0);
	must_check(f->cache);
	must_run(f->cache, change_identity, (char[]){ "" });
	struct message_record record = { .emailid = "new" };
	struct cache_view *view = cache_view_begin(f->cache);
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 0);
	cache_view_end(view);
	must_check(f->cache);
}

/* --- tombstones ------------------------------------------------------------------------ */

struct burial {
	uint32_t uid, target_mailbox, target_uid;
	uint64_t target_uidvalidity;
};

static bool
bury(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct burial *burial = data;
	struct tomb_record tomb = {
		.mailbox = MAILBOX, .target_mailbox = burial->target_mailbox,
		.target_uidvalidity = burial->target_uidvalidity, .target_uid = burial->target_uid,
	};
	assert_true(cache_message_by_uid(cache_txn_view(txn), SPACE, burial->uid, &tomb.message));
	return txn_message_bury(txn, &tomb, fault);
}

/* As a message of another mailbox, under the old inode number. */
static bool
revive(struct cache_txn *txn, void *data, struct fault *fault)
{
	const uint64_t *ino = data;
	const struct mailbox_record other = {
		.id = OTHER_BOX, .parent = ROOT_MAILBOX, .ino = MAILBOX_INO + 1, .space = OTHER,
		.raw = "Other", .raw_len = 5, .name = "Other", .name_len = 5,
	};
	struct tomb_record tomb;
	if (!txn_mailbox_put(txn, &other, fault))
		return false;
	assert_true(cache_tomb_get(cache_txn_view(txn), *ino, &tomb));
	struct message_record message = tomb.message;
	message.space = OTHER;
	message.recno = message.uid = 40;
	return txn_message_put(txn, OTHER_BOX, &message, fault) &&
	       txn_tomb_delete(txn, *ino, fault);
}

static void
test_a_buried_message_is_found_and_revived(void **state)
{
	struct fixture *f = *state;
	struct tomb_record tomb;
	struct message_record record;
	struct inode_record inode;
	struct cache_place places[2];
	char emailid[32];
	uint32_t mailbox;
	uint64_t ino = 0, inos[4];
	int64_t before = clock_real_ns();
	must_run(f->cache, put_range, &(struct range){ 1, 3, 5, 0 });
	must_run(f->cache, bury, &(struct burial){ 2, 9, 77, UINT64_C(1) << 33 });
	must_check(f->cache);
	record = like(2, emailid);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_int_equal(cache_tomb_find(view, CACHE_IDENT_EMAILID, &record, inos, 4), 1);
	assert_int_equal(inos[0], 1002);
	assert_int_equal(cache_tomb_find(view, CACHE_IDENT_HEADER, &record, inos, 4), 1);
	assert_int_equal(inos[0], 1002);
	assert_true(cache_tomb_by_place(view, 9, UINT64_C(1) << 33, 77, &ino) && ino == 1002);
	assert_false(cache_tomb_by_place(view, 9, 1, 77, &ino));
	assert_false(cache_tomb_by_place(view, 9, UINT64_C(1) << 33, 78, &ino));
	assert_true(cache_tomb_get(view, 1002, &tomb));
	assert_true(tomb.mailbox == MAILBOX && tomb.target_mailbox == 9 && tomb.target_uid == 77);
	assert_true(tomb.target_uidvalidity == UINT64_C(1) << 33);
	assert_true(tomb.buried_ns >= before && tomb.buried_ns <= clock_real_ns());
	assert_true(tomb.message.ino == 1002 && tomb.message.uid == 2 && tomb.message.flags == 5);
	assert_string_equal(tomb.message.name, "2.eml");
	assert_string_equal(tomb.message.emailid, emailid);
	/* It is no message any more. */
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 0);
	assert_false(cache_message_by_uid(view, SPACE, 2, &tomb.message));
	assert_false(cache_inode_get(view, 1002, &inode));
	cache_view_end(view);
	must_run(f->cache, revive, &(uint64_t){ 1002 });
	must_check(f->cache);
	view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_true(mailbox == OTHER_BOX && record.uid == 40);
	assert_false(cache_tomb_get(view, 1002, &tomb));
	assert_false(cache_tomb_by_place(view, 9, UINT64_C(1) << 33, 77, &ino));
	record = like(2, emailid);
	assert_int_equal(cache_tomb_find(view, CACHE_IDENT_EMAILID, &record, inos, 4), 0);
	assert_int_equal(cache_ident_find(view, CACHE_IDENT_EMAILID, &record, places, 2), 1);
	assert_true(places[0].space == OTHER && places[0].recno == 40);
	cache_view_end(view);
}

/* What the message was is taken along where it moved to: what its old place loses is no death. */
static bool
move_first(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct message_record message;
	(void)data;
	struct tomb_record tomb = { .mailbox = MAILBOX };
	const struct mailbox_record other = {
		.id = OTHER_BOX, .parent = ROOT_MAILBOX, .ino = MAILBOX_INO + 1, .space = OTHER,
		.raw = "Other", .raw_len = 5, .name = "Other", .name_len = 5,
	};
	if (!txn_mailbox_put(txn, &other, fault))
		return false;
	assert_true(cache_message_by_uid(cache_txn_view(txn), SPACE, 2, &message));
	message.space = OTHER;
	if (!txn_message_put(txn, OTHER_BOX, &message, fault) ||
	    !cache_message_by_uid(cache_txn_view(txn), SPACE, 2, &tomb.message))
		return false;
	return txn_message_bury(txn, &tomb, fault);
}

static void
test_what_lives_elsewhere_is_not_buried(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct tomb_record tomb;
	uint32_t mailbox;
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	must_run(f->cache, move_first, NULL);
	must_check(f->cache);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_int_equal(mailbox, OTHER_BOX);
	assert_false(cache_tomb_get(view, 1002, &tomb));
	assert_false(cache_message_by_uid(view, SPACE, 2, &record));
	cache_view_end(view);
}

/* --- their end ------------------------------------------------------------------------- */

static MDB_env *
open_raw(const struct fixture *f, MDB_txn **txn_r)
{
	char *path = g_build_filename(f->state_dir, "index.mdb", NULL);
	MDB_env *env;
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 16);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, txn_r), 0);
	g_free(path);
	return env;
}

static void
close_raw(MDB_env *env, MDB_txn *txn)
{
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* Makes a tombstone of the closed index that much older: it begins with its time. */
static void
make_older(const struct fixture *f, uint64_t ino, int64_t by_ns)
{
	MDB_txn *txn;
	MDB_env *env = open_raw(f, &txn);
	MDB_dbi dbi;
	unsigned char octets[8];
	int64_t buried_ns;
	MDB_val key = { 8, octets }, value;
	key_u64(octets, ino);
	assert_int_equal(mdb_dbi_open(txn, "tomb", 0, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
	void *copy = g_malloc(value.mv_size);
	memcpy(copy, value.mv_data, value.mv_size);
	memcpy(&buried_ns, copy, sizeof buried_ns);
	assert_true(buried_ns <= clock_real_ns() && buried_ns > clock_real_ns() - 600 * CLOCK_SEC);
	buried_ns -= by_ns;
	memcpy(copy, &buried_ns, sizeof buried_ns);
	value.mv_data = copy;
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	close_raw(env, txn);
	g_free(copy);
}

static bool
tomb_is_there(struct cache *cache, uint64_t ino)
{
	struct tomb_record tomb;
	struct cache_view *view = cache_view_begin(cache);
	bool there = cache_tomb_get(view, ino, &tomb);
	cache_view_end(view);
	return there;
}

static void
test_tombstones_last_a_day(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	char emailid[32];
	uint64_t inos[2];
	const int64_t hour = 3600 * CLOCK_SEC;
	must_run(f->cache, put_range, &(struct range){ 1, 5, 0, 0 });
	for (uint32_t uid = 1; uid <= 5; uid++)
		must_run(f->cache, bury, &(struct burial){ uid, 9, uid, 1 });
	cache_close(&f->cache);
	make_older(f, 1001, 23 * hour);
	make_older(f, 1002, 25 * hour);
	make_older(f, 1004, 1000 * hour);
	make_older(f, 1005, -1000 * hour); /* the clock was wrong */
	fixture_open(f);
	for (int i = 0; i < 1000 && tomb_is_there(f->cache, 1002); i++)
		usleep(10000);
	assert_true(tomb_is_there(f->cache, 1001));
	assert_false(tomb_is_there(f->cache, 1002));
	assert_true(tomb_is_there(f->cache, 1003));
	assert_false(tomb_is_there(f->cache, 1004));
	assert_false(tomb_is_there(f->cache, 1005));
	must_check(f->cache);
	record = like(2, emailid);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_int_equal(cache_tomb_find(view, CACHE_IDENT_EMAILID, &record, inos, 2), 0);
	assert_false(cache_tomb_by_place(view, 9, 1, 2, inos));
	assert_true(cache_tomb_by_place(view, 9, 1, 3, inos));
	cache_view_end(view);
}

/* --- generations ----------------------------------------------------------------------- */

/* A new generation, as when an UIDVALIDITY changes: record 2 is carried over, under UID 9. */
static bool
carry_over(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct message_record record;
	(void)data;
	assert_true(cache_message_get(cache_txn_view(txn), SPACE, 2, &record));
	record.space = SPACE + 1;
	record.uid = 9;
	return txn_message_put(txn, MAILBOX, &record, fault);
}

static bool
switch_over(struct cache_txn *txn, void *data, struct fault *fault)
{
	(void)data;
	return put_box(txn, SPACE + 1, fault) && txn_space_retire(txn, SPACE, fault);
}

static void
test_an_inode_outlives_its_generation(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct tomb_record tomb;
	uint32_t mailbox;
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	must_run(f->cache, carry_over, NULL);
	must_check(f->cache);
	/* It leads to the old one until the switch. */
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_true(record.space == SPACE && record.uid == 2 && mailbox == MAILBOX);
	cache_view_end(view);
	must_run(f->cache, switch_over, NULL);
	view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_true(record.space == SPACE + 1 && record.recno == 2 && record.uid == 9);
	assert_false(cache_message_by_ino(view, 1001, &mailbox, &record));
	cache_view_end(view);
	/* Reaping the old one neither kills nor buries what lives on. */
	wait_until_empty(f->cache, SPACE);
	view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_string_equal(record.name, "2.eml");
	assert_false(cache_tomb_get(view, 1002, &tomb));
	for (uint64_t ino = 1001; ino <= 1003; ino += 2) {
		struct inode_record inode;
		assert_false(cache_inode_get(view, ino, &inode));
		assert_true(cache_tomb_get(view, ino, &tomb));
		assert_true(tomb.mailbox == MAILBOX && tomb.message.uid == ino - 1000);
	}
	cache_view_end(view);
	must_check(f->cache);
}

/* A generation that is given up before the switch takes nothing along. */
static void
test_a_generation_may_be_given_up(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct tomb_record tomb;
	uint32_t mailbox;
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	must_run(f->cache, carry_over, NULL);
	must_run(f->cache, retire_run, &(uint32_t){ SPACE + 1 });
	wait_until_empty(f->cache, SPACE + 1);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_true(record.space == SPACE && record.uid == 2);
	assert_false(cache_tomb_get(view, 1002, &tomb));
	cache_view_end(view);
	must_check(f->cache);
}

/* What nobody wants is deleted while there is nothing else to do. */
static void
test_retired_spaces_are_reaped(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct tomb_record tomb;
	must_run(f->cache, put_range, &(struct range){ 1, 5000, 0, 0 });
	must_run(f->cache, carry_over, NULL);
	must_run(f->cache, switch_over, NULL);
	cache_close(&f->cache);
	fixture_open(f);
	wait_until_empty(f->cache, SPACE);
	struct cache_view *view = cache_view_begin(f->cache);
	unsigned tombs = 0;
	for (uint64_t ino = 1001; ino <= 6000; ino++)
		tombs += cache_tomb_get(view, ino, &tomb);
	assert_int_equal(tombs, 4999);
	assert_true(cache_message_by_uid(view, SPACE + 1, 9, &record));
	cache_view_end(view);
}

/* --- the first format ------------------------------------------------------------------ */

/* The length of the fixed part of a message's and of a mailbox's record then. */
#define FIRST_MESSAGE 104u
#define FIRST_MAILBOX 80u

/* Puts another value in the place of the one at the cursor, whose key lies in the page. */
static void
replace(MDB_cursor *cursor, const MDB_val *key, void *data, size_t len)
{
	unsigned char copy[8];
	assert_true(key->mv_size <= sizeof copy);
	memcpy(copy, key->mv_data, key->mv_size);
	MDB_val at = { key->mv_size, copy }, value = { len, data };
	assert_int_equal(mdb_cursor_put(cursor, &at, &value, MDB_CURRENT), 0);
}

/* Takes what is behind `len` out of the fixed part, and `tail` octets off the end. */
static void
cut_record(MDB_cursor *cursor, const MDB_val *key, const MDB_val *value, uint16_t len, size_t tail)
{
	uint16_t fixed;
	char cut[600];
	memcpy(&fixed, value->mv_data, sizeof fixed);
	assert_true(fixed > len && value->mv_size < sizeof cut);
	size_t rest = value->mv_size - fixed - tail;
	memcpy(cut, value->mv_data, len);
	memcpy(cut, &len, sizeof len);
	memcpy(cut + len, (const char *)value->mv_data + fixed, rest);
	replace(cursor, key, cut, len + rest);
}

/* Inodes had their space behind the record number. */
static void
lengthen_inode(MDB_cursor *cursor, const MDB_val *key, const MDB_val *value)
{
	unsigned char row[INODE_ROW + 4];
	assert_int_equal(value->mv_size, INODE_ROW);
	memcpy(row, value->mv_data, INODE_ROW);
	key_u32(row + INODE_ROW, row[0] != 0 ? SPACE : 0);
	replace(cursor, key, row, sizeof row);
}

/* Makes of the closed index one as the first format had it. */
static void
make_first_format(const struct fixture *f)
{
	static const char *const names[] = { "message", "mailbox", "inode", "ident", "tomb" };
	MDB_txn *txn;
	MDB_env *env = open_raw(f, &txn);
	MDB_dbi dbi;
	uint64_t format = 1;
	char format_name[] = "format";
	MDB_val key = { 6, format_name }, value = { sizeof format, &format };
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	for (unsigned i = 0; i < 5; i++) {
		MDB_cursor *cursor;
		assert_int_equal(mdb_dbi_open(txn, names[i], 0, &dbi), 0);
		if (i >= 3) {
			assert_int_equal(mdb_drop(txn, dbi, 1), 0);
			continue;
		}
		assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			if (i == 0)
				cut_record(cursor, &key, &value, FIRST_MESSAGE, 0);
			else if (i == 1)
				cut_record(cursor, &key, &value, FIRST_MAILBOX, 1);
			else
				lengthen_inode(cursor, &key, &value);
		}
		mdb_cursor_close(cursor);
	}
	close_raw(env, txn);
}

static void
test_the_first_format_is_taken_over(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[2];
	struct mailbox_record box;
	struct message_record record;
	uint32_t mailbox, count = 0;
	must_run(f->cache, put_range, &(struct range){ 1, 300, 0, 0 });
	must_run(f->cache, change_identity, (char[]){ "" });
	cache_close(&f->cache);
	make_first_format(f);
	for (int i = 0; i < 2; i++) {
		fixture_open(f);
		must_check(f->cache);
		assert_int_equal(count_listed(f->cache, NULL), 300);
		for (uint32_t uid = 1; uid <= 300; uid++) {
			count = find_as(f->cache, CACHE_IDENT_EMAILID, uid, places);
			assert_true(uid == 2 ? count == 0 : count == 1 && places[0].recno == uid);
			count = find_as(f->cache, CACHE_IDENT_HEADER, uid, places);
			assert_true(uid == 2 ? count == 0 : count == 1 && places[0].recno == uid);
		}
		struct cache_view *view = cache_view_begin(f->cache);
		assert_true(cache_mailbox_get(view, MAILBOX, &box));
		assert_true(box.space == SPACE && box.compared_ns == 0);
		assert_string_equal(box.mailboxid, "");
		assert_string_equal(box.name, "Box");
		assert_true(cache_message_by_ino(view, 1300, &mailbox, &record));
		assert_true(mailbox == MAILBOX && record.uid == 300 && record.told == 0);
		assert_string_equal(record.name, "300.eml");
		cache_view_end(view);
		cache_close(&f->cache);
	}
	fixture_open(f);
	must_run(f->cache, bury, &(struct burial){ .uid = 5 });
	must_run(f->cache, put_range, &(struct range){ 400, 410, 0, 0 });
	must_check(f->cache);
}

static uint64_t
last_txn(const struct fixture *f)
{
	MDB_txn *txn;
	MDB_env *env = open_raw(f, &txn);
	MDB_envinfo info;
	assert_int_equal(mdb_env_info(env, &info), 0);
	close_raw(env, txn);
	return info.me_last_txnid;
}

/* In steps, since what a transaction changes is in memory until its end. */
static void
test_a_large_index_is_taken_over_in_steps(void **state)
{
	struct fixture *f = *state;
	struct cache_place places[2];
	for (uint32_t from = 1; from <= 20000; from += 5000)
		must_run(f->cache, put_range, &(struct range){ from, from + 4999, 0, 0 });
	cache_close(&f->cache);
	make_first_format(f);
	uint64_t before = last_txn(f);
	fixture_open(f);
	must_check(f->cache);
	for (uint32_t uid = 1; uid <= 20000; uid++)
		assert_int_equal(find_as(f->cache, CACHE_IDENT_EMAILID, uid, places), 1);
	cache_close(&f->cache);
	assert_true(last_txn(f) >= before + 5);
	fixture_open(f);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_messages_are_found_by_identity),
		TEST(test_copies_are_told_up_to_a_bound),
		TEST(test_long_ids_are_taken_or_left),
		TEST(test_a_changed_identity_leaves_no_rows_behind),
		TEST(test_a_buried_message_is_found_and_revived),
		TEST(test_what_lives_elsewhere_is_not_buried),
		TEST(test_tombstones_last_a_day),
		TEST(test_an_inode_outlives_its_generation),
		TEST(test_a_generation_may_be_given_up),
		TEST(test_retired_spaces_are_reaped),
		TEST(test_the_first_format_is_taken_over),
		TEST(test_a_large_index_is_taken_over_in_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
