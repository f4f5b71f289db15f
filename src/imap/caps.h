/* SPDX-License-Identifier: MIT */
/*
 * What a server can do (RFC 3501 section 7.2.1): a set of the capabilities that this program
 * knows, the SASL mechanisms, and APPENDLIMIT. Names compare without case. Unknown words are not
 * remembered. A plain value: copy it by assignment, clear it with {0}.
 *
 * QRESYNC brings CONDSTORE and ENABLE along (RFC 7162), UTF8=ONLY UTF8=ACCEPT (RFC 6855), LITERAL+
 * LITERAL- (RFC 7888).
 */
#ifndef IMAP_CAPS_H
#define IMAP_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "imap/parser.h"

enum imap_cap {
	IMAP_CAP_IMAP4REV1,
	IMAP_CAP_IMAP4REV2,
	IMAP_CAP_STARTTLS,
	IMAP_CAP_LOGINDISABLED,
	IMAP_CAP_SASL_IR,
	IMAP_CAP_ID,
	IMAP_CAP_ENABLE,
	IMAP_CAP_IDLE,
	IMAP_CAP_NAMESPACE,
	IMAP_CAP_LITERAL_PLUS,
	IMAP_CAP_LITERAL_MINUS,
	IMAP_CAP_UIDPLUS,
	IMAP_CAP_MOVE,
	IMAP_CAP_UNSELECT,
	IMAP_CAP_CONDSTORE,
	IMAP_CAP_QRESYNC,
	IMAP_CAP_ESEARCH,
	IMAP_CAP_SEARCHRES,
	IMAP_CAP_WITHIN,
	IMAP_CAP_LIST_EXTENDED,
	IMAP_CAP_LIST_STATUS,
	IMAP_CAP_SPECIAL_USE,
	IMAP_CAP_CREATE_SPECIAL_USE,
	IMAP_CAP_XLIST,
	IMAP_CAP_CHILDREN,
	IMAP_CAP_COMPRESS_DEFLATE,
	IMAP_CAP_NOTIFY,
	IMAP_CAP_OBJECTID,
	IMAP_CAP_QUOTA,
	IMAP_CAP_STATUS_SIZE,
	IMAP_CAP_APPENDLIMIT,
	IMAP_CAP_MULTIAPPEND,
	IMAP_CAP_BINARY,
	IMAP_CAP_CATENATE,
	IMAP_CAP_ACL,
	IMAP_CAP_UTF8_ACCEPT,
	IMAP_CAP_UTF8_ONLY,
	IMAP_CAP_PARTIAL,
	IMAP_CAP_MESSAGELIMIT,
	IMAP_CAP_UIDONLY,
	IMAP_CAP_REPLACE,
	IMAP_CAP_PREVIEW,
	IMAP_CAP_SAVEDATE,
	IMAP_CAP_GMAIL, /* X-GM-EXT-1 */
	IMAP_CAP_COUNT, /* at most 64 */
};

struct imap_caps {
	uint64_t bits;
	bool has_appendlimit;
	uint64_t appendlimit; /* octets */
	char mechanisms[512]; /* "PLAIN SCRAM-SHA-256 ", upper case, in the server's order */
};

bool imap_caps_has(const struct imap_caps *caps, enum imap_cap cap);
/* Whether AUTH=mechanism is offered. */
bool imap_caps_auth(const struct imap_caps *caps, const char *mechanism);
/* Adds one word as the server writes it. */
void imap_caps_add(struct imap_caps *caps, const char *word);
/* Takes one away by name, for `-o without=`: "MOVE", "AUTH=PLAIN". False: no such name is known. */
bool imap_caps_remove(struct imap_caps *caps, const char *name);
/* The name on the wire. Static. */
const char *imap_cap_name(enum imap_cap cap);

/* `* CAPABILITY ...`, or any status response with [CAPABILITY ...] (tagged too): *caps_r is
 * overwritten. False: neither. */
bool imap_caps_decode(const struct imap_response *response, struct imap_caps *caps_r);
/* `* ENABLED ...` (RFC 5161): a set of the same names. */
bool imap_enabled_decode(const struct imap_response *response, struct imap_caps *enabled_r);

#endif
