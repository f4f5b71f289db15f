/* SPDX-License-Identifier: MIT */
/*
 * The response parser: see parser.h. This file takes the stream apart into
 * responses and literals; tokens.c takes a response apart into arguments.
 *
 *     * 12 FETCH (UID 7 BODY[] {5}<CR><LF>       text, then a streamed literal
 *     hello FLAGS (\Seen))<CR><LF>                text, line end: the response
 *
 * A response's text is collected with its literals in place and parsed at its
 * last line end, so that where the octets were divided makes no difference.
 */
#include "config.h"

#include "imap/parser.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "imap/tokens.h"

/* Memory that a response may leave behind for the next one. */
#define KEEP_OCTETS (256u * 1024u)

enum state {
	STATE_LINE,    /* collecting text up to a line end */
	STATE_COLLECT, /* within a literal that is held */
	STATE_DISCARD, /* within one that is too large to be held */
	STATE_STREAM,  /* within one that is handed out */
	STATE_AFTER,   /* right behind a literal */
	STATE_FATAL,
};

struct imap_parser {
	enum state state;
	struct imap_limits limits;
	GString *text;      /* the response so far, literals in place */
	GArray *literals;   /* struct token_literal: where they stand in text */
	size_t line_start;  /* in text: where the present line begins */
	size_t collected;   /* octets of text that are literals */
	uint64_t left;      /* of the present literal */
	struct imap_literal literal;
	GString *item;
	bool discard;       /* this response is skipped at its end */
	bool done;          /* text holds a finished response, to be dropped at the next feed */
	struct arena *arena;
	struct imap_response response;
	const char *data;
	size_t data_len;
	struct imap_place place;
	char error[200];
};

void
imap_limits_default(struct imap_limits *limits_r)
{
	*limits_r = (struct imap_limits){
		.line = IMAP_LINE_MAX, .numbers = IMAP_NUMBERS_MAX, .literal = IMAP_LITERAL_MAX,
		.discard = IMAP_DISCARD_MAX, .arena = IMAP_ARENA_MAX, .stream = IMAP_STREAM_MAX,
		.depth = IMAP_DEPTH_MAX, .args = IMAP_ARGS_MAX,
	};
}

struct imap_parser *
imap_parser_new(void)
{
	struct imap_parser *parser = g_new0(struct imap_parser, 1);
	parser->text = g_string_sized_new(4096);
	parser->item = g_string_new(NULL);
	parser->literals = g_array_new(FALSE, FALSE, sizeof(struct token_literal));
	parser->arena = arena_new();
	parser->place.line = 1;
	imap_limits_default(&parser->limits);
	return parser;
}

void
imap_parser_free(struct imap_parser **parser)
{
	if (*parser == NULL)
		return;
	g_string_free((*parser)->text, TRUE);
	g_string_free((*parser)->item, TRUE);
	g_array_free((*parser)->literals, TRUE);
	arena_free(&(*parser)->arena);
	g_free(*parser);
	*parser = NULL;
}

void
imap_parser_set_limits(struct imap_parser *parser, const struct imap_limits *limits)
{
	parser->limits = *limits;
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

void
imap_parser_place(const struct imap_parser *parser, struct imap_place *place_r)
{
	*place_r = parser->place;
}

bool
imap_parser_idle(const struct imap_parser *parser)
{
	return parser->state == STATE_LINE && (parser->done || parser->text->len == 0);
}

static void
start_response(struct imap_parser *parser)
{
	/* One huge response must not hold its memory for the life of the connection. */
	if (parser->text->allocated_len > KEEP_OCTETS) {
		g_string_free(parser->text, TRUE);
		parser->text = g_string_sized_new(4096);
	}
	g_string_truncate(parser->text, 0);
	g_array_set_size(parser->literals, 0);
	arena_clear(parser->arena);
	parser->line_start = 0;
	parser->collected = 0;
	parser->discard = false;
	parser->done = false;
}

void
imap_parser_reset(struct imap_parser *parser)
{
	start_response(parser);
	parser->state = STATE_LINE;
}

static void
set_error(struct imap_parser *parser, const char *what)
{
	int used = snprintf(parser->error, sizeof parser->error, "%s: ", what);
	size_t room = sizeof parser->error - (size_t)used - 1;
	size_t len = MIN(parser->text->len, MIN(room, 80));
	for (size_t i = 0; i < len; i++) {
		char c = parser->text->str[i];
		parser->error[(size_t)used + i] = c == '\0' || c == '\r' || c == '\n' ? '?' : c;
	}
	parser->error[(size_t)used + len] = '\0';
}

static enum imap_parse
fatal(struct imap_parser *parser, const char *what)
{
	set_error(parser, what);
	parser->state = STATE_FATAL;
	return IMAP_PARSE_FATAL;
}

/* The line is whole. Does it end with {n}, {n+} or ~{n}? Then *start_r is where that begins. */
static bool
ends_in_literal(const struct imap_parser *parser, size_t *start_r, uint64_t *size_r)
{
	const char *text = parser->text->str;
	size_t end = parser->text->len, floor = parser->line_start;
	if (end > floor && text[end - 1] == '\r')
		end--;
	if (end <= floor || text[end - 1] != '}')
		return false;
	size_t pos = end - 1;
	if (pos > floor && (text[pos - 1] == '+' || text[pos - 1] == '-'))
		pos--;
	size_t digits_end = pos;
	while (pos > floor && g_ascii_isdigit(text[pos - 1]))
		pos--;
	if (pos == digits_end || pos == floor || text[pos - 1] != '{')
		return false;
	uint64_t size = 0;
	for (size_t i = pos; i < digits_end; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');
		size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
	}
	pos--;
	if (pos > floor && text[pos - 1] == '~')
		pos--;
	*start_r = pos;
	*size_r = size;
	return true;
}

static enum imap_parse
begin_stream(struct imap_parser *parser, struct token_literal *literal, uint64_t size)
{
	if (size > parser->limits.stream)
		return fatal(parser, "a body beyond all bounds");
	literal->streamed = true;
	literal->size = size;
	/* What is known so far, without the item that the literal belongs to. */
	size_t len = literal->start;
	while (len > 0 && parser->text->str[len - 1] == ' ')
		len--;
	len -= MIN(len, parser->item->len);
	arena_clear(parser->arena);
	if (tokens_response(parser->text->str, len, (struct token_literal *)(void *)
	                    parser->literals->data, parser->literals->len, false,
	                    &parser->limits, parser->arena, &parser->response) != NULL)
		parser->response = (struct imap_response){ .kind = IMAP_KIND_UNTAGGED, .name = "",
			                                   .tag = "", .text = "",
			                                   .arena = parser->arena };
	g_array_append_val(parser->literals, *literal);
	/* A character in its place keeps positions apart. */
	g_string_append_c(parser->text, '{');
	parser->literal = (struct imap_literal){ parser->item->str, size };
	parser->left = size;
	parser->state = STATE_STREAM;
	return IMAP_PARSE_LITERAL_BEGIN;
}

/* The octets from the literal's beginning on are streamed, held or discarded. */
static enum imap_parse
begin_literal(struct imap_parser *parser, size_t start, uint64_t size)
{
	struct token_literal literal = { .start = start, .size = size };
	g_string_truncate(parser->text, start);
	if (!parser->discard && tokens_streamed_item(parser->text->str, start, parser->item))
		return begin_stream(parser, &literal, size);
	parser->left = size;
	if (parser->discard || size > parser->limits.literal ||
	    parser->collected + size > 4 * (uint64_t)parser->limits.literal) {
		if (size > parser->limits.discard)
			return fatal(parser, "a literal beyond all bounds");
		if (!parser->discard)
			set_error(parser, "a literal too large to be held");
		parser->discard = true;
		parser->state = size > 0 ? STATE_DISCARD : STATE_AFTER;
		return IMAP_PARSE_MORE;
	}
	g_array_append_val(parser->literals, literal);
	parser->collected += size;
	parser->state = size > 0 ? STATE_COLLECT : STATE_AFTER;
	return IMAP_PARSE_MORE;
}

/* A line end was reached: a literal follows, or the response is whole. MORE: go on. */
static enum imap_parse
end_line(struct imap_parser *parser)
{
	size_t start;
	uint64_t size;
	if (ends_in_literal(parser, &start, &size) &&
	    !tokens_is_status(parser->text->str, parser->text->len))
		return begin_literal(parser, start, size);
	size_t len = parser->text->len;
	if (len > parser->line_start && parser->text->str[len - 1] == '\r')
		len--;
	g_string_truncate(parser->text, len);
	parser->done = true;
	if (parser->discard)
		return IMAP_PARSE_SKIPPED;
	if (len == 0)
		return IMAP_PARSE_MORE; /* an empty line means nothing */
	arena_clear(parser->arena);
	const char *why = tokens_response(parser->text->str, len, (struct token_literal *)(void *)
	                                  parser->literals->data, parser->literals->len, true,
	                                  &parser->limits, parser->arena, &parser->response);
	if (why != NULL) {
		set_error(parser, why);
		return IMAP_PARSE_SKIPPED;
	}
	return IMAP_PARSE_RESPONSE;
}

static enum imap_parse
feed_line(struct imap_parser *parser, const char *data, size_t len, size_t *used)
{
	const char *newline = memchr(data, '\n', len);
	size_t take = newline != NULL ? (size_t)(newline - data) : len;
	size_t have = parser->text->len - parser->collected + take;
	if (have > parser->limits.line &&
	    (have > parser->limits.numbers ||
	     !tokens_is_numbers(parser->text->str, parser->text->len)))
		return fatal(parser, "an endless line");
	g_string_append_len(parser->text, data, (gssize)take);
	*used += take;
	if (newline == NULL)
		return IMAP_PARSE_MORE;
	*used += 1;
	parser->place.line++;
	return end_line(parser);
}

static enum imap_parse
feed_after(struct imap_parser *parser, const char *data)
{
	if (*data != ' ' && *data != ')' && *data != '\r' && *data != '\n')
		return fatal(parser, "a literal with a wrong length");
	parser->state = STATE_LINE;
	parser->line_start = parser->text->len;
	return IMAP_PARSE_MORE;
}

static void
feed_held(struct imap_parser *parser, const char *data, size_t len, size_t *used)
{
	size_t take = parser->left < len ? (size_t)parser->left : len;
	if (parser->state == STATE_COLLECT)
		g_string_append_len(parser->text, data, (gssize)take);
	parser->left -= take;
	*used += take;
	if (parser->left == 0)
		parser->state = STATE_AFTER;
}

static enum imap_parse
feed(struct imap_parser *parser, const char *data, size_t len, size_t *used)
{
	for (;;) {
		enum imap_parse what = IMAP_PARSE_MORE;
		if (parser->state == STATE_FATAL)
			return IMAP_PARSE_FATAL;
		if (parser->state == STATE_STREAM && parser->left == 0) {
			parser->state = STATE_AFTER;
			return IMAP_PARSE_LITERAL_END;
		}
		if (*used == len)
			return IMAP_PARSE_MORE;
		const char *next = data + *used;
		size_t rest = len - *used;
		if (parser->state == STATE_STREAM) {
			parser->data = next;
			parser->data_len = parser->left < rest ? (size_t)parser->left : rest;
			parser->left -= parser->data_len;
			*used += parser->data_len;
			return IMAP_PARSE_LITERAL_DATA;
		}
		if (parser->done)
			start_response(parser);
		if (parser->state == STATE_LINE)
			what = feed_line(parser, next, rest, used);
		else if (parser->state == STATE_AFTER)
			what = feed_after(parser, next);
		else
			feed_held(parser, next, rest, used);
		if (what != IMAP_PARSE_MORE)
			return what;
	}
}

enum imap_parse
imap_parser_feed(struct imap_parser *parser, const char *data, size_t len, size_t *used_r)
{
	size_t used = 0;
	enum imap_parse what = feed(parser, data, len, &used);
	parser->place.octet += used;
	*used_r = used;
	return what;
}
