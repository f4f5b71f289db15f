/* SPDX-License-Identifier: MIT */
/*
 * The lines of a response: see parser-internal.h. Which kind of response it is is decided at the
 * start of its first line; what stands behind a literal is read in the mode that this left.
 *
 *     * 5 FETCH (UID 17 BODY[] {1200}     MODE_START; the literal is streamed
 *      FLAGS (\Seen))                     MODE_ARGS
 */
#include "config.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "imap/parser-internal.h"

/* --- errors ---------------------------------------------------------------------------- */

static void
error_set(struct imap_parser *parser, uint64_t offset, const char *what)
{
	parser->has_error = true;
	parser->error_offset = offset;
	snprintf(parser->error, sizeof parser->error, "%s: %s", what, parser->head);
}

enum imap_parse
parser_fatal(struct imap_parser *parser, uint64_t offset, const char *what)
{
	error_set(parser, offset, what);
	parser->input = INPUT_FATAL;
	return IMAP_PARSE_FATAL;
}

void
parser_set_head(struct imap_parser *parser, const char *line, size_t len)
{
	size_t n = MIN(len, sizeof parser->head - 1);
	for (size_t i = 0; i < n; i++) {
		char c = line[i];
		parser->head[i] = c == '\0' || c == '\r' || c == '\n' ? ' ' : c;
	}
	parser->head[n] = '\0';
}

static uint64_t
offset_of(const struct imap_parser *parser, const char *c)
{
	return parser->line_offset + (uint64_t)(c - parser->line_start);
}

/* --- lines ----------------------------------------------------------------------------- */

static enum imap_parse
finish(struct imap_parser *parser, enum imap_parse what)
{
	parser->ended = true;
	return what;
}

static void
literal_expect(struct imap_parser *parser, enum parser_input input, uint64_t size)
{
	parser->input = input;
	parser->left = size;
}

/* The response can't be understood, but for whether its line ends in a literal. */
static enum imap_parse
skip_line(struct imap_parser *parser, const char *line, const char *end)
{
	uint64_t size = 0;
	switch (tokens_line_announces(line, end, &size)) {
	case ANNOUNCE_NONE:
		return finish(parser, IMAP_PARSE_SKIPPED);
	case ANNOUNCE_BROKEN:
		return parser_fatal(parser, offset_of(parser, end), "literal of unknown length");
	case ANNOUNCE_LITERAL:
		break;
	}
	if (size > parser->limits.discard)
		return parser_fatal(parser, offset_of(parser, end), "literal too long");
	parser->mode = MODE_SKIP;
	literal_expect(parser, INPUT_DISCARD, size);
	return IMAP_PARSE_MORE;
}

static enum imap_parse
skip_from(struct imap_parser *parser, const char *where, const char *what, const char *line,
          const char *end)
{
	error_set(parser, offset_of(parser, where), what);
	return skip_line(parser, line, end);
}

/* A line that is no response at all. If it ends like the announcement of a literal, nobody can
 * tell whether what follows is one: read as responses, a message's text could forge them. */
static enum imap_parse
skip_stray(struct imap_parser *parser, const char *line, const char *end)
{
	uint64_t size;
	if (tokens_line_announces(line, end, &size) != ANNOUNCE_NONE)
		return parser_fatal(parser, offset_of(parser, line),
		             "not a response, perhaps with a literal");
	error_set(parser, offset_of(parser, line), "not a response");
	return finish(parser, IMAP_PARSE_SKIPPED);
}

static const char *
spaces_skip(const char *c, const char *end)
{
	while (c < end && (*c == ' ' || *c == '\t'))
		c++;
	return c;
}

/* To the end of the word that starts at c: at a space or one of `stops`. */
static const char *
word_end(const char *c, const char *end, const char *stops)
{
	while (c < end && *c != ' ' && *c != '\t' && (*c == '\0' || strchr(stops, *c) == NULL))
		c++;
	return c;
}

static const char *
upper_text(struct imap_parser *parser, const char *text, size_t len)
{
	char *copy = tokens_text(&parser->tokens, text, len);
	for (size_t i = 0; copy != NULL && i < len; i++)
		copy[i] = g_ascii_toupper(copy[i]);
	return copy;
}

static enum imap_parse
finish_text(struct imap_parser *parser, const char *text, const char *end)
{
	size_t len = (size_t)(end - text);
	const char *copy = tokens_text(&parser->tokens, text, len);
	if (copy != NULL) {
		parser->response.text = copy;
		parser->response.text_len = len;
	}
	return finish(parser, IMAP_PARSE_RESPONSE);
}

static enum imap_parse
literal_hold(struct imap_parser *parser, uint64_t size, const char *line, const char *end)
{
	parser->held = size > parser->limits.literal
	                       ? NULL : tokens_add_literal(&parser->tokens, (size_t)size);
	if (parser->held == NULL)
		return skip_from(parser, end, "literal too long", line, end);
	literal_expect(parser, INPUT_HELD, size);
	return IMAP_PARSE_MORE;
}

/* The literal of a message's body: tells what is known of the response so far. */
static enum imap_parse
literal_stream(struct imap_parser *parser, const char *item, uint64_t size, const char *end)
{
	if (size > parser->limits.stream)
		return parser_fatal(parser, offset_of(parser, end), "literal too long");
	parser->literal = (struct imap_literal){.item = item, .size = size};
	if (!tokens_add_streamed(&parser->tokens, size))
		return skip_from(parser, end, parser->tokens.error, end, end);
	struct imap_arg *list = arena_alloc(parser->arena, sizeof *list);
	list->type = IMAP_ARG_LIST;
	list->str = "";
	list->items = tokens_items(&parser->tokens, &list->count);
	parser->response.args = list;
	parser->response.count = 1;
	literal_expect(parser, INPUT_STREAM, size);
	return IMAP_PARSE_LITERAL_BEGIN;
}

static enum imap_parse
read_args(struct imap_parser *parser, const char *c, const char *end)
{
	struct tokens *tokens = &parser->tokens;
	const char *line = c;
	uint64_t size = 0;
	parser->mode = MODE_ARGS;
	switch (tokens_read(tokens, &c, end, &size)) {
	case TOKENS_DONE:
		parser->response.args = tokens_items(tokens, &parser->response.count);
		return finish(parser, IMAP_PARSE_RESPONSE);
	case TOKENS_LITERAL: {
		const char *item = tokens_body_item(tokens);
		return item != NULL ? literal_stream(parser, item, size, end)
		                    : literal_hold(parser, size, line, end);
	}
	case TOKENS_DESYNC:
		return parser_fatal(parser, offset_of(parser, c), tokens->error);
	case TOKENS_BRACKET:
	case TOKENS_ERROR:
		break;
	}
	return skip_from(parser, c, tokens->error, line, end);
}

/*
 * Within a response code. A status must never be lost, a command waits for it: a code that can't be
 * read becomes part of the text. A literal can stand in a list only (BADCHARSET); elsewhere what
 * looks like one is text.
 */
static enum imap_parse
read_code(struct imap_parser *parser, const char *c, const char *end)
{
	struct tokens *tokens = &parser->tokens;
	struct imap_response *response = &parser->response;
	const char *text = c;
	uint64_t size = 0;
	tokens->code = true;
	parser->mode = MODE_CODE;
	enum tokens_end what = tokens_read(tokens, &c, end, &size);
	if (what == TOKENS_BRACKET) {
		response->code_args = tokens_items(tokens, &response->code_count);
		return finish_text(parser, spaces_skip(c, end), end);
	}
	if (what == TOKENS_LITERAL && tokens->depth > 0) {
		parser->held = size > parser->limits.literal
		                       ? NULL : tokens_add_literal(tokens, (size_t)size);
		if (parser->held == NULL)
			return parser_fatal(parser, offset_of(parser, end), "literal too long");
		literal_expect(parser, INPUT_HELD, size);
		return IMAP_PARSE_MORE;
	}
	response->code = NULL;
	return finish_text(parser, text, end);
}

/* What follows OK, NO, ...: `[CODE args] text`, all of it optional. */
static enum imap_parse
read_status(struct imap_parser *parser, const char *c, const char *end)
{
	c = spaces_skip(c, end);
	if (c == end || *c != '[')
		return finish_text(parser, c, end);
	const char *code = spaces_skip(c + 1, end);
	const char *code_end = word_end(code, end, "](");
	if (code_end > code)
		parser->response.code = upper_text(parser, code, (size_t)(code_end - code));
	enum imap_parse what = read_code(parser, code_end, end);
	if (what == IMAP_PARSE_RESPONSE && parser->response.code == NULL &&
	    parser->response.code_args == NULL && code_end > code)
		return finish_text(parser, c, end);
	return what;
}

static enum imap_status
status_of(const char *word, size_t len)
{
	static const struct {
		const char *name;
		enum imap_status status;
	} table[] = {
		{"OK", IMAP_STATUS_OK},   {"NO", IMAP_STATUS_NO},
		{"BAD", IMAP_STATUS_BAD}, {"BYE", IMAP_STATUS_BYE},
		{"PREAUTH", IMAP_STATUS_PREAUTH},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (strlen(table[i].name) == len &&
		    g_ascii_strncasecmp(table[i].name, word, len) == 0)
			return table[i].status;
	}
	return IMAP_STATUS_NONE;
}

static bool
is_one_of(const char *name, const char *const *names)
{
	while (*names != NULL && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

/* All digits, and fits: the number before EXISTS, FETCH, ... */
static bool
read_number(const char *word, const char *end, bool *overflow_r, uint32_t *number_r)
{
	uint64_t number = 0;
	*overflow_r = false;
	for (const char *c = word; c < end; c++) {
		if (!g_ascii_isdigit(*c))
			return false;
		if (number <= UINT32_MAX)
			number = number * 10 + (uint64_t)(*c - '0');
	}
	*overflow_r = number > UINT32_MAX;
	*number_r = (uint32_t)number;
	return end > word;
}

static enum imap_parse
read_untagged(struct imap_parser *parser, const char *line, const char *end)
{
	static const char *const fetches[] = {"FETCH", "UIDFETCH", NULL};
	static const char *const lists[] = {"LIST", "LSUB", "XLIST", NULL};
	static const char *const numbers[] = {"SEARCH", "SORT", NULL};
	struct imap_response *response = &parser->response;
	const char *word = spaces_skip(line + 1, end);
	const char *stop = word_end(word, end, "([{\"");
	bool overflow;
	if (word < end && *word == '[') { /* a code without its OK */
		response->status = IMAP_STATUS_OK;
		response->name = "OK";
		return read_status(parser, word, end);
	}
	if (read_number(word, stop, &overflow, &response->number)) {
		if (overflow)
			return skip_from(parser, word, "number too large", line, end);
		response->has_number = true;
		word = spaces_skip(stop, end);
		stop = word_end(word, end, "([{\"");
	}
	if (word == stop)
		return skip_from(parser, word, "response without a name", line, end);
	response->name = upper_text(parser, word, (size_t)(stop - word));
	if (response->name == NULL) {
		response->name = "";
		return skip_from(parser, word, "response too large", line, end);
	}
	response->status = status_of(word, (size_t)(stop - word));
	if (response->status != IMAP_STATUS_NONE)
		return read_status(parser, stop, end);
	if (is_one_of(response->name, numbers)) {
		stop = spaces_skip(stop, end);
		response->numbers_len = (size_t)(end - stop);
		response->numbers = tokens_text(&parser->tokens, stop, response->numbers_len);
		return response->numbers != NULL
		               ? finish(parser, IMAP_PARSE_RESPONSE)
		               : skip_from(parser, stop, "response too large", line, end);
	}
	parser->tokens.fetch = is_one_of(response->name, fetches);
	parser->tokens.list = is_one_of(response->name, lists);
	return read_args(parser, stop, end);
}

static enum imap_parse
read_tagged(struct imap_parser *parser, const char *line, const char *end)
{
	struct imap_response *response = &parser->response;
	const char *tag_end = word_end(line, end, "");
	const char *word = spaces_skip(tag_end, end);
	const char *stop = word_end(word, end, "[");
	enum imap_status status = status_of(word, (size_t)(stop - word));
	if (tag_end == line || (status != IMAP_STATUS_OK && status != IMAP_STATUS_NO &&
	                        status != IMAP_STATUS_BAD))
		return skip_stray(parser, line, end);
	response->kind = IMAP_KIND_TAGGED;
	response->status = status;
	response->name = status == IMAP_STATUS_OK ? "OK" : status == IMAP_STATUS_NO ? "NO" : "BAD";
	response->tag = tokens_text(&parser->tokens, line, (size_t)(tag_end - line));
	if (response->tag == NULL) {
		response->tag = "";
		return parser_fatal(parser, offset_of(parser, line), "response too large");
	}
	return read_status(parser, stop, end);
}

enum imap_parse
parser_read_line(struct imap_parser *parser, const char *line, const char *end)
{
	switch (parser->mode) {
	case MODE_ARGS:
		return read_args(parser, line, end);
	case MODE_CODE:
		return read_code(parser, line, end);
	case MODE_SKIP:
		return skip_line(parser, line, end);
	case MODE_START:
		break;
	}
	if (spaces_skip(line, end) == end) /* an empty line means nothing */
		return IMAP_PARSE_MORE;
	parser_set_head(parser, line, (size_t)(end - line));
	if (*line == '*')
		return read_untagged(parser, line, end);
	if (*line != '+')
		return read_tagged(parser, line, end);
	parser->response.kind = IMAP_KIND_CONTINUE;
	const char *text = line + 1;
	return finish_text(parser, text < end && *text == ' ' ? text + 1 : text, end);
}
