/* SPDX-License-Identifier: MIT */
/* Tests of net/: buffers, deflate, streams without TLS. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <glib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/buffer.h"
#include "net/deflate.h"
#include "net/stream.h"

#include "peer.h"

#define BIG (8u * 1024u * 1024u)

/* --- buffers and deflate --------------------------------------------------------------- */

static void
test_buffer_keeps_order(void **state)
{
	(void)state;
	struct buffer buffer = {0}, other = {0};
	unsigned char in = 0, out = 0;
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < round % 37; i++, in++)
			buffer_append(&buffer, &in, 1);
		for (unsigned i = 0; i < round % 31 && buffer_len(&buffer) > 0; i++, out++) {
			assert_int_equal((unsigned char)*buffer_start(&buffer), out);
			buffer_consume(&buffer, 1);
		}
	}
	size_t len = buffer_len(&buffer);
	buffer_append(&other, "x", 1);
	buffer_move(&other, &buffer);
	assert_int_equal(buffer_len(&buffer), 0);
	assert_int_equal(buffer_len(&other), len + 1);
	assert_int_equal((unsigned char)buffer_start(&other)[1], out);
	for (size_t i = 0; i < buffer.size; i++)
		assert_int_equal(buffer.data[i], 0); /* moved means wiped */
	buffer_release(&buffer);
	buffer_release(&other);
	buffer_release(&other);
}

static void
test_deflate_round_trip_at_any_split(void **state)
{
	(void)state;
	static const char text[] =
		"a1 UID FETCH 1:* (FLAGS)\r\na2 NOOP\r\na1 UID FETCH 1:* (FLAGS)\r\n";
	struct deflate *left = deflate_new();
	struct buffer plain = {0}, wire = {0};
	buffer_append(&plain, text, sizeof text);
	deflate_compress(left, &plain, &wire);
	assert_int_equal(buffer_len(&plain), 0);
	for (size_t split = 0; split <= buffer_len(&wire); split++) {
		struct deflate *right = deflate_new();
		struct buffer in = {0}, out = {0};
		buffer_append(&in, buffer_start(&wire), split);
		assert_true(deflate_expand(right, &in, &out, 1000, NULL));
		buffer_append(&in, buffer_start(&wire) + split, buffer_len(&wire) - split);
		assert_true(deflate_expand(right, &in, &out, 1000, NULL));
		assert_int_equal(buffer_len(&out), sizeof text);
		assert_memory_equal(buffer_start(&out), text, sizeof text);
		buffer_release(&in);
		buffer_release(&out);
		deflate_free(&right);
	}
	buffer_release(&plain);
	buffer_release(&wire);
	deflate_free(&left);
	deflate_free(&left);
}

static void
test_deflate_bomb_unfolds_slowly(void **state)
{
	(void)state;
	struct deflate *left = deflate_new(), *right = deflate_new();
	struct buffer plain = {0}, wire = {0}, out = {0};
	memset(buffer_room(&plain, BIG), 0, BIG);
	buffer_added(&plain, BIG);
	deflate_compress(left, &plain, &wire);
	size_t total = 0;
	while (total < BIG) {
		assert_true(deflate_expand(right, &wire, &out, 65536, NULL));
		assert_in_range(buffer_len(&out), 1, 65536 + 16384);
		total += buffer_len(&out);
		buffer_consume(&out, buffer_len(&out));
	}
	assert_int_equal(total, BIG);
	buffer_release(&plain);
	buffer_release(&wire);
	buffer_release(&out);
	deflate_free(&left);
	deflate_free(&right);
}

static void
test_deflate_refuses_garbage(void **state)
{
	(void)state;
	struct deflate *right = deflate_new();
	struct buffer in = {0}, out = {0};
	struct fault fault;
	buffer_append(&in, "\xff\xff* OK hello\r\n", 14);
	assert_false(deflate_expand(right, &in, &out, 1000, &fault));
	assert_int_equal(fault.kind, FAULT_PROTOCOL);
	buffer_wipe(&in);
	deflate_free(&right);
	right = deflate_new();
	buffer_append(&in, "\x03\x00", 2); /* an empty last block */
	assert_false(deflate_expand(right, &in, &out, 1000, &fault));
	assert_int_equal(fault.kind, FAULT_PROTOCOL);
	buffer_release(&in);
	buffer_release(&out);
	deflate_free(&right);
}

/* --- streams --------------------------------------------------------------------------- */

static void
pair(struct stream **stream_r, int *other_r, unsigned timeout_s)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*stream_r = stream_new(fds[0], timeout_s);
	*other_r = fds[1];
}

static void
test_stream_reads_writes_and_counts(void **state)
{
	(void)state;
	struct stream *stream;
	int other;
	char data[100];
	const char *got;
	size_t len;
	struct stream_octets octets;
	pair(&stream, &other, 5);
	assert_true(stream_is_loopback(stream));
	assert_null(stream_tls(stream));
	assert_true(stream_poll(stream, &got, &len, NULL));
	assert_int_equal(len, 0);
	assert_true(stream_write(stream, "hello ", 6, NULL));
	assert_int_equal(recv(other, data, sizeof data, MSG_DONTWAIT), -1);
	assert_true(stream_write(stream, "world", 5, NULL));
	assert_true(stream_flush(stream, NULL));
	assert_int_equal(read(other, data, sizeof data), 11);
	assert_int_equal(write(other, "answer", 6), 6);
	assert_true(stream_fill(stream, &got, &len, NULL));
	assert_int_equal(len, 6);
	stream_consume(stream, 2);
	assert_true(stream_fill(stream, &got, &len, NULL));
	assert_int_equal(len, 4);
	assert_memory_equal(got, "swer", 4);
	stream_consume(stream, 4);
	stream_octets(stream, &octets);
	assert_int_equal(octets.wire_in, 6);
	assert_int_equal(octets.plain_in, 6);
	assert_int_equal(octets.wire_out, 11);
	assert_int_equal(octets.plain_out, 11);
	assert_int_equal(write(other, "x", 1), 1);
	close(other);
	struct fault fault;
	assert_true(stream_fill(stream, &got, &len, &fault));
	stream_consume(stream, 1);
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	/* The default action of SIGPIPE would end this program. */
	assert_true(stream_write(stream, "x", 1, &fault));
	assert_false(stream_flush(stream, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	stream_free(&stream);
	assert_null(stream);
	stream_free(&stream);
}

static void
test_stream_deadline(void **state)
{
	(void)state;
	struct stream *stream;
	int other;
	const char *got;
	size_t len;
	struct fault fault;
	pair(&stream, &other, 1);
	int64_t begin = clock_boot_ns();
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	assert_true(clock_boot_ns() - begin >= 990 * CLOCK_MS);
	/* A writer whose peer reads nothing. */
	char *data = g_malloc0(BIG);
	assert_false(stream_write(stream, data, BIG, &fault) && stream_flush(stream, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	g_free(data);
	/* The absolute end comes before. */
	stream_set_timeout(stream, 30);
	begin = clock_boot_ns();
	stream_set_end(stream, begin + 200 * CLOCK_MS);
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	assert_in_range((clock_boot_ns() - begin) / CLOCK_MS, 190, 25000);
	close(other);
	stream_free(&stream);
}

static void *
trickle(void *data)
{
	int fd = *(int *)data;
	for (int i = 0; i < 6; i++) {
		g_usleep(300 * 1000);
		if (write(fd, "x", 1) != 1)
			break;
	}
	return NULL;
}

static void
test_stream_deadline_restarts_with_each_octet(void **state)
{
	(void)state;
	struct stream *stream;
	int other;
	const char *got;
	size_t len, total = 0;
	pair(&stream, &other, 1);
	GThread *thread = g_thread_new("trickle", trickle, &other);
	while (total < 6) {
		int64_t before = clock_boot_ns();
		assert_true(stream_fill(stream, &got, &len, NULL));
		assert_true(stream_progress_ns(stream) >= before);
		stream_consume(stream, len);
		total += len;
	}
	g_thread_join(thread);
	close(other);
	stream_free(&stream);
}

static void *
cancel_soon(void *data)
{
	g_usleep(100 * 1000);
	stream_cancel(data);
	return NULL;
}

static void
test_stream_cancel(void **state)
{
	(void)state;
	struct stream *stream;
	int other;
	const char *got;
	size_t len;
	struct fault fault;
	pair(&stream, &other, 20);
	GThread *thread = g_thread_new("cancel", cancel_soon, stream);
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	g_thread_join(thread);
	/* It stays so, even if there is something to read. */
	assert_int_equal(write(other, "x", 1), 1);
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	assert_true(stream_write(stream, "x", 1, &fault));
	assert_false(stream_flush(stream, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	assert_false(stream_pause(stream, 10000, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	close(other);
	stream_free(&stream);
}

/* Writes much before it reads anything. */
static void
talker_script(struct peer *peer, void *ctx)
{
	peer_send_octets(peer, ctx, BIG);
	peer_expect_octets(peer, ctx, BIG);
}

static void
test_stream_both_sides_write(void **state)
{
	(void)state;
	int fd;
	char *data = g_malloc(BIG);
	for (size_t i = 0; i < BIG; i++)
		data[i] = (char)(i * 2654435761u >> 24);
	struct peer *peer = peer_new_pair(talker_script, data, &fd);
	struct stream *stream = stream_new(fd, 5);
	assert_true(stream_write(stream, data, BIG, NULL));
	assert_true(stream_flush(stream, NULL));
	for (size_t total = 0; total < BIG;) {
		const char *got;
		size_t len;
		assert_true(stream_fill(stream, &got, &len, NULL));
		assert_memory_equal(got, data + total, len);
		stream_consume(stream, len);
		total += len;
	}
	stream_free(&stream);
	peer_finish(&peer);
	g_free(data);
}

static void
deflate_script(struct peer *peer, void *ctx)
{
	(void)ctx;
	peer_expect_line(peer, "first");
	peer_start_deflate(peer);
	peer_chop(peer, 1);
	peer_send(peer, "one\r\n");
	peer_expect_line(peer, "second");
	peer_send(peer, "two\r\n");
	peer_send_octets(peer, "", 0);
	peer_cut(peer);
}

static void
expect_text(struct stream *stream, const char *text)
{
	const char *got;
	size_t len;
	for (; *text != '\0'; text += len) {
		assert_true(stream_fill(stream, &got, &len, NULL));
		assert_true(len <= strlen(text));
		assert_memory_equal(got, text, len);
		stream_consume(stream, len);
	}
}

static void
test_stream_deflate(void **state)
{
	(void)state;
	int fd;
	struct fault fault;
	const char *got;
	size_t len;
	struct stream_octets octets;
	struct peer *peer = peer_new_pair(deflate_script, NULL, &fd);
	struct stream *stream = stream_new(fd, 5);
	assert_true(stream_write(stream, "first\r\n", 7, NULL));
	assert_true(stream_flush(stream, NULL));
	g_usleep(50 * 1000);
	/* What came before counts as compressed. */
	assert_true(stream_poll(stream, &got, &len, NULL));
	stream_start_deflate(stream);
	expect_text(stream, "one\r\n");
	assert_true(stream_write(stream, "second\r\n", 8, NULL));
	assert_true(stream_flush(stream, NULL));
	expect_text(stream, "two\r\n");
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	assert_false(stream_deflate_failed(stream));
	stream_octets(stream, &octets);
	assert_int_equal(octets.plain_in, 10);
	assert_true(octets.wire_in != octets.plain_in);
	stream_free(&stream);
	peer_finish(&peer);
}

static void
test_stream_deflate_failure_is_told(void **state)
{
	(void)state;
	struct stream *stream;
	int other;
	const char *got;
	size_t len;
	struct fault fault;
	pair(&stream, &other, 5);
	stream_start_deflate(stream);
	assert_int_equal(write(other, "\xff\xff\xff\xff", 4), 4);
	assert_false(stream_fill(stream, &got, &len, &fault));
	assert_int_equal(fault.kind, FAULT_PROTOCOL);
	assert_true(stream_deflate_failed(stream));
	close(other);
	stream_free(&stream);
}

/* --- connecting ------------------------------------------------------------------------ */

static int
listener(int backlog, uint16_t *port_r)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	*port_r = ntohs(address.sin_port);
	return fd;
}

static void
test_connect(void **state)
{
	(void)state;
	uint16_t port;
	struct stream *stream;
	int fd = listener(5, &port);
	/* localhost may be ::1 first, where nobody listens. */
	assert_true(stream_connect("localhost", port, 5, -1, &stream, NULL));
	assert_true(stream_is_loopback(stream));
	stream_free(&stream);
	assert_true(stream_connect("127.0.0.1", port, 5, -1, &stream, NULL));
	stream_free(&stream);
	close(fd);
}

static void
test_connect_failures(void **state)
{
	(void)state;
	uint16_t port;
	struct stream *stream = NULL;
	struct fault fault;
	int fd = listener(-1, &port); /* bound, not listening */
	assert_false(stream_connect("127.0.0.1", port, 5, -1, &stream, &fault));
	assert_int_equal(fault.kind, FAULT_UNREACHABLE);
	assert_non_null(strstr(fault.text, "refused"));
	assert_false(stream_connect("no-such-host.invalid", port, 10, -1, &stream, &fault));
	assert_true(fault.kind == FAULT_UNREACHABLE || fault.kind == FAULT_TIMEOUT);
	assert_non_null(strstr(fault.text, "no-such-host.invalid"));
	int cancel = eventfd(1, 0);
	assert_false(stream_connect("no-such-host.invalid", port, 10, cancel, &stream, &fault));
	assert_int_equal(fault.kind, FAULT_CANCELLED);
	assert_null(stream);
	close(cancel);
	close(fd);
}

static void
test_connect_has_a_deadline(void **state)
{
	(void)state;
	uint16_t port;
	int fd = listener(0, &port), clients[8];
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* With its queue full, a listener lets new ones wait. */
	for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(clients[i], (struct sockaddr *)&address, sizeof address);
	}
	struct stream *stream;
	struct fault fault;
	int64_t begin = clock_boot_ns();
	assert_false(stream_connect("127.0.0.1", port, 1, -1, &stream, &fault));
	assert_int_equal(fault.kind, FAULT_TIMEOUT);
	assert_true(clock_boot_ns() - begin >= 990 * CLOCK_MS);
	for (size_t i = 0; i < G_N_ELEMENTS(clients); i++)
		close(clients[i]);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffer_keeps_order),
		cmocka_unit_test(test_deflate_round_trip_at_any_split),
		cmocka_unit_test(test_deflate_bomb_unfolds_slowly),
		cmocka_unit_test(test_deflate_refuses_garbage),
		cmocka_unit_test(test_stream_reads_writes_and_counts),
		cmocka_unit_test(test_stream_deadline),
		cmocka_unit_test(test_stream_deadline_restarts_with_each_octet),
		cmocka_unit_test(test_stream_cancel),
		cmocka_unit_test(test_stream_both_sides_write),
		cmocka_unit_test(test_stream_deflate),
		cmocka_unit_test(test_stream_deflate_failure_is_told),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_failures),
		cmocka_unit_test(test_connect_has_a_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
