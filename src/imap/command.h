/* SPDX-License-Identifier: MIT */
/*
 * A command, built piece by piece, and the only place that quotes. Whatever text comes from a
 * user, a message or a server gets into a command through here, as a string that the server can't
 * take for anything else: CR, LF and NUL never get into a line (text with CR or LF goes as a
 * literal, with NUL not at all).
 *
 *     struct imap_command *command = imap_command_new("UID STORE", IMAP_LITERALS_SYNC);
 *     imap_command_set(command, "1:5,7");
 *     imap_command_raw(command, "+FLAGS.SILENT");
 *     imap_command_open(command);
 *     imap_command_flag(command, "\\Deleted");
 *     imap_command_close(command);
 *     if (!imap_command_end(command, fault)) ...
 *
 * The tag is not part of it: who sends it writes the tag and a space, then piece after piece.
 * Before a piece that waits, the server's `+` must have come (RFC 3501 section 7.5); if a tagged
 * answer comes instead, the rest isn't sent.
 *
 * Functions that add put a space before what they add, but not behind `(`. What can't be said is
 * remembered, and imap_command_end() fails; nothing need be checked in between.
 */
#ifndef IMAP_COMMAND_H
#define IMAP_COMMAND_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

struct imap_command;

/* Which literals need no `+` (RFC 7888). */
enum imap_literals {
	IMAP_LITERALS_SYNC,  /* neither extension */
	IMAP_LITERALS_MINUS, /* LITERAL-: up to 4096 octets */
	IMAP_LITERALS_PLUS,  /* LITERAL+: any (more than IMAP_LITERAL_PLUS_MAX wait all the same) */
};

/* Beyond this a refusal before the octets are sent is worth a round trip. */
#define IMAP_LITERAL_MINUS_MAX 4096u
#define IMAP_LITERAL_PLUS_MAX  (100u * 1024u)

/* verb: constant text such as "UID FETCH". */
struct imap_command *imap_command_new(const char *verb, enum imap_literals literals);
/* Frees *command (secrets are wiped) and sets it to NULL; NULL is accepted. */
void imap_command_free(struct imap_command **command);

/* Constant text of the program's own: printable ASCII (asserted), written as it is. */
void imap_command_raw(struct imap_command *command, const char *text);
/* `(` and `)`. */
void imap_command_open(struct imap_command *command);
void imap_command_close(struct imap_command *command);
void imap_command_number(struct imap_command *command, uint64_t number);
/* Numbers and ranges, as seqset_next_chunk() writes them; `*` is allowed (asserted). */
void imap_command_set(struct imap_command *command, const char *set);
/* Any octets but NUL: quoted if short, printable ASCII; else a literal. */
void imap_command_astring(struct imap_command *command, const char *text, size_t len);
/* A mailbox by its raw name, exactly as LIST gave it. */
void imap_command_mailbox(struct imap_command *command, const char *raw, size_t len);
/* One flag or keyword, checked to be one (RFC 3501, flag). `\Recent` and `\*` are refused. */
void imap_command_flag(struct imap_command *command, const char *flag);
/* Quoted date-time, UTC; see imap/date.h. */
void imap_command_date_time(struct imap_command *command, int64_t epoch);
/* A literal in any case; with NUL in it as literal8 (RFC 3516), which `binary` must allow. */
void imap_command_literal(struct imap_command *command, const void *data, size_t len, bool binary);
/* Like astring, shown as `***` in traces. */
void imap_command_secret(struct imap_command *command, const char *text, size_t len);
/* An unquoted word (SASL's initial response in base64, or `=`), shown as `***` in traces. */
void imap_command_secret_word(struct imap_command *command, const char *word);

/* Ends the line. False with FAULT_INVALID: something couldn't be said; don't send it. */
bool imap_command_end(struct imap_command *command, struct fault *fault);

/* The pieces to send, after a successful end; the last one ends with CRLF. */
unsigned imap_command_pieces(const struct imap_command *command);
/* *len_r octets, owned by the command. *wait_r: wait for `+` before. */
const char *imap_command_piece(const struct imap_command *command, unsigned index, size_t *len_r,
                               bool *wait_r);

/* One line for a log: secrets masked, literals as their announcement alone, no CRLF. Owned by the
 * command. */
const char *imap_command_trace(const struct imap_command *command);

#endif
