/* SPDX-License-Identifier: MIT */
/*
 * What change.c (intents, the journal) and deletion.c (the commands that carry
 * them out) share. Private to mail/.
 */
#ifndef MAIL_DELETION_H
#define MAIL_DELETION_H

#include "mail/internal.h"

enum change_outcome {
	CHANGE_PENDING,  /* not yet known: to be tried again */
	CHANGE_REMOVED,  /* the message is no longer in its mailbox */
	CHANGE_FLAGGED,  /* it is there, marked \Deleted */
	CHANGE_DONE,     /* flags were stored */
	CHANGE_REFUSED,
};

/* An intent of the user's that is not yet on the server. Its worker's alone while it runs, but for
 * the record, which is disowned meanwhile: account->lock. */
struct change {
	struct journal_record record;
	enum change_outcome outcome;
	bool sent;              /* a command may have been carried out without an answer */
	int64_t meant_ns;       /* boottime when it was recorded; 0: before the start, or offline */
	bool copied;            /* its copy was seen in the trash */
	uint32_t target_uid;
	/* REMOVED: where COPYUID says it is now; place_uid 0: not told. */
	uint32_t place_mailbox, place_uid;
	uint64_t place_uidvalidity;
	/* Of the index, to recognise the copy. */
	bool known, has_identity;
	unsigned char identity[32];
	struct fault fault;     /* REFUSED */
};

/*
 * Deletes the messages of `changes` (struct change, all of one mailbox, UIDVALIDITY and policy) by
 * this order: a safe copy first, removal second, of only those UIDs. Sets the outcomes; false:
 * the connection was lost, those still PENDING are to be played again.
 */
bool deletion_run(struct worker *worker, uint32_t mailbox, GPtrArray *changes,
                  struct fault *fault);

/* None of them is pending. */
bool deletion_is_over(const GPtrArray *changes);

/* Writes the journal's records of changes as they are now. Waits. */
bool change_save(struct account *account, GPtrArray *changes, struct fault *fault);

#endif
