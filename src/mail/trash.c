/* SPDX-License-Identifier: MIT */
/*
 * Messages into the trash: see trash.h.
 *
 *     UID MOVE 17,19 Trash        what is gone afterwards was moved
 *     UID COPY 17,19 Trash        by COPYUID, or by looking: which have a copy that was not there
 *                                 before; those alone are marked and expunged
 *
 * Before a command that may copy, the journal gets the trash's UIDVALIDITY and UIDNEXT, so that
 * copies whose answer was lost are found and not made again.
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "mail/trash.h"

/* --- recognising copies ------------------------------------------------------------------- */

/* An earlier look may have shown it. */
static bool
is_taken(const struct deletion *deletion, uint32_t uid)
{
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		if (change->copied && change->target_uid == uid)
			return true;
	}
	return false;
}

/* The first of that outcome which has no copy yet and the same header fields; NULL: none. One that
 * went without our sending anything has none of ours. */
static struct change *
without_copy(struct deletion *deletion, enum change_outcome outcome,
             const unsigned char identity[32])
{
	for (guint i = 0; i < deletion->changes->len; i++) {
		struct change *change = g_ptr_array_index(deletion->changes, i);
		if (!change->copied && change->outcome == outcome && change->has_identity &&
		    (change->sent || outcome != CHANGE_REMOVED) &&
		    memcmp(change->identity, identity, sizeof change->identity) == 0)
			return change;
	}
	return NULL;
}

void
trash_match_copy(struct deletion *deletion, const struct imap_fetch *fetch)
{
	unsigned char identity[32];
	if (is_taken(deletion, fetch->uid))
		return;
	GString *name = g_string_new(NULL);
	deletion->account->config.namer.from_header(fetch->header, fetch->header_len,
	                                            fetch->has_internaldate ? fetch->internaldate
	                                                                    : INT64_MIN,
	                                            name, identity);
	g_string_free(name, TRUE);
	/* It may be what was moved already: that one's twin needs a copy of its own. */
	struct change *change = without_copy(deletion, CHANGE_REMOVED, identity);
	if (change == NULL)
		change = without_copy(deletion, CHANGE_PENDING, identity);
	if (change == NULL)
		return;
	change->copied = true;
	change->target_uid = fetch->uid;
	if (fetch->has_flags && (fetch->flags.bits & IMAP_FLAG_DELETED) != 0)
		seqset_add(deletion->marked, fetch->uid);
}

/* --- what it holds ----------------------------------------------------------------------- */

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
	g_mutex_lock(&deletion->account->lock);
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
	g_mutex_unlock(&deletion->account->lock);
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
	bool ok = deletion_store_flag(deletion, deletion->marked, "-FLAGS.SILENT", &reply, fault);
	conn_reply_clear(&reply);
	return ok;
}

/* --- UID COPY ----------------------------------------------------------------------------- */

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

typedef bool part_run(struct deletion *deletion, const struct seqset *set, bool may_create,
                      struct fault *fault);

/* What the server refused together, in two parts. */
static bool
in_halves(struct deletion *deletion, const struct seqset *set, part_run *run, struct fault *fault)
{
	GString *text = g_string_new(NULL);
	uint32_t cursor = 0;
	bool ok = true;
	while (ok && seqset_next_chunk(set, &cursor, (seqset_count(set) + 1) / 2, 8000, text)) {
		struct seqset *half = seqset_new();
		seqset_parse(half, text->str, text->len, 0);
		ok = run(deletion, half, false, fault);
		seqset_free(&half);
		g_string_truncate(text, 0);
	}
	g_string_free(text, TRUE);
	return ok;
}

/* UID COPY of what has no copy yet, in ever smaller parts where the server refuses. */
static bool
copy_rest(struct deletion *deletion, const struct seqset *set, bool may_create, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	if (!deletion_find_survivors(deletion, set, "DELETED", fault))
		return false;
	if (!deletion_is_meant(deletion))
		return true;
	struct imap_command *command = deletion_command(deletion, "UID COPY", set);
	imap_command_mailbox(command, deletion->trash->str, deletion->trash->len);
	if (!conn_run(deletion->conn, command, &reply, fault))
		return false;
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
		deletion_set_outcome(deletion, set, true, CHANGE_REFUSED, &refusal);
		return true;
	}
	return in_halves(deletion, set, copy_rest, fault);
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

bool
trash_copy(struct deletion *deletion, struct fault *fault)
{
	bool left;
	if (!find_earlier_copies(deletion, fault) || !deletion_select_source(deletion, fault) ||
	    !deletion_drop_gone(deletion, &left, fault))
		return false;
	struct seqset *rest = deletion_pending(deletion, false);
	struct seqset *have = deletion_pending(deletion, true);
	seqset_subtract(rest, have);
	bool ok = true;
	if (!seqset_is_empty(rest)) {
		ok = note_copying(deletion, fault) && copy_rest(deletion, rest, true, fault);
		seqset_free(&have);
		have = deletion_pending(deletion, true);
		seqset_subtract(rest, have);
		/* No COPYUID: the copies are looked for. */
		if (ok && !seqset_is_empty(rest) && deletion->has_status)
			ok = look_in_trash(deletion, deletion->status_uidvalidity,
			                   deletion->status_uidnext, fault);
	}
	seqset_free(&rest);
	seqset_free(&have);
	ok = ok && unmark_copies(deletion, fault) && deletion_select_source(deletion, fault) &&
	     deletion_drop_gone(deletion, &left, fault);
	if (!ok)
		return false;
	refuse_uncopied(deletion);
	have = deletion_pending(deletion, true);
	if (!seqset_is_empty(have))
		ok = deletion_mark_and_expunge(deletion, have, true, fault);
	seqset_free(&have);
	return ok;
}

/* --- UID MOVE ----------------------------------------------------------------------------- */

/* UID MOVE of these; what the server refuses is tried in ever smaller parts. */
static bool
move_part(struct deletion *deletion, const struct seqset *set, bool may_create,
          struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault refusal = { 0 };
	if (!deletion_is_meant(deletion))
		return true;
	unsigned before = conn_selected(deletion->conn)->expunges;
	struct imap_command *command = deletion_command(deletion, "UID MOVE", set);
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
		deletion_set_outcome(deletion, set, true, CHANGE_REMOVED, NULL);
		g_mutex_lock(&deletion->account->lock);
		deletion->account->move_trusted = true;
		g_mutex_unlock(&deletion->account->lock);
		return true;
	}
	/* Which are gone is what counts. */
	if (!deletion_find_survivors(deletion, set, NULL, fault))
		return false;
	struct seqset *left = seqset_copy(set), *gone = seqset_copy(set);
	seqset_intersect(left, deletion->found);
	seqset_subtract(gone, deletion->found);
	deletion_set_outcome(deletion, gone, true, CHANGE_REMOVED, NULL);
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
		deletion_set_outcome(deletion, left, true, CHANGE_REFUSED, &refusal);
	} else {
		ok = in_halves(deletion, left, move_part, fault);
	}
	seqset_free(&left);
	seqset_free(&gone);
	return ok;
}

/* Whether an earlier MOVE, whose answer was lost, has copied what is still there. */
static bool
find_halfway(struct deletion *deletion, bool *any_r, struct fault *fault)
{
	bool noted = false;
	*any_r = false;
	for (guint i = 0; i < deletion->changes->len; i++) {
		const struct change *change = g_ptr_array_index(deletion->changes, i);
		noted |= change->outcome == CHANGE_PENDING &&
		         change->record.state == JOURNAL_COPYING;
	}
	if (!noted)
		return true;
	if (!find_earlier_copies(deletion, fault) || !deletion_select_source(deletion, fault))
		return false;
	struct seqset *set = deletion_pending(deletion, true);
	*any_r = !seqset_is_empty(set);
	seqset_free(&set);
	return true;
}

bool
trash_move(struct deletion *deletion, struct fault *fault)
{
	bool left = true, halfway;
	/* Before what was written down is overwritten. */
	if (!find_halfway(deletion, &halfway, fault))
		return false;
	if (halfway)
		return trash_copy(deletion, fault);
	/* Until a MOVE was seen to work, what the trash held before is written down: should it turn
	 * out to have copied without removing, the copies are found. */
	g_mutex_lock(&deletion->account->lock);
	bool trusted = deletion->account->move_trusted;
	g_mutex_unlock(&deletion->account->lock);
	if (!trusted && !note_copying(deletion, fault))
		return false;
	struct seqset *set = deletion_pending(deletion, false);
	for (guint i = 0; i < deletion->changes->len; i++)
		((struct change *)g_ptr_array_index(deletion->changes, i))->sent = true;
	bool ok = move_part(deletion, set, true, fault);
	seqset_free(&set);
	set = deletion_pending(deletion, false);
	left = !seqset_is_empty(set);
	seqset_free(&set);
	if (ok && left)
		ok = trash_copy(deletion, fault);
	return ok;
}
