/* SPDX-License-Identifier: MIT */
/* Compression: see deflate.h. */
#include "config.h"

#include "net/deflate.h"

#include <glib.h>
#include <limits.h>

#define ZLIB_CONST
#include <zlib.h>

#define STEP        16384u
#define WINDOW_BITS (-15) /* raw deflate: no header, no checksum */

struct deflate {
	z_stream out, in;
};

struct deflate *
deflate_new(void)
{
	struct deflate *deflate = g_new0(struct deflate, 1);
	/* They fail only for want of memory, as g_new() aborts for. */
	if (deflateInit2(&deflate->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 8,
	                 Z_DEFAULT_STRATEGY) != Z_OK ||
	    inflateInit2(&deflate->in, WINDOW_BITS) != Z_OK)
		g_error("zlib could not be initialised");
	return deflate;
}

void
deflate_free(struct deflate **deflate)
{
	if (*deflate == NULL)
		return;
	deflateEnd(&(*deflate)->out);
	inflateEnd(&(*deflate)->in);
	g_free(*deflate);
	*deflate = NULL;
}

/* Apart, since the struct has the name of zlib's function. */
static int
run_deflate(z_stream *stream)
{
	return deflate(stream, Z_SYNC_FLUSH);
}

void
deflate_compress(struct deflate *deflate, struct buffer *plain, struct buffer *wire)
{
	z_stream *out = &deflate->out;
	while (buffer_len(plain) > 0) {
		size_t taken = MIN(buffer_len(plain), (size_t)INT_MAX);
		out->next_in = (const Bytef *)buffer_start(plain);
		out->avail_in = (uInt)taken;
		do {
			out->next_out = (Bytef *)buffer_room(wire, STEP);
			out->avail_out = STEP;
			run_deflate(out);
			buffer_added(wire, STEP - out->avail_out);
		} while (out->avail_out == 0);
		buffer_consume(plain, taken);
	}
	buffer_wipe(plain);
}

bool
deflate_expand(struct deflate *deflate, struct buffer *wire, struct buffer *plain, size_t max,
               struct fault *fault)
{
	z_stream *in = &deflate->in;
	size_t before = buffer_len(plain);
	do {
		size_t available = MIN(buffer_len(wire), (size_t)INT_MAX);
		in->next_in = (const Bytef *)buffer_start(wire);
		in->avail_in = (uInt)available;
		in->next_out = (Bytef *)buffer_room(plain, STEP);
		in->avail_out = STEP;
		int result = inflate(in, Z_SYNC_FLUSH);
		buffer_added(plain, STEP - in->avail_out);
		buffer_consume(wire, available - in->avail_in);
		if (result == Z_STREAM_END)
			return buffer_len(plain) > before ||
			       fault_set(fault, FAULT_PROTOCOL, "the server ended the compression");
		if (result != Z_OK && result != Z_BUF_ERROR)
			return fault_set(fault, FAULT_PROTOCOL,
					 "what the server sent can't be "
					 "decompressed: %s",
					 in->msg != NULL ? in->msg : "bad data");
	} while (in->avail_out == 0 && buffer_len(plain) - before < max);
	return true;
}
