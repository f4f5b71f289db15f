/* SPDX-License-Identifier: MIT */
/*
 * Deleting messages on the server: see deletion.h; what goes into the trash first: trash.c.
 *
 *     trash     UID MOVE; or UID COPY, and for those whose copy is certain, as below
 *     expunge   UID STORE +FLAGS.SILENT (\Deleted), UID EXPUNGE
 *     mark      the STORE alone
 *
 * Never sent: EXPUNGE without UIDs and CLOSE, which take other clients' marked messages too. An
 * answer that was lost is made up for by looking: which messages are still there, and which have a
 * copy in the trash that was not there before. What waited for a line is looked at first: whether
 * the UID still names the message that was meant (RFC 4549).
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "mail/sync.h"
#include "mail/trash.h"

/* --- listening --------------------------------------------------------------------------- */

/* What the server has under a UID that waited. */
static void
check_message(struct deletion *deletion, const struct imap_fetch *fetch)
{
	struct message_record record;
	uint32_t mailbox;
	struct cache_view *view = cache_view_begin(deletion->account->cache);
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome != CHANGE_PENDING || change->record.uid != fetch->uid ||
		    !cache_message_by_ino(view, change->record.ino, &mailbox, &record) ||
		    !sync_is_another(deletion->account, &record, fetch))
			continue;
		change->outcome = CHANGE_REFUSED;
		fault_set(&change->fault, FAULT_GONE, "UID %u names another message by now",
		          fetch->uid);
	}
	cache_view_end(view);
}

static void
on_untagged(void *ctx, const struct imap_response *response)
{
	struct deletion *deletion = ctx;
	struct imap_mailbox_status status;
	struct imap_esearch esearch;
	struct imap_fetch fetch;
	uint64_t modseq;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_SEARCH:
		deletion->unreadable |= !imap_search_decode(response, deletion->found, &modseq);
		break;
	case IMAP_TYPE_ESEARCH:
		deletion->unreadable |= !imap_esearch_decode(response, deletion->found, &esearch);
		break;
	case IMAP_TYPE_NAMESPACE:
		mailbox_take_namespace(deletion->account, response);
		break;
	case IMAP_TYPE_STATUS:
		if (imap_status_decode(response, &status) && status.has_uidnext &&
		    status.has_uidvalidity) {
			deletion->has_status = true;
			deletion->status_uidnext = status.uidnext;
			deletion->status_uidvalidity = status.uidvalidity;
		}
		break;
	case IMAP_TYPE_FETCH:
		if ((!deletion->looking && !deletion->checking) ||
		    !imap_fetch_decode(response, &fetch))
			break;
		if (deletion->checking && fetch.uid != 0)
			check_message(deletion, &fetch);
		else if (fetch.uid >= deletion->look_from && fetch.header != NULL)
			trash_match_copy(deletion, &fetch);
		break;
	default:
		break;
	}
}

/* A response that was dropped may have been the answer to a SEARCH. */
static void
on_skipped(void *ctx, const char *error)
{
	struct deletion *deletion = ctx;
	(void)error;
	deletion->unreadable = true;
}

/* --- sets of changes --------------------------------------------------------------------- */

struct seqset *
deletion_pending(const struct deletion *deletion, bool copied)
{
	struct seqset *set = seqset_new();
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome == CHANGE_PENDING && (!copied || change->copied))
			seqset_add(set, change->record.uid);
	}
	return set;
}

void
deletion_set_outcome(struct deletion *deletion, const struct seqset *uids, bool members,
                     enum change_outcome outcome, const struct fault *fault)
{
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome != CHANGE_PENDING ||
		    seqset_contains(uids, change->record.uid) != members)
			continue;
		change->outcome = outcome;
		if (fault != NULL)
			change->fault = *fault;
	}
}

static void
refuse_all(struct deletion *deletion, const struct fault *fault)
{
	struct seqset *set = deletion_pending(deletion, false);
	deletion_set_outcome(deletion, set, true, CHANGE_REFUSED, fault);
	seqset_free(&set);
}

static char *
set_text(const struct seqset *set)
{
	GString *text = g_string_new(NULL);
	seqset_format(set, text);
	return g_string_free(text, FALSE);
}

struct imap_command *
deletion_command(const struct deletion *deletion, const char *verb, const struct seqset *set)
{
	char *text = set_text(set);
	struct imap_command *command = conn_command(deletion->conn, verb);
	imap_command_set(command, text);
	g_free(text);
	return command;
}

/* --- single steps ------------------------------------------------------------------------- */

bool
deletion_is_meant(struct deletion *deletion)
{
	const struct conn_mailbox *mailbox = conn_selected(deletion->conn);
	const struct change *first = g_ptr_array_index(deletion->changes, 0);
	struct fault refusal;
	g_mutex_lock(&deletion->account->lock);
	uint64_t meant = first->record.uidvalidity;
	g_mutex_unlock(&deletion->account->lock);
	if (mailbox != NULL && !mailbox->stale && mailbox->uidvalidity == meant)
		return true;
	fault_set(&refusal, FAULT_GONE, "the mailbox was renumbered by the server before the "
	          "deletion reached it");
	refuse_all(deletion, &refusal);
	return false;
}

/* The index may have followed the server meanwhile. */
bool
deletion_select_source(struct deletion *deletion, struct fault *fault)
{
	bool ok = line_select(deletion->worker, deletion->mailbox, true, false, fault);
	if (ok)
		deletion_is_meant(deletion);
	return ok;
}

bool
deletion_find_survivors(struct deletion *deletion, const struct seqset *set, const char *criterion,
                        struct fault *fault)
{
	struct conn_reply reply = { 0 };
	char *text = set_text(set);
	struct imap_command *command = conn_command(deletion->conn, "UID SEARCH");
	imap_command_raw(command, "UID");
	imap_command_set(command, text);
	if (criterion != NULL)
		imap_command_raw(command, criterion);
	g_free(text);
	seqset_clear(deletion->found);
	deletion->unreadable = false;
	bool ok = conn_run(deletion->conn, command, &reply, fault);
	/* Without a whole answer nothing counts as gone. */
	if (ok && criterion == NULL && (reply.status != IMAP_STATUS_OK || deletion->unreadable))
		seqset_unite(deletion->found, set);
	conn_reply_clear(&reply);
	return ok;
}

bool
deletion_drop_gone(struct deletion *deletion, bool *left_r, struct fault *fault)
{
	struct seqset *set = deletion_pending(deletion, false);
	*left_r = false;
	bool ok = seqset_is_empty(set) || deletion_find_survivors(deletion, set, NULL, fault);
	if (ok && !seqset_is_empty(set))
		deletion_set_outcome(deletion, deletion->found, false, CHANGE_REMOVED, NULL);
	seqset_free(&set);
	set = deletion_pending(deletion, false);
	*left_r = !seqset_is_empty(set);
	seqset_free(&set);
	return ok;
}

bool
deletion_store_flag(struct deletion *deletion, const struct seqset *set, const char *item,
                    struct conn_reply *reply, struct fault *fault)
{
	struct imap_command *command = deletion_command(deletion, "UID STORE", set);
	imap_command_raw(command, item);
	imap_command_open(command);
	imap_command_flag(command, "\\Deleted");
	imap_command_close(command);
	return conn_run(deletion->conn, command, reply, fault);
}

/* Where the rights for it lack some servers answer OK to a STORE that did nothing. */
static bool
refuse_unmarked(struct deletion *deletion, const struct seqset *set, struct fault *fault)
{
	struct fault refusal;
	if (!deletion_find_survivors(deletion, set, "UNDELETED", fault))
		return false;
	fault_set(&refusal, FAULT_DENIED, "the server took it, and did not mark the message as "
	          "deleted");
	deletion_set_outcome(deletion, deletion->found, true, CHANGE_REFUSED, &refusal);
	return true;
}

bool
deletion_mark_and_expunge(struct deletion *deletion, const struct seqset *set, bool expunge,
                          struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	bool left, removed = false;
	if (!deletion_is_meant(deletion))
		return true;
	unsigned before = conn_selected(deletion->conn)->expunges;
	bool ok = deletion_store_flag(deletion, set, "+FLAGS.SILENT", &reply, fault);
	if (ok && !conn_reply_fault(&reply, &refusal, "marking messages as deleted")) {
		conn_reply_clear(&reply);
		if (!deletion_drop_gone(deletion, &left, fault))
			return false;
		deletion_set_outcome(deletion, set, true, CHANGE_REFUSED, &refusal);
		return true;
	}
	if (ok && !deletion_is_meant(deletion)) {
		conn_reply_clear(&reply);
		return true;
	}
	if (ok && expunge && conn_has(deletion->conn, IMAP_CAP_UIDPLUS)) {
		struct imap_command *command = deletion_command(deletion, "UID EXPUNGE", set);
		ok = conn_run(deletion->conn, command, &reply, fault);
		removed = ok && reply.status == IMAP_STATUS_OK;
		if (ok && !removed)
			log_warn("UID EXPUNGE was refused (%s): the messages stay marked \\Deleted",
			         reply.text);
	}
	conn_reply_clear(&reply);
	/* As many as are meant have gone: then that is proof enough. */
	if (ok && (!removed ||
	           conn_selected(deletion->conn)->expunges - before < seqset_count(set)))
		ok = refuse_unmarked(deletion, set, fault);
	if (ok)
		deletion_set_outcome(deletion, set, true,
		                     removed ? CHANGE_REMOVED : CHANGE_FLAGGED, NULL);
	return ok;
}

/* --- the whole ---------------------------------------------------------------------------- */

static bool
any_sent(const struct deletion *deletion)
{
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->sent)
			return true;
	}
	return false;
}

bool
deletion_is_over(const GPtrArray *changes)
{
	for (guint i = 0; i < changes->len; i++) {
		const struct change *change = g_ptr_array_index(changes, i);
		if (change->outcome == CHANGE_PENDING)
			return false;
	}
	return true;
}

static uint32_t
mailbox_attrs(const struct deletion *deletion)
{
	struct mailbox_record record;
	struct cache_view *view = cache_view_begin(deletion->account->cache);
	uint32_t attrs = cache_mailbox_get(view, deletion->mailbox, &record) ? record.attrs : 0;
	cache_view_end(view);
	return attrs;
}

static bool
delete_by_policy(struct deletion *deletion, enum delete_policy policy, struct fault *fault)
{
	bool gmail = conn_has(deletion->conn, IMAP_CAP_GMAIL);
	bool have_trash = mailbox_find_trash(deletion->account, deletion->trash,
	                                     &deletion->trash_id);
	bool in_trash = have_trash && deletion->trash_id == deletion->mailbox;
	bool final = in_trash || (gmail && (mailbox_attrs(deletion) & IMAP_USE_JUNK) != 0);
	/* On Gmail \Deleted means something else outside of these two. */
	if (final || (policy != DELETE_TRASH && !gmail)) {
		struct seqset *set = deletion_pending(deletion, false);
		bool expunge = policy != DELETE_MARK || in_trash;
		bool ok = deletion_mark_and_expunge(deletion, set, expunge, fault);
		seqset_free(&set);
		return ok;
	}
	if (!have_trash) {
		struct fault refusal;
		if (!mailbox_create_trash(deletion->worker, deletion->trash, &refusal)) {
			if (!conn_alive(deletion->conn)) {
				*fault = refusal;
				return false;
			}
			refuse_all(deletion, &refusal);
			return true;
		}
	}
	if (conn_has(deletion->conn, IMAP_CAP_MOVE))
		return trash_move(deletion, fault);
	if (gmail) {
		struct fault refusal;
		fault_set(&refusal, FAULT_UNSUPPORTED, "Gmail without MOVE: nothing is deleted");
		refuse_all(deletion, &refusal);
		return true;
	}
	return trash_copy(deletion, fault);
}

/* Recorded while there was no line, or before one was lost. */
static bool
any_waited(const struct deletion *deletion)
{
	bool waited = false;
	g_mutex_lock(&deletion->account->lock);
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		waited |= change->meant_ns <= deletion->account->broke_ns;
	}
	g_mutex_unlock(&deletion->account->lock);
	return waited;
}

/* Servers that give a UID twice under one UIDVALIDITY would have another message deleted. */
static bool
check_waited(struct deletion *deletion, bool *left_r, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct seqset *set = deletion_pending(deletion, false);
	bool ok = true;
	if (!seqset_is_empty(set)) {
		struct imap_command *command = deletion_command(deletion, "UID FETCH", set);
		imap_command_raw(command, SYNC_KNOWN_ITEMS);
		deletion->checking = true;
		ok = conn_run(deletion->conn, command, &reply, fault);
		deletion->checking = false;
		conn_reply_clear(&reply);
	}
	seqset_free(&set);
	set = deletion_pending(deletion, false);
	*left_r = !seqset_is_empty(set);
	seqset_free(&set);
	return ok;
}

static bool
begin(struct deletion *deletion, bool *go_on_r, struct fault *fault)
{
	struct fault refusal = { 0 };
	*go_on_r = false;
	if (!line_select_current(deletion->worker, deletion->mailbox, &refusal)) {
		if (!conn_alive(deletion->conn)) {
			*fault = refusal;
			return false;
		}
		/* An internal error of the server's passes; the others don't. */
		if (refusal.kind == FAULT_REFUSED || refusal.kind == FAULT_BUSY) {
			*fault = refusal;
			return false;
		}
		refuse_all(deletion, &refusal);
		return true;
	}
	if (!deletion_is_meant(deletion))
		return true;
	if (conn_selected(deletion->conn)->read_only) {
		fault_set(&refusal, FAULT_READONLY, "the server has the mailbox read-only");
		refuse_all(deletion, &refusal);
	} else {
		*go_on_r = true;
		if (any_sent(deletion) && !deletion_drop_gone(deletion, go_on_r, fault))
			return false;
		if (*go_on_r && any_waited(deletion))
			return check_waited(deletion, go_on_r, fault);
	}
	return true;
}

bool
deletion_run(struct worker *worker, uint32_t mailbox, GPtrArray *changes, struct fault *fault)
{
	struct deletion deletion = {
		.worker = worker, .account = worker->account, .conn = worker->conn,
		.mailbox = mailbox, .changes = changes, .trash = g_string_new(NULL),
		.found = seqset_new(), .marked = seqset_new(),
	};
	const struct conn_handler handler = { .ctx = &deletion, .untagged = on_untagged,
		                              .skipped = on_skipped };
	const struct change *first = g_ptr_array_index(changes, 0);
	bool go_on;
	conn_set_handler(worker->conn, &handler);
	bool ok = begin(&deletion, &go_on, fault);
	if (ok && go_on)
		ok = delete_by_policy(&deletion, first->record.policy, fault);
	conn_set_handler(worker->conn, NULL);
	worker->synced = false;
	/* What is in the trash now is not what was listed of it. */
	g_mutex_lock(&worker->account->lock);
	if (deletion.trash_id != 0 && deletion.trash_id != mailbox)
		work_mbox(worker->account, deletion.trash_id)->dirty = true;
	g_mutex_unlock(&worker->account->lock);
	g_string_free(deletion.trash, TRUE);
	seqset_free(&deletion.found);
	seqset_free(&deletion.marked);
	return ok;
}
