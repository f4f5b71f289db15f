/* SPDX-License-Identifier: MIT */
/* Capabilities: see caps.h. */
#include "config.h"

#include "imap/caps.h"

#include <glib.h>
#include <string.h>

#define BIT(cap) (UINT64_C(1) << (cap))

/* One row a capability: its name, and what it brings along. A name that ends with `=` stands for
 * all that begin so. */
static const struct {
	const char *name;
	uint64_t implies;
} table[IMAP_CAP_COUNT] = {
	[IMAP_CAP_IMAP4REV1] = { "IMAP4REV1", 0 },
	[IMAP_CAP_IMAP4REV2] = { "IMAP4REV2", 0 },
	[IMAP_CAP_STARTTLS] = { "STARTTLS", 0 },
	[IMAP_CAP_LOGINDISABLED] = { "LOGINDISABLED", 0 },
	[IMAP_CAP_SASL_IR] = { "SASL-IR", 0 },
	[IMAP_CAP_ID] = { "ID", 0 },
	[IMAP_CAP_ENABLE] = { "ENABLE", 0 },
	[IMAP_CAP_IDLE] = { "IDLE", 0 },
	[IMAP_CAP_NAMESPACE] = { "NAMESPACE", 0 },
	[IMAP_CAP_LITERAL_PLUS] = { "LITERAL+", BIT(IMAP_CAP_LITERAL_MINUS) },
	[IMAP_CAP_LITERAL_MINUS] = { "LITERAL-", 0 },
	[IMAP_CAP_UIDPLUS] = { "UIDPLUS", 0 },
	[IMAP_CAP_MOVE] = { "MOVE", 0 },
	[IMAP_CAP_UNSELECT] = { "UNSELECT", 0 },
	[IMAP_CAP_CONDSTORE] = { "CONDSTORE", 0 },
	[IMAP_CAP_QRESYNC] = { "QRESYNC", BIT(IMAP_CAP_CONDSTORE) | BIT(IMAP_CAP_ENABLE) },
	[IMAP_CAP_ESEARCH] = { "ESEARCH", 0 },
	[IMAP_CAP_SEARCHRES] = { "SEARCHRES", 0 },
	[IMAP_CAP_WITHIN] = { "WITHIN", 0 },
	[IMAP_CAP_LIST_EXTENDED] = { "LIST-EXTENDED", 0 },
	[IMAP_CAP_LIST_STATUS] = { "LIST-STATUS", 0 },
	[IMAP_CAP_SPECIAL_USE] = { "SPECIAL-USE", 0 },
	[IMAP_CAP_CREATE_SPECIAL_USE] = { "CREATE-SPECIAL-USE", 0 },
	[IMAP_CAP_XLIST] = { "XLIST", 0 },
	[IMAP_CAP_CHILDREN] = { "CHILDREN", 0 },
	[IMAP_CAP_COMPRESS_DEFLATE] = { "COMPRESS=DEFLATE", 0 },
	[IMAP_CAP_NOTIFY] = { "NOTIFY", 0 },
	[IMAP_CAP_OBJECTID] = { "OBJECTID", 0 },
	[IMAP_CAP_QUOTA] = { "QUOTA", 0 },
	[IMAP_CAP_STATUS_SIZE] = { "STATUS=SIZE", 0 },
	[IMAP_CAP_APPENDLIMIT] = { "APPENDLIMIT", 0 },
	[IMAP_CAP_MULTIAPPEND] = { "MULTIAPPEND", 0 },
	[IMAP_CAP_BINARY] = { "BINARY", 0 },
	[IMAP_CAP_CATENATE] = { "CATENATE", 0 },
	[IMAP_CAP_ACL] = { "ACL", 0 },
	[IMAP_CAP_UTF8_ACCEPT] = { "UTF8=ACCEPT", 0 },
	[IMAP_CAP_UTF8_ONLY] = { "UTF8=ONLY", BIT(IMAP_CAP_UTF8_ACCEPT) },
	[IMAP_CAP_PARTIAL] = { "PARTIAL", 0 },
	[IMAP_CAP_MESSAGELIMIT] = { "MESSAGELIMIT", 0 },
	[IMAP_CAP_UIDONLY] = { "UIDONLY", 0 },
	[IMAP_CAP_REPLACE] = { "REPLACE", 0 },
	[IMAP_CAP_PREVIEW] = { "PREVIEW", 0 },
	[IMAP_CAP_SAVEDATE] = { "SAVEDATE", 0 },
	[IMAP_CAP_GMAIL] = { "X-GM-EXT-1", 0 },
};

bool
imap_caps_has(const struct imap_caps *caps, enum imap_cap cap)
{
	return (caps->bits >> cap & 1) != 0;
}

const char *
imap_cap_name(enum imap_cap cap)
{
	return table[cap].name;
}

/* The mechanism's place in the list, with a blank behind it; NULL: it is not there. */
static char *
find_mechanism(char *mechanisms, const char *name)
{
	size_t len = strlen(name);
	for (char *at = mechanisms; *at != '\0'; at = strchr(at, ' ') + 1)
		if (g_ascii_strncasecmp(at, name, len) == 0 && at[len] == ' ')
			return at;
	return NULL;
}

bool
imap_caps_auth(const struct imap_caps *caps, const char *mechanism)
{
	char copy[sizeof caps->mechanisms];
	memcpy(copy, caps->mechanisms, sizeof copy);
	return mechanism[0] != '\0' && find_mechanism(copy, mechanism) != NULL;
}

static void
add_mechanism(struct imap_caps *caps, const char *name)
{
	size_t used = strlen(caps->mechanisms), len = strlen(name);
	if (len == 0 || used + len + 2 > sizeof caps->mechanisms || strchr(name, ' ') != NULL ||
	    find_mechanism(caps->mechanisms, name) != NULL)
		return;
	for (size_t i = 0; i < len; i++)
		caps->mechanisms[used + i] = g_ascii_toupper(name[i]);
	memcpy(caps->mechanisms + used + len, " ", 2);
}

void
imap_caps_add(struct imap_caps *caps, const char *word)
{
	if (g_ascii_strncasecmp(word, "AUTH=", 5) == 0) {
		add_mechanism(caps, word + 5);
		return;
	}
	if (g_ascii_strncasecmp(word, "APPENDLIMIT=", 12) == 0) {
		caps->has_appendlimit = true;
		caps->appendlimit = g_ascii_strtoull(word + 12, NULL, 10);
		word = "APPENDLIMIT";
	} else if (g_ascii_strncasecmp(word, "MESSAGELIMIT=", 13) == 0) {
		word = "MESSAGELIMIT";
	} else if (g_ascii_strncasecmp(word, "QUOTA=", 6) == 0) {
		word = "QUOTA";
	}
	for (int i = 0; i < IMAP_CAP_COUNT; i++)
		if (g_ascii_strcasecmp(table[i].name, word) == 0)
			caps->bits |= BIT(i) | table[i].implies;
}

bool
imap_caps_remove(struct imap_caps *caps, const char *name)
{
	if (g_ascii_strncasecmp(name, "AUTH=", 5) == 0) {
		char *at = find_mechanism(caps->mechanisms, name + 5);
		if (at != NULL) {
			char *rest = strchr(at, ' ') + 1;
			memmove(at, rest, strlen(rest) + 1);
		}
		return name[5] != '\0';
	}
	bool known = false;
	size_t len = strlen(name);
	for (int i = 0; i < IMAP_CAP_COUNT; i++) {
		/* "COMPRESS" means COMPRESS=DEFLATE. */
		bool same = g_ascii_strcasecmp(table[i].name, name) == 0 ||
		            (g_ascii_strncasecmp(table[i].name, name, len) == 0 && len > 0 &&
		             table[i].name[len] == '=');
		if (same) {
			caps->bits &= ~BIT(i);
			known = true;
		}
	}
	return known;
}

static void
add_all(struct imap_caps *caps, const struct imap_arg *args, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (args[i].type == IMAP_ARG_LIST)
			add_all(caps, args[i].items, args[i].count);
		else if (args[i].type != IMAP_ARG_STREAMED)
			imap_caps_add(caps, args[i].str);
	}
}

bool
imap_caps_decode(const struct imap_response *response, struct imap_caps *caps_r)
{
	struct imap_caps caps = { 0 };
	if (response->status != IMAP_STATUS_NONE) {
		if (response->code == NULL || strcmp(response->code, "CAPABILITY") != 0)
			return false;
		add_all(&caps, response->code_args, response->code_count);
	} else {
		if (strcmp(response->name, "CAPABILITY") != 0)
			return false;
		add_all(&caps, response->args, response->count);
	}
	*caps_r = caps;
	return true;
}

bool
imap_enabled_decode(const struct imap_response *response, struct imap_caps *enabled_r)
{
	struct imap_caps caps = { 0 };
	if (strcmp(response->name, "ENABLED") != 0)
		return false;
	add_all(&caps, response->args, response->count);
	*enabled_r = caps;
	return true;
}
