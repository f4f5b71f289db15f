/* SPDX-License-Identifier: MIT */
/* What the server says during a sync, to the planner and the applier: see sync.h. */
#include "config.h"

#include "mail/sync.h"

#include <string.h>

#include "base/log.h"

#define HELD_MAX 2000 /* arrivals that wait; more are shown as they come */

static bool
is_known(const struct sync *sync, uint32_t uid, struct cache_view *view,
         struct message_record *record_r)
{
	if (sync->asking == PLAN_ASK_NEW && seqset_contains(sync->wanted, uid))
		return false;
	return cache_message_by_uid(view, sync->space, uid, record_r);
}

/* As the applier writes them: by words, in the server's order. */
static bool
keywords_differ(const struct message_record *record, const struct imap_flags *flags)
{
	const char *at = record->keywords, *end = at + record->keywords_len;
	for (unsigned i = 0; i < flags->keyword_count; i++) {
		size_t len = strlen(flags->keywords[i]), blank = i > 0;
		if ((size_t)(end - at) < blank + len || (blank && *at != ' ') ||
		    memcmp(at + blank, flags->keywords[i], len) != 0)
			return true;
		at += blank + len;
	}
	return at != end;
}

static bool
flags_differ(const struct message_record *record, const struct imap_flags *flags)
{
	return record->flags != (flags->bits & ~(unsigned)IMAP_FLAG_RECENT) ||
	       keywords_differ(record, flags);
}

/* Ids of two kinds can't be compared. */
static bool
has_other_id(const struct message_record *record, const struct imap_fetch *fetch)
{
	const char *known = record->emailid, *told = fetch->emailid;
	bool guid = g_str_has_prefix(known, MESSAGE_GUID_PREFIX);
	char number[24];
	g_snprintf(number, sizeof number, "%" G_GUINT64_FORMAT, fetch->gm_msgid);
	if (fetch->has_gm_msgid)
		told = number;
	if (guid && (told == NULL || told[0] == '\0')) {
		told = fetch->guid;
		known += strlen(MESSAGE_GUID_PREFIX);
	} else if (guid) {
		return false;
	}
	return known[0] != '\0' && told != NULL && told[0] != '\0' && strcmp(known, told) != 0;
}

bool
sync_is_another(const struct account *account, const struct message_record *record,
                const struct imap_fetch *fetch)
{
	static const unsigned char none[32];
	unsigned char identity[32];
	if (record->told != 0 && fetch->has_size && fetch->size != 0 && fetch->size != record->told)
		return true;
	if (has_other_id(record, fetch) ||
	    (fetch->has_internaldate && fetch->internaldate != record->mtime))
		return true;
	if (fetch->header == NULL || memcmp(record->identity, none, sizeof none) == 0)
		return false;
	GString *name = g_string_new(NULL);
	account->config.namer.from_header(fetch->header, fetch->header_len,
	                                  fetch->has_internaldate ? fetch->internaldate
	                                                          : INT64_MIN,
	                                  name, identity);
	g_string_free(name, TRUE);
	return memcmp(record->identity, identity, sizeof identity) != 0;
}

static void
take_known(struct sync *sync, const struct message_record *record, struct imap_fetch *fetch)
{
	bool whole = fetch->has_size && fetch->has_internaldate;
	if (sync->asking == PLAN_ASK_COMPARE && whole) {
		if (sync_is_another(sync->account, record, fetch)) {
			sync->differences++;
			sync->others++;
			log_warn("mailbox %u: UID %u is another message than before", sync->id,
			         fetch->uid);
			arrive_message(sync, fetch, true);
			return;
		}
	}
	bool differs = fetch->has_flags && flags_differ(record, &fetch->flags);
	sync->differences += differs;
	if (fetch->has_flags && (fetch->has_gm_labels || (whole && record->told == 0)))
		apply_update(sync->batch, fetch);
	else if (differs)
		apply_flags(sync->batch, fetch->uid, &fetch->flags, fetch->modseq);
}

/* UIDs are not those of the index: the mailbox was renumbered. */
static bool
is_stale(const struct sync *sync)
{
	const struct conn_mailbox *mailbox = conn_selected(sync->worker->conn);
	const struct conn_mailbox *next = conn_selecting(sync->worker->conn);
	if (next != NULL)
		return next->uidvalidity != 0 && next->uidvalidity != sync->known_uidvalidity;
	return mailbox != NULL && mailbox->stale;
}

/* A delta is the index's when the SELECT has told the UIDVALIDITY that it was asked for. */
static bool
is_certain(const struct sync *sync)
{
	const struct conn_mailbox *next = conn_selecting(sync->worker->conn);
	return next == NULL || next->uidvalidity == sync->known_uidvalidity;
}

static void
take_fetch(struct sync *sync, struct imap_fetch *fetch)
{
	struct message_record record;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	bool known = fetch->uid != 0 && is_known(sync, fetch->uid, view, &record);
	enum plan_meaning meaning = plan_fetch(sync->plan, fetch->uid, known);
	/* What comes unasked has flags alone: the rest is still on its way. */
	bool whole = fetch->has_size || fetch->header != NULL || fetch->has_internaldate;
	if (meaning == PLAN_FLAGS)
		take_known(sync, &record, fetch);
	else
		sync->missed |= fetch->has_flags && (meaning == PLAN_NOTHING || !whole);
	cache_view_end(view);
	if (meaning == PLAN_NEW && whole) {
		sync->differences += fetch->uid < sync->known_uidnext;
		arrive_message(sync, fetch, false);
	}
	if (apply_count(sync->batch) >= SYNC_CHUNK && is_certain(sync))
		sync_submit(sync);
	if (sync->held != NULL && apply_count(sync->held) > HELD_MAX) {
		apply_submit(&sync->held);
		sync->held = NULL;
	}
}

static void
take_uids(struct sync *sync, const struct imap_response *response)
{
	struct imap_esearch esearch;
	struct seqset *found = seqset_new();
	uint64_t modseq;
	bool readable = imap_response_type(response) == IMAP_TYPE_SEARCH
	                        ? imap_search_decode(response, found, &modseq)
	                        : imap_esearch_decode(response, found, &esearch);
	if (!readable)
		plan_unreadable(sync->plan);
	else if (sync->found != NULL)
		seqset_unite(sync->found, found);
	else
		plan_found(sync->plan, found);
	seqset_free(&found);
}

static void
take_vanished(struct sync *sync, const struct imap_response *response)
{
	struct seqset *set = seqset_new();
	bool earlier;
	if (imap_vanished_decode(response, set, &earlier))
		plan_vanished(sync->plan, set);
	else
		plan_unreadable(sync->plan);
	seqset_free(&set);
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
		break;
	case IMAP_TYPE_VANISHED:
		take_vanished(sync, response);
		break;
	case IMAP_TYPE_EXPUNGE:
		plan_expunged(sync->plan);
		break;
	case IMAP_TYPE_STATUS:
		if (imap_status_decode(response, &status) && status.has_messages)
			plan_found_count(sync->plan, status.messages);
		break;
	case IMAP_TYPE_FETCH:
		/* Behind the news of a renumbering a UID may be another message's. */
		if (is_stale(sync) || !imap_fetch_decode(response, &fetch))
			plan_unreadable(sync->plan);
		else if (sync->digests != NULL)
			renumber_header(sync, &fetch);
		else if (sync->sizing)
			arrive_size(sync, &fetch);
		else
			take_fetch(sync, &fetch);
		break;
	default:
		break;
	}
}

static void
on_skipped(void *ctx, const char *error)
{
	struct sync *sync = ctx;
	(void)error;
	plan_unreadable(sync->plan);
}

struct conn_handler
sync_handler(struct sync *sync)
{
	return (struct conn_handler){ .ctx = sync, .untagged = on_response,
		                      .skipped = on_skipped };
}
