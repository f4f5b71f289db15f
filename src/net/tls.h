/* SPDX-License-Identifier: MIT */
/*
 * TLS 1.2 and later as a filter over buffers: it does no I/O, so deadlines,
 * cancelling and SIGPIPE are the stream's matter alone. Nothing else in the
 * program sees OpenSSL.
 *
 * The chain and the name are always verified: the host name against the
 * certificate's DNS names, an IP address (v4, v6) against its addresses. The
 * name is also sent (SNI), if it is a name. What fails is told in one line: what
 * is wrong, whose certificate it is, its SHA-256 fingerprint, and how to trust
 * it.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"
#include "net/buffer.h"

struct tls;

/* All may be NULL. Strings are only read by tls_new(). */
struct tls_config {
	const char *cafile;   /* PEM: only what is in there is trusted, a CA or the server's own
	                       * certificate; NULL: the system's CAs */
	const char *certfile; /* PEM: client certificate, with its chain */
	const char *keyfile;  /* PEM: its key; NULL: it is in certfile */
};

enum tls_result {
	TLS_DONE,   /* as far as there was input */
	TLS_MORE,   /* the handshake needs input */
	TLS_CLOSED, /* the peer ended the TLS session */
	TLS_FAILED, /* fault is set */
};

/* A client that will talk to `host` (ASCII name or IP literal). NULL with FAULT_TLS: a file can't
 * be read or used. */
struct tls *tls_new(const struct tls_config *config, const char *host, struct fault *fault);
/* Frees *tls and sets it to NULL; NULL is accepted. */
void tls_free(struct tls **tls);

/* Takes from `wire_in`, appends to `wire_out`, which is to be sent whatever the result. */
enum tls_result tls_handshake(struct tls *tls, struct buffer *wire_in, struct buffer *wire_out,
                              struct fault *fault);
/* Takes from `wire_in`, appends at most about `max` octets to `plain`. */
enum tls_result tls_decrypt(struct tls *tls, struct buffer *wire_in, struct buffer *wire_out,
                            struct buffer *plain, size_t max, struct fault *fault);
/* Takes all of `plain`. */
bool tls_encrypt(struct tls *tls, struct buffer *plain, struct buffer *wire_out,
                 struct fault *fault);
/* Says goodbye (close_notify). */
void tls_close(struct tls *tls, struct buffer *wire_out);

/* "TLSv1.3 TLS_AES_256_GCM_SHA384", for logs. Owned by tls. */
const char *tls_describe(const struct tls *tls);

#define TLS_BINDING_LEN 32
/* Channel binding "tls-exporter" (RFC 9266), TLS 1.3 alone: 32 octets. False: there is none. */
bool tls_binding(const struct tls *tls, unsigned char binding_r[TLS_BINDING_LEN]);

#endif
