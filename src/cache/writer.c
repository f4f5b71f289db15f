/* SPDX-License-Identifier: MIT */
/*
 * The writer: the one thread that writes the index. It runs each task as it
 * comes, in a transaction that it keeps open, and commits that when it is time;
 * see cache.h for what tasks are promised.
 */
#include "config.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "cache/env.h"

#define QUEUE_OCTETS_MAX ((size_t)16 << 20)
#define COMMIT_EVERY_NS  CLOCK_SEC
#define TEND_EVERY_NS    (5 * CLOCK_SEC)
#define EXPIRE_EVERY_NS  (3600 * CLOCK_SEC)
/* What one transaction may hold: its changed pages are on the heap until it ends. */
#define TASKS_MAX        4096u
#define PUTS_MAX         12000u
#define OCTETS_MAX       ((size_t)4 << 20)

struct queued {
	struct cache_task task;
	bool failed;
	struct fault fault;
};

struct writer {
	struct cache *cache;
	struct cache_txn txn;  /* txn.txn is NULL while there is none */
	GPtrArray *tasks;      /* in hand: those that ran in it */
	size_t octets;         /* of those */
	bool urgent;           /* one of those is */
	int64_t committed_ns, tended_ns, expired_ns;
};

void
cache_submit(struct cache *cache, const struct cache_task *task)
{
	struct queued *queued = g_new0(struct queued, 1);
	queued->task = *task;
	bool may_wait = !task->no_wait && !pthread_equal(pthread_self(), cache->writer);
	pthread_mutex_lock(&cache->queue_lock);
	while (may_wait && cache->queued_octets > QUEUE_OCTETS_MAX)
		pthread_cond_wait(&cache->room_cond, &cache->queue_lock);
	cache->queued_octets += task->octets;
	g_queue_push_tail(&cache->queue, queued);
	pthread_cond_signal(&cache->queue_cond);
	pthread_mutex_unlock(&cache->queue_lock);
}

/* --- one transaction ------------------------------------------------------------------- */

static void
fail_all(struct writer *writer, const struct fault *fault)
{
	for (guint i = 0; i < writer->tasks->len; i++) {
		struct queued *queued = g_ptr_array_index(writer->tasks, i);
		if (!queued->failed) {
			queued->failed = true;
			queued->fault = *fault;
		}
	}
}

static bool
begin(struct writer *writer, struct fault *fault)
{
	struct cache_txn *txn = &writer->txn;
	if (txn->txn != NULL)
		return true;
	int result = mdb_txn_begin(writer->cache->env, NULL, 0, &txn->txn);
	if (result != 0) {
		txn->txn = NULL;
		return env_fault(fault, result, "the index can't be written");
	}
	txn->view.txn = txn->txn;
	txn->puts = 0;
	return true;
}

static void
take_back(struct writer *writer)
{
	struct cache_txn *txn = &writer->txn;
	view_drop_cursors(&txn->view);
	if (txn->txn != NULL)
		mdb_txn_abort(txn->txn);
	txn->txn = txn->view.txn = NULL;
	g_array_set_size(txn->hidden, 0);
}

static bool
run(struct writer *writer, struct queued *queued)
{
	struct fault fault = { 0 };
	if (begin(writer, &fault) &&
	    queued->task.run(&writer->txn, queued->task.data, &fault))
		return true;
	queued->failed = true;
	queued->fault = fault;
	return false;
}

/* A task failed: what it did is taken back together with all else, and that is run again. */
static void
repeat_others(struct writer *writer)
{
	bool again = true;
	while (again) {
		again = false;
		take_back(writer);
		for (guint i = 0; i < writer->tasks->len && !again; i++) {
			struct queued *queued = g_ptr_array_index(writer->tasks, i);
			again = !queued->failed && !run(writer, queued);
		}
	}
}

static void
finish_tasks(struct writer *writer)
{
	struct cache *cache = writer->cache;
	/* done() may submit: the tasks in hand must be a new list by then. */
	GPtrArray *tasks = writer->tasks;
	size_t octets = writer->octets;
	writer->tasks = g_ptr_array_new();
	writer->octets = 0;
	writer->urgent = false;
	for (guint i = 0; i < tasks->len; i++) {
		struct queued *queued = g_ptr_array_index(tasks, i);
		if (queued->task.done != NULL)
			queued->task.done(queued->task.data,
			                  queued->failed ? &queued->fault : NULL);
		else if (queued->failed)
			log_error("%s", queued->fault.text);
		g_free(queued);
	}
	g_ptr_array_free(tasks, TRUE);
	pthread_mutex_lock(&cache->queue_lock);
	cache->queued_octets -= octets;
	pthread_cond_broadcast(&cache->room_cond);
	pthread_mutex_unlock(&cache->queue_lock);
}

static void
commit(struct writer *writer)
{
	struct cache_txn *txn = &writer->txn;
	struct fault fault;
	if (txn->txn != NULL) {
		uint64_t id = mdb_txn_id(txn->txn);
		view_drop_cursors(&txn->view);
		int result = mdb_txn_commit(txn->txn);
		txn->txn = txn->view.txn = NULL;
		if (result != 0) {
			env_fault(&fault, result, "the index can't be written");
			fail_all(writer, &fault);
			g_array_set_size(txn->hidden, 0);
		} else {
			overlay_committed(txn, id);
		}
	}
	writer->committed_ns = clock_boot_ns();
	finish_tasks(writer);
	overlay_purge(writer->cache);
}

/* --- the thread ------------------------------------------------------------------------ */

static struct timespec
monotonic_in(int64_t ns)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	int64_t sum = ts.tv_nsec + MAX(ns, 0);
	ts.tv_sec += (time_t)(sum / CLOCK_SEC);
	ts.tv_nsec = (long)(sum % CLOCK_SEC);
	return ts;
}

/* The next task; NULL: none came until it is time to do something else. */
static struct queued *
next_task(struct writer *writer, bool *stop_r)
{
	struct cache *cache = writer->cache;
	bool pending = writer->tasks->len > 0, timed_out = false;
	int64_t due = pending ? writer->committed_ns + COMMIT_EVERY_NS
	                      : writer->tended_ns + TEND_EVERY_NS;
	struct timespec until = monotonic_in(due - clock_boot_ns());
	pthread_mutex_lock(&cache->queue_lock);
	while (cache->queue.length == 0 && !cache->stopping && !timed_out &&
	       !(pending && writer->urgent) && !(atomic_load(&cache->reaping) && !pending))
		timed_out = pthread_cond_timedwait(&cache->queue_cond, &cache->queue_lock,
		                                   &until) != 0;
	struct queued *queued = g_queue_pop_head(&cache->queue);
	*stop_r = queued == NULL && cache->stopping && !pending;
	pthread_mutex_unlock(&cache->queue_lock);
	return queued;
}

static bool
is_full(const struct writer *writer)
{
	return writer->tasks->len >= TASKS_MAX || writer->txn.puts >= PUTS_MAX ||
	       writer->octets >= OCTETS_MAX;
}

/* Nothing else is to be done: deletes some of the messages that nobody wants any more. */
static void
reap_some(struct writer *writer)
{
	struct fault fault;
	bool more = false, ok = begin(writer, &fault) && txn_reap(&writer->txn, &more, &fault);
	if (!ok) {
		log_warn("%s", fault.text);
		take_back(writer);
	}
	atomic_store(&writer->cache->reaping, ok && more);
	commit(writer);
}

static void
tend(struct writer *writer)
{
	if (clock_boot_ns() - writer->tended_ns < TEND_EVERY_NS)
		return;
	writer->tended_ns = clock_boot_ns();
	store_tend(writer->cache);
	overlay_purge(writer->cache);
	if (clock_boot_ns() - writer->expired_ns >= EXPIRE_EVERY_NS) {
		writer->expired_ns = clock_boot_ns();
		atomic_store(&writer->cache->reaping, true);
	}
}

static void *
writer_thread(void *data)
{
	struct writer writer = { .cache = data, .tasks = g_ptr_array_new(),
		                 .tended_ns = clock_boot_ns(),
		                 .expired_ns = clock_boot_ns() };
	struct cache *cache = data;
	bool stop = false;
	pthread_setname_np(pthread_self(), "imapfs-index");
	writer.txn = (struct cache_txn){ .cache = cache, .buffer = g_byte_array_new(),
		                         .hidden = g_array_new(FALSE, FALSE, sizeof(uint64_t)) };
	atomic_init(&writer.txn.view.cache, cache);
	writer.txn.view.own = true;
	while (!stop) {
		struct queued *queued = next_task(&writer, &stop);
		if (queued != NULL) {
			g_ptr_array_add(writer.tasks, queued);
			writer.octets += queued->task.octets;
			writer.urgent |= queued->task.when == CACHE_NOW;
			bool ok = run(&writer, queued);
			if (!ok)
				repeat_others(&writer);
			/* Committed after a failure, so that each runs twice at most. */
			if (!ok || is_full(&writer))
				commit(&writer);
		} else if (writer.tasks->len > 0) {
			commit(&writer);
		} else if (!stop && atomic_load(&cache->reaping)) {
			reap_some(&writer);
		}
		tend(&writer);
	}
	g_ptr_array_free(writer.tasks, TRUE);
	g_byte_array_free(writer.txn.buffer, TRUE);
	g_array_free(writer.txn.hidden, TRUE);
	return NULL;
}

bool
writer_start(struct cache *cache, struct fault *fault)
{
	int result = pthread_create(&cache->writer, NULL, writer_thread, cache);
	cache->started = result == 0;
	return cache->started || env_fault(fault, result, "no thread for the index");
}

void
writer_stop(struct cache *cache)
{
	if (!cache->started)
		return;
	pthread_mutex_lock(&cache->queue_lock);
	cache->stopping = true;
	pthread_cond_broadcast(&cache->queue_cond);
	pthread_mutex_unlock(&cache->queue_lock);
	pthread_join(cache->writer, NULL);
	cache->started = false;
}

/* --- waiting for a task ---------------------------------------------------------------- */

struct waiter {
	bool (*run)(struct cache_txn *, void *, struct fault *);
	void *data;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished, ok;
	struct fault fault;
};

static bool
waiter_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct waiter *waiter = data;
	return waiter->run == NULL || waiter->run(txn, waiter->data, fault);
}

static void
waiter_done(void *data, const struct fault *fault)
{
	struct waiter *waiter = data;
	pthread_mutex_lock(&waiter->lock);
	waiter->finished = true;
	waiter->ok = fault == NULL;
	if (fault != NULL)
		waiter->fault = *fault;
	pthread_cond_signal(&waiter->cond);
	pthread_mutex_unlock(&waiter->lock);
}

bool
cache_run(struct cache *cache, bool (*run_)(struct cache_txn *, void *, struct fault *), void *data,
          struct fault *fault)
{
	struct waiter waiter = { .run = run_, .data = data };
	struct cache_task task = { .run = waiter_run, .done = waiter_done, .data = &waiter,
		                   .when = CACHE_NOW, .no_wait = true };
	assert(!pthread_equal(pthread_self(), cache->writer));
	pthread_mutex_init(&waiter.lock, NULL);
	pthread_cond_init(&waiter.cond, NULL);
	cache_submit(cache, &task);
	pthread_mutex_lock(&waiter.lock);
	while (!waiter.finished)
		pthread_cond_wait(&waiter.cond, &waiter.lock);
	pthread_mutex_unlock(&waiter.lock);
	pthread_mutex_destroy(&waiter.lock);
	pthread_cond_destroy(&waiter.cond);
	if (!waiter.ok && fault != NULL)
		*fault = waiter.fault;
	return waiter.ok;
}

bool
cache_flush(struct cache *cache, struct fault *fault)
{
	return cache_run(cache, NULL, NULL, fault);
}

struct cache_view *
cache_txn_view(struct cache_txn *txn)
{
	return &txn->view;
}
