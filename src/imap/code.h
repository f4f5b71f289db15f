/* SPDX-License-Identifier: MIT */
/*
 * Response codes, `* OK [UIDNEXT 17] text` (RFC 3501 section 7.1, RFC 5530 and others), and what a
 * refusal with one means for the caller.
 */
#ifndef IMAP_CODE_H
#define IMAP_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "imap/fetch.h"
#include "imap/parser.h"

enum imap_code {
	IMAP_CODE_NONE,
	IMAP_CODE_UNKNOWN, /* one that is not in this list */
	IMAP_CODE_ALERT,
	IMAP_CODE_ALREADYEXISTS,
	IMAP_CODE_APPENDUID,
	IMAP_CODE_AUTHENTICATIONFAILED,
	IMAP_CODE_AUTHORIZATIONFAILED,
	IMAP_CODE_BADCHARSET,
	IMAP_CODE_BADEVENT,
	IMAP_CODE_CANNOT,
	IMAP_CODE_CAPABILITY,
	IMAP_CODE_CLIENTBUG,
	IMAP_CODE_CLOSED,
	IMAP_CODE_COMPRESSIONACTIVE,
	IMAP_CODE_CONTACTADMIN,
	IMAP_CODE_COPYUID,
	IMAP_CODE_CORRUPTION,
	IMAP_CODE_EXPIRED,
	IMAP_CODE_EXPUNGEISSUED,
	IMAP_CODE_HASCHILDREN,
	IMAP_CODE_HIGHESTMODSEQ,
	IMAP_CODE_INUSE,
	IMAP_CODE_LIMIT,
	IMAP_CODE_MAILBOXID,
	IMAP_CODE_MESSAGELIMIT,
	IMAP_CODE_MODIFIED,
	IMAP_CODE_NOMODSEQ,
	IMAP_CODE_NONEXISTENT,
	IMAP_CODE_NOPERM,
	IMAP_CODE_NOTIFICATIONOVERFLOW,
	IMAP_CODE_OVERQUOTA,
	IMAP_CODE_PARSE,
	IMAP_CODE_PERMANENTFLAGS,
	IMAP_CODE_PRIVACYREQUIRED,
	IMAP_CODE_READ_ONLY,
	IMAP_CODE_READ_WRITE,
	IMAP_CODE_SERVERBUG,
	IMAP_CODE_THROTTLED,
	IMAP_CODE_TOOBIG,
	IMAP_CODE_TRYCREATE,
	IMAP_CODE_UIDNEXT,
	IMAP_CODE_UIDNOTSTICKY,
	IMAP_CODE_UIDREQUIRED,
	IMAP_CODE_UIDVALIDITY,
	IMAP_CODE_UNAVAILABLE,
	IMAP_CODE_UNKNOWN_CTE,
	IMAP_CODE_UNSEEN,
};

/* The code of a status response; NONE where it has none. */
enum imap_code imap_response_code(const struct imap_response *response);
/* As on the wire, "" for NONE and UNKNOWN. Static. */
const char *imap_code_name(enum imap_code code);

/*
 * What a refusal means. NONE for OK and PREAUTH; for NO and BAD the code decides, else they are
 * REFUSED and PROTOCOL; BYE is UNREACHABLE, or BUSY where the code says so. LIMIT is BUSY: where a
 * size was at stake (APPEND), the caller makes it TOOBIG.
 */
enum fault_kind imap_code_fault(enum imap_status status, enum imap_code code);

/* The number of UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ, UNSEEN, MESSAGELIMIT and so on. UIDVALIDITY is
 * taken as 64 bits wide: some servers have it so. False: there is none. */
bool imap_code_number(const struct imap_response *response, uint64_t *number_r);
/* The id of MAILBOXID (RFC 8474). */
bool imap_code_id(const struct imap_response *response, const char **id_r);
/* PERMANENTFLAGS. */
bool imap_code_flags(const struct imap_response *response, struct imap_flags *flags_r);

#define IMAP_COPYUID_MAX 100000u

/* COPYUID (RFC 4315, RFC 6851), in a tagged or an untagged OK: source[i] became dest[i]. */
struct imap_copyuid {
	uint64_t uidvalidity; /* of the mailbox copied to */
	unsigned count;
	const uint32_t *source, *dest;
};

/* False: no COPYUID, or one that can't be believed (truncated, sets of unequal length or over
 * IMAP_COPYUID_MAX, a UID twice). That means "unknown", never "not copied". */
bool imap_copyuid_decode(const struct imap_response *response, struct imap_copyuid *copyuid_r);
/* APPENDUID of one message. */
bool imap_appenduid_decode(const struct imap_response *response, uint64_t *uidvalidity_r,
                           uint32_t *uid_r);
/* MESSAGELIMIT: true, and the UID down to which the command was done (RFC 9738), 0 if it is not
 * told. */
bool imap_messagelimit_decode(const struct imap_response *response, uint32_t *uid_r);

#endif
