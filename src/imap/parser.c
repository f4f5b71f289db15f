/* SPDX-License-Identifier: MIT */
/*
 * The parser: see parser.h. Octets are gathered up to a line's end, then read as a whole
 * (parser-line.c), so that what comes out can't depend on how they arrived; between the lines of
 * one response stand its literals.
 */
#include "config.h"

#include "imap/parser.h"

#include <glib.h>
#include <string.h>

#include "base/arena.h"
#include "imap/parser-internal.h"

#define BUFFER_KEPT (256u * 1024u)

void
imap_limits_default(struct imap_limits *limits_r)
{
	*limits_r = (struct imap_limits){
		.line = IMAP_LINE_MAX,
		.numbers = IMAP_NUMBERS_MAX,
		.literal = IMAP_LITERAL_MAX,
		.discard = IMAP_DISCARD_MAX,
		.arena = IMAP_ARENA_MAX,
		.stream = IMAP_STREAM_MAX,
		.depth = IMAP_DEPTH_MAX,
		.args = IMAP_ARGS_MAX,
	};
}

struct imap_parser *
imap_parser_new(void)
{
	struct imap_parser *parser = g_new0(struct imap_parser, 1);
	imap_limits_default(&parser->limits);
	parser->arena = arena_new();
	parser->line = g_string_new(NULL);
	tokens_init(&parser->tokens, parser->arena, &parser->limits);
	imap_parser_reset(parser);
	return parser;
}

void
imap_parser_free(struct imap_parser **parser)
{
	if (*parser == NULL)
		return;
	tokens_release(&(*parser)->tokens);
	arena_free(&(*parser)->arena);
	g_string_free((*parser)->line, TRUE);
	g_free(*parser);
	*parser = NULL;
}

static void
response_clear(struct imap_parser *parser)
{
	arena_clear(parser->arena);
	tokens_clear(&parser->tokens);
	parser->response = (struct imap_response){
		.kind = IMAP_KIND_UNTAGGED, .tag = "", .name = "", .text = "",
		.arena = parser->arena,
	};
	parser->mode = MODE_START;
	parser->ended = false;
	parser->has_error = false;
	parser->octets = 0;
	parser->error[0] = '\0';
}

void
imap_parser_reset(struct imap_parser *parser)
{
	response_clear(parser);
	parser->input = INPUT_LINE;
	g_string_truncate(parser->line, 0);
}

void
imap_parser_set_limits(struct imap_parser *parser, const struct imap_limits *limits)
{
	parser->limits = *limits;
}

bool
imap_parser_idle(const struct imap_parser *parser)
{
	return parser->input == INPUT_LINE && parser->line->len == 0 &&
	       (parser->ended || parser->mode == MODE_START);
}

const struct imap_response *
imap_parser_response(const struct imap_parser *parser)
{
	return &parser->response;
}

const struct imap_literal *
imap_parser_literal(const struct imap_parser *parser)
{
	return &parser->literal;
}

const char *
imap_parser_data(const struct imap_parser *parser, size_t *len_r)
{
	*len_r = parser->data_len;
	return parser->data;
}

const char *
imap_parser_error(const struct imap_parser *parser)
{
	return parser->error;
}

uint64_t
imap_parser_offset(const struct imap_parser *parser)
{
	return parser->has_error ? parser->error_offset : parser->offset;
}

/* --- octets ---------------------------------------------------------------------------- */

/* How long the response may get, by the start of its first line. */
static size_t
line_limit(const struct imap_parser *parser, const char *line, size_t len)
{
	static const char *const numbers[] = {"* SEARCH ", "* ESEARCH ", "* VANISHED ", "* SORT "};
	if (parser->mode != MODE_START)
		return parser->limits.line;
	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
		size_t n = strlen(numbers[i]);
		if (len >= n && g_ascii_strncasecmp(line, numbers[i], n) == 0)
			return parser->limits.numbers;
	}
	return parser->limits.line;
}

static bool
line_fits(const struct imap_parser *parser, const char *line, size_t len)
{
	size_t limit = parser->limits.line;
	return parser->octets + len <= limit ||
	       parser->octets + len <= line_limit(parser, line, len);
}

/* Gathers a line; with its end it is read, straight from the input if it's there as a whole. */
static enum imap_parse
take_line(struct imap_parser *parser, const char *data, size_t len, size_t *used_r)
{
	const char *newline = memchr(data, '\n', len);
	size_t n = newline != NULL ? (size_t)(newline - data) + 1 : len;
	const char *line = data;
	size_t line_len = n;
	*used_r = n;
	parser->offset += n;
	if (newline == NULL || parser->line->len > 0) {
		g_string_append_len(parser->line, data, (gssize)n);
		line = parser->line->str;
		line_len = parser->line->len;
	}
	if (!line_fits(parser, line, line_len)) {
		if (parser->mode == MODE_START)
			parser_set_head(parser, line, line_len);
		return parser_fatal(parser, parser->offset, "line too long");
	}
	if (newline == NULL)
		return IMAP_PARSE_MORE;
	parser->line_start = line;
	parser->line_offset = parser->offset - line_len;
	const char *end = line + line_len - 1;
	while (end > line && end[-1] == '\r')
		end--;
	enum imap_parse what = parser_read_line(parser, line, end);
	parser->octets += line_len;
	if (parser->mode == MODE_START)
		parser->octets = 0;
	if (parser->line->allocated_len > BUFFER_KEPT) {
		g_string_free(parser->line, TRUE);
		parser->line = g_string_new(NULL);
	}
	g_string_truncate(parser->line, 0);
	return what;
}

static enum imap_parse
take_literal(struct imap_parser *parser, const char *data, size_t len, size_t *used_r)
{
	bool stream = parser->input == INPUT_STREAM;
	size_t n = (size_t)MIN(parser->left, (uint64_t)len);
	*used_r = n;
	if (parser->left == 0) {
		parser->input = INPUT_AFTER;
		return stream ? IMAP_PARSE_LITERAL_END : IMAP_PARSE_MORE;
	}
	if (parser->input == INPUT_HELD && n > 0) {
		memcpy(parser->held, data, n);
		parser->held += n;
	}
	parser->data = data;
	parser->data_len = n;
	parser->left -= n;
	parser->offset += n;
	return stream && n > 0 ? IMAP_PARSE_LITERAL_DATA : IMAP_PARSE_MORE;
}

/* A literal whose length was a lie shows here: nothing after it could be trusted. */
static enum imap_parse
check_after(struct imap_parser *parser, const char *data)
{
	if (*data == '\0' || strchr(" )\r\n", *data) == NULL)
		return parser_fatal(parser, parser->offset,
		                    "a literal is not as long as announced");
	parser->input = INPUT_LINE;
	return IMAP_PARSE_MORE;
}

enum imap_parse
imap_parser_feed(struct imap_parser *parser, const char *data, size_t len, size_t *used_r)
{
	size_t used = 0;
	enum imap_parse what = IMAP_PARSE_MORE;
	if (parser->ended)
		response_clear(parser);
	while (what == IMAP_PARSE_MORE) {
		size_t n = 0;
		bool literal = false;
		switch (parser->input) {
		case INPUT_FATAL:
			what = IMAP_PARSE_FATAL;
			break;
		case INPUT_HELD:
		case INPUT_DISCARD:
		case INPUT_STREAM:
			literal = true; /* its end needs no octet */
			what = take_literal(parser, data + used, len - used, &n);
			break;
		case INPUT_AFTER:
			if (used < len)
				what = check_after(parser, data + used);
			break;
		case INPUT_LINE:
			if (used < len)
				what = take_line(parser, data + used, len - used, &n);
			break;
		}
		used += n;
		if (used == len && (!literal || parser->input != INPUT_AFTER) &&
		    !(literal && parser->left == 0) && what == IMAP_PARSE_MORE)
			break;
	}
	*used_r = used;
	return what;
}
