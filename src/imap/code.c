/* SPDX-License-Identifier: MIT */
/* Response codes: see code.h. */
#include "config.h"

#include "imap/code.h"

#include <glib.h>
#include <string.h>

#include "base/arena.h"
#include "imap/response.h"

/* One row a code: its name, and what a NO with it means (REFUSED where it says nothing). */
static const struct {
	const char *name;
	enum fault_kind fault;
} table[] = {
	[IMAP_CODE_NONE] = { "", FAULT_REFUSED },
	[IMAP_CODE_UNKNOWN] = { "", FAULT_REFUSED },
	[IMAP_CODE_ALERT] = { "ALERT", FAULT_REFUSED },
	[IMAP_CODE_ALREADYEXISTS] = { "ALREADYEXISTS", FAULT_EXISTS },
	[IMAP_CODE_APPENDUID] = { "APPENDUID", FAULT_REFUSED },
	[IMAP_CODE_AUTHENTICATIONFAILED] = { "AUTHENTICATIONFAILED", FAULT_AUTH },
	[IMAP_CODE_AUTHORIZATIONFAILED] = { "AUTHORIZATIONFAILED", FAULT_AUTH },
	[IMAP_CODE_BADCHARSET] = { "BADCHARSET", FAULT_REFUSED },
	[IMAP_CODE_BADEVENT] = { "BADEVENT", FAULT_UNSUPPORTED },
	[IMAP_CODE_CANNOT] = { "CANNOT", FAULT_INVALID },
	[IMAP_CODE_CAPABILITY] = { "CAPABILITY", FAULT_REFUSED },
	[IMAP_CODE_CLIENTBUG] = { "CLIENTBUG", FAULT_PROTOCOL },
	[IMAP_CODE_CLOSED] = { "CLOSED", FAULT_REFUSED },
	[IMAP_CODE_COMPRESSIONACTIVE] = { "COMPRESSIONACTIVE", FAULT_REFUSED },
	[IMAP_CODE_CONTACTADMIN] = { "CONTACTADMIN", FAULT_REFUSED },
	[IMAP_CODE_COPYUID] = { "COPYUID", FAULT_REFUSED },
	[IMAP_CODE_CORRUPTION] = { "CORRUPTION", FAULT_REFUSED },
	[IMAP_CODE_EXPIRED] = { "EXPIRED", FAULT_AUTH },
	[IMAP_CODE_EXPUNGEISSUED] = { "EXPUNGEISSUED", FAULT_GONE },
	[IMAP_CODE_HASCHILDREN] = { "HASCHILDREN", FAULT_REFUSED },
	[IMAP_CODE_HIGHESTMODSEQ] = { "HIGHESTMODSEQ", FAULT_REFUSED },
	[IMAP_CODE_INUSE] = { "INUSE", FAULT_BUSY },
	[IMAP_CODE_LIMIT] = { "LIMIT", FAULT_BUSY },
	[IMAP_CODE_MAILBOXID] = { "MAILBOXID", FAULT_REFUSED },
	[IMAP_CODE_MESSAGELIMIT] = { "MESSAGELIMIT", FAULT_REFUSED },
	[IMAP_CODE_MODIFIED] = { "MODIFIED", FAULT_REFUSED },
	[IMAP_CODE_NOMODSEQ] = { "NOMODSEQ", FAULT_REFUSED },
	[IMAP_CODE_NONEXISTENT] = { "NONEXISTENT", FAULT_GONE },
	[IMAP_CODE_NOPERM] = { "NOPERM", FAULT_DENIED },
	[IMAP_CODE_NOTIFICATIONOVERFLOW] = { "NOTIFICATIONOVERFLOW", FAULT_REFUSED },
	[IMAP_CODE_OVERQUOTA] = { "OVERQUOTA", FAULT_QUOTA },
	[IMAP_CODE_PARSE] = { "PARSE", FAULT_REFUSED },
	[IMAP_CODE_PERMANENTFLAGS] = { "PERMANENTFLAGS", FAULT_REFUSED },
	[IMAP_CODE_PRIVACYREQUIRED] = { "PRIVACYREQUIRED", FAULT_AUTH },
	[IMAP_CODE_READ_ONLY] = { "READ-ONLY", FAULT_READONLY },
	[IMAP_CODE_READ_WRITE] = { "READ-WRITE", FAULT_REFUSED },
	[IMAP_CODE_SERVERBUG] = { "SERVERBUG", FAULT_REFUSED },
	[IMAP_CODE_THROTTLED] = { "THROTTLED", FAULT_BUSY },
	[IMAP_CODE_TOOBIG] = { "TOOBIG", FAULT_TOOBIG },
	[IMAP_CODE_TRYCREATE] = { "TRYCREATE", FAULT_GONE },
	[IMAP_CODE_UIDNEXT] = { "UIDNEXT", FAULT_REFUSED },
	[IMAP_CODE_UIDNOTSTICKY] = { "UIDNOTSTICKY", FAULT_REFUSED },
	[IMAP_CODE_UIDREQUIRED] = { "UIDREQUIRED", FAULT_REFUSED },
	[IMAP_CODE_UIDVALIDITY] = { "UIDVALIDITY", FAULT_REFUSED },
	[IMAP_CODE_UNAVAILABLE] = { "UNAVAILABLE", FAULT_BUSY },
	[IMAP_CODE_UNKNOWN_CTE] = { "UNKNOWN-CTE", FAULT_REFUSED },
	[IMAP_CODE_UNSEEN] = { "UNSEEN", FAULT_REFUSED },
};

enum imap_code
imap_response_code(const struct imap_response *response)
{
	if (response->code == NULL)
		return IMAP_CODE_NONE;
	for (size_t i = IMAP_CODE_ALERT; i < G_N_ELEMENTS(table); i++)
		if (strcmp(table[i].name, response->code) == 0)
			return (enum imap_code)i;
	return IMAP_CODE_UNKNOWN;
}

const char *
imap_code_name(enum imap_code code)
{
	return table[code].name;
}

enum fault_kind
imap_code_fault(enum imap_status status, enum imap_code code)
{
	enum fault_kind kind = table[code].fault;
	switch (status) {
	case IMAP_STATUS_NO:
		return kind;
	case IMAP_STATUS_BAD:
		return kind == FAULT_REFUSED ? FAULT_PROTOCOL : kind;
	case IMAP_STATUS_BYE:
		return kind == FAULT_BUSY ? FAULT_BUSY : FAULT_UNREACHABLE;
	default:
		return FAULT_NONE;
	}
}

bool
imap_code_number(const struct imap_response *response, uint64_t *number_r)
{
	return response->code != NULL && response->code_count > 0 &&
	       imap_arg_u64(&response->code_args[0], number_r);
}

bool
imap_code_id(const struct imap_response *response, const char **id_r)
{
	const struct imap_arg *arg = response->code_args;
	size_t len;
	if (response->code == NULL || response->code_count == 0)
		return false;
	if (arg->type == IMAP_ARG_LIST && arg->count > 0)
		arg = arg->items;
	return imap_arg_astring(arg, id_r, &len);
}

bool
imap_code_flags(const struct imap_response *response, struct imap_flags *flags_r)
{
	return response->code != NULL && response->code_count > 0 &&
	       imap_flags_decode(response, &response->code_args[0], flags_r);
}

/* A list without repetitions? */
static bool
all_different(const GArray *list)
{
	GHashTable *seen = g_hash_table_new(NULL, NULL);
	bool different = true;
	for (guint i = 0; different && i < list->len; i++)
		different = g_hash_table_add(
			seen, GUINT_TO_POINTER(g_array_index(list, uint32_t, i)));
	g_hash_table_destroy(seen);
	return different;
}

static const uint32_t *
into_arena(const struct imap_response *response, const GArray *list)
{
	uint32_t *copy = arena_alloc(response->arena, list->len * sizeof *copy);
	memcpy(copy, list->data, list->len * sizeof *copy);
	return copy;
}

bool
imap_copyuid_decode(const struct imap_response *response, struct imap_copyuid *copyuid_r)
{
	const struct imap_arg *args = response->code_args;
	uint64_t uidvalidity;
	if (imap_response_code(response) != IMAP_CODE_COPYUID || response->code_count != 3 ||
	    !imap_arg_u64(&args[0], &uidvalidity))
		return false;
	GArray *source = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	GArray *dest = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	bool ok = seqset_parse_ordered(args[1].str, args[1].len, IMAP_COPYUID_MAX, source) &&
	          seqset_parse_ordered(args[2].str, args[2].len, IMAP_COPYUID_MAX, dest) &&
	          source->len == dest->len && all_different(source) && all_different(dest);
	if (ok)
		*copyuid_r = (struct imap_copyuid){ .uidvalidity = uidvalidity,
			                            .count = source->len,
			                            .source = into_arena(response, source),
			                            .dest = into_arena(response, dest) };
	g_array_free(source, TRUE);
	g_array_free(dest, TRUE);
	return ok;
}

bool
imap_messagelimit_decode(const struct imap_response *response, uint32_t *uid_r)
{
	if (imap_response_code(response) != IMAP_CODE_MESSAGELIMIT)
		return false;
	if (response->code_count < 2 || !imap_arg_u32(&response->code_args[1], uid_r))
		*uid_r = 0;
	return true;
}

bool
imap_appenduid_decode(const struct imap_response *response, uint64_t *uidvalidity_r,
                      uint32_t *uid_r)
{
	uint64_t uidvalidity;
	uint32_t uid;
	if (imap_response_code(response) != IMAP_CODE_APPENDUID || response->code_count != 2 ||
	    !imap_arg_u64(&response->code_args[0], &uidvalidity) ||
	    !imap_arg_u32(&response->code_args[1], &uid) || uid == 0)
		return false;
	*uidvalidity_r = uidvalidity;
	*uid_r = uid;
	return true;
}
