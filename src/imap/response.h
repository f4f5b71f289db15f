/* SPDX-License-Identifier: MIT */
/*
 * Typed values out of a parsed response. Nothing here trusts the server: a getter or decoder
 * returns false, with what it would set untouched, when the shape is not the expected one. What a
 * decoder sets points into the response's arena and lives as long as the response.
 *
 * FETCH is in imap/fetch.h, capabilities in imap/caps.h, response codes in imap/code.h; this
 * header brings them along. EXISTS, EXPUNGE and RECENT need no decoder: see response->number.
 */
#ifndef IMAP_RESPONSE_H
#define IMAP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/caps.h"
#include "imap/code.h"
#include "imap/fetch.h"
#include "imap/parser.h"
#include "imap/seqset.h"

/* Which untagged response it is. EXISTS, EXPUNGE, RECENT and FETCH have a number for sure. */
enum imap_type {
	IMAP_TYPE_OTHER, /* unknown, tagged or a continuation */
	IMAP_TYPE_STATE, /* OK, NO, BAD, BYE, PREAUTH: see response->status */
	IMAP_TYPE_CAPABILITY,
	IMAP_TYPE_ENABLED,
	IMAP_TYPE_ESEARCH,
	IMAP_TYPE_EXISTS,
	IMAP_TYPE_EXPUNGE,
	IMAP_TYPE_FETCH,
	IMAP_TYPE_FLAGS,
	IMAP_TYPE_ID,
	IMAP_TYPE_LIST,
	IMAP_TYPE_LSUB,
	IMAP_TYPE_NAMESPACE,
	IMAP_TYPE_QUOTA,
	IMAP_TYPE_QUOTAROOT,
	IMAP_TYPE_RECENT,
	IMAP_TYPE_SEARCH,
	IMAP_TYPE_STATUS,
	IMAP_TYPE_VANISHED,
	IMAP_TYPE_XLIST,
};
enum imap_type imap_response_type(const struct imap_response *response);

/* --- getters --------------------------------------------------------------------------- */

/* An atom or string of decimal digits that fits. */
bool imap_arg_u32(const struct imap_arg *arg, uint32_t *number_r);
bool imap_arg_u64(const struct imap_arg *arg, uint64_t *number_r);
/* A string, an atom, or the word NIL taken as an atom. */
bool imap_arg_astring(const struct imap_arg *arg, const char **str_r, size_t *len_r);
/* A string, or an atom that stands for one, or NIL: *str_r is NULL. */
bool imap_arg_nstring(const struct imap_arg *arg, const char **str_r, size_t *len_r);
/* Whether it is this atom, in any case. */
bool imap_arg_is(const struct imap_arg *arg, const char *atom);

/* --- mailboxes ------------------------------------------------------------------------- */

enum imap_attr {
	IMAP_ATTR_NOSELECT = 1 << 0,
	IMAP_ATTR_NONEXISTENT = 1 << 1, /* brings NOSELECT along */
	IMAP_ATTR_HASCHILDREN = 1 << 2,
	IMAP_ATTR_HASNOCHILDREN = 1 << 3,
	IMAP_ATTR_NOINFERIORS = 1 << 4,
	IMAP_ATTR_SUBSCRIBED = 1 << 5,
	IMAP_ATTR_REMOTE = 1 << 6,
	IMAP_ATTR_MARKED = 1 << 7,
	IMAP_ATTR_UNMARKED = 1 << 8,
	/* What it is for: RFC 6154, RFC 8457, XLIST. */
	IMAP_USE_ALL = 1 << 16, /* \AllMail too */
	IMAP_USE_ARCHIVE = 1 << 17,
	IMAP_USE_DRAFTS = 1 << 18,
	IMAP_USE_FLAGGED = 1 << 19, /* \Starred too */
	IMAP_USE_IMPORTANT = 1 << 20,
	IMAP_USE_INBOX = 1 << 21,
	IMAP_USE_JUNK = 1 << 22, /* \Spam too */
	IMAP_USE_SENT = 1 << 23,
	IMAP_USE_TRASH = 1 << 24,
};
#define IMAP_USE_MASK 0xffff0000u

/* LIST, LSUB, XLIST (RFC 3501 section 7.2.2, RFC 5258). */
struct imap_list {
	uint32_t attrs;        /* enum imap_attr */
	const char *delimiter; /* any string, mostly of one octet; NULL: none */
	size_t delimiter_len;
	const char *name;      /* raw, the key of the mailbox */
	size_t name_len;
};
bool imap_list_decode(const struct imap_response *response, struct imap_list *list_r);

/* STATUS (RFC 3501 section 7.2.4). An item that is missing or unreadable is unknown, not 0. */
struct imap_mailbox_status {
	const char *name; /* raw */
	size_t name_len;
	bool has_messages, has_recent, has_unseen, has_deleted, has_uidnext, has_uidvalidity;
	bool has_highestmodseq, has_size, has_appendlimit;
	uint32_t messages, recent, unseen, deleted, uidnext;
	uint64_t uidvalidity, size, appendlimit;
	uint64_t highestmodseq; /* 0: the mailbox keeps none */
	const char *mailboxid;  /* NULL: unknown */
};
bool imap_status_decode(const struct imap_response *response, struct imap_mailbox_status *status_r);

struct imap_namespace_entry {
	const char *prefix; /* raw, with its delimiter at the end: `INBOX.` */
	size_t prefix_len;
	const char *delimiter; /* NULL: none */
	size_t delimiter_len;
};
/* NAMESPACE (RFC 2342). */
struct imap_namespaces {
	unsigned personal_count, other_count, shared_count;
	const struct imap_namespace_entry *personal, *other, *shared;
};
bool imap_namespaces_decode(const struct imap_response *response,
                            struct imap_namespaces *namespaces_r);

/* --- sets of messages ------------------------------------------------------------------ */

/* SEARCH (RFC 3501 section 7.2.5). Adds to set; 0 is dropped. *modseq_r is 0 without one (RFC 7162
 * section 3.1.5). May come several times for a command. False also when anything in it isn't a
 * number: what is missing would look like gone. */
bool imap_search_decode(const struct imap_response *response, struct seqset *set,
                        uint64_t *modseq_r);

/* ESEARCH (RFC 4731). */
struct imap_esearch {
	const char *tag; /* NULL: none */
	bool uid;        /* the numbers are UIDs */
	bool has_all;    /* ALL was there, and is in the set */
	uint32_t min, max;
	bool has_count;
	uint32_t count;
	uint64_t modseq; /* 0: none */
};
/* Adds ALL to set. False also when ALL isn't a set. */
bool imap_esearch_decode(const struct imap_response *response, struct seqset *set,
                         struct imap_esearch *esearch_r);

/* VANISHED (RFC 7162 section 3.2.10). Adds to set. */
bool imap_vanished_decode(const struct imap_response *response, struct seqset *set,
                          bool *earlier_r);

/* --- the rest -------------------------------------------------------------------------- */

struct imap_quota_resource {
	const char *name; /* `STORAGE` (units of 1024 octets), `MESSAGE` */
	uint64_t usage, limit;
};
/* QUOTA (RFC 9208). Resources that can't be read are left out. */
struct imap_quota {
	const char *root;
	size_t root_len;
	unsigned count;
	const struct imap_quota_resource *resources;
};
bool imap_quota_decode(const struct imap_response *response, struct imap_quota *quota_r);

/* QUOTAROOT (RFC 9208 section 4.2.2): of which mailbox, and its roots. */
struct imap_quotaroot {
	const char *mailbox;
	size_t mailbox_len;
	unsigned count;
	const char *const *roots;
};
bool imap_quotaroot_decode(const struct imap_response *response, struct imap_quotaroot *root_r);

/* The value of one field of `* ID ("name" "Dovecot" ...)` (RFC 2971); NULL: not there, or NIL. */
const char *imap_id_get(const struct imap_response *response, const char *field);

#endif
