/* SPDX-License-Identifier: MIT */
/* Tests of cache/body: chunks, origins, eviction, and a store that is gone. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "cache/body.h"

struct fixture {
	char *dir, *state, *bodies;
	struct cache *cache;
};

static void
open_cache(struct fixture *f, uint64_t limit)
{
	struct fault fault;
	const struct cache_config config = { .state_dir = f->state, .body_dir = f->bodies,
		                             .body_limit = limit };
	if (!cache_open(&config, &f->cache, &fault))
		fail_msg("%s", fault.text);
}

static int
set_up(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	f->dir = g_dir_make_tmp("imapfs-body-XXXXXX", NULL);
	f->state = g_build_filename(f->dir, "state", NULL);
	f->bodies = g_build_filename(f->dir, "bodies", NULL);
	open_cache(f, 4u << 20);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;
	char *argv[] = { (char[]){ "rm" }, (char[]){ "-rf" }, f->dir, NULL };
	cache_close(&f->cache);
	g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
	g_free(f->dir);
	g_free(f->state);
	g_free(f->bodies);
	g_free(f);
	return 0;
}

/* Octets that tell where they stand. */
static unsigned char *
pattern(size_t len, unsigned seed)
{
	unsigned char *data = g_malloc(len + 1);
	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(i * 7 + i / 251 + seed);
	return data;
}

/* How many octets from offset on are there, all of them as they should be. */
static size_t
read_back(struct fixture *f, uint64_t key, uint64_t offset, size_t len, const unsigned char *wanted)
{
	struct iovec iov[16];
	size_t octets, at = 0;
	struct cache_view *view = cache_view_begin(f->cache);
	unsigned count = body_read(view, key, offset, len, iov, 16, &octets);
	for (unsigned i = 0; i < count; i++) {
		assert_memory_equal(iov[i].iov_base, wanted + offset + at, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	assert_int_equal(at, octets);
	cache_view_end(view);
	return octets;
}

static bool
is_complete(struct fixture *f, uint64_t key, uint64_t *size_r)
{
	struct body_info info;
	struct cache_view *view = cache_view_begin(f->cache);
	bool known = body_info_get(view, key, &info);
	cache_view_end(view);
	if (known)
		*size_r = info.size;
	return known && info.complete;
}

static void
test_whole_bodies(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = { 0, 1, 2000, 65536, BODY_CHUNK - 1, BODY_CHUNK, BODY_CHUNK + 1,
		                        900000 };
	uint64_t size;
	for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
		unsigned char *data = pattern(sizes[i], i);
		assert_true(body_put(f->cache, 10 + i, i, data, sizes[i], NULL));
		assert_true(is_complete(f, 10 + i, &size));
		assert_int_equal(size, sizes[i]);
		assert_int_equal(read_back(f, 10 + i, 0, sizes[i] + 100, data), sizes[i]);
		if (sizes[i] > BODY_CHUNK)
			assert_int_equal(read_back(f, 10 + i, BODY_CHUNK - 5, 6, data), 6);
		assert_int_equal(read_back(f, 10 + i, sizes[i], 10, data), 0);
		g_free(data);
	}
	cache_close(&f->cache);
	open_cache(f, 4u << 20);
	assert_true(is_complete(f, 12, &size));
	assert_false(is_complete(f, 99, &size));
}

static void
test_chunks_and_origins(void **state)
{
	struct fixture *f = *state;
	size_t size = BODY_CHUNK * 2 + 100;
	uint64_t found;
	unsigned char *data = pattern(size, 3);
	assert_true(body_begin(f->cache, 1, 7, size, NULL));
	assert_true(body_put_chunk(f->cache, 1, 7, 1, data + BODY_CHUNK, BODY_CHUNK, NULL));
	assert_false(is_complete(f, 1, &found));
	assert_int_equal(read_back(f, 1, 0, 10, data), 0);
	assert_int_equal(read_back(f, 1, BODY_CHUNK, size, data), BODY_CHUNK);
	/* The same body again keeps what is there; chunks of another UID are not mixed in. */
	assert_true(body_begin(f->cache, 1, 7, size, NULL));
	assert_int_equal(read_back(f, 1, BODY_CHUNK, 10, data), 10);
	body_put_chunk(f->cache, 1, 8, 0, data + 5, BODY_CHUNK, NULL);
	assert_int_equal(read_back(f, 1, 0, 10, data), 0);
	assert_true(body_put_chunk(f->cache, 1, 7, 0, data, BODY_CHUNK, NULL));
	assert_true(body_put_chunk(f->cache, 1, 7, 2, data + BODY_CHUNK * 2, 100, NULL));
	assert_true(is_complete(f, 1, &found));
	assert_int_equal(read_back(f, 1, 0, size, data), size);
	/* Another origin drops it. */
	assert_true(body_begin(f->cache, 1, 9, size, NULL));
	assert_int_equal(read_back(f, 1, 0, 10, data), 0);
	body_drop(f->cache, 1);
	assert_false(is_complete(f, 1, &found));
	g_free(data);
}

static void
test_eviction(void **state)
{
	struct fixture *f = *state;
	unsigned char *data = pattern(100000, 1);
	uint64_t size;
	body_pin(f->cache, 1000);
	for (uint64_t key = 1000; key < 1200; key++) {
		assert_true(body_put(f->cache, key, 1, data, 100000, NULL));
		assert_true(body_stored(f->cache) <= 4u << 20);
	}
	assert_true(is_complete(f, 1000, &size));
	assert_true(is_complete(f, 1199, &size));
	unsigned left = 0;
	for (uint64_t key = 1000; key < 1200; key++)
		left += is_complete(f, key, &size);
	assert_in_range(left, 30, 42);
	body_unpin(f->cache, 1000);
	struct fault fault;
	unsigned char *large = pattern(5u << 20, 2);
	assert_false(body_put(f->cache, 5, 1, large, 5u << 20, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	assert_false(is_complete(f, 5, &size));
	g_free(large);
	g_free(data);
}

static void
test_another_index_gets_no_bodies(void **state)
{
	struct fixture *f = *state;
	uint64_t size;
	assert_true(body_put(f->cache, 1, 1, "x", 1, NULL));
	cache_close(&f->cache);
	g_free(f->state);
	f->state = g_build_filename(f->dir, "other", NULL);
	open_cache(f, 4u << 20);
	assert_false(is_complete(f, 1, &size));
}

static void
test_without_a_place_for_bodies(void **state)
{
	struct fixture *f = *state;
	uint64_t size;
	struct fault fault;
	cache_close(&f->cache);
	g_free(f->bodies);
	f->bodies = g_strdup("/proc/nothing/here");
	open_cache(f, 4u << 20);
	assert_false(body_put(f->cache, 1, 1, "x", 1, &fault));
	assert_int_equal(fault.kind, FAULT_CACHE);
	assert_false(is_complete(f, 1, &size));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole_bodies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_chunks_and_origins, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_eviction, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_index_gets_no_bodies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_a_place_for_bodies, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
