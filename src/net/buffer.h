/* SPDX-License-Identifier: MIT */
/*
 * A queue of octets: written at its end, read at its start, in one piece of
 * memory. What the layers of a stream (plain, TLS, deflate) hand each other.
 */
#ifndef NET_BUFFER_H
#define NET_BUFFER_H

#include <stddef.h>

/* {0} is an empty buffer. The content is data[begin .. end). */
struct buffer {
	char *data;
	size_t begin, end, size;
};

/* Frees the memory after wiping it; the buffer is empty again. */
void buffer_release(struct buffer *buffer);

size_t buffer_len(const struct buffer *buffer);
const char *buffer_start(const struct buffer *buffer);

/* Room for at least `len` more octets at the end; the caller writes there, then adds. */
char *buffer_room(struct buffer *buffer, size_t len);
void buffer_added(struct buffer *buffer, size_t len);
void buffer_append(struct buffer *buffer, const void *data, size_t len);

/* Drops `len` octets from the start. */
void buffer_consume(struct buffer *buffer, size_t len);
/* Drops all, and overwrites what was there (a secret may have been in it). */
void buffer_wipe(struct buffer *buffer);
/* Moves all of `from` to the end of `to`. */
void buffer_move(struct buffer *to, struct buffer *from);

#endif
