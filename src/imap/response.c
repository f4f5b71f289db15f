/* SPDX-License-Identifier: MIT */
/* Typed values out of responses: see response.h. */
#include "config.h"

#include "imap/response.h"

#include <glib.h>
#include <string.h>

#include "base/arena.h"

enum imap_type
imap_response_type(const struct imap_response *response)
{
	static const struct {
		const char *name;
		bool number;
		enum imap_type type;
	} table[] = {
		{ "FETCH", true, IMAP_TYPE_FETCH },       { "UIDFETCH", true, IMAP_TYPE_FETCH },
		{ "EXISTS", true, IMAP_TYPE_EXISTS },     { "EXPUNGE", true, IMAP_TYPE_EXPUNGE },
		{ "RECENT", true, IMAP_TYPE_RECENT },     { "SEARCH", false, IMAP_TYPE_SEARCH },
		{ "ESEARCH", false, IMAP_TYPE_ESEARCH },  { "VANISHED", false, IMAP_TYPE_VANISHED },
		{ "LIST", false, IMAP_TYPE_LIST },        { "LSUB", false, IMAP_TYPE_LSUB },
		{ "XLIST", false, IMAP_TYPE_XLIST },      { "STATUS", false, IMAP_TYPE_STATUS },
		{ "FLAGS", false, IMAP_TYPE_FLAGS },
		{ "CAPABILITY", false, IMAP_TYPE_CAPABILITY },
		{ "ENABLED", false, IMAP_TYPE_ENABLED },  { "ID", false, IMAP_TYPE_ID },
		{ "NAMESPACE", false, IMAP_TYPE_NAMESPACE }, { "QUOTA", false, IMAP_TYPE_QUOTA },
		{ "QUOTAROOT", false, IMAP_TYPE_QUOTAROOT },
	};
	if (response->kind != IMAP_KIND_UNTAGGED)
		return IMAP_TYPE_OTHER;
	if (response->status != IMAP_STATUS_NONE)
		return IMAP_TYPE_STATE;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		if (table[i].number == response->has_number &&
		    strcmp(table[i].name, response->name) == 0)
			return table[i].type;
	return IMAP_TYPE_OTHER;
}

/* --- getters ------------------------------------------------------------------------------ */

bool
imap_arg_u64(const struct imap_arg *arg, uint64_t *number_r)
{
	uint64_t number = 0;
	if ((arg->type != IMAP_ARG_ATOM && arg->type != IMAP_ARG_STRING) || arg->len == 0)
		return false;
	for (size_t i = 0; i < arg->len; i++) {
		if (!g_ascii_isdigit(arg->str[i]))
			return false;
		uint64_t digit = (uint64_t)(arg->str[i] - '0');
		if (number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*number_r = number;
	return true;
}

bool
imap_arg_u32(const struct imap_arg *arg, uint32_t *number_r)
{
	uint64_t number;
	if (!imap_arg_u64(arg, &number) || number > UINT32_MAX)
		return false;
	*number_r = (uint32_t)number;
	return true;
}

bool
imap_arg_astring(const struct imap_arg *arg, const char **str_r, size_t *len_r)
{
	if (arg->type == IMAP_ARG_LIST || arg->type == IMAP_ARG_STREAMED)
		return false;
	*str_r = arg->str;
	*len_r = arg->len;
	return true;
}

bool
imap_arg_nstring(const struct imap_arg *arg, const char **str_r, size_t *len_r)
{
	if (arg->type == IMAP_ARG_NIL) {
		*str_r = NULL;
		*len_r = 0;
		return true;
	}
	return imap_arg_astring(arg, str_r, len_r);
}

bool
imap_arg_is(const struct imap_arg *arg, const char *atom)
{
	return (arg->type == IMAP_ARG_ATOM || arg->type == IMAP_ARG_NIL) &&
	       g_ascii_strcasecmp(arg->str, atom) == 0;
}

/* --- mailboxes ---------------------------------------------------------------------------- */

static uint32_t
attr_by_name(const char *name)
{
	static const struct {
		const char *name;
		uint32_t bits;
	} table[] = {
		{ "\\Noselect", IMAP_ATTR_NOSELECT },
		{ "\\NonExistent", IMAP_ATTR_NONEXISTENT | IMAP_ATTR_NOSELECT },
		{ "\\HasChildren", IMAP_ATTR_HASCHILDREN },
		{ "\\HasNoChildren", IMAP_ATTR_HASNOCHILDREN },
		{ "\\Noinferiors", IMAP_ATTR_NOINFERIORS },
		{ "\\Subscribed", IMAP_ATTR_SUBSCRIBED },
		{ "\\Remote", IMAP_ATTR_REMOTE },
		{ "\\Marked", IMAP_ATTR_MARKED },
		{ "\\Unmarked", IMAP_ATTR_UNMARKED },
		{ "\\All", IMAP_USE_ALL },
		{ "\\AllMail", IMAP_USE_ALL },
		{ "\\Archive", IMAP_USE_ARCHIVE },
		{ "\\Drafts", IMAP_USE_DRAFTS },
		{ "\\Flagged", IMAP_USE_FLAGGED },
		{ "\\Starred", IMAP_USE_FLAGGED },
		{ "\\Important", IMAP_USE_IMPORTANT },
		{ "\\Inbox", IMAP_USE_INBOX },
		{ "\\Junk", IMAP_USE_JUNK },
		{ "\\Spam", IMAP_USE_JUNK },
		{ "\\Sent", IMAP_USE_SENT },
		{ "\\Trash", IMAP_USE_TRASH },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		if (g_ascii_strcasecmp(table[i].name, name) == 0)
			return table[i].bits;
	return 0;
}

bool
imap_list_decode(const struct imap_response *response, struct imap_list *list_r)
{
	enum imap_type type = imap_response_type(response);
	const struct imap_arg *args = response->args;
	struct imap_list list = { 0 };
	if ((type != IMAP_TYPE_LIST && type != IMAP_TYPE_LSUB && type != IMAP_TYPE_XLIST) ||
	    response->count < 3 || args[0].type != IMAP_ARG_LIST ||
	    !imap_arg_nstring(&args[1], &list.delimiter, &list.delimiter_len) ||
	    !imap_arg_astring(&args[2], &list.name, &list.name_len))
		return false;
	/* A name with blanks that nobody quoted is spread over several atoms. */
	if (args[2].type == IMAP_ARG_ATOM && response->count > 3 &&
	    args[3].type == IMAP_ARG_ATOM) {
		GString *joined = g_string_new(args[2].str);
		for (unsigned i = 3; i < response->count && args[i].type == IMAP_ARG_ATOM; i++)
			g_string_append_printf(joined, " %s", args[i].str);
		list.name_len = joined->len;
		list.name = arena_strndup(response->arena, joined->str, joined->len);
		g_string_free(joined, TRUE);
	}
	if (list.delimiter_len == 0)
		list.delimiter = NULL;
	for (unsigned i = 0; i < args[0].count; i++)
		list.attrs |= attr_by_name(args[0].items[i].str);
	*list_r = list;
	return true;
}

static void
status_item(const struct imap_arg *name, const struct imap_arg *value,
            struct imap_mailbox_status *status)
{
	uint64_t number;
	if (imap_arg_is(name, "MAILBOXID")) {
		const struct imap_arg *id = value->type == IMAP_ARG_LIST && value->count > 0
		                                    ? value->items : value;
		if (id->type != IMAP_ARG_LIST)
			status->mailboxid = id->str;
		return;
	}
	if (!imap_arg_u64(value, &number))
		return;
	const struct {
		const char *name;
		bool *has;
		uint32_t *small;
		uint64_t *large;
	} table[] = {
		{ "MESSAGES", &status->has_messages, &status->messages, NULL },
		{ "RECENT", &status->has_recent, &status->recent, NULL },
		{ "UNSEEN", &status->has_unseen, &status->unseen, NULL },
		{ "DELETED", &status->has_deleted, &status->deleted, NULL },
		{ "UIDNEXT", &status->has_uidnext, &status->uidnext, NULL },
		{ "UIDVALIDITY", &status->has_uidvalidity, NULL, &status->uidvalidity },
		{ "SIZE", &status->has_size, NULL, &status->size },
		{ "APPENDLIMIT", &status->has_appendlimit, NULL, &status->appendlimit },
		{ "HIGHESTMODSEQ", &status->has_highestmodseq, NULL, &status->highestmodseq },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (!imap_arg_is(name, table[i].name))
			continue;
		if (table[i].small != NULL && number > UINT32_MAX)
			return;
		*table[i].has = true;
		if (table[i].small != NULL)
			*table[i].small = (uint32_t)number;
		else
			*table[i].large = number;
	}
}

bool
imap_status_decode(const struct imap_response *response, struct imap_mailbox_status *status_r)
{
	struct imap_mailbox_status status = { 0 };
	if (imap_response_type(response) != IMAP_TYPE_STATUS || response->count < 2 ||
	    !imap_arg_astring(&response->args[0], &status.name, &status.name_len))
		return false;
	const struct imap_arg *list = &response->args[response->count - 1];
	if (list->type != IMAP_ARG_LIST)
		return false;
	for (unsigned i = 0; i + 1 < list->count; i += 2)
		status_item(&list->items[i], &list->items[i + 1], &status);
	*status_r = status;
	return true;
}

/* NIL, or a list of (prefix delimiter ...). */
static void
take_namespace(const struct imap_response *response, const struct imap_arg *arg,
               const struct imap_namespace_entry **entries_r, unsigned *count_r)
{
	*count_r = 0;
	*entries_r = NULL;
	if (arg->type != IMAP_ARG_LIST || arg->count == 0)
		return;
	struct imap_namespace_entry *entries =
		arena_alloc(response->arena, arg->count * sizeof *entries);
	for (unsigned i = 0; i < arg->count; i++) {
		const struct imap_arg *entry = &arg->items[i];
		struct imap_namespace_entry *out = &entries[*count_r];
		if (entry->type == IMAP_ARG_LIST && entry->count >= 2 &&
		    imap_arg_astring(&entry->items[0], &out->prefix, &out->prefix_len) &&
		    imap_arg_nstring(&entry->items[1], &out->delimiter, &out->delimiter_len))
			(*count_r)++;
	}
	*entries_r = entries;
}

bool
imap_namespaces_decode(const struct imap_response *response, struct imap_namespaces *namespaces_r)
{
	struct imap_namespaces spaces = { 0 };
	if (imap_response_type(response) != IMAP_TYPE_NAMESPACE || response->count < 1)
		return false;
	take_namespace(response, &response->args[0], &spaces.personal, &spaces.personal_count);
	if (response->count > 1)
		take_namespace(response, &response->args[1], &spaces.other, &spaces.other_count);
	if (response->count > 2)
		take_namespace(response, &response->args[2], &spaces.shared, &spaces.shared_count);
	*namespaces_r = spaces;
	return true;
}

/* --- sets --------------------------------------------------------------------------------- */

static uint64_t
search_modseq(const char *pos, const char *end)
{
	while (pos < end && !g_ascii_isdigit(*pos))
		pos++;
	return pos < end ? g_ascii_strtoull(pos, NULL, 10) : 0;
}

bool
imap_search_decode(const struct imap_response *response, struct seqset *set, uint64_t *modseq_r)
{
	if (imap_response_type(response) != IMAP_TYPE_SEARCH || response->numbers == NULL)
		return false;
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct seq_range));
	const char *pos = response->numbers, *end = pos + response->numbers_len;
	uint64_t modseq = 0;
	bool ok = true;
	while (ok && pos < end) {
		uint64_t number = 0;
		const char *start = pos;
		for (; pos < end && g_ascii_isdigit(*pos); pos++)
			if (number <= UINT32_MAX)
				number = number * 10 + (uint64_t)(*pos - '0');
		if (pos > start && number > 0) {
			struct seq_range range = { (uint32_t)number, (uint32_t)number };
			g_array_append_val(ranges, range);
		}
		if (pos < end && *pos == '(') { /* (MODSEQ n) ends the line */
			modseq = search_modseq(pos, end);
			break;
		}
		/* A number that is left out would look like a message that is gone. */
		ok = number <= UINT32_MAX && (pos == end || *pos == ' ' || *pos == '\t');
		pos += pos < end;
	}
	if (ok) {
		seqset_add_ranges(set, (const struct seq_range *)(void *)ranges->data,
		                  ranges->len);
		*modseq_r = modseq;
	}
	g_array_free(ranges, TRUE);
	return ok;
}

bool
imap_esearch_decode(const struct imap_response *response, struct seqset *set,
                    struct imap_esearch *esearch_r)
{
	struct imap_esearch esearch = { 0 };
	const struct imap_arg *args = response->args, *all = NULL;
	unsigned i = 0;
	if (imap_response_type(response) != IMAP_TYPE_ESEARCH)
		return false;
	if (i < response->count && args[i].type == IMAP_ARG_LIST) {
		if (args[i].count == 2 && imap_arg_is(&args[i].items[0], "TAG"))
			esearch.tag = args[i].items[1].str;
		i++;
	}
	if (i < response->count && imap_arg_is(&args[i], "UID")) {
		esearch.uid = true;
		i++;
	}
	for (; i + 1 < response->count; i += 2) {
		const struct imap_arg *value = &args[i + 1];
		if (imap_arg_is(&args[i], "ALL"))
			all = value;
		else if (imap_arg_is(&args[i], "COUNT"))
			esearch.has_count = imap_arg_u32(value, &esearch.count);
		else if (imap_arg_is(&args[i], "MIN"))
			imap_arg_u32(value, &esearch.min);
		else if (imap_arg_is(&args[i], "MAX"))
			imap_arg_u32(value, &esearch.max);
		else if (imap_arg_is(&args[i], "MODSEQ"))
			imap_arg_u64(value, &esearch.modseq);
	}
	esearch.has_all = all != NULL;
	if (all != NULL && !seqset_parse(set, all->str, all->len, 0))
		return false;
	*esearch_r = esearch;
	return true;
}

bool
imap_vanished_decode(const struct imap_response *response, struct seqset *set, bool *earlier_r)
{
	const struct imap_arg *args = response->args;
	unsigned i = 0;
	bool earlier = false;
	if (imap_response_type(response) != IMAP_TYPE_VANISHED)
		return false;
	if (i < response->count && args[i].type == IMAP_ARG_LIST) {
		earlier = args[i].count > 0 && imap_arg_is(&args[i].items[0], "EARLIER");
		i++;
	}
	if (i >= response->count || args[i].type == IMAP_ARG_LIST ||
	    !seqset_parse(set, args[i].str, args[i].len, 0))
		return false;
	*earlier_r = earlier;
	return true;
}

/* --- the rest ----------------------------------------------------------------------------- */

bool
imap_quota_decode(const struct imap_response *response, struct imap_quota *quota_r)
{
	struct imap_quota quota = { 0 };
	if (imap_response_type(response) != IMAP_TYPE_QUOTA || response->count < 2 ||
	    !imap_arg_astring(&response->args[0], &quota.root, &quota.root_len) ||
	    response->args[1].type != IMAP_ARG_LIST)
		return false;
	const struct imap_arg *list = &response->args[1];
	struct imap_quota_resource *resources =
		arena_alloc(response->arena, (list->count / 3 + 1) * sizeof *resources);
	for (unsigned i = 0; i + 2 < list->count; i += 3) {
		struct imap_quota_resource *out = &resources[quota.count];
		if (list->items[i].type == IMAP_ARG_ATOM &&
		    imap_arg_u64(&list->items[i + 1], &out->usage) &&
		    imap_arg_u64(&list->items[i + 2], &out->limit)) {
			out->name = list->items[i].str;
			quota.count++;
		}
	}
	quota.resources = resources;
	*quota_r = quota;
	return true;
}

bool
imap_quotaroot_decode(const struct imap_response *response, struct imap_quotaroot *root_r)
{
	struct imap_quotaroot root = { 0 };
	if (imap_response_type(response) != IMAP_TYPE_QUOTAROOT || response->count < 1 ||
	    !imap_arg_astring(&response->args[0], &root.mailbox, &root.mailbox_len))
		return false;
	const char **roots = arena_alloc(response->arena, response->count * sizeof *roots);
	size_t len;
	for (unsigned i = 1; i < response->count; i++)
		if (imap_arg_astring(&response->args[i], &roots[root.count], &len))
			root.count++;
	root.roots = roots;
	*root_r = root;
	return true;
}

const char *
imap_id_get(const struct imap_response *response, const char *field)
{
	if (imap_response_type(response) != IMAP_TYPE_ID || response->count < 1 ||
	    response->args[0].type != IMAP_ARG_LIST)
		return NULL;
	const struct imap_arg *list = &response->args[0];
	for (unsigned i = 0; i + 1 < list->count; i += 2)
		if (list->items[i].type != IMAP_ARG_LIST &&
		    g_ascii_strcasecmp(list->items[i].str, field) == 0 &&
		    list->items[i + 1].type == IMAP_ARG_STRING)
			return list->items[i + 1].str;
	return NULL;
}
