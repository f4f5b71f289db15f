/* SPDX-License-Identifier: MIT */
/* Tests of cache/record: what is encoded is decoded; what is no record does no harm. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/record.h"

static const struct message_record message = {
	.uid = 4711, .flags = 5, .state = MESSAGE_HIDDEN | MESSAGE_SIZE_TRUE,
	.ino = UINT64_C(1) << 40, .size = UINT64_C(5) << 32, .mtime = -1, .ctime_ns = INT64_MAX,
	.modseq = UINT64_MAX, .body = 77, .identity = { 1, 2, [31] = 255 },
	.name = "2024_Alice_Hi_k3f9x2mqa7.eml", .name_len = 28, .keywords = "$Junk work",
	.keywords_len = 10, .emailid = "M1", .threadid = "", .labels = "a b c",
	.told = UINT64_MAX - 1, .prior = UINT64_C(3) << 33,
};

static const struct mailbox_record mailbox = {
	.parent = 3, .ino = 9, .space = 12, .uidnext = 5, .exists = 4, .uidvalidity = UINT32_MAX,
	.highestmodseq = UINT64_MAX, .attrs = 0x81, .next_recno = 6, .messages = 4, .children = 1,
	.listed = true, .read_only = true, .synced_ns = 1, .mtime_ns = 2, .raw = "INBOX.a\0b",
	.raw_len = 9, .name = "a", .name_len = 1, .compared_ns = INT64_MIN,
	.mailboxid = "F2212ea87-6097",
};

static const struct journal_record journal = {
	.kind = JOURNAL_DELETE, .state = JOURNAL_COPYING, .policy = 2, .mailbox = 3, .uid = 4,
	.uidvalidity = 5, .ino = 6, .flags_add = 7, .flags_remove = 8, .target_uidvalidity = 9,
	.target_uidnext = 10, .created_ns = 11, .space = 12, .recno = 13, .attempts = 14,
	.target_uid = 15, .target = "Trash", .target_len = 5, .blob = { "\0\1\2", 3 },
};

/* A copy of exactly that length, so that the address sanitizer sees what is read behind it. */
static struct octets
exact(const void *data, size_t len)
{
	void *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	return (struct octets){ copy, len };
}

static void
drop(struct octets octets)
{
	void *data;
	memcpy(&data, &octets.data, sizeof data);
	free(data);
}

static void
test_message_round_trip(void **state)
{
	(void)state;
	GByteArray *out = g_byte_array_new();
	struct message_record got;
	memset(&got, 0x55, sizeof got);
	message_encode(&message, out);
	struct octets value = exact(out->data, out->len);
	assert_true(message_decode(value, &got));
	assert_int_equal(got.uid, message.uid);
	assert_int_equal(got.flags, message.flags);
	assert_int_equal(got.state, message.state);
	assert_true(got.ino == message.ino && got.size == message.size);
	assert_true(got.mtime == -1 && got.ctime_ns == INT64_MAX && got.modseq == UINT64_MAX);
	assert_true(got.body == 77 && got.told == UINT64_MAX - 1);
	assert_true(got.prior == UINT64_C(3) << 33);
	assert_memory_equal(got.identity, message.identity, 32);
	assert_string_equal(got.name, message.name);
	assert_int_equal(got.name_len, 28);
	assert_string_equal(got.keywords, "$Junk work");
	assert_int_equal(got.keywords_len, 10);
	assert_string_equal(got.emailid, "M1");
	assert_string_equal(got.threadid, "");
	assert_string_equal(got.labels, "a b c");
	drop(value);
	g_byte_array_free(out, TRUE);
}

static void
test_message_strings_may_be_missing_or_huge(void **state)
{
	(void)state;
	GByteArray *out = g_byte_array_new();
	char *huge = g_strnfill(100000, 'x');
	const struct message_record sparse = { .name = "n", .name_len = 1, .labels = huge };
	struct message_record got;
	message_encode(&sparse, out);
	assert_true(message_decode((struct octets){ out->data, out->len }, &got));
	assert_string_equal(got.keywords, "");
	assert_string_equal(got.emailid, "");
	assert_int_equal(strlen(got.labels), 32000);
	g_free(huge);
	g_byte_array_free(out, TRUE);
}

static void
test_mailbox_round_trip(void **state)
{
	(void)state;
	GByteArray *out = g_byte_array_new();
	struct mailbox_record got;
	mailbox_encode(&mailbox, out);
	struct octets value = exact(out->data, out->len);
	assert_true(mailbox_decode(value, &got));
	assert_int_equal(got.parent, 3);
	assert_true(got.ino == 9 && got.uidvalidity == UINT32_MAX);
	assert_true(got.highestmodseq == UINT64_MAX);
	assert_int_equal(got.space, 12);
	assert_int_equal(got.uidnext, 5);
	assert_int_equal(got.exists, 4);
	assert_int_equal(got.attrs, 0x81);
	assert_int_equal(got.next_recno, 6);
	assert_int_equal(got.messages, 4);
	assert_int_equal(got.children, 1);
	assert_true(got.listed && got.read_only);
	assert_true(got.synced_ns == 1 && got.mtime_ns == 2);
	assert_int_equal(got.raw_len, 9);
	assert_memory_equal(got.raw, mailbox.raw, 10);
	assert_string_equal(got.name, "a");
	assert_true(got.compared_ns == INT64_MIN);
	assert_string_equal(got.mailboxid, "F2212ea87-6097");
	drop(value);
	g_byte_array_free(out, TRUE);
}

static void
test_journal_round_trip(void **state)
{
	(void)state;
	GByteArray *out = g_byte_array_new();
	struct journal_record got;
	journal_encode(&journal, out);
	struct octets value = exact(out->data, out->len);
	assert_true(journal_decode(value, &got));
	assert_int_equal(got.kind, JOURNAL_DELETE);
	assert_int_equal(got.state, JOURNAL_COPYING);
	assert_int_equal(got.policy, 2);
	assert_int_equal(got.mailbox, 3);
	assert_int_equal(got.uid, 4);
	assert_true(got.uidvalidity == 5 && got.ino == 6 && got.target_uidvalidity == 9);
	assert_int_equal(got.flags_add, 7);
	assert_int_equal(got.flags_remove, 8);
	assert_int_equal(got.target_uidnext, 10);
	assert_true(got.created_ns == 11);
	assert_int_equal(got.space, 12);
	assert_int_equal(got.recno, 13);
	assert_int_equal(got.attempts, 14);
	assert_int_equal(got.target_uid, 15);
	assert_string_equal(got.target, "Trash");
	assert_int_equal(got.blob.len, 3);
	assert_memory_equal(got.blob.data, "\0\1\2", 3);
	drop(value);
	g_byte_array_free(out, TRUE);
}

static void
test_inode_round_trip(void **state)
{
	(void)state;
	unsigned char row[INODE_ROW];
	const struct inode_record inode = { true, 7, UINT32_MAX };
	struct inode_record got;
	inode_encode(&inode, row);
	assert_true(inode_decode((struct octets){ row, sizeof row }, &got));
	assert_true(got.is_message && got.mailbox == 7 && got.recno == UINT32_MAX);
	assert_false(inode_decode((struct octets){ row, sizeof row - 1 }, &got));
	row[0] = 2;
	assert_false(inode_decode((struct octets){ row, sizeof row }, &got));
}

/* Every prefix is refused. */
static void
test_short_records_are_none(void **state)
{
	(void)state;
	struct message_record m;
	struct mailbox_record b;
	struct journal_record j;
	GByteArray *outs[3] = { g_byte_array_new(), g_byte_array_new(), g_byte_array_new() };
	message_encode(&message, outs[0]);
	mailbox_encode(&mailbox, outs[1]);
	journal_encode(&journal, outs[2]);
	for (int kind = 0; kind < 3; kind++) {
		for (size_t len = 0; len < outs[kind]->len; len++) {
			struct octets value = exact(outs[kind]->data, len);
			assert_false(kind == 0   ? message_decode(value, &m)
			             : kind == 1 ? mailbox_decode(value, &b)
			                         : journal_decode(value, &j));
			drop(value);
		}
		g_byte_array_free(outs[kind], TRUE);
	}
}

/* What is decoded from noise is either refused or lies within. */
static void
test_garbage_does_no_harm(void **state)
{
	(void)state;
	unsigned seed = 1, accepted = 0;
	for (int i = 0; i < 200000; i++) {
		unsigned char noise[300];
		size_t len = (size_t)rand_r(&seed) % sizeof noise;
		for (size_t at = 0; at < len; at++)
			noise[at] = rand_r(&seed) % 4 == 0 ? (unsigned char)rand_r(&seed) : 0;
		struct octets value = exact(noise, len);
		struct message_record m;
		struct mailbox_record b;
		struct journal_record j;
		if (message_decode(value, &m)) {
			accepted++;
			assert_true(strlen(m.labels) < len && strlen(m.name) <= m.name_len);
		}
		if (mailbox_decode(value, &b))
			assert_true(b.raw_len + b.name_len < len);
		if (journal_decode(value, &j))
			assert_true(j.target_len + j.blob.len < len);
		drop(value);
	}
	assert_true(accepted > 0);
}

/* Octets of a mailbox's fixed part in the first version, whose last field were the children. */
#define FIRST_MAILBOX 80

/* A version that knows more fields, and one that knows fewer. */
static void
test_fixed_parts_may_grow_and_shrink(void **state)
{
	(void)state;
	GByteArray *out = g_byte_array_new();
	struct mailbox_record got;
	uint16_t fixed;
	mailbox_encode(&mailbox, out);
	memcpy(&fixed, out->data, sizeof fixed);
	GByteArray *longer = g_byte_array_new(), *shorter = g_byte_array_new();
	g_byte_array_append(longer, out->data, fixed);
	g_byte_array_append(longer, (const guint8 *)"newfield", 8);
	g_byte_array_append(longer, out->data + fixed, out->len - fixed);
	fixed += 8;
	memcpy(longer->data, &fixed, sizeof fixed);
	assert_true(mailbox_decode((struct octets){ longer->data, longer->len }, &got));
	assert_string_equal(got.name, "a");
	assert_int_equal(got.children, 1);
	/* Of each length that a version may have had: what is cut off is 0, strings are found. */
	fixed -= 8;
	for (uint16_t len = 8; len < fixed; len += 4) {
		g_byte_array_set_size(shorter, 0);
		g_byte_array_append(shorter, out->data, len);
		g_byte_array_append(shorter, out->data + fixed, out->len - fixed);
		memcpy(shorter->data, &len, sizeof len);
		assert_true(mailbox_decode((struct octets){ shorter->data, shorter->len }, &got));
		assert_string_equal(got.name, "a");
		assert_true(got.messages == (len >= FIRST_MAILBOX - 4 ? mailbox.messages : 0));
		assert_true(got.children == (len >= FIRST_MAILBOX ? mailbox.children : 0));
		assert_true(got.compared_ns == (len >= FIRST_MAILBOX + 8 ? INT64_MIN : 0) ||
		            len == FIRST_MAILBOX + 4);
		/* The field's string is there, once its length is. */
		assert_string_equal(got.mailboxid,
		                    len >= FIRST_MAILBOX + 12 ? mailbox.mailboxid : "");
	}
	g_byte_array_free(out, TRUE);
	g_byte_array_free(longer, TRUE);
	g_byte_array_free(shorter, TRUE);
}

static void
test_keys_sort_as_numbers(void **state)
{
	(void)state;
	static const uint64_t numbers[] = { 0, 1, 255, 256, 65536, UINT32_MAX,
		                            UINT64_C(1) << 32, UINT64_MAX };
	unsigned char a[8], b[8];
	for (size_t i = 1; i < G_N_ELEMENTS(numbers); i++) {
		key_u64(a, numbers[i - 1]);
		key_u64(b, numbers[i]);
		assert_true(memcmp(a, b, 8) < 0);
		assert_true(key_get_u64(b) == numbers[i]);
		key_u32(a, (uint32_t)numbers[i]);
		assert_int_equal(key_get_u32(a), (uint32_t)numbers[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_round_trip),
		cmocka_unit_test(test_message_strings_may_be_missing_or_huge),
		cmocka_unit_test(test_mailbox_round_trip),
		cmocka_unit_test(test_journal_round_trip),
		cmocka_unit_test(test_inode_round_trip),
		cmocka_unit_test(test_short_records_are_none),
		cmocka_unit_test(test_garbage_does_no_harm),
		cmocka_unit_test(test_fixed_parts_may_grow_and_shrink),
		cmocka_unit_test(test_keys_sort_as_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
