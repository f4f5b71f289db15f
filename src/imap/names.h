/* SPDX-License-Identifier: MIT */
/*
 * Mailbox names: from the raw name that LIST gives to the components that the mount shows, and
 * back from a component that a user types.
 *
 *     INBOX.Entw&APw-rfe.a/b    delimiter `.`, prefix `INBOX.`    ->    Entwürfe, a%2Fb
 *
 * The raw name is the key: commands use it, never a name encoded again. A component is decoded
 * from modified UTF-7; if it has 8-bit octets and is valid UTF-8, it is that; what is neither is
 * shown as it is, with 8-bit octets and `&` escaped. The result is always valid UTF-8.
 *
 * Written %XX, octet by octet, are: `/`; control characters; what a terminal hides or reorders
 * (bidirectional controls, zero width); a component `.` or `..`; a `%` that two hex digits follow;
 * and what the mount itself uses (`lost+found` at the top, another mailbox whose component reads
 * INBOX at the top). An empty component is `%00`. INBOX at the top is case-insensitive and shown
 * in capitals. A component longer than NAME_MAX is cut at a character, and gets `~` and 10
 * characters of a digest of its raw octets.
 *
 * imap_name_child() undoes all this but the cutting, and 8-bit or control octets in a raw name
 * where modified UTF-7 should be: those stand in the index with their raw names, and can look like
 * others.
 */
#ifndef IMAP_NAMES_H
#define IMAP_NAMES_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"

#define IMAP_COMPONENT_MAX 255u

/* How a server writes names. Strings belong to the caller. */
struct imap_name_rules {
	const char *delimiter; /* as LIST gave it; NULL or "": none, names are not split */
	size_t delimiter_len;
	const char *prefix;    /* of the personal namespace, raw; NULL or "": none */
	size_t prefix_len;
	bool utf8;             /* UTF8=ACCEPT is enabled: names are UTF-8, not modified UTF-7 */
};

/*
 * Splits a raw name into what is shown: appends g_malloc'ed strings to components (at least one). A
 * delimiter at the very end is dropped. False, nothing appended: the name is empty, is nothing but
 * the prefix (`INBOX.`), or holds NUL, and can't be shown.
 */
bool imap_name_split(const struct imap_name_rules *rules, const char *raw, size_t len,
                     GPtrArray *components);

/*
 * The raw name of a mailbox `component` (as a user types it, in UTF-8) below the mailbox
 * parent_raw, or at the top (parent_len 0). Appends to raw_out. FAULT_INVALID, raw_out as before:
 * it is no valid name, holds the delimiter, is one that the mount uses, or can't have a place there
 * (no delimiter; or below INBOX where `INBOX.` is the prefix, since that is the top).
 */
bool imap_name_child(const struct imap_name_rules *rules, const char *parent_raw, size_t parent_len,
                     const char *component, GString *raw_out, struct fault *fault);

/* Whether a raw name is INBOX. */
bool imap_name_is_inbox(const char *raw, size_t len);

/*
 * Whether a shown name (a component, or a path with `/` between them: its last component counts) is
 * one that programs and providers use for the trash, in the usual languages; without case. 1 is the
 * likeliest name, 0 is no trash at all.
 */
unsigned imap_name_trash_rank(const char *shown);

#endif
