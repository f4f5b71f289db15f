/* SPDX-License-Identifier: MIT */
/*
 * The date of INTERNALDATE and APPEND (RFC 3501, date-time): `17-Jul-1996 02:44:25 -0700`.
 */
#ifndef IMAP_DATE_H
#define IMAP_DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets that imap_date_format() needs, NUL included. */
#define IMAP_DATE_SIZE 32

/*
 * Seconds since 1970. Lenient: spaces around, a day of one digit, any case, seconds or zone
 * missing (then UTC), a zone by one of the names UT, UTC, GMT, Z. False, with *epoch_r untouched:
 * no such day or time (`00-Jan-0000`), or a year outside 1900 to 9999 (some servers give 1899 for
 * "none").
 */
bool imap_date_parse(const char *text, size_t len, int64_t *epoch_r);

/* Without quotes, in UTC. What lies outside the years 1970 to 9999 is written as their nearest
 * end. */
void imap_date_format(int64_t epoch, char text_r[IMAP_DATE_SIZE]);

#endif
