/* SPDX-License-Identifier: MIT */
/*
 * Logging in: SASL (RFC 4422, RFC 3501 section 6.2.2) and, as a last resort, the
 * LOGIN command.
 *
 * What is tried, the first that the server offers and that fits what we have:
 *
 *     with a token:     OAUTHBEARER (RFC 7628), XOAUTH2
 *     else:             EXTERNAL (only with a client certificate), GSSAPI,
 *     with a password:  SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS (TLS 1.3 only), SCRAM-SHA-256,
 *                       SCRAM-SHA-1, CRAM-MD5, PLAIN, LOGIN, the command LOGIN
 *
 * `auth=` forces one. Those that show the secret to whoever reads the line (PLAIN, LOGIN, the
 * tokens) are used only where the line is safe. LOGINDISABLED is honoured. A mechanism that the
 * server turns out not to speak (BAD, NO before it has seen a proof), or that we can't carry
 * through (GSSAPI without a ticket), gives way to the next; a refused password never does, since a
 * second try with it may lock the account.
 *
 * libgsasl does the mechanisms but for those of OAuth 2.0. Secrets are wiped after use.
 */
#ifndef SESSION_AUTH_H
#define SESSION_AUTH_H

#include <glib.h>
#include <stdbool.h>

#include "base/fault.h"
#include "imap/caps.h"
#include "imap/code.h"
#include "imap/command.h"
#include "net/tls.h"

/* Where the password or token comes from. Called by any thread that logs in, maybe by several at
 * the same time. */
struct auth_secret_source {
	/* Appends the secret to *secret_r, which the caller wipes. refresh: the last one was
	 * refused (tokens only). False with a fault: there is none. NULL: there is no secret at all
	 * (EXTERNAL, GSSAPI). */
	bool (*get)(void *ctx, bool refresh, GString *secret_r, struct fault *fault);
	void *ctx;
	bool is_token; /* an OAuth 2.0 access token, not a password */
};

/* Overwrites and frees a secret. NULL is accepted. */
void auth_secret_free(GString *secret);

/* The line to the server, as auth sees it; conn implements it. */
enum auth_event_kind {
	AUTH_EVENT_CONTINUE, /* `+ text` */
	AUTH_EVENT_DONE,     /* tagged: status, code, text */
};
struct auth_event {
	enum auth_event_kind kind;
	enum imap_status status;
	enum imap_code code;
	char text[8192]; /* cut if longer */
};
struct auth_line {
	void *ctx;
	/* Sends AUTHENTICATE or LOGIN; owns the command from now on. */
	bool (*send)(void *ctx, struct imap_command *command, struct fault *fault);
	/* Sends one line of base64 (may be empty), which is a secret. */
	bool (*answer)(void *ctx, const char *line, struct fault *fault);
	/* Waits for what the server says to that. */
	bool (*wait)(void *ctx, struct auth_event *event_r, struct fault *fault);
};

struct auth_request {
	const struct auth_line *line;
	const struct imap_caps *caps; /* as known before; need not stay valid */
	const char *user;             /* UTF-8; NULL: none (EXTERNAL, GSSAPI) */
	const char *force;            /* name of a mechanism in any case, or NULL */
	const struct auth_secret_source *secret;
	bool refresh;                 /* ask the source for a new secret */
	bool line_is_safe;            /* TLS, or cleartext that was allowed */
	bool have_certificate;        /* of the client */
	const char *host;             /* the server's name, for GSSAPI and OAUTHBEARER */
	unsigned port;
	const struct tls *tls;        /* for channel binding, or NULL */
};

/*
 * Logs in. False: FAULT_AUTH (refused, or no mechanism in common: the text lists what the server
 * offers), FAULT_BUSY (the server says try later), or a fault of the line.
 * *sasl_ir_broken_r is set to true if SASL-IR (RFC 4959) was offered but did not work.
 */
bool auth_login(const struct auth_request *request, bool *sasl_ir_broken_r, struct fault *fault);

/* Whether a refusal of a login means "later" rather than "no": code, or the usual words where there
 * is no code. */
bool auth_refusal_is_busy(enum imap_code code, const char *text);

#endif
