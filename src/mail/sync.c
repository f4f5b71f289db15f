/* SPDX-License-Identifier: MIT */
/*
 * Bringing one mailbox of the index in step with the server.
 *
 *     EXAMINE           UIDVALIDITY, EXISTS, UIDNEXT, HIGHESTMODSEQ: all as known? then done
 *     UID SEARCH        which UIDs there are; EXISTS must agree, else it is asked again otherwise
 *     UID FETCH FLAGS   of those that are known (with CONDSTORE only what changed)
 *     UID FETCH ...     of those that are new: names, sizes, dates, in pipelined chunks
 *     the last batch    what vanished, and the mailbox's values
 *
 * Absence alone proves nothing: a message leaves the index only when the list of UIDs has exactly
 * as many members as the mailbox has messages by the server's other word.
 */
#include "config.h"

#include <gmime/gmime.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/apply.h"
#include "mail/internal.h"

#define CHUNK_FIRST   100   /* messages: so that something is to be seen soon */
#define CHUNK         500
#define FLAGS_CHUNK   10000
#define PIPELINE      4     /* commands under way */
#define SET_OCTETS    8000  /* of a set in a command */

struct sync {
	struct worker *worker;
	struct account *account;
	uint32_t id, space;
	uint64_t uidvalidity;
	/* What the index knew. */
	bool listed, read_only;
	uint64_t old_uidvalidity, old_modseq;
	uint32_t old_uidnext, old_exists;
	/* What the server says. */
	uint32_t uidnext, exists;
	uint64_t modseq;
	struct seqset *server, *known, *fresh, *got, *unsized;
	bool certain;            /* the list of UIDs is complete */
	bool has_status;
	uint32_t status_messages;
	GHashTable *sizes;       /* UID -> struct size, of those whose size had to be counted */
	uint64_t literal_size;   /* of the body in the response under way */
	bool sizing;
	struct apply_batch *batch;
	GString *name;
};

/* --- what responses are for -------------------------------------------------------------- */

static void
take_uids(struct sync *sync, const struct imap_response *response)
{
	struct imap_esearch esearch;
	uint64_t modseq;
	enum imap_type type = imap_response_type(response);
	if (type == IMAP_TYPE_SEARCH)
		imap_search_decode(response, sync->server, &modseq);
	else if (type == IMAP_TYPE_ESEARCH)
		imap_esearch_decode(response, sync->server, &esearch);
}

/* The Date field, for a message whose INTERNALDATE can't be read. */
static int64_t
header_date(const struct imap_fetch *fetch)
{
	int64_t time = 0;
	for (size_t at = 0; at + 5 < fetch->header_len; at++) {
		const char *line = fetch->header + at;
		if ((at == 0 || line[-1] == '\n') && g_ascii_strncasecmp(line, "Date:", 5) == 0) {
			const char *end = memchr(line, '\n', fetch->header_len - at);
			char *text = g_strndup(line + 5, (end != NULL ? (size_t)(end - line)
			                                              : fetch->header_len - at) - 5);
			GDateTime *date = g_mime_utils_header_decode_date(text);
			if (date != NULL) {
				time = g_date_time_to_unix(date);
				g_date_time_unref(date);
			}
			g_free(text);
			break;
		}
	}
	return time;
}

/* Its place in the listing: name, size, times. */
static void
add_message(struct sync *sync, struct imap_fetch *fetch)
{
	const struct account_config *config = &sync->account->config;
	unsigned char identity[32] = { 0 };
	uint32_t state = 0;
	const uint64_t *counted = g_hash_table_lookup(sync->sizes, GUINT_TO_POINTER(fetch->uid));
	if (counted != NULL) {
		fetch->has_size = true;
		fetch->size = *counted;
		state |= MESSAGE_SIZE_TRUE;
	} else if (!fetch->has_size || fetch->size == 0) {
		/* No reader gets past a size of 0: it is learnt before the entry is shown. */
		seqset_add(sync->unsized, fetch->uid);
		return;
	}
	int64_t mtime = fetch->has_internaldate ? fetch->internaldate : header_date(fetch);
	g_string_truncate(sync->name, 0);
	if (fetch->header != NULL)
		config->namer.from_header(fetch->header, fetch->header_len,
		                          fetch->has_internaldate ? fetch->internaldate : INT64_MIN,
		                          sync->name, identity);
	if (config->names_by_uid || fetch->header == NULL) {
		g_string_truncate(sync->name, 0);
		config->namer.from_uid(sync->uidvalidity, fetch->uid, sync->name);
		if (fetch->header == NULL)
			state |= MESSAGE_NO_HEADER;
	}
	seqset_add(sync->got, fetch->uid);
	apply_add(sync->batch, fetch, mtime, sync->name->str, identity, state);
}

static void
take_flags(struct sync *sync, const struct imap_fetch *fetch)
{
	struct message_record record;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	bool differs = cache_message_by_uid(view, sync->space, fetch->uid, &record) &&
	               (record.flags != (fetch->flags.bits & ~(unsigned)IMAP_FLAG_RECENT) ||
	                fetch->flags.keyword_count > 0 || record.keywords_len > 0);
	cache_view_end(view);
	if (differs)
		apply_flags(sync->batch, fetch->uid, &fetch->flags, fetch->modseq);
}

static void
on_response(void *ctx, const struct imap_response *response)
{
	struct sync *sync = ctx;
	struct imap_fetch fetch;
	struct imap_mailbox_status status;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_SEARCH:
	case IMAP_TYPE_ESEARCH:
		take_uids(sync, response);
		return;
	case IMAP_TYPE_STATUS:
		if (imap_status_decode(response, &status) && status.has_messages) {
			sync->has_status = true;
			sync->status_messages = status.messages;
		}
		return;
	case IMAP_TYPE_FETCH:
		break;
	default:
		return;
	}
	if (!imap_fetch_decode(response, &fetch) || fetch.uid == 0)
		return;
	if (sync->sizing) {
		if (fetch.body.state == IMAP_BODY_STREAMED || fetch.body.state == IMAP_BODY_STRING) {
			uint64_t *size = g_new(uint64_t, 1);
			*size = fetch.body.state == IMAP_BODY_STREAMED ? fetch.body.size
			                                               : fetch.body.len;
			g_hash_table_replace(sync->sizes, GUINT_TO_POINTER(fetch.uid), size);
		}
	} else if (sync->batch == NULL) {
		seqset_add(sync->server, fetch.uid);
	} else if (seqset_contains(sync->fresh, fetch.uid)) {
		/* What comes unasked has flags alone: the rest is still on its way. */
		bool whole = fetch.has_size || fetch.header != NULL || fetch.has_internaldate;
		if (whole && !seqset_contains(sync->got, fetch.uid))
			add_message(sync, &fetch);
	} else if (fetch.has_flags) {
		take_flags(sync, &fetch);
	}
}

/* --- commands ---------------------------------------------------------------------------- */

static void
add_items(const struct sync *sync, struct imap_command *command, bool header)
{
	imap_command_open(command);
	imap_command_raw(command, "UID FLAGS INTERNALDATE RFC822.SIZE");
	if (conn_has(sync->worker->conn, IMAP_CAP_GMAIL))
		imap_command_raw(command, "X-GM-MSGID X-GM-THRID X-GM-LABELS");
	if (conn_has(sync->worker->conn, IMAP_CAP_OBJECTID))
		imap_command_raw(command, "EMAILID THREADID");
	if (header && !sync->account->config.names_by_uid)
		imap_command_raw(command, "BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)]");
	imap_command_close(command);
}

enum want { WANT_ALL, WANT_NO_HEADER, WANT_FLAGS, WANT_BODY };

static struct imap_command *
fetch_command(const struct sync *sync, const char *set, enum want want)
{
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	imap_command_set(command, set);
	if (want == WANT_FLAGS)
		imap_command_raw(command, "(UID FLAGS)");
	else if (want == WANT_BODY)
		imap_command_raw(command, "(UID BODY.PEEK[])");
	else
		add_items(sync, command, want == WANT_ALL);
	return command;
}

static void
submit_batch(struct sync *sync)
{
	apply_submit(&sync->batch);
	sync->batch = apply_batch_new(sync->account, sync->id, sync->space);
}

/* Fetches something of a set of messages in chunks, several commands under way. Those of chunks that
 * the server refuses are added to refused. */
static bool
fetch_set(struct sync *sync, const struct seqset *set, enum want want, struct seqset *refused,
          struct fault *fault)
{
	struct under_way {
		uint32_t tag;
		GString *set;
	} ring[PIPELINE];
	unsigned head = 0, count = 0;
	uint32_t cursor = 0;
	unsigned size = want == WANT_FLAGS ? FLAGS_CHUNK : want == WANT_ALL ? CHUNK_FIRST : CHUNK;
	bool more = true, ok = true;
	while (ok && (more || count > 0)) {
		if (more && count < PIPELINE) {
			struct under_way *next = &ring[(head + count) % PIPELINE];
			next->set = g_string_new(NULL);
			more = seqset_next_chunk(set, &cursor, size, SET_OCTETS, next->set);
			size = want == WANT_FLAGS ? FLAGS_CHUNK : CHUNK;
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
		if (ok && sync->batch != NULL && apply_count(sync->batch) > 0)
			submit_batch(sync);
	}
	for (; count > 0; count--, head = (head + 1) % PIPELINE)
		g_string_free(ring[head].set, TRUE);
	return ok;
}

static bool
search(struct sync *sync, bool plain, const char *set, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct imap_command *command = conn_command(sync->worker->conn, "UID SEARCH");
	if (!plain && conn_has(sync->worker->conn, IMAP_CAP_ESEARCH))
		imap_command_raw(command, "RETURN (ALL)");
	if (set != NULL) {
		imap_command_raw(command, "UID");
		imap_command_set(command, set);
	} else {
		imap_command_raw(command, plain ? "UID 1:*" : "ALL");
	}
	bool ok = conn_run(sync->worker->conn, command, &reply, fault);
	conn_reply_clear(&reply);
	return ok;
}

/* Which UIDs there are, by one way after the other until one agrees with EXISTS. */
static bool
list_uids(struct sync *sync, struct fault *fault)
{
	struct conn *conn = sync->worker->conn;
	struct conn_reply reply = { 0 };
	for (int way = 0; way < 3; way++) {
		uint32_t exists = conn_selected(conn)->exists;
		if (exists == 0 && way == 0) {
			sync->certain = true;
			return true;
		}
		if (way > 0 && !conn_noop(conn, fault))
			return false;
		seqset_clear(sync->server);
		bool ok;
		if (way < 2) {
			ok = search(sync, way == 1, NULL, fault);
		} else {
			struct imap_command *command = conn_command(conn, "UID FETCH");
			imap_command_raw(command, "1:* (UID)");
			ok = conn_run(conn, command, &reply, fault);
			conn_reply_clear(&reply);
		}
		if (!ok)
			return false;
		sync->exists = conn_selected(conn)->exists;
		sync->certain = seqset_count(sync->server) == sync->exists;
		if (sync->certain)
			return true;
	}
	log_debug("mailbox %u: the server lists %u UIDs of %u messages", sync->id,
	          (unsigned)seqset_count(sync->server), sync->exists);
	return true;
}

/* An empty mailbox that was not so before: by another question. */
static bool
confirm_empty(struct sync *sync, struct fault *fault)
{
	struct conn *conn = sync->worker->conn;
	struct conn_reply reply = { 0 };
	const struct conn_mailbox *mailbox = conn_selected(conn);
	struct imap_command *command = conn_command(conn, "STATUS");
	imap_command_mailbox(command, mailbox->name, mailbox->name_len);
	imap_command_raw(command, "(MESSAGES)");
	sync->has_status = false;
	bool ok = conn_run(conn, command, &reply, fault);
	conn_reply_clear(&reply);
	sync->certain = ok && sync->has_status && sync->status_messages == 0;
	return ok;
}

/* --- steps ------------------------------------------------------------------------------- */

static void
load_known(struct sync *sync)
{
	uint32_t uid = 0;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	while (cache_uid_next(view, sync->space, uid, &uid))
		seqset_add(sync->known, uid);
	cache_view_end(view);
}

static bool
refresh_flags(struct sync *sync, struct seqset *refused, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	if (!sync->listed || sync->uidvalidity != sync->old_uidvalidity ||
	    seqset_is_empty(sync->known))
		return true;
	if (sync->modseq == 0 || sync->old_modseq == 0 || sync->modseq < sync->old_modseq ||
	    !conn_has(sync->worker->conn, IMAP_CAP_CONDSTORE)) {
		struct seqset *both = seqset_copy(sync->known);
		seqset_intersect(both, sync->server);
		bool ok = fetch_set(sync, both, WANT_FLAGS, refused, fault);
		seqset_free(&both);
		return ok;
	}
	if (sync->modseq == sync->old_modseq)
		return true;
	struct imap_command *command = conn_command(sync->worker->conn, "UID FETCH");
	imap_command_raw(command, "1:* (UID FLAGS) (CHANGEDSINCE");
	imap_command_number(command, sync->old_modseq);
	imap_command_close(command);
	bool ok = conn_run(sync->worker->conn, command, &reply, fault);
	if (ok && reply.status != IMAP_STATUS_OK)
		sync->modseq = 0; /* so that the next sync asks for all */
	conn_reply_clear(&reply);
	submit_batch(sync);
	return ok;
}

/* New messages that did not come with the others: asked for in halves, then without their header,
 * so that a message that can't be had spoils nobody else's. What is gone by now is left alone. */
static bool
fetch_missing(struct sync *sync, struct fault *fault)
{
	for (int round = 0; round < 12; round++) {
		struct seqset *missing = seqset_copy(sync->fresh), *refused = seqset_new();
		seqset_subtract(missing, sync->got);
		seqset_subtract(missing, sync->unsized);
		uint64_t count = seqset_count(missing);
		bool ok = true;
		unsigned step = 0;
		/* One by one when few are left; else in ever smaller parts. */
		uint32_t cursor = 0;
		unsigned part = (unsigned)MAX(count >> (round + 1), 1);
		GString *set = g_string_new(NULL);
		while (ok && step++ < 1000 &&
		       seqset_next_chunk(missing, &cursor, part, SET_OCTETS, set)) {
			struct seqset *some = seqset_new();
			seqset_parse(some, set->str, set->len, 0);
			ok = fetch_set(sync, some, part > 1 || round == 0 ? WANT_ALL : WANT_NO_HEADER,
			               refused, fault);
			seqset_free(&some);
			g_string_truncate(set, 0);
		}
		g_string_free(set, TRUE);
		seqset_free(&missing);
		seqset_free(&refused);
		if (!ok)
			return false;
		if (count == 0 || (part == 1 && round > 0))
			break;
	}
	return true;
}

/* Messages of an unknown size: their bodies are streamed and counted. */
static bool
count_sizes(struct sync *sync, struct fault *fault)
{
	if (seqset_is_empty(sync->unsized))
		return true;
	struct seqset *refused = seqset_new();
	sync->sizing = true;
	bool ok = fetch_set(sync, sync->unsized, WANT_BODY, refused, fault);
	sync->sizing = false;
	for (uint32_t uid = seqset_next(sync->unsized, 0); uid != 0;
	     uid = seqset_next(sync->unsized, uid))
		if (!g_hash_table_contains(sync->sizes, GUINT_TO_POINTER(uid)))
			g_hash_table_insert(sync->sizes, GUINT_TO_POINTER(uid), g_new0(uint64_t, 1));
	ok = ok && fetch_set(sync, sync->unsized, WANT_ALL, refused, fault);
	seqset_free(&refused);
	return ok;
}

/* Those of which nothing can be had are shown all the same, if they are there. */
static bool
add_unknown(struct sync *sync, struct fault *fault)
{
	struct seqset *missing = seqset_copy(sync->fresh);
	seqset_subtract(missing, sync->got);
	bool ok = true;
	if (!seqset_is_empty(missing)) {
		GString *set = g_string_new(NULL);
		uint32_t cursor = 0;
		seqset_next_chunk(missing, &cursor, CHUNK, SET_OCTETS, set);
		seqset_clear(sync->server);
		ok = search(sync, true, set->str, fault);
		g_string_free(set, TRUE);
		seqset_intersect(missing, sync->server);
		for (uint32_t uid = seqset_next(missing, 0); ok && uid != 0;
		     uid = seqset_next(missing, uid)) {
			struct imap_fetch fetch = { .uid = uid };
			uint64_t *none = g_new0(uint64_t, 1);
			g_hash_table_replace(sync->sizes, GUINT_TO_POINTER(uid), none);
			add_message(sync, &fetch);
			log_warn("mailbox %u: the server does not give the message of UID %u",
			         sync->id, uid);
		}
	}
	seqset_free(&missing);
	return ok;
}

static bool
fetch_new(struct sync *sync, struct fault *fault)
{
	struct seqset *refused = seqset_new();
	bool ok = fetch_set(sync, sync->fresh, WANT_ALL, refused, fault) &&
	          fetch_missing(sync, fault) && count_sizes(sync, fault) &&
	          add_unknown(sync, fault);
	seqset_free(&refused);
	return ok;
}

static void
remember_counters(struct worker *worker)
{
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	worker->synced = mailbox != NULL;
	if (mailbox != NULL) {
		worker->synced_exists = mailbox->exists_changes;
		worker->synced_expunges = mailbox->expunges;
		worker->synced_fetches = mailbox->fetches;
	}
}

static bool
run_steps(struct sync *sync, struct fault *fault)
{
	struct apply_final final = { 0 };
	struct seqset *vanished = seqset_new(), *refused = seqset_new();
	bool ok = list_uids(sync, fault) &&
	          apply_space(sync->account, sync->id, sync->uidvalidity, &sync->space, fault);
	if (ok) {
		load_known(sync);
		if (seqset_is_empty(sync->server) && !seqset_is_empty(sync->known))
			ok = confirm_empty(sync, fault);
	}
	if (ok) {
		seqset_unite(sync->fresh, sync->server);
		seqset_subtract(sync->fresh, sync->known);
		if (sync->certain) {
			seqset_unite(vanished, sync->known);
			seqset_subtract(vanished, sync->server);
		}
		final.exists = (uint32_t)seqset_count(sync->server);
		final.uidnext = MAX(sync->uidnext, seqset_last(sync->server) + 1);
		sync->batch = apply_batch_new(sync->account, sync->id, sync->space);
		ok = refresh_flags(sync, refused, fault) && fetch_new(sync, fault);
	}
	if (ok) {
		final.uidvalidity = sync->uidvalidity;
		final.highestmodseq = sync->certain && seqset_is_empty(refused) ? sync->modseq : 0;
		final.read_only = sync->read_only;
		final.vanished = vanished;
		ok = apply_finish(&sync->batch, &final, fault);
	}
	apply_batch_free(&sync->batch);
	seqset_free(&vanished);
	seqset_free(&refused);
	return ok;
}

/* Selects it, unless its news can be heard by a NOOP. *unchanged_r: nothing is to be done. */
static bool
look(struct sync *sync, bool *unchanged_r, struct fault *fault)
{
	struct worker *worker = sync->worker;
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	bool same = worker->selected == sync->id && mailbox != NULL && !mailbox->stale;
	*unchanged_r = false;
	if (same && worker->synced && mailbox->highestmodseq == 0) {
		if (!conn_noop(worker->conn, fault))
			return false;
		*unchanged_r = sync->listed && mailbox->exists_changes == worker->synced_exists &&
		               mailbox->expunges == worker->synced_expunges &&
		               mailbox->fetches == worker->synced_fetches && !mailbox->stale;
		if (!mailbox->stale)
			return true;
	}
	worker->selected = 0;
	return worker_select(worker, sync->id, false, true, fault);
}

static void
sync_release(struct sync *sync)
{
	seqset_free(&sync->server);
	seqset_free(&sync->known);
	seqset_free(&sync->fresh);
	seqset_free(&sync->got);
	seqset_free(&sync->unsized);
	g_hash_table_destroy(sync->sizes);
	g_string_free(sync->name, TRUE);
}

/* False: the mailbox is none that can be selected, which is fine. */
static bool
sync_init(struct sync *sync, struct worker *worker, uint32_t id)
{
	struct mailbox_record record;
	struct cache_view *view = cache_view_begin(worker->account->cache);
	bool known = cache_mailbox_get(view, id, &record);
	*sync = (struct sync){ .worker = worker, .account = worker->account, .id = id };
	if (known) {
		sync->listed = record.listed;
		sync->read_only = record.read_only;
		sync->old_uidvalidity = record.uidvalidity;
		sync->old_modseq = record.highestmodseq;
		sync->old_uidnext = record.uidnext;
		sync->old_exists = record.exists;
	}
	bool selectable = known && (record.attrs & IMAP_ATTR_NOSELECT) == 0 && record.raw_len > 0;
	cache_view_end(view);
	sync->server = seqset_new();
	sync->known = seqset_new();
	sync->fresh = seqset_new();
	sync->got = seqset_new();
	sync->unsized = seqset_new();
	sync->sizes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	sync->name = g_string_new(NULL);
	return selectable;
}

bool
sync_run(struct worker *worker, struct mbox *mbox, struct fault *fault)
{
	struct sync sync;
	bool unchanged = false;
	bool ok = true;
	if (sync_init(&sync, worker, mbox->id) && (ok = look(&sync, &unchanged, fault)) && !unchanged) {
		const struct conn_mailbox *mailbox = conn_selected(worker->conn);
		sync.uidvalidity = mailbox->uidvalidity;
		sync.uidnext = mailbox->uidnext;
		sync.exists = mailbox->exists;
		sync.modseq = mailbox->highestmodseq;
		unchanged = sync.listed && sync.modseq != 0 && sync.modseq == sync.old_modseq &&
		            sync.uidvalidity == sync.old_uidvalidity &&
		            sync.exists == sync.old_exists && sync.uidnext == sync.old_uidnext;
		const struct conn_handler handler = { .ctx = &sync, .untagged = on_response };
		conn_set_handler(worker->conn, &handler);
		ok = unchanged || run_steps(&sync, fault);
		conn_set_handler(worker->conn, NULL);
		if (ok)
			remember_counters(worker);
	}
	sync_release(&sync);
	return ok;
}
