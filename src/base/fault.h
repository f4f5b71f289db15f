/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, in one value that every layer passes up.
 *
 * A fault has a kind, which says what a caller can still do and which errno a
 * user sees in the end (fs/errno.c alone maps it), and one line of text for the
 * log and the terminal: what failed, where, and what the server said. The text
 * is always printable: control characters are replaced when it is set.
 *
 * A function that can fail takes a `struct fault *` as its last parameter and
 * sets it when, and only when, it fails. Passing NULL is allowed.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE = 0,
	FAULT_GONE,        /* the message or mailbox is not there: NONEXISTENT, TRYCREATE */
	FAULT_READONLY,    /* the mailbox or mount can't be written */
	FAULT_DENIED,      /* NOPERM; or the credentials were refused while running */
	FAULT_QUOTA,       /* OVERQUOTA */
	FAULT_TOOBIG,      /* TOOBIG, LIMIT on a size */
	FAULT_EXISTS,      /* ALREADYEXISTS */
	FAULT_INVALID,     /* CANNOT; a name or value that is not taken */
	FAULT_REFUSED,     /* any other NO */
	FAULT_PROTOCOL,    /* BAD, or a response out of grammar */
	FAULT_BUSY,        /* UNAVAILABLE, INUSE, LIMIT on connections: try later */
	FAULT_UNREACHABLE, /* no connection: name, network, refused port, cut line */
	FAULT_TIMEOUT,     /* no progress within the time allowed */
	FAULT_AUTH,        /* user name, password or token refused; no mechanism in common */
	FAULT_TLS,         /* the TLS handshake or the certificate failed */
	FAULT_CACHE,       /* the cache on disk can't be read or written */
	FAULT_CANCELLED,   /* the program is ending, or the caller was interrupted */
	FAULT_UNSUPPORTED, /* the server can't do it */
};

#define FAULT_TEXT_MAX 400

struct fault {
	enum fault_kind kind;
	char text[FAULT_TEXT_MAX];
};

/* Sets kind and text. Returns false, so that `return fault_set(...)` reads well. */
bool fault_set(struct fault *fault, enum fault_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the text, keeping the kind. Returns false. */
bool fault_prefix(struct fault *fault, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

void fault_clear(struct fault *fault);

/* A short name of the kind for logs, e.g. "timeout". Static. */
const char *fault_kind_name(enum fault_kind kind);

#endif
