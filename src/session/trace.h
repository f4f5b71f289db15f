/* SPDX-License-Identifier: MIT */
/*
 * The trace of what a server sends (option -d): lines as they came, a literal
 * only as its announcement. Fed the octets that the parser took. For conn.c.
 */
#ifndef SESSION_TRACE_H
#define SESSION_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_LINE_MAX 800 /* what is longer is cut */
#define TRACE_TAIL_MAX 24

/* {0} at the start. */
struct trace {
	char line[TRACE_LINE_MAX];
	size_t len;
	char tail[TRACE_TAIL_MAX]; /* the last octets of the line, which may announce a literal */
	size_t tail_len;
	uint64_t literal;          /* octets to skip */
};

/* Takes octets up to the end of a line. True: *line_r (valid until the next call) is complete, and
 * *used_r octets were taken; false: all were taken. */
bool trace_feed(struct trace *trace, const char *data, size_t len, size_t *used_r,
                const char **line_r);

#endif
