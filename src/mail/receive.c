/* SPDX-License-Identifier: MIT */
/*
 * What comes of a FETCH of bodies: see fetch.h.
 *
 * Messages up to FETCH_WHOLE_MAX are collected and handed on when their response
 * is complete; larger ones and ranges are handed on chunk by chunk. The UID
 * usually stands before the body, but may come after it: then a single message's
 * octets are known to be its own, and those of several are collected, or dropped
 * if they are many (they are then asked for one by one).
 */
#include "config.h"

#include <string.h>

#include "mail/fetch.h"

void
receive_init(struct receive *receive, struct worker *worker, GPtrArray *batch)
{
	*receive = (struct receive){ .worker = worker, .account = worker->account, .batch = batch };
	receive->buffer = g_byte_array_new();
	receive->first = g_byte_array_new();
}

void
receive_release(struct receive *receive)
{
	g_byte_array_free(receive->buffer, TRUE);
	g_byte_array_free(receive->first, TRUE);
}

static struct fetch *
find_fetch(const struct receive *receive, uint32_t uid)
{
	if (uid == 0 && receive->batch->len == 1)
		return g_ptr_array_index(receive->batch, 0);
	for (guint i = 0; i < receive->batch->len; i++) {
		struct fetch *fetch = g_ptr_array_index(receive->batch, i);
		if (fetch->uid == uid)
			return fetch;
	}
	return NULL;
}

/* The server has renumbered the mailbox: what it sends under a UID may be another message's. */
static bool
is_stale(const struct receive *receive)
{
	const struct conn_mailbox *mailbox = conn_selected(receive->worker->conn);
	return mailbox == NULL || mailbox->stale;
}

/* Whose octets are coming, and how they are handed on. */
static bool
on_literal_begin(void *ctx, const struct imap_response *partial, const char *item,
                 uint64_t size)
{
	struct receive *receive = ctx;
	struct imap_fetch head;
	struct imap_body body = { 0 };
	uint32_t uid = imap_fetch_decode(partial, &head) ? head.uid : 0;
	g_byte_array_set_size(receive->buffer, 0);
	receive->position = 0;
	receive->literal_size = size;
	receive->chunked = false;
	receive->fetch = is_stale(receive) ? NULL : find_fetch(receive, uid);
	bool whole_section = imap_body_item(item, strlen(item), &body) && body.section_len == 0;
	receive->literal_origin = body.has_origin ? body.origin : 0;
	if (!whole_section) {
		receive->fetch = NULL;
	} else if (receive->probing) {
		/* Both answers are small. */
		if (size > FETCH_WHOLE_MAX)
			receive->fetch = NULL;
	} else if (receive->range) {
		/* A wrong or missing origin means octets of another place. */
		receive->chunked = true;
		if (receive->literal_origin != receive->origin || size > receive->length)
			receive->fetch = NULL;
	} else if (size > FETCH_WHOLE_MAX) {
		receive->chunked = true;
		if (receive->fetch != NULL) {
			receive->fetch->whole = true;
			if (receive->batch->len > 1 && uid == 0)
				receive->fetch = NULL;
			else
				fetch_sized(receive->account, receive->fetch, size);
		}
	}
	return true;
}

/* Hands on the buffer, which begins at a chunk's border. */
static void
flush_chunk(struct receive *receive)
{
	uint64_t start = receive->literal_origin + receive->position - receive->buffer->len;
	struct fetch *fetch = receive->fetch;
	bool last = start + receive->buffer->len == fetch->size;
	if (start % BODY_CHUNK == 0 && (receive->buffer->len == BODY_CHUNK || last)) {
		receive->gained = true;
		fetch_chunk(receive->account, fetch, (uint32_t)(start / BODY_CHUNK),
		            receive->buffer->data, receive->buffer->len);
	}
	g_byte_array_set_size(receive->buffer, 0);
}

static void
on_literal_data(void *ctx, const char *data, size_t len)
{
	struct receive *receive = ctx;
	if (receive->fetch == NULL && (receive->chunked || receive->literal_size > FETCH_WHOLE_MAX))
		return;
	while (len > 0) {
		size_t take = len;
		if (receive->chunked)
			take = MIN(take, BODY_CHUNK - receive->buffer->len);
		g_byte_array_append(receive->buffer, (const guint8 *)data, (guint)take);
		receive->position += take;
		data += take;
		len -= take;
		if (receive->chunked && receive->buffer->len == BODY_CHUNK)
			flush_chunk(receive);
	}
}

static void
on_literal_end(void *ctx)
{
	struct receive *receive = ctx;
	if (receive->chunked && receive->fetch != NULL && receive->buffer->len > 0)
		flush_chunk(receive);
}

/* One of the two answers that prove a size: the first octets, or what stands at the last one. */
static void
take_probe(struct receive *receive, struct fetch *fetch, const struct imap_fetch *response)
{
	if (response->body.origin == receive->probe_origin && response->body.has_origin) {
		receive->probed = true;
		receive->probe_size = response->body.state == IMAP_BODY_STREAMED
		                              ? response->body.size : response->body.len;
		return;
	}
	if (response->body.state != IMAP_BODY_STREAMED || receive->buffer->len != BODY_CHUNK)
		return;
	/* Kept until the size is proven: see fetch.c. */
	fetch->delivered = true;
	g_byte_array_set_size(receive->first, 0);
	g_byte_array_append(receive->first, receive->buffer->data, receive->buffer->len);
}

/* What Courier gives for a message that was expunged and of which this connection does not know. */
static bool
is_placeholder(const struct fetch *fetch, const void *data, size_t len)
{
	static const char text[] = "From: System Administrator <root@localhost>\r\n"
	                           "Subject: message unavailable\r\n\r\n"
	                           "This message is no longer available on the server.\r\n";
	return len == sizeof text - 1 && len != fetch->hint && memcmp(data, text, len) == 0;
}

static void
take_body(struct receive *receive, struct fetch *fetch, const struct imap_fetch *response)
{
	const struct imap_body *body = &response->body;
	if (receive->probing) {
		take_probe(receive, fetch, response);
	} else if (receive->range) {
		if (body->state == IMAP_BODY_STREAMED && receive->fetch == fetch &&
		    body->size == MIN(receive->length, fetch->size - receive->origin))
			fetch->delivered = true;
	} else if (body->state == IMAP_BODY_STREAMED && receive->chunked) {
		fetch->delivered = receive->fetch == fetch;
	} else if (body->state == IMAP_BODY_STREAMED &&
	           is_placeholder(fetch, receive->buffer->data, receive->buffer->len)) {
		return;
	} else if (body->state == IMAP_BODY_STREAMED && receive->buffer->len == body->size &&
	           body->size > 0) {
		fetch->delivered = true;
		fetch_whole(receive->account, fetch, receive->buffer->data, receive->buffer->len);
	} else if (body->state == IMAP_BODY_STRING && body->len > 0) {
		fetch->delivered = true;
		fetch_whole(receive->account, fetch, body->data, body->len);
	} else if (fetch->hint == 0 && (body->state == IMAP_BODY_STREAMED ||
	                                body->state == IMAP_BODY_STRING)) {
		/* Nothing, as announced: a message without any octet. */
		fetch->delivered = true;
		fetch_whole(receive->account, fetch, "", 0);
	}
	receive->gained |= fetch->delivered;
}

static void
on_untagged(void *ctx, const struct imap_response *response)
{
	struct receive *receive = ctx;
	struct imap_fetch fetch;
	if (imap_response_type(response) != IMAP_TYPE_FETCH || !imap_fetch_decode(response, &fetch))
		return;
	if (fetch.body.state == IMAP_BODY_ABSENT) {
		/* News that the next sync has to ask for. */
		receive->worker->synced = false;
		return;
	}
	struct fetch *wanted = find_fetch(receive, fetch.uid);
	if (wanted == NULL || fetch.body.section_len != 0 || is_stale(receive))
		return;
	/* First: whoever gets the octets may unmount at once. */
	if (fetch.has_flags && (fetch.flags.bits & IMAP_FLAG_SEEN) != 0 &&
	    (!wanted->seen || wanted->marked) && !receive->account->config.mark_seen) {
		wanted->marked = true;
		change_seen(receive->account, wanted->ino, false);
	}
	take_body(receive, wanted, &fetch);
}

struct conn_handler
receive_handler(struct receive *receive)
{
	return (struct conn_handler){ .ctx = receive, .untagged = on_untagged,
		                      .literal_begin = on_literal_begin,
		                      .literal_data = on_literal_data,
		                      .literal_end = on_literal_end };
}
