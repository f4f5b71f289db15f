/* SPDX-License-Identifier: MIT */
/*
 * COMPRESS=DEFLATE (RFC 4978): raw deflate (RFC 1951) both ways, a sync flush at
 * the end of what is sent. Pure: octets in, octets out, no I/O.
 */
#ifndef NET_DEFLATE_H
#define NET_DEFLATE_H

#include <stdbool.h>

#include "base/fault.h"
#include "net/buffer.h"

struct deflate;

struct deflate *deflate_new(void);
/* Frees *deflate and sets it to NULL; NULL is accepted. */
void deflate_free(struct deflate **deflate);

/* Takes all of `plain`, appends what goes on the wire, flushed. */
void deflate_compress(struct deflate *deflate, struct buffer *plain, struct buffer *wire);

/* Takes from `wire`, appends at most about `max` octets to `plain`, so that a bomb unfolds only as
 * fast as it is read. False with FAULT_PROTOCOL: that is no deflate, or its end. */
bool deflate_expand(struct deflate *deflate, struct buffer *wire, struct buffer *plain, size_t max,
                    struct fault *fault);

#endif
