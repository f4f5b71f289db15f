/* SPDX-License-Identifier: MIT */
/* Names and listings over a real cache that is filled by hand. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fake-account.h"
#include "fs/tree.h"

struct fixture {
	char *dir, *state, *bodies;
	struct cache *cache;
};

static int
setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	struct fault fault;
	f->dir = g_dir_make_tmp("imapfs-tree-XXXXXX", NULL);
	f->state = g_build_filename(f->dir, "state", NULL);
	f->bodies = g_build_filename(f->dir, "bodies", NULL);
	const struct cache_config config = { f->state, f->bodies, 1 << 20 };
	*state = f;
	return cache_open(&config, &f->cache, &fault) && fake_fill_tree(f->cache) ? 0 : -1;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	cache_close(&f->cache);
	char *command = g_strdup_printf("rm -r '%s'", f->dir);
	int status = system(command);
	g_free(command);
	g_free(f->bodies);
	g_free(f->state);
	g_free(f->dir);
	g_free(f);
	return status;
}

struct seen {
	GString *names;
	unsigned most; /* entries that still fit */
	int64_t cookie;
};

static bool
see(void *ctx, const struct tree_entry *entry)
{
	struct seen *seen = ctx;
	if (seen->most == 0)
		return false;
	seen->most--;
	g_assert(entry->cookie > seen->cookie);
	g_assert((entry->message != NULL) + (entry->mailbox != NULL) ==
	         (entry->name[0] == '.' ? 0 : 1));
	g_assert(entry->ino != 0 && entry->dir != NULL);
	seen->cookie = entry->cookie;
	g_string_append_printf(seen->names, "%s ", entry->name);
	return true;
}

/* Walks the whole directory in pieces of that many entries. */
static void
assert_listing(struct cache *cache, uint32_t mailbox, unsigned piece, const char *expected)
{
	struct mailbox_record record;
	struct seen seen = { .names = g_string_new(NULL) };
	struct tree_notes *notes = tree_notes_new();
	struct cache_view *view = cache_view_begin(cache);
	assert_true(cache_mailbox_get(view, mailbox, &record));
	struct tree_dir *dir = tree_dir_open(notes, &record);
	cache_view_end(view);
	do {
		seen.most = piece;
		view = cache_view_begin(cache);
		assert_int_equal(tree_walk(view, dir, seen.cookie, see, &seen), FAULT_NONE);
		cache_view_end(view);
	} while (seen.most < piece);
	assert_string_equal(seen.names->str, expected);
	g_string_free(seen.names, TRUE);
	tree_dir_close(notes, &dir);
	assert_null(dir);
	tree_notes_free(&notes);
}

static uint64_t
add(struct cache *cache, uint32_t mailbox, uint32_t n, const char *name)
{
	const struct fake_message message = { name, 10, 10, false };
	uint64_t ino = fake_fill_message(cache, mailbox, n, &message);
	assert_int_not_equal(ino, 0);
	return ino;
}

static void
test_walk(void **state)
{
	struct fixture *f = *state;
	for (unsigned piece = 1; piece < 6; piece++)
		assert_listing(f->cache, ROOT_MAILBOX, piece, ". .. INBOX Archive Slow ");
	assert_listing(f->cache, FAKE_ARCHIVE, 10, ". .. 2024 ");
	assert_listing(f->cache, FAKE_INBOX, 10, ". .. ");
	add(f->cache, FAKE_INBOX, 1, "b.eml");
	uint64_t gone = add(f->cache, FAKE_INBOX, 2, "a.eml");
	add(f->cache, FAKE_INBOX, 7, "c.eml");
	for (unsigned piece = 1; piece < 6; piece++)
		assert_listing(f->cache, FAKE_INBOX, piece, ". .. b.eml a.eml c.eml ");
	cache_hide(f->cache, gone);
	assert_listing(f->cache, FAKE_INBOX, 1, ". .. b.eml c.eml ");
	assert_listing(f->cache, FAKE_2024, 1, ". .. ");
}

/* An offset stays right while what it names, and more, goes away. */
static void
test_resume(void **state)
{
	struct fixture *f = *state;
	struct mailbox_record record;
	struct seen seen = { .names = g_string_new(NULL), .most = 4 };
	struct tree_notes *notes = tree_notes_new();
	uint64_t inos[6];
	char name[16];
	for (uint32_t n = 1; n <= 5; n++) {
		g_snprintf(name, sizeof name, "%u.eml", n);
		inos[n] = add(f->cache, FAKE_INBOX, n, name);
	}
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(cache_mailbox_get(view, FAKE_INBOX, &record));
	struct tree_dir *dir = tree_dir_open(notes, &record);
	assert_int_equal(tree_walk(view, dir, 0, see, &seen), FAULT_NONE);
	cache_view_end(view);
	assert_string_equal(seen.names->str, ". .. 1.eml 2.eml ");
	cache_hide(f->cache, inos[2]);
	cache_hide(f->cache, inos[3]);
	add(f->cache, FAKE_INBOX, 6, "6.eml");
	seen.most = 10;
	view = cache_view_begin(f->cache);
	assert_int_equal(tree_walk(view, dir, seen.cookie, see, &seen), FAULT_NONE);
	cache_view_end(view);
	assert_string_equal(seen.names->str, ". .. 1.eml 2.eml 4.eml 5.eml 6.eml ");
	dir->mailbox = 99;
	view = cache_view_begin(f->cache);
	assert_int_equal(tree_walk(view, dir, 0, see, &seen), FAULT_GONE);
	cache_view_end(view);
	tree_dir_close(notes, &dir);
	assert_null(dir);
	tree_notes_free(&notes);
	g_string_free(seen.names, TRUE);
}

static bool
put_shadow(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct mailbox_record record, parent;
	(void)data;
	if (!cache_mailbox_get(cache_txn_view(txn), FAKE_INBOX, &parent))
		return false;
	char *raw = g_strdup(parent.raw), *name = g_strdup(parent.name);
	parent.raw = raw;
	parent.name = name;
	parent.mailboxid = "";
	parent.children = 1;
	parent.mtime_ns++;
	record = (struct mailbox_record){ .parent = FAKE_INBOX, .name = "a.eml", .name_len = 5,
		                          .raw = "INBOX.a", .raw_len = 7 };
	bool ok = txn_mailbox_id_alloc(txn, &record.id, fault) &&
	          txn_ino_alloc(txn, &record.ino, fault) && txn_mailbox_put(txn, &record, fault) &&
	          txn_mailbox_put(txn, &parent, fault);
	g_free(raw);
	g_free(name);
	return ok;
}

static void
test_lookup(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	struct node node;
	uint64_t a = add(f->cache, FAKE_INBOX, 1, "a.eml");
	uint64_t b = add(f->cache, FAKE_INBOX, 2, "b.eml");
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(tree_lookup(view, FAKE_INBOX, "a.eml", 5, &node));
	assert_true(node.is_message && node.message.ino == a);
	assert_true(tree_lookup(view, ROOT_MAILBOX, "INBOX", 5, &node));
	assert_true(!node.is_message && node.mailbox.id == FAKE_INBOX);
	assert_false(tree_lookup(view, ROOT_MAILBOX, "a.eml", 5, &node));
	assert_false(tree_lookup(view, FAKE_ARCHIVE, "a.eml", 5, &node));
	cache_view_end(view);
	cache_hide(f->cache, b);
	view = cache_view_begin(f->cache);
	assert_false(tree_lookup(view, FAKE_INBOX, "b.eml", 5, &node));
	/* It is an inode still: somebody may have it open. */
	assert_true(node_get(view, b, &node) && node.is_message);
	assert_true(node_get(view, ROOT_INO, &node) && !node.is_message);
	assert_false(node_get(view, 999, &node));
	cache_view_end(view);
	/* A mailbox of the same name comes before the message, in listings too. */
	assert_true(cache_run(f->cache, put_shadow, NULL, &fault));
	view = cache_view_begin(f->cache);
	assert_true(tree_lookup(view, FAKE_INBOX, "a.eml", 5, &node));
	assert_false(node.is_message);
	cache_view_end(view);
	add(f->cache, FAKE_INBOX, 3, "c.eml");
	assert_listing(f->cache, FAKE_INBOX, 2, ". .. a.eml c.eml ");
}

static void
test_state(void **state)
{
	struct fixture *f = *state;
	struct account_config config = { .refresh_s = 10 };
	struct fault fault;
	struct tree_state tree;
	fake = fake_switches_new();
	assert_non_null(fake);
	struct account *account = account_new(&config, f->cache);
	tree_state_get(account, FAKE_INBOX, true, &tree);
	assert_true(tree.complete);
	tree_state_get(account, FAKE_SLOW, true, &tree);
	assert_false(tree.complete);
	assert_int_equal(tree.mailbox, FAKE_SLOW);
	assert_int_equal(tree.step, 0);
	/* Of a mailbox that holds none, no messages are waited for. */
	tree_state_get(account, FAKE_SLOW, false, &tree);
	assert_true(tree.complete);
	assert_true(account_stop(account, &fault));
	account_free(&account);
}

static void
test_notes(void **state)
{
	struct tree_notes *notes = tree_notes_new();
	(void)state;
	assert_false(tree_notes_unchanged(notes, 5, 100));
	assert_true(tree_notes_unchanged(notes, 5, 100));
	assert_false(tree_notes_unchanged(notes, 6, 100));
	assert_false(tree_notes_unchanged(notes, 5, 101));
	assert_true(tree_notes_unchanged(notes, 5, 101));
	tree_notes_forget(notes, 5);
	tree_notes_forget(notes, 7);
	assert_false(tree_notes_unchanged(notes, 5, 101));
	assert_true(tree_notes_unchanged(notes, 6, 100));
	tree_notes_free(&notes);
	tree_notes_free(&notes);
}

/* What the kernel never releases goes with the rest: leaks are the sanitizer's to find. */
static void
test_open_at_the_end(void **state)
{
	const struct mailbox_record record = { .id = 3, .ino = 9 };
	struct tree_notes *notes = tree_notes_new();
	(void)state;
	struct tree_dir *one = tree_dir_open(notes, &record);
	struct tree_dir *other = tree_dir_open(notes, &record);
	assert_ptr_not_equal(one, other);
	tree_dir_close(notes, &one);
	assert_int_equal(other->mailbox, 3);
	tree_notes_free(&notes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lookup, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_open_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
