/* SPDX-License-Identifier: MIT */
/* Tests of cache/: tasks and their commits, hidden messages, kill -9, and what things cost. */
#include "config.h"

#include "test-cache.h"

#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "cache/env.h"

/* --- tasks ----------------------------------------------------------------------------- */

struct job {
	struct cache *cache;
	uint32_t uid;
	bool fails;
	atomic_int runs, dones;
	enum fault_kind kind;
	uint64_t commit;            /* the index's last transaction when done() was called */
	struct job *behind;         /* submitted by done() */
	atomic_int *order;          /* counts the done()s */
	int place;
};

static uint64_t
last_txn(struct cache *cache)
{
	MDB_envinfo info;
	assert_int_equal(mdb_env_info(cache->env, &info), 0);
	return info.me_last_txnid;
}

static bool
job_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct job *job = data;
	job->runs++;
	if (!put_message(txn, SPACE, job->uid, 0, 0, fault))
		return false;
	return !job->fails || fault_set(fault, FAULT_REFUSED, "job %u does not want to", job->uid);
}

static void job_submit(struct job *job, enum cache_when when);

static void
job_done(void *data, const struct fault *fault)
{
	struct job *job = data;
	job->kind = fault != NULL ? fault->kind : FAULT_NONE;
	job->commit = last_txn(job->cache);
	job->place = job->order != NULL ? (*job->order)++ : 0;
	if (job->behind != NULL)
		job_submit(job->behind, CACHE_SOON);
	job->dones++;
}

static void
job_submit(struct job *job, enum cache_when when)
{
	const struct cache_task task = { .run = job_run, .done = job_done, .data = job,
		                         .when = when, .octets = 100 };
	cache_submit(job->cache, &task);
}

static void
job_wait(struct job *job)
{
	for (int i = 0; i < 60000 && job->dones == 0; i++)
		usleep(1000);
	assert_int_equal(job->dones, 1);
}

static void
test_tasks_share_a_commit(void **state)
{
	struct fixture *f = *state;
	struct job jobs[100] = { 0 };
	atomic_int order = 0;
	struct fault fault;
	/* The first one after a while is committed without the others. */
	jobs[0].cache = f->cache;
	jobs[0].uid = 1000;
	int64_t start = clock_boot_ns();
	job_submit(&jobs[0], CACHE_SOON);
	job_wait(&jobs[0]);
	/* The next ones wait for a second, together. */
	uint64_t before = last_txn(f->cache);
	for (uint32_t i = 1; i < 100; i++) {
		jobs[i] = (struct job){ .cache = f->cache, .uid = i, .order = &order };
		job_submit(&jobs[i], CACHE_SOON);
	}
	for (uint32_t i = 1; i < 100; i++)
		job_wait(&jobs[i]);
	assert_true(clock_boot_ns() - start > CLOCK_SEC * 8 / 10);
	assert_int_equal(last_txn(f->cache), before + 1);
	for (uint32_t i = 1; i < 100; i++) {
		assert_int_equal(jobs[i].place, i - 1);
		assert_int_equal(jobs[i].runs, 1);
		assert_int_equal(jobs[i].commit, before + 1);
	}
	/* Unless somebody is in a hurry. */
	struct job soon = { .cache = f->cache, .uid = 2000 };
	job_submit(&soon, CACHE_SOON);
	assert_true(cache_flush(f->cache, &fault));
	assert_int_equal(soon.dones, 1);
	assert_int_equal(count_listed(f->cache, NULL), 101);
}

static void
test_a_failing_task_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct job jobs[30] = { 0 };
	struct fault fault;
	uint64_t sum;
	for (uint32_t i = 0; i < 30; i++) {
		jobs[i] = (struct job){ .cache = f->cache, .uid = i + 1, .fails = i % 10 == 7 };
		job_submit(&jobs[i], CACHE_SOON);
	}
	assert_true(cache_flush(f->cache, &fault));
	for (uint32_t i = 0; i < 30; i++) {
		assert_int_equal(jobs[i].dones, 1);
		assert_int_equal(jobs[i].kind, jobs[i].fails ? FAULT_REFUSED : FAULT_NONE);
		assert_true(jobs[i].runs <= 2);
	}
	assert_int_equal(count_listed(f->cache, &sum), 27);
	assert_int_equal(sum, 30 * 31 / 2 - 8 - 18 - 28);
	assert_false(cache_run(f->cache, job_run, &(struct job){ .uid = 99, .fails = true }, &fault));
	assert_int_equal(fault.kind, FAULT_REFUSED);
	assert_string_equal(fault.text, "job 99 does not want to");
	assert_true(cache_check(f->cache, &fault));
}

static void
test_done_may_submit(void **state)
{
	struct fixture *f = *state;
	struct job last = { .cache = f->cache, .uid = 3 };
	struct job middle = { .cache = f->cache, .uid = 2, .behind = &last };
	struct job first = { .cache = f->cache, .uid = 1, .behind = &middle };
	job_submit(&first, CACHE_NOW);
	/* Closing runs what tasks submit in their turn. */
	cache_close(&f->cache);
	assert_int_equal(first.dones + middle.dones + last.dones, 3);
	fixture_open(f);
	assert_int_equal(count_listed(f->cache, NULL), 3);
}

struct bulk {
	atomic_int *done;
	uint32_t first;
};

static bool
bulk_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct bulk *bulk = data;
	return put_range(txn, &(struct range){ bulk->first, bulk->first + 99, 0, 0 }, fault);
}

static void
bulk_done(void *data, const struct fault *fault)
{
	struct bulk *bulk = data;
	assert_null(fault);
	(*bulk->done)++;
}

/* 100 MB of tasks go through a queue of 16 MiB, without waiting for a clock. */
static void
test_the_queue_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct bulk bulks[100];
	atomic_int done = 0;
	struct fault fault;
	int64_t start = clock_boot_ns();
	for (uint32_t i = 0; i < 100; i++) {
		bulks[i] = (struct bulk){ &done, i * 100 + 1 };
		const struct cache_task task = { .run = bulk_run, .done = bulk_done,
			                         .data = &bulks[i], .octets = 1 << 20 };
		cache_submit(f->cache, &task);
		pthread_mutex_lock(&f->cache->queue_lock);
		assert_true(f->cache->queued_octets <= (size_t)18 << 20);
		pthread_mutex_unlock(&f->cache->queue_lock);
	}
	assert_true(cache_flush(f->cache, &fault));
	assert_int_equal(done, 100);
	/* A second for each would be more. */
	assert_true(clock_boot_ns() - start < 90 * CLOCK_SEC);
	assert_int_equal(count_listed(f->cache, NULL), 10000);
}

/* --- hidden messages ------------------------------------------------------------------- */

static bool
record_hidden(struct cache_txn *txn, void *data, struct fault *fault)
{
	const uint32_t *uid = data;
	cache_hide_recorded(txn, 1000 + *uid);
	return put_message(txn, SPACE, *uid, 0, MESSAGE_HIDDEN, fault);
}

static bool
record_visible(struct cache_txn *txn, void *data, struct fault *fault)
{
	const uint32_t *uid = data;
	return put_message(txn, SPACE, *uid, 0, 0, fault);
}

static void
test_hiding_is_seen_at_once(void **state)
{
	struct fixture *f = *state;
	struct message_record record;
	uint32_t uid = 3;
	must_run(f->cache, put_range, &(struct range){ 1, 5, 0, 0 });
	struct cache_view *old = cache_view_begin(f->cache);
	cache_hide(f->cache, 1003);
	assert_int_equal(count_listed(f->cache, NULL), 4);
	assert_false(cache_message_by_name(old, SPACE, "3.eml", 5, &record));
	/* It is recorded, but this thread still reads an older state. */
	must_run(f->cache, record_hidden, &uid);
	must_run(f->cache, put_range, &(struct range){ 6, 6, 0, 0 });
	assert_int_equal(f->cache->hidden_count, 1);
	assert_int_equal(count_listed(f->cache, NULL), 4);
	cache_view_end(old);
	must_run(f->cache, put_range, &(struct range){ 7, 7, 0, 0 });
	assert_int_equal(count_listed(f->cache, NULL), 6);
	cache_flush(f->cache, NULL);
	assert_int_equal(f->cache->hidden_count, 0);
	assert_int_equal(count_listed(f->cache, NULL), 6);
	/* Refused by the server. */
	must_run(f->cache, record_visible, &uid);
	cache_unhide(f->cache, 1003);
	assert_int_equal(count_listed(f->cache, NULL), 7);
}

static bool
fail_hidden(struct cache_txn *txn, void *data, struct fault *fault)
{
	record_hidden(txn, data, fault);
	return fault_set(fault, FAULT_REFUSED, "no");
}

static void
test_what_was_not_recorded_stays_hidden(void **state)
{
	struct fixture *f = *state;
	struct fault fault;
	uint32_t uid = 3;
	must_run(f->cache, put_range, &(struct range){ 1, 5, 0, 0 });
	cache_hide(f->cache, 1003);
	assert_false(cache_run(f->cache, fail_hidden, &uid, &fault));
	for (int i = 0; i < 3; i++)
		assert_true(cache_flush(f->cache, &fault));
	assert_int_equal(f->cache->hidden_count, 1);
	assert_int_equal(count_listed(f->cache, NULL), 4);
	cache_unhide(f->cache, 1003);
	assert_int_equal(count_listed(f->cache, NULL), 5);
}

#define RACE_UIDS 400u

struct race {
	struct cache *cache;
	atomic_uint gone;     /* UIDs up to this one are hidden */
	atomic_bool stop;
	atomic_int scans, shown;
};

static void *
race_reader(void *data)
{
	struct race *race = data;
	while (!race->stop) {
		unsigned gone = race->gone;
		struct cache_view *view = cache_view_begin(race->cache);
		struct cache_scan scan;
		struct message_record record;
		unsigned count = 0;
		cache_scan_init(&scan, view, SPACE, 0);
		while (cache_scan_next(&scan, &record)) {
			count++;
			if (record.uid <= gone)
				race->shown++;
		}
		if (scan.failed || count > RACE_UIDS - gone)
			race->shown++;
		cache_view_end(view);
		race->scans++;
	}
	return NULL;
}

static bool
race_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint32_t uid = GPOINTER_TO_UINT(data);
	return record_hidden(txn, &uid, fault);
}

/* No reader ever sees a message again that was hidden before it began. */
static void
test_nothing_hidden_comes_back(void **state)
{
	struct fixture *f = *state;
	struct race race = { .cache = f->cache };
	pthread_t readers[3];
	must_run(f->cache, put_range, &(struct range){ 1, RACE_UIDS, 0, 0 });
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, race_reader, &race), 0);
	for (uint32_t uid = 1; uid <= RACE_UIDS; uid++) {
		cache_hide(f->cache, 1000 + uid);
		race.gone = uid;
		const struct cache_task task = { .run = race_run, .data = GUINT_TO_POINTER(uid),
			                         .when = uid % 7 == 0 ? CACHE_NOW : CACHE_SOON };
		cache_submit(f->cache, &task);
		if (uid % 16 == 0)
			usleep(2000);
	}
	assert_true(cache_flush(f->cache, NULL));
	race.stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(readers[i], NULL);
	assert_true(race.scans > 0);
	assert_int_equal(race.shown, 0);
	assert_int_equal(count_listed(f->cache, NULL), 0);
	/* They are forgotten after a commit's end, of which a flush does not wait. */
	for (int i = 0; i < 2000 && f->cache->hidden_count > 0; i++) {
		cache_flush(f->cache, NULL);
		usleep(5000);
	}
	assert_int_equal(f->cache->hidden_count, 0);
}

/* --- kill -9 --------------------------------------------------------------------------- */

static bool
storm_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint32_t step = GPOINTER_TO_UINT(data), uid = step % 500 + 1;
	struct message_record record;
	uint64_t ino;
	if (step % 3 == 2 && cache_message_by_uid(cache_txn_view(txn), SPACE, uid, &record))
		return txn_message_bury(txn, &(struct tomb_record){ .message = record }, fault);
	return txn_ino_alloc(txn, &ino, fault) && txn_tomb_delete(txn, 1000 + uid, fault) &&
	       put_message(txn, SPACE, uid, 0, 0, fault) &&
	       txn_meta_put(txn, "step", &step, sizeof step, fault);
}

/* Writes both stores until it is killed; tells through the pipe what was acknowledged. */
static void
storm(struct fixture *f, int pipe_fd)
{
	static unsigned char body[51 * 6000];
	struct cache *cache;
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	if (!cache_open(&f->config, &cache, NULL))
		_exit(1);
	for (uint32_t step = 1;; step++) {
		const struct cache_task task = { .run = storm_run, .data = GUINT_TO_POINTER(step) };
		cache_submit(cache, &task);
		uint64_t key = step % 50 + 2;
		memset(body, (int)key, sizeof body);
		body_put(cache, key, key, body, key * 6000, NULL);
		if (step % 20 == 0 && cache_flush(cache, NULL) &&
		    write(pipe_fd, &step, sizeof step) != sizeof step)
			_exit(1);
	}
}

static void
check_bodies(struct cache *cache)
{
	struct cache_view *view = cache_view_begin(cache);
	for (uint64_t key = 2; key < 52; key++) {
		struct body_info info;
		struct iovec iov[4];
		size_t octets;
		if (!body_info_get(view, key, &info))
			continue;
		assert_true(info.complete && info.size == key * 6000 && info.origin == key);
		unsigned count = body_read(view, key, 0, (size_t)info.size, iov, 4, &octets);
		assert_int_equal(octets, info.size);
		for (unsigned i = 0; i < count; i++)
			for (size_t at = 0; at < iov[i].iov_len; at++)
				if (((unsigned char *)iov[i].iov_base)[at] != key)
					fail_msg("body %u is wrong", (unsigned)key);
	}
	cache_view_end(view);
}

static void
test_kill_at_any_moment(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 7;
	cache_close(&f->cache);
	for (int round = 0; round < 12; round++) {
		int fds[2];
		uint32_t step, acknowledged = 0;
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			storm(f, fds[1]);
		close(fds[1]);
		/* Killed at random, once it has begun. */
		assert_int_equal(read(fds[0], &step, sizeof step), sizeof step);
		acknowledged = step;
		usleep((useconds_t)(rand_r(&seed) % 150000));
		kill(pid, SIGKILL);
		while (read(fds[0], &step, sizeof step) == sizeof step)
			acknowledged = step;
		close(fds[0]);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		fixture_open(f);
		struct fault fault;
		struct octets value;
		if (!cache_check(f->cache, &fault))
			fail_msg("round %d: %s", round, fault.text);
		struct cache_view *view = cache_view_begin(f->cache);
		assert_true(cache_meta_get(view, "step", &value) && value.len == sizeof step);
		memcpy(&step, value.data, sizeof step);
		cache_view_end(view);
		/* Steps that are acknowledged but leave no mark are of the deleting kind. */
		assert_true(step + 1 >= acknowledged);
		check_bodies(f->cache);
		cache_close(&f->cache);
	}
	fixture_open(f);
}

/* --- a full disk ----------------------------------------------------------------------- */

static void
test_a_full_disk_is_an_error_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct fault fault = { 0 };
	bool failed = false;
	cache_close(&f->cache);
	char *small = g_strconcat(f->dir, "/small", NULL), *state_dir = g_strconcat(small, "/s", NULL);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=2m") != 0) {
		g_free(small);
		g_free(state_dir);
		fixture_open(f);
		print_message("no file system can be mounted here\n");
		skip();
	}
	/* What is taken away later, so that there is room again. */
	char *ballast = g_strconcat(small, "/ballast", NULL), *zeros = g_malloc0(512 << 10);
	assert_true(g_file_set_contents(ballast, zeros, 512 << 10, NULL));
	f->config.state_dir = state_dir;
	fixture_open(f);
	must_run(f->cache, put_range, &(struct range){ 1, 100, 0, 0 });
	for (uint32_t first = 101; first < 50000 && !failed; first += 1000)
		failed = !cache_run(f->cache, put_range, &(struct range){ first, first + 999, 0, 0 },
		                    &fault);
	assert_true(failed);
	assert_int_equal(fault.kind, FAULT_CACHE);
	unsigned listed = count_listed(f->cache, NULL);
	assert_true(listed >= 100);
	if (!cache_check(f->cache, &fault))
		fail_msg("%s", fault.text);
	/* It can be opened on the full disk, and goes on when there is room. */
	cache_close(&f->cache);
	fixture_open(f);
	assert_int_equal(count_listed(f->cache, NULL), listed);
	assert_int_equal(unlink(ballast), 0);
	must_run(f->cache, delete_range, &(struct range){ 1, 50, 0, 0 });
	assert_int_equal(count_listed(f->cache, NULL), listed - 50);
	assert_true(cache_check(f->cache, &fault));
	g_free(ballast);
	g_free(zeros);
	cache_close(&f->cache);
	assert_int_equal(umount(small), 0);
	f->config.state_dir = f->state_dir;
	fixture_open(f);
	g_free(small);
	g_free(state_dir);
}

/* --- what things cost ------------------------------------------------------------------ */

static long
rss_anon_kb(void)
{
	char *status = NULL;
	long kb = -1;
	if (g_file_get_contents("/proc/self/status", &status, NULL, NULL)) {
		const char *line = strstr(status, "RssAnon:");
		kb = line != NULL ? strtol(line + 8, NULL, 10) : -1;
	}
	g_free(status);
	return kb;
}

static bool
realistic_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	uint32_t first = GPOINTER_TO_UINT(data);
	if (first == 1 && !put_box(txn, SPACE, fault))
		return false;
	for (uint32_t uid = first; uid < first + 500; uid++) {
		char name[100];
		uint64_t ino;
		g_snprintf(name, sizeof name,
		           "2024-05-03T141205_Alice-Smith_Re-Lunch-on-Friday_%08x.eml",
		           uid * 2654435761u);
		struct message_record record = { .space = SPACE, .recno = uid, .uid = uid,
			                         .name = name, .name_len = strlen(name) };
		key_u32(record.identity, uid * 2654435761u);
		if (!txn_name_free(txn, SPACE, name, record.name_len) ||
		    !txn_ino_alloc(txn, &ino, fault))
			return false;
		record.ino = ino;
		if (!txn_message_put(txn, MAILBOX, &record, fault))
			return false;
	}
	return true;
}

static void
time_reads(struct cache *cache)
{
	struct message_record record;
	uint32_t mailbox;
	count_listed(cache, NULL);
	int64_t start = clock_boot_ns();
	unsigned count = count_listed(cache, NULL);
	print_message("    scan: %.0f ns an entry\n", (double)(clock_boot_ns() - start) / count);
	cache_hide(cache, 1);
	start = clock_boot_ns();
	count_listed(cache, NULL);
	print_message("    scan while something is hidden: %.0f ns\n",
	              (double)(clock_boot_ns() - start) / count);
	cache_unhide(cache, 1);
	start = clock_boot_ns();
	for (uint32_t i = 0; i < 100000; i++) {
		struct cache_view *view = cache_view_begin(cache);
		cache_message_get(view, SPACE, i * 7919u % 100000 + 1, &record);
		cache_view_end(view);
	}
	print_message("    begin, get, end: %.0f ns\n", (double)(clock_boot_ns() - start) / 1e5);
	start = clock_boot_ns();
	for (uint64_t i = 0; i < 100000; i++) {
		struct cache_view *view = cache_view_begin(cache);
		assert_true(cache_message_by_ino(view, i + 2, &mailbox, &record));
		cache_view_end(view);
	}
	print_message("    by inode: %.0f ns\n", (double)(clock_boot_ns() - start) / 1e5);
	uint32_t uid = 0;
	start = clock_boot_ns();
	struct cache_view *view = cache_view_begin(cache);
	while (cache_uid_next(view, SPACE, uid, &uid))
		continue;
	cache_view_end(view);
	print_message("    walk of UIDs: %.0f ns\n", (double)(clock_boot_ns() - start) / 1e5);
}

/* Prints; machines differ. */
static void
test_costs(void **state)
{
	struct fixture *f = *state;
	long before = rss_anon_kb();
	int64_t start = clock_boot_ns();
	for (uint32_t first = 1; first < 100000; first += 500) {
		const struct cache_task task = { .run = realistic_run, .octets = 60000,
			                         .data = GUINT_TO_POINTER(first) };
		cache_submit(f->cache, &task);
	}
	assert_true(cache_flush(f->cache, NULL));
	print_message("    100,000 messages: %.2f us each; RssAnon grew by %ld KiB\n",
	              (double)(clock_boot_ns() - start) / 1e8, rss_anon_kb() - before);
	assert_int_equal(count_listed(f->cache, NULL), 100000);
	time_reads(f->cache);
	start = clock_boot_ns();
	for (int i = 0; i < 50; i++)
		must_run(f->cache, record_visible, &(uint32_t){ 200000 });
	print_message("    a task that is waited for: %.0f us\n",
	              (double)(clock_boot_ns() - start) / 5e4);
	print_message("    RssAnon in the end: %ld KiB more\n", rss_anon_kb() - before);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tasks_share_a_commit),
		TEST(test_a_failing_task_leaves_no_trace),
		TEST(test_done_may_submit),
		TEST(test_the_queue_is_bounded),
		TEST(test_hiding_is_seen_at_once),
		TEST(test_what_was_not_recorded_stays_hidden),
		TEST(test_nothing_hidden_comes_back),
		TEST(test_kill_at_any_moment),
		TEST(test_a_full_disk_is_an_error_and_no_more),
		TEST(test_costs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
