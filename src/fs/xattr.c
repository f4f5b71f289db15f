/* SPDX-License-Identifier: MIT */
/* Extended attributes: see node.h. One table has names and values. */
#include "config.h"

#include <string.h>
#include <time.h>

#include "fs/node.h"
#include "imap/fetch.h"

#define XATTR_PREFIX "user.imap."

/* Appends the value, or nothing if there is none. */
typedef void append_fn(const struct node *node, GString *out);

static void
append_uid(const struct node *node, GString *out)
{
	g_string_append_printf(out, "%u", node->message.uid);
}

static void
append_uidvalidity(const struct node *node, GString *out)
{
	if (node->mailbox.uidvalidity != 0)
		g_string_append_printf(out, "%" G_GUINT64_FORMAT, node->mailbox.uidvalidity);
}

static void
append_flags(const struct node *node, GString *out)
{
	/* \Recent is a thing of one session. */
	static const enum imap_flag shown[] = { IMAP_FLAG_SEEN, IMAP_FLAG_ANSWERED,
		                                IMAP_FLAG_FLAGGED, IMAP_FLAG_DELETED,
		                                IMAP_FLAG_DRAFT };
	for (size_t i = 0; i < G_N_ELEMENTS(shown); i++)
		if ((node->message.flags & shown[i]) != 0)
			g_string_append_printf(out, "%s%s", out->len > 0 ? " " : "",
			                       imap_flag_name(shown[i]));
	if (node->message.keywords_len > 0)
		g_string_append_printf(out, "%s%s", out->len > 0 ? " " : "",
		                       node->message.keywords);
}

static void
append_internaldate(const struct node *node, GString *out)
{
	time_t time = (time_t)node->message.mtime;
	struct tm tm;
	char text[64];
	if (gmtime_r(&time, &tm) != NULL &&
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		g_string_append(out, text);
}

static void
append_emailid(const struct node *node, GString *out)
{
	g_string_append(out, node->message.emailid);
}

static void
append_threadid(const struct node *node, GString *out)
{
	g_string_append(out, node->message.threadid);
}

static void
append_labels(const struct node *node, GString *out)
{
	g_string_append(out, node->message.labels);
}

static void
append_mailbox(const struct node *node, GString *out)
{
	g_string_append_len(out, node->mailbox.raw, (gssize)node->mailbox.raw_len);
}

static void
append_uidnext(const struct node *node, GString *out)
{
	if (node->mailbox.uidnext != 0)
		g_string_append_printf(out, "%u", node->mailbox.uidnext);
}

static void
append_messages(const struct node *node, GString *out)
{
	if (node->mailbox.listed && node_selectable(&node->mailbox))
		g_string_append_printf(out, "%u", node->mailbox.messages);
}

static void
append_highestmodseq(const struct node *node, GString *out)
{
	if (node->mailbox.highestmodseq != 0)
		g_string_append_printf(out, "%" G_GUINT64_FORMAT, node->mailbox.highestmodseq);
}

static const struct xattr {
	const char *name;
	bool of_message;
	bool may_be_empty; /* no flag set is a value too */
	append_fn *append;
} table[] = {
	{ XATTR_PREFIX "uid", true, false, append_uid },
	{ XATTR_PREFIX "uidvalidity", true, false, append_uidvalidity },
	{ XATTR_PREFIX "flags", true, true, append_flags },
	{ XATTR_PREFIX "internaldate", true, false, append_internaldate },
	{ XATTR_PREFIX "emailid", true, false, append_emailid },
	{ XATTR_PREFIX "threadid", true, false, append_threadid },
	{ XATTR_PREFIX "labels", true, false, append_labels },
	{ XATTR_PREFIX "mailbox", false, false, append_mailbox },
	{ XATTR_PREFIX "uidvalidity", false, false, append_uidvalidity },
	{ XATTR_PREFIX "uidnext", false, false, append_uidnext },
	{ XATTR_PREFIX "messages", false, false, append_messages },
	{ XATTR_PREFIX "highestmodseq", false, false, append_highestmodseq },
};

bool
node_xattr_get(const struct node *node, const char *name, GString *value)
{
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (table[i].of_message != node->is_message || strcmp(table[i].name, name) != 0)
			continue;
		gsize before = value->len;
		table[i].append(node, value);
		return value->len > before || table[i].may_be_empty;
	}
	return false;
}

void
node_xattr_list(const struct node *node, GString *names)
{
	GString *value = g_string_new(NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (table[i].of_message != node->is_message)
			continue;
		g_string_truncate(value, 0);
		table[i].append(node, value);
		if (value->len > 0 || table[i].may_be_empty)
			g_string_append_len(names, table[i].name,
			                    (gssize)strlen(table[i].name) + 1);
	}
	g_string_free(value, TRUE);
}
