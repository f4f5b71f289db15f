/* SPDX-License-Identifier: MIT */
/*
 * What the files of a sync share: sync.c (the course of it), ask.c (its
 * commands), listen.c (what comes of them), arrive.c (messages that are new here),
 * relatives.c (the mailboxes they may come from), renumber.c (a mailbox that got
 * another UIDVALIDITY). Private to mail/.
 */
#ifndef MAIL_SYNC_H
#define MAIL_SYNC_H

#include "mail/apply.h"
#include "mail/plan.h"

#define SYNC_CHUNK  500u  /* messages in a command, and in a batch */
#define SYNC_OCTETS 8000u /* of a set in a command */

enum sync_want { SYNC_WANT_ALL, SYNC_WANT_NO_HEADER, SYNC_WANT_FLAGS, SYNC_WANT_BODY,
	         SYNC_WANT_WHOLE_HEADER };

/* How far a sync goes. */
enum sync_depth {
	SYNC_DELTA,    /* what changed */
	SYNC_COMPARE,  /* everything is compared */
	SYNC_REMOVALS, /* what vanished, alone: another mailbox has news that depend on it */
};

/* One pass over one mailbox, by one worker. */
struct sync {
	struct worker *worker;
	struct account *account;
	uint32_t id, space;
	enum sync_depth depth;
	GString *raw;
	int64_t began_ns;
	/* What the index knows. */
	bool listed;
	uint64_t known_uidvalidity, known_modseq;
	uint32_t known_uidnext, known_messages, known_space;
	GString *known_mailboxid; /* "" for none */
	/* What the server says. */
	uint64_t uidvalidity;
	bool building;           /* the space is not the present one */
	bool resumed;            /* it was begun by an earlier sync */
	bool plainly;            /* without QRESYNC, which may have been refused for itself */
	bool missed;             /* flags were told that are not in the index */
	bool replaced;           /* the mailbox is another one, by its MAILBOXID */
	struct plan *plan;
	enum plan_ask asking;
	struct apply_batch *batch; /* flags, and additions that need not wait */
	struct apply_batch *held;  /* additions that wait for other mailboxes' removals, or NULL */
	unsigned differences;    /* COMPARE */
	unsigned others;         /* of those: UIDs that name other messages */
	bool rewound;            /* the server's numbers went back, so it is COMPARE */
	struct seqset *found;    /* of a SEARCH that is not the plan's, or NULL */
	/* Arrivals (arrive.c). */
	struct seqset *wanted;   /* asked for: not in the index */
	struct seqset *got;      /* of those: added */
	struct seqset *unsized;  /* of those: their size must be counted */
	GHashTable *sizes;       /* UID -> uint64_t, as counted */
	bool sizing;
	GHashTable *digests;     /* renumber.c: UID -> digest of its header section */
	GString *name;
};

/* --- sync.c ----------------------------------------------------------------------------- */

void sync_init(struct sync *sync, struct worker *worker, uint32_t id, enum sync_depth depth);
void sync_release(struct sync *sync);
/* One pass. *compare_due_r: a comparison of everything should follow. */
bool sync_pass(struct sync *sync, bool *compare_due_r, struct fault *fault);
/* Hands what was collected to the writer and begins a new batch. */
void sync_submit(struct sync *sync);

/* --- listen.c --------------------------------------------------------------------------- */

/* The index has a message under that UID: whether this is another one, by what the server tells of
 * size, date and header fields, which these items are. */
#define SYNC_KNOWN_ITEMS "(UID INTERNALDATE RFC822.SIZE " \
	"BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)])"
bool sync_is_another(const struct account *account, const struct message_record *record,
                     const struct imap_fetch *fetch);
/* What it hears goes to the plan and the batches. */
struct conn_handler sync_handler(struct sync *sync);

/* --- ask.c ------------------------------------------------------------------------------ */

/* All that the plan wants to know. False: the line is lost, or the mailbox was renumbered. */
bool sync_ask_all(struct sync *sync, struct fault *fault);
/* Which of a set are there, by UID SEARCH. *ok_r: OK. */
bool sync_search(struct sync *sync, const char *set, struct seqset *found, bool *ok_r,
                 struct fault *fault);
/* Fetches something of a set of messages in chunks, several commands under way. Those of chunks
 * that the server refuses are added to refused. False: the line is lost. */
bool sync_fetch(struct sync *sync, const struct seqset *set, enum sync_want want,
                struct seqset *refused, struct fault *fault);

/* --- arrive.c --------------------------------------------------------------------------- */

/* The items of a listing, as a command's argument. */
void arrive_items(const struct sync *sync, struct imap_command *command, bool header);
/* A FETCH response with items of a message that is not in the index; replaced: the index has
 * another one under that UID. */
void arrive_message(struct sync *sync, struct imap_fetch *fetch, bool replaced);
/* A FETCH response while sizes are counted. */
void arrive_size(struct sync *sync, const struct imap_fetch *fetch);
/* All of sync->wanted, whatever it takes: in chunks, in halves, one by one, without headers. */
bool arrive_fetch(struct sync *sync, struct fault *fault);
/* The same for what a first try has not given. */
bool arrive_rest(struct sync *sync, struct fault *fault);
/* Finds out once whether the server knows X-GUID, where it has no other id. */
bool arrive_probe_guid(struct sync *sync, struct fault *fault);

/* --- relatives.c ------------------------------------------------------------------------ */

/* Has the removals of mailboxes (ids, the table's keys) in the index, as of sync->began_ns. */
bool relatives_look(struct sync *sync, GHashTable *mailboxes, struct fault *fault);
/* Before a mailbox is listed for the first time, which shows messages as they come: the removals of
 * those in use that were not looked at lately. */
bool relatives_look_all(struct sync *sync, struct fault *fault);

/* --- renumber.c ------------------------------------------------------------------------- */

/* The new space is listed completely: who of the old one is who. Names, inode numbers and bodies
 * are carried over. gone: filled with the names that mean something else now. */
bool renumber_run(struct sync *sync, GPtrArray *gone, struct fault *fault);
/* A FETCH response with a whole header section. */
void renumber_header(struct sync *sync, const struct imap_fetch *fetch);
/* After the switch: tells who looks which names those are. */
void renumber_tell(struct sync *sync, const GPtrArray *gone);
void renumber_free_gone(gpointer gone);

#endif
