/* SPDX-License-Identifier: MIT */
/*
 * Takes one whole response apart into arguments. Private to the parser, which
 * gives it the text with the literals in place:
 *
 *     * LIST () "/" hello            text; one literal { start 12, size 5 }
 */
#ifndef IMAP_TOKENS_H
#define IMAP_TOKENS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/parser.h"

struct token_literal {
	size_t start;  /* where it stands in the text */
	uint64_t size; /* octets */
	bool streamed; /* one character stands in its place */
};

/* Fills *response_r; what it points to lives in the arena. `whole` is false for the beginning of
 * a response, whose lists may be open. Returns NULL, or why it can't be understood (static). */
const char *tokens_response(const char *text, size_t len, const struct token_literal *literals,
                            size_t literals_len, bool whole, const struct imap_limits *limits,
                            struct arena *arena, struct imap_response *response_r);

/* Whether the line is a status response, a continuation, or tagged: no literal is in those. */
bool tokens_is_status(const char *text, size_t len);
/* Whether it is (the beginning of) a response of many numbers: SEARCH, SORT, ESEARCH, VANISHED. */
bool tokens_is_numbers(const char *text, size_t len);
/* The text before a literal: does it belong to a FETCH item that is streamed? Then item_r is its
 * name. */
bool tokens_streamed_item(const char *text, size_t len, GString *item_r);

#endif
