/* SPDX-License-Identifier: MIT */
/* Errno codes, stat and extended attributes; the mount point's table. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/errno.h"
#include "fs/node.h"
#include "fs/point.h"
#include "imap/fetch.h"
#include "imap/response.h"

static void
test_errno(void **state)
{
	static const struct {
		enum fault_kind kind;
		int err, on_handle;
	} table[] = {
		{ FAULT_NONE, 0, 0 },
		{ FAULT_GONE, ENOENT, ESTALE },
		{ FAULT_READONLY, EROFS, EROFS },
		{ FAULT_DENIED, EACCES, EACCES },
		{ FAULT_AUTH, EACCES, EACCES },
		{ FAULT_QUOTA, EDQUOT, EDQUOT },
		{ FAULT_TOOBIG, EFBIG, EFBIG },
		{ FAULT_EXISTS, EEXIST, EEXIST },
		{ FAULT_INVALID, EINVAL, EINVAL },
		{ FAULT_REFUSED, EIO, EIO },
		{ FAULT_PROTOCOL, EIO, EIO },
		{ FAULT_BUSY, EIO, EIO },
		{ FAULT_CACHE, EIO, EIO },
		{ FAULT_UNREACHABLE, EHOSTUNREACH, EHOSTUNREACH },
		{ FAULT_TLS, EHOSTUNREACH, EHOSTUNREACH },
		{ FAULT_TIMEOUT, ETIMEDOUT, ETIMEDOUT },
		{ FAULT_CANCELLED, ENOTCONN, ENOTCONN },
		{ FAULT_UNSUPPORTED, EOPNOTSUPP, EOPNOTSUPP },
	};
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		assert_int_equal(errno_of(table[i].kind), table[i].err);
		assert_int_equal(errno_of_handle(table[i].kind), table[i].on_handle);
	}
}

static const struct message_record message = {
	.uid = 17, .ino = 1234567890123, .size = 8193, .mtime = -5, .ctime_ns = -1,
	.flags = IMAP_FLAG_SEEN | IMAP_FLAG_FLAGGED | IMAP_FLAG_RECENT, .keywords = "$Junk work",
	.keywords_len = 10, .emailid = "M1", .threadid = "", .labels = "",
};

static void
test_stat_message(void **state)
{
	const struct node_look look = { .uid = 1000, .gid = 100, .umask = 0077 };
	struct stat st;
	(void)state;
	node_stat_message(&look, false, &message, &st);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_ino, 1234567890123);
	assert_int_equal(st.st_size, 8193);
	assert_int_equal(st.st_blocks, 17);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_uid, 1000);
	assert_int_equal(st.st_gid, 100);
	assert_int_equal(st.st_mtim.tv_sec, -5);
	assert_int_equal(st.st_atim.tv_sec, -5);
	assert_int_equal(st.st_ctim.tv_sec, -1);
	assert_int_equal(st.st_ctim.tv_nsec, CLOCK_SEC - 1);
	node_stat_message(&look, true, &message, &st);
	assert_int_equal(st.st_mode, S_IFREG | 0400);
	const struct node_look open_look = { .umask = 0022 };
	node_stat_message(&open_look, false, &message, &st);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	node_set_size(&st, 0);
	assert_int_equal(st.st_blocks, 0);
	node_set_size(&st, 512);
	assert_int_equal(st.st_blocks, 1);
}

static void
test_stat_mailbox(void **state)
{
	const struct node_look look = { .umask = 0077 };
	const struct mailbox_record record = { .id = 3, .ino = 9, .children = 4,
		                               .mtime_ns = 1700000000 * CLOCK_SEC + 42 };
	struct stat st;
	(void)state;
	node_stat_mailbox(&look, &record, &st);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(st.st_nlink, 6);
	assert_int_equal(st.st_size, 4096);
	assert_int_equal(st.st_mtim.tv_sec, 1700000000);
	assert_int_equal(st.st_mtim.tv_nsec, 42);
	assert_true(node_selectable(&record));
	const struct mailbox_record noselect = { .id = 3, .attrs = IMAP_ATTR_NOSELECT }, root = { 0 };
	assert_false(node_selectable(&noselect));
	assert_false(node_selectable(&root));
}

static void
assert_xattr(const struct node *node, const char *name, const char *expected)
{
	GString *value = g_string_new(NULL);
	assert_int_equal(node_xattr_get(node, name, value), expected != NULL);
	if (expected != NULL)
		assert_string_equal(value->str, expected);
	g_string_free(value, TRUE);
}

/* The list holds exactly the names that can be got. */
static void
assert_listed(const struct node *node, unsigned count)
{
	GString *names = g_string_new(NULL);
	unsigned listed = 0;
	node_xattr_list(node, names);
	for (const char *name = names->str; name < names->str + names->len;
	     name += strlen(name) + 1) {
		GString *value = g_string_new(NULL);
		assert_true(node_xattr_get(node, name, value));
		g_string_free(value, TRUE);
		listed++;
	}
	assert_int_equal(listed, count);
	g_string_free(names, TRUE);
}

static void
test_xattr(void **state)
{
	struct node node = { .is_message = true, .message = message,
		             .mailbox = { .id = 1, .raw = "INBOX.a", .raw_len = 7, .listed = true,
		                          .uidvalidity = 99, .messages = 3 } };
	(void)state;
	assert_xattr(&node, "user.imap.uid", "17");
	assert_xattr(&node, "user.imap.uidvalidity", "99");
	assert_xattr(&node, "user.imap.flags", "\\Seen \\Flagged $Junk work");
	assert_xattr(&node, "user.imap.internaldate", "1969-12-31T23:59:55Z");
	assert_xattr(&node, "user.imap.emailid", "M1");
	assert_xattr(&node, "user.imap.threadid", NULL);
	assert_xattr(&node, "user.imap.messages", NULL);
	assert_xattr(&node, "user.other", NULL);
	assert_listed(&node, 5);
	node.message.flags = 0;
	node.message.keywords_len = 0;
	assert_xattr(&node, "user.imap.flags", "");
	node.is_message = false;
	assert_xattr(&node, "user.imap.uid", NULL);
	assert_xattr(&node, "user.imap.uidvalidity", "99");
	assert_xattr(&node, "user.imap.mailbox", "INBOX.a");
	assert_xattr(&node, "user.imap.messages", "3");
	assert_xattr(&node, "user.imap.highestmodseq", NULL);
	assert_listed(&node, 3);
}

static void
test_point_find(void **state)
{
	static const char mountinfo[] =
		"23 1 254:0 / / rw - ext4 /dev/root rw\n"
		"31 23 0:28 / /home/a/My\\040Mail rw,nosuid shared:1 - autofs systemd-1 rw\n"
		"32 31 0:29 / /home/a/My\\040Mail rw,nosuid - fuse.imapfs imaps://a@b/ rw\n"
		"33 23 0:30 / /home/a/Mail rw - tmpfs tmpfs rw\n"
		"broken\n\n34 23 - \n";
	char *type, *source;
	(void)state;
	assert_true(point_find(mountinfo, "/home/a/My Mail", &type, &source));
	assert_string_equal(type, "fuse.imapfs");
	assert_string_equal(source, "imaps://a@b/");
	g_free(type);
	g_free(source);
	assert_false(point_find(mountinfo, "/home/a", &type, &source));
	assert_false(point_find("", "/", &type, &source));
}

static void
test_point_prepare(void **state)
{
	struct fault fault = { 0 };
	char *dir = g_dir_make_tmp("imapfs-point-XXXXXX", NULL);
	char *file = g_build_filename(dir, "file", NULL);
	(void)state;
	assert_true(point_prepare(dir, false, &fault));
	assert_true(g_file_set_contents(file, "x", 1, NULL));
	assert_false(point_prepare(dir, false, &fault));
	assert_non_null(strstr(fault.text, "not empty"));
	assert_true(point_prepare(dir, true, &fault));
	assert_false(point_prepare(file, false, &fault));
	assert_non_null(strstr(fault.text, "Not a directory"));
	g_assert(remove(file) == 0);
	g_assert(remove(dir) == 0);
	assert_false(point_prepare(dir, false, &fault));
	assert_non_null(strstr(fault.text, "does not exist"));
	g_free(file);
	g_free(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errno),        cmocka_unit_test(test_stat_message),
		cmocka_unit_test(test_stat_mailbox), cmocka_unit_test(test_xattr),
		cmocka_unit_test(test_point_find),   cmocka_unit_test(test_point_prepare),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
