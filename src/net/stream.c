/* SPDX-License-Identifier: MIT */
/*
 * Streams: see stream.h. TLS and deflate are filters over buffers, so that all
 * waiting, sending and receiving is in one place:
 *
 *     socket -> wire_in -> (TLS) -> plain_in -> (deflate) -> text_in -> user
 *     user -> text_out -> (deflate) -> plain_out -> (TLS) -> wire_out -> socket
 *
 * Where a filter is missing, the buffer before it takes the place of the one
 * behind it.
 */
#include "config.h"

#include "net/stream.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/connect.h"
#include "net/deflate.h"
#include "net/resolve.h"

#define RECEIVE_STEP 65536u
#define EXPAND_STEP  65536u
#define WRITE_QUEUE  65536u /* beyond this, writing does not wait for the flush */

struct stream {
	int fd;
	int cancel_fds[2]; /* our own, and the one of who connects */
	int wake_fd;
	unsigned timeout_s;
	int64_t end_ns;
	struct tls *tls;
	struct deflate *deflate;
	bool deflate_failed;
	bool eof;          /* nothing more will be received */
	struct buffer wire_in, plain_in, text_in;
	struct buffer text_out, plain_out, wire_out;
	_Atomic int64_t progress_ns;
	_Atomic uint64_t octets[4]; /* as in struct stream_octets */
};

enum { WIRE_IN, WIRE_OUT, PLAIN_IN, PLAIN_OUT };

/* --- life ------------------------------------------------------------------------------ */

struct stream *
stream_new(int fd, unsigned timeout_s)
{
	struct stream *stream = g_new0(struct stream, 1);
	stream->fd = fd;
	/* Without a descriptor left the connection can't be cancelled, but still has its timeout.
	 */
	stream->cancel_fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stream->cancel_fds[1] = -1;
	stream->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stream->timeout_s = timeout_s;
	stream_touch(stream);
	return stream;
}

bool
stream_connect(const char *host, uint16_t port, unsigned timeout_s, int cancel_fd,
               struct stream **stream_r, struct fault *fault)
{
	int fd = net_connect(host, port, timeout_s, cancel_fd, fault);
	if (fd < 0)
		return false;
	*stream_r = stream_new(fd, timeout_s);
	stream_set_cancel_fd(*stream_r, cancel_fd);
	return true;
}

void
stream_free(struct stream **stream)
{
	struct stream *old = *stream;
	if (old == NULL)
		return;
	tls_free(&old->tls);
	deflate_free(&old->deflate);
	close(old->fd);
	if (old->cancel_fds[0] >= 0)
		close(old->cancel_fds[0]);
	if (old->wake_fd >= 0)
		close(old->wake_fd);
	buffer_release(&old->wire_in);
	buffer_release(&old->plain_in);
	buffer_release(&old->text_in);
	buffer_release(&old->text_out);
	buffer_release(&old->plain_out);
	buffer_release(&old->wire_out);
	g_free(old);
	*stream = NULL;
}

void
stream_set_cancel_fd(struct stream *stream, int cancel_fd)
{
	stream->cancel_fds[1] = cancel_fd;
}

void
stream_set_timeout(struct stream *stream, unsigned timeout_s)
{
	stream->timeout_s = timeout_s;
}

void
stream_set_end(struct stream *stream, int64_t end_ns)
{
	stream->end_ns = end_ns;
}

void
stream_cancel(struct stream *stream)
{
	if (stream->cancel_fds[0] >= 0)
		eventfd_write(stream->cancel_fds[0], 1);
}

void
stream_wake(struct stream *stream)
{
	if (stream->wake_fd >= 0)
		eventfd_write(stream->wake_fd, 1);
}

bool
stream_is_loopback(const struct stream *stream)
{
	return net_is_loopback(stream->fd);
}

const struct tls *
stream_tls(const struct stream *stream)
{
	return stream->tls;
}

bool
stream_deflate_failed(const struct stream *stream)
{
	return stream->deflate_failed;
}

int64_t
stream_progress_ns(const struct stream *stream)
{
	return atomic_load_explicit(&stream->progress_ns, memory_order_relaxed);
}

void
stream_touch(struct stream *stream)
{
	atomic_store_explicit(&stream->progress_ns, clock_boot_ns(), memory_order_relaxed);
}

static void
count(struct stream *stream, int which, size_t octets)
{
	atomic_fetch_add_explicit(&stream->octets[which], octets, memory_order_relaxed);
}

void
stream_octets(const struct stream *stream, struct stream_octets *octets_r)
{
	octets_r->wire_in = atomic_load(&stream->octets[WIRE_IN]);
	octets_r->wire_out = atomic_load(&stream->octets[WIRE_OUT]);
	octets_r->plain_in = atomic_load(&stream->octets[PLAIN_IN]);
	octets_r->plain_out = atomic_load(&stream->octets[PLAIN_OUT]);
}

/* --- the socket ------------------------------------------------------------------------ */

static bool
socket_fault(int error, struct fault *fault)
{
	if (error == ETIMEDOUT)
		return fault_set(fault, FAULT_TIMEOUT, "no answer in time");
	return fault_set(fault, FAULT_UNREACHABLE, "the connection broke: %s", g_strerror(error));
}

static bool
wait_socket(struct stream *stream, short events, struct fault *fault)
{
	int64_t deadline = clock_boot_ns() + (int64_t)stream->timeout_s * CLOCK_SEC;
	if (stream->end_ns != 0)
		deadline = MIN(deadline, stream->end_ns);
	return net_wait(stream->fd, events, stream->cancel_fds, deadline, fault);
}

/* Whether somebody has cancelled; also what makes a busy line notice. */
static bool
check_cancelled(struct stream *stream, struct fault *fault)
{
	struct pollfd fds[2] = { { .fd = stream->cancel_fds[0], .events = POLLIN },
		                 { .fd = stream->cancel_fds[1], .events = POLLIN } };
	if (poll(fds, 2, 0) > 0)
		return fault_set(fault, FAULT_CANCELLED, "the connection was given up");
	if (stream->end_ns != 0 && clock_boot_ns() >= stream->end_ns)
		return fault_set(fault, FAULT_TIMEOUT, "no end in time");
	return true;
}

/* Takes what is there, without waiting; *got_r: whether there was anything, or the end. */
static bool
receive(struct stream *stream, bool *got_r, struct fault *fault)
{
	char *room = buffer_room(&stream->wire_in, RECEIVE_STEP);
	ssize_t len;
	do
		len = recv(stream->fd, room, RECEIVE_STEP, MSG_DONTWAIT);
	while (len < 0 && errno == EINTR);
	*got_r = len >= 0;
	if (len < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || socket_fault(errno, fault);
	if (len == 0) {
		stream->eof = true;
		return true;
	}
	buffer_added(&stream->wire_in, (size_t)len);
	count(stream, WIRE_IN, (size_t)len);
	stream_touch(stream);
	return true;
}

/* Sends wire_out. While that has to wait, takes in what arrives. */
static bool
send_wire(struct stream *stream, struct fault *fault)
{
	while (buffer_len(&stream->wire_out) > 0) {
		ssize_t len = send(stream->fd, buffer_start(&stream->wire_out),
		                   buffer_len(&stream->wire_out), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (len >= 0) {
			buffer_consume(&stream->wire_out, (size_t)len);
			count(stream, WIRE_OUT, (size_t)len);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			return socket_fault(errno, fault);
		bool ahead = !stream->eof && buffer_len(&stream->wire_in) < STREAM_AHEAD_MAX, got;
		if (!wait_socket(stream, (short)(POLLOUT | (ahead ? POLLIN : 0)), fault))
			return false;
		if (ahead && !receive(stream, &got, fault))
			return false;
	}
	buffer_wipe(&stream->wire_out);
	return true;
}

/* --- the filters ----------------------------------------------------------------------- */

/* What the user reads from. */
static struct buffer *
input(struct stream *stream)
{
	if (stream->deflate != NULL)
		return &stream->text_in;
	return stream->tls != NULL ? &stream->plain_in : &stream->wire_in;
}

/* Moves octets one step up, if there are any. *moved_r: something has changed. */
static bool
decode(struct stream *stream, bool *moved_r, struct fault *fault)
{
	*moved_r = false;
	if (stream->tls != NULL && buffer_len(&stream->plain_in) == 0) {
		enum tls_result result =
			tls_decrypt(stream->tls, &stream->wire_in, &stream->wire_out,
				    &stream->plain_in, EXPAND_STEP, fault);
		if (result == TLS_FAILED)
			return false;
		if (result == TLS_CLOSED)
			stream->eof = true;
		*moved_r = buffer_len(&stream->plain_in) > 0;
		if (buffer_len(&stream->wire_out) > 0 && !send_wire(stream, fault))
			return false;
	}
	if (stream->deflate == NULL)
		return true;
	struct buffer *from = stream->tls != NULL ? &stream->plain_in : &stream->wire_in;
	size_t before = buffer_len(from);
	if (!deflate_expand(stream->deflate, from, &stream->text_in, EXPAND_STEP, fault)) {
		stream->deflate_failed = true;
		return false;
	}
	if (buffer_len(from) < before || buffer_len(&stream->text_in) > 0)
		*moved_r = true;
	return true;
}

/* What is queued, through the filters into wire_out. */
static bool
encode(struct stream *stream, struct fault *fault)
{
	struct buffer *from = &stream->text_out;
	if (stream->deflate != NULL) {
		deflate_compress(stream->deflate, from, &stream->plain_out);
		from = &stream->plain_out;
	}
	if (stream->tls != NULL)
		return tls_encrypt(stream->tls, from, &stream->wire_out, fault);
	if (buffer_len(from) > 0)
		buffer_move(&stream->wire_out, from);
	return true;
}

bool
stream_start_tls(struct stream *stream, const struct tls_config *config, const char *host,
                 struct fault *fault)
{
	if (buffer_len(&stream->wire_in) > 0)
		return fault_set(fault, FAULT_PROTOCOL, "something was slipped in before TLS");
	char *ascii = g_hostname_to_ascii(host);
	struct tls *tls = tls_new(config, ascii != NULL ? ascii : host, fault);
	g_free(ascii);
	if (tls == NULL)
		return false;
	enum tls_result result;
	bool got, ok = true;
	do {
		result = tls_handshake(tls, &stream->wire_in, &stream->wire_out, fault);
		/* An alert that tells the server why is worth a try, but never instead of our
		 * fault. */
		struct fault *send_fault = result == TLS_FAILED ? NULL : fault;
		ok = send_wire(stream, send_fault) && result != TLS_FAILED;
		if (!ok || result != TLS_MORE)
			break;
		ok = wait_socket(stream, POLLIN, fault) && receive(stream, &got, fault);
		if (ok && stream->eof)
			ok = fault_set(fault, FAULT_TLS, "%s closed the connection during the TLS "
			               "handshake", host);
	} while (ok);
	if (ok && result == TLS_CLOSED)
		ok = fault_set(fault, FAULT_TLS, "%s ended the TLS handshake", host);
	if (ok)
		stream->tls = tls;
	else
		tls_free(&tls);
	return ok;
}

void
stream_start_deflate(struct stream *stream)
{
	g_assert(stream->deflate == NULL && buffer_len(&stream->text_out) == 0);
	stream->deflate = deflate_new();
}

/* --- reading and writing --------------------------------------------------------------- */

static void
give_input(struct stream *stream, const char **data_r, size_t *len_r)
{
	*len_r = buffer_len(input(stream));
	*data_r = *len_r > 0 ? buffer_start(input(stream)) : "";
}

bool
stream_poll(struct stream *stream, const char **data_r, size_t *len_r, struct fault *fault)
{
	bool moved = true, got = true;
	if (!check_cancelled(stream, fault))
		return false;
	if (buffer_len(input(stream)) == 0 && buffer_len(&stream->wire_in) == 0 && !stream->eof &&
	    !receive(stream, &got, fault))
		return false;
	while (moved && buffer_len(input(stream)) == 0)
		if (!decode(stream, &moved, fault))
			return false;
	give_input(stream, data_r, len_r);
	return true;
}

bool
stream_fill(struct stream *stream, const char **data_r, size_t *len_r, struct fault *fault)
{
	for (;;) {
		if (!stream_poll(stream, data_r, len_r, fault))
			return false;
		if (*len_r > 0)
			return true;
		if (stream->eof)
			return fault_set(fault, FAULT_UNREACHABLE,
					 "the server closed the connection");
		bool got;
		if (!wait_socket(stream, POLLIN, fault) || !receive(stream, &got, fault))
			return false;
	}
}

static bool
take_wake(struct stream *stream)
{
	eventfd_t count;
	return stream->wake_fd >= 0 && eventfd_read(stream->wake_fd, &count) == 0;
}

bool
stream_listen(struct stream *stream, int64_t until_ns, enum stream_event *event_r,
              struct fault *fault)
{
	for (;;) {
		struct pollfd fds[4] = { { .fd = stream->fd, .events = POLLIN },
			                 { .fd = stream->cancel_fds[0], .events = POLLIN },
			                 { .fd = stream->cancel_fds[1], .events = POLLIN },
			                 { .fd = stream->wake_fd, .events = POLLIN } };
		if (stream->eof)
			return fault_set(fault, FAULT_UNREACHABLE,
					 "the server closed the connection");
		int ready = poll(fds, 4, clock_poll_ms(until_ns));
		if (ready < 0 && errno != EINTR)
			return socket_fault(errno, fault);
		if (!check_cancelled(stream, fault))
			return false;
		if (take_wake(stream))
			*event_r = STREAM_WOKEN;
		else if (ready > 0 && fds[0].revents != 0)
			*event_r = STREAM_READABLE;
		else if (clock_boot_ns() >= until_ns)
			*event_r = STREAM_OVER;
		else
			continue; /* poll(2) goes by a clock that stops while the machine sleeps */
		return true;
	}
}

void
stream_consume(struct stream *stream, size_t len)
{
	buffer_consume(input(stream), len);
	count(stream, PLAIN_IN, len);
}

bool
stream_write(struct stream *stream, const void *data, size_t len, struct fault *fault)
{
	const char *next = data;
	while (len > 0) {
		size_t step = MIN(len, (size_t)WRITE_QUEUE);
		buffer_append(&stream->text_out, next, step);
		count(stream, PLAIN_OUT, step);
		next += step;
		len -= step;
		if (buffer_len(&stream->text_out) >= WRITE_QUEUE && !stream_flush(stream, fault))
			return false;
	}
	return true;
}

bool
stream_flush(struct stream *stream, struct fault *fault)
{
	return check_cancelled(stream, fault) && encode(stream, fault) && send_wire(stream, fault);
}

void
stream_goodbye(struct stream *stream)
{
	if (stream->tls == NULL || buffer_len(&stream->wire_out) > 0)
		return;
	tls_close(stream->tls, &stream->wire_out);
	if (buffer_len(&stream->wire_out) > 0 &&
	    send(stream->fd, buffer_start(&stream->wire_out), buffer_len(&stream->wire_out),
	         MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* then the server has to do without */
	buffer_wipe(&stream->wire_out);
}

bool
stream_pause(struct stream *stream, unsigned ms, struct fault *fault)
{
	struct fault waited = { 0 };
	net_wait(-1, 0, stream->cancel_fds, clock_boot_ns() + ms * CLOCK_MS, &waited);
	stream_touch(stream);
	return waited.kind != FAULT_CANCELLED || fault_set(fault, waited.kind, "%s", waited.text);
}
