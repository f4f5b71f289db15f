/* SPDX-License-Identifier: MIT */
/* The notifier: see notify.h. */
#include "config.h"

#include "fs/notify.h"

#include <glib.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* A directory that is busy is looked at again then, if nobody kicks before. */
#define BUSY_WAIT_NS (CLOCK_SEC / 2)

struct item {
	struct item *next;
	bool gone;
	uint64_t ino;
	char name[]; /* "" if unknown */
};

/* What waits in one directory; it exists only while something does. */
struct dir {
	uint64_t ino;
	bool listing, overflow;
	unsigned count;
	struct item *first, **last;
	GArray *attrs; /* inodes; or NULL */
};

struct notifier {
	struct notify_sink sink;
	pthread_mutex_t stop_lock; /* held while the thread is joined */
	GThread *thread;
	pthread_mutex_t lock;      /* guards the rest */
	pthread_cond_t cond;
	bool stopping, kicked;
	GHashTable *dirs;  /* inode -> struct dir */
	GArray *data;      /* inodes whose octets are others */
};

static void
dir_free(gpointer data)
{
	struct dir *dir = data;
	while (dir->first != NULL) {
		struct item *item = dir->first;
		dir->first = item->next;
		g_free(item);
	}
	if (dir->attrs != NULL)
		g_array_free(dir->attrs, TRUE);
	g_free(dir);
}

static struct dir *
dir_get(struct notifier *notifier, uint64_t ino)
{
	struct dir *dir = g_hash_table_lookup(notifier->dirs, &ino);
	if (dir == NULL) {
		dir = g_new0(struct dir, 1);
		dir->ino = ino;
		dir->last = &dir->first;
		g_hash_table_insert(notifier->dirs, &dir->ino, dir);
	}
	return dir;
}

static void
add_entry(struct notifier *notifier, const struct account_event *event, bool gone)
{
	struct dir *dir = dir_get(notifier, event->dir_ino);
	dir->listing = true;
	dir->overflow |= dir->count == NOTIFY_QUEUE_MAX;
	if (event->name == NULL || dir->overflow)
		return;
	size_t size = strlen(event->name) + 1;
	struct item *item = g_malloc0(sizeof *item + size);
	item->gone = gone;
	item->ino = event->ino;
	memcpy(item->name, event->name, size);
	*dir->last = item;
	dir->last = &item->next;
	dir->count++;
}

static void
add_attr(struct notifier *notifier, const struct account_event *event)
{
	struct dir *dir = dir_get(notifier, event->dir_ino);
	if (dir->attrs == NULL)
		dir->attrs = g_array_new(FALSE, FALSE, sizeof event->ino);
	g_array_append_val(dir->attrs, event->ino);
}

void
notifier_event(struct notifier *notifier, const struct account_event *event)
{
	pthread_mutex_lock(&notifier->lock);
	if (notifier->stopping) {
		pthread_mutex_unlock(&notifier->lock);
		return;
	}
	switch (event->kind) {
	case EVENT_MESSAGE_NEW:
	case EVENT_MAILBOX_NEW:
		add_entry(notifier, event, false);
		break;
	case EVENT_MESSAGE_GONE:
	case EVENT_MAILBOX_GONE:
		add_entry(notifier, event, true);
		break;
	case EVENT_LISTING:
		dir_get(notifier, event->dir_ino)->listing = true;
		break;
	case EVENT_ENTRIES:
		dir_get(notifier, event->dir_ino)->listing = true;
		dir_get(notifier, event->dir_ino)->overflow = true;
		break;
	case EVENT_MESSAGE_ATTR:
		add_attr(notifier, event);
		break;
	case EVENT_MESSAGE_DATA:
		g_array_append_val(notifier->data, event->ino);
		break;
	}
	notifier->kicked = true;
	pthread_cond_signal(&notifier->cond);
	pthread_mutex_unlock(&notifier->lock);
}

void
notifier_kick(struct notifier *notifier)
{
	pthread_mutex_lock(&notifier->lock);
	notifier->kicked = true;
	pthread_cond_signal(&notifier->cond);
	pthread_mutex_unlock(&notifier->lock);
}

/* --- the thread ------------------------------------------------------------------------ */

static void
tell_data(struct notifier *notifier, GArray *inodes)
{
	for (guint i = 0; i < inodes->len; i++)
		notifier->sink.data(notifier->sink.ctx, g_array_index(inodes, uint64_t, i));
	g_array_free(inodes, TRUE);
}

/* False: the directory is busy. */
static bool
tell_attrs(struct notifier *notifier, struct dir *dir)
{
	const struct notify_sink *sink = &notifier->sink;
	if (dir->attrs == NULL)
		return true;
	if (sink->busy(sink->ctx, dir->ino))
		return false;
	sink->settle(sink->ctx, dir->ino);
	for (guint i = 0; i < dir->attrs->len; i++)
		sink->attr(sink->ctx, g_array_index(dir->attrs, uint64_t, i));
	g_array_free(dir->attrs, TRUE);
	dir->attrs = NULL;
	return true;
}

/* Stops where the directory becomes busy. True: all was told. */
static bool
tell_dir(struct notifier *notifier, struct dir *dir)
{
	const struct notify_sink *sink = &notifier->sink;
	if (dir->listing)
		sink->listing(sink->ctx, dir->ino);
	dir->listing = false;
	if (!tell_attrs(notifier, dir))
		return false;
	while (dir->first != NULL) {
		struct item *item = dir->first;
		if (sink->busy(sink->ctx, dir->ino))
			return false;
		if (item->gone)
			sink->entry_gone(sink->ctx, dir->ino, item->ino, item->name);
		else
			sink->entry_new(sink->ctx, dir->ino, item->name);
		dir->first = item->next;
		dir->count--;
		g_free(item);
	}
	if (dir->overflow)
		sink->entries(sink->ctx, dir->ino);
	dir->overflow = false;
	return true;
}

/* Puts what could not be told back in front of what came meanwhile. Lock held. */
static void
put_back(struct notifier *notifier, struct dir *dir)
{
	struct dir *newer = g_hash_table_lookup(notifier->dirs, &dir->ino);
	for (dir->last = &dir->first; *dir->last != NULL;)
		dir->last = &(*dir->last)->next;
	if (newer != NULL) {
		dir->listing |= newer->listing;
		dir->overflow |= newer->overflow;
		dir->count += newer->count;
		if (dir->attrs == NULL) {
			dir->attrs = newer->attrs;
			newer->attrs = NULL;
		} else if (newer->attrs != NULL) {
			g_array_append_vals(dir->attrs, newer->attrs->data, newer->attrs->len);
		}
		if (newer->first != NULL) {
			*dir->last = newer->first;
			dir->last = newer->last;
			newer->first = NULL;
		}
		g_hash_table_remove(notifier->dirs, &dir->ino);
	}
	g_hash_table_insert(notifier->dirs, &dir->ino, dir);
}

/* Lock held, but let go for each call. True: something is left, since its directory is busy. */
static bool
tell_dirs(struct notifier *notifier)
{
	GList *dirs = g_hash_table_get_values(notifier->dirs);
	bool left = false;
	g_hash_table_steal_all(notifier->dirs);
	pthread_mutex_unlock(&notifier->lock);
	GList *busy = NULL;
	for (GList *link = dirs; link != NULL; link = link->next) {
		struct dir *dir = link->data;
		if (tell_dir(notifier, dir))
			dir_free(dir);
		else
			busy = g_list_prepend(busy, dir);
	}
	g_list_free(dirs);
	pthread_mutex_lock(&notifier->lock);
	for (GList *link = busy; link != NULL; link = link->next) {
		put_back(notifier, link->data);
		left = true;
	}
	g_list_free(busy);
	return left;
}

static void
wait_busy(struct notifier *notifier)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += BUSY_WAIT_NS;
	until.tv_sec += until.tv_nsec / CLOCK_SEC;
	until.tv_nsec %= CLOCK_SEC;
	pthread_cond_clockwait(&notifier->cond, &notifier->lock, CLOCK_MONOTONIC, &until);
}

static void *
notifier_thread(void *data)
{
	struct notifier *notifier = data;
	bool left = false;
	pthread_mutex_lock(&notifier->lock);
	while (!notifier->stopping) {
		while (!notifier->kicked && !notifier->stopping && !left)
			pthread_cond_wait(&notifier->cond, &notifier->lock);
		if (!notifier->kicked && left)
			wait_busy(notifier);
		notifier->kicked = false;
		GArray *data_inodes = notifier->data;
		notifier->data = g_array_new(FALSE, FALSE, sizeof(uint64_t));
		pthread_mutex_unlock(&notifier->lock);
		tell_data(notifier, data_inodes);
		pthread_mutex_lock(&notifier->lock);
		left = !notifier->stopping && tell_dirs(notifier);
	}
	pthread_mutex_unlock(&notifier->lock);
	return NULL;
}

struct notifier *
notifier_new(const struct notify_sink *sink)
{
	struct notifier *notifier = g_new0(struct notifier, 1);
	notifier->sink = *sink;
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_mutex_init(&notifier->stop_lock, NULL);
	pthread_cond_init(&notifier->cond, NULL);
	notifier->dirs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, dir_free);
	notifier->data = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	notifier->thread = g_thread_new("notify", notifier_thread, notifier);
	return notifier;
}

void
notifier_stop(struct notifier *notifier)
{
	pthread_mutex_lock(&notifier->lock);
	notifier->stopping = true;
	pthread_cond_signal(&notifier->cond);
	pthread_mutex_unlock(&notifier->lock);
	pthread_mutex_lock(&notifier->stop_lock);
	if (notifier->thread != NULL)
		g_thread_join(notifier->thread);
	notifier->thread = NULL;
	pthread_mutex_unlock(&notifier->stop_lock);
}

void
notifier_free(struct notifier **notifier)
{
	struct notifier *n = *notifier;
	if (n == NULL)
		return;
	notifier_stop(n);
	g_hash_table_destroy(n->dirs);
	g_array_free(n->data, TRUE);
	pthread_mutex_destroy(&n->lock);
	pthread_mutex_destroy(&n->stop_lock);
	pthread_cond_destroy(&n->cond);
	g_free(n);
	*notifier = NULL;
}
