/* SPDX-License-Identifier: MIT */
/* Tests of the pool's policy, on a clock of their own. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>

#include "base/clock.h"
#include "session/pool.h"

#define START (1000 * CLOCK_SEC)

static void
fail_with(struct pool *pool, int64_t now, enum fault_kind kind, const char *text)
{
	struct fault fault;
	fault_set(&fault, kind, "%s", text);
	pool_failed(pool, now, &fault);
}

static void
connect_ok(struct pool *pool, int64_t now)
{
	int64_t until;
	assert_true(pool_may_connect(pool, now, POOL_PATIENT, &until));
	pool_connected(pool, now);
}

/* Seconds from now until a connection is allowed. */
static double
wait_s(struct pool *pool, int64_t now, bool hurried)
{
	int64_t until = now;
	if (pool_may_connect(pool, now, hurried ? POOL_HURRY : POOL_PATIENT, &until)) {
		fail_with(pool, now, FAULT_CANCELLED, "only asked");
		return 0;
	}
	return until == INT64_MAX ? 1e9 : (double)(until - now) / (double)CLOCK_SEC;
}

static void
assert_about(double value, double expected)
{
	if (value < expected * 0.749 || value > expected * 1.251)
		fail_msg("%g is not about %g", value, expected);
}

static void
test_limit_and_one_attempt_at_a_time(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(2);
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	assert_false(pool_may_connect(pool, now, POOL_HURRY, &until));
	assert_true(until > now && until <= now + CLOCK_SEC);
	pool_connected(pool, now);
	assert_int_equal(pool_up(pool), 1);
	connect_ok(pool, now);
	assert_false(pool_may_connect(pool, now, POOL_HURRY, &until));
	assert_int_equal(until, INT64_MAX);
	pool_lost(pool, now + 60 * CLOCK_SEC);
	connect_ok(pool, now + 60 * CLOCK_SEC);
	pool_free(&pool);
	assert_null(pool);
	pool_free(&pool);
	pool = pool_new(0);
	assert_int_equal(pool_limit(pool), 1);
	pool_free(&pool);
}

static void
test_back_off_doubles_up_to_a_minute(void **state)
{
	(void)state;
	static const double steps[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
	int64_t until, now = START;
	double least = 1e9, most = 0;
	struct pool *pool = pool_new(4);
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		assert_true(pool_may_connect(pool, now, POOL_PATIENT, &until));
		fail_with(pool, now, FAULT_UNREACHABLE, "refused");
		assert_about(wait_s(pool, now, false), steps[i]);
		/* Whoever waits for an answer waits a second at most. */
		assert_true(wait_s(pool, now, true) <= 1.0);
		assert_true(wait_s(pool, now + CLOCK_SEC, true) <= 0.0);
		now += 76 * CLOCK_SEC;
	}
	assert_int_equal(pool_limit(pool), 4);
	connect_ok(pool, now);
	pool_lost(pool, now + 60 * CLOCK_SEC);
	now += 60 * CLOCK_SEC;
	/* Success forgets; and the pauses differ. */
	for (int i = 0; i < 50; i++) {
		assert_true(pool_may_connect(pool, now, POOL_PATIENT, &until));
		fail_with(pool, now, FAULT_TIMEOUT, "silence");
		double wait = wait_s(pool, now, false);
		assert_about(wait, 1);
		least = wait < least ? wait : least;
		most = wait > most ? wait : most;
		now += 10 * CLOCK_SEC;
		connect_ok(pool, now);
		now += 60 * CLOCK_SEC;
		pool_lost(pool, now);
	}
	assert_true(most - least > 0.1);
	pool_free(&pool);
}

static void
test_hurry(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(1);
	for (int i = 0; i < 8; i++) {
		assert_true(pool_may_connect(pool, now, POOL_PATIENT, &until));
		fail_with(pool, now, FAULT_UNREACHABLE, "no network");
		now += 80 * CLOCK_SEC;
	}
	now -= 79 * CLOCK_SEC;
	assert_true(wait_s(pool, now, false) > 40);
	pool_hurry(pool);
	assert_true(wait_s(pool, now, false) <= 0.0);
	pool_free(&pool);
}

static void
test_refused_logins_are_far_apart(void **state)
{
	(void)state;
	static const double steps[] = { 30, 60, 120, 240, 480, 900, 900 };
	int64_t until, now = START;
	struct pool *pool = pool_new(4);
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
		fail_with(pool, now, FAULT_AUTH, "wrong password");
		assert_about(wait_s(pool, now, false), steps[i]);
		assert_about(wait_s(pool, now, true), steps[i]);
		pool_hurry(pool);
		assert_about(wait_s(pool, now, true), steps[i]);
		now += 1200 * CLOCK_SEC;
	}
	connect_ok(pool, now);
	assert_true(wait_s(pool, now, true) <= 0.0);
	pool_free(&pool);
}

static void
test_limit_shrinks_and_grows_back(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(4);
	connect_ok(pool, now);
	connect_ok(pool, now);
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	fail_with(pool, now, FAULT_BUSY, "NO [LIMIT] too many connections");
	assert_int_equal(pool_limit(pool), 2);
	assert_about(wait_s(pool, now + 100 * CLOCK_SEC, true), POOL_LIMIT_MEMORY_S - 100);
	/* One that is closed may be replaced. */
	now += 120 * CLOCK_SEC;
	pool_closed(pool, now);
	assert_int_equal(pool_limit(pool), 2);
	connect_ok(pool, now);
	now += 481 * CLOCK_SEC;
	connect_ok(pool, now);
	assert_int_equal(pool_up(pool), 3);
	assert_int_equal(pool_limit(pool), 4);
	/* What isn't about their number changes nothing; nor does a failure while none is up. */
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	fail_with(pool, now, FAULT_TIMEOUT, "silence");
	assert_int_equal(pool_limit(pool), 4);
	for (int i = 0; i < 3; i++)
		pool_lost(pool, now + 60 * CLOCK_SEC);
	now += 120 * CLOCK_SEC;
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	fail_with(pool, now, FAULT_BUSY, "server is going down");
	assert_int_equal(pool_limit(pool), 4);
	pool_free(&pool);
}

/* What is refused because the host is going away says nothing of a limit, though one that has not
 * noticed yet is still up. */
static void
test_limit_is_forgotten_when_one_breaks(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(3);
	connect_ok(pool, now);
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	fail_with(pool, now, FAULT_UNREACHABLE, "connection refused");
	assert_int_equal(pool_limit(pool), 1);
	assert_true(pool_is_full(pool));
	now += 60 * CLOCK_SEC;
	pool_lost(pool, now);
	assert_int_equal(pool_limit(pool), 3);
	assert_false(pool_is_full(pool));
	pool_free(&pool);
}

static void
test_spare(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(2);
	assert_true(pool_may_connect(pool, now, POOL_SPARE, &until));
	pool_connected(pool, now);
	assert_false(pool_may_connect(pool, now, POOL_SPARE, &until));
	assert_true(until > now && until < now + 10 * CLOCK_SEC);
	connect_ok(pool, now);
	assert_true(pool_is_full(pool));
	pool_free(&pool);
}

static void
test_server_asks_for_a_pause(void **state)
{
	(void)state;
	int64_t until, now = START;
	struct pool *pool = pool_new(2);
	assert_true(pool_may_connect(pool, now, POOL_HURRY, &until));
	fail_with(pool, now, FAULT_BUSY,
	          "Request is throttled. Suggested Backoff Time: 245000 milliseconds");
	assert_about(wait_s(pool, now, true), 245);
	pool_hurry(pool);
	assert_about(wait_s(pool, now, true), 245);
	now += 246 * CLOCK_SEC;
	connect_ok(pool, now);
	pool_hint(pool, now, "nothing of the kind");
	assert_true(wait_s(pool, now, true) <= 0.0);
	pool_hint(pool, now, "SUGGESTED BACKOFF TIME: 99999999999999 milliseconds");
	assert_about(wait_s(pool, now, true), 600);
	pool_free(&pool);
}

static void
test_connections_that_die_at_once(void **state)
{
	(void)state;
	int64_t now = START;
	struct pool *pool = pool_new(1);
	/* The first is forgiven. */
	connect_ok(pool, now);
	pool_lost(pool, now + CLOCK_SEC);
	assert_true(wait_s(pool, now + CLOCK_SEC, false) <= 0.0);
	now += CLOCK_SEC;
	for (double expected = 1; expected <= 32; expected *= 2) {
		connect_ok(pool, now);
		now += CLOCK_SEC;
		pool_lost(pool, now);
		assert_about(wait_s(pool, now, false), expected);
		assert_true(wait_s(pool, now, true) <= 1.0);
		now += 80 * CLOCK_SEC;
	}
	connect_ok(pool, now);
	now += 20 * CLOCK_SEC;
	pool_lost(pool, now);
	assert_true(wait_s(pool, now, false) <= 0.0);
	pool_free(&pool);
}

static void
test_bans(void **state)
{
	(void)state;
	struct pool *pool = pool_new(1);
	assert_false(pool_banned(pool, IMAP_CAP_COMPRESS_DEFLATE));
	pool_ban(pool, IMAP_CAP_COMPRESS_DEFLATE);
	pool_ban(pool, IMAP_CAP_GMAIL);
	assert_true(pool_banned(pool, IMAP_CAP_COMPRESS_DEFLATE));
	assert_true(pool_banned(pool, IMAP_CAP_GMAIL));
	assert_false(pool_banned(pool, IMAP_CAP_MOVE));
	pool_free(&pool);
}

static void
test_doubts(void **state)
{
	(void)state;
	struct pool *pool = pool_new(4);
	/* Several at once are one outage of the line. */
	assert_false(pool_doubt(pool, IMAP_CAP_IDLE, START + 20, START));
	assert_false(pool_doubt(pool, IMAP_CAP_IDLE, START + 30, START + 10));
	assert_false(pool_doubt(pool, IMAP_CAP_GMAIL, START + 50, START + 40));
	pool_trust(pool, IMAP_CAP_IDLE);
	assert_false(pool_doubt(pool, IMAP_CAP_IDLE, START + 60, START + 40));
	assert_false(pool_banned(pool, IMAP_CAP_IDLE));
	assert_true(pool_doubt(pool, IMAP_CAP_IDLE, START + 80, START + 70));
	assert_true(pool_banned(pool, IMAP_CAP_IDLE));
	assert_false(pool_banned(pool, IMAP_CAP_GMAIL));
	pool_free(&pool);
}

static void
test_cancel(void **state)
{
	(void)state;
	int64_t until;
	struct pool *pool = pool_new(1);
	struct pollfd fd = { .fd = pool_cancel_fd(pool), .events = POLLIN };
	assert_int_equal(poll(&fd, 1, 0), 0);
	pool_cancel(pool);
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_false(pool_may_connect(pool, START, POOL_HURRY, &until));
	pool_free(&pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_and_one_attempt_at_a_time),
		cmocka_unit_test(test_back_off_doubles_up_to_a_minute),
		cmocka_unit_test(test_hurry),
		cmocka_unit_test(test_refused_logins_are_far_apart),
		cmocka_unit_test(test_limit_shrinks_and_grows_back),
		cmocka_unit_test(test_limit_is_forgotten_when_one_breaks),
		cmocka_unit_test(test_spare),
		cmocka_unit_test(test_server_asks_for_a_pause),
		cmocka_unit_test(test_connections_that_die_at_once),
		cmocka_unit_test(test_bans),
		cmocka_unit_test(test_doubts),
		cmocka_unit_test(test_cancel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
