/* SPDX-License-Identifier: MIT */
/*
 * The generations of a mailbox's UIDs, each in a space of its own: see apply.h.
 * The number of one that is being built is kept beside the mailbox, so that a
 * listing that was cut off goes on where it was.
 */
#include "config.h"

#include <string.h>

#include "mail/apply.h"

struct building {
	uint64_t uidvalidity;
	uint64_t space;
	uint64_t other; /* hash of the MAILBOXID of another mailbox than the present one, or 0 */
};

static void
building_key(uint32_t mailbox, char key[40])
{
	g_snprintf(key, 40, "building %u", mailbox);
}

static bool
building_get(struct cache_view *view, uint32_t mailbox, struct building *building_r)
{
	struct octets value;
	char key[40];
	building_key(mailbox, key);
	if (!cache_meta_get(view, key, &value) || value.len != sizeof *building_r)
		return false;
	memcpy(building_r, value.data, sizeof *building_r);
	return true;
}

struct space {
	uint32_t mailbox, space;
	uint64_t uidvalidity;
	uint64_t other; /* see struct building */
};

static bool
space_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct space *space = data;
	struct cache_view *view = cache_txn_view(txn);
	struct mailbox_record mailbox;
	struct building building;
	char key[40];
	building_key(space->mailbox, key);
	if (!cache_mailbox_get(view, space->mailbox, &mailbox))
		return fault_set(fault, FAULT_GONE, "the mailbox was deleted meanwhile");
	space->space = mailbox.space;
	if (mailbox.space != 0 && mailbox.uidvalidity == space->uidvalidity && space->other == 0)
		return true;
	if (building_get(view, space->mailbox, &building)) {
		if (building.uidvalidity == space->uidvalidity && building.other == space->other &&
		    building.space != mailbox.space) {
			space->space = (uint32_t)building.space;
			return true;
		}
		/* One that came to nothing. */
		if (building.space != mailbox.space &&
		    !txn_space_retire(txn, (uint32_t)building.space, fault))
			return false;
	}
	if (!mailbox.listed && !txn_space_retire(txn, mailbox.space, fault))
		return false;
	if (!txn_space_alloc(txn, &space->space, fault))
		return false;
	building.uidvalidity = space->uidvalidity;
	building.space = space->space;
	building.other = space->other;
	if (!txn_meta_put(txn, key, &building, sizeof building, fault))
		return false;
	if (mailbox.listed)
		return true;
	/* Nothing is shown yet: what arrives shall be seen at once. */
	if (!cache_mailbox_get(view, space->mailbox, &mailbox))
		return false;
	mailbox.space = space->space;
	mailbox.uidvalidity = space->uidvalidity;
	mailbox.messages = 0;
	return txn_mailbox_put(txn, &mailbox, fault);
}

bool
apply_space(struct account *account, uint32_t mailbox, uint64_t uidvalidity, const char *other,
            uint32_t *space_r, struct fault *fault)
{
	unsigned hash = other != NULL ? g_str_hash(other) | 1u : 0;
	struct space space = { mailbox, 0, uidvalidity, hash };
	if (!cache_run(account->cache, space_run, &space, fault))
		return false;
	*space_r = space.space;
	return true;
}

bool
apply_space_is(struct cache_view *view, const struct mailbox_record *mailbox, uint32_t space)
{
	struct building building;
	return space == mailbox->space ||
	       (building_get(view, mailbox->id, &building) && building.space == space);
}

bool
apply_space_drop(struct cache_txn *txn, uint32_t mailbox, uint32_t space, struct fault *fault)
{
	struct building building;
	char key[40];
	building_key(mailbox, key);
	if (!building_get(cache_txn_view(txn), mailbox, &building))
		return txn_space_retire(txn, space, fault);
	/* The record is as good as none without its content. */
	return txn_space_retire(txn, space, fault) &&
	       txn_space_retire(txn, (uint32_t)building.space, fault) &&
	       txn_meta_put(txn, key, "", 0, fault);
}

/* --- a message of two generations -------------------------------------------------------- */

/* What the record has become in the generation that is being built. */
static void
follow(struct message_record *carried, const struct message_record *record)
{
	uint32_t mine = MESSAGE_HIDDEN | MESSAGE_PROBABLE;
	bool probable = (record->state & MESSAGE_PROBABLE) != 0;
	carried->state = (carried->state & ~mine) | (record->state & mine);
	carried->ino = record->ino;
	if (message_body_key(carried) == message_body_key(record)) {
		carried->prior = record->prior;
	} else {
		carried->prior = probable ? record->prior : message_body_key(record);
		carried->state |= MESSAGE_PROBABLE;
	}
}

bool
apply_message_put(struct cache_txn *txn, uint32_t mailbox, const struct message_record *record,
                  struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct message_record carried, changed = *record;
	struct building building;
	/* By value: what the strings point to may be gone after the first write. */
	if (!txn_message_put(txn, mailbox, record, fault))
		return false;
	if (!building_get(view, mailbox, &building) || building.space == changed.space ||
	    !cache_message_get(view, (uint32_t)building.space, changed.recno, &carried) ||
	    carried.ino == 0)
		return true;
	follow(&carried, &changed);
	return txn_message_put(txn, mailbox, &carried, fault);
}
