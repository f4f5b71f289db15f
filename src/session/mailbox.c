/* SPDX-License-Identifier: MIT */
/*
 * The selected mailbox. What a SELECT tells is collected in conn->next and
 * becomes conn->mailbox at its tagged OK; afterwards conn->mailbox follows what
 * the server tells unasked.
 */
#include "config.h"

#include <string.h>

#include "session/internal.h"

/* The mailbox that is spoken of, or NULL. */
static struct conn_mailbox *
target(struct conn *conn)
{
	if (conn->selecting)
		return &conn->next;
	return conn->selected ? &conn->mailbox : NULL;
}

static void
expunged(struct conn_mailbox *mailbox, uint64_t count)
{
	uint32_t gone = (uint32_t)MIN(count, (uint64_t)mailbox->exists);
	mailbox->exists -= gone;
	mailbox->expunges += gone;
}

static void
note_vanished(struct conn_mailbox *mailbox, const struct imap_response *response)
{
	struct seqset *set = seqset_new();
	bool earlier = false;
	/* Those of EARLIER are no longer counted in EXISTS. */
	if (!imap_vanished_decode(response, set, &earlier))
		mailbox->expunges++; /* something has gone, whatever it was */
	else if (!earlier)
		expunged(mailbox, seqset_count(set));
	seqset_free(&set);
}

bool
mailbox_is_late(const struct conn *conn, const struct imap_response *response)
{
	if (!conn->await_closed)
		return false;
	enum imap_type type = imap_response_type(response);
	return type == IMAP_TYPE_FETCH || type == IMAP_TYPE_EXPUNGE || type == IMAP_TYPE_VANISHED ||
	       type == IMAP_TYPE_EXISTS;
}

void
mailbox_note(struct conn *conn, const struct imap_response *response)
{
	struct conn_mailbox *mailbox = target(conn);
	if (mailbox == NULL || mailbox_is_late(conn, response))
		return;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_EXISTS:
		if (mailbox->exists != response->number)
			mailbox->exists_changes++;
		mailbox->exists = response->number;
		break;
	case IMAP_TYPE_EXPUNGE:
		expunged(mailbox, 1);
		break;
	case IMAP_TYPE_VANISHED:
		note_vanished(mailbox, response);
		break;
	case IMAP_TYPE_FETCH:
		if (conn->handler.untagged == NULL)
			mailbox->fetches++;
		break;
	default:
		break;
	}
}

static void
note_uidvalidity(const struct conn *conn, struct conn_mailbox *mailbox, uint64_t number)
{
	if (!conn->selecting && mailbox->uidvalidity != number)
		mailbox->stale = true;
	mailbox->uidvalidity = number;
}

void
mailbox_note_code(struct conn *conn, const struct imap_response *response)
{
	struct conn_mailbox *mailbox = target(conn);
	enum imap_code code = imap_response_code(response);
	uint64_t number = 0;
	const char *id;
	struct imap_flags flags;
	if (mailbox == NULL)
		return;
	bool has_number = imap_code_number(response, &number);
	if (code == IMAP_CODE_CLOSED && conn->selecting) {
		/* All before was of the mailbox that is no longer selected. */
		bool read_only = conn->next.read_only;
		conn->next = (struct conn_mailbox){ .read_only = read_only };
		conn->await_closed = false;
	} else if (code == IMAP_CODE_UIDVALIDITY && has_number) {
		note_uidvalidity(conn, mailbox, number);
	} else if (code == IMAP_CODE_UIDNEXT && has_number && number <= UINT32_MAX) {
		mailbox->uidnext = MAX(mailbox->uidnext, (uint32_t)number);
	} else if (code == IMAP_CODE_HIGHESTMODSEQ && has_number && conn->selecting) {
		mailbox->highestmodseq = number;
	} else if (code == IMAP_CODE_NOMODSEQ) {
		mailbox->highestmodseq = 0;
	} else if (code == IMAP_CODE_READ_ONLY) {
		mailbox->read_only = true;
	} else if (code == IMAP_CODE_MAILBOXID && imap_code_id(response, &id)) {
		g_strlcpy(mailbox->mailboxid, id, sizeof mailbox->mailboxid);
	} else if (code == IMAP_CODE_PERMANENTFLAGS && imap_code_flags(response, &flags)) {
		mailbox->has_permanentflags = true;
		mailbox->permanentflags = flags.bits;
	}
}

static void
forget_mailbox(struct conn *conn)
{
	conn->selected = false;
	conn->mailbox = (struct conn_mailbox){0};
	g_free(conn->mailbox_name);
	conn->mailbox_name = NULL;
}

/* UIDs that a QRESYNC tells of must be told from those of the mailbox before: [CLOSED] does. */
static void
leave_before(struct conn *conn, const char *params)
{
	if (params != NULL && conn->selected)
		conn->await_closed = conn_enabled(conn, IMAP_CAP_QRESYNC);
}

static void
commit(struct conn *conn, const char *raw, size_t len)
{
	conn->mailbox = conn->next;
	conn->mailbox_name = g_malloc(len + 1);
	memcpy(conn->mailbox_name, raw, len);
	conn->mailbox_name[len] = '\0';
	conn->mailbox.name = conn->mailbox_name;
	conn->mailbox.name_len = len;
	/* The first count is no change. */
	conn->mailbox.exists_changes = conn->mailbox.expunges = conn->mailbox.fetches = 0;
	conn->selected = true;
}

/* *exists_r: it was refused because the mailbox exists. */
static bool
select_once(struct conn *conn, const char *raw, size_t len, bool examine, const char *params,
            bool *exists_r, struct fault *fault)
{
	const char *verb = examine ? "EXAMINE" : "SELECT";
	if (!conn_drain(conn))
		return conn_failed(conn, fault);
	leave_before(conn, params);
	struct imap_command *command = conn_command(conn, verb);
	imap_command_mailbox(command, raw, len);
	if (params != NULL)
		imap_command_raw(command, params);
	struct conn_reply reply = {0};
	*exists_r = false;
	conn->next = (struct conn_mailbox){ .read_only = examine };
	conn->selecting = true;
	forget_mailbox(conn);
	bool ok = conn_run(conn, command, &reply, fault);
	conn->selecting = false;
	if (ok && reply.status != IMAP_STATUS_OK) {
		conn->await_closed = false;
		*exists_r = reply.code == IMAP_CODE_ALREADYEXISTS;
		ok = conn_reply_fault(&reply, fault, "%s", verb);
	} else if (ok && conn->await_closed) {
		conn_ban(conn, IMAP_CAP_QRESYNC);
		conn_fail_with(conn, FAULT_PROTOCOL,
			       "%s did not tell when the old mailbox was closed", verb);
		ok = conn_failed(conn, fault);
	} else if (ok) {
		commit(conn, raw, len);
	}
	conn_reply_clear(&reply);
	return ok;
}

bool
conn_select(struct conn *conn, const char *raw, size_t len, bool examine, const char *params,
            struct fault *fault)
{
	bool exists = false;
	bool ok = select_once(conn, raw, len, examine, params, &exists, fault);
	/* Dovecot makes its "auto" mailboxes when they are first opened; of two connections that
	 * do that at once it refuses one. */
	if (!ok && exists)
		ok = select_once(conn, raw, len, examine, params, &exists, fault);
	return ok;
}

const struct conn_mailbox *
conn_selected(const struct conn *conn)
{
	return conn->selected ? &conn->mailbox : NULL;
}

const struct conn_mailbox *
conn_selecting(const struct conn *conn)
{
	return conn->selecting ? &conn->next : NULL;
}

bool
conn_unselect(struct conn *conn, struct fault *fault)
{
	if (!conn->selected || !conn_has(conn, IMAP_CAP_UNSELECT))
		return true;
	struct conn_reply reply = {0};
	if (!conn_run(conn, conn_command(conn, "UNSELECT"), &reply, fault))
		return false;
	bool ok = conn_reply_fault(&reply, fault, "UNSELECT");
	if (ok)
		forget_mailbox(conn);
	conn_reply_clear(&reply);
	return ok;
}
