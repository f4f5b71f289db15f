/* SPDX-License-Identifier: MIT */
/*
 * Messages that are new in a mailbox: their names, sizes, dates and flags, into
 * the index.
 *
 * They are fetched in pipelined chunks. What does not come with the others is
 * asked for in halves, then one by one, then without its header, so that a
 * message that can't be had spoils nobody else's; it is listed all the same. A
 * size of 0 or none is counted before the message is listed, since no reader
 * gets past it.
 */
#include "config.h"

#include <gmime/gmime.h>
#include <string.h>

#include "base/log.h"
#include "mail/sync.h"

#define HALVINGS 12

/* --- one message ------------------------------------------------------------------------- */

/* INTERNALDATE, or the Date field where that can't be read. */
static int64_t
mtime_of(const struct imap_fetch *fetch)
{
	int64_t time = 0;
	if (fetch->has_internaldate)
		return fetch->internaldate;
	for (size_t at = 0; at + 5 < fetch->header_len; at++) {
		const char *line = fetch->header + at;
		if ((at == 0 || line[-1] == '\n') && g_ascii_strncasecmp(line, "Date:", 5) == 0) {
			const char *end = memchr(line, '\n', fetch->header_len - at);
			size_t len = end != NULL ? (size_t)(end - line) : fetch->header_len - at;
			char *text = g_strndup(line + 5, len - 5);
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

void
arrive_message(struct sync *sync, struct imap_fetch *fetch, bool replaced)
{
	const struct account_config *config = &sync->account->config;
	unsigned char identity[32] = { 0 };
	uint32_t state = 0;
	const uint64_t *counted = g_hash_table_lookup(sync->sizes, GUINT_TO_POINTER(fetch->uid));
	if (seqset_contains(sync->got, fetch->uid))
		return;
	if (counted != NULL) {
		fetch->has_size = true;
		fetch->size = *counted;
		state |= MESSAGE_SIZE_TRUE;
	} else if (!fetch->has_size || fetch->size == 0) {
		seqset_add(sync->unsized, fetch->uid);
		return;
	}
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
	plan_got(sync->plan, fetch->uid);
	apply_add(sync->held != NULL ? sync->held : sync->batch, fetch, mtime_of(fetch),
	          sync->name->str, identity, state, replaced);
}

void
arrive_size(struct sync *sync, const struct imap_fetch *fetch)
{
	const struct imap_body *body = &fetch->body;
	if (body->state != IMAP_BODY_STREAMED && body->state != IMAP_BODY_STRING)
		return;
	uint64_t *size = g_new(uint64_t, 1);
	*size = body->state == IMAP_BODY_STREAMED ? body->size : body->len;
	g_hash_table_replace(sync->sizes, GUINT_TO_POINTER(fetch->uid), size);
}

/* --- commands ---------------------------------------------------------------------------- */

void
arrive_items(const struct sync *sync, struct imap_command *command, bool header)
{
	struct conn *conn = sync->worker->conn;
	imap_command_open(command);
	imap_command_raw(command, "UID FLAGS INTERNALDATE RFC822.SIZE");
	if (conn_has(conn, IMAP_CAP_GMAIL))
		imap_command_raw(command, "X-GM-MSGID X-GM-THRID X-GM-LABELS");
	if (conn_has(conn, IMAP_CAP_OBJECTID))
		imap_command_raw(command, "EMAILID THREADID");
	else if (g_atomic_int_get(&sync->account->guid) == GUID_WORKS)
		imap_command_raw(command, "X-GUID");
	if (header && !sync->account->config.names_by_uid)
		imap_command_raw(command, "BODY.PEEK[HEADER.FIELDS "
		                          "(DATE FROM SUBJECT MESSAGE-ID)]");
	imap_command_close(command);
}

static bool
is_switched_off(const struct account *account, const char *name)
{
	const char *const *without = account->config.conn.without;
	for (; without != NULL && *without != NULL; without++)
		if (g_ascii_strcasecmp(*without, name) == 0)
			return true;
	return false;
}

bool
arrive_probe_guid(struct sync *sync, struct fault *fault)
{
	struct account *account = sync->account;
	struct conn *conn = sync->worker->conn;
	struct conn_reply reply = { 0 };
	if (g_atomic_int_get(&account->guid) != GUID_UNKNOWN)
		return true;
	bool has_id = conn_has(conn, IMAP_CAP_OBJECTID) || conn_has(conn, IMAP_CAP_GMAIL);
	if (has_id || is_switched_off(account, "X-GUID")) {
		g_atomic_int_set(&account->guid, GUID_NONE);
		return true;
	}
	/* Of a message that is not there: an answer, and no data. */
	struct imap_command *command = conn_command(conn, "UID FETCH");
	imap_command_raw(command, "4294967295 (UID X-GUID)");
	bool ok = conn_run(conn, command, &reply, fault);
	if (ok)
		g_atomic_int_set(&account->guid,
		                 reply.status == IMAP_STATUS_OK ? GUID_WORKS : GUID_NONE);
	conn_reply_clear(&reply);
	return ok;
}

/* --- all of them ------------------------------------------------------------------------- */

/* What did not come with the others. What is gone by now is left alone. */
static bool
fetch_missing(struct sync *sync, struct fault *fault)
{
	for (int round = 0; round < HALVINGS; round++) {
		struct seqset *missing = seqset_copy(sync->wanted), *refused = seqset_new();
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
		       seqset_next_chunk(missing, &cursor, part, SYNC_OCTETS, set)) {
			struct seqset *some = seqset_new();
			seqset_parse(some, set->str, set->len, 0);
			bool all = part > 1 || round == 0;
			ok = sync_fetch(sync, some, all ? SYNC_WANT_ALL : SYNC_WANT_NO_HEADER,
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
	bool ok = sync_fetch(sync, sync->unsized, SYNC_WANT_BODY, refused, fault);
	sync->sizing = false;
	for (uint32_t uid = seqset_next(sync->unsized, 0); uid != 0;
	     uid = seqset_next(sync->unsized, uid))
		if (!g_hash_table_contains(sync->sizes, GUINT_TO_POINTER(uid)))
			g_hash_table_insert(sync->sizes, GUINT_TO_POINTER(uid),
			                    g_new0(uint64_t, 1));
	ok = ok && sync_fetch(sync, sync->unsized, SYNC_WANT_ALL, refused, fault);
	seqset_free(&refused);
	return ok;
}

/* Those of which nothing can be had are shown all the same, if they are there. */
static bool
add_unknown(struct sync *sync, struct fault *fault)
{
	struct seqset *missing = seqset_copy(sync->wanted);
	seqset_subtract(missing, sync->got);
	bool ok = true, answered;
	if (!seqset_is_empty(missing)) {
		GString *set = g_string_new(NULL);
		uint32_t cursor = 0;
		struct seqset *there = seqset_new();
		seqset_next_chunk(missing, &cursor, SYNC_CHUNK, SYNC_OCTETS, set);
		ok = sync_search(sync, set->str, there, &answered, fault);
		g_string_free(set, TRUE);
		seqset_intersect(missing, there);
		for (uint32_t uid = seqset_next(missing, 0); ok && uid != 0;
		     uid = seqset_next(missing, uid)) {
			struct imap_fetch fetch = { .uid = uid };
			uint64_t *none = g_new0(uint64_t, 1);
			g_hash_table_replace(sync->sizes, GUINT_TO_POINTER(uid), none);
			arrive_message(sync, &fetch, false);
			log_warn("mailbox %u: the server does not give the message of UID %u",
			         sync->id, uid);
		}
		seqset_free(&there);
	}
	seqset_free(&missing);
	return ok;
}

bool
arrive_rest(struct sync *sync, struct fault *fault)
{
	return fetch_missing(sync, fault) && count_sizes(sync, fault) && add_unknown(sync, fault);
}

bool
arrive_fetch(struct sync *sync, struct fault *fault)
{
	struct seqset *refused = seqset_new();
	bool ok = sync_fetch(sync, sync->wanted, SYNC_WANT_ALL, refused, fault) &&
	          arrive_rest(sync, fault);
	seqset_free(&refused);
	return ok;
}
