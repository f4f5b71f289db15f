/* SPDX-License-Identifier: MIT */
/*
 * The planner of mail/plan.h against a model of a server: thousands of random histories, in each of
 * which a mailbox is brought in step again and again while messages come, go and change their flags
 * between any two responses, the line is cut, and the server lies in one way at a time. The index
 * is a model too, changed as mail/apply.c does: additions and flags as they come, removals and the
 * mailbox's values at the end. Nothing that the server has may ever be removed, and after a last
 * sync that nobody disturbs both must be equal.
 *
 * PLAN_HISTORIES=n runs more histories, PLAN_HISTORY=n that one alone, with its steps.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "mail/plan.h"

#define SYSTEM_FLAGS  5u    /* bits 0 to 4 of enum imap_flag */
#define RECENT        500u  /* of so many the keywords are looked at without mod-sequences */
#define QUESTIONS_MAX 30u   /* of one sync: more means that it goes on forever */

struct message {
	uint32_t uid;
	unsigned flags, keyword, content; /* content: who it is */
	uint64_t modseq;
};

struct server {
	GArray *messages;          /* by UID */
	GArray *expunged;          /* uid, and modseq when it went */
	uint32_t uidvalidity, uidnext;
	uint64_t modseq;
	unsigned last_content;
	unsigned surplus;          /* EXISTS counts so many too many */
	bool by_state;             /* answers by its present state, not by what was told */
	bool unasked_uids;         /* flags told unasked come with the UID */
};

struct index {
	GArray *messages;
	bool listed;
	uint64_t highestmodseq;
	uint32_t uidvalidity, uidnext, count;
	int64_t surplus;
	bool miscounted;
};

/* One at a time, for one connection. */
enum lie {
	HONEST, VANISHED_MUCH, VANISHED_SHORT, SEARCH_EMPTY, SEARCH_SHORT, SEARCH_NUMBERS, VIEW_EMPTY,
	FETCH_OMITS, DELTA_NONE, NO_MODSEQ, MODSEQ_LAGS, UIDNEXT_MISSING, UIDNEXT_HIGH, REFUSES,
	UNREADABLE, LIES,
};
static const char *const lie_names[] = {
	"honest", "VANISHED of too much", "VANISHED of too little", "empty SEARCH", "short SEARCH",
	"SEARCH of numbers", "an empty mailbox", "FETCH that omits", "no delta", "NOMODSEQ",
	"a mod-sequence that lags", "no UIDNEXT", "a UIDNEXT too high", "NO", "unreadable",
};
G_STATIC_ASSERT(G_N_ELEMENTS(lie_names) == LIES);

struct history {
	uint64_t rng;
	GString *log;
	const char *wrong;         /* what must not be; NULL: nothing yet */
	unsigned can;
	struct server server;
	struct index index, building;
	bool blind;                /* something happened that only a comparison can find */
	bool compare;              /* the next sync compares everything */
	bool omitted;              /* an arrival was, in this sync */
	bool went_back;            /* mod-sequences did, and no sync was complete since */
	bool too_high;             /* the UIDNEXT that the index has is a lie */
	/* The sync under way. */
	struct plan *plan;
	struct index working;      /* what is not committed included */
	struct index at_start;
	GArray *held;              /* arrivals that are shown in the end; NULL: they are at once */
	bool next_at_start;        /* the plan sees the index as it was */
	struct seqset *view;       /* the UIDs that the connection was told of */
	struct seqset *changed;    /* flags not told of yet */
	const struct plan_question *question;
	enum lie lie;
	unsigned event_percent, tell_percent, cut_permille;
	bool cut, quiet, qresync;
	uint32_t uidnext_was;      /* at the SELECT */
	unsigned asked[PLAN_ASK_COMPARE + 1], questions;
};

/* --- dice and log ------------------------------------------------------------------------ */

static uint32_t
draw(struct history *h, uint32_t below)
{
	h->rng ^= h->rng << 13;
	h->rng ^= h->rng >> 7;
	h->rng ^= h->rng << 17;
	return (uint32_t)((h->rng * UINT64_C(2685821657736338717)) >> 33) % below;
}

static bool
chance(struct history *h, unsigned percent)
{
	return draw(h, 100) < percent;
}

static void G_GNUC_PRINTF(2, 3)
note(struct history *h, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_string_append_vprintf(h->log, format, args);
	va_end(args);
	g_string_append_c(h->log, '\n');
}

static void
note_set(struct history *h, const char *what, const struct seqset *set)
{
	GString *text = g_string_new(NULL);
	seqset_format(set, text);
	note(h, "%s %.200s", what, text->str);
	g_string_free(text, TRUE);
}

static void
fails(struct history *h, const char *wrong, uint32_t uid)
{
	note(h, "WRONG: %s, UID %u", wrong, uid);
	if (h->wrong == NULL)
		h->wrong = wrong;
}

/* --- messages by UID --------------------------------------------------------------------- */

static struct message *
at(const GArray *messages, guint i)
{
	return &g_array_index(messages, struct message, i);
}

/* The place of the first one of that UID or above. */
static guint
place_of(const GArray *messages, uint32_t uid)
{
	guint low = 0, high = messages->len;
	while (low < high) {
		guint middle = (low + high) / 2;
		if (at(messages, middle)->uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct message *
find(const GArray *messages, uint32_t uid)
{
	guint i = place_of(messages, uid);
	return i < messages->len && at(messages, i)->uid == uid ? at(messages, i) : NULL;
}

static void
put(GArray *messages, const struct message *message)
{
	struct message *old = find(messages, message->uid);
	if (old != NULL)
		*old = *message;
	else
		g_array_insert_val(messages, place_of(messages, message->uid), *message);
}

static void
take_out(GArray *messages, uint32_t uid)
{
	if (find(messages, uid) != NULL)
		g_array_remove_index(messages, place_of(messages, uid));
}

static GArray *
new_messages(void)
{
	return g_array_new(FALSE, FALSE, sizeof(struct message));
}

/* *to is what *from is. */
static void
index_assign(struct index *to, const struct index *from)
{
	GArray *messages = to->messages;
	*to = *from;
	to->messages = messages;
	g_array_set_size(messages, 0);
	if (from->messages->len > 0)
		g_array_append_vals(messages, from->messages->data, from->messages->len);
}

static void
index_reset(struct index *index, uint32_t uidvalidity)
{
	GArray *messages = index->messages;
	g_array_set_size(messages, 0);
	*index = (struct index){ .messages = messages, .uidvalidity = uidvalidity };
}

/* --- what happens on the server ---------------------------------------------------------- */

static void
arrive(struct history *h, unsigned count)
{
	struct server *server = &h->server;
	for (; count > 0; count--) {
		if (chance(h, 10))
			server->uidnext += draw(h, 20);
		struct message message = {
			.uid = server->uidnext++, .flags = draw(h, 1u << SYSTEM_FLAGS),
			.keyword = draw(h, 3), .content = ++server->last_content,
			.modseq = ++server->modseq,
		};
		note(h, "  ! %u arrives", message.uid);
		put(server->messages, &message);
	}
}

static void
expunge(struct history *h, guint i)
{
	struct server *server = &h->server;
	struct message gone = *at(server->messages, i);
	gone.modseq = ++server->modseq;
	note(h, "  ! %u is expunged", gone.uid);
	g_array_append_val(server->expunged, gone);
	g_array_remove_index(server->messages, i);
}

static void
expunge_some(struct history *h)
{
	struct server *server = &h->server;
	unsigned percent = chance(h, 90) ? 0 : chance(h, 50) ? 60 : 100;
	if (percent == 0 && server->messages->len > 0)
		expunge(h, draw(h, server->messages->len));
	for (guint i = server->messages->len; percent > 0 && i > 0; i--)
		if (chance(h, percent))
			expunge(h, i - 1);
}

static void
change_flags(struct history *h)
{
	struct server *server = &h->server;
	if (server->messages->len == 0)
		return;
	struct message *message = at(server->messages, draw(h, server->messages->len));
	if (chance(h, 70))
		message->flags ^= 1u << draw(h, SYSTEM_FLAGS);
	else
		message->keyword = draw(h, 3);
	message->modseq = ++server->modseq;
	note(h, "  ! %u has flags %x, keyword %u, modseq %u", message->uid, message->flags,
	     message->keyword, (unsigned)message->modseq);
	if (h->changed != NULL)
		seqset_add(h->changed, message->uid);
}

static void
event(struct history *h)
{
	unsigned what = draw(h, 10);
	if (what < 3)
		arrive(h, 1 + draw(h, 3));
	else if (what < 6)
		expunge_some(h);
	else
		change_flags(h);
}

/* What is rare, and never happens to a connection. */
static void
upheaval(struct history *h)
{
	struct server *server = &h->server;
	unsigned what = draw(h, 5);
	if (what == 0) {
		note(h, "! UIDVALIDITY changes");
		server->uidvalidity++;
		server->uidnext = 1;
		for (guint i = 0; i < server->messages->len; i++)
			at(server->messages, i)->uid = server->uidnext++;
		g_array_set_size(server->expunged, 0);
		if (chance(h, 50))
			server->modseq = server->messages->len + 1;
		for (guint i = 0; i < server->messages->len; i++)
			at(server->messages, i)->modseq = MIN(at(server->messages, i)->modseq,
			                                      server->modseq);
	} else if (what == 1) {
		server->modseq = server->modseq / 2 + 1;
		note(h, "! mod-sequences go back to %u", (unsigned)server->modseq);
		for (guint i = 0; i < server->messages->len; i++)
			at(server->messages, i)->modseq = MIN(at(server->messages, i)->modseq,
			                                      server->modseq);
		for (guint i = 0; i < server->expunged->len; i++)
			at(server->expunged, i)->modseq = MIN(at(server->expunged, i)->modseq,
			                                      server->modseq);
		h->went_back = true;
	} else if (what == 2 && server->messages->len > 0) {
		struct message *last = at(server->messages, server->messages->len - 1);
		note(h, "! UID %u is given again", last->uid);
		last->content = ++server->last_content;
		last->flags = draw(h, 1u << SYSTEM_FLAGS);
		last->modseq = ++server->modseq;
		if (chance(h, 50))
			server->uidnext = last->uid + 1;
		h->blind = true;
	} else if (what == 3) {
		/* Changes that have old mod-sequences. */
		uint64_t modseq = server->modseq;
		note(h, "! mod-sequences of changes lag");
		event(h);
		for (guint i = 0; i < server->messages->len; i++)
			if (at(server->messages, i)->modseq > modseq)
				at(server->messages, i)->modseq = modseq;
		for (guint i = 0; i < server->expunged->len; i++)
			if (at(server->expunged, i)->modseq > modseq)
				at(server->expunged, i)->modseq = modseq;
		server->modseq = modseq;
		h->blind = true;
	}
}

/* --- what the sync does with responses --------------------------------------------------- */

static uint32_t
next_known(void *ctx, uint32_t after, unsigned *flags_r)
{
	const struct history *h = ctx;
	const GArray *messages = h->next_at_start ? h->at_start.messages : h->working.messages;
	if (after == UINT32_MAX)
		return 0;
	guint i = place_of(messages, after + 1);
	if (i == messages->len)
		return 0;
	if (flags_r != NULL)
		*flags_r = at(messages, i)->flags;
	return at(messages, i)->uid;
}

static void
commit(struct history *h, struct index *target)
{
	h->working.count = h->working.messages->len;
	index_assign(target, &h->working);
}

enum items { ITEM_UID, ITEM_FLAGS, ITEM_ALL };

static void
take_fetch(struct history *h, const struct message *message, enum items items)
{
	uint32_t uid = message->uid;
	struct message *known = find(h->working.messages, uid);
	if (h->question != NULL && h->question->ask == PLAN_ASK_NEW &&
	    seqset_contains(h->question->set, uid))
		known = NULL;
	enum plan_meaning meaning = plan_fetch(h->plan, uid, known != NULL);
	if (meaning == PLAN_FLAGS && items != ITEM_UID) {
		known->flags = message->flags;
		known->keyword = message->keyword;
		if (h->question != NULL && h->question->ask == PLAN_ASK_COMPARE &&
		    items == ITEM_ALL)
			known->content = message->content;
	} else if (meaning == PLAN_NEW && items == ITEM_ALL) {
		put(h->held != NULL ? h->held : h->working.messages, message);
		plan_got(h->plan, uid);
	}
}

/* --- the connection ---------------------------------------------------------------------- */

static uint32_t
exists(const struct history *h)
{
	return (uint32_t)seqset_count(h->view) + h->server.surplus;
}

/* All that happened is told. */
static void
tell(struct history *h)
{
	struct seqset *gone = seqset_copy(h->view), *here = seqset_new();
	for (guint i = 0; i < h->server.messages->len; i++)
		seqset_add(here, at(h->server.messages, i)->uid);
	seqset_subtract(gone, here);
	seqset_subtract(here, h->view);
	if (!seqset_is_empty(gone)) {
		note_set(h, h->qresync ? "  * VANISHED" : "  * EXPUNGE of", gone);
		if (h->qresync)
			plan_vanished(h->plan, gone);
		else
			plan_expunged(h->plan);
		seqset_subtract(h->view, gone);
	}
	seqset_unite(h->view, here);
	if (!seqset_is_empty(here))
		note_set(h, "  * EXISTS for", here);
	for (uint32_t uid = seqset_next(h->changed, 0); uid != 0;
	     uid = seqset_next(h->changed, uid)) {
		const struct message *message = find(h->server.messages, uid);
		if (message == NULL)
			continue;
		note(h, "  * FETCH %u unasked", uid);
		if (h->qresync || h->server.unasked_uids)
			take_fetch(h, message, ITEM_FLAGS);
		else
			plan_fetch(h->plan, 0, false);
	}
	seqset_clear(h->changed);
	seqset_free(&gone);
	seqset_free(&here);
}

/* Between two responses anything may happen. False: the line is cut. */
static bool
between(struct history *h)
{
	if (h->quiet)
		return true;
	if (chance(h, h->event_percent))
		event(h);
	if (chance(h, h->tell_percent) && h->lie != VIEW_EMPTY)
		tell(h);
	if (draw(h, 1000) < h->cut_permille) {
		note(h, "  cut");
		h->cut = true;
	}
	return !h->cut;
}

/* A FETCH response of a message that is still there. */
static bool
fetch_line(struct history *h, uint32_t uid, enum items items)
{
	const struct message *message = find(h->server.messages, uid);
	if (!between(h))
		return false;
	message = find(h->server.messages, uid);
	if (message == NULL)
		return true;
	/* What a delta omits of a message that is known can't be found out. */
	bool delta = h->question == NULL || h->question->ask == PLAN_ASK_CHANGES ||
	             h->question->ask == PLAN_ASK_COMPARE;
	bool may_omit = !delta || find(h->working.messages, uid) == NULL;
	if (h->lie == FETCH_OMITS && may_omit && chance(h, 20)) {
		note(h, "  (FETCH %u is omitted)", uid);
		h->omitted |= delta || h->question->ask == PLAN_ASK_ARRIVALS;
		return true;
	}
	if (h->lie == UNREADABLE && chance(h, 20)) {
		note(h, "  * (FETCH %u can't be read)", uid);
		plan_unreadable(h->plan);
		return true;
	}
	note(h, "  * FETCH %u (%x %u)", uid, message->flags, message->keyword);
	take_fetch(h, message, items);
	return true;
}

/* What the connection has of the mailbox. */
static struct seqset *
present(const struct history *h)
{
	struct seqset *set = seqset_new();
	for (guint i = 0; i < h->server.messages->len; i++)
		seqset_add(set, at(h->server.messages, i)->uid);
	if (!h->server.by_state || h->lie == VIEW_EMPTY)
		seqset_intersect(set, h->view);
	return set;
}

static void
fetch_set(struct history *h, const struct seqset *set, enum items items)
{
	struct seqset *here = present(h);
	seqset_intersect(here, set);
	for (uint32_t uid = seqset_next(here, 0); uid != 0 && fetch_line(h, uid, items);
	     uid = seqset_next(here, uid))
		continue;
	seqset_free(&here);
}

/* `from:*`, which has the last message even if that is below. */
static void
fetch_from(struct history *h, uint32_t from, enum items items)
{
	struct seqset *here = present(h), *set = seqset_new();
	if (!seqset_is_empty(here)) {
		seqset_add_range(set, from, seqset_last(here));
		fetch_set(h, set, items);
	}
	seqset_free(&here);
	seqset_free(&set);
}

static void
fetch_changes(struct history *h, uint32_t to, uint64_t modseq)
{
	struct seqset *here = present(h), *set = seqset_new();
	for (uint32_t uid = seqset_next(here, 0); uid != 0 && uid <= to;
	     uid = seqset_next(here, uid))
		if (find(h->server.messages, uid)->modseq > modseq)
			seqset_add(set, uid);
	fetch_set(h, set, ITEM_FLAGS);
	seqset_free(&here);
	seqset_free(&set);
}

/* The places of messages among all, instead of their UIDs. */
static void
number(const struct history *h, struct seqset *found)
{
	struct seqset *here = present(h), *uids = seqset_copy(found);
	uint32_t n = 1;
	seqset_clear(found);
	for (uint32_t uid = seqset_next(here, 0); uid != 0; uid = seqset_next(here, uid), n++)
		if (seqset_contains(uids, uid))
			seqset_add(found, n);
	seqset_free(&here);
	seqset_free(&uids);
}

static void
search(struct history *h, struct seqset *found, unsigned way)
{
	bool empty = h->lie == SEARCH_EMPTY && way == 0;
	for (uint32_t uid = seqset_next(found, 0); h->lie == SEARCH_SHORT && uid != 0;
	     uid = seqset_next(found, uid))
		if (chance(h, 20))
			seqset_remove(found, uid);
	if (empty)
		seqset_clear(found);
	if (h->lie == SEARCH_NUMBERS)
		number(h, found);
	if (!between(h))
		return;
	if (h->lie == UNREADABLE && chance(h, 40)) {
		note(h, "  * (SEARCH can't be read)");
		plan_unreadable(h->plan);
		return;
	}
	note_set(h, "  * SEARCH", found);
	plan_found(h->plan, found);
	between(h);
}

static void
search_flag(struct history *h, const struct plan_question *question)
{
	struct seqset *here = present(h), *found = seqset_new();
	for (uint32_t uid = seqset_next(here, 0); uid != 0; uid = seqset_next(here, uid)) {
		bool has = (find(h->server.messages, uid)->flags & question->flag) != 0;
		if (has != question->without)
			seqset_add(found, uid);
	}
	search(h, found, 0);
	seqset_free(&here);
	seqset_free(&found);
}

static void
search_all(struct history *h, unsigned way)
{
	struct seqset *here = present(h);
	if (way < 2)
		search(h, here, way);
	else
		fetch_set(h, here, ITEM_UID);
	seqset_free(&here);
}

/* Returns whether it ends in OK. */
static bool
answer(struct history *h, const struct plan_question *question)
{
	static const char *const names[] = { "NOOP", "CHANGES", "ARRIVALS", "UIDS", "COUNT",
		                             "SEARCH", "FLAGS", "NEW", "COMPARE" };
	note(h, "%s from %u to %u modseq %u way %u", names[question->ask], question->from,
	     question->to, (unsigned)question->modseq, question->way);
	if (question->set != NULL)
		note_set(h, "  of", question->set);
	h->asked[question->ask]++;
	if (h->lie == REFUSES && chance(h, 40)) {
		note(h, "  NO");
		between(h);
		return false;
	}
	switch (question->ask) {
	case PLAN_ASK_NOOP:
		if (h->lie != VIEW_EMPTY)
			tell(h);
		break;
	case PLAN_ASK_CHANGES:
		fetch_changes(h, question->to, question->modseq);
		break;
	case PLAN_ASK_ARRIVALS:
		fetch_from(h, question->from, ITEM_ALL);
		break;
	case PLAN_ASK_UIDS:
		search_all(h, question->way);
		break;
	case PLAN_ASK_COUNT:
		if (between(h))
			plan_found_count(h->plan, h->server.messages->len + h->server.surplus);
		break;
	case PLAN_ASK_SEARCH:
		search_flag(h, question);
		break;
	case PLAN_ASK_FLAGS:
		fetch_set(h, question->set, ITEM_FLAGS);
		break;
	case PLAN_ASK_NEW:
	case PLAN_ASK_COMPARE:
		fetch_set(h, question->set, ITEM_ALL);
		break;
	}
	between(h);
	return true;
}

/* --- SELECT ------------------------------------------------------------------------------ */

static void
vanished_line(struct history *h, uint64_t since)
{
	struct seqset *gone = seqset_new();
	for (guint i = 0; i < h->server.expunged->len; i++)
		if (at(h->server.expunged, i)->modseq > since)
			seqset_add(gone, at(h->server.expunged, i)->uid);
	/* It need not remember when, and may tell of what never was. */
	if (chance(h, 20)) {
		seqset_add_range(gone, 1, h->server.uidnext + draw(h, 100));
		for (guint i = 0; i < h->server.messages->len; i++)
			seqset_remove(gone, at(h->server.messages, i)->uid);
	}
	if (h->lie == VANISHED_MUCH && h->server.messages->len > 0) {
		if (chance(h, 30))
			seqset_add_range(gone, 1, UINT32_MAX - 1);
		for (unsigned i = 1 + draw(h, 3); i > 0; i--)
			seqset_add(gone, at(h->server.messages,
			                    draw(h, h->server.messages->len))->uid);
	}
	/* The same lie, told twice. */
	if (h->lie == VIEW_EMPTY && chance(h, 50))
		seqset_add_range(gone, 1, UINT32_MAX - 1);
	for (uint32_t uid = seqset_next(gone, 0); h->lie == VANISHED_SHORT && uid != 0 &&
	     seqset_count(gone) < 1000; uid = seqset_next(gone, uid))
		if (chance(h, 50))
			seqset_remove(gone, uid);
	if (h->lie == UNREADABLE && chance(h, 30)) {
		note(h, "  * (VANISHED can't be read)");
		plan_unreadable(h->plan);
	} else if (!seqset_is_empty(gone)) {
		note_set(h, "  * VANISHED (EARLIER)", gone);
		plan_vanished(h->plan, gone);
	}
	seqset_free(&gone);
}

static struct plan_known
known_of(struct history *h)
{
	bool listed = h->working.listed;
	return (struct plan_known){
		.listed = listed, .compare = listed && h->compare,
		.highestmodseq = listed ? h->working.highestmodseq : 0,
		.uidnext = listed ? h->working.uidnext : 0,
		.count = listed ? h->working.count : 0,
		.surplus = listed ? h->working.surplus : 0,
		.miscounted = listed && h->working.miscounted,
		.next = next_known, .ctx = h,
	};
}

/* The space that the UIDVALIDITY is of. */
static struct index *
target_of(struct history *h)
{
	if (h->index.uidvalidity == h->server.uidvalidity)
		return &h->index;
	struct index *target = h->index.listed ? &h->building : &h->index;
	if (target->uidvalidity != h->server.uidvalidity || chance(h, 20))
		index_reset(target, h->server.uidvalidity);
	return target;
}

/* What the index has may be beyond what the server had, but not seem so any more. */
static void
look_for_blindness(struct history *h)
{
	h->blind |= (h->went_back && h->server.modseq >= h->index.highestmodseq) ||
	            (h->too_high && h->server.uidnext >= h->index.uidnext) ||
	            /* By chance the wrong count has looked right. */
	            (h->server.surplus != 0 && h->index.listed && !h->index.miscounted);
}

static struct index *
select_mailbox(struct history *h)
{
	struct server *server = &h->server;
	struct plan_state state = { server->modseq, server->uidnext, 0 };
	struct index *target = target_of(h);
	struct plan_known known;
	index_assign(&h->working, &h->index);
	index_assign(&h->at_start, &h->index);
	known = known_of(h);
	h->plan = plan_new(&known, h->can);
	uint64_t modseq = plan_qresync(h->plan);
	h->qresync = (h->can & PLAN_CAN_QRESYNC) != 0;
	for (guint i = 0; h->lie != VIEW_EMPTY && i < server->messages->len; i++)
		seqset_add(h->view, at(server->messages, i)->uid);
	state.exists = exists(h);
	if (h->lie == UIDNEXT_MISSING)
		state.uidnext = 0;
	h->uidnext_was = server->uidnext;
	if (h->lie == UIDNEXT_HIGH)
		state.uidnext += draw(h, 20);
	if (h->lie == MODSEQ_LAGS)
		state.highestmodseq -= MIN(state.highestmodseq - 1, draw(h, 4));
	if (h->lie == NO_MODSEQ || (h->can & PLAN_CAN_CONDSTORE) == 0)
		state.highestmodseq = 0;
	look_for_blindness(h);
	note(h, "SELECT by %s: uidvalidity %u exists %u uidnext %u modseq %u; known: uidvalidity "
	     "%u count %u uidnext %u modseq %u%s", lie_names[h->lie], server->uidvalidity,
	     state.exists, state.uidnext, (unsigned)state.highestmodseq, h->index.uidvalidity,
	     h->index.count,
	     h->index.uidnext, (unsigned)h->index.highestmodseq, h->compare ? ", comparing" : "");
	if (target->uidvalidity != h->index.uidvalidity || target != &h->index) {
		plan_free(&h->plan);
		index_assign(&h->working, target);
		index_assign(&h->at_start, target);
		known = known_of(h);
		h->plan = plan_new(&known, h->can);
	} else if (modseq != 0 && state.highestmodseq != 0 && h->lie != DELTA_NONE) {
		vanished_line(h, modseq);
		fetch_changes(h, UINT32_MAX, modseq);
	}
	if (!h->cut)
		plan_selected(h->plan, &state);
	return target;
}

/* --- a sync ------------------------------------------------------------------------------ */

static void
apply_result(struct history *h, struct index *target)
{
	struct plan_result result;
	plan_result(h->plan, &result);
	note(h, "done: uidnext %u modseq %u%s%s%s", result.uidnext, (unsigned)result.highestmodseq,
	     result.certain ? "" : ", uncertain", result.compared ? ", compared" : "",
	     result.mismatch ? ", mismatch" : "");
	note_set(h, "  vanished:", result.vanished);
	for (uint32_t uid = seqset_next(result.vanished, 0); uid != 0;
	     uid = seqset_next(result.vanished, uid)) {
		const struct message *there = find(h->server.messages, uid);
		const struct message *known = find(h->working.messages, uid);
		if (there != NULL && known != NULL && there->content == known->content)
			fails(h, "what the server has is removed", uid);
		take_out(h->working.messages, uid);
	}
	commit(h, target);
	if (!between(h))
		return;
	for (guint i = 0; h->held != NULL && i < h->held->len; i++)
		put(h->working.messages, at(h->held, i));
	if (!between(h)) {
		if (chance(h, 50))
			commit(h, target);
		return;
	}
	h->working.highestmodseq = result.highestmodseq;
	h->working.uidnext = result.uidnext;
	if (result.certain) {
		h->working.surplus = result.surplus;
		h->working.miscounted |= result.surplus != 0;
	}
	h->working.listed = true;
	commit(h, target);
	if (target != &h->index)
		index_assign(&h->index, target);
	if (result.compared)
		h->compare = false;
	h->went_back = false;
	h->too_high = h->lie == UIDNEXT_HIGH && h->index.uidnext > h->uidnext_was;
	/* An arrival that was omitted, or one that went and was not told, makes up for one that
	 * went. */
	for (guint i = 0; (h->omitted || h->lie == VANISHED_SHORT) && i < h->index.messages->len; i++)
		h->blind |= find(h->server.messages, at(h->index.messages, i)->uid) == NULL;
}

static void
sync_release(struct history *h)
{
	plan_free(&h->plan);
	seqset_free(&h->view);
	seqset_free(&h->changed);
	if (h->held != NULL)
		g_array_free(h->held, TRUE);
	h->held = NULL;
	h->question = NULL;
}

static void
sync_mailbox(struct history *h)
{
	struct plan_question question;
	h->cut = h->omitted = false;
	h->view = seqset_new();
	h->changed = seqset_new();
	h->next_at_start = chance(h, 50);
	h->held = h->index.listed && !h->compare && chance(h, 50) ? new_messages() : NULL;
	memset(h->asked, 0, sizeof h->asked);
	h->questions = 0;
	struct index *target = select_mailbox(h);
	while (!h->cut && plan_next(h->plan, exists(h), &question)) {
		h->question = &question;
		bool ok = answer(h, &question);
		h->question = NULL;
		if (!h->cut)
			plan_answered(h->plan, exists(h), ok);
		if (chance(h, 50))
			commit(h, target);
		if (++h->questions > QUESTIONS_MAX) {
			fails(h, "it asks forever", 0);
			break;
		}
	}
	if (!h->cut && h->wrong == NULL)
		apply_result(h, target);
	sync_release(h);
}

/* --- whether both are equal -------------------------------------------------------------- */

static void
compare(struct history *h, bool compared, size_t gone)
{
	const GArray *ours = h->index.messages, *theirs = h->server.messages;
	bool modseq = (h->can & PLAN_CAN_CONDSTORE) != 0;
	for (guint i = 0; i < MAX(ours->len, theirs->len); i++) {
		const struct message *a = i < ours->len ? at(ours, i) : NULL;
		const struct message *b = i < theirs->len ? at(theirs, i) : NULL;
		if (a == NULL || (b != NULL && a->uid > b->uid))
			return fails(h, "one is missing", b->uid);
		if (b == NULL || a->uid < b->uid)
			return fails(h, "one is too much", a->uid);
		bool recent = i + RECENT >= theirs->len + gone;
		if (a->flags != b->flags)
			return fails(h, "flags differ", a->uid);
		if (a->keyword != b->keyword && (modseq || compared || recent))
			return fails(h, "keywords differ", a->uid);
		if (a->content != b->content)
			return fails(h, "it is another message", a->uid);
	}
	if (h->index.count != theirs->len)
		fails(h, "the count is wrong", 0);
	if (h->index.uidnext != h->server.uidnext)
		fails(h, "UIDNEXT is wrong", h->index.uidnext);
	if (h->index.highestmodseq != (modseq ? h->server.modseq : 0))
		fails(h, "HIGHESTMODSEQ is wrong", 0);
}

/* Nothing happens any more: the fewest questions, and nothing changes. */
static void
sync_again(struct history *h)
{
	bool modseq = (h->can & PLAN_CAN_CONDSTORE) != 0;
	sync_mailbox(h);
	unsigned expected = modseq || h->server.messages->len == 0
	                            ? 0 : h->asked[PLAN_ASK_SEARCH] + 1;
	/* Where the count is wrong the list is asked for, once. */
	if (h->index.miscounted)
		expected += h->asked[PLAN_ASK_CHANGES] +
		            (h->server.messages->len + h->server.surplus > 0);
	if (h->questions != expected || h->asked[PLAN_ASK_CHANGES] > 1 || h->asked[PLAN_ASK_SEARCH] > SYSTEM_FLAGS ||
	    h->asked[PLAN_ASK_FLAGS] > 1)
		fails(h, "it asks though nothing changed", h->questions);
	compare(h, false, 0);
}

/* --- histories --------------------------------------------------------------------------- */

static void
history_init(struct history *h, uint64_t number)
{
	static const unsigned cans[] = { 0, PLAN_CAN_CONDSTORE,
		                         PLAN_CAN_CONDSTORE | PLAN_CAN_QRESYNC };
	*h = (struct history){ .rng = number * UINT64_C(0x9E3779B97F4A7C15) + 1,
		               .log = g_string_new(NULL) };
	for (int i = 0; i < 20; i++)
		draw(h, 2);
	h->can = cans[number % G_N_ELEMENTS(cans)];
	h->server = (struct server){
		.messages = new_messages(), .expunged = new_messages(), .uidvalidity = 1,
		.uidnext = 1, .modseq = 1, .by_state = chance(h, 20), .unasked_uids = chance(h, 50),
	};
	h->server.surplus = chance(h, 20) ? 1 + draw(h, 3) : 0;
	h->index.messages = new_messages();
	h->building.messages = new_messages();
	h->working.messages = new_messages();
	h->at_start.messages = new_messages();
	note(h, "%s%s", h->can == 0 ? "neither" : h->can == cans[1] ? "CONDSTORE" : "QRESYNC",
	     h->server.by_state ? ", answers by its state" : "");
	arrive(h, chance(h, 97) ? draw(h, 25) : RECENT + draw(h, 300));
}

static void
history_release(struct history *h)
{
	g_string_free(h->log, TRUE);
	g_array_free(h->server.messages, TRUE);
	g_array_free(h->server.expunged, TRUE);
	g_array_free(h->index.messages, TRUE);
	g_array_free(h->building.messages, TRUE);
	g_array_free(h->working.messages, TRUE);
	g_array_free(h->at_start.messages, TRUE);
}

static void
history_run(struct history *h)
{
	for (unsigned syncs = 1 + draw(h, 8); syncs > 0 && h->wrong == NULL; syncs--) {
		for (unsigned events = draw(h, 6); events > 0; events--)
			event(h);
		if (chance(h, 8))
			upheaval(h);
		look_for_blindness(h);
		h->lie = chance(h, 50) ? HONEST : draw(h, LIES);
		/* Two lies at once can make any sum right: a message that went untold and one that
		 * did not go; a list that is short and of what is not told yet. */
		if ((h->lie == VANISHED_MUCH && h->blind) ||
		    (h->lie == SEARCH_SHORT && h->server.by_state))
			h->lie = HONEST;
		h->event_percent = chance(h, 50) ? 0 : draw(h, 25);
		h->tell_percent = draw(h, 60);
		h->cut_permille = chance(h, 60) ? 0 : draw(h, 100);
		h->compare |= chance(h, 10);
		sync_mailbox(h);
	}
	if (h->wrong != NULL)
		return;
	look_for_blindness(h);
	note(h, "the last one%s", h->blind ? ", after what only a comparison can find" : "");
	h->lie = HONEST;
	h->quiet = true;
	h->compare |= h->blind;
	/* A first listing is no comparison of what an earlier one, that was cut, has left. */
	bool first = !h->index.listed || h->index.uidvalidity != h->server.uidvalidity;
	bool compared = h->compare;
	uint32_t before = h->index.messages->len;
	sync_mailbox(h);
	if (first && h->compare)
		sync_mailbox(h);
	compare(h, compared, before);
	if (h->wrong == NULL)
		sync_again(h);
}

static void
test_random_histories(void **state)
{
	(void)state;
	const char *one = getenv("PLAN_HISTORY"), *more = getenv("PLAN_HISTORIES");
	uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
	uint64_t last = one != NULL ? first : more != NULL ? strtoull(more, NULL, 10) : 6000;
	for (uint64_t number = first; number <= last; number++) {
		struct history h;
		history_init(&h, number);
		history_run(&h);
		const char *wrong = h.wrong;
		if (wrong != NULL || one != NULL)
			fprintf(stderr, "%s", h.log->str);
		history_release(&h);
		if (wrong != NULL)
			fail_msg("history %u: %s", (unsigned)number, wrong);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_histories) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
