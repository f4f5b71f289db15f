/* SPDX-License-Identifier: MIT */
/*
 * A connection as a stream of octets: TCP, on which TLS and then deflate can be
 * laid, in this order, each at most once.
 *
 * One thread owns a stream and makes blocking calls. Nothing blocks without a
 * deadline: a call fails with FAULT_TIMEOUT when for `timeout_s` seconds
 * (CLOCK_BOOTTIME) no octet was received or could be sent. Another thread may
 * only call stream_cancel() and what is marked "any thread". No call raises
 * SIGPIPE. After a fault the stream is good for nothing but stream_free().
 *
 * While a write has to wait, what arrives is taken in (up to STREAM_AHEAD_MAX),
 * so that two sides that both write don't block each other.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "net/tls.h"

struct stream;

#define STREAM_AHEAD_MAX (16u * 1024u * 1024u)

/* Connects to all addresses of host (a name, also a non-ASCII one, or an IP literal) one after the
 * other, each with its share of timeout_s. cancel_fd: a descriptor that becomes readable when the
 * caller loses interest, watched only in this call and up to stream_set_cancel_fd(); -1: none.
 * False: FAULT_UNREACHABLE, FAULT_TIMEOUT, FAULT_CANCELLED. */
bool stream_connect(const char *host, uint16_t port, unsigned timeout_s, int cancel_fd,
                    struct stream **stream_r, struct fault *fault);
/* A stream on a connected socket, which it owns from now on. */
struct stream *stream_new(int fd, unsigned timeout_s);
/* Closes and frees *stream and sets it to NULL; NULL is accepted. Does not wait. */
void stream_free(struct stream **stream);

/* The descriptor of stream_connect(), or -1 for none from now on. */
void stream_set_cancel_fd(struct stream *stream, int cancel_fd);
/* Seconds without progress, for the calls that follow. */
void stream_set_timeout(struct stream *stream, unsigned timeout_s);
/* Besides, no call waits beyond this (boottime ns); 0: no such end. */
void stream_set_end(struct stream *stream, int64_t end_ns);

/* Any thread: the owner's current wait and all later ones fail with FAULT_CANCELLED. */
void stream_cancel(struct stream *stream);

/* Whether the peer is this machine: a loopback address or a socketpair. */
bool stream_is_loopback(const struct stream *stream);

/* TLS handshake. False: FAULT_TLS and the others. What was received before and not consumed is
 * refused: FAULT_PROTOCOL. `host` is what the certificate must be for. */
bool stream_start_tls(struct stream *stream, const struct tls_config *config, const char *host,
                      struct fault *fault);
/* NULL without TLS. Owned by the stream. */
const struct tls *stream_tls(const struct stream *stream);

/* From the next octet on both directions are compressed; what was received and not consumed
 * counts as compressed. Only after a flush. */
void stream_start_deflate(struct stream *stream);
/* Whether it was the compression that failed. */
bool stream_deflate_failed(const struct stream *stream);

/* Waits until there is at least one octet, and gives all that is there without consuming it. Valid
 * until the next call. End of file is FAULT_UNREACHABLE. */
bool stream_fill(struct stream *stream, const char **data_r, size_t *len_r, struct fault *fault);
void stream_consume(struct stream *stream, size_t len);
/* Takes in what has arrived without waiting, and gives it as stream_fill() does; *len_r may be 0.
 */
bool stream_poll(struct stream *stream, const char **data_r, size_t *len_r, struct fault *fault);

/* Queues octets; sends them when much is queued. The queue is wiped when it was sent. */
bool stream_write(struct stream *stream, const void *data, size_t len, struct fault *fault);
/* Sends all that is queued. */
bool stream_flush(struct stream *stream, struct fault *fault);
/* Sends close_notify if that needs no waiting. */
void stream_goodbye(struct stream *stream);

enum stream_event {
	STREAM_READABLE, /* stream_poll() may have something */
	STREAM_WOKEN,    /* stream_wake() was called since the last time that this was told */
	STREAM_OVER,     /* until_ns (boottime) has come */
};
/* Waits for what may come unasked, for however long: no timeout holds here but until_ns. False:
 * FAULT_CANCELLED, FAULT_UNREACHABLE (the peer has closed). */
bool stream_listen(struct stream *stream, int64_t until_ns, enum stream_event *event_r,
                   struct fault *fault);
/* Any thread: the owner's current stream_listen() or the next one returns STREAM_WOKEN. */
void stream_wake(struct stream *stream);

/* Sleeps; counts as progress. False: FAULT_CANCELLED. */
bool stream_pause(struct stream *stream, unsigned ms, struct fault *fault);

/* Any thread: boottime ns of the last octet received or stream_touch(). */
int64_t stream_progress_ns(const struct stream *stream);
/* Any thread. */
void stream_touch(struct stream *stream);

struct stream_octets {
	uint64_t wire_in, wire_out;   /* on the wire, TLS included */
	uint64_t plain_in, plain_out; /* as the user of the stream sees them */
};
/* Any thread. */
void stream_octets(const struct stream *stream, struct stream_octets *octets_r);

#endif
