/* SPDX-License-Identifier: MIT */
/*
 * The parser: see parser.h. Octets are gathered up to a line's end, then read as a whole, so that
 * what comes out can't depend on how they arrived; between the lines of one response stand its
 * literals. Which kind of response it is is decided at the start of its first line.
 */
#include "config.h"

#include "imap/parser.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "imap/tokens.h"

#define ERROR_SIZE  200
#define HEAD_SIZE   80
#define BUFFER_KEPT (256u * 1024u)

/* What the next octet belongs to. */
enum input {
	INPUT_LINE,
	INPUT_HELD,    /* a literal that is kept */
	INPUT_DISCARD, /* a literal of a response that is skipped */
	INPUT_STREAM,
	INPUT_AFTER,   /* the octet behind a literal */
	INPUT_FATAL,
};

/* What the current line is. */
enum mode {
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
	enum input input;
	enum mode mode;
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
	char head[HEAD_SIZE]; /* how the response began, for errors */
	char error[ERROR_SIZE];
};

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

/* --- errors ---------------------------------------------------------------------------- */

static void
error_set(struct imap_parser *parser, uint64_t offset, const char *what)
{
	parser->has_error = true;
	parser->error_offset = offset;
	snprintf(parser->error, sizeof parser->error, "%s: %s", what, parser->head);
}

static enum imap_parse
fatal(struct imap_parser *parser, uint64_t offset, const char *what)
{
	error_set(parser, offset, what);
	parser->input = INPUT_FATAL;
	return IMAP_PARSE_FATAL;
}

static void
head_set(struct imap_parser *parser, const char *line, size_t len)
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
literal_expect(struct imap_parser *parser, enum input input, uint64_t size)
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
		return fatal(parser, offset_of(parser, end), "literal of unknown length");
	case ANNOUNCE_LITERAL:
		break;
	}
	if (size > parser->limits.discard)
		return fatal(parser, offset_of(parser, end), "literal too long");
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
		return fatal(parser, offset_of(parser, line),
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
		return fatal(parser, offset_of(parser, end), "literal too long");
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
		return fatal(parser, offset_of(parser, c), tokens->error);
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
			return fatal(parser, offset_of(parser, end), "literal too long");
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
		return fatal(parser, offset_of(parser, line), "response too large");
	}
	return read_status(parser, stop, end);
}

static enum imap_parse
read_line(struct imap_parser *parser, const char *line, const char *end)
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
	head_set(parser, line, (size_t)(end - line));
	if (*line == '*')
		return read_untagged(parser, line, end);
	if (*line != '+')
		return read_tagged(parser, line, end);
	parser->response.kind = IMAP_KIND_CONTINUE;
	const char *text = line + 1;
	return finish_text(parser, text < end && *text == ' ' ? text + 1 : text, end);
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
			head_set(parser, line, line_len);
		return fatal(parser, parser->offset, "line too long");
	}
	if (newline == NULL)
		return IMAP_PARSE_MORE;
	parser->line_start = line;
	parser->line_offset = parser->offset - line_len;
	const char *end = line + line_len - 1;
	while (end > line && end[-1] == '\r')
		end--;
	enum imap_parse what = read_line(parser, line, end);
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
		return fatal(parser, parser->offset, "a literal is not as long as announced");
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
