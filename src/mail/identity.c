/* SPDX-License-Identifier: MIT */
/* Who a message is: see identity.h. */
#include "config.h"

#include "mail/identity.h"

#include <string.h>

bool
identity_differs(const struct message_record *a, const struct message_record *b)
{
	static const unsigned char none[sizeof a->identity];
	if (a->told != 0 && b->told != 0 && a->told != b->told)
		return true;
	return memcmp(a->identity, none, sizeof none) != 0 &&
	       memcmp(b->identity, none, sizeof none) != 0 &&
	       memcmp(a->identity, b->identity, sizeof none) != 0;
}

bool
identity_alike(const struct message_record *a, const struct message_record *b)
{
	uint64_t a_told = a->told != 0 ? a->told : a->size;
	uint64_t b_told = b->told != 0 ? b->told : b->size;
	bool other_id = a->emailid[0] != '\0' && b->emailid[0] != '\0' &&
	                strcmp(a->emailid, b->emailid) != 0;
	return !other_id && a_told == b_told && a->mtime == b->mtime &&
	       memcmp(a->identity, b->identity, sizeof a->identity) == 0;
}

/* Those found in a generation that is no longer its mailbox's present one, and that live on nowhere
 * else, are buried now; they would be, a little later. */
static bool
bury_stale(struct cache_txn *txn, enum cache_ident kind, const struct message_record *like,
           struct fault *fault)
{
	struct cache_place places[CACHE_IDENT_MAX];
	struct cache_view *view = cache_txn_view(txn);
	unsigned count = cache_ident_find(view, kind, like, places, CACHE_IDENT_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct tomb_record tomb = { .mailbox = ROOT_MAILBOX };
		struct message_record present;
		struct inode_record inode;
		uint32_t mailbox;
		if (!cache_message_get(view, places[i].space, places[i].recno, &tomb.message) ||
		    tomb.message.ino == 0 ||
		    cache_message_by_ino(view, tomb.message.ino, &mailbox, &present))
			continue;
		if (cache_inode_get(view, tomb.message.ino, &inode))
			tomb.mailbox = inode.mailbox;
		if (!txn_message_bury(txn, &tomb, fault))
			return false;
	}
	return true;
}

static bool
revive(struct cache_txn *txn, const struct tomb_record *tomb, enum identity_kind kind,
       struct identity *identity, struct fault *fault)
{
	uint64_t ino = tomb->message.ino;
	identity->kind = kind;
	identity->ino = ino;
	identity->body = message_body_key(&tomb->message);
	if ((tomb->message.state & MESSAGE_PROBABLE) != 0)
		identity->prior = tomb->message.prior;
	else if (kind == IDENTITY_PROBABLE)
		identity->prior = identity->body;
	g_string_assign(identity->name, tomb->message.name);
	return txn_tomb_delete(txn, ino, fault);
}

/* Where it was moved to by us, or by its id. *found_r: that is settled. */
static bool
find_proven(struct cache_txn *txn, uint32_t mailbox, uint64_t uidvalidity,
            const struct message_record *record, struct identity *identity, bool *found_r,
            struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct cache_place places[CACHE_IDENT_MAX];
	struct message_record live;
	struct tomb_record tomb;
	uint64_t inos[CACHE_IDENT_MAX];
	*found_r = true;
	if (cache_tomb_by_place(view, mailbox, uidvalidity, record->uid, &inos[0]) &&
	    cache_tomb_get(view, inos[0], &tomb) && !identity_differs(&tomb.message, record))
		return revive(txn, &tomb, IDENTITY_MOVED, identity, fault);
	if (!bury_stale(txn, CACHE_IDENT_EMAILID, record, fault))
		return false;
	unsigned count = cache_tomb_find(view, CACHE_IDENT_EMAILID, record, inos, CACHE_IDENT_MAX);
	for (unsigned i = 0; i < count; i++)
		if (cache_tomb_get(view, inos[i], &tomb) &&
		    !identity_differs(&tomb.message, record))
			return revive(txn, &tomb, IDENTITY_MOVED, identity, fault);
	count = cache_ident_find(view, CACHE_IDENT_EMAILID, record, places, CACHE_IDENT_MAX);
	for (unsigned i = 0; i < count; i++) {
		if (!cache_message_get(view, places[i].space, places[i].recno, &live) ||
		    live.ino == 0 || identity_differs(&live, record))
			continue;
		identity->kind = IDENTITY_COPY;
		identity->body = message_body_key(&live);
		return true;
	}
	*found_r = false;
	return true;
}

/* By header fields, size and date: one candidate, or none at all. */
static bool
find_probable(struct cache_txn *txn, const struct message_record *record,
              struct identity *identity, struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct tomb_record tomb;
	uint64_t inos[CACHE_IDENT_MAX];
	uint64_t candidate = 0;
	unsigned alike = 0;
	if (!bury_stale(txn, CACHE_IDENT_HEADER, record, fault))
		return false;
	unsigned count = cache_tomb_find(view, CACHE_IDENT_HEADER, record, inos, CACHE_IDENT_MAX);
	for (unsigned i = 0; i < count; i++)
		if (cache_tomb_get(view, inos[i], &tomb) && identity_alike(&tomb.message, record)) {
			candidate = inos[i];
			alike++;
		}
	if (alike != 1 || count == CACHE_IDENT_MAX || !cache_tomb_get(view, candidate, &tomb))
		return true;
	return revive(txn, &tomb, IDENTITY_PROBABLE, identity, fault);
}

bool
identity_find(struct cache_txn *txn, uint32_t mailbox, uint64_t uidvalidity,
              const struct message_record *record, struct identity *identity,
              struct fault *fault)
{
	bool found;
	identity->kind = IDENTITY_NEW;
	identity->ino = identity->body = identity->prior = 0;
	g_string_truncate(identity->name, 0);
	/* What is buried on the way moves what the record points to. */
	struct message_record like = *record;
	char *emailid = g_strdup(record->emailid);
	like.emailid = emailid;
	bool ok = find_proven(txn, mailbox, uidvalidity, &like, identity, &found, fault) &&
	          (found || find_probable(txn, &like, identity, fault));
	g_free(emailid);
	return ok;
}

/* --- where it may have been ------------------------------------------------------------- */

static void
add_relatives(struct cache_view *view, enum cache_ident kind, const struct message_record *like,
              GHashTable *mailboxes)
{
	struct cache_place places[CACHE_IDENT_MAX];
	struct message_record other;
	uint32_t mailbox;
	unsigned count = cache_ident_find(view, kind, like, places, CACHE_IDENT_MAX);
	for (unsigned i = 0; i < count; i++)
		if (cache_message_get(view, places[i].space, places[i].recno, &other) &&
		    other.ino != 0 &&
		    (kind == CACHE_IDENT_EMAILID || identity_alike(&other, like)) &&
		    cache_message_by_ino(view, other.ino, &mailbox, &other))
			g_hash_table_add(mailboxes, GUINT_TO_POINTER(mailbox));
}

void
identity_relatives(struct cache_view *view, const struct message_record *record,
                   GHashTable *mailboxes)
{
	add_relatives(view, CACHE_IDENT_EMAILID, record, mailboxes);
	add_relatives(view, CACHE_IDENT_HEADER, record, mailboxes);
}
