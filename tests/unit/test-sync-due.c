/* SPDX-License-Identifier: MIT */
/* When all of a mailbox is to be compared with the server. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mail/internal.h"

#define HOUR_NS (3600 * CLOCK_SEC)

static bool
due(bool listed, int64_t compared_ns, int64_t suspect_ns)
{
	struct account account = { .suspect_ns = suspect_ns };
	struct mailbox_record record = { .listed = listed, .compared_ns = compared_ns };
	return sync_compare_due(&account, &record);
}

static void
test_daily(void **state)
{
	int64_t now = clock_real_ns();
	(void)state;
	assert_false(due(true, now, 0));
	assert_false(due(true, now - 23 * HOUR_NS, 0));
	assert_true(due(true, now - 25 * HOUR_NS, 0));
	assert_true(due(true, 0, 0));
	/* The clock was wrong then, or is now. */
	assert_true(due(true, now + HOUR_NS, 0));
}

static void
test_after_an_unclean_end(void **state)
{
	int64_t now = clock_real_ns();
	(void)state;
	assert_true(due(true, now - 2 * HOUR_NS, now - HOUR_NS));
	assert_false(due(true, now - HOUR_NS, now - 2 * HOUR_NS));
}

static void
test_first_listing(void **state)
{
	(void)state;
	/* It compares nothing: what is listed now is what the server says now. */
	assert_false(due(false, 0, clock_real_ns()));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_daily),
		cmocka_unit_test(test_after_an_unclean_end),
		cmocka_unit_test(test_first_listing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
