/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of the parser share: parser.c, which divides octets into lines and literals,
 * and parser-line.c, which reads a line and says what comes next (parser->input, parser->left).
 * Private to them.
 */
#ifndef IMAP_PARSER_INTERNAL_H
#define IMAP_PARSER_INTERNAL_H

#include <glib.h>

#include "imap/parser.h"
#include "imap/tokens.h"

#define PARSER_ERROR_SIZE 200
#define PARSER_HEAD_SIZE  80

/* What the next octet belongs to. */
enum parser_input {
	INPUT_LINE,
	INPUT_HELD,    /* a literal that is kept */
	INPUT_DISCARD, /* a literal of a response that is skipped */
	INPUT_STREAM,
	INPUT_AFTER,   /* the octet behind a literal */
	INPUT_FATAL,
};

/* What the current line is. */
enum parser_mode {
	MODE_START, /* the first of a response */
	MODE_ARGS,
	MODE_CODE,  /* goes on within a response code */
	MODE_SKIP,  /* belongs to a response that can't be understood */
};

struct imap_parser {
	struct imap_limits limits;
	struct arena *arena;
	struct tokens tokens;
	struct imap_response response;
	struct imap_literal literal;
	enum parser_input input;
	enum parser_mode mode;
	bool ended;          /* the last event ended a response; the next feed clears it */
	GString *line;       /* the beginning of a line that isn't here yet */
	size_t octets;       /* of this response's earlier lines */
	uint64_t left;       /* octets of the literal that are still to come */
	char *held;          /* where they go */
	const char *data;    /* LITERAL_DATA */
	size_t data_len;
	uint64_t offset;     /* octets consumed */
	uint64_t line_offset;
	const char *line_start;
	bool has_error;
	uint64_t error_offset;
	char head[PARSER_HEAD_SIZE]; /* how the response began, for errors */
	char error[PARSER_ERROR_SIZE];
};

/* Reads one line of the response, up to `end`, without its line end. parser->line_start and
 * line_offset are set before, for where errors are. Returns the event, or MORE when the next line
 * or literal belongs to the same response. */
enum imap_parse parser_read_line(struct imap_parser *parser, const char *line, const char *end);

/* Sets the error and ends the parser's life. Returns IMAP_PARSE_FATAL. */
enum imap_parse parser_fatal(struct imap_parser *parser, uint64_t offset, const char *what);
/* Keeps the start of a response for errors. */
void parser_set_head(struct imap_parser *parser, const char *line, size_t len);

#endif
