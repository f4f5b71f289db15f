/* SPDX-License-Identifier: MIT */
/*
 * The name of a message's file. It depends on the message alone:
 *
 *     2024-05-03T141205_Alice-Smith_Re-Lunch-on-Friday_k3f9x2mqa7.eml
 *
 * date (the Date field in UTC; INTERNALDATE where there is none or it lies
 * outside 1970 to 2100), sender, subject, and a digest of the Message-ID, Date,
 * From and Subject fields. Words are letters, marks and digits of any script, in
 * NFC; all else becomes one "-"; "_" stands only between the fields; an empty
 * field stays empty. A name never needs quoting in a shell, never starts with
 * "-" or ".", is valid UTF-8 and at most 255 octets long.
 *
 * All functions may be called by any thread, after name_init().
 */
#ifndef FS_NAME_H
#define FS_NAME_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_IDENTITY_SIZE 32

/* Once, before the others. */
void name_init(void);

/* header: the fields as the server sent them, any octets; NULL for none. internaldate: seconds
 * since 1970, INT64_MIN if unknown. Sets name_r, and the whole digest. */
void name_from_header(const char *header, size_t len, int64_t internaldate, GString *name_r,
                      unsigned char identity_r[NAME_IDENTITY_SIZE]);

/* "UIDVALIDITY.UID.eml". */
void name_from_uid(uint64_t uidvalidity, uint32_t uid, GString *name_r);

/* The n-th message of that name: "~n" before ".eml", at most 255 octets. */
void name_numbered(const char *name, unsigned n, GString *name_r);

#endif
