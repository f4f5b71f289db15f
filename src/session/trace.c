/* SPDX-License-Identifier: MIT */
/* The trace of a server's lines: see trace.h. */
#include "config.h"

#include "session/trace.h"

#include <glib.h>
#include <string.h>

/* The size in `{123}` or `{123+}` at the end of the line, 0: none. */
static uint64_t
announced(const struct trace *trace)
{
	size_t at = trace->tail_len;
	if (at > 0 && trace->tail[at - 1] == '\r')
		at--;
	if (at < 3 || trace->tail[--at] != '}')
		return 0;
	if (trace->tail[at - 1] == '+')
		at--;
	size_t end = at;
	while (at > 0 && g_ascii_isdigit(trace->tail[at - 1]))
		at--;
	if (at == end || at == 0 || trace->tail[at - 1] != '{')
		return 0;
	return g_ascii_strtoull(trace->tail + at, NULL, 10);
}

static void
append(struct trace *trace, const char *data, size_t len)
{
	size_t fits = MIN(len, sizeof trace->line - 1 - trace->len);
	memcpy(trace->line + trace->len, data, fits);
	trace->len += fits;
	size_t fresh = MIN(len, sizeof trace->tail);
	size_t kept = MIN(trace->tail_len, sizeof trace->tail - fresh);
	memmove(trace->tail, trace->tail + trace->tail_len - kept, kept);
	memcpy(trace->tail + kept, data + len - fresh, fresh);
	trace->tail_len = kept + fresh;
}

bool
trace_feed(struct trace *trace, const char *data, size_t len, size_t *used_r, const char **line_r)
{
	size_t used = 0;
	while (used < len) {
		if (trace->literal > 0) {
			size_t skip = (size_t)MIN((uint64_t)(len - used), trace->literal);
			trace->literal -= skip;
			used += skip;
			continue;
		}
		const char *newline = memchr(data + used, '\n', len - used);
		size_t part = (newline != NULL ? (size_t)(newline - data) : len) - used;
		append(trace, data + used, part);
		used += part;
		if (newline == NULL)
			break;
		used++;
		trace->literal = announced(trace);
		trace->tail_len = 0;
		if (trace->len > 0 && trace->line[trace->len - 1] == '\r')
			trace->len--;
		if (trace->literal > 0)
			continue;
		trace->line[trace->len] = '\0';
		trace->len = 0;
		*line_r = trace->line;
		*used_r = used;
		return true;
	}
	*used_r = used;
	return false;
}
