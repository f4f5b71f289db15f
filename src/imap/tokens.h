/* SPDX-License-Identifier: MIT */
/*
 * The tree of a response's arguments, built token by token (used by the parser alone). It is
 * given one line after another, without their line ends; where a line ends in the announcement of a
 * literal, reading stops, and goes on with the next line in the same list.
 *
 * Items of lists that are still open wait on one stack; a list that closes moves its items to the
 * arena. So nothing is allocated a token but its text, and nothing needs freeing.
 */
#ifndef IMAP_TOKENS_H
#define IMAP_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/parser.h"

struct tokens {
	struct arena *arena;
	const struct imap_limits *limits;
	bool fetch;     /* FETCH: item names have sections in brackets */
	bool list;      /* LIST, LSUB, XLIST: the delimiter may be a bare backslash in quotes */
	bool code;      /* in a response code: `]` outside of lists ends it */
	unsigned depth;
	unsigned frames[IMAP_DEPTH_MAX + 1]; /* where the items of each open list begin */
	struct imap_arg *stack;
	unsigned used, size;
	unsigned total; /* arguments made so far */
	const char *error;
};

enum tokens_end {
	TOKENS_DONE,    /* the line is read, all lists are closed */
	TOKENS_BRACKET, /* the response code is closed, the cursor stands behind `]` */
	TOKENS_LITERAL, /* the line ends in `{n}` */
	TOKENS_ERROR,   /* tokens->error says what, the cursor where */
	TOKENS_DESYNC,  /* the same, and the length of a literal can't be known */
};

void tokens_init(struct tokens *tokens, struct arena *arena, const struct imap_limits *limits);
void tokens_release(struct tokens *tokens);
/* For the next response. The arena is the caller's to clear. */
void tokens_clear(struct tokens *tokens);

/* Reads from *cursor to end. *literal_r is set with TOKENS_LITERAL. */
enum tokens_end tokens_read(struct tokens *tokens, const char **cursor, const char *end,
                            uint64_t *literal_r);

/* A literal that is held: octets for it (and a NUL), to be filled in. NULL: too long. */
char *tokens_add_literal(struct tokens *tokens, size_t len);
/* The item whose body the literal ahead is, or NULL when it is another literal. */
const char *tokens_body_item(const struct tokens *tokens);
bool tokens_add_streamed(struct tokens *tokens, uint64_t size);

/* What the innermost open list has (the top level if none), copied into the arena. */
const struct imap_arg *tokens_items(struct tokens *tokens, unsigned *count_r);
/* A copy of text in the arena. NULL: over the limit. */
char *tokens_text(struct tokens *tokens, const char *text, size_t len);

enum tokens_announce { ANNOUNCE_NONE, ANNOUNCE_LITERAL, ANNOUNCE_BROKEN };

/* Whether a line that can't be understood ends in the announcement of a literal; BROKEN: in
 * something so close to it that a literal may follow. */
enum tokens_announce tokens_line_announces(const char *line, const char *end, uint64_t *literal_r);

#endif
