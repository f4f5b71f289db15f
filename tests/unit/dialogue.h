/* SPDX-License-Identifier: MIT */
/*
 * Dialogues as tables, for tests of session/: what the peer sends and what it
 * expects, and a client that logs in to it in clear text on loopback.
 */
#ifndef TEST_DIALOGUE_H
#define TEST_DIALOGUE_H

#include <stdbool.h>

#include "session/conn.h"

#include "peer.h"

enum turn_kind {
	TURN_END = 0,
	TURN_SEND,    /* text as it is */
	TURN_EXPECT,  /* a command; text is a glob for what follows the tag */
	TURN_LINE,    /* a line without a tag; glob */
	TURN_REPLY,   /* the tag and text */
	TURN_HANG,    /* says nothing more until the client goes */
	TURN_CUT,     /* closes */
	TURN_ACCEPT,  /* takes the next connection */
	TURN_DEFLATE, /* compresses from here on */
	TURN_CLOSED,  /* the client closes without another word */
};
struct turn {
	enum turn_kind kind;
	const char *text;
};

#define SEND(t)   { TURN_SEND, t "\r\n" }
#define RAW(t)    { TURN_SEND, t }
#define EXPECT(t) { TURN_EXPECT, t }
#define LINE(t)   { TURN_LINE, t }
#define REPLY(t)  { TURN_REPLY, t }
#define HANG      { TURN_HANG, NULL }
#define CUT       { TURN_CUT, NULL }
#define ACCEPT    { TURN_ACCEPT, NULL }
#define DEFLATE   { TURN_DEFLATE, NULL }
#define CLOSED    { TURN_CLOSED, NULL }
#define END       { TURN_END, NULL }

/* A script whose ctx is an array of turns; accepts a connection first. */
void dialogue_script(struct peer *peer, void *turns);
/* Runs turns on a connection that is accepted. */
void dialogue_run(struct peer *peer, const struct turn *turns);

/* What the secret source gives: secrets[0], and secrets[1] when it is asked to refresh. */
struct dialogue_secret {
	const char *secrets[2];
	unsigned asked, refreshed;
};
/* A configuration for 127.0.0.1 in clear text, user alice, 5 s. */
struct conn_config dialogue_config(const struct peer *peer, struct dialogue_secret *secret,
                                   bool is_token);

#endif
