/* SPDX-License-Identifier: MIT */
/* What the files of a connection share (conn, login, mailbox, push, respond). Private to them. */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include <glib.h>

#include "imap/parser.h"
#include "session/conn.h"
#include "session/trace.h"

/* A command that was sent and not yet waited for. */
struct pending {
	uint32_t tag;
	bool done;
	struct fault fault; /* of a command that could not be said; kind NONE else */
	struct conn_reply reply;
};

enum greeting { GREETING_NONE, GREETING_OK, GREETING_PREAUTH };

struct conn {
	const struct conn_config *config;
	struct pool *pool; /* or NULL */
	unsigned number;
	bool alive;
	struct fault fault; /* why it is not */

	struct stream *stream;
	struct imap_parser *parser;
	const char *input;      /* what stream_fill() gave */
	size_t input_len, input_used;
	bool hungry;            /* the parser has no event left */
	bool streaming;         /* the handler wants the literal that comes */
	unsigned skipped;       /* responses in a row that were not understood */
	struct trace trace;

	struct conn_handler handler;
	GPtrArray *pending;     /* struct pending, in the order they were sent */
	unsigned outstanding;   /* of them not done */
	uint32_t last_tag;
	bool continued;         /* a `+` came, with this text: */
	GString *continue_text;
	unsigned throttle_ms;   /* pause before each command, as the server asked for */

	enum greeting greeting;
	bool greeted;
	bool leaving;           /* a BYE is what we asked for */
	bool secret;            /* logging in: lines both ways are masked in the trace */
	uint32_t login_tag;
	bool caps_known;
	struct imap_caps caps, enabled;

	int64_t opened_ns;      /* boottime */
	unsigned heard;         /* untagged responses that were read */
	uint32_t idle_tag;      /* of the IDLE under way, 0: none */
	bool notified;          /* NOTIFY is in force */

	bool selected, selecting;
	bool await_closed;      /* what comes is of the mailbox before, until [CLOSED] */
	struct conn_mailbox mailbox, next; /* next: of a SELECT under way */
	char *mailbox_name;
};

/* --- conn.c ---------------------------------------------------------------------------- */

/* On a stream that it owns from now on. */
struct conn *conn_new(const struct conn_config *config, struct pool *pool, unsigned number,
                      struct stream *stream);
/* The connection is of no use any more. Returns false. */
bool conn_fail(struct conn *conn, const struct fault *fault);
bool conn_fail_with(struct conn *conn, enum fault_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Copies why it failed. Returns false. */
bool conn_failed(const struct conn *conn, struct fault *fault);
/* Reads and acts on one response (or drops one). False: conn_fail() was called. */
bool conn_read(struct conn *conn);
/* Acts on all that has arrived, without waiting. */
bool conn_poll(struct conn *conn);
/* Gives back the view on the stream's input, before any other call of the stream. */
void conn_release_input(struct conn *conn);
/* Reads what is outstanding to its end. */
bool conn_drain(struct conn *conn);
/* Writes a line that isn't a command: an answer to `+`. */
bool conn_answer(struct conn *conn, const char *line);
/* The pending command with this tag; NULL: none. */
struct pending *conn_pending(struct conn *conn, uint32_t tag);
void conn_forget_caps(struct conn *conn);
void conn_set_caps(struct conn *conn, const struct imap_caps *caps);

/* --- respond.c ------------------------------------------------------------------------- */

/* Act on one. False: conn_fail() was called. */
bool conn_take_response(struct conn *conn, const struct imap_response *response);
bool conn_take_skipped(struct conn *conn, const char *error);

/* --- mailbox.c ------------------------------------------------------------------------- */

/* What untagged responses, and codes of all, tell of the mailbox. */
void mailbox_note(struct conn *conn, const struct imap_response *response);
void mailbox_note_code(struct conn *conn, const struct imap_response *response);
/* Whether the response belongs to the mailbox before and must not be seen by the handler. */
bool mailbox_is_late(const struct conn *conn, const struct imap_response *response);

#endif
