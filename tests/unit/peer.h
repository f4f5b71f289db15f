/* SPDX-License-Identifier: MIT */
/*
 * A scripted IMAP server in a thread, for tests of what talks to one.
 *
 *     static void script(struct peer *peer, void *ctx)
 *     {
 *             peer_accept(peer);
 *             peer_send(peer, "* OK hello\r\n");
 *             peer_expect(peer, "LOGIN alice *");
 *             peer_reply(peer, "OK in");
 *     }
 *     struct peer *peer = peer_new(script, NULL);
 *     ... connect to 127.0.0.1, peer_port(peer) ...
 *     peer_finish(&peer);       fails the test unless the script ran to its end
 *
 * The first thing that goes wrong is kept, and makes all later calls of the
 * script return at once. No wait of the peer is longer than PEER_WAIT_S.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_WAIT_S 20

struct peer;
struct ssl_ctx_st;

typedef void peer_script(struct peer *peer, void *ctx);

/* Listens on 127.0.0.1. */
struct peer *peer_new(peer_script *script, void *ctx);
/* On one end of a socketpair, accepted already; the other end is *fd_r. */
struct peer *peer_new_pair(peer_script *script, void *ctx, int *fd_r);
uint16_t peer_port(const struct peer *peer);
/* Waits for the script's end, frees *peer and sets it to NULL; fails the test if the script failed.
 */
void peer_finish(struct peer **peer);
/* The same, but what went wrong in the script doesn't matter. */
void peer_forget(struct peer **peer);

/* --- for scripts ----------------------------------------------------------------------- */

/* Takes the next connection; the one before is closed. */
void peer_accept(struct peer *peer);
/* Reads a command line; what follows its tag must match the glob (`*`, `?`). */
void peer_expect(struct peer *peer, const char *glob);
/* Reads a line that has no tag. */
void peer_expect_line(struct peer *peer, const char *glob);
/* Reads octets that must be these. */
void peer_expect_octets(struct peer *peer, const char *data, size_t len);
/* The last line that was read. */
const char *peer_line(const struct peer *peer);
/* Whether the last line, without its tag, matches. */
bool peer_matches(const struct peer *peer, const char *glob);
/* Reads a command line, whatever it is. False: the connection is at its end. */
bool peer_next(struct peer *peer);

void peer_send(struct peer *peer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void peer_send_octets(struct peer *peer, const void *data, size_t len);
/* The tagged answer to the last command: "OK done". */
void peer_reply(struct peer *peer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From now on at most so many octets a write; 0: as they are. */
void peer_chop(struct peer *peer, size_t octets);
/* The line is cut when so many octets have been sent (after accept). */
void peer_cut_after(struct peer *peer, uint64_t octets);
/* Octets sent since accept. */
uint64_t peer_sent(const struct peer *peer);

/* The server's side of TLS. */
void peer_start_tls(struct peer *peer, struct ssl_ctx_st *context);
/* The same; the handshake is expected to fail. */
void peer_refuse_tls(struct peer *peer, struct ssl_ctx_st *context);
/* Channel binding "tls-exporter", 32 octets. */
void peer_binding(struct peer *peer, unsigned char *binding_r);
void peer_start_deflate(struct peer *peer);

/* Waits, reading nothing of what comes in, until the client closes. */
void peer_hang(struct peer *peer);
/* Waits for the client to close, nothing may come before. */
void peer_expect_end(struct peer *peer);
/* Closes the connection. */
void peer_cut(struct peer *peer);
/* Marks the script as failed. */
void peer_fail(struct peer *peer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool peer_failed(const struct peer *peer);

#endif
