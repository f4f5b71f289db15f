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
	/* A complete one is the message's, whatever its origin; one of another size is not. */
	assert_true(body_begin(f->cache, 1, 9, size, NULL));
	assert_int_equal(read_back(f, 1, 0, size, data), size);
	assert_true(body_put_chunk(f->cache, 1, 9, 0, data + 5, BODY_CHUNK, NULL));
	assert_int_equal(read_back(f, 1, 0, size, data), size);
	assert_true(body_begin(f->cache, 1, 9, size + 1, NULL));
	assert_int_equal(read_back(f, 1, 0, 10, data), 0);
	/* A part of one is continued under its origin alone. */
	assert_true(body_put_chunk(f->cache, 1, 9, 0, data, BODY_CHUNK, NULL));
	assert_true(body_begin(f->cache, 1, 10, size + 1, NULL));
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
		memcpy(data, &key, sizeof key);
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

static bool
are_same(struct fixture *f, uint64_t a, uint64_t b)
{
	struct cache_view *view = cache_view_begin(f->cache);
	struct body_info first, second;
	bool same = false;
	bool known = body_same(view, a, b, &same);
	assert_true(known == (body_info_get(view, a, &first) && first.complete &&
	                      body_info_get(view, b, &second) && second.complete));
	assert_true(!known || same == (first.blob == second.blob));
	cache_view_end(view);
	return known && same;
}

static void
test_equal_octets_are_stored_once(void **state)
{
	struct fixture *f = *state;
	size_t size = BODY_CHUNK + 1000;
	unsigned char *data = pattern(size, 4);
	assert_true(body_put(f->cache, 1, 1, data, size, NULL));
	uint64_t stored = body_stored(f->cache);
	assert_true(body_put(f->cache, 2, 2, data, size, NULL));
	assert_true(body_put(f->cache, 2, 2, data, size, NULL)); /* again */
	assert_int_equal(body_stored(f->cache), stored);
	/* In chunks, last one first. */
	assert_true(body_begin(f->cache, 3, 3, size, NULL));
	assert_true(body_put_chunk(f->cache, 3, 3, 1, data + BODY_CHUNK, 1000, NULL));
	assert_false(are_same(f, 1, 3));
	assert_true(body_put_chunk(f->cache, 3, 3, 0, data, BODY_CHUNK, NULL));
	assert_true(are_same(f, 1, 2) && are_same(f, 2, 3));
	assert_int_equal(body_stored(f->cache), stored);
	data[size - 1] ^= 1;
	assert_true(body_put(f->cache, 4, 4, data, size, NULL));
	assert_false(are_same(f, 1, 4));
	assert_int_equal(body_stored(f->cache), 2 * stored);
	data[size - 1] ^= 1;
	/* Each goes alone, the octets with the last. */
	body_drop(f->cache, 1);
	assert_int_equal(read_back(f, 2, 0, size, data), size);
	body_drop(f->cache, 2);
	cache_close(&f->cache);
	open_cache(f, 4u << 20);
	assert_int_equal(read_back(f, 3, 0, size, data), size);
	body_drop(f->cache, 3);
	assert_int_equal(body_stored(f->cache), stored);
	assert_true(body_put(f->cache, 1, 1, data, size, NULL));
	assert_int_equal(read_back(f, 1, 0, size, data), size);
	assert_int_equal(body_stored(f->cache), 2 * stored);
	g_free(data);
}

static bool
agrees(struct fixture *f, uint64_t part, uint64_t whole, bool *same_r)
{
	struct cache_view *view = cache_view_begin(f->cache);
	bool known = body_agrees(view, part, whole, same_r);
	cache_view_end(view);
	return known;
}

static void
test_a_part_tells_as_far_as_it_is_there(void **state)
{
	struct fixture *f = *state;
	size_t size = 2 * BODY_CHUNK + 1000;
	unsigned char *data = pattern(size, 4);
	bool same = false;
	assert_true(body_begin(f->cache, 1, 1, size, NULL));
	assert_true(body_put_chunk(f->cache, 1, 1, 1, data + BODY_CHUNK, BODY_CHUNK, NULL));
	assert_false(agrees(f, 1, 2, &same)); /* there is no other */
	assert_true(body_put(f->cache, 2, 2, data, size, NULL));
	assert_true(agrees(f, 1, 2, &same) && same);
	assert_false(agrees(f, 2, 1, &same)); /* the second must be complete */
	data[0] ^= 1;                         /* where the part tells nothing */
	assert_true(body_put(f->cache, 3, 3, data, size, NULL));
	assert_true(agrees(f, 1, 3, &same) && same);
	assert_true(agrees(f, 2, 3, &same) && !same);
	data[BODY_CHUNK] ^= 1;
	assert_true(body_put(f->cache, 4, 4, data, size, NULL));
	assert_true(agrees(f, 1, 4, &same) && !same);
	assert_true(body_put(f->cache, 5, 5, data, size - 1, NULL));
	assert_true(agrees(f, 1, 5, &same) && !same);
	/* It takes the octets over, and they stay when the other one goes. */
	assert_false(body_adopt(f->cache, 6, 1, NULL)); /* of one that is not complete */
	assert_true(body_adopt(f->cache, 1, 4, NULL));
	body_drop(f->cache, 4);
	assert_int_equal(read_back(f, 1, 0, size, data), size);
	body_drop(f->cache, 1);
	g_free(data);
}

/* Random bodies of few kinds under few keys, against what they must be. */
static void
test_sharing_against_a_model(void **state)
{
	struct fixture *f = *state;
	enum { KEYS = 24, KINDS = 6 };
	int model[KEYS];
	unsigned char *kinds[KINDS];
	static const size_t sizes[KINDS] = { 10, 5000, 70000, BODY_CHUNK, BODY_CHUNK + 1, 600000 };
	GRand *rand = g_rand_new_with_seed(20261124);
	for (int i = 0; i < KINDS; i++)
		kinds[i] = pattern(sizes[i], (unsigned)i + 50);
	for (int i = 0; i < KEYS; i++)
		model[i] = -1;
	for (int step = 0; step < 3000; step++) {
		int key = g_rand_int_range(rand, 0, KEYS), kind = g_rand_int_range(rand, 0, KINDS);
		int what = g_rand_int_range(rand, 0, 3);
		uint64_t id = 100 + (uint64_t)key;
		if (what == 0) {
			body_drop(f->cache, id);
			model[key] = -1;
			continue;
		}
		if (what == 1) {
			assert_true(body_put(f->cache, id, 1, kinds[kind], sizes[kind], NULL));
		} else if (model[key] == -1) {
			assert_true(body_begin(f->cache, id, 1, sizes[kind], NULL));
			for (size_t at = 0; at < sizes[kind]; at += BODY_CHUNK)
				assert_true(body_put_chunk(f->cache, id, 1, (uint32_t)(at / BODY_CHUNK),
				                           kinds[kind] + at,
				                           MIN(sizes[kind] - at, BODY_CHUNK), NULL));
		} else {
			continue;
		}
		model[key] = kind;
	}
	uint64_t live = 0, alone, size = 0;
	bool there[KINDS] = { false };
	for (int i = 0; i < KEYS; i++) {
		uint64_t id = 100 + (uint64_t)i;
		assert_true(is_complete(f, id, &size) == (model[i] >= 0));
		if (model[i] < 0)
			continue;
		assert_int_equal(size, sizes[model[i]]);
		assert_int_equal(read_back(f, id, 0, size, kinds[model[i]]), size);
		there[model[i]] = true;
	}
	uint64_t stored = body_stored(f->cache);
	for (int i = 0; i < KEYS; i++)
		body_drop(f->cache, 100 + (uint64_t)i);
	assert_int_equal(body_stored(f->cache), 0);
	for (int i = 0; i < KINDS; i++) {
		assert_true(body_put(f->cache, 1, 1, kinds[i], sizes[i], NULL));
		alone = body_stored(f->cache);
		live += there[i] ? alone : 0;
		body_drop(f->cache, 1);
		g_free(kinds[i]);
	}
	assert_int_equal(stored, live);
	g_rand_free(rand);
}

static void
expect_digest(struct fixture *f, const char *body, size_t len, size_t header)
{
	unsigned char got[32], wanted[32];
	gsize digest_len = sizeof wanted;
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_checksum_update(sum, (const guchar *)body, (gssize)header);
	g_checksum_get_digest(sum, wanted, &digest_len);
	g_checksum_free(sum);
	assert_true(body_put(f->cache, 7, 1, body, len, NULL));
	struct cache_view *view = cache_view_begin(f->cache);
	assert_true(body_header_digest(view, 7, got));
	cache_view_end(view);
	assert_memory_equal(got, wanted, sizeof got);
}

static void
test_header_sections(void **state)
{
	struct fixture *f = *state;
	unsigned char digest[32];
	expect_digest(f, "A: b\r\n\r\nbody\r\n\r\nmore", 20, 8);
	expect_digest(f, "A: b\nC: d\n\nbody", 15, 11);
	expect_digest(f, "\r\nbody", 6, 2);
	expect_digest(f, "A: b\r\n", 6, 6);
	/* The empty line stands across a chunk's border. */
	for (unsigned before = 0; before < 4; before++) {
		char *text = g_malloc(BODY_CHUNK + 100);
		memset(text, 'x', BODY_CHUNK + 100);
		memcpy(text + BODY_CHUNK - before, "\r\n\r\n", 4);
		expect_digest(f, text, BODY_CHUNK + 100, BODY_CHUNK - before + 4);
		g_free(text);
	}
	char *endless = g_malloc(2u << 20);
	memset(endless, 'x', 2u << 20);
	assert_true(body_put(f->cache, 8, 1, endless, 2u << 20, NULL));
	g_free(endless);
	assert_true(body_begin(f->cache, 9, 1, 100, NULL));
	struct cache_view *view = cache_view_begin(f->cache);
	assert_false(body_header_digest(view, 8, digest));
	assert_false(body_header_digest(view, 9, digest));
	assert_false(body_header_digest(view, 10, digest));
	cache_view_end(view);
}

/* What others share stays when one of them is evicted, and while one of them is pinned. */
static void
test_eviction_of_shared_bodies(void **state)
{
	struct fixture *f = *state;
	unsigned char *data = pattern(100000, 9), *other = pattern(100000, 10);
	uint64_t size;
	for (uint64_t key = 1; key <= 3; key++)
		assert_true(body_put(f->cache, key, 1, data, 100000, NULL));
	body_pin(f->cache, 2);
	for (uint64_t key = 1000; key < 1200; key++) {
		memcpy(other, &key, sizeof key);
		assert_true(body_put(f->cache, key, 1, other, 100000, NULL));
		assert_true(body_stored(f->cache) <= 4u << 20);
	}
	assert_false(is_complete(f, 1, &size));
	assert_true(is_complete(f, 2, &size));
	assert_int_equal(read_back(f, 2, 0, 100000, data), 100000);
	body_unpin(f->cache, 2);
	g_free(data);
	g_free(other);
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
		cmocka_unit_test_setup_teardown(test_equal_octets_are_stored_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_part_tells_as_far_as_it_is_there, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_sharing_against_a_model, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_header_sections, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_eviction_of_shared_bodies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_index_gets_no_bodies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_a_place_for_bodies, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
