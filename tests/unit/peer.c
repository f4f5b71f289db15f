/* SPDX-License-Identifier: MIT */
/* The scripted server: see peer.h. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/buffer.h"
#include "net/deflate.h"

#include "peer.h"

#define CHUNK 16384u

struct peer {
	peer_script *script;
	void *ctx;
	pthread_t thread;
	int listen_fd, fd;
	SSL *ssl;
	struct deflate *deflate;
	struct buffer wire, in; /* with deflate: compressed; what the script reads */
	GString *line;
	char tag[64];
	size_t chop;
	bool cut_armed, ended;
	uint64_t cut_after, sent;
	char *error;
};

/* --- life ------------------------------------------------------------------------------ */

static void *
run(void *data)
{
	struct peer *peer = data;
	/* Writing to a client that is gone must not end the test program. */
	sigset_t pipe;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	peer->script(peer, peer->ctx);
	peer_cut(peer);
	return NULL;
}

static struct peer *
start(peer_script *script, void *ctx, int listen_fd, int fd)
{
	struct peer *peer = g_new0(struct peer, 1);
	peer->script = script;
	peer->ctx = ctx;
	peer->listen_fd = listen_fd;
	peer->fd = fd;
	peer->line = g_string_new(NULL);
	if (pthread_create(&peer->thread, NULL, run, peer) != 0)
		abort();
	return peer;
}

struct peer *
peer_new(peer_script *script, void *ctx)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(fd, 16) != 0)
		abort();
	return start(script, ctx, fd, -1);
}

struct peer *
peer_new_pair(peer_script *script, void *ctx, int *fd_r)
{
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		abort();
	*fd_r = fds[0];
	return start(script, ctx, -1, fds[1]);
}

uint16_t
peer_port(const struct peer *peer)
{
	struct sockaddr_in address;
	socklen_t size = sizeof address;
	getsockname(peer->listen_fd, (struct sockaddr *)&address, &size);
	return ntohs(address.sin_port);
}

static char *
end(struct peer **peer)
{
	struct peer *old = *peer;
	char *error = NULL;
	pthread_join(old->thread, NULL);
	error = old->error;
	if (old->listen_fd >= 0)
		close(old->listen_fd);
	buffer_release(&old->wire);
	buffer_release(&old->in);
	g_string_free(old->line, TRUE);
	g_free(old);
	*peer = NULL;
	return error;
}

void
peer_finish(struct peer **peer)
{
	char *error = end(peer);
	if (error != NULL) {
		char text[1000];
		g_strlcpy(text, error, sizeof text);
		g_free(error);
		fail_msg("the peer: %s", text);
	}
}

void
peer_forget(struct peer **peer)
{
	g_free(end(peer));
}

void
peer_fail(struct peer *peer, const char *fmt, ...)
{
	va_list args;
	if (peer->error != NULL)
		return;
	va_start(args, fmt);
	peer->error = g_strdup_vprintf(fmt, args);
	va_end(args);
	peer_cut(peer);
}

bool
peer_failed(const struct peer *peer)
{
	return peer->error != NULL;
}

/* --- the connection -------------------------------------------------------------------- */

static bool
readable(struct peer *peer, int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	if (poll(&poll_fd, 1, PEER_WAIT_S * 1000) == 1)
		return true;
	peer_fail(peer, "nothing came within %d s", PEER_WAIT_S);
	return false;
}

void
peer_accept(struct peer *peer)
{
	peer_cut(peer);
	if (peer->error != NULL || !readable(peer, peer->listen_fd))
		return;
	peer->fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (peer->fd < 0)
		peer_fail(peer, "accept: %s", strerror(errno));
	int on = 1;
	setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	buffer_wipe(&peer->wire);
	buffer_wipe(&peer->in);
	peer->sent = 0;
	peer->ended = false;
}

void
peer_cut(struct peer *peer)
{
	if (peer->ssl != NULL) {
		SSL_free(peer->ssl);
		ERR_clear_error();
	}
	peer->ssl = NULL;
	deflate_free(&peer->deflate);
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

static int
accept_tls(struct peer *peer, SSL_CTX *context)
{
	struct timeval wait = { .tv_sec = PEER_WAIT_S };
	if (peer->fd < 0)
		return -1;
	setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	peer->ssl = SSL_new(context);
	SSL_set_fd(peer->ssl, peer->fd);
	return SSL_accept(peer->ssl);
}

void
peer_start_tls(struct peer *peer, SSL_CTX *context)
{
	if (peer->error == NULL && accept_tls(peer, context) != 1)
		peer_fail(peer, "TLS: %s", ERR_reason_error_string(ERR_peek_last_error()));
}

void
peer_refuse_tls(struct peer *peer, SSL_CTX *context)
{
	char octet;
	/* With TLS 1.3 the client's refusal may come after our own handshake is done. */
	if (peer->error == NULL && accept_tls(peer, context) == 1 &&
	    SSL_read(peer->ssl, &octet, 1) > 0)
		peer_fail(peer, "the client went on after the handshake");
	peer_cut(peer);
}

void
peer_binding(struct peer *peer, unsigned char *binding_r)
{
	if (peer->error == NULL &&
	    SSL_export_keying_material(peer->ssl, binding_r, 32, "EXPORTER-Channel-Binding", 24,
	                               (const unsigned char *)"", 0, 1) != 1)
		peer_fail(peer, "no channel binding");
}

void
peer_start_deflate(struct peer *peer)
{
	peer->deflate = deflate_new();
	if (buffer_len(&peer->in) > 0)
		peer_fail(peer, "the client did not wait for COMPRESS");
}

/* --- reading --------------------------------------------------------------------------- */

static ssize_t
receive(struct peer *peer, char *data, size_t size)
{
	if (peer->ssl == NULL)
		return readable(peer, peer->fd) ? recv(peer->fd, data, size, 0) : -1;
	if (!SSL_has_pending(peer->ssl) && !readable(peer, peer->fd))
		return -1;
	return SSL_read(peer->ssl, data, (int)size);
}

/* False: the end, or a failure. */
static bool
fill(struct peer *peer)
{
	if (peer->error != NULL || peer->fd < 0)
		return false;
	struct buffer *to = peer->deflate != NULL ? &peer->wire : &peer->in;
	ssize_t len = receive(peer, buffer_room(to, CHUNK), CHUNK);
	if (len <= 0) {
		peer->ended = true;
		return false;
	}
	buffer_added(to, (size_t)len);
	struct fault fault;
	while (peer->deflate != NULL && buffer_len(&peer->wire) > 0)
		if (!deflate_expand(peer->deflate, &peer->wire, &peer->in, CHUNK, &fault)) {
			peer_fail(peer, "%s", fault.text);
			return false;
		}
	return true;
}

static bool
read_line(struct peer *peer)
{
	const char *newline = NULL;
	for (;;) {
		size_t len = buffer_len(&peer->in);
		newline = len > 0 ? memchr(buffer_start(&peer->in), '\n', len) : NULL;
		if (newline != NULL)
			break;
		if (!fill(peer))
			return false;
	}
	size_t len = (size_t)(newline - buffer_start(&peer->in));
	g_string_truncate(peer->line, 0);
	g_string_append_len(peer->line, buffer_start(&peer->in), (gssize)len);
	buffer_consume(&peer->in, len + 1);
	if (len == 0 || peer->line->str[len - 1] != '\r') {
		peer_fail(peer, "a line without CR: %s", peer->line->str);
		return false;
	}
	g_string_truncate(peer->line, len - 1);
	return true;
}

void
peer_expect_line(struct peer *peer, const char *glob)
{
	if (peer->error != NULL)
		return;
	if (!read_line(peer))
		peer_fail(peer, "the client closed; `%s` was to come", glob);
	else if (!g_pattern_match_simple(glob, peer->line->str))
		peer_fail(peer, "`%s` came; `%s` was to come", peer->line->str, glob);
}

bool
peer_next(struct peer *peer)
{
	if (peer->error != NULL || !read_line(peer))
		return false;
	const char *space = strchr(peer->line->str, ' ');
	if (space == NULL || (size_t)(space - peer->line->str) >= sizeof peer->tag) {
		peer_fail(peer, "no command: `%s`", peer->line->str);
		return false;
	}
	memcpy(peer->tag, peer->line->str, (size_t)(space - peer->line->str));
	peer->tag[space - peer->line->str] = '\0';
	return true;
}

bool
peer_matches(const struct peer *peer, const char *glob)
{
	const char *space = strchr(peer->line->str, ' ');
	return space != NULL && g_pattern_match_simple(glob, space + 1);
}

void
peer_expect(struct peer *peer, const char *glob)
{
	if (peer->error != NULL)
		return;
	if (!peer_next(peer))
		peer_fail(peer, "the client closed; `%s` was to come", glob);
	else if (!peer_matches(peer, glob))
		peer_fail(peer, "`%s` came; `%s` was to come", peer->line->str, glob);
}

void
peer_expect_octets(struct peer *peer, const char *data, size_t len)
{
	while (buffer_len(&peer->in) < len)
		if (!fill(peer)) {
			peer_fail(peer, "the client closed; %zu octets were to come", len);
			return;
		}
	if (memcmp(buffer_start(&peer->in), data, len) != 0)
		peer_fail(peer, "other octets came than `%.*s`", (int)MIN(len, 100), data);
	buffer_consume(&peer->in, len);
}

const char *
peer_line(const struct peer *peer)
{
	return peer->line->str;
}

void
peer_expect_end(struct peer *peer)
{
	if (peer->error != NULL)
		return;
	if (buffer_len(&peer->in) > 0 || fill(peer))
		peer_fail(peer, "the client went on: `%.*s`", (int)MIN(buffer_len(&peer->in), 100),
		          buffer_start(&peer->in));
}

void
peer_hang(struct peer *peer)
{
	struct pollfd poll_fd = { .fd = peer->fd, .events = POLLRDHUP };
	if (peer->error == NULL && poll(&poll_fd, 1, PEER_WAIT_S * 1000) != 1)
		peer_fail(peer, "the client did not give up within %d s", PEER_WAIT_S);
}

/* --- writing --------------------------------------------------------------------------- */

static bool
write_all(struct peer *peer, const char *data, size_t len)
{
	while (len > 0) {
		size_t part = peer->chop > 0 ? MIN(peer->chop, len) : len;
		ssize_t done = peer->ssl != NULL ? SSL_write(peer->ssl, data, (int)part)
		                                 : send(peer->fd, data, part, MSG_NOSIGNAL);
		if (done <= 0)
			return false;
		data += done;
		len -= (size_t)done;
	}
	return true;
}

void
peer_send_octets(struct peer *peer, const void *data, size_t len)
{
	bool cut = peer->cut_armed && peer->sent + len >= peer->cut_after;
	if (peer->error != NULL || peer->fd < 0)
		return;
	if (cut)
		len = (size_t)(peer->cut_after - peer->sent);
	peer->sent += len;
	bool ok;
	if (peer->deflate != NULL) {
		struct buffer plain = {0}, wire = {0};
		buffer_append(&plain, data, len);
		deflate_compress(peer->deflate, &plain, &wire);
		ok = buffer_len(&wire) == 0 ||
		     write_all(peer, buffer_start(&wire), buffer_len(&wire));
		buffer_release(&plain);
		buffer_release(&wire);
	} else {
		ok = write_all(peer, data, len);
	}
	if (cut)
		peer_cut(peer);
	else if (!ok)
		peer_fail(peer, "the client closed while we were writing");
}

void
peer_send(struct peer *peer, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *text = g_strdup_vprintf(fmt, args);
	va_end(args);
	peer_send_octets(peer, text, strlen(text));
	g_free(text);
}

void
peer_reply(struct peer *peer, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *text = g_strdup_vprintf(fmt, args);
	va_end(args);
	peer_send(peer, "%s %s\r\n", peer->tag, text);
	g_free(text);
}

void
peer_chop(struct peer *peer, size_t octets)
{
	peer->chop = octets;
}

void
peer_cut_after(struct peer *peer, uint64_t octets)
{
	peer->cut_armed = true;
	peer->cut_after = octets;
}

uint64_t
peer_sent(const struct peer *peer)
{
	return peer->sent;
}
