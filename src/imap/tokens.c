/* SPDX-License-Identifier: MIT */
/* Taking a response apart: see tokens.h. */
#include "config.h"

#include "imap/tokens.h"

#include <string.h>

#include "base/arena.h"

struct scanner {
	const char *text;
	size_t pos, end;
	const struct token_literal *literals;
	size_t literals_len, literal;
	const struct imap_limits *limits;
	struct arena *arena;
	size_t args;
	bool whole;
};

static const char *
upper(struct arena *arena, const char *str, size_t len)
{
	char *copy = arena_strndup(arena, str, len);
	for (size_t i = 0; i < len; i++)
		copy[i] = g_ascii_toupper(copy[i]);
	return copy;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
at_literal(const struct scanner *scan)
{
	return scan->literal < scan->literals_len &&
	       scan->literals[scan->literal].start == scan->pos;
}

/* Not beyond a literal, which may be empty and have blanks behind it. */
static void
skip_blanks(struct scanner *scan)
{
	while (scan->pos < scan->end && !at_literal(scan) && is_blank(scan->text[scan->pos]))
		scan->pos++;
}

/* The end of the word that begins here. */
static size_t
word_end(const struct scanner *scan)
{
	size_t pos = scan->pos;
	while (pos < scan->end && !is_blank(scan->text[pos]))
		pos++;
	return pos;
}

/* --- single arguments --------------------------------------------------------------------- */

static void
take_literal(struct scanner *scan, struct imap_arg *arg_r)
{
	const struct token_literal *literal = &scan->literals[scan->literal++];
	if (literal->streamed) {
		arg_r->type = IMAP_ARG_STREAMED;
		arg_r->str = "";
		arg_r->size = literal->size;
		scan->pos++;
		return;
	}
	arg_r->type = IMAP_ARG_STRING;
	arg_r->len = (size_t)literal->size;
	arg_r->str = arena_strndup(scan->arena, scan->text + scan->pos, arg_r->len);
	scan->pos += arg_r->len;
}

static const char *
take_quoted(struct scanner *scan, struct imap_arg *arg_r)
{
	size_t limit = scan->literal < scan->literals_len ? scan->literals[scan->literal].start
	                                                  : scan->end;
	size_t pos = scan->pos + 1, len = 0;
	const char *start = scan->text + pos;
	const char *quote = memchr(start, '"', limit - pos);
	char *out;
	if (quote == NULL)
		return "a string without an end";
	if (memchr(start, '\\', (size_t)(quote - start)) == NULL) {
		len = (size_t)(quote - start);
		out = arena_strndup(scan->arena, start, len);
		pos += len;
	} else {
		out = arena_alloc(scan->arena, limit - pos + 1);
		for (; pos < limit && scan->text[pos] != '"'; pos++) {
			if (scan->text[pos] == '\\' && pos + 1 < limit)
				pos++;
			out[len++] = scan->text[pos];
		}
		if (pos >= limit)
			return "a string without an end";
	}
	scan->pos = pos + 1;
	arg_r->type = IMAP_ARG_STRING;
	arg_r->str = out;
	arg_r->len = len;
	return NULL;
}

/* An atom, with the brackets of BODY[HEADER.FIELDS (A B)]<0> and what is in them. */
static void
take_atom(struct scanner *scan, struct imap_arg *arg_r)
{
	size_t pos = scan->pos;
	size_t limit = scan->literal < scan->literals_len ? scan->literals[scan->literal].start
	                                                  : scan->end;
	for (; pos < limit; pos++) {
		char c = scan->text[pos];
		if (is_blank(c) || c == '(' || c == ')')
			break;
		if (c == '[') {
			const char *close = memchr(scan->text + pos, ']', limit - pos);
			if (close != NULL)
				pos = (size_t)(close - scan->text);
		}
	}
	arg_r->len = pos - scan->pos;
	arg_r->str = arena_strndup(scan->arena, scan->text + scan->pos, arg_r->len);
	arg_r->type = arg_r->len == 3 && g_ascii_strncasecmp(arg_r->str, "NIL", 3) == 0
	                      ? IMAP_ARG_NIL : IMAP_ARG_ATOM;
	scan->pos = pos;
}

/* --- lists -------------------------------------------------------------------------------- */

/* A list under construction: grows in the arena, which gives everything back at once. */
struct frame {
	struct imap_arg *items;
	unsigned count, size;
};

static void
push(struct scanner *scan, struct frame *frame, const struct imap_arg *arg)
{
	if (frame->count == frame->size) {
		unsigned size = frame->size == 0 ? 8 : frame->size * 2;
		struct imap_arg *items = arena_alloc(scan->arena, size * sizeof *items);
		if (frame->count > 0)
			memcpy(items, frame->items, frame->count * sizeof *items);
		frame->items = items;
		frame->size = size;
	}
	frame->items[frame->count++] = *arg;
}

static struct imap_arg
frame_arg(const struct frame *frame)
{
	return (struct imap_arg){ .type = IMAP_ARG_LIST, .str = "", .items = frame->items,
		                  .count = frame->count };
}

/* All arguments up to the end. */
static const char *
take_args(struct scanner *scan, const struct imap_arg **args_r, unsigned *count_r)
{
	struct frame frames[IMAP_DEPTH_MAX + 1];
	unsigned depth = 0;
	frames[0] = (struct frame){ 0 };
	for (;;) {
		struct imap_arg arg = { 0 };
		const char *why = NULL;
		skip_blanks(scan);
		if (scan->pos >= scan->end && !at_literal(scan))
			break;
		if (++scan->args > scan->limits->args ||
		    arena_used(scan->arena) > scan->limits->arena)
			return "too much in one response";
		char c = at_literal(scan) ? '\0' : scan->text[scan->pos];
		if (at_literal(scan)) {
			take_literal(scan, &arg);
		} else if (c == '(') {
			scan->pos++;
			if (depth == MIN(scan->limits->depth, IMAP_DEPTH_MAX))
				return "lists too deep";
			frames[++depth] = (struct frame){ 0 };
			continue;
		} else if (c == ')') {
			scan->pos++;
			if (depth == 0)
				continue; /* one too many: seen in the wild, harmless */
			arg = frame_arg(&frames[depth--]);
		} else if (c == '"') {
			why = take_quoted(scan, &arg);
		} else {
			take_atom(scan, &arg);
		}
		if (why != NULL)
			return why;
		push(scan, &frames[depth], &arg);
	}
	if (depth > 0 && scan->whole)
		return "a list without an end";
	for (; depth > 0; depth--) {
		struct imap_arg arg = frame_arg(&frames[depth]);
		push(scan, &frames[depth - 1], &arg);
	}
	*args_r = frames[0].items;
	*count_r = frames[0].count;
	return NULL;
}

/* --- status responses --------------------------------------------------------------------- */

static enum imap_status
status_by_name(const char *name)
{
	static const struct {
		const char *name;
		enum imap_status status;
	} table[] = {
		{ "OK", IMAP_STATUS_OK },   { "NO", IMAP_STATUS_NO },
		{ "BAD", IMAP_STATUS_BAD }, { "BYE", IMAP_STATUS_BYE },
		{ "PREAUTH", IMAP_STATUS_PREAUTH },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		if (strcmp(name, table[i].name) == 0)
			return table[i].status;
	return IMAP_STATUS_NONE;
}

/* The "]" that ends a response code, minding strings and lists within; NULL if there is none. */
static const char *
code_end(const char *pos, const char *end)
{
	bool quoted = false;
	int depth = 0;
	for (; pos < end; pos++) {
		if (quoted) {
			if (*pos == '\\' && pos + 1 < end)
				pos++;
			else if (*pos == '"')
				quoted = false;
		} else if (*pos == '"') {
			quoted = true;
		} else if (*pos == '(') {
			depth++;
		} else if (*pos == ')') {
			depth--;
		} else if (*pos == ']' && depth <= 0) {
			return pos;
		}
	}
	return NULL;
}

static void
take_code(struct scanner *scan, const char *close, struct imap_response *response)
{
	struct scanner inner = *scan;
	inner.pos++;
	inner.end = (size_t)(close - scan->text);
	inner.whole = false; /* half a code is better than none */
	skip_blanks(&inner);
	size_t word = word_end(&inner);
	if (word > inner.pos) {
		response->code = upper(scan->arena, scan->text + inner.pos, word - inner.pos);
		inner.pos = word;
		if (take_args(&inner, &response->code_args, &response->code_count) != NULL)
			response->code_count = 0;
	}
	scan->pos = (size_t)(close - scan->text) + 1;
	skip_blanks(scan);
}

static void
take_status(struct scanner *scan, struct imap_response *response)
{
	skip_blanks(scan);
	if (scan->pos < scan->end && scan->text[scan->pos] == '[') {
		const char *start = scan->text + scan->pos, *end = scan->text + scan->end;
		const char *close = code_end(start + 1, end);
		if (close == NULL) /* a quote that never closes, say */
			close = memchr(start, ']', (size_t)(end - start));
		if (close != NULL)
			take_code(scan, close, response);
	}
	response->text_len = scan->end - scan->pos;
	response->text = arena_strndup(scan->arena, scan->text + scan->pos, response->text_len);
}

/* --- responses ---------------------------------------------------------------------------- */

static bool
parse_number(const char *str, size_t len, uint32_t *number_r)
{
	uint64_t number = 0;
	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!g_ascii_isdigit(str[i]))
			return false;
		number = number * 10 + (uint64_t)(str[i] - '0');
	}
	if (number > UINT32_MAX)
		return false;
	*number_r = (uint32_t)number;
	return true;
}

static const char *
take_untagged(struct scanner *scan, struct imap_response *response)
{
	skip_blanks(scan);
	size_t end = word_end(scan);
	if (parse_number(scan->text + scan->pos, end - scan->pos, &response->number)) {
		response->has_number = true;
		scan->pos = end;
		skip_blanks(scan);
		end = word_end(scan);
	}
	/* "FETCH(UID 1)": the blank may be missing. */
	for (size_t i = scan->pos; i < end; i++)
		if (scan->text[i] == '(' || scan->text[i] == '[')
			end = i;
	if (end == scan->pos)
		return "a response without a name";
	response->name = upper(scan->arena, scan->text + scan->pos, end - scan->pos);
	scan->pos = end;
	response->status = status_by_name(response->name);
	if (response->status != IMAP_STATUS_NONE) {
		take_status(scan, response);
		return NULL;
	}
	if (strcmp(response->name, "SEARCH") == 0 || strcmp(response->name, "SORT") == 0) {
		/* A hundred thousand numbers are read where they are wanted. */
		skip_blanks(scan);
		response->numbers_len = scan->end - scan->pos;
		response->numbers = arena_strndup(scan->arena, scan->text + scan->pos,
		                                  response->numbers_len);
		return NULL;
	}
	return take_args(scan, &response->args, &response->count);
}

static const char *
take_tagged(struct scanner *scan, struct imap_response *response)
{
	size_t end = word_end(scan);
	response->kind = IMAP_KIND_TAGGED;
	response->tag = arena_strndup(scan->arena, scan->text, end);
	scan->pos = end;
	skip_blanks(scan);
	end = word_end(scan);
	response->name = upper(scan->arena, scan->text + scan->pos, end - scan->pos);
	response->status = status_by_name(response->name);
	if (response->status == IMAP_STATUS_NONE || response->status > IMAP_STATUS_BAD)
		return "neither tagged nor untagged";
	scan->pos = end;
	take_status(scan, response);
	return NULL;
}

static bool
starts_with(const char *text, size_t len, char c)
{
	return len > 0 && text[0] == c && (len == 1 || is_blank(text[1]));
}

const char *
tokens_response(const char *text, size_t len, const struct token_literal *literals,
                size_t literals_len, bool whole, const struct imap_limits *limits,
                struct arena *arena, struct imap_response *response_r)
{
	struct scanner scan = { .text = text, .end = len, .literals = literals,
		                .literals_len = literals_len, .limits = limits, .arena = arena,
		                .whole = whole };
	*response_r = (struct imap_response){ .kind = IMAP_KIND_UNTAGGED, .name = "", .tag = "",
		                              .text = "", .arena = arena };
	if (starts_with(text, len, '+')) {
		response_r->kind = IMAP_KIND_CONTINUE;
		scan.pos = 1;
		skip_blanks(&scan);
		response_r->text_len = len - scan.pos;
		response_r->text = arena_strndup(arena, text + scan.pos, response_r->text_len);
		return NULL;
	}
	if (starts_with(text, len, '*')) {
		scan.pos = 1;
		return take_untagged(&scan, response_r);
	}
	return take_tagged(&scan, response_r);
}

/* Whether the untagged response's first word is this. */
static bool
is_named(const char *text, size_t len, const char *name)
{
	size_t pos = 1, name_len = strlen(name);
	while (pos < len && is_blank(text[pos]))
		pos++;
	return len >= pos + name_len && g_ascii_strncasecmp(text + pos, name, name_len) == 0 &&
	       (len == pos + name_len || is_blank(text[pos + name_len]));
}

bool
tokens_is_status(const char *text, size_t len)
{
	static const char *const names[] = { "OK", "NO", "BAD", "BYE", "PREAUTH" };
	if (!starts_with(text, len, '*'))
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (is_named(text, len, names[i]))
			return true;
	return false;
}

bool
tokens_is_numbers(const char *text, size_t len)
{
	static const char *const names[] = { "SEARCH", "SORT", "ESEARCH", "VANISHED" };
	if (!starts_with(text, len, '*'))
		return false;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (is_named(text, len, names[i]))
			return true;
	return false;
}

/* --- which literals are streamed ----------------------------------------------------------- */

/* Sections that are small and wanted whole. */
static bool
is_held_section(const char *item)
{
	const char *section = strchr(item, '[');
	if (section == NULL)
		return false;
	section++;
	while (g_ascii_isdigit(*section) || *section == '.')
		section++;
	return g_str_has_prefix(section, "HEADER") || g_str_has_prefix(section, "MIME");
}

/* Where the item begins that ends at `end`: back over "<n>" and "[...]" and the word before. */
static size_t
item_start(const char *text, size_t end)
{
	size_t start = end;
	if (start > 0 && text[start - 1] == '>') {
		while (start > 0 && text[start - 1] != '<' && text[start - 1] != ' ')
			start--;
		if (start > 0 && text[start - 1] == '<')
			start--;
	}
	if (start > 0 && text[start - 1] == ']')
		while (start > 0 && text[start - 1] != '[')
			start--;
	while (start > 0 && text[start - 1] != ' ' && text[start - 1] != '(')
		start--;
	return start;
}

bool
tokens_streamed_item(const char *text, size_t len, GString *item_r)
{
	static const char *const streamed[] = { "BODY[", "BODY.PEEK[", "BINARY[", "BINARY.PEEK[" };
	while (len > 0 && text[len - 1] == ' ')
		len--;
	size_t start = item_start(text, len);
	g_string_truncate(item_r, 0);
	g_string_append_len(item_r, text + start, (gssize)(len - start));
	char *item = g_ascii_strup(item_r->str, -1);
	bool body = strcmp(item, "RFC822") == 0 || strcmp(item, "RFC822.TEXT") == 0;
	for (size_t i = 0; i < G_N_ELEMENTS(streamed); i++)
		body |= g_str_has_prefix(item, streamed[i]);
	body = body && !is_held_section(item);
	g_free(item);
	/* Only in a FETCH: a mailbox may be called RFC822. */
	const char *number = memchr(text, ' ', len);
	size_t pos = number != NULL ? (size_t)(number - text) + 1 : len;
	while (pos < len && (g_ascii_isdigit(text[pos]) || text[pos] == ' '))
		pos++;
	return body && len - pos > 5 &&
	       (g_ascii_strncasecmp(text + pos, "FETCH", 5) == 0 ||
	        g_ascii_strncasecmp(text + pos, "UIDFETCH", MIN(8, len - pos)) == 0);
}
