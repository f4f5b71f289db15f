/* SPDX-License-Identifier: MIT */
/* The commands of a sync, and the planner's questions: see sync.h. */
#include "config.h"

#include "mail/sync.h"

#include <string.h>

#include "base/log.h"

#define CHUNK_FIRST 100   /* messages: so that something is to be seen soon */
#define FLAGS_CHUNK 10000
#define PIPELINE    4     /* commands under way */

/* What may change of a message. */
static const char *
flag_items(const struct sync *sync)
{
	return conn_has(sync->worker->conn, IMAP_CAP_GMAIL) ? "(UID FLAGS X-GM-LABELS)"
	                                                    : "(UID FLAGS)";
}

static struct imap_command *
fetch_command(const struct sync *sync, const char *set, enum sync_want want)
{
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	imap_command_set(command, set);
	if (want == SYNC_WANT_FLAGS)
		imap_command_raw(command, flag_items(sync));
	else if (want == SYNC_WANT_BODY)
		imap_command_raw(command, "(UID BODY.PEEK[])");
	else if (want == SYNC_WANT_WHOLE_HEADER)
		imap_command_raw(command, "(UID BODY.PEEK[HEADER])");
	else
		arrive_items(sync, command, want == SYNC_WANT_ALL);
	return command;
}

bool
sync_fetch(struct sync *sync, const struct seqset *set, enum sync_want want,
           struct seqset *refused, struct fault *fault)
{
	struct under_way {
		uint32_t tag;
		GString *set;
	} ring[PIPELINE];
	unsigned head = 0, count = 0;
	uint32_t cursor = 0;
	unsigned usual = want == SYNC_WANT_FLAGS ? FLAGS_CHUNK : SYNC_CHUNK;
	unsigned size = want == SYNC_WANT_ALL ? CHUNK_FIRST : usual;
	bool more = true, ok = true;
	while (ok && (more || count > 0)) {
		if (more && count < PIPELINE) {
			struct under_way *next = &ring[(head + count) % PIPELINE];
			next->set = g_string_new(NULL);
			more = seqset_next_chunk(set, &cursor, size, SYNC_OCTETS, next->set);
			size = usual;
			if (!more) {
				g_string_free(next->set, TRUE);
				continue;
			}
			next->tag = conn_send(sync->worker->conn,
			                      fetch_command(sync, next->set->str, want));
			count++;
			continue;
		}
		struct conn_reply reply = { 0 };
		struct under_way *first = &ring[head];
		ok = conn_wait(sync->worker->conn, first->tag, &reply, fault);
		if (ok && reply.status != IMAP_STATUS_OK) {
			log_debug("FETCH %.60s: %s", first->set->str, reply.text);
			seqset_parse(refused, first->set->str, first->set->len, 0);
		}
		conn_reply_clear(&reply);
		g_string_free(first->set, TRUE);
		head = (head + 1) % PIPELINE;
		count--;
		if (ok && apply_count(sync->batch) > 0)
			sync_submit(sync);
	}
	for (; count > 0; count--, head = (head + 1) % PIPELINE)
		g_string_free(ring[head].set, TRUE);
	return ok;
}

bool
sync_search(struct sync *sync, bool plain, const char *criteria, const char *set,
            struct seqset *found, bool *ok_r, struct fault *fault)
{
	struct conn *conn = sync->worker->conn;
	struct conn_reply reply = { 0 };
	struct imap_command *command = conn_command(conn, "UID SEARCH");
	if (!plain && conn_has(conn, IMAP_CAP_ESEARCH))
		imap_command_raw(command, "RETURN (ALL)");
	imap_command_raw(command, criteria);
	if (set != NULL)
		imap_command_set(command, set);
	sync->found = found;
	bool ok = conn_run(conn, command, &reply, fault);
	sync->found = NULL;
	*ok_r = ok && reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
	return ok;
}

/* --- the planner's questions --------------------------------------------------------------- */

static bool
run(struct sync *sync, struct imap_command *command, bool *ok_r, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	bool alive = conn_run(sync->worker->conn, command, &reply, fault);
	*ok_r = alive && reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
	return alive;
}

static bool
ask_changes(struct sync *sync, const struct plan_question *question, bool *ok_r,
            struct fault *fault)
{
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	char set[32];
	g_snprintf(set, sizeof set, "1:%u", question->to);
	imap_command_set(command, set);
	imap_command_raw(command, flag_items(sync));
	imap_command_raw(command, "(CHANGEDSINCE");
	imap_command_number(command, question->modseq);
	imap_command_close(command);
	return run(sync, command, ok_r, fault);
}

static bool
ask_arrivals(struct sync *sync, const struct plan_question *question, bool *ok_r,
             struct fault *fault)
{
	if (!arrive_probe_guid(sync, fault))
		return false;
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	char set[32];
	g_snprintf(set, sizeof set, "%u:*", question->from);
	imap_command_raw(command, set);
	arrive_items(sync, command, true);
	return run(sync, command, ok_r, fault);
}

static bool
ask_uids(struct sync *sync, const struct plan_question *question, bool *ok_r, struct fault *fault)
{
	if (question->way < 2)
		return sync_search(sync, question->way == 1, question->way == 1 ? "UID 1:*" : "ALL",
		                   NULL, NULL, ok_r, fault);
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	imap_command_raw(command, "1:* (UID)");
	return run(sync, command, ok_r, fault);
}

static bool
ask_count(struct sync *sync, bool *ok_r, struct fault *fault)
{
	struct imap_command *command = conn_command(sync->worker->conn, "STATUS");
	imap_command_mailbox(command, sync->raw->str, sync->raw->len);
	imap_command_raw(command, "(MESSAGES)");
	return run(sync, command, ok_r, fault);
}

static bool
ask_search(struct sync *sync, const struct plan_question *question, bool *ok_r,
           struct fault *fault)
{
	/* "\Seen": SEEN and UNSEEN, and so on. */
	char *name = g_ascii_strup(imap_flag_name(question->flag) + 1, -1);
	char *criterion = g_strconcat(question->without ? "UN" : "", name, NULL);
	bool alive = sync_search(sync, false, criterion, NULL, NULL, ok_r, fault);
	g_free(criterion);
	g_free(name);
	return alive;
}

/* A set of which all is wanted that can be had. */
static bool
ask_set(struct sync *sync, const struct plan_question *question, bool *ok_r, struct fault *fault)
{
	struct seqset *refused = seqset_new();
	bool alive;
	seqset_clear(sync->wanted);
	if (question->ask != PLAN_ASK_FLAGS && !arrive_probe_guid(sync, fault)) {
		seqset_free(&refused);
		return false;
	}
	if (question->ask == PLAN_ASK_NEW) {
		seqset_unite(sync->wanted, question->set);
		alive = arrive_fetch(sync, fault);
	} else if (question->ask == PLAN_ASK_FLAGS) {
		alive = sync_fetch(sync, question->set, SYNC_WANT_FLAGS, refused, fault);
	} else {
		alive = sync_fetch(sync, question->set, SYNC_WANT_ALL, refused, fault);
		/* Those that are known are compared another day. */
		struct cache_view *view = cache_view_begin(sync->account->cache);
		struct message_record record;
		for (uint32_t uid = seqset_next(question->set, 0); uid != 0;
		     uid = seqset_next(question->set, uid))
			if (!cache_message_by_uid(view, sync->space, uid, &record))
				seqset_add(sync->wanted, uid);
		cache_view_end(view);
		alive = alive && arrive_rest(sync, fault);
	}
	*ok_r = seqset_is_empty(refused);
	seqset_free(&refused);
	return alive;
}

static bool
ask(struct sync *sync, const struct plan_question *question, bool *ok_r, struct fault *fault)
{
	switch (question->ask) {
	case PLAN_ASK_NOOP:
		*ok_r = true;
		return conn_noop(sync->worker->conn, fault);
	case PLAN_ASK_CHANGES:
		return ask_changes(sync, question, ok_r, fault);
	case PLAN_ASK_ARRIVALS:
		return ask_arrivals(sync, question, ok_r, fault);
	case PLAN_ASK_UIDS:
		return ask_uids(sync, question, ok_r, fault);
	case PLAN_ASK_COUNT:
		return ask_count(sync, ok_r, fault);
	case PLAN_ASK_SEARCH:
		return ask_search(sync, question, ok_r, fault);
	case PLAN_ASK_FLAGS:
	case PLAN_ASK_NEW:
	case PLAN_ASK_COMPARE:
		break;
	}
	return ask_set(sync, question, ok_r, fault);
}

/* The next question. A view held meanwhile makes walks over the index cheap. */
static bool
next_question(struct sync *sync, struct plan_question *question)
{
	struct cache_view *view = cache_view_begin(sync->account->cache);
	bool more = plan_next(sync->plan, conn_selected(sync->worker->conn)->exists, question);
	cache_view_end(view);
	return more;
}

bool
sync_ask_all(struct sync *sync, struct fault *fault)
{
	struct plan_question question;
	while (next_question(sync, &question)) {
		bool ok = false;
		sync->asking = question.ask;
		if (!ask(sync, &question, &ok, fault))
			return false;
		if (conn_selected(sync->worker->conn)->stale)
			return fault_set(fault, FAULT_BUSY,
			                 "the mailbox was renumbered while it was looked at");
		struct cache_view *view = cache_view_begin(sync->account->cache);
		plan_answered(sync->plan, conn_selected(sync->worker->conn)->exists, ok);
		cache_view_end(view);
		if (apply_count(sync->batch) > 0)
			sync_submit(sync);
	}
	return true;
}
