/* SPDX-License-Identifier: MIT */
/*
 * What deletion.c (by which policy, and the removal) and trash.c (the safe copy before it) share: a
 * deletion under way. Private to them.
 */
#ifndef MAIL_TRASH_H
#define MAIL_TRASH_H

#include "mail/deletion.h"

/* Of one mailbox, on one worker's connection. */
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
	bool checking;        /* FETCH responses are messages that the changes name */
	bool looking;         /* FETCH responses are messages in the trash */
	uint32_t look_from;
	struct seqset *marked; /* in the trash, with \Deleted */
};

/* --- deletion.c: steps. False: the connection was lost ------------------------------------- */

/* The UIDs of the changes that are still to be done; with `copied` only of those that have a copy.
 * To be freed. */
struct seqset *deletion_pending(const struct deletion *deletion, bool copied);
/* Of the pending ones that are in `uids`, or with members false of those that aren't. fault: kept
 * with each, or NULL. */
void deletion_set_outcome(struct deletion *deletion, const struct seqset *uids, bool members,
                          enum change_outcome outcome, const struct fault *fault);
/* "UID MOVE 17,19"; the caller adds the rest. */
struct imap_command *deletion_command(const struct deletion *deletion, const char *verb,
                                      const struct seqset *set);

/* Whether what is selected has the UIDVALIDITY that the changes have. If not all that are pending
 * are refused: their UIDs are other messages'. To be asked before each command that changes. */
bool deletion_is_meant(struct deletion *deletion);
bool deletion_select_source(struct deletion *deletion, struct fault *fault);
/* Which of the UIDs are still in the mailbox, in deletion->found; all, if the server gave no whole
 * answer. criterion: only those that match it too, or NULL. */
bool deletion_find_survivors(struct deletion *deletion, const struct seqset *set,
                             const char *criterion, struct fault *fault);
/* Those that are gone already are done. *left_r: whether any is not. */
bool deletion_drop_gone(struct deletion *deletion, bool *left_r, struct fault *fault);
/* UID STORE of \Deleted; item: "+FLAGS.SILENT" or "-FLAGS.SILENT". The reply is to be cleared. */
bool deletion_store_flag(struct deletion *deletion, const struct seqset *set, const char *item,
                         struct conn_reply *reply, struct fault *fault);
/* Marks and, unless that is all that is wanted, expunges exactly these. */
bool deletion_mark_and_expunge(struct deletion *deletion, const struct seqset *set, bool expunge,
                               struct fault *fault);

/* --- trash.c -------------------------------------------------------------------------------- */

/* All that is pending, by UID MOVE; what is then left, by trash_copy(). */
bool trash_move(struct deletion *deletion, struct fault *fault);
/* All that is pending: copied, and where the copy is certain removed; else refused. */
bool trash_copy(struct deletion *deletion, struct fault *fault);
/* A message in the trash: the copy of which change? */
void trash_match_copy(struct deletion *deletion, const struct imap_fetch *fetch);

#endif
