/* SPDX-License-Identifier: MIT */
/* The table of open messages, told sizes and pushed pages; with threads. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/file.h"
#include "fs/node.h"

static void
test_open_close(void **state)
{
	struct file_table *table = file_table_new();
	struct stat st = { .st_ino = 5, .st_size = 100 }, got;
	(void)state;
	assert_false(file_last_stat(table, 5, &got));
	struct file *a = file_open(table, 5, 77, &st, NULL);
	GByteArray *data = g_byte_array_new();
	g_byte_array_append(data, (const guint8 *)"abc", 3);
	struct file *b = file_open(table, 5, 77, &st, data);
	assert_ptr_equal(a, b);
	assert_int_equal(atomic_load(&a->size), 100);
	assert_int_equal(atomic_load(&a->key), 77);
	GByteArray *held = file_data(table, a);
	assert_ptr_equal(held, data);
	g_byte_array_unref(held);
	/* The first ones stay: others are the same. */
	struct file *c = file_open(table, 5, 77, &st, g_byte_array_new());
	assert_ptr_equal(atomic_load(&c->data), data);
	file_close(table, &a);
	assert_null(a);
	file_close(table, &c);
	assert_true(file_last_stat(table, 5, &got));
	assert_int_equal(got.st_size, 100);
	file_close(table, &b);
	assert_false(file_last_stat(table, 5, &got));
	file_table_free(&table);
	file_table_free(&table);
}

static GByteArray *
octets(const char *text)
{
	GByteArray *data = g_byte_array_new();
	g_byte_array_append(data, (const guint8 *)text, (guint)strlen(text));
	return data;
}

static void
test_octets(void **state)
{
	struct file_table *table = file_table_new();
	struct stat st = { .st_ino = 5, .st_size = 3 };
	(void)state;
	struct file *a = file_open(table, 5, 77, &st, octets("abc"));
	GByteArray *held = file_data(table, a);
	/* Those of another body are never the message's, and the cache may have them. */
	struct file *b = file_open(table, 5, 78, &st, NULL);
	assert_null(file_data(table, b));
	struct file *c = file_open(table, 5, 78, &st, octets("xyz"));
	GByteArray *other = file_data(table, c);
	assert_memory_equal(other->data, "xyz", 3);
	/* What is being sent outlives the last handle. */
	file_close(table, &a);
	file_close(table, &b);
	file_close(table, &c);
	assert_memory_equal(held->data, "abc", 3);
	assert_memory_equal(other->data, "xyz", 3);
	g_byte_array_unref(held);
	g_byte_array_unref(other);
	file_table_free(&table);
}

static off_t
told(struct file_table *table, uint64_t ino, uint64_t size, bool proven)
{
	const struct message_record record = { .ino = ino, .size = size,
		                               .state = proven ? MESSAGE_SIZE_TRUE : 0 };
	struct stat st = { 0 };
	node_set_size(&st, size);
	file_told(table, &record, &st);
	return st.st_size;
}

static void
test_sizes(void **state)
{
	struct file_table *table = file_table_new();
	(void)state;
	/* A hint that is true: nothing to tell. */
	assert_int_equal(told(table, 7, 100, false), 100);
	assert_false(file_true_size(table, 7, 100, false, 100));
	/* One that is wrong, until the index has the truth. */
	assert_int_equal(told(table, 8, 100, false), 100);
	assert_true(file_true_size(table, 8, 100, false, 90));
	assert_int_equal(told(table, 8, 100, false), 90);
	const struct message_record unsettled = { .ino = 8, .size = 100 };
	file_settled(table, &unsettled);
	assert_int_equal(told(table, 8, 100, false), 90);
	const struct message_record settled = { .ino = 8, .size = 90, .state = MESSAGE_SIZE_TRUE };
	file_settled(table, &settled);
	assert_int_equal(told(table, 8, 100, false), 100);
	/* The truth was learnt by somebody else, after the kernel had been told a hint. */
	assert_int_equal(told(table, 9, 50, false), 50);
	assert_true(file_true_size(table, 9, 60, true, 60));
	assert_false(file_true_size(table, 9, 60, true, 60));
	/* It was never told anything else. */
	assert_int_equal(told(table, 10, 60, true), 60);
	assert_false(file_true_size(table, 10, 60, true, 60));
	file_table_free(&table);
}

static void
test_pushed(void **state)
{
	struct file_table *table = file_table_new();
	static const uint64_t inos[] = { 1, 63, 64, 32767, 32768, (uint64_t)1 << 40 };
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(inos); i++) {
		file_dropped(table, inos[i]);
		assert_false(file_pushed(table, inos[i]));
		assert_true(file_pushed(table, inos[i]));
		assert_false(file_pushed(table, inos[i] + 100000));
	}
	for (size_t i = 0; i < G_N_ELEMENTS(inos); i++) {
		assert_true(file_pushed(table, inos[i]));
		file_dropped(table, inos[i]);
		assert_false(file_pushed(table, inos[i]));
	}
	file_table_free(&table);
}

static void
test_doubted(void **state)
{
	struct file_table *table = file_table_new();
	(void)state;
	assert_false(file_doubted(table, 70000));
	file_doubt(table, 70000);
	assert_true(file_doubted(table, 70000));
	assert_false(file_doubted(table, 70001) || file_doubted(table, 70000 - 64));
	file_trusted(table, 70000);
	assert_false(file_doubted(table, 70000));
	file_table_free(&table);
}

static void *
use_table(void *data)
{
	struct file_table *table = data;
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t ino = i % 7 + 1;
		struct stat st = { .st_ino = ino, .st_size = (off_t)ino * 100 }, got;
		struct file *file = file_open(table, ino, ino, &st, NULL);
		/* What another thread has open, too, has the same size. */
		g_assert(atomic_load(&file->size) == ino * 100);
		g_assert(file_last_stat(table, ino, &got) && got.st_size == (off_t)ino * 100);
		told(table, ino, 10, false);
		file_true_size(table, ino, 10, false, ino * 100);
		file_pushed(table, ino);
		file_dropped(table, ino);
		file_close(table, &file);
	}
	return NULL;
}

static void
test_threads(void **state)
{
	struct file_table *table = file_table_new();
	GThread *threads[4];
	struct stat got;
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		threads[i] = g_thread_new(NULL, use_table, table);
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		g_thread_join(threads[i]);
	for (uint64_t ino = 1; ino <= 7; ino++)
		assert_false(file_last_stat(table, ino, &got));
	file_table_free(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_close),
		cmocka_unit_test(test_octets),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_pushed),
		cmocka_unit_test(test_doubted),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
