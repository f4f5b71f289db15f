/* SPDX-License-Identifier: MIT */
/* FETCH responses: see fetch.h. */
#include "config.h"

#include "imap/fetch.h"

#include <glib.h>
#include <string.h>

#include "base/arena.h"
#include "imap/date.h"
#include "imap/response.h"

static const struct {
	const char *name;
	enum imap_flag bit;
} flag_names[] = {
	{ "\\Seen", IMAP_FLAG_SEEN },       { "\\Answered", IMAP_FLAG_ANSWERED },
	{ "\\Flagged", IMAP_FLAG_FLAGGED }, { "\\Deleted", IMAP_FLAG_DELETED },
	{ "\\Draft", IMAP_FLAG_DRAFT },     { "\\Recent", IMAP_FLAG_RECENT },
	{ "\\*", IMAP_FLAG_ANY },
};

const char *
imap_flag_name(enum imap_flag bit)
{
	for (size_t i = 0; i < G_N_ELEMENTS(flag_names); i++)
		if (flag_names[i].bit == bit)
			return flag_names[i].name;
	return NULL;
}

/* The bit of a name in any case, 0 for a keyword. */
static unsigned
flag_bit(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(flag_names); i++)
		if (g_ascii_strcasecmp(flag_names[i].name, name) == 0)
			return flag_names[i].bit;
	return 0;
}

/* The words of a list that are no lists. */
static const char *const *
take_words(const struct imap_response *response, const struct imap_arg *list, unsigned *count_r,
           unsigned *bits)
{
	const char **words = NULL;
	*count_r = 0;
	for (unsigned i = 0; i < list->count; i++) {
		const struct imap_arg *item = &list->items[i];
		if (item->type == IMAP_ARG_LIST || item->type == IMAP_ARG_STREAMED ||
		    item->len == 0)
			continue;
		unsigned bit = bits != NULL ? flag_bit(item->str) : 0;
		if (bit != 0) {
			*bits |= bit;
			continue;
		}
		if (words == NULL)
			words = arena_alloc(response->arena, list->count * sizeof *words);
		words[(*count_r)++] = item->str;
	}
	return words;
}

bool
imap_flags_decode(const struct imap_response *response, const struct imap_arg *arg,
                  struct imap_flags *flags_r)
{
	struct imap_flags flags = { 0 };
	if (arg->type != IMAP_ARG_LIST)
		return false;
	flags.keywords = take_words(response, arg, &flags.keyword_count, &flags.bits);
	*flags_r = flags;
	return true;
}

/* --- items with octets -------------------------------------------------------------------- */

static bool
is_header_section(const char *section, size_t len)
{
	return len >= 6 && g_ascii_strncasecmp(section, "HEADER", 6) == 0;
}

/* The header of a part, or its MIME fields: small, and no body. */
static bool
is_part_header(const char *section, size_t len)
{
	while (len > 0 && (g_ascii_isdigit(*section) || *section == '.')) {
		section++;
		len--;
	}
	return is_header_section(section, len) ||
	       (len >= 4 && g_ascii_strncasecmp(section, "MIME", 4) == 0);
}

static bool
is_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && g_ascii_strncasecmp(text, word, len) == 0;
}

bool
imap_header_item(const char *item, size_t len)
{
	if (is_word(item, len, "RFC822.HEADER"))
		return true;
	const char *open = memchr(item, '[', len);
	size_t word = open != NULL ? (size_t)(open - item) : 0;
	return (is_word(item, word, "BODY") || is_word(item, word, "BODY.PEEK")) &&
	       is_header_section(open + 1, len - word - 1);
}

bool
imap_body_item(const char *item, size_t len, struct imap_body *body_r)
{
	struct imap_body body = *body_r;
	body.has_origin = false;
	if (is_word(item, len, "RFC822") || is_word(item, len, "RFC822.TEXT")) {
		body.section = len == 6 ? "" : "TEXT";
		body.section_len = strlen(body.section);
		*body_r = body;
		return true;
	}
	const char *open = memchr(item, '[', len);
	if (open == NULL)
		return false;
	size_t word = (size_t)(open - item);
	if (!is_word(item, word, "BODY") && !is_word(item, word, "BODY.PEEK") &&
	    !is_word(item, word, "BINARY") && !is_word(item, word, "BINARY.PEEK"))
		return false;
	const char *close = memchr(open, ']', len - word);
	if (close == NULL || is_part_header(open + 1, (size_t)(close - open) - 1))
		return false;
	body.section = open + 1;
	body.section_len = (size_t)(close - open) - 1;
	if (close + 1 < item + len && close[1] == '<' && g_ascii_isdigit(close[2])) {
		body.has_origin = true;
		body.origin = g_ascii_strtoull(close + 2, NULL, 10);
	}
	*body_r = body;
	return true;
}

static void
take_body(const struct imap_arg *value, struct imap_body *body)
{
	switch (value->type) {
	case IMAP_ARG_STREAMED:
		body->state = IMAP_BODY_STREAMED;
		body->size = value->size;
		break;
	case IMAP_ARG_STRING:
	case IMAP_ARG_ATOM:
		body->state = IMAP_BODY_STRING;
		body->data = value->str;
		body->len = value->len;
		break;
	default:
		body->state = IMAP_BODY_NIL;
		break;
	}
}

/* True if the item is one with octets. */
static bool
take_octets(const struct imap_arg *name, const struct imap_arg *value, struct imap_fetch *fetch)
{
	struct imap_body body = { 0 };
	if (imap_header_item(name->str, name->len)) {
		if (value->type == IMAP_ARG_STRING && fetch->header_len == 0) {
			fetch->header = value->str;
			fetch->header_len = value->len;
		}
		return true;
	}
	if (!imap_body_item(name->str, name->len, &body))
		return false;
	take_body(value, &body);
	fetch->body_count++;
	bool better = fetch->body.state == IMAP_BODY_ABSENT ||
	              (body.section_len == 0 && fetch->body.section_len != 0);
	if (better)
		fetch->body = body;
	return true;
}

/* --- the others --------------------------------------------------------------------------- */

static const char *
id_text(const struct imap_arg *value)
{
	if (value->type == IMAP_ARG_LIST && value->count == 1)
		value = value->items;
	return value->type == IMAP_ARG_ATOM || value->type == IMAP_ARG_STRING ? value->str : NULL;
}

static void
take_modseq(const struct imap_arg *value, struct imap_fetch *fetch)
{
	if (value->type == IMAP_ARG_LIST && value->count == 1)
		value = value->items;
	if (imap_arg_u64(value, &fetch->modseq) && fetch->modseq != 0)
		fetch->has_modseq = true;
}

static void
take_uid(const struct imap_arg *value, struct imap_fetch *fetch, bool *twice)
{
	uint32_t uid;
	if (!imap_arg_u32(value, &uid))
		return;
	*twice |= fetch->uid != 0 && fetch->uid != uid;
	fetch->uid = uid;
}

static void
take_item(const struct imap_response *response, const struct imap_arg *name,
          const struct imap_arg *value, struct imap_fetch *fetch, bool *twice)
{
	if (imap_arg_is(name, "UID")) {
		take_uid(value, fetch, twice);
	} else if (imap_arg_is(name, "FLAGS")) {
		fetch->has_flags = imap_flags_decode(response, value, &fetch->flags);
	} else if (imap_arg_is(name, "RFC822.SIZE")) {
		fetch->has_size = imap_arg_u64(value, &fetch->size);
	} else if (imap_arg_is(name, "INTERNALDATE")) {
		fetch->has_internaldate = value->type == IMAP_ARG_STRING &&
		                          imap_date_parse(value->str, value->len,
		                                          &fetch->internaldate);
	} else if (imap_arg_is(name, "MODSEQ")) {
		take_modseq(value, fetch);
	} else if (imap_arg_is(name, "EMAILID")) {
		fetch->emailid = id_text(value);
	} else if (imap_arg_is(name, "THREADID")) {
		fetch->threadid = id_text(value);
	} else if (imap_arg_is(name, "X-GUID")) {
		fetch->guid = id_text(value);
	} else if (imap_arg_is(name, "X-GM-MSGID")) {
		fetch->has_gm_msgid = imap_arg_u64(value, &fetch->gm_msgid);
	} else if (imap_arg_is(name, "X-GM-THRID")) {
		fetch->has_gm_thrid = imap_arg_u64(value, &fetch->gm_thrid);
	} else if (imap_arg_is(name, "X-GM-LABELS")) {
		fetch->has_gm_labels = value->type == IMAP_ARG_LIST;
		if (fetch->has_gm_labels)
			fetch->gm_labels =
				take_words(response, value, &fetch->gm_label_count, NULL);
	} else if (name->type == IMAP_ARG_ATOM) {
		take_octets(name, value, fetch);
	}
}

bool
imap_fetch_decode(const struct imap_response *response, struct imap_fetch *fetch_r)
{
	struct imap_fetch fetch = { 0 };
	bool twice = false;
	if (imap_response_type(response) != IMAP_TYPE_FETCH || response->number == 0 ||
	    response->count == 0 || response->args[0].type != IMAP_ARG_LIST)
		return false;
	if (strcmp(response->name, "UIDFETCH") == 0)
		fetch.uid = response->number;
	else
		fetch.seq = response->number;
	const struct imap_arg *list = &response->args[0];
	for (unsigned i = 0; i + 1 < list->count; i++) {
		/* What is no name is a value too many: back into step. */
		if (list->items[i].type != IMAP_ARG_ATOM)
			continue;
		take_item(response, &list->items[i], &list->items[i + 1], &fetch, &twice);
		i++;
	}
	if (twice)
		fetch.uid = 0;
	*fetch_r = fetch;
	return true;
}
