/* SPDX-License-Identifier: MIT */
/* Tests of cache/: opening, mailboxes, messages, scans, counters, the journal, consistency. */
#include "config.h"

#include "test-cache.h"

#include <lmdb.h>
#include <pthread.h>

/* --- opening --------------------------------------------------------------------------- */

static void
test_files_are_private(void **state)
{
	struct fixture *f = *state;
	static const char *const files[] = { "state/index.mdb", "state/index.mdb-lock", "state/lock",
		                             "bodies/bodies.mdb", "bodies/bodies.mdb-lock",
		                             "bodies/bodies.state" };
	struct stat st;
	assert_int_equal(stat(f->state_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(f->body_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		char *path = g_build_filename(f->dir, files[i], NULL);
		if (stat(path, &st) != 0)
			fail_msg("%s is missing", path);
		assert_int_equal(st.st_mode & 07777, 0600);
		g_free(path);
	}
}

static void
test_second_opener_learns_the_pid(void **state)
{
	struct fixture *f = *state;
	struct cache *second = NULL;
	struct fault fault;
	char pid[32];
	assert_false(cache_open(&f->config, &second, &fault));
	assert_null(second);
	assert_int_equal(fault.kind, FAULT_BUSY);
	g_snprintf(pid, sizeof pid, "in use by process %ld", (long)getpid());
	assert_non_null(strstr(fault.text, pid));
	/* The first one is none the worse. */
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	cache_close(&f->cache);
	assert_null(f->cache);
	cache_close(&f->cache);
	fixture_open(f);
	assert_int_equal(count_listed(f->cache, NULL), 3);
}

/* Changes a value of the closed index behind the cache's back; returns the former one. */
static uint64_t
set_meta(const struct fixture *f, const char *name, uint64_t number)
{
	char *path = g_build_filename(f->state_dir, "index.mdb", NULL), *text = g_strdup(name);
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi meta;
	MDB_val key = { strlen(text), text }, value = { sizeof number, &number };
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 4);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	MDB_val former;
	uint64_t former_number;
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(mdb_get(txn, meta, &key, &former), 0);
	assert_int_equal(former.mv_size, sizeof former_number);
	memcpy(&former_number, former.mv_data, sizeof former_number);
	assert_int_equal(mdb_put(txn, meta, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	g_free(path);
	g_free(text);
	return former_number;
}

static void
test_another_format_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	cache_close(&f->cache);
	uint64_t format = set_meta(f, "format", 99);
	assert_false(cache_open(&f->config, &f->cache, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	assert_non_null(strstr(fault.text, "format 99"));
	/* And left alone. */
	assert_int_equal(set_meta(f, "format", format), 99);
	fixture_open(f);
	assert_int_equal(count_listed(f->cache, NULL), 3);
}

static void
test_damaged_index_is_set_aside(void **state)
{
	struct fixture *f = *state;
	char *path = g_build_filename(f->state_dir, "index.mdb", NULL);
	char *bad = g_strconcat(path, ".bad", NULL);
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	cache_close(&f->cache);
	assert_true(g_file_set_contents(path, "not a database at all, but long enough to be read as a "
	                                      "header of one: .......................", -1, NULL));
	fixture_open(f);
	assert_int_equal(count_listed(f->cache, NULL), 0);
	assert_int_equal(access(bad, F_OK), 0);
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	assert_int_equal(count_listed(f->cache, NULL), 3);
	g_free(bad);
	g_free(path);
}

/* Its pages are read through a map: one that lies behind the end of the file must not be. */
static void
test_cut_index_is_set_aside(void **state)
{
	struct fixture *f = *state;
	char *path = g_build_filename(f->state_dir, "index.mdb", NULL), *octets;
	char *bad = g_strconcat(path, ".bad", NULL);
	gsize len;
	must_run(f->cache, put_range, &(struct range){ 1, 2000, 0, 0 });
	/* Frees pages all over it, so that their list is somewhere too. */
	for (uint32_t i = 0; i < 20; i++)
		must_run(f->cache, put_range, &(struct range){ 100 * i + 1, 100 * i + 1, 0, 0 });
	cache_close(&f->cache);
	assert_true(g_file_get_contents(path, &octets, &len, NULL));
	for (gsize kept = len - 1; kept > len / 16; kept -= len / 16) {
		assert_true(g_file_set_contents(path, octets, (gssize)kept, NULL));
		unlink(bad);
		fixture_open(f);
		unsigned count = count_listed(f->cache, NULL);
		if (access(bad, F_OK) == 0)
			assert_int_equal(count, 0);
		else
			assert_int_equal(count, 2000);
		cache_close(&f->cache);
	}
	assert_int_equal(access(bad, F_OK), 0);
	g_free(octets);
	g_free(bad);
	g_free(path);
}

static void
test_state_dir_that_cannot_be_made(void **state)
{
	(void)state;
	const struct cache_config config = { "/proc/none/state", "/proc/none/bodies", 1 << 20 };
	struct cache *cache = NULL;
	struct fault fault;
	assert_false(cache_open(&config, &cache, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	assert_non_null(strstr(fault.text, "-o cache=DIR"));
}

static void
test_state_dir_that_cannot_be_written(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	char *path = g_build_filename(f->state_dir, "lock", NULL);
	cache_close(&f->cache);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0); /* what root may not write either */
	assert_false(cache_open(&f->config, &f->cache, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	assert_non_null(strstr(fault.text, path));
	assert_non_null(strstr(fault.text, "-o cache=DIR"));
	assert_int_equal(rmdir(path), 0);
	fixture_open(f);
	g_free(path);
}

/* --- mailboxes ------------------------------------------------------------------------- */

static bool
put_mailbox(struct cache_txn *txn, uint32_t parent, const char *raw, const char *name,
            uint32_t *id_r, struct fault *fault)
{
	struct mailbox_record record = { .parent = parent, .raw = raw, .raw_len = strlen(raw),
		                         .name = name, .name_len = strlen(name) };
	if (!txn_mailbox_id_alloc(txn, &record.id, fault) ||
	    !txn_ino_alloc(txn, &record.ino, fault) || !txn_mailbox_put(txn, &record, fault))
		return false;
	*id_r = record.id;
	return true;
}

struct tree {
	uint32_t inbox, sub, other;
};

static bool
make_tree(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct tree *tree = data;
	return put_mailbox(txn, ROOT_MAILBOX, "INBOX", "INBOX", &tree->inbox, fault) &&
	       put_mailbox(txn, tree->inbox, "INBOX.Sub", "Sub", &tree->sub, fault) &&
	       put_mailbox(txn, ROOT_MAILBOX, "Other", "Other", &tree->other, fault);
}

static void
test_the_root_is_always_there(void **state)
{
	struct fixture *f = *state;
	struct cache_view *view = cache_view_begin(f->cache);
	struct mailbox_record root;
	struct inode_record inode;
	uint32_t id;
	assert_true(cache_mailbox_get(view, ROOT_MAILBOX, &root));
	assert_int_equal(root.ino, ROOT_INO);
	assert_true(cache_inode_get(view, ROOT_INO, &inode));
	assert_false(inode.is_message);
	assert_int_equal(inode.mailbox, ROOT_MAILBOX);
	assert_false(cache_mailbox_next(view, ROOT_MAILBOX, &root));
	assert_false(cache_child_next(view, ROOT_MAILBOX, 0, &root));
	assert_false(cache_mailbox_by_raw(view, "", 0, &id));
	cache_view_end(view);
}

static void
test_mailboxes_are_found_every_way(void **state)
{
	struct fixture *f = *state;
	struct tree tree;
	struct mailbox_record record;
	struct inode_record inode;
	uint32_t id;
	must_run(f->cache, make_tree, &tree);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_mailbox_child(view, ROOT_MAILBOX, "INBOX", 5, &id) && id == tree.inbox);
	assert_true(cache_mailbox_child(view, tree.inbox, "Sub", 3, &id) && id == tree.sub);
	assert_false(cache_mailbox_child(view, tree.other, "Sub", 3, &id));
	assert_true(cache_mailbox_by_raw(view, "INBOX.Sub", 9, &id) && id == tree.sub);
	assert_true(cache_child_next(view, ROOT_MAILBOX, 0, &record) && record.id == tree.inbox);
	assert_true(cache_child_next(view, ROOT_MAILBOX, tree.inbox, &record));
	assert_int_equal(record.id, tree.other);
	assert_false(cache_child_next(view, ROOT_MAILBOX, tree.other, &record));
	assert_true(cache_child_next(view, tree.inbox, 0, &record) && record.id == tree.sub);
	assert_true(cache_inode_get(view, record.ino, &inode));
	assert_true(!inode.is_message && inode.mailbox == tree.sub);
	cache_view_end(view);
}

static bool
rename_sub(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct tree *tree = data;
	struct mailbox_record record;
	assert_true(cache_mailbox_get(cache_txn_view(txn), tree->sub, &record));
	record.parent = tree->other;
	record.name = "Moved";
	record.name_len = 5;
	return txn_mailbox_put(txn, &record, fault); /* raw still points into the database */
}

static bool
delete_sub(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct tree *tree = data;
	return txn_mailbox_delete(txn, tree->sub, fault);
}

static void
test_a_mailbox_moves_and_goes(void **state)
{
	struct fixture *f = *state;
	struct tree tree;
	struct mailbox_record record;
	struct fault fault;
	uint32_t id;
	must_run(f->cache, make_tree, &tree);
	must_run(f->cache, rename_sub, &tree);
	assert_true(cache_check(f->cache, &fault));
	struct cache_view *view = cache_view_begin(f->cache);
	assert_false(cache_mailbox_child(view, tree.inbox, "Sub", 3, &id));
	assert_false(cache_child_next(view, tree.inbox, 0, &record));
	assert_true(cache_mailbox_child(view, tree.other, "Moved", 5, &id) && id == tree.sub);
	assert_true(cache_mailbox_by_raw(view, "INBOX.Sub", 9, &id) && id == tree.sub);
	assert_true(cache_mailbox_get(view, tree.sub, &record));
	cache_view_end(view);
	uint64_t ino = record.ino;
	must_run(f->cache, delete_sub, &tree);
	must_run(f->cache, delete_sub, &tree);
	assert_true(cache_check(f->cache, &fault));
	view = cache_view_begin(f->cache);
	struct inode_record inode;
	assert_false(cache_mailbox_get(view, tree.sub, &record));
	assert_false(cache_mailbox_by_raw(view, "INBOX.Sub", 9, &id));
	assert_false(cache_child_next(view, tree.other, 0, &record));
	assert_false(cache_inode_get(view, ino, &inode));
	cache_view_end(view);
}

static bool
put_same_name(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint32_t id;
	return put_mailbox(txn, ROOT_MAILBOX, data, "INBOX", &id, fault);
}

static bool
put_long_raw(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint32_t id;
	const char *raw = data;
	return put_mailbox(txn, ROOT_MAILBOX, raw, raw + strlen(raw) - 3, &id, fault);
}

static void
test_names_taken_or_too_long_are_refused(void **state)
{
	struct fixture *f = *state;
	struct tree tree;
	struct fault fault;
	char raw[] = "inbox", taken[] = "Other";
	must_run(f->cache, make_tree, &tree);
	assert_false(cache_run(f->cache, put_same_name, raw, &fault));
	assert_int_equal(fault.kind, FAULT_EXISTS);
	assert_false(cache_run(f->cache, put_same_name, taken, &fault));
	assert_int_equal(fault.kind, FAULT_EXISTS);
	char *huge = g_strnfill(40000, 'x');
	assert_false(cache_run(f->cache, put_long_raw, huge, &fault));
	assert_int_equal(fault.kind, FAULT_INVALID);
	g_free(huge);
	/* Keys are shorter than names may be: these two differ behind the key's length. */
	char *a = g_strnfill(2000, 'x'), *b = g_strnfill(2000, 'x');
	a[1999] = 'a';
	b[1999] = 'b';
	must_run(f->cache, put_long_raw, a);
	must_run(f->cache, put_long_raw, b);
	struct cache_view *view = cache_view_begin(f->cache);
	uint32_t id_a, id_b;
	assert_true(cache_mailbox_by_raw(view, a, 2000, &id_a));
	assert_true(cache_mailbox_by_raw(view, b, 2000, &id_b));
	assert_int_not_equal(id_a, id_b);
	cache_view_end(view);
	assert_true(cache_check(f->cache, &fault));
	g_free(a);
	g_free(b);
}

/* --- messages -------------------------------------------------------------------------- */

static void
test_messages_are_found_every_way(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	uint32_t mailbox, uid = 0;
	unsigned uids = 0;
	must_run(f->cache, put_range, &(struct range){ 1, 50, 0, 0 });
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_message_by_uid(view, SPACE, 7, &record));
	assert_int_equal(record.recno, 7);
	assert_true(cache_message_by_name(view, SPACE, "9.eml", 5, &record));
	assert_int_equal(record.uid, 9);
	assert_false(cache_message_by_name(view, SPACE, "90.eml", 6, &record));
	assert_false(cache_message_by_name(view, SPACE + 1, "9.eml", 5, &record));
	assert_true(cache_message_by_ino(view, 1011, &mailbox, &record));
	assert_int_equal(record.uid, 11);
	assert_int_equal(mailbox, MAILBOX);
	assert_false(cache_message_by_ino(view, ROOT_INO, &mailbox, &record));
	while (cache_uid_next(view, SPACE, uid, &uid))
		assert_int_equal(uid, ++uids);
	assert_int_equal(uids, 50);
	assert_true(cache_uid_next(view, SPACE, 20, &uid) && uid == 21);
	assert_false(cache_uid_next(view, SPACE, UINT32_MAX, &uid));
	cache_view_end(view);
}

/* Name, UID and inode of a record change. */
static bool
change_all(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct message_record record;
	(void)data;
	assert_true(cache_message_get(cache_txn_view(txn), SPACE, 2, &record));
	record.uid = 900;
	record.ino = 9000;
	record.name = "new.eml";
	record.name_len = 7;
	return txn_message_put(txn, MAILBOX, &record, fault);
}

static void
test_a_changed_record_leaves_no_rows_behind(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct fault fault;
	uint32_t mailbox;
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	must_run(f->cache, change_all, NULL);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_false(cache_message_by_uid(view, SPACE, 2, &record));
	assert_false(cache_message_by_name(view, SPACE, "2.eml", 5, &record));
	assert_false(cache_message_by_ino(view, 1002, &mailbox, &record));
	assert_true(cache_message_by_uid(view, SPACE, 900, &record));
	assert_true(cache_message_by_name(view, SPACE, "new.eml", 7, &record));
	assert_true(cache_message_by_ino(view, 9000, &mailbox, &record));
	cache_view_end(view);
	if (!cache_check(f->cache, &fault))
		fail_msg("%s", fault.text);
}

static bool
take_name(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct message_record record = { .space = SPACE, .recno = 77, .uid = 77, .ino = 77,
		                         .name = "2.eml", .name_len = 5 };
	const char *what = data;
	if (strcmp(what, "uid") == 0) {
		record.uid = 2;
		record.name = "other.eml";
		record.name_len = 9;
	} else if (strcmp(what, "empty") == 0) {
		record.name_len = 0;
	} else if (strcmp(what, "long") == 0) {
		record.name_len = 256;
	}
	return txn_message_put(txn, MAILBOX, &record, fault);
}

static void
test_names_and_uids_are_not_taken_over(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	char name[] = "name", uid[] = "uid", empty[] = "empty", longer[] = "long";
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	assert_false(cache_run(f->cache, take_name, name, &fault));
	assert_int_equal(fault.kind, FAULT_EXISTS);
	assert_false(cache_run(f->cache, take_name, uid, &fault));
	assert_int_equal(fault.kind, FAULT_EXISTS);
	assert_false(cache_run(f->cache, take_name, empty, &fault));
	assert_int_equal(fault.kind, FAULT_INVALID);
	assert_false(cache_run(f->cache, take_name, longer, &fault));
	assert_int_equal(fault.kind, FAULT_INVALID);
	assert_true(cache_check(f->cache, &fault));
	assert_int_equal(count_listed(f->cache, NULL), 3);
}

static void
test_marked_and_hidden_messages_are_not_listed(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	uint64_t sum;
	must_run(f->cache, put_range, &(struct range){ 1, 10, 0, 0 });
	must_run(f->cache, put_range, &(struct range){ 3, 3, MESSAGE_FLAG_DELETED, 0 });
	must_run(f->cache, put_range, &(struct range){ 4, 4, 0, MESSAGE_HIDDEN });
	assert_int_equal(count_listed(f->cache, &sum), 8);
	assert_int_equal(sum, 55 - 3 - 4);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_false(cache_message_by_name(view, SPACE, "3.eml", 5, &record));
	assert_false(cache_message_by_name(view, SPACE, "4.eml", 5, &record));
	assert_true(cache_message_by_uid(view, SPACE, 3, &record));
	assert_true(cache_message_get(view, SPACE, 4, &record));
	cache_view_end(view);
}

static void
test_a_scan_goes_on_over_changes(void **state)
{
	struct fixture *f = *state;
	struct cache_scan scan;
	struct message_record record;
	unsigned count = 0, seen[31] = { 0 };
	must_run(f->cache, put_range, &(struct range){ 1, 20, 0, 0 });
	uint32_t from = 0;
	for (;;) {
		struct cache_view *view = cache_view_begin(f->cache);
		cache_scan_init(&scan, view, SPACE, from);
		bool more = false;
		for (int i = 0; i < 5 && (more = cache_scan_next(&scan, &record)); i++) {
			seen[record.uid]++;
			from = record.recno + 1;
			count++;
		}
		cache_view_end(view);
		if (!more)
			break;
		if (count == 5)
			must_run(f->cache, delete_range, &(struct range){ 3, 8, 0, 0 });
		if (count == 10)
			must_run(f->cache, put_range, &(struct range){ 21, 30, 0, 0 });
	}
	for (unsigned uid = 1; uid <= 30; uid++)
		assert_int_equal(seen[uid], uid < 6 || uid > 8);
}

static void
test_scans_of_one_view_may_be_mixed(void **state)
{
	struct fixture *f = *state;
	struct cache_scan outer, inner;
	struct message_record a, b;
	must_run(f->cache, put_range, &(struct range){ 1, 20, 0, 0 });
	struct cache_view *view = cache_view_begin(f->cache);
	uint32_t expected = 1;
	cache_scan_init(&outer, view, SPACE, 0);
	while (cache_scan_next(&outer, &a)) {
		assert_int_equal(a.uid, expected++);
		cache_scan_init(&inner, view, SPACE, a.recno + 1);
		uint32_t next = a.uid + 1;
		while (cache_scan_next(&inner, &b))
			assert_int_equal(b.uid, next++);
		assert_int_equal(next, 21);
	}
	assert_int_equal(expected, 21);
	cache_view_end(view);
}

static void
test_nested_views_share_the_snapshot(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	struct cache_view *outer = cache_view_begin(f->cache);
	must_run(f->cache, put_range, &(struct range){ 1, 1, 0, 0 });
	struct cache_view *inner = cache_view_begin(f->cache);
	assert_ptr_equal(inner, outer);
	assert_false(cache_message_by_uid(inner, SPACE, 1, &record));
	cache_view_end(inner);
	assert_false(cache_message_by_uid(outer, SPACE, 1, &record));
	cache_view_end(outer);
	outer = cache_view_begin(f->cache);
	assert_true(cache_message_by_uid(outer, SPACE, 1, &record));
	cache_view_end(outer);
}

static void *
read_in_thread(void *data)
{
	struct fixture *f = data;
	assert_int_equal(count_listed(f->cache, NULL), 5);
	return NULL;
}

/* Threads that end give their reader's slot back: there are 512. */
static void
test_threads_come_and_go(void **state)
{
	struct fixture *f = *state;
	must_run(f->cache, put_range, &(struct range){ 1, 5, 0, 0 });
	for (int i = 0; i < 1200; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, read_in_thread, f), 0);
		pthread_join(thread, NULL);
	}
	assert_int_equal(count_listed(f->cache, NULL), 5);
}

/* A thread's view outlives its cache, and another one at the same address is not taken for it. */
static void *
outlive(void *data)
{
	struct fixture *f = data;
	assert_int_equal(count_listed(f->cache, NULL), 5);
	for (int i = 0; i < 3; i++) {
		cache_close(&f->cache);
		fixture_open(f);
		assert_int_equal(count_listed(f->cache, NULL), 5);
	}
	return NULL;
}

static void
test_views_outlive_their_cache(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	must_run(f->cache, put_range, &(struct range){ 1, 5, 0, 0 });
	assert_int_equal(count_listed(f->cache, NULL), 5);
	assert_int_equal(pthread_create(&thread, NULL, outlive, f), 0);
	pthread_join(thread, NULL);
	assert_int_equal(count_listed(f->cache, NULL), 5);
}

/* --- numbers, values, journal ---------------------------------------------------------- */

static bool
allocate(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint64_t *numbers = data;
	uint32_t id, space;
	if (!txn_ino_alloc(txn, &numbers[0], fault) || !txn_mailbox_id_alloc(txn, &id, fault) ||
	    !txn_space_alloc(txn, &space, fault))
		return false;
	numbers[1] = id;
	numbers[2] = space;
	return true;
}

static void
test_numbers_are_never_given_twice(void **state)
{
	struct fixture *f = *state;
	uint64_t numbers[3];
	must_run(f->cache, allocate, numbers);
	assert_true(numbers[0] == 2 && numbers[1] == 1 && numbers[2] == 1);
	must_run(f->cache, allocate, numbers);
	cache_close(&f->cache);
	fixture_open(f);
	must_run(f->cache, allocate, numbers);
	assert_true(numbers[0] == 4 && numbers[1] == 3 && numbers[2] == 3);
}

static bool
write_journal(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct journal_record record = { .kind = JOURNAL_DELETE, .mailbox = 5, .uid = 6,
		                         .target = "Trash", .target_len = 5 };
	(void)data;
	for (record.seq = 1; record.seq <= 3; record.seq++)
		if (!txn_journal_put(txn, &record, fault))
			return false;
	return txn_journal_delete(txn, 2, fault) &&
	       txn_meta_put(txn, "quota", "\0\1\2", 3, fault) &&
	       txn_meta_put(txn, "empty", "", 0, fault);
}

static void
test_journal_and_values(void **state)
{
	struct fixture *f = *state;
	struct journal_record record;
	struct octets value;
	must_run(f->cache, write_journal, NULL);
	cache_close(&f->cache);
	fixture_open(f);
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_journal_next(view, 0, &record) && record.seq == 1);
	assert_string_equal(record.target, "Trash");
	assert_true(cache_journal_next(view, 1, &record) && record.seq == 3);
	assert_false(cache_journal_next(view, 3, &record));
	assert_false(cache_journal_next(view, UINT64_MAX, &record));
	assert_true(cache_meta_get(view, "quota", &value) && value.len == 3);
	assert_memory_equal(value.data, "\0\1\2", 3);
	assert_true(cache_meta_get(view, "empty", &value) && value.len == 0);
	assert_false(cache_meta_get(view, "none", &value));
	cache_view_end(view);
}

/* A row that leads nowhere is found. */
static void
test_check_finds_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	char *path = g_build_filename(f->state_dir, "index.mdb", NULL);
	must_run(f->cache, put_range, &(struct range){ 1, 3, 0, 0 });
	assert_true(cache_check(f->cache, &fault));
	cache_close(&f->cache);
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	unsigned char octets[8];
	key_u32(octets, SPACE);
	key_u32(octets + 4, 2);
	MDB_val key = { 8, octets };
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 4);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "message", 0, &dbi), 0);
	assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	fixture_open(f);
	assert_false(cache_check(f->cache, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	/* The rest of it can still be deleted. */
	must_run(f->cache, retire_run, &(uint32_t){ SPACE });
	bool ok = false;
	for (int i = 0; i < 500 && !ok; i++) {
		ok = count_listed(f->cache, NULL) == 0;
		usleep(10000);
	}
	assert_true(ok);
	cache_close(&f->cache); /* its orphaned name and inode would trouble the teardown */
	g_free(path);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_files_are_private),
		TEST(test_second_opener_learns_the_pid),
		TEST(test_another_format_is_refused),
		TEST(test_damaged_index_is_set_aside),
		TEST(test_cut_index_is_set_aside),
		cmocka_unit_test(test_state_dir_that_cannot_be_made),
		TEST(test_state_dir_that_cannot_be_written),
		TEST(test_the_root_is_always_there),
		TEST(test_mailboxes_are_found_every_way),
		TEST(test_a_mailbox_moves_and_goes),
		TEST(test_names_taken_or_too_long_are_refused),
		TEST(test_messages_are_found_every_way),
		TEST(test_a_changed_record_leaves_no_rows_behind),
		TEST(test_names_and_uids_are_not_taken_over),
		TEST(test_marked_and_hidden_messages_are_not_listed),
		TEST(test_a_scan_goes_on_over_changes),
		TEST(test_scans_of_one_view_may_be_mixed),
		TEST(test_nested_views_share_the_snapshot),
		TEST(test_threads_come_and_go),
		TEST(test_views_outlive_their_cache),
		TEST(test_numbers_are_never_given_twice),
		TEST(test_journal_and_values),
		TEST(test_check_finds_what_is_wrong),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
