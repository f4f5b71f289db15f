/* SPDX-License-Identifier: MIT */
/*
 * A mailbox of as many messages as asked for, all made up: what a message is follows from
 * its UID, so that a million of them take 9 MB. 97 of 100 are \Seen, 5 \Answered, 1 \Flagged.
 *
 * All but box_fill() is called with the lock held.
 */
#ifndef BIGBOX_H
#define BIGBOX_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define UIDVALIDITY 1700000000u
#define BOX_FLAGS   5

enum { SEEN = 1, ANSWERED = 2, FLAGGED = 4, DELETED = 8, DRAFT = 16 };

extern const struct flag {
	const char *name, *key, *unkey; /* in SEARCH */
	unsigned bit;
} box_flags[BOX_FLAGS];

enum change_kind { ADDED, EXPUNGED, FLAGS_CHANGED };

struct change {
	enum change_kind kind;
	uint32_t uid;
};

/* The first messages have mod-sequence 1, the change log[i] has i + 2. */
extern struct box {
	GMutex lock;
	uint32_t uidnext, exists;
	uint64_t *gone;      /* a bit a UID */
	uint8_t *bits;       /* flags, a UID */
	uint32_t room;       /* UIDs that those two have room for */
	GArray *log;         /* struct change */
	GHashTable *touched; /* UID -> its mod-sequence, where it is not 1 */
	GPtrArray *wakeups;  /* event descriptors that are written to at each change */
} box;

void box_fill(uint32_t messages);
/* A message comes: its UID. The caller logs it. */
uint32_t box_add(void);
void log_change(enum change_kind kind, uint32_t uid);

bool is_gone(uint32_t uid);
/* How many messages there are below a UID. */
uint32_t count_below(uint32_t uid);
uint64_t modseq_of(uint32_t uid);
uint64_t highest_modseq(void);

/* "FLAGS (...)". */
void append_flags(GString *out, uint32_t uid);
/* One item of FETCH. False: it is not known. */
bool append_item(GString *out, uint32_t uid, const char *item);

/* The next word of *at, which is moved on: an atom, a string without its quotes, a list with its
 * parentheses. Brackets and lists may hold spaces. "" at the end. */
char *next_word(char **at);
/* The inside of a list; a word that is none as it is. */
char *inside(char *list);

struct range {
	uint32_t first, last;
};

/* Takes one range off a set of UIDs; `*` is the last one there is. False: none is left. */
bool next_range(char **at, struct range *range_r);
void append_range(GString *out, uint32_t first, uint32_t last);

#endif
