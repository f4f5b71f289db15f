/* SPDX-License-Identifier: MIT */
/*
 * Modified UTF-7, the encoding of mailbox names (RFC 3501 section 5.1.3): printable ASCII stands
 * for itself, `&` is `&-`, all else is UTF-16 in a base64 of its own between `&` and `-`.
 *
 *     Entw&APw-rfe  <->  Entwürfe
 *
 * Both directions are strict, so that decoding and encoding again gives the same octets: what has
 * more than one spelling is valid in one only.
 */
#ifndef IMAP_UTF7_H
#define IMAP_UTF7_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Appends UTF-8 to out. False, and out as before: in is not (canonical) modified UTF-7: 8-bit or
 * control octets, lone surrogates, an `&` that does not close, padding bits, printable ASCII in
 * base64, U+0000, two shifts side by side. */
bool imap_utf7_to_utf8(const char *in, size_t len, GString *out);

/* Appends modified UTF-7 to out. False, and out as before: in is not valid UTF-8, or holds NUL. */
bool imap_utf7_from_utf8(const char *in, size_t len, GString *out);

#endif
