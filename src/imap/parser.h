/* SPDX-License-Identifier: MIT */
/*
 * The parser of what an IMAP server sends (RFC 3501 section 9 and its extensions). It is fed
 * octets as they arrive, in pieces of any size, and knows no socket:
 *
 *     do {
 *             what = imap_parser_feed(parser, data, len, &used);
 *             data += used, len -= used;
 *             ... act on what ...
 *     } while (what != IMAP_PARSE_MORE && what != IMAP_PARSE_FATAL);
 *
 * A response comes out whole, as a tree of arguments in an arena that the next call of
 * imap_parser_feed() clears. Only the body of a message is never held: a literal behind a FETCH
 * item that asks for one (`BODY[]`, `BODY[]<0>`, `BODY[TEXT]`, `RFC822`, `BINARY[1]`, ... but not a
 * header section) is streamed: IMAP_PARSE_LITERAL_BEGIN, any number of IMAP_PARSE_LITERAL_DATA,
 * IMAP_PARSE_LITERAL_END, and then, with the rest of its line, IMAP_PARSE_RESPONSE, in which an
 * argument IMAP_ARG_STREAMED stands in its place. What was streamed is good only when that
 * response has come (the octet behind a literal tells whether its length was true). A quoted
 * string or NIL in that place is an ordinary argument.
 *
 * It is lenient in what real servers do (bare LF, missing text, doubled or trailing spaces, TAB and
 * 8-bit octets in atoms, stray lines) and never trusts a length, depth or count. A line that can't
 * be understood is skipped together with its literals; a tagged line never is, unless its second
 * word is none of OK, NO and BAD. After FATAL nothing more can be had: drop the connection.
 */
#ifndef IMAP_PARSER_H
#define IMAP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct imap_parser;

#define IMAP_LINE_MAX     (1024u * 1024u)         /* octets of a response without its literals */
#define IMAP_NUMBERS_MAX  (16u * 1024u * 1024u)   /* the same of SEARCH, ESEARCH, VANISHED, SORT */
#define IMAP_LITERAL_MAX  (1024u * 1024u)         /* a literal that is held, else SKIPPED */
#define IMAP_DISCARD_MAX  (64u * 1024u * 1024u)   /* a literal that is skipped, else FATAL */
#define IMAP_STREAM_MAX   (UINT64_C(1) << 40)     /* a literal that is streamed, else FATAL */
#define IMAP_DEPTH_MAX    32u                     /* of lists, else SKIPPED */
#define IMAP_ARGS_MAX     65536u                  /* in one response at all depths, else SKIPPED */
#define IMAP_ARENA_MAX    (32u * 1024u * 1024u)   /* memory of one response, else SKIPPED */

/* The limits in use; tests set lower ones. */
struct imap_limits {
	size_t line, numbers, literal, discard, arena;
	uint64_t stream;
	unsigned depth, args;
};

enum imap_parse {
	IMAP_PARSE_MORE,          /* all octets are consumed, nothing is ready */
	IMAP_PARSE_RESPONSE,      /* see imap_parser_response() */
	IMAP_PARSE_LITERAL_BEGIN, /* see imap_parser_literal() */
	IMAP_PARSE_LITERAL_DATA,  /* see imap_parser_data() */
	IMAP_PARSE_LITERAL_END,
	IMAP_PARSE_SKIPPED,       /* a response was dropped, see imap_parser_error() */
	IMAP_PARSE_FATAL,         /* limit exceeded or out of step, see imap_parser_error() */
};

enum imap_arg_type {
	IMAP_ARG_NIL,      /* str has it as it was spelt */
	IMAP_ARG_ATOM,     /* atom, number, flag, FETCH item with its [section] */
	IMAP_ARG_STRING,   /* quoted or literal */
	IMAP_ARG_LIST,     /* items, count */
	IMAP_ARG_STREAMED, /* size; the octets were handed out before */
};

struct imap_arg {
	enum imap_arg_type type;
	unsigned count;               /* of items */
	const struct imap_arg *items; /* of a LIST */
	const char *str;              /* NUL behind, may hold others; "" for a LIST */
	size_t len;
	uint64_t size;                /* octets that were streamed */
};

enum imap_kind {
	IMAP_KIND_TAGGED,   /* tag, status, code, text */
	IMAP_KIND_UNTAGGED, /* name, and number, args or status, code, text */
	IMAP_KIND_CONTINUE, /* text */
};

enum imap_status {
	IMAP_STATUS_NONE, /* not a status response */
	IMAP_STATUS_OK,
	IMAP_STATUS_NO,
	IMAP_STATUS_BAD,
	IMAP_STATUS_BYE,
	IMAP_STATUS_PREAUTH,
};

/* One response. Strings are never NULL unless it says so. */
struct imap_response {
	enum imap_kind kind;
	enum imap_status status;
	const char *tag;           /* TAGGED, else "" */
	bool has_number;           /* `* 5 FETCH`: */
	uint32_t number;           /* 5 */
	const char *name;          /* FETCH, LIST, OK, ..., upper case; "" for CONTINUE */
	const char *code;          /* status: upper case word in brackets, or NULL */
	const struct imap_arg *code_args;
	unsigned code_count;
	const char *text;          /* status: human text; CONTINUE: what follows `+ ` */
	size_t text_len;
	const struct imap_arg *args;
	unsigned count;
	const char *numbers;       /* SEARCH, SORT: the rest of the line, no args; else NULL */
	size_t numbers_len;
	struct arena *arena;       /* where all of this lives, and decoders put what they make */
};

/* The literal being streamed. */
struct imap_literal {
	const char *item; /* `BODY[]<0>`, as the server spelt it */
	uint64_t size;    /* octets announced */
};

struct imap_parser *imap_parser_new(void);
/* Frees *parser and sets it to NULL; NULL is accepted. */
void imap_parser_free(struct imap_parser **parser);
/* Forgets everything half-read, an error too. For after STARTTLS. Offsets go on. */
void imap_parser_reset(struct imap_parser *parser);
void imap_parser_set_limits(struct imap_parser *parser, const struct imap_limits *limits);
/* Fills in the limits above. */
void imap_limits_default(struct imap_limits *limits_r);

/*
 * Takes octets up to the next event. *used_r, at most len, is how many; an event may use none, so
 * call it until it returns MORE (or FATAL, which stays). What comes out does not depend on how the
 * octets were divided, but for the size of each IMAP_PARSE_LITERAL_DATA.
 */
enum imap_parse imap_parser_feed(struct imap_parser *parser, const char *data, size_t len,
                                 size_t *used_r);

/* True between two responses: nothing is half-read. */
bool imap_parser_idle(const struct imap_parser *parser);

/* After IMAP_PARSE_RESPONSE: the response, valid until the next feed. From LITERAL_BEGIN to
 * LITERAL_END: what is known of it so far (number, and in args the items before the literal). */
const struct imap_response *imap_parser_response(const struct imap_parser *parser);
/* From LITERAL_BEGIN to LITERAL_END. */
const struct imap_literal *imap_parser_literal(const struct imap_parser *parser);
/* After LITERAL_DATA: octets of the literal, in the caller's own input. */
const char *imap_parser_data(const struct imap_parser *parser, size_t *len_r);
/* After SKIPPED and FATAL: one line on what was wrong, with the start of the response. It may hold
 * any octet but NUL, CR and LF. Valid until the next feed. */
const char *imap_parser_error(const struct imap_parser *parser);
/* Where that error is; otherwise where the next octet will stand: octets fed since the start. */
uint64_t imap_parser_offset(const struct imap_parser *parser);

#endif
