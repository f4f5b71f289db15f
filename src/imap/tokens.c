/* SPDX-License-Identifier: MIT */
/* Tokens into a tree: see tokens.h. */
#include "config.h"

#include "imap/tokens.h"

#include <glib.h>
#include <string.h>

#include "base/arena.h"
#include "imap/fetch.h"

void
tokens_init(struct tokens *tokens, struct arena *arena, const struct imap_limits *limits)
{
	memset(tokens, 0, sizeof *tokens);
	tokens->arena = arena;
	tokens->limits = limits;
	tokens->size = 64;
	tokens->stack = g_new(struct imap_arg, tokens->size);
}

void
tokens_release(struct tokens *tokens)
{
	g_free(tokens->stack);
	tokens->stack = NULL;
}

void
tokens_clear(struct tokens *tokens)
{
	tokens->fetch = tokens->list = tokens->code = false;
	tokens->depth = tokens->used = tokens->total = 0;
	tokens->error = NULL;
	if (tokens->size > 4096) {
		tokens->size = 64;
		tokens->stack = g_renew(struct imap_arg, tokens->stack, tokens->size);
	}
}

static bool
has_room(const struct tokens *tokens, size_t len)
{
	return len <= tokens->limits->arena &&
	       arena_used(tokens->arena) <= tokens->limits->arena - len;
}

char *
tokens_text(struct tokens *tokens, const char *text, size_t len)
{
	return has_room(tokens, len) ? arena_strndup(tokens->arena, text, len) : NULL;
}

/* The next argument of the innermost list, zeroed but for its text. NULL: too many. */
static struct imap_arg *
push(struct tokens *tokens, enum imap_arg_type type)
{
	if (tokens->total >= tokens->limits->args) {
		tokens->error = "too many arguments";
		return NULL;
	}
	tokens->total++;
	if (tokens->used == tokens->size) {
		tokens->size *= 2;
		tokens->stack = g_renew(struct imap_arg, tokens->stack, tokens->size);
	}
	struct imap_arg *arg = &tokens->stack[tokens->used++];
	*arg = (struct imap_arg){.type = type, .str = ""};
	return arg;
}

static bool
push_text(struct tokens *tokens, enum imap_arg_type type, const char *text, size_t len)
{
	struct imap_arg *arg = push(tokens, type);
	if (arg == NULL)
		return false;
	const char *copy = tokens_text(tokens, text, len);
	if (copy == NULL) {
		tokens->error = "response too large";
		return false;
	}
	arg->str = copy;
	arg->len = len;
	return true;
}

char *
tokens_add_literal(struct tokens *tokens, size_t len)
{
	if (len > tokens->limits->literal || !has_room(tokens, len)) {
		tokens->error = "literal too long";
		return NULL;
	}
	struct imap_arg *arg = push(tokens, IMAP_ARG_STRING);
	if (arg == NULL)
		return NULL;
	char *octets = arena_alloc(tokens->arena, len + 1);
	arg->str = octets;
	arg->len = len;
	return octets;
}

bool
tokens_add_streamed(struct tokens *tokens, uint64_t size)
{
	struct imap_arg *arg = push(tokens, IMAP_ARG_STREAMED);
	if (arg != NULL)
		arg->size = size;
	return arg != NULL;
}

const char *
tokens_body_item(const struct tokens *tokens)
{
	if (!tokens->fetch || tokens->depth != 1 || tokens->used == tokens->frames[1])
		return NULL;
	const struct imap_arg *arg = &tokens->stack[tokens->used - 1];
	struct imap_body body;
	bool is_body = arg->type == IMAP_ARG_ATOM && imap_body_item(arg->str, arg->len, &body);
	return is_body ? arg->str : NULL;
}

const struct imap_arg *
tokens_items(struct tokens *tokens, unsigned *count_r)
{
	unsigned first = tokens->depth > 0 ? tokens->frames[tokens->depth] : 0;
	unsigned count = tokens->used - first;
	*count_r = count;
	if (count == 0)
		return NULL;
	struct imap_arg *items = arena_alloc(tokens->arena, count * sizeof *items);
	memcpy(items, &tokens->stack[first], count * sizeof *items);
	return items;
}

static bool
open_list(struct tokens *tokens)
{
	if (tokens->depth >= MIN(tokens->limits->depth, IMAP_DEPTH_MAX)) {
		tokens->error = "lists too deep";
		return false;
	}
	tokens->frames[++tokens->depth] = tokens->used;
	return true;
}

static bool
close_list(struct tokens *tokens)
{
	if (tokens->depth == 0) /* one too many: seen in the wild, harmless */
		return true;
	unsigned count;
	if (!has_room(tokens, (tokens->used - tokens->frames[tokens->depth]) *
	              sizeof(struct imap_arg))) {
		tokens->error = "response too large";
		return false;
	}
	const struct imap_arg *items = tokens_items(tokens, &count);
	tokens->used = tokens->frames[tokens->depth--];
	struct imap_arg *list = push(tokens, IMAP_ARG_LIST);
	if (list == NULL)
		return false;
	list->items = items;
	list->count = count;
	return true;
}

/* Some servers forget to double the backslash where it is the delimiter: `"\"`. */
static bool
is_bare_backslash(const struct tokens *tokens, const char *text, const char *end)
{
	return tokens->list && tokens->depth == 0 && tokens->used == 1 && end - text >= 4 &&
	       memcmp(text, "\"\\\" ", 4) == 0;
}

/* A backslash that stands before neither `"` nor another one is taken as itself. */
static bool
read_quoted(struct tokens *tokens, const char **cursor, const char *end)
{
	if (is_bare_backslash(tokens, *cursor, end)) {
		*cursor += 3;
		return push_text(tokens, IMAP_ARG_STRING, "\\", 1);
	}
	const char *text = *cursor + 1, *c = text;
	size_t escapes = 0;
	for (; c < end && *c != '"'; c++) {
		if (*c == '\\' && c + 1 < end && (c[1] == '"' || c[1] == '\\')) {
			escapes++;
			c++;
		}
	}
	if (c >= end) {
		tokens->error = "string without end";
		return false;
	}
	*cursor = c + 1;
	if (!push_text(tokens, IMAP_ARG_STRING, text, (size_t)(c - text)))
		return false;
	if (escapes == 0)
		return true;
	struct imap_arg *arg = &tokens->stack[tokens->used - 1];
	char *copy = arena_alloc(tokens->arena, arg->len - escapes + 1);
	size_t len = 0;
	for (size_t i = 0; i < arg->len; i++) {
		if (arg->str[i] == '\\' && (arg->str[i + 1] == '"' || arg->str[i + 1] == '\\'))
			i++;
		copy[len++] = arg->str[i];
	}
	arg->str = copy;
	arg->len = len;
	return true;
}

/* Whether text (up to end, the end of a line) is `{n}`, `{n+}`, `~{n}`; BROKEN: something so close
 * to it that a literal may follow. */
static enum tokens_announce
announcement(const char *text, const char *end, uint64_t *literal_r)
{
	const char *c = text;
	if (c < end && *c == '~')
		c++;
	if (end - c < 2 || *c != '{' || end[-1] != '}')
		return ANNOUNCE_NONE;
	const char *digits = ++c;
	uint64_t number = 0;
	bool overflow = false;
	for (; c < end && g_ascii_isdigit(*c); c++) {
		unsigned digit = (unsigned)(*c - '0');
		overflow = overflow || number > (UINT64_MAX - digit) / 10;
		number = overflow ? 0 : number * 10 + digit;
	}
	bool any = c > digits;
	if (any && !overflow && c < end - 1 && (*c == '+' || *c == '-'))
		c++;
	if (any && !overflow && c == end - 1) {
		*literal_r = number;
		return ANNOUNCE_LITERAL;
	}
	/* `{-1}`, `{}`, `{5 }`, `{99999999999999999999}`. */
	for (c = digits; c < end - 1 && strchr("+- 0123456789", *c) != NULL && *c != '\0'; c++)
		;
	return c == end - 1 ? ANNOUNCE_BROKEN : ANNOUNCE_NONE;
}

enum tokens_announce
tokens_line_announces(const char *line, const char *end, uint64_t *literal_r)
{
	if (end == line || end[-1] != '}')
		return ANNOUNCE_NONE;
	const char *brace = memrchr(line, '{', (size_t)(end - line));
	return brace == NULL ? ANNOUNCE_NONE : announcement(brace, end, literal_r);
}

/* Behind `BODY[`: to the end of the item's name. NULL: the bracket does not close. */
static const char *
section_end(const char *c, const char *end)
{
	bool quoted = false;
	for (; c < end && (quoted || *c != ']'); c++) {
		if (*c == '"')
			quoted = !quoted;
	}
	if (c == end)
		return NULL;
	c++;
	if (c < end && *c == '<') {
		const char *angle = memchr(c, '>', (size_t)(end - c));
		if (angle != NULL)
			c = angle + 1;
	}
	return c;
}

static bool
has_section(const char *name, size_t len)
{
	static const char *const items[] = {"BODY", "BODY.PEEK", "BINARY", "BINARY.PEEK",
	                                    "BINARY.SIZE"};
	for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
		if (strlen(items[i]) == len && g_ascii_strncasecmp(name, items[i], len) == 0)
			return true;
	}
	return false;
}

/* What may end an atom; the rest of the octets never does. */
static const bool atom_stops[256] = {
	[' '] = true, ['('] = true, [')'] = true, ['['] = true, [']'] = true, ['{'] = true,
};

static bool
read_atom(struct tokens *tokens, const char **cursor, const char *end)
{
	const char *text = *cursor, *c = text;
	bool item = tokens->fetch && tokens->depth == 1;
	uint64_t literal;
	for (;; c++) {
		while (c < end && !atom_stops[(unsigned char)*c])
			c++;
		if (c == end || *c == ' ' || *c == '(' || *c == ')')
			break;
		if (*c == ']' && tokens->code && tokens->depth == 0)
			break;
		if (*c == '{' && item && c > text &&
		    announcement(c, end, &literal) != ANNOUNCE_NONE)
			break;
		if (*c == '[' && item && has_section(text, (size_t)(c - text))) {
			const char *stop = section_end(c, end);
			if (stop == NULL) {
				tokens->error = "`[` without `]`";
				return false;
			}
			c = stop;
			break;
		}
	}
	*cursor = c;
	size_t len = (size_t)(c - text);
	bool nil = len == 3 && g_ascii_strncasecmp(text, "NIL", 3) == 0;
	return push_text(tokens, nil ? IMAP_ARG_NIL : IMAP_ARG_ATOM, text, len);
}

enum tokens_end
tokens_read(struct tokens *tokens, const char **cursor, const char *end, uint64_t *literal_r)
{
	bool good = true;
	while (good) {
		while (*cursor < end && **cursor == ' ')
			(*cursor)++;
		if (*cursor == end)
			break;
		char c = **cursor;
		if (c == '{' || c == '~') {
			enum tokens_announce what = announcement(*cursor, end, literal_r);
			if (what == ANNOUNCE_LITERAL)
				return TOKENS_LITERAL;
			if (what == ANNOUNCE_BROKEN) {
				tokens->error = "literal of unknown length";
				return TOKENS_DESYNC;
			}
		}
		if (c == ']' && tokens->code && tokens->depth == 0) {
			(*cursor)++;
			return TOKENS_BRACKET;
		} else if (c == '(') {
			good = open_list(tokens);
			*cursor += good;
		} else if (c == ')') {
			good = close_list(tokens);
			(*cursor)++;
		} else if (c == '"') {
			good = read_quoted(tokens, cursor, end);
		} else {
			good = read_atom(tokens, cursor, end);
		}
	}
	if (!good)
		return TOKENS_ERROR;
	if (tokens->depth > 0 || tokens->code) {
		tokens->error = tokens->code ? "`[` without `]`" : "`(` without `)`";
		return TOKENS_ERROR;
	}
	return TOKENS_DONE;
}
