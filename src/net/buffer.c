/* SPDX-License-Identifier: MIT */
/* Buffers: see buffer.h. */
#include "config.h"

#include "net/buffer.h"

#include <glib.h>
#include <string.h>

#define SIZE_LEAST 4096u

void
buffer_release(struct buffer *buffer)
{
	if (buffer->data != NULL)
		explicit_bzero(buffer->data, buffer->size);
	g_free(buffer->data);
	*buffer = (struct buffer){0};
}

size_t
buffer_len(const struct buffer *buffer)
{
	return buffer->end - buffer->begin;
}

const char *
buffer_start(const struct buffer *buffer)
{
	return buffer->data + buffer->begin;
}

/* How many octets fit behind the content without growing. */
static size_t
free_len(const struct buffer *buffer)
{
	return buffer->size - buffer->end;
}

/* Not g_realloc(), which may leave a copy behind. */
static void
buffer_grow(struct buffer *buffer, size_t size)
{
	char *data = g_malloc(size);
	size_t len = buffer_len(buffer);
	if (len > 0)
		memcpy(data, buffer_start(buffer), len);
	buffer_release(buffer);
	*buffer = (struct buffer){ .data = data, .end = len, .size = size };
}

char *
buffer_room(struct buffer *buffer, size_t len)
{
	size_t used = buffer_len(buffer);
	if (free_len(buffer) < len && buffer->begin >= used && buffer->size - used >= len) {
		/* At least half is consumed: moving costs less than what was written. */
		memcpy(buffer->data, buffer_start(buffer), used);
		buffer->begin = 0;
		buffer->end = used;
	}
	if (free_len(buffer) < len)
		buffer_grow(buffer, MAX(MAX(buffer->size * 2, used + len), SIZE_LEAST));
	return buffer->data + buffer->end;
}

void
buffer_added(struct buffer *buffer, size_t len)
{
	g_assert(len <= free_len(buffer));
	buffer->end += len;
}

void
buffer_append(struct buffer *buffer, const void *data, size_t len)
{
	if (len == 0)
		return;
	memcpy(buffer_room(buffer, len), data, len);
	buffer->end += len;
}

void
buffer_consume(struct buffer *buffer, size_t len)
{
	g_assert(len <= buffer_len(buffer));
	buffer->begin += len;
	if (buffer->begin == buffer->end)
		buffer->begin = buffer->end = 0;
}

void
buffer_wipe(struct buffer *buffer)
{
	if (buffer->data != NULL)
		explicit_bzero(buffer->data, buffer->size);
	buffer->begin = buffer->end = 0;
}

void
buffer_move(struct buffer *to, struct buffer *from)
{
	buffer_append(to, buffer_start(from), buffer_len(from));
	buffer_wipe(from);
}
