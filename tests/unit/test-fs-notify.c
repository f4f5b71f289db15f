/* SPDX-License-Identifier: MIT */
/* The notifier: order, directories that are busy, the bound on the queue. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "fs/notify.h"

/* What was told, as text. */
struct told {
	pthread_mutex_t lock;
	GString *text;
	_Atomic uint64_t busy; /* that directory is */
	atomic_uint count;
};

static void __attribute__((format(printf, 2, 3)))
tell(struct told *told, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	pthread_mutex_lock(&told->lock);
	g_string_append_vprintf(told->text, format, args);
	pthread_mutex_unlock(&told->lock);
	va_end(args);
	atomic_fetch_add(&told->count, 1);
}

static bool
busy(void *ctx, uint64_t dir_ino)
{
	struct told *told = ctx;
	return atomic_load(&told->busy) == dir_ino;
}

static void
settle(void *ctx, uint64_t dir_ino)
{
	tell(ctx, "settle %d\n", (int)dir_ino);
}

static void
attr(void *ctx, uint64_t ino)
{
	tell(ctx, "attr %d\n", (int)ino);
}

static void
data(void *ctx, uint64_t ino)
{
	tell(ctx, "data %d\n", (int)ino);
}

static void
listing(void *ctx, uint64_t dir_ino)
{
	tell(ctx, "listing %d\n", (int)dir_ino);
}

static void
entries(void *ctx, uint64_t dir_ino)
{
	tell(ctx, "entries %d\n", (int)dir_ino);
}

static void
entry_new(void *ctx, uint64_t dir_ino, const char *name)
{
	tell(ctx, "new %d %s\n", (int)dir_ino, name);
}

static void
entry_gone(void *ctx, uint64_t dir_ino, uint64_t ino, const char *name)
{
	tell(ctx, "gone %d %d %s\n", (int)dir_ino, (int)ino, name);
}

static void
told_init(struct told *told)
{
	*told = (struct told){ .text = g_string_new(NULL) };
	pthread_mutex_init(&told->lock, NULL);
}

static struct notifier *
start(struct told *told)
{
	const struct notify_sink sink = { told, busy, settle, attr, data, listing, entries,
		                           entry_new, entry_gone };
	return notifier_new(&sink);
}

/* Waits until so many things were told. */
static bool
await(struct told *told, unsigned count)
{
	for (int i = 0; i < 5000 && atomic_load(&told->count) < count; i++)
		g_usleep(1000);
	return atomic_load(&told->count) >= count;
}

static void
send(struct notifier *notifier, enum account_event_kind kind, uint64_t dir, uint64_t ino,
     const char *name)
{
	const struct account_event event = { kind, dir, ino, name };
	notifier_event(notifier, &event);
}

static void
release(struct told *told, struct notifier **notifier)
{
	notifier_free(notifier);
	g_string_free(told->text, TRUE);
	pthread_mutex_destroy(&told->lock);
}

static void
test_kinds(void **state)
{
	struct told told;
	(void)state;
	told_init(&told);
	struct notifier *notifier = start(&told);
	send(notifier, EVENT_MESSAGE_ATTR, 2, 20, NULL);
	assert_true(await(&told, 2));
	send(notifier, EVENT_MESSAGE_DATA, 2, 21, NULL);
	assert_true(await(&told, 3));
	send(notifier, EVENT_MESSAGE_GONE, 2, 22, "a");
	assert_true(await(&told, 5));
	send(notifier, EVENT_MESSAGE_NEW, 2, 23, "b");
	assert_true(await(&told, 7));
	send(notifier, EVENT_LISTING, 3, 0, NULL);
	assert_true(await(&told, 8));
	send(notifier, EVENT_MAILBOX_GONE, 1, 3, "box");
	assert_true(await(&told, 10));
	send(notifier, EVENT_ENTRIES, 5, 0, NULL);
	assert_true(await(&told, 12));
	notifier_stop(notifier);
	send(notifier, EVENT_MAILBOX_NEW, 1, 3, "late");
	assert_string_equal(told.text->str,
	                    "settle 2\nattr 20\ndata 21\nlisting 2\ngone 2 22 a\nlisting 2\nnew 2 b\n"
	                    "listing 3\nlisting 1\ngone 1 3 box\n"
	                    "listing 5\nentries 5\n");
	release(&told, &notifier);
}

static void
test_busy(void **state)
{
	struct told told;
	(void)state;
	told_init(&told);
	atomic_store(&told.busy, 2);
	struct notifier *notifier = start(&told);
	send(notifier, EVENT_MESSAGE_GONE, 2, 22, "a");
	assert_true(await(&told, 1)); /* the listing takes no lock */
	send(notifier, EVENT_MESSAGE_GONE, 2, 24, "b");
	send(notifier, EVENT_MESSAGE_GONE, 4, 25, "c"); /* others go on */
	assert_true(await(&told, 3));
	pthread_mutex_lock(&told.lock);
	assert_null(strstr(told.text->str, "gone 2"));
	assert_non_null(strstr(told.text->str, "gone 4 25 c"));
	pthread_mutex_unlock(&told.lock);
	atomic_store(&told.busy, 0);
	notifier_kick(notifier);
	assert_true(await(&told, 5));
	notifier_stop(notifier);
	const char *first = strstr(told.text->str, "gone 2 22 a");
	assert_non_null(first);
	assert_non_null(strstr(first, "gone 2 24 b"));
	release(&told, &notifier);
}

/* Attributes too: what is being answered there would be newer for the kernel. */
static void
test_busy_attributes(void **state)
{
	struct told told;
	(void)state;
	told_init(&told);
	atomic_store(&told.busy, 2);
	struct notifier *notifier = start(&told);
	send(notifier, EVENT_MESSAGE_ATTR, 2, 20, NULL);
	send(notifier, EVENT_MESSAGE_ATTR, 4, 40, NULL);
	assert_true(await(&told, 2));
	send(notifier, EVENT_MESSAGE_ATTR, 2, 21, NULL);
	send(notifier, EVENT_MESSAGE_ATTR, 4, 41, NULL);
	assert_true(await(&told, 4));
	assert_string_equal(told.text->str, "settle 4\nattr 40\nsettle 4\nattr 41\n");
	atomic_store(&told.busy, 0);
	notifier_kick(notifier);
	assert_true(await(&told, 7));
	notifier_stop(notifier);
	assert_non_null(strstr(told.text->str, "settle 2\nattr 20\nattr 21\n"));
	release(&told, &notifier);
}

static void
test_many(void **state)
{
	struct told told;
	(void)state;
	told_init(&told);
	atomic_store(&told.busy, 2);
	struct notifier *notifier = start(&told);
	for (unsigned i = 0; i < NOTIFY_QUEUE_MAX + 500; i++)
		send(notifier, EVENT_MESSAGE_NEW, 2, i, "n");
	atomic_store(&told.busy, 0);
	notifier_kick(notifier);
	assert_true(await(&told, NOTIFY_QUEUE_MAX + 2));
	notifier_stop(notifier);
	/* No more entries than the bound allows, but what was taken out before it was reached. */
	assert_true(atomic_load(&told.count) < NOTIFY_QUEUE_MAX * 2 + 600);
	assert_non_null(strstr(told.text->str, "entries 2\n"));
	release(&told, &notifier);
}

/* What is queued in a busy directory is dropped at the end. */
static void
test_stop(void **state)
{
	struct told told;
	(void)state;
	told_init(&told);
	atomic_store(&told.busy, 2);
	struct notifier *notifier = start(&told);
	send(notifier, EVENT_MESSAGE_GONE, 2, 22, "a");
	assert_true(await(&told, 1));
	notifier_stop(notifier);
	notifier_stop(notifier);
	assert_int_equal(atomic_load(&told.count), 1);
	release(&told, &notifier);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_busy_attributes),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
