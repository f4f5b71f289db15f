/* SPDX-License-Identifier: MIT */
/*
 * Deleting messages on the server: see deletion.h.
 *
 *     trash     UID MOVE; or UID COPY, and for those whose copy is certain, as below
 *     expunge   UID STORE +FLAGS.SILENT (\Deleted), UID EXPUNGE
 *     mark      the STORE alone
 *
 * Never sent: EXPUNGE without UIDs and CLOSE, which take other clients' marked messages too. An
 * answer that was lost is made up for by looking: which messages are still there, and which have a
 * copy in the trash that was not there before.
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "mail/deletion.h"

struct deletion {
	struct worker *worker;
	struct account *account;
	struct conn *conn;
	uint32_t mailbox;
	GPtrArray *changes;
	GString *trash;
	uint32_t trash_id;
	/* What responses told. */
	struct seqset *found;
	bool unreadable;      /* an answer to a SEARCH could not be read: `found` is not all */
	bool has_status;
	uint64_t status_uidvalidity;
	uint32_t status_uidnext;
	bool looking;         /* FETCH responses are messages in the trash */
	uint32_t look_from;
	struct seqset *marked; /* in the trash, with \Deleted */
};

/* --- listening --------------------------------------------------------------------------- */

/* A message in the trash: the copy of which change? */
static void
match_copy(struct deletion *deletion, const struct imap_fetch *fetch)
{
	unsigned char identity[32];
	GString *name = g_string_new(NULL);
	deletion->account->config.namer.from_header(fetch->header, fetch->header_len,
	                                            fetch->has_internaldate ? fetch->internaldate
	                                                                    : INT64_MIN,
	                                            name, identity);
	g_string_free(name, TRUE);
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->copied || change->outcome != CHANGE_PENDING || !change->has_identity ||
		    memcmp(change->identity, identity, sizeof identity) != 0)
			continue;
		change->copied = true;
		change->target_uid = fetch->uid;
		if (fetch->has_flags && (fetch->flags.bits & IMAP_FLAG_DELETED) != 0)
			seqset_add(deletion->marked, fetch->uid);
		return;
	}
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
	case IMAP_TYPE_STATUS:
		if (imap_status_decode(response, &status) && status.has_uidnext &&
		    status.has_uidvalidity) {
			deletion->has_status = true;
			deletion->status_uidnext = status.uidnext;
			deletion->status_uidvalidity = status.uidvalidity;
		}
		break;
	case IMAP_TYPE_FETCH:
		if (deletion->looking && imap_fetch_decode(response, &fetch) &&
		    fetch.uid >= deletion->look_from && fetch.header != NULL)
			match_copy(deletion, &fetch);
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

/* The UIDs of the changes that are still to be done; with `copied` only of those. */
static struct seqset *
pending_uids(const struct deletion *deletion, bool copied)
{
	struct seqset *set = seqset_new();
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome == CHANGE_PENDING && (!copied || change->copied))
			seqset_add(set, change->record.uid);
	}
	return set;
}

static void
set_outcome(struct deletion *deletion, const struct seqset *uids, bool members,
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
	struct seqset *set = pending_uids(deletion, false);
	set_outcome(deletion, set, true, CHANGE_REFUSED, fault);
	seqset_free(&set);
}

static char *
set_text(const struct seqset *set)
{
	GString *text = g_string_new(NULL);
	seqset_format(set, text);
	return g_string_free(text, FALSE);
}

static struct imap_command *
uid_command(const struct deletion *deletion, const char *verb, const struct seqset *set)
{
	char *text = set_text(set);
	struct imap_command *command = conn_command(deletion->conn, verb);
	imap_command_set(command, text);
	g_free(text);
	return command;
}

/* --- single steps ------------------------------------------------------------------------- */

static bool
select_source(struct deletion *deletion, struct fault *fault)
{
	return worker_select(deletion->worker, deletion->mailbox, true, false, fault);
}

/* Which of the UIDs are still in the mailbox: in deletion->found. */
static bool
find_survivors(struct deletion *deletion, const struct seqset *set, const char *criterion,
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

/* Those that are gone already are done. *left_r: whether any is not. */
static bool
drop_gone(struct deletion *deletion, bool *left_r, struct fault *fault)
{
	struct seqset *set = pending_uids(deletion, false);
	*left_r = false;
	bool ok = seqset_is_empty(set) || find_survivors(deletion, set, NULL, fault);
	if (ok && !seqset_is_empty(set))
		set_outcome(deletion, deletion->found, false, CHANGE_REMOVED, NULL);
	seqset_free(&set);
	set = pending_uids(deletion, false);
	*left_r = !seqset_is_empty(set);
	seqset_free(&set);
	return ok;
}

static bool
store_flag(struct deletion *deletion, const struct seqset *set, const char *item,
           struct conn_reply *reply, struct fault *fault)
{
	struct imap_command *command = uid_command(deletion, "UID STORE", set);
	imap_command_raw(command, item);
	imap_command_open(command);
	imap_command_flag(command, "\\Deleted");
	imap_command_close(command);
	return conn_run(deletion->conn, command, reply, fault);
}

/* Marks and, unless that is all that is wanted, expunges exactly these. */
static bool
mark_and_expunge(struct deletion *deletion, const struct seqset *set, bool expunge,
                 struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	bool left, removed = false;
	bool ok = store_flag(deletion, set, "+FLAGS.SILENT", &reply, fault);
	if (ok && !conn_reply_fault(&reply, &refusal, "marking messages as deleted")) {
		conn_reply_clear(&reply);
		if (!drop_gone(deletion, &left, fault))
			return false;
		set_outcome(deletion, set, true, CHANGE_REFUSED, &refusal);
		return true;
	}
	if (ok && expunge && conn_has(deletion->conn, IMAP_CAP_UIDPLUS)) {
		ok = conn_run(deletion->conn, uid_command(deletion, "UID EXPUNGE", set), &reply,
		              fault);
		removed = ok && reply.status == IMAP_STATUS_OK;
		if (ok && !removed)
			log_warn("UID EXPUNGE was refused (%s): the messages stay marked \\Deleted",
			         reply.text);
	}
	conn_reply_clear(&reply);
	if (ok)
		set_outcome(deletion, set, true, removed ? CHANGE_REMOVED : CHANGE_FLAGGED, NULL);
	return ok;
}

/* --- the trash ---------------------------------------------------------------------------- */

static bool
ask_trash_status(struct deletion *deletion, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct imap_command *command = conn_command(deletion->conn, "STATUS");
	imap_command_mailbox(command, deletion->trash->str, deletion->trash->len);
	imap_command_raw(command, "(UIDNEXT UIDVALIDITY)");
	deletion->has_status = false;
	bool ok = conn_run(deletion->conn, command, &reply, fault);
	conn_reply_clear(&reply);
	return ok;
}

/* Writes down, durably, that copies may be on their way, and what the trash held before. */
static bool
note_copying(struct deletion *deletion, struct fault *fault)
{
	if (!ask_trash_status(deletion, fault))
		return false;
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome != CHANGE_PENDING || change->copied)
			continue;
		change->record.state = JOURNAL_COPYING;
		change->record.target_uidvalidity =
			deletion->has_status ? deletion->status_uidvalidity : 0;
		change->record.target_uidnext = deletion->has_status ? deletion->status_uidnext : 0;
		change->sent = true;
	}
	return change_save(deletion->account, deletion->changes, fault);
}

/* Looks for copies among what came into the trash since `from`. Selects another mailbox. */
static bool
look_in_trash(struct deletion *deletion, uint64_t uidvalidity, uint32_t from, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal;
	char set[24];
	deletion->worker->selected = 0;
	if (!conn_select(deletion->conn, deletion->trash->str, deletion->trash->len, true, NULL,
	                 &refusal)) {
		if (!conn_alive(deletion->conn))
			*fault = refusal;
		return conn_alive(deletion->conn);
	}
	if (conn_selected(deletion->conn)->uidvalidity != uidvalidity ||
	    conn_selected(deletion->conn)->exists == 0)
		return true;
	g_snprintf(set, sizeof set, "%u:*", MAX(from, 1));
	struct imap_command *command = conn_command(deletion->conn, "UID FETCH");
	imap_command_set(command, set);
	imap_command_raw(command, "(UID FLAGS INTERNALDATE RFC822.SIZE "
	                          "BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)])");
	deletion->looking = true;
	deletion->look_from = from;
	bool ok = conn_run(deletion->conn, command, &reply, fault);
	deletion->looking = false;
	conn_reply_clear(&reply);
	return ok;
}

/* A copy that carried \Deleted along would be expunged with the next one's mail. */
static bool
unmark_copies(struct deletion *deletion, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal;
	if (seqset_is_empty(deletion->marked))
		return true;
	deletion->worker->selected = 0;
	if (!conn_select(deletion->conn, deletion->trash->str, deletion->trash->len, false, NULL,
	                 &refusal)) {
		if (!conn_alive(deletion->conn))
			*fault = refusal;
		return conn_alive(deletion->conn);
	}
	bool ok = store_flag(deletion, deletion->marked, "-FLAGS.SILENT", &reply, fault);
	conn_reply_clear(&reply);
	return ok;
}

/* moved: they are gone here, if they are; else there is a copy. */
static void
take_copyuid(struct deletion *deletion, const struct conn_copyuid *copyuid, bool moved)
{
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		for (unsigned j = 0; j < copyuid->count; j++)
			if (copyuid->source[j] == change->record.uid) {
				change->place_mailbox = deletion->trash_id;
				change->place_uidvalidity = copyuid->uidvalidity;
				change->place_uid = copyuid->dest[j];
				if (moved)
					continue;
				change->copied = true;
				change->target_uid = copyuid->dest[j];
				/* It was marked in the mailbox when it was copied. */
				if (seqset_contains(deletion->found, change->record.uid))
					seqset_add(deletion->marked, copyuid->dest[j]);
			}
	}
}

static bool
wants_trash(const struct conn_reply *reply)
{
	return reply->status == IMAP_STATUS_NO &&
	       (reply->code == IMAP_CODE_TRYCREATE || reply->code == IMAP_CODE_NONEXISTENT);
}

/* UID COPY of what has no copy yet, in ever smaller parts where the server refuses. */
static bool
copy_rest(struct deletion *deletion, const struct seqset *set, bool may_create, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	if (!find_survivors(deletion, set, "DELETED", fault))
		return false;
	struct imap_command *command = uid_command(deletion, "UID COPY", set);
	imap_command_mailbox(command, deletion->trash->str, deletion->trash->len);
	if (!conn_run(deletion->conn, command, &reply, fault))
		return false;
	bool ok = true;
	bool done = conn_reply_fault(&reply, &refusal, "copying to the trash");
	bool create = !done && may_create && wants_trash(&reply);
	if (done && reply.copyuid.count > 0)
		take_copyuid(deletion, &reply.copyuid, false);
	conn_reply_clear(&reply);
	if (done)
		return true;
	if (create) {
		if (!mailbox_create_trash(deletion->worker, deletion->trash, &refusal)) {
			if (!conn_alive(deletion->conn)) {
				*fault = refusal;
				return false;
			}
		} else {
			return copy_rest(deletion, set, false, fault);
		}
	}
	if (seqset_count(set) == 1) {
		set_outcome(deletion, set, true, CHANGE_REFUSED, &refusal);
		return true;
	}
	GString *text = g_string_new(NULL);
	uint32_t cursor = 0;
	while (ok && seqset_next_chunk(set, &cursor, (seqset_count(set) + 1) / 2, 8000, text)) {
		struct seqset *half = seqset_new();
		seqset_parse(half, text->str, text->len, 0);
		ok = copy_rest(deletion, half, false, fault);
		seqset_free(&half);
		g_string_truncate(text, 0);
	}
	g_string_free(text, TRUE);
	return ok;
}

/* Those that may have been copied before the answer was lost. */
static bool
find_earlier_copies(struct deletion *deletion, struct fault *fault)
{
	bool looked = false;
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome != CHANGE_PENDING || change->copied ||
		    change->record.state != JOURNAL_COPYING || change->record.target_uidnext == 0)
			continue;
		/* All of a batch were noted together; the least number covers the others. */
		if (looked)
			continue;
		looked = true;
		if (!look_in_trash(deletion, change->record.target_uidvalidity,
		                   change->record.target_uidnext, fault))
			return false;
	}
	return true;
}

static void
refuse_uncopied(struct deletion *deletion)
{
	struct fault fault;
	fault_set(&fault, FAULT_REFUSED, "the server gave no sign of a copy in the trash: the "
	          "message stays where it is");
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->outcome == CHANGE_PENDING && !change->copied) {
			change->outcome = CHANGE_REFUSED;
			change->fault = fault;
		}
	}
}

static bool
copy_to_trash(struct deletion *deletion, struct fault *fault)
{
	bool left;
	if (!find_earlier_copies(deletion, fault) || !select_source(deletion, fault) ||
	    !drop_gone(deletion, &left, fault))
		return false;
	struct seqset *rest = pending_uids(deletion, false), *have = pending_uids(deletion, true);
	seqset_subtract(rest, have);
	bool ok = true;
	if (!seqset_is_empty(rest)) {
		ok = note_copying(deletion, fault) && copy_rest(deletion, rest, true, fault);
		seqset_free(&have);
		have = pending_uids(deletion, true);
		seqset_subtract(rest, have);
		/* No COPYUID: the copies are looked for. */
		if (ok && !seqset_is_empty(rest) && deletion->has_status)
			ok = look_in_trash(deletion, deletion->status_uidvalidity,
			                   deletion->status_uidnext, fault);
	}
	seqset_free(&rest);
	seqset_free(&have);
	ok = ok && unmark_copies(deletion, fault) && select_source(deletion, fault) &&
	     drop_gone(deletion, &left, fault);
	if (!ok)
		return false;
	refuse_uncopied(deletion);
	have = pending_uids(deletion, true);
	if (!seqset_is_empty(have))
		ok = mark_and_expunge(deletion, have, true, fault);
	seqset_free(&have);
	return ok;
}

/* UID MOVE of these; what the server refuses is tried in ever smaller parts. */
static bool
move_part(struct deletion *deletion, const struct seqset *set, bool may_create,
          struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	unsigned before = conn_selected(deletion->conn)->expunges;
	struct imap_command *command = uid_command(deletion, "UID MOVE", set);
	imap_command_mailbox(command, deletion->trash->str, deletion->trash->len);
	if (!conn_run(deletion->conn, command, &reply, fault))
		return false;
	bool moved = conn_reply_fault(&reply, &refusal, "moving to the trash");
	bool create = may_create && wants_trash(&reply);
	bool bad = reply.status == IMAP_STATUS_BAD;
	if (moved)
		take_copyuid(deletion, &reply.copyuid, true);
	conn_reply_clear(&reply);
	if (moved && conn_selected(deletion->conn)->expunges - before >= seqset_count(set)) {
		set_outcome(deletion, set, true, CHANGE_REMOVED, NULL);
		deletion->account->move_trusted = true;
		return true;
	}
	/* Which are gone is what counts. */
	if (!find_survivors(deletion, set, NULL, fault))
		return false;
	struct seqset *left = seqset_copy(set), *gone = seqset_copy(set);
	seqset_intersect(left, deletion->found);
	seqset_subtract(gone, deletion->found);
	set_outcome(deletion, gone, true, CHANGE_REMOVED, NULL);
	bool ok = true;
	if (seqset_is_empty(left)) {
		;
	} else if (moved || bad) {
		log_warn("MOVE does not do what it says here: messages are copied from now on");
		conn_ban(deletion->conn, IMAP_CAP_MOVE);
	} else if (create && mailbox_create_trash(deletion->worker, deletion->trash, &refusal)) {
		ok = move_part(deletion, left, false, fault);
	} else if (!conn_alive(deletion->conn)) {
		*fault = refusal;
		ok = false;
	} else if (seqset_count(left) == 1 || refusal.kind != FAULT_REFUSED) {
		set_outcome(deletion, left, true, CHANGE_REFUSED, &refusal);
	} else {
		GString *text = g_string_new(NULL);
		uint32_t cursor = 0;
		while (ok && seqset_next_chunk(left, &cursor, (seqset_count(left) + 1) / 2, 8000,
		                               text)) {
			struct seqset *half = seqset_new();
			seqset_parse(half, text->str, text->len, 0);
			ok = move_part(deletion, half, false, fault);
			seqset_free(&half);
			g_string_truncate(text, 0);
		}
		g_string_free(text, TRUE);
	}
	seqset_free(&left);
	seqset_free(&gone);
	return ok;
}

static bool
move_to_trash(struct deletion *deletion, struct fault *fault)
{
	bool left = true;
	/* Until a MOVE was seen to work, what the trash held before is written down: should it turn
	 * out to have copied without removing, the copies are found. */
	if (!deletion->account->move_trusted && !note_copying(deletion, fault))
		return false;
	struct seqset *set = pending_uids(deletion, false);
	for (guint i = 0; i < deletion->changes->len; i++)
		((struct change *)g_ptr_array_index(deletion->changes, i))->sent = true;
	bool ok = move_part(deletion, set, true, fault);
	seqset_free(&set);
	set = pending_uids(deletion, false);
	left = !seqset_is_empty(set);
	seqset_free(&set);
	if (ok && left)
		ok = copy_to_trash(deletion, fault);
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
		struct seqset *set = pending_uids(deletion, false);
		bool expunge = policy != DELETE_MARK || in_trash;
		bool ok = mark_and_expunge(deletion, set, expunge, fault);
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
		return move_to_trash(deletion, fault);
	if (gmail) {
		struct fault refusal;
		fault_set(&refusal, FAULT_UNSUPPORTED, "Gmail without MOVE: nothing is deleted");
		refuse_all(deletion, &refusal);
		return true;
	}
	return copy_to_trash(deletion, fault);
}

static bool
begin(struct deletion *deletion, bool *go_on_r, struct fault *fault)
{
	struct fault refusal = { 0 };
	const struct change *first = g_ptr_array_index(deletion->changes, 0);
	*go_on_r = false;
	if (!select_source(deletion, &refusal)) {
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
	const struct conn_mailbox *mailbox = conn_selected(deletion->conn);
	if (mailbox->uidvalidity != first->record.uidvalidity) {
		fault_set(&refusal, FAULT_GONE, "the mailbox was renumbered by the server before "
		          "the deletion reached it");
		refuse_all(deletion, &refusal);
	} else if (mailbox->read_only) {
		fault_set(&refusal, FAULT_READONLY, "the server has the mailbox read-only");
		refuse_all(deletion, &refusal);
	} else {
		*go_on_r = true;
		if (any_sent(deletion))
			return drop_gone(deletion, go_on_r, fault);
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
