/* SPDX-License-Identifier: MIT */
/*
 * What a FETCH response says of one message (RFC 3501 section 7.4.2, RFC 7162, RFC 8474, and the
 * items of Gmail and Dovecot). Items come in any order, unasked ones too; one that is missing or
 * can't be understood is absent, never zero. All pointers live as long as the response.
 *
 * Flags are a bitset for the system flags plus the other words, kept as the server wrote them.
 */
#ifndef IMAP_FETCH_H
#define IMAP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/parser.h"

enum imap_flag {
	IMAP_FLAG_SEEN = 1 << 0,
	IMAP_FLAG_ANSWERED = 1 << 1,
	IMAP_FLAG_FLAGGED = 1 << 2,
	IMAP_FLAG_DELETED = 1 << 3,
	IMAP_FLAG_DRAFT = 1 << 4,
	IMAP_FLAG_RECENT = 1 << 5,
	IMAP_FLAG_ANY = 1 << 6, /* `\*` in PERMANENTFLAGS: new keywords can be made */
};

struct imap_flags {
	unsigned bits;               /* enum imap_flag */
	unsigned keyword_count;
	const char *const *keywords; /* `$Junk`, `work`, unknown `\Words` too */
};

/* "\\Seen" and so on for one bit; NULL for none. Static. */
const char *imap_flag_name(enum imap_flag bit);

enum imap_body_state {
	IMAP_BODY_ABSENT,
	IMAP_BODY_NIL,
	IMAP_BODY_STRING,   /* quoted: data, len */
	IMAP_BODY_STREAMED, /* size octets were handed out */
};

/* `BODY[section]<origin>`, `BINARY[section]<origin>`, `RFC822` (the same as `BODY[]`),
 * `RFC822.TEXT` (`BODY[TEXT]`). */
struct imap_body {
	enum imap_body_state state;
	const char *section; /* inside the brackets, "" for the whole message */
	size_t section_len;
	bool has_origin;
	uint64_t origin;     /* octets */
	const char *data;    /* STRING */
	size_t len;
	uint64_t size;       /* STREAMED */
};

/* Reads the section and origin out of an item's name (also imap_literal.item), state untouched.
 * False: not the name of an item with a body, or of a header section. */
bool imap_body_item(const char *item, size_t len, struct imap_body *body_r);
/* Whether it names the header of a message, whole or some fields: `BODY[HEADER...]`,
 * `RFC822.HEADER`. */
bool imap_header_item(const char *item, size_t len);

struct imap_fetch {
	uint32_t seq;
	uint32_t uid;              /* 0: absent (or two that differ) */
	bool has_flags;
	struct imap_flags flags;
	bool has_internaldate;
	int64_t internaldate;      /* seconds since 1970 */
	bool has_size;
	uint64_t size;             /* RFC822.SIZE */
	bool has_modseq;
	uint64_t modseq;           /* never 0 */
	const char *header;        /* octets, NULL: absent or NIL; the first that isn't empty */
	size_t header_len;
	struct imap_body body;     /* the first one, the whole message's before others */
	unsigned body_count;
	const char *emailid;       /* RFC 8474, NULL: absent */
	const char *threadid;
	const char *guid;          /* Dovecot's X-GUID */
	bool has_gm_msgid, has_gm_thrid;
	uint64_t gm_msgid, gm_thrid;
	bool has_gm_labels;
	unsigned gm_label_count;
	const char *const *gm_labels; /* raw: modified UTF-7, `\Inbox` and the like */
};

/* `* n FETCH (...)` or UIDFETCH (RFC 9586, then uid is n and seq is 0). False: not one, or n is 0,
 * or it holds no list. */
bool imap_fetch_decode(const struct imap_response *response, struct imap_fetch *fetch_r);

/* `* FLAGS (...)` (RFC 3501 section 7.2.6); and any argument that is a list of flags. */
bool imap_flags_decode(const struct imap_response *response, const struct imap_arg *arg,
                       struct imap_flags *flags_r);

#endif
