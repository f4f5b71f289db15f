/* SPDX-License-Identifier: MIT */
/* The made-up mailbox and its messages: see bigbox.h. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <time.h>

#include "bigbox.h"

#define EPOCH 1300000000 /* when the first message came */

const struct flag box_flags[BOX_FLAGS] = {
	{ "\\Seen", "SEEN", "UNSEEN", SEEN },
	{ "\\Answered", "ANSWERED", "UNANSWERED", ANSWERED },
	{ "\\Flagged", "FLAGGED", "UNFLAGGED", FLAGGED },
	{ "\\Deleted", "DELETED", "UNDELETED", DELETED },
	{ "\\Draft", "DRAFT", "UNDRAFT", DRAFT },
};

struct box box;

/* --- the mailbox -------------------------------------------------------------------------- */

bool
is_gone(uint32_t uid)
{
	return uid == 0 || uid >= box.uidnext || (box.gone[uid / 64] >> (uid % 64) & 1);
}

/* How many messages there are below a UID. */
uint32_t
count_below(uint32_t uid)
{
	uint32_t gone = 0;
	for (uint32_t i = 0; i < uid / 64; i++)
		gone += (uint32_t)__builtin_popcountll(box.gone[i]);
	if (uid % 64 != 0)
		gone += (uint32_t)__builtin_popcountll(box.gone[uid / 64] &
		                                       ((UINT64_C(1) << (uid % 64)) - 1));
	return uid - gone; /* bit 0 is set: there is no UID 0 */
}

uint64_t
modseq_of(uint32_t uid)
{
	gpointer found = g_hash_table_lookup(box.touched, GUINT_TO_POINTER(uid));
	return found == NULL ? 1 : GPOINTER_TO_SIZE(found);
}

uint64_t
highest_modseq(void)
{
	return box.log->len + 1;
}

static uint8_t
first_bits(uint32_t uid)
{
	uint32_t mixed = uid * 2654435761u >> 8;
	return (mixed % 100 < 97 ? SEEN : 0) | (mixed / 100 % 100 < 5 ? ANSWERED : 0) |
	       (mixed / 10000 % 100 < 1 ? FLAGGED : 0);
}

uint32_t
box_add(void)
{
	if (box.uidnext >= box.room) {
		box.room += box.room / 8 + 6400;
		box.gone = g_renew(uint64_t, box.gone, box.room / 64 + 1);
		box.bits = g_renew(uint8_t, box.bits, box.room);
	}
	uint32_t uid = box.uidnext++;
	if (uid % 64 == 0)
		box.gone[uid / 64] = 0;
	box.bits[uid] = first_bits(uid);
	box.exists++;
	return uid;
}

void
box_fill(uint32_t messages)
{
	box.log = g_array_new(FALSE, FALSE, sizeof(struct change));
	box.touched = g_hash_table_new(NULL, NULL);
	box.wakeups = g_ptr_array_new();
	box.room = messages + 6400;
	box.gone = g_new(uint64_t, box.room / 64 + 1);
	box.bits = g_new(uint8_t, box.room);
	box.gone[0] = 1;
	box.uidnext = 1;
	while (box.exists < messages)
		box_add();
}

/* Lock held. */
void
log_change(enum change_kind kind, uint32_t uid)
{
	struct change change = { .kind = kind, .uid = uid };
	g_array_append_val(box.log, change);
	g_hash_table_insert(box.touched, GUINT_TO_POINTER(uid), GSIZE_TO_POINTER(highest_modseq()));
	for (guint i = 0; i < box.wakeups->len; i++)
		eventfd_write(GPOINTER_TO_INT(g_ptr_array_index(box.wakeups, i)), 1);
}

/* --- a message ---------------------------------------------------------------------------- */

static uint32_t
size_of(uint32_t uid)
{
	return 1500 + uid * 7919u % 6000;
}

static const char *
date_of(uint32_t uid, bool internal)
{
	static __thread char text[64];
	struct tm tm;
	time_t when = EPOCH + (time_t)uid * 60;
	strftime(text, sizeof text, internal ? "%d-%b-%Y %H:%M:%S +0000"
	                                     : "%a, %d %b %Y %H:%M:%S +0000", gmtime_r(&when, &tm));
	return text;
}

/* The fields that `wanted` names ("DATE FROM"), all where it is NULL, and the empty line. */
static void
make_header(GString *out, uint32_t uid, const char *wanted)
{
	if (wanted == NULL || strcasestr(wanted, "DATE") != NULL)
		g_string_append_printf(out, "Date: %s\r\n", date_of(uid, false));
	if (wanted == NULL || strcasestr(wanted, "FROM") != NULL)
		g_string_append_printf(out, "From: Sender %u <s%u@example.org>\r\n", uid % 97,
		                       uid % 97);
	if (wanted == NULL || strcasestr(wanted, "SUBJECT") != NULL)
		g_string_append_printf(out, "Subject: message number %u\r\n", uid);
	if (wanted == NULL || strcasestr(wanted, "MESSAGE-ID") != NULL)
		g_string_append_printf(out, "Message-ID: <big.%u@example.org>\r\n", uid);
	g_string_append(out, "\r\n");
}

static void
make_message(GString *out, uint32_t uid)
{
	static const char line[] = "All work and no play makes for a line of text.\r\n";
	make_header(out, uid, NULL);
	while (out->len + sizeof line - 1 <= size_of(uid))
		g_string_append_len(out, line, sizeof line - 1);
	while (out->len < size_of(uid))
		g_string_append_c(out, '.');
}

void
append_flags(GString *out, uint32_t uid)
{
	const char *space = "";
	g_string_append(out, "FLAGS (");
	for (gsize i = 0; i < BOX_FLAGS; i++)
		if (box.bits[uid] & box_flags[i].bit) {
			g_string_append_printf(out, "%s%s", space, box_flags[i].name);
			space = " ";
		}
	g_string_append_c(out, ')');
}

/* BODY[...] or BODY.PEEK[...], with <FIRST.COUNT> or without. */
static void
append_body(GString *out, uint32_t uid, const char *item)
{
	static __thread GString *octets;
	if (octets == NULL)
		octets = g_string_new(NULL);
	const char *section = strchr(item, '['), *fields = strchr(section, '(');
	const char *end = strrchr(section, ']');
	gsize first = 0, count = G_MAXUINT32;
	g_string_truncate(octets, 0);
	if (fields != NULL)
		make_header(octets, uid, fields);
	else if (strncasecmp(section, "[HEADER]", 8) == 0)
		make_header(octets, uid, NULL);
	else
		make_message(octets, uid);
	g_string_append_printf(out, "BODY%.*s", (int)(end + 1 - section), section);
	if (sscanf(end, "]<%zu.%zu>", &first, &count) == 2)
		g_string_append_printf(out, "<%zu>", first);
	first = MIN(first, octets->len);
	count = MIN(count, octets->len - first);
	g_string_append_printf(out, " {%zu}\r\n", count);
	g_string_append_len(out, octets->str + first, (gssize)count);
}

bool
append_item(GString *out, uint32_t uid, const char *item)
{
	if (strcasecmp(item, "UID") == 0)
		g_string_append_printf(out, "UID %u", uid);
	else if (strcasecmp(item, "FLAGS") == 0)
		append_flags(out, uid);
	else if (strcasecmp(item, "RFC822.SIZE") == 0)
		g_string_append_printf(out, "RFC822.SIZE %u", size_of(uid));
	else if (strcasecmp(item, "INTERNALDATE") == 0)
		g_string_append_printf(out, "INTERNALDATE \"%s\"", date_of(uid, true));
	else if (strcasecmp(item, "MODSEQ") == 0)
		g_string_append_printf(out, "MODSEQ (%" PRIu64 ")", modseq_of(uid));
	else if (strncasecmp(item, "BODY", 4) == 0 && strchr(item, '[') != NULL)
		append_body(out, uid, item);
	else
		return false;
	return true;
}

/* --- words and sets --------------------------------------------------------------------- */

char *
next_word(char **at)
{
	char *start = *at + strspn(*at, " "), *end = start;
	int depth = 0;
	if (*start == '"') {
		end = start + 1 + strcspn(start + 1, "\"");
		*at = *end != '\0' ? end + 1 : end;
		*end = '\0';
		return start + 1;
	}
	for (; *end != '\0' && (depth > 0 || *end != ' '); end++)
		depth += (*end == '(' || *end == '[') - (*end == ')' || *end == ']');
	*at = *end != '\0' ? end + 1 : end;
	*end = '\0';
	return start;
}

char *
inside(char *list)
{
	size_t len = strlen(list);
	if (len < 2 || list[0] != '(' || list[len - 1] != ')')
		return list;
	list[len - 1] = '\0';
	return list + 1;
}

static uint32_t
read_uid(char **at)
{
	if (**at != '*')
		return (uint32_t)strtoul(*at, at, 10);
	(*at)++;
	uint32_t last = box.uidnext - 1;
	while (last > 0 && is_gone(last))
		last--;
	return last;
}

bool
next_range(char **at, struct range *range_r)
{
	if (**at == '\0')
		return false;
	uint32_t a = read_uid(at), b = a;
	if (**at == ':') {
		(*at)++;
		b = read_uid(at);
	}
	*at += strspn(*at, ",");
	*range_r = (struct range){ MAX(MIN(a, b), 1), MIN(MAX(a, b), box.uidnext - 1) };
	return a > 0 || b > 0 || **at != '\0';
}

void
append_range(GString *out, uint32_t first, uint32_t last)
{
	if (out->len > 0)
		g_string_append_c(out, ',');
	g_string_append_printf(out, first == last ? "%u" : "%u:%u", first, last);
}
