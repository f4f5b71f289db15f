/* SPDX-License-Identifier: MIT */
/*
 * Who a message is that turned up in a mailbox: one that stood elsewhere, by
 * proof (EMAILID, X-GM-MSGID, X-GUID, a COPYUID of our own) or probably (header
 * fields, size and INTERNALDATE), or a new one. A server's proof is none where it
 * tells itself that the two have other sizes or header fields.
 *
 * Identity serves reading alone: nothing is changed on the server by it.
 */
#ifndef MAIL_IDENTITY_H
#define MAIL_IDENTITY_H

#include <glib.h>

#include "cache/cache.h"

enum identity_kind {
	IDENTITY_NEW,      /* or in doubt */
	IDENTITY_COPY,     /* by proof what stands elsewhere: its body serves */
	IDENTITY_MOVED,    /* by proof what has vanished elsewhere */
	IDENTITY_PROBABLE, /* probably what has vanished elsewhere: its octets decide */
};

struct identity {
	enum identity_kind kind;
	uint64_t ino;   /* MOVED, PROBABLE: to be revived */
	uint64_t body;  /* COPY, MOVED: key of the body */
	uint64_t prior; /* PROBABLE, or MOVED before that was decided: key of the body before */
	GString *name;  /* MOVED, PROBABLE: the name it had, else empty */
};

/*
 * In the writer's thread. record: the message, not yet in the index, of that mailbox and
 * UIDVALIDITY. identity->name must be a string; the rest is set. What is revived is no longer
 * buried.
 */
bool identity_find(struct cache_txn *txn, uint32_t mailbox, uint64_t uidvalidity,
                   const struct message_record *record, struct identity *identity,
                   struct fault *fault);

/* The mailboxes (ids, added to the table as keys) that have messages which it may be: any
 * thread. */
void identity_relatives(struct cache_view *view, const struct message_record *record,
                        GHashTable *mailboxes);

/* What the server tells of the two shows that they are not one, whatever their ids or a COPYUID
 * say: their RFC822.SIZEs or their header fields differ. */
bool identity_differs(const struct message_record *a, const struct message_record *b);

/* Whether the second may be the first under another UID: no more than a candidate. */
bool identity_alike(const struct message_record *a, const struct message_record *b);

#endif
