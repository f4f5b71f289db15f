/* SPDX-License-Identifier: MIT */
/* Waits: see wait.h. */
#include "config.h"

#include "mail/wait.h"

#include <glib.h>

void
wait_init(struct wait *wait, void (*done)(struct wait *, const struct fault *),
          void (*destroy)(struct wait *))
{
	wait->done = done;
	wait->destroy = destroy;
	wait->deadline_ns = 0;
	wait->soft = false;
	atomic_init(&wait->claimed, false);
	atomic_init(&wait->refs, 1);
}

struct wait *
wait_ref(struct wait *wait)
{
	atomic_fetch_add(&wait->refs, 1);
	return wait;
}

void
wait_unref(struct wait *wait)
{
	if (atomic_fetch_sub(&wait->refs, 1) == 1)
		wait->destroy(wait);
}

bool
wait_claim(struct wait *wait)
{
	return !atomic_exchange(&wait->claimed, true);
}

void
wait_end(struct wait *wait, const struct fault *fault)
{
	if (wait_claim(wait))
		wait->done(wait, fault);
}

static void
forget_claimed(struct wait_list *list)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < list->count; i++) {
		if (atomic_load(&list->waits[i]->claimed))
			wait_unref(list->waits[i]);
		else
			list->waits[kept++] = list->waits[i];
	}
	list->count = kept;
}

void
wait_list_add(struct wait_list *list, struct wait *wait)
{
	if (list->count == list->size) {
		forget_claimed(list);
		/* Growing only when more than half is alive keeps the cost a wait constant. */
		if (list->count >= list->size / 2) {
			list->size = list->size == 0 ? 8 : list->size * 2;
			list->waits = g_renew(struct wait *, list->waits, list->size);
		}
	}
	list->waits[list->count++] = wait_ref(wait);
}

void
wait_list_take(struct wait_list *list, struct wait_list *taken_r)
{
	*taken_r = *list;
	*list = (struct wait_list){0};
}

void
wait_list_move(struct wait_list *list, struct wait_list *to)
{
	for (unsigned i = 0; i < list->count; i++) {
		wait_list_add(to, list->waits[i]);
		wait_unref(list->waits[i]);
	}
	g_free(list->waits);
	*list = (struct wait_list){0};
}

void
wait_list_end(struct wait_list *list, const struct fault *fault)
{
	for (unsigned i = 0; i < list->count; i++) {
		wait_end(list->waits[i], fault);
		wait_unref(list->waits[i]);
	}
	g_free(list->waits);
	*list = (struct wait_list){0};
}
