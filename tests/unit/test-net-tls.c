/* SPDX-License-Identifier: MIT */
/* Tests of TLS: what is trusted, what is refused, and what is said about it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/stream.h"

#include "certs.h"
#include "peer.h"

#define BIG (3u * 1024u * 1024u)

static struct {
	char *dir, *ca_file, *good_file, *self_file, *client_file, *stranger_file;
	struct cert ca, other_ca, good, wrong, expired, future, self, stranger, client, by_stranger;
} certs;

static struct cert
make(const char *name, const char *names, int from, int until, const struct cert *issuer, int is_ca)
{
	const struct cert_spec spec = { name, names, from, until, issuer, is_ca };
	return cert_make(&spec);
}

static int
make_certs(void **state)
{
	(void)state;
	static const char both[] = "DNS:localhost,IP:127.0.0.1";
	certs.dir = g_dir_make_tmp("imapfs-tls-XXXXXX", NULL);
	certs.ca = make("Test CA", NULL, -1, 10, NULL, 1);
	certs.other_ca = make("Other CA", NULL, -1, 10, NULL, 1);
	certs.good = make("good", both, -1, 10, &certs.ca, 0);
	certs.wrong = make("wrong", "DNS:mail.example.org,DNS:*.example.net", -1, 10, &certs.ca, 0);
	certs.expired = make("expired", both, -10, -1, &certs.ca, 0);
	certs.future = make("future", both, 2, 10, &certs.ca, 0);
	certs.self = make("self", both, -1, 10, NULL, 0);
	certs.stranger = make("stranger", both, -1, 10, &certs.other_ca, 0);
	certs.client = make("alice", NULL, -1, 10, &certs.ca, 0);
	certs.by_stranger = make("mallory", NULL, -1, 10, &certs.other_ca, 0);
	certs.ca_file = g_build_filename(certs.dir, "ca.pem", NULL);
	certs.good_file = g_build_filename(certs.dir, "good.pem", NULL);
	certs.self_file = g_build_filename(certs.dir, "self.pem", NULL);
	certs.client_file = g_build_filename(certs.dir, "client.pem", NULL);
	certs.stranger_file = g_build_filename(certs.dir, "stranger.pem", NULL);
	cert_write(&certs.ca, certs.ca_file, 0);
	cert_write(&certs.good, certs.good_file, 0);
	cert_write(&certs.self, certs.self_file, 0);
	cert_write(&certs.client, certs.client_file, 1);
	cert_write(&certs.by_stranger, certs.stranger_file, 1);
	return 0;
}

static int
free_certs(void **state)
{
	(void)state;
	char *files[] = { certs.ca_file, certs.good_file, certs.self_file, certs.client_file,
		          certs.stranger_file };
	struct cert *all[] = {&certs.ca,      &certs.other_ca,   &certs.good, &certs.wrong,
			      &certs.expired, &certs.future,     &certs.self, &certs.stranger,
			      &certs.client,  &certs.by_stranger};
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_unlink(files[i]);
		g_free(files[i]);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		cert_free(all[i]);
	g_rmdir(certs.dir);
	g_free(certs.dir);
	return 0;
}

static void
accept_script(struct peer *peer, void *ctx)
{
	peer_start_tls(peer, ctx);
	peer_send(peer, "* OK\r\n");
	peer_expect_line(peer, "thanks");
}

static void
refuse_script(struct peer *peer, void *ctx)
{
	peer_refuse_tls(peer, ctx);
}

/* Connects to a server with that certificate; *text_r gets the fault's text, "" for none. */
static bool
try(const struct cert *server, const struct cert *client_ca, const struct tls_config *config,
    const char *host, bool expected, struct fault *fault_r)
{
	int fd;
	const char *got;
	size_t len;
	SSL_CTX *context = cert_server(server, client_ca);
	struct peer *peer = peer_new_pair(expected ? accept_script : refuse_script, context, &fd);
	struct stream *stream = stream_new(fd, 5);
	fault_clear(fault_r);
	bool ok = stream_start_tls(stream, config, host, fault_r) &&
	          stream_fill(stream, &got, &len, fault_r);
	if (ok) {
		assert_memory_equal(got, "* OK\r\n", len);
		stream_consume(stream, len);
		ok = stream_write(stream, "thanks\r\n", 8, fault_r) &&
		     stream_flush(stream, fault_r);
		assert_non_null(stream_tls(stream));
		stream_goodbye(stream);
	}
	stream_free(&stream);
	peer_finish(&peer);
	SSL_CTX_free(context);
	assert_int_equal(ok, expected);
	if (!ok)
		assert_int_equal(fault_r->kind, FAULT_TLS);
	return ok;
}

static void
test_good_certificates(void **state)
{
	(void)state;
	struct fault fault;
	const struct tls_config ca = { .cafile = certs.ca_file };
	const struct tls_config self = { .cafile = certs.self_file };
	const struct tls_config leaf = { .cafile = certs.good_file };
	assert_true(try(&certs.good, NULL, &ca, "localhost", true, &fault));
	assert_true(try(&certs.good, NULL, &ca, "LOCALHOST", true, &fault));
	assert_true(try(&certs.good, NULL, &ca, "127.0.0.1", true, &fault));
	assert_true(try(&certs.wrong, NULL, &ca, "mail.example.org", true, &fault));
	assert_true(try(&certs.wrong, NULL, &ca, "imap.example.net", true, &fault));
	/* Who names a certificate trusts it. */
	assert_true(try(&certs.self, NULL, &self, "localhost", true, &fault));
	assert_true(try(&certs.good, NULL, &leaf, "localhost", true, &fault));
}

static void
expect_refusal(const struct cert *server, const char *cafile, const char *host,
               const char *const *words)
{
	struct fault fault;
	const struct tls_config config = { .cafile = cafile };
	assert_false(try(server, NULL, &config, host, false, &fault));
	for (; *words != NULL; words++)
		if (strstr(fault.text, *words) == NULL)
			fail_msg("`%s` is not in: %s", *words, fault.text);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void
test_bad_certificates_are_told_apart(void **state)
{
	(void)state;
	const char *ca = certs.ca_file;
	char until[16], print[4];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	X509_digest(certs.self.x509, EVP_sha256(), digest, &len);
	g_snprintf(print, sizeof print, "%02X:", digest[0]);
	GDateTime *now = g_date_time_new_now_utc(), *date = g_date_time_add_days(now, -1);
	g_snprintf(until, sizeof until, "%04d-%02d-%02d", g_date_time_get_year(date),
	           g_date_time_get_month(date), g_date_time_get_day_of_month(date));
	expect_refusal(&certs.expired, ca, "localhost",
		       WORDS("localhost", "expired", until, "SHA-256"));
	expect_refusal(&certs.future, ca, "localhost", WORDS("not yet valid", "clock"));
	expect_refusal(&certs.wrong, ca, "localhost",
	               WORDS("not for localhost", "mail.example.org", "*.example.net"));
	expect_refusal(&certs.wrong, ca, "127.0.0.1",
		       WORDS("not for 127.0.0.1", "mail.example.org"));
	expect_refusal(&certs.wrong, ca, "a.b.example.net", WORDS("not for a.b.example.net"));
	expect_refusal(&certs.good, ca, "127.0.0.2", WORDS("not for 127.0.0.2", "127.0.0.1"));
	expect_refusal(&certs.self, ca, "localhost", WORDS("self-signed", "-o cafile=FILE", print));
	expect_refusal(&certs.stranger, ca, "localhost",
	               WORDS("\"Other CA\"", "not trusted", "-o cafile=FILE"));
	expect_refusal(&certs.good, NULL, "localhost", WORDS("\"Test CA\"", "not trusted"));
	g_date_time_unref(now);
	g_date_time_unref(date);
}

static void
test_client_certificate(void **state)
{
	(void)state;
	struct fault fault;
	const struct tls_config with = { certs.ca_file, certs.client_file, NULL };
	const struct tls_config both = { certs.ca_file, certs.client_file, certs.client_file };
	const struct tls_config without = { .cafile = certs.ca_file };
	const struct tls_config stranger = { certs.ca_file, certs.stranger_file, NULL };
	assert_true(try(&certs.good, &certs.ca, &with, "localhost", true, &fault));
	assert_true(try(&certs.good, &certs.ca, &both, "localhost", true, &fault));
	assert_false(try(&certs.good, &certs.ca, &without, "localhost", false, &fault));
	assert_non_null(strstr(fault.text, "certificate"));
	assert_false(try(&certs.good, &certs.ca, &stranger, "localhost", false, &fault));
}

static void
test_files_that_cannot_be_used(void **state)
{
	(void)state;
	struct fault fault;
	const struct { struct tls_config config; const char *word;
	} table[] = {
		{{.cafile = "/nonexistent/ca.pem"}, "cafile /nonexistent/ca.pem"},
		{{.cafile = "/dev/null"}, "cafile /dev/null"},
		{{certs.ca_file, "/nonexistent/cert.pem", NULL}, "certfile /nonexistent/cert.pem"},
		{{certs.ca_file, certs.ca_file, NULL}, "keyfile"},
		{{certs.ca_file, certs.ca_file, certs.client_file}, "keyfile"},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		assert_null(tls_new(&table[i].config, "localhost", &fault));
		assert_int_equal(fault.kind, FAULT_TLS);
		assert_non_null(strstr(fault.text, table[i].word));
	}
}

static void
text_script(struct peer *peer, void *ctx)
{
	peer_send(peer, "%s", (const char *)ctx);
	peer_hang(peer);
}

static void
test_a_server_without_tls(void **state)
{
	(void)state;
	const struct tls_config config = { .cafile = certs.ca_file };
	static char greeting[] = "* OK IMAP4rev1 at your service\r\n", nothing[] = "";
	struct { char *text; enum fault_kind kind; } table[] = {
		{ greeting, FAULT_TLS }, { nothing, FAULT_TIMEOUT },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		int fd;
		struct fault fault;
		struct peer *peer = peer_new_pair(text_script, table[i].text, &fd);
		struct stream *stream = stream_new(fd, 1);
		assert_false(stream_start_tls(stream, &config, "localhost", &fault));
		assert_int_equal(fault.kind, table[i].kind);
		assert_null(stream_tls(stream));
		stream_free(&stream);
		peer_finish(&peer);
	}
}

static void
cut_script(struct peer *peer, void *ctx)
{
	(void)ctx;
	peer_expect_octets(peer, "\x16\x03", 2);
	peer_cut(peer);
}

static void
test_a_server_that_hangs_up(void **state)
{
	(void)state;
	int fd;
	struct fault fault;
	const struct tls_config config = { .cafile = certs.ca_file };
	struct peer *peer = peer_new_pair(cut_script, NULL, &fd);
	struct stream *stream = stream_new(fd, 5);
	assert_false(stream_start_tls(stream, &config, "localhost", &fault));
	assert_true(fault.kind == FAULT_TLS || fault.kind == FAULT_UNREACHABLE);
	stream_free(&stream);
	peer_finish(&peer);
}

static void
test_old_versions_are_refused(void **state)
{
	(void)state;
	int fd;
	struct fault fault;
	const struct tls_config config = { .cafile = certs.ca_file };
	SSL_CTX *context = cert_server(&certs.good, NULL);
	SSL_CTX_set_security_level(context, 0);
	SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
	struct peer *peer = peer_new_pair(refuse_script, context, &fd);
	struct stream *stream = stream_new(fd, 5);
	assert_false(stream_start_tls(stream, &config, "localhost", &fault));
	assert_int_equal(fault.kind, FAULT_TLS);
	stream_free(&stream);
	peer_finish(&peer);
	SSL_CTX_free(context);
}

static void
test_what_came_before_tls_is_refused(void **state)
{
	(void)state;
	int fd;
	const char *got;
	size_t len;
	struct fault fault;
	static char text[] = "* CAPABILITY EVIL\r\n";
	const struct tls_config config = { .cafile = certs.ca_file };
	struct peer *peer = peer_new_pair(text_script, text, &fd);
	struct stream *stream = stream_new(fd, 5);
	assert_true(stream_fill(stream, &got, &len, NULL));
	stream_consume(stream, 1);
	assert_false(stream_start_tls(stream, &config, "localhost", &fault));
	assert_int_equal(fault.kind, FAULT_PROTOCOL);
	stream_free(&stream);
	peer_finish(&peer);
}

struct bulk {
	SSL_CTX *context;
	char *data;
	bool deflate;
};

static void
bulk_script(struct peer *peer, void *ctx)
{
	struct bulk *bulk = ctx;
	peer_start_tls(peer, bulk->context);
	if (bulk->deflate)
		peer_start_deflate(peer);
	peer_expect_octets(peer, bulk->data, BIG);
	peer_send_octets(peer, bulk->data, BIG);
	peer_expect_line(peer, "end");
}

static void
run_bulk(int version, bool deflate)
{
	int fd;
	const struct tls_config config = { .cafile = certs.ca_file };
	struct bulk bulk = { cert_server(&certs.good, NULL), g_malloc(BIG), deflate };
	unsigned char binding[TLS_BINDING_LEN];
	for (size_t i = 0; i < BIG; i++)
		bulk.data[i] = (char)(i * i >> 7);
	SSL_CTX_set_max_proto_version(bulk.context, version);
	struct peer *peer = peer_new_pair(bulk_script, &bulk, &fd);
	struct stream *stream = stream_new(fd, 10);
	assert_true(stream_start_tls(stream, &config, "localhost", NULL));
	assert_int_equal(tls_binding(stream_tls(stream), binding), version == TLS1_3_VERSION);
	assert_non_null(strstr(tls_describe(stream_tls(stream)),
	                       version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2"));
	if (deflate)
		stream_start_deflate(stream);
	assert_true(stream_write(stream, bulk.data, BIG, NULL) && stream_flush(stream, NULL));
	for (size_t total = 0; total < BIG;) {
		const char *got;
		size_t len;
		assert_true(stream_fill(stream, &got, &len, NULL));
		assert_memory_equal(got, bulk.data + total, len);
		stream_consume(stream, len);
		total += len;
	}
	assert_true(stream_write(stream, "end\r\n", 5, NULL) && stream_flush(stream, NULL));
	stream_free(&stream);
	peer_finish(&peer);
	SSL_CTX_free(bulk.context);
	g_free(bulk.data);
}

static void
test_bulk(void **state)
{
	(void)state;
	run_bulk(TLS1_3_VERSION, false);
	run_bulk(TLS1_3_VERSION, true);
	run_bulk(TLS1_2_VERSION, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_certificates),
		cmocka_unit_test(test_bad_certificates_are_told_apart),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_files_that_cannot_be_used),
		cmocka_unit_test(test_a_server_without_tls),
		cmocka_unit_test(test_a_server_that_hangs_up),
		cmocka_unit_test(test_old_versions_are_refused),
		cmocka_unit_test(test_what_came_before_tls_is_refused),
		cmocka_unit_test(test_bulk),
	};
	return cmocka_run_group_tests(tests, make_certs, free_certs);
}
