/* SPDX-License-Identifier: MIT */
/* Building commands: see command.h. */
#include "config.h"

#include "imap/command.h"

#include <string.h>

#include "imap/date.h"
#include "imap/fetch.h"

/* Longer strings go as literals. */
#define QUOTED_MAX 1000u

struct piece {
	GString *octets;
	bool wait;
};

struct imap_command {
	enum imap_literals literals;
	GArray *pieces;  /* struct piece; the last one grows */
	GString *trace;
	bool bare;       /* nothing, or "(", stands before: no blank is put */
	bool ended;
	const char *bad; /* what couldn't be said */
};

static void
clear_piece(gpointer data)
{
	struct piece *piece = data;
	explicit_bzero(piece->octets->str, piece->octets->len);
	g_string_free(piece->octets, TRUE);
}

static GString *
last(const struct imap_command *command)
{
	return g_array_index(command->pieces, struct piece, command->pieces->len - 1).octets;
}

static void
start_piece(struct imap_command *command, bool wait)
{
	struct piece piece = { g_string_new(NULL), wait };
	g_array_append_val(command->pieces, piece);
}

struct imap_command *
imap_command_new(const char *verb, enum imap_literals literals)
{
	struct imap_command *command = g_new0(struct imap_command, 1);
	command->literals = literals;
	command->pieces = g_array_new(FALSE, FALSE, sizeof(struct piece));
	g_array_set_clear_func(command->pieces, clear_piece);
	command->trace = g_string_new(NULL);
	command->bare = true;
	start_piece(command, false);
	imap_command_raw(command, verb);
	return command;
}

void
imap_command_free(struct imap_command **command)
{
	if (*command == NULL)
		return;
	g_array_free((*command)->pieces, TRUE);
	g_string_free((*command)->trace, TRUE);
	g_free(*command);
	*command = NULL;
}

static void
put(struct imap_command *command, const char *text, size_t len, const char *shown)
{
	if (!command->bare) {
		g_string_append_c(last(command), ' ');
		g_string_append_c(command->trace, ' ');
	}
	command->bare = false;
	if (shown != NULL) { /* room for what follows too: growing would leave a copy behind */
		gsize used = last(command)->len;
		g_string_set_size(last(command), used + len + 64);
		g_string_set_size(last(command), used);
	}
	g_string_append_len(last(command), text, (gssize)len);
	if (shown != NULL)
		g_string_append(command->trace, shown);
	else
		g_string_append_len(command->trace, text, (gssize)len);
}

void
imap_command_raw(struct imap_command *command, const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		g_assert(*c >= ' ' && *c <= '~');
	put(command, text, strlen(text), NULL);
}

void
imap_command_open(struct imap_command *command)
{
	put(command, "(", 1, NULL);
	command->bare = true;
}

void
imap_command_close(struct imap_command *command)
{
	command->bare = true;
	put(command, ")", 1, NULL);
}

void
imap_command_number(struct imap_command *command, uint64_t number)
{
	char text[24];
	g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, number);
	put(command, text, strlen(text), NULL);
}

void
imap_command_set(struct imap_command *command, const char *set)
{
	g_assert(set[0] != '\0' && set[strspn(set, "0123456789:,*")] == '\0');
	put(command, set, strlen(set), NULL);
}

static bool
is_quotable(const char *text, size_t len)
{
	if (len > QUOTED_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return true;
}

static void
put_quoted(struct imap_command *command, const char *text, size_t len, const char *shown)
{
	GString *quoted = g_string_sized_new(len + 3);
	g_string_append_c(quoted, '"');
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			g_string_append_c(quoted, '\\');
		g_string_append_c(quoted, text[i]);
	}
	g_string_append_c(quoted, '"');
	put(command, quoted->str, quoted->len, shown);
	explicit_bzero(quoted->str, quoted->len);
	g_string_free(quoted, TRUE);
}

static bool
needs_wait(const struct imap_command *command, size_t len)
{
	return command->literals == IMAP_LITERALS_SYNC ||
	       (command->literals == IMAP_LITERALS_MINUS && len > IMAP_LITERAL_MINUS_MAX) ||
	       len > IMAP_LITERAL_PLUS_MAX;
}

static void
put_literal(struct imap_command *command, const void *data, size_t len, bool binary,
            const char *shown)
{
	char head[32];
	bool wait = needs_wait(command, len);
	g_snprintf(head, sizeof head, "%s{%zu%s}", binary ? "~" : "", len, wait ? "" : "+");
	put(command, head, strlen(head), shown);
	g_string_append(last(command), "\r\n");
	if (wait)
		start_piece(command, true);
	g_string_append_len(last(command), data, (gssize)len);
}

static void
put_string(struct imap_command *command, const char *text, size_t len, const char *shown)
{
	if (memchr(text, '\0', len) != NULL)
		command->bad = "a NUL";
	else if (is_quotable(text, len))
		put_quoted(command, text, len, shown);
	else
		put_literal(command, text, len, false, shown);
}

void
imap_command_astring(struct imap_command *command, const char *text, size_t len)
{
	put_string(command, text, len, NULL);
}

void
imap_command_mailbox(struct imap_command *command, const char *raw, size_t len)
{
	put_string(command, raw, len, NULL);
}

void
imap_command_secret(struct imap_command *command, const char *text, size_t len)
{
	put_string(command, text, len, "***");
}

void
imap_command_secret_word(struct imap_command *command, const char *word)
{
	for (const char *c = word; *c != '\0'; c++)
		if (!g_ascii_isgraph(*c))
			command->bad = "a word with blanks";
	put(command, word, strlen(word), "***");
}

/* Whether this is a flag that a client may store. */
static bool
flag_valid(const char *flag)
{
	const char *c = flag[0] == '\\' ? flag + 1 : flag;
	if (*c == '\0' || g_ascii_strcasecmp(flag, "\\Recent") == 0)
		return false;
	for (; *c != '\0'; c++)
		if (!g_ascii_isgraph(*c) || strchr("(){%*\"\\]", *c) != NULL)
			return false;
	return true;
}

void
imap_command_flag(struct imap_command *command, const char *flag)
{
	if (flag_valid(flag))
		put(command, flag, strlen(flag), NULL);
	else
		command->bad = "a flag that is none";
}

void
imap_command_date_time(struct imap_command *command, int64_t epoch)
{
	char date[IMAP_DATE_SIZE];
	imap_date_format(epoch, date);
	put_quoted(command, date, strlen(date), NULL);
}

void
imap_command_literal(struct imap_command *command, const void *data, size_t len, bool binary)
{
	bool nul = memchr(data, '\0', len) != NULL;
	if (nul && !binary)
		command->bad = "a NUL";
	else
		put_literal(command, data, len, nul, NULL);
}

bool
imap_command_end(struct imap_command *command, struct fault *fault)
{
	if (command->bad != NULL)
		return fault_set(fault, FAULT_INVALID, "%s can't be said in a command: %.60s",
		                 command->bad, command->trace->str);
	if (!command->ended)
		g_string_append(last(command), "\r\n");
	command->ended = true;
	return true;
}

unsigned
imap_command_pieces(const struct imap_command *command)
{
	return command->pieces->len;
}

const char *
imap_command_piece(const struct imap_command *command, unsigned index, size_t *len_r, bool *wait_r)
{
	const struct piece *piece = &g_array_index(command->pieces, struct piece, index);
	*len_r = piece->octets->len;
	*wait_r = piece->wait;
	return piece->octets->str;
}

const char *
imap_command_trace(const struct imap_command *command)
{
	return command->trace->str;
}
