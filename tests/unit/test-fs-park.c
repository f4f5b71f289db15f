/* SPDX-License-Identifier: MIT */
/* Parked calls: who ends them, when, and that it happens once. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/park.h"

/* What the calls of a test wait for. */
struct server {
	pthread_mutex_t lock;
	GPtrArray *waits;
};

struct call {
	struct park park; /* first */
	struct server *server;
	int rounds;       /* how many waits it needs */
	pthread_mutex_t request; /* as libfuse's lock of a request: held while it is interrupted */
	bool armed;
	atomic_int *replied, *abandoned, *interrupted, *destroyed;
};

struct counters {
	atomic_int replied, abandoned, interrupted, destroyed;
};

static void
step(struct park *park, const struct fault *fault)
{
	struct call *call = (struct call *)park;
	if (fault == NULL && call->rounds > 0) {
		call->rounds--;
		struct server *server = call->server;
		struct fetch_wait *wait = park_wait(park);
		if (wait == NULL)
			return;
		pthread_mutex_lock(&server->lock);
		g_ptr_array_add(server->waits, wait_ref(&wait->wait));
		pthread_mutex_unlock(&server->lock);
		wait_unref(&wait->wait);
		return;
	}
	if (!park_claim(park))
		return;
	atomic_fetch_add(call->replied, 1);
	park_finish(park);
}

static void
abandon(struct park *park, bool interrupted)
{
	struct call *call = (struct call *)park;
	atomic_fetch_add(interrupted ? call->interrupted : call->abandoned, 1);
}

static void
destroy(struct park *park)
{
	struct call *call = (struct call *)park;
	atomic_fetch_add(call->destroyed, 1);
	pthread_mutex_destroy(&call->request);
	g_free(call);
}

static void
arm(struct park *park)
{
	struct call *call = (struct call *)park;
	pthread_mutex_lock(&call->request);
	call->armed = true;
	pthread_mutex_unlock(&call->request);
}

static void
disarm(struct park *park)
{
	struct call *call = (struct call *)park;
	pthread_mutex_lock(&call->request);
	call->armed = false;
	pthread_mutex_unlock(&call->request);
}

static struct call *
call_new(struct park_lot *lot, struct server *server, struct counters *counters, int rounds)
{
	struct call *call = g_new0(struct call, 1);
	park_init(&call->park, lot);
	call->park.step = step;
	call->park.abandon = abandon;
	call->park.destroy = destroy;
	call->park.arm = arm;
	call->park.disarm = disarm;
	call->server = server;
	call->rounds = rounds;
	pthread_mutex_init(&call->request, NULL);
	call->replied = &counters->replied;
	call->abandoned = &counters->abandoned;
	call->interrupted = &counters->interrupted;
	call->destroyed = &counters->destroyed;
	return call;
}

static void
server_init(struct server *server)
{
	pthread_mutex_init(&server->lock, NULL);
	server->waits = g_ptr_array_new();
}

static void
server_release(struct server *server)
{
	g_ptr_array_free(server->waits, TRUE);
	pthread_mutex_destroy(&server->lock);
}

/* Ends all that waits now; returns how many waits that were. */
static unsigned
server_answer(struct server *server, const struct fault *fault)
{
	pthread_mutex_lock(&server->lock);
	GPtrArray *waits = server->waits;
	server->waits = g_ptr_array_new();
	pthread_mutex_unlock(&server->lock);
	unsigned count = waits->len;
	for (guint i = 0; i < waits->len; i++) {
		wait_end(g_ptr_array_index(waits, i), fault);
		wait_unref(g_ptr_array_index(waits, i));
	}
	g_ptr_array_free(waits, TRUE);
	return count;
}

static void
count_idle(void *ctx)
{
	(*(int *)ctx)++;
}

static void
test_rounds(void **state)
{
	struct park_lot *lot = park_lot_new();
	struct counters counters = { 0 };
	struct server server;
	int idle = 0;
	(void)state;
	server_init(&server);
	park_lot_on_idle(lot, count_idle, &idle);
	/* Nothing to wait for. */
	struct call *call = call_new(lot, &server, &counters, 0);
	park_run(&call->park);
	assert_int_equal(atomic_load(&counters.replied), 1);
	assert_int_equal(atomic_load(&counters.destroyed), 1);
	/* Two calls in one directory, which is busy until both have ended. */
	for (int rounds = 1; rounds <= 2; rounds++) {
		call = call_new(lot, &server, &counters, rounds);
		call->park.dir = 12;
		park_run(&call->park);
	}
	assert_true(park_lot_busy(lot, 12));
	assert_false(park_lot_busy(lot, 13));
	assert_int_equal(park_lot_count(lot), 2);
	assert_int_equal(server_answer(&server, NULL), 2);
	assert_int_equal(atomic_load(&counters.replied), 2);
	assert_true(park_lot_busy(lot, 12));
	assert_int_equal(idle, 0);
	struct fault fault;
	fault_set(&fault, FAULT_TIMEOUT, "late");
	assert_int_equal(server_answer(&server, &fault), 1);
	assert_int_equal(atomic_load(&counters.replied), 3);
	assert_int_equal(atomic_load(&counters.destroyed), 3);
	assert_false(park_lot_busy(lot, 12));
	assert_int_equal(idle, 1);
	assert_int_equal(park_lot_count(lot), 0);
	park_lot_free(&lot);
	server_release(&server);
}

static void
test_interrupt(void **state)
{
	struct park_lot *lot = park_lot_new();
	struct counters counters = { 0 };
	struct server server;
	(void)state;
	server_init(&server);
	struct call *call = call_new(lot, &server, &counters, 5);
	park_run(&call->park);
	park_interrupt(&call->park);
	assert_int_equal(atomic_load(&counters.interrupted), 1);
	assert_int_equal(park_lot_count(lot), 0);
	/* The work goes on, and its end moves nobody; then the call is freed. */
	assert_int_equal(atomic_load(&counters.destroyed), 0);
	assert_int_equal(server_answer(&server, NULL), 1);
	assert_int_equal(atomic_load(&counters.replied), 0);
	assert_int_equal(atomic_load(&counters.destroyed), 1);
	park_lot_free(&lot);
	server_release(&server);
}

/* libfuse may call back from within the arming, when the signal was faster. */
static void
arm_interrupted(struct park *park)
{
	arm(park);
	park_interrupt(park);
}

static void
test_interrupted_early(void **state)
{
	struct park_lot *lot = park_lot_new();
	struct counters counters = { 0 };
	struct server server;
	(void)state;
	server_init(&server);
	struct call *call = call_new(lot, &server, &counters, 1);
	call->park.arm = arm_interrupted;
	park_run(&call->park);
	assert_int_equal(atomic_load(&counters.interrupted), 1);
	assert_int_equal(atomic_load(&counters.destroyed), 1);
	assert_int_equal(server_answer(&server, NULL), 0);
	park_lot_free(&lot);
	server_release(&server);
}

static void
test_close(void **state)
{
	struct park_lot *lot = park_lot_new();
	struct counters counters = { 0 };
	struct server server;
	(void)state;
	server_init(&server);
	for (int i = 0; i < 10; i++)
		park_run(&call_new(lot, &server, &counters, 1)->park);
	park_lot_close(lot);
	assert_int_equal(atomic_load(&counters.abandoned), 10);
	assert_int_equal(park_lot_count(lot), 0);
	park_run(&call_new(lot, &server, &counters, 1)->park);
	assert_int_equal(atomic_load(&counters.abandoned), 11);
	/* What needs no waiting is answered still. */
	park_run(&call_new(lot, &server, &counters, 0)->park);
	assert_int_equal(atomic_load(&counters.replied), 1);
	assert_int_equal(server_answer(&server, NULL), 10);
	assert_int_equal(atomic_load(&counters.destroyed), 12);
	park_lot_free(&lot);
	server_release(&server);
}

struct race {
	struct server server;
	atomic_bool over;
};

static void *
answer_always(void *data)
{
	struct race *race = data;
	while (!atomic_load(&race->over))
		server_answer(&race->server, NULL);
	server_answer(&race->server, NULL);
	return NULL;
}

static void *
interrupt_it(void *data)
{
	struct call *call = data;
	pthread_mutex_lock(&call->request);
	if (call->armed)
		park_interrupt(&call->park);
	pthread_mutex_unlock(&call->request);
	return NULL;
}

/* The answer and the interrupt at the same time: one of them replies. */
static void
test_race(void **state)
{
	enum { CALLS = 400 };
	struct park_lot *lot = park_lot_new();
	struct counters counters = { 0 };
	struct race race;
	(void)state;
	server_init(&race.server);
	atomic_init(&race.over, false);
	GThread *server = g_thread_new(NULL, answer_always, &race);
	for (int i = 0; i < CALLS; i++) {
		struct call *call = call_new(lot, &race.server, &counters, 3);
		atomic_fetch_add(&call->park.refs, 1); /* as libfuse keeps its request */
		GThread *interrupter = g_thread_new(NULL, interrupt_it, call);
		park_run(&call->park);
		g_thread_join(interrupter);
		if (atomic_fetch_sub(&call->park.refs, 1) == 1)
			call->park.destroy(&call->park);
	}
	while (atomic_load(&counters.replied) + atomic_load(&counters.interrupted) < CALLS)
		g_usleep(1000);
	atomic_store(&race.over, true);
	g_thread_join(server);
	assert_int_equal(atomic_load(&counters.replied) + atomic_load(&counters.interrupted), CALLS);
	assert_int_equal(atomic_load(&counters.destroyed), CALLS);
	assert_int_equal(park_lot_count(lot), 0);
	park_lot_free(&lot);
	server_release(&race.server);
}

struct closing {
	struct park_lot *lot;
	struct server server;
	struct counters counters;
	atomic_bool started;
};

static void *
park_some(void *data)
{
	struct closing *closing = data;
	atomic_store(&closing->started, true);
	for (int i = 0; i < 20; i++)
		park_run(&call_new(closing->lot, &closing->server, &closing->counters, 1)->park);
	return NULL;
}

/* The mount ends while calls are being parked: none is forgotten. */
static void
test_close_race(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct closing closing = { .lot = park_lot_new() };
		server_init(&closing.server);
		GThread *parker = g_thread_new(NULL, park_some, &closing);
		while (!atomic_load(&closing.started))
			;
		park_lot_close(closing.lot);
		g_thread_join(parker);
		assert_int_equal(park_lot_count(closing.lot), 0);
		assert_int_equal(atomic_load(&closing.counters.abandoned), 20);
		server_answer(&closing.server, NULL);
		assert_int_equal(atomic_load(&closing.counters.destroyed), 20);
		park_lot_free(&closing.lot);
		server_release(&closing.server);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounds), cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_interrupted_early), cmocka_unit_test(test_close),
		cmocka_unit_test(test_race), cmocka_unit_test(test_close_race),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
