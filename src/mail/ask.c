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

/* Of the set of a command that was done in part: what is left of it, to be asked for again;
 * refused, if nothing was done. */
static void
keep_rest(const char *set, const struct conn_reply *reply, struct seqset *rest,
          struct seqset *refused)
{
	struct seqset *left = seqset_new();
	seqset_parse(left, set, strlen(set), 0);
	bool some = reply->limit_uid != 0 && reply->limit_uid <= seqset_last(left);
	if (some)
		seqset_remove_range(left, reply->limit_uid, UINT32_MAX);
	seqset_unite(some ? rest : refused, left);
	seqset_free(&left);
}

/* rest: filled with what was not reached. */
static bool
fetch_once(struct sync *sync, const struct seqset *set, enum sync_want want, struct seqset *rest,
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
		} else if (ok && reply.limited) {
			keep_rest(first->set->str, &reply, rest, refused);
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
sync_fetch(struct sync *sync, const struct seqset *set, enum sync_want want,
           struct seqset *refused, struct fault *fault)
{
	struct seqset *left = seqset_copy(set), *rest = seqset_new();
	bool ok = true;
	while (ok && !seqset_is_empty(left)) {
		seqset_clear(rest);
		ok = fetch_once(sync, left, want, rest, refused, fault);
		seqset_clear(left);
		seqset_unite(left, rest);
	}
	seqset_free(&left);
	seqset_free(&rest);
	return ok;
}

static struct imap_command *
search_command(const struct sync *sync, bool plain, const char *criteria)
{
	struct conn *conn = sync->worker->conn;
	struct imap_command *command = conn_command(conn, "UID SEARCH");
	if (!plain && conn_has(conn, IMAP_CAP_ESEARCH))
		imap_command_raw(command, "RETURN (ALL)");
	imap_command_raw(command, criteria);
	return command;
}

bool
sync_search(struct sync *sync, const char *set, struct seqset *found, bool *ok_r,
            struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct imap_command *command = search_command(sync, true, "UID");
	imap_command_set(command, set);
	sync->found = found;
	bool ok = conn_run(sync->worker->conn, command, &reply, fault);
	sync->found = NULL;
	*ok_r = ok && reply.status == IMAP_STATUS_OK && !reply.limited;
	conn_reply_clear(&reply);
	return ok;
}

/* --- the planner's questions --------------------------------------------------------------- */

/* The UIDs that a question is about: all, but for those that are too new for it. */
static uint32_t
first_uid(const struct plan_question *question)
{
	return question->ask == PLAN_ASK_ARRIVALS ? question->from : 1;
}

static uint32_t
last_uid(const struct plan_question *question)
{
	return question->ask == PLAN_ASK_CHANGES ? question->to : UINT32_MAX;
}

static struct imap_command *
search_flag(const struct sync *sync, const struct plan_question *question)
{
	/* "\Seen": SEEN and UNSEEN, and so on. */
	char *name = g_ascii_strup(imap_flag_name(question->flag) + 1, -1);
	char *criterion = g_strconcat(question->without ? "UN" : "", name, NULL);
	struct imap_command *command = search_command(sync, false, criterion);
	g_free(criterion);
	g_free(name);
	return command;
}

/* A question about UIDs up to `to`; UINT32_MAX: all. */
static struct imap_command *
question_command(const struct sync *sync, const struct plan_question *question, uint32_t to)
{
	bool search = question->ask == PLAN_ASK_SEARCH ||
	              (question->ask == PLAN_ASK_UIDS && question->way < 2);
	bool all = to == UINT32_MAX;
	struct imap_command *command;
	char set[32];
	g_snprintf(set, sizeof set, "%u:", first_uid(question));
	/* `1:*` may stop at the last one that is there: RFC 7162 section 3.1.4. */
	if (all && question->ask != PLAN_ASK_CHANGES)
		g_strlcat(set, "*", sizeof set);
	else
		g_snprintf(set + strlen(set), sizeof set - strlen(set), "%u", to);
	if (search) {
		bool list = question->ask == PLAN_ASK_UIDS;
		bool named = !all || (list && question->way == 1);
		command = list ? search_command(sync, question->way == 1, named ? "UID" : "ALL")
		               : search_flag(sync, question);
		if (named && !list)
			imap_command_raw(command, "UID");
		if (named)
			imap_command_raw(command, set);
		return command;
	}
	command = conn_command(sync->worker->conn, "UID FETCH");
	imap_command_raw(command, set);
	if (question->ask == PLAN_ASK_ARRIVALS)
		arrive_items(sync, command, true);
	else
		imap_command_raw(command, question->ask == PLAN_ASK_UIDS ? "(UID)"
		                                                         : flag_items(sync));
	if (question->ask == PLAN_ASK_CHANGES) {
		imap_command_raw(command, "(CHANGEDSINCE");
		imap_command_number(command, question->modseq);
		imap_command_close(command);
	}
	return command;
}

/* A server that does no more than so many messages at a time (RFC 9738) begins with the latest and
 * tells how far it came: the others are asked for again. */
static bool
ask_range(struct sync *sync, const struct plan_question *question, bool *ok_r,
          struct fault *fault)
{
	struct conn_reply reply = { 0 };
	uint32_t to = last_uid(question);
	bool alive = question->ask != PLAN_ASK_ARRIVALS || arrive_probe_guid(sync, fault);
	*ok_r = alive;
	while (alive && *ok_r && to >= first_uid(question)) {
		alive = conn_run(sync->worker->conn, question_command(sync, question, to), &reply,
		                 fault);
		bool further = !reply.limited || (reply.limit_uid != 0 && reply.limit_uid <= to);
		*ok_r = alive && reply.status == IMAP_STATUS_OK && further;
		to = reply.limited && further ? reply.limit_uid - 1 : 0;
	}
	conn_reply_clear(&reply);
	return alive;
}

static bool
ask_count(struct sync *sync, bool *ok_r, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct imap_command *command = conn_command(sync->worker->conn, "STATUS");
	imap_command_mailbox(command, sync->raw->str, sync->raw->len);
	imap_command_raw(command, "(MESSAGES)");
	bool alive = conn_run(sync->worker->conn, command, &reply, fault);
	*ok_r = alive && reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
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
	case PLAN_ASK_ARRIVALS:
	case PLAN_ASK_UIDS:
	case PLAN_ASK_SEARCH:
		return ask_range(sync, question, ok_r, fault);
	case PLAN_ASK_COUNT:
		return ask_count(sync, ok_r, fault);
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
