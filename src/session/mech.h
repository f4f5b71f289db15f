/* SPDX-License-Identifier: MIT */
/*
 * One run of one SASL mechanism, the client's side (RFC 4422): pure, lines of
 * base64 in and out. For auth.c.
 *
 *     mech = mech_new(info, &params, fault);
 *     mech_first(mech, line, fault)           if info->client_first
 *     mech_step(mech, challenge, line, fault) for each challenge
 *     mech_finished(mech)                     when the server says OK
 */
#ifndef SESSION_MECH_H
#define SESSION_MECH_H

#include <glib.h>
#include <stdbool.h>

#include "base/fault.h"

enum mech_need {
	MECH_NEEDS_NOTHING = 0,
	MECH_NEEDS_CERTIFICATE = 1 << 0, /* of the client, on the line below */
	MECH_NEEDS_TICKET = 1 << 1,      /* Kerberos */
	MECH_NEEDS_PASSWORD = 1 << 2,
	MECH_NEEDS_TOKEN = 1 << 3,       /* OAuth 2.0 */
	MECH_NEEDS_BINDING = 1 << 4,     /* a channel binding of the line below */
	MECH_NEEDS_SAFE_LINE = 1 << 5,   /* it shows the secret */
};

struct mech_info {
	const char *name;
	unsigned needs;      /* enum mech_need */
	bool client_first;   /* the client speaks first: an initial response is possible */
	unsigned proof_line; /* which of the client's lines, from 1, proves that it knows the
	                      * secret */
	bool must_finish;    /* the server must prove something too before its OK counts */
};

/* All, the strongest first; an entry without a name ends the table. */
extern const struct mech_info mech_table[];

struct mech_params {
	const char *user;             /* NULL: none */
	const char *secret;           /* password or token; NULL: none */
	const char *host;
	unsigned port;
	const unsigned char *binding; /* TLS_BINDING_LEN octets; NULL: none */
};

struct mech;

/* Params need not stay valid. NULL with FAULT_UNSUPPORTED: this build can't do it. */
struct mech *mech_new(const struct mech_info *info, const struct mech_params *params,
                      struct fault *fault);
/* Wipes what is secret, frees *mech and sets it to NULL; NULL is accepted. */
void mech_free(struct mech **mech);

/* Writes a line of base64 without CRLF (may be empty) to *line_r, which the caller wipes. False
 * with FAULT_AUTH: the challenge is wrong, or what the mechanism needs isn't there. */
bool mech_first(struct mech *mech, GString *line_r, struct fault *fault);
bool mech_step(struct mech *mech, const char *challenge, GString *line_r, struct fault *fault);
/* Whether all has been said that `must_finish` asks for. */
bool mech_finished(const struct mech *mech);
/* What the server said against an OAuth 2.0 token, printable; NULL: nothing. */
const char *mech_complaint(const struct mech *mech);

#endif
