/* SPDX-License-Identifier: MIT */
/* Tests of base/: faults, arenas, time. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"

static void
test_fault_text_is_printable_and_bounded(void **state)
{
	(void)state;
	struct fault fault;
	assert_false(fault_set(&fault, FAULT_REFUSED, "NO \033[2J\r\nquota"));
	assert_int_equal(fault.kind, FAULT_REFUSED);
	assert_string_equal(fault.text, "NO  [2J  quota");
	char huge[2 * FAULT_TEXT_MAX];
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	fault_set(&fault, FAULT_PROTOCOL, "%s", huge);
	assert_int_equal(strlen(fault.text), FAULT_TEXT_MAX - 1);
	fault_prefix(&fault, "mailbox %s", "INBOX");
	assert_int_equal(strlen(fault.text), FAULT_TEXT_MAX - 1);
	assert_memory_equal(fault.text, "mailbox INBOX: xxx", 18);
}

static void
test_fault_text_may_quote_itself(void **state)
{
	(void)state;
	struct fault fault;
	fault_set(&fault, FAULT_TIMEOUT, "no answer");
	fault_set(&fault, FAULT_UNREACHABLE, "%s from host", fault.text);
	assert_string_equal(fault.text, "no answer from host");
	assert_false(fault_set(NULL, FAULT_GONE, "nobody listens"));
	fault_clear(&fault);
	assert_int_equal(fault.kind, FAULT_NONE);
	assert_string_equal(fault.text, "");
}

static void
test_every_kind_has_a_name(void **state)
{
	(void)state;
	for (int kind = FAULT_NONE; kind <= FAULT_UNSUPPORTED; kind++)
		assert_string_not_equal(fault_kind_name((enum fault_kind)kind), "unknown");
	assert_string_equal(fault_kind_name((enum fault_kind)999), "unknown");
}

static void
test_arena_gives_zeroed_aligned_memory(void **state)
{
	(void)state;
	struct arena *arena = arena_new();
	for (int round = 0; round < 3; round++) {
		for (size_t size = 0; size < 40000; size = size * 2 + 1) {
			unsigned char *memory = arena_alloc(arena, size);
			assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
			for (size_t i = 0; i < size; i++)
				assert_int_equal(memory[i], 0);
			memset(memory, 0xee, size);
		}
		assert_true(arena_used(arena) >= 40000);
		arena_clear(arena);
		assert_int_equal(arena_used(arena), 0);
	}
	char *copy = arena_strndup(arena, "a\0b", 3);
	assert_memory_equal(copy, "a\0b", 4);
	arena_free(&arena);
	assert_null(arena);
	arena_free(&arena);
}

static void
test_poll_time_is_never_negative(void **state)
{
	(void)state;
	int64_t now = clock_boot_ns();
	assert_true(now > 0);
	assert_int_equal(clock_poll_ms(now - CLOCK_SEC), 0);
	int ms = clock_poll_ms(now + 3600 * CLOCK_SEC);
	assert_true(ms > 0 && ms <= 3600 * 1000 + 1);
	assert_true(clock_real_ns() > 1700000000LL * CLOCK_SEC);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault_text_is_printable_and_bounded),
		cmocka_unit_test(test_fault_text_may_quote_itself),
		cmocka_unit_test(test_every_kind_has_a_name),
		cmocka_unit_test(test_arena_gives_zeroed_aligned_memory),
		cmocka_unit_test(test_poll_time_is_never_negative),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
