/* SPDX-License-Identifier: MIT */
/* Tests of opening a connection: greeting, STARTTLS and attacks on it, capabilities, COMPRESS. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#include "certs.h"
#include "dialogue.h"

#define GREETING(caps) SEND("* OK [CAPABILITY IMAP4rev1 " caps "] hello")
#define LOGIN_OK(caps)                                                                             \
	EXPECT("LOGIN \"alice\" \"secret\""), REPLY("OK [CAPABILITY IMAP4rev1 " caps "] in")

static struct {
	char *dir, *ca_file, *client_file;
	struct cert ca, server, client;
	SSL_CTX *context, *asking;
} tls;

static int
make_certs(void **state)
{
	(void)state;
	const struct cert_spec ca = { "Test CA", NULL, -1, 10, NULL, 1 };
	tls.dir = g_dir_make_tmp("imapfs-open-XXXXXX", NULL);
	tls.ca = cert_make(&ca);
	const struct cert_spec server = { "server", "IP:127.0.0.1", -1, 10, &tls.ca, 0 };
	const struct cert_spec client = { "alice", NULL, -1, 10, &tls.ca, 0 };
	tls.server = cert_make(&server);
	tls.client = cert_make(&client);
	tls.ca_file = g_build_filename(tls.dir, "ca.pem", NULL);
	tls.client_file = g_build_filename(tls.dir, "client.pem", NULL);
	cert_write(&tls.ca, tls.ca_file, 0);
	cert_write(&tls.client, tls.client_file, 1);
	tls.context = cert_server(&tls.server, NULL);
	tls.asking = cert_server(&tls.server, &tls.ca);
	return 0;
}

static int
free_certs(void **state)
{
	(void)state;
	SSL_CTX_free(tls.context);
	SSL_CTX_free(tls.asking);
	cert_free(&tls.ca);
	cert_free(&tls.server);
	cert_free(&tls.client);
	g_unlink(tls.ca_file);
	g_unlink(tls.client_file);
	g_rmdir(tls.dir);
	g_free(tls.ca_file);
	g_free(tls.client_file);
	g_free(tls.dir);
	return 0;
}

/* --- a client for one dialogue --------------------------------------------------------- */

struct client {
	struct peer *peer;
	struct pool *pool;
	struct dialogue_secret secret;
	struct conn_config config;
	struct conn *conn;
	struct fault fault;
};

static void
client_start(struct client *client, peer_script *script, const struct turn *turns)
{
	*client = (struct client){0};
	/* The peer only reads them. */
	client->peer = peer_new(script, (void *)(uintptr_t)turns);
	client->pool = pool_new(4);
	client->secret.secrets[0] = "secret";
	client->config = dialogue_config(client->peer, &client->secret, false);
	client->config.cafile = tls.ca_file;
}

static bool
client_open(struct client *client)
{
	return conn_open(&client->config, client->pool, 1, &client->conn, &client->fault);
}

static void
client_end(struct client *client)
{
	conn_free(&client->conn);
	peer_finish(&client->peer);
	pool_free(&client->pool);
}

static void
expect_fault(const struct client *client, enum fault_kind kind, const char *word)
{
	if (client->fault.kind != kind ||
	    (word != NULL && strstr(client->fault.text, word) == NULL))
		fail_msg("%s, `%s` instead of %s, `%s`", fault_kind_name(client->fault.kind),
		         client->fault.text, fault_kind_name(kind), word != NULL ? word : "");
}

/* Opens against these turns; kind NONE: it must work. */
static void
play(enum conn_tls mode, const struct turn *turns, enum fault_kind kind, const char *word)
{
	struct client client;
	client_start(&client, dialogue_script, turns);
	client.config.tls = mode;
	bool ok = client_open(&client);
	if (ok != (kind == FAULT_NONE))
		fail_msg("opened: %d, %s", ok, client.fault.text);
	if (!ok) {
		assert_null(client.conn);
		expect_fault(&client, kind, word);
	}
	client_end(&client);
}

/* --- greetings ------------------------------------------------------------------------- */

static void
test_greetings(void **state)
{
	(void)state;
	static const struct turn bye[] = { SEND("* BYE Too many connections from you"), CUT, END };
	static const struct turn bare_bye[] = { SEND("* BYE"), CUT, END };
	static const struct turn pop3[] = { SEND("+OK POP3 ready"), CLOSED, END };
	static const struct turn smtp[] = { SEND("220 mail.example.org ESMTP"), CLOSED, END };
	static const struct turn nothing[] = { CUT, END };
	static const struct turn no[] = { SEND("* NO not now"), CLOSED, END };
	static const struct turn preauth[] = {SEND("* PREAUTH [CAPABILITY IMAP4rev1] alice"), END};
	static const struct turn old[] = { SEND("* OK [CAPABILITY IMAP2] hi"), CLOSED, END };
	static const struct turn plain[] = { GREETING("X"), LOGIN_OK("X"), END };
	play(CONN_TLS_OFF, plain, FAULT_NONE, NULL);
	play(CONN_TLS_OFF, preauth, FAULT_NONE, NULL);
	play(CONN_TLS_OFF, bye, FAULT_BUSY, "Too many connections from you");
	play(CONN_TLS_OFF, bare_bye, FAULT_BUSY, "refuses the connection");
	play(CONN_TLS_OFF, pop3, FAULT_PROTOCOL, "does not speak IMAP");
	play(CONN_TLS_OFF, smtp, FAULT_PROTOCOL, "does not speak IMAP");
	play(CONN_TLS_OFF, no, FAULT_PROTOCOL, "does not speak IMAP");
	play(CONN_TLS_OFF, nothing, FAULT_UNREACHABLE, "closed the connection");
	play(CONN_TLS_OFF, old, FAULT_UNSUPPORTED, "IMAP4rev1");
}

/* An address of this machine that isn't a loopback one. */
static bool
outer_address(struct sockaddr_in *address_r)
{
	struct ifaddrs *all;
	bool found = false;
	if (getifaddrs(&all) != 0)
		return false;
	for (struct ifaddrs *each = all; each != NULL && !found; each = each->ifa_next) {
		if (each->ifa_addr == NULL || each->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(address_r, each->ifa_addr, sizeof *address_r);
		found = ntohl(address_r->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
	}
	freeifaddrs(all);
	return found;
}

static void
test_clear_text_only_on_loopback(void **state)
{
	(void)state;
	struct sockaddr_in address;
	socklen_t size = sizeof address;
	char host[INET_ADDRSTRLEN];
	if (!outer_address(&address))
		skip();
	address.sin_port = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fd, 5), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
	struct conn_config config = { .host = host, .port = ntohs(address.sin_port),
		                      .tls = CONN_TLS_OFF, .timeout_s = 2 };
	struct conn *conn = NULL;
	struct fault fault = {0};
	assert_false(conn_open(&config, NULL, 1, &conn, &fault));
	assert_int_equal(fault.kind, FAULT_TLS);
	assert_non_null(strstr(fault.text, "tls=off"));
	close(fd);
}

/* --- STARTTLS -------------------------------------------------------------------------- */

static void
upgrade_script(struct peer *peer, void *ctx)
{
	/* Three lists: before TLS, after it, after the login. */
	static const struct turn before[] = {GREETING("STARTTLS LOGINDISABLED"), EXPECT("STARTTLS"),
					     REPLY("OK go ahead"), END};
	static const struct turn after[] = {EXPECT("CAPABILITY"),
					    SEND("* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR"),
					    REPLY("OK"),
					    EXPECT("AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA=="),
					    REPLY("OK in"),
					    EXPECT("CAPABILITY"),
					    SEND("* CAPABILITY imap4REV1 uidplus move ID"),
					    REPLY("OK"),
					    EXPECT("ID (*)"),
					    REPLY("BAD what?"),
					    EXPECT("LOGOUT"),
					    SEND("* BYE"),
					    REPLY("OK"),
					    END};
	peer_accept(peer);
	dialogue_run(peer, before);
	peer_start_tls(peer, ctx);
	dialogue_run(peer, after);
}

static void
test_starttls(void **state)
{
	(void)state;
	struct client client;
	client_start(&client, upgrade_script, (const struct turn *)(const void *)tls.context);
	client.config.tls = CONN_TLS_STARTTLS;
	if (!client_open(&client))
		fail_msg("%s", client.fault.text);
	assert_true(conn_has(client.conn, IMAP_CAP_UIDPLUS));
	assert_true(conn_has(client.conn, IMAP_CAP_MOVE));
	assert_false(conn_has(client.conn, IMAP_CAP_STARTTLS));
	assert_false(conn_has(client.conn, IMAP_CAP_SASL_IR));
	conn_logout(client.conn);
	assert_false(conn_alive(client.conn));
	client_end(&client);
}

static void
test_starttls_attacks(void **state)
{
	(void)state;
	static const struct turn preauth[] = {
		SEND("* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi"), CLOSED, END };
	static const struct turn stripped[] = { GREETING("AUTH=PLAIN"), CLOSED, END };
	static const struct turn refused[] = { GREETING("STARTTLS"), EXPECT("STARTTLS"),
		                               REPLY("NO not today"), CLOSED, END };
	static const struct turn injected[] = { GREETING("STARTTLS"), EXPECT("STARTTLS"),
		                                RAW("a1 OK go\r\n* CAPABILITY IMAP4rev1 EVIL\r\n"),
		                                CLOSED, END };
	static const struct turn half[] = { GREETING("STARTTLS"), EXPECT("STARTTLS"),
		                            RAW("a1 OK go\r\n* CAPABI"), CLOSED, END };
	static const struct turn early[] = {
		RAW("* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\na1 OK go\r\n"), CLOSED, END };
	static const struct turn later[] = {
		SEND("* OK hi"), EXPECT("CAPABILITY"),
		RAW("* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK\r\na2 OK go\r\n"), CLOSED, END };
	static const struct turn text[] = { GREETING("STARTTLS"), EXPECT("STARTTLS"), REPLY("OK"),
		                            SEND("* OK in the clear, still"), HANG, END };
	play(CONN_TLS_STARTTLS, preauth, FAULT_TLS, "PREAUTH");
	play(CONN_TLS_STARTTLS, stripped, FAULT_UNSUPPORTED, "STARTTLS");
	play(CONN_TLS_STARTTLS, refused, FAULT_UNSUPPORTED, "refuses STARTTLS");
	play(CONN_TLS_STARTTLS, injected, FAULT_TLS, "slipped");
	play(CONN_TLS_STARTTLS, half, FAULT_TLS, "slipped");
	play(CONN_TLS_STARTTLS, early, FAULT_PROTOCOL, "answer to no command");
	play(CONN_TLS_STARTTLS, later, FAULT_PROTOCOL, "answer to no command");
	play(CONN_TLS_STARTTLS, text, FAULT_TLS, "TLS");
}

static void
implicit_script(struct peer *peer, void *ctx)
{
	static const struct turn turns[] = {GREETING("AUTH=EXTERNAL AUTH=PLAIN SASL-IR"),
					    EXPECT("AUTHENTICATE EXTERNAL YWxpY2U="),
					    REPLY("OK [CAPABILITY IMAP4rev1] in"), END};
	peer_accept(peer);
	peer_start_tls(peer, ctx);
	dialogue_run(peer, turns);
}

static void
test_implicit_tls_with_a_client_certificate(void **state)
{
	(void)state;
	struct client client;
	client_start(&client, implicit_script, (const struct turn *)(const void *)tls.asking);
	client.config.tls = CONN_TLS_IMPLICIT;
	client.config.certfile = tls.client_file;
	if (!client_open(&client))
		fail_msg("%s", client.fault.text);
	assert_int_equal(client.secret.asked, 0);
	client_end(&client);
}

static void
wrong_name_script(struct peer *peer, void *ctx)
{
	peer_accept(peer);
	peer_refuse_tls(peer, ctx);
}

static void
test_the_name_is_verified(void **state)
{
	(void)state;
	struct client client;
	client_start(&client, wrong_name_script, (const struct turn *)(const void *)tls.context);
	client.config.tls = CONN_TLS_IMPLICIT;
	client.config.host = "localhost"; /* the certificate is for 127.0.0.1 */
	assert_false(client_open(&client));
	expect_fault(&client, FAULT_TLS, "127.0.0.1");
	client_end(&client);
}

/* --- capabilities ---------------------------------------------------------------------- */

static void
test_capabilities_come_in_many_ways(void **state)
{
	(void)state;
	static const struct turn early[] = {GREETING("UNSELECT"), EXPECT("LOGIN *"),
					    SEND("* CAPABILITY IMAP4rev1 MOVE QRESYNC IDLE"),
					    REPLY("OK in"), END};
	static const struct turn asked[] = {
		SEND("* OK"), EXPECT("CAPABILITY"), SEND("* CAPABILITY IMAP4rev1"), REPLY("OK"),
		EXPECT("LOGIN *"), REPLY("OK"), EXPECT("CAPABILITY"),
		SEND("* CAPABILITY IMAP4rev1  MOVE Qresync LITERAL + IDLE "), REPLY("OK"), END };
	const struct turn *const both[] = { early, asked };
	static const char *const without[] = { "QRESYNC", "LOGINDISABLED", "nonsense", NULL };
	for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
		struct client client;
		client_start(&client, dialogue_script, both[i]);
		client.config.without = without;
		pool_ban(client.pool, IMAP_CAP_IDLE);
		if (!client_open(&client))
			fail_msg("%s", client.fault.text);
		assert_true(conn_has(client.conn, IMAP_CAP_MOVE));
		assert_false(conn_has(client.conn, IMAP_CAP_QRESYNC));
		assert_false(conn_has(client.conn, IMAP_CAP_IDLE));
		assert_false(conn_has(client.conn, IMAP_CAP_UNSELECT));
		conn_ban(client.conn, IMAP_CAP_MOVE);
		assert_false(conn_has(client.conn, IMAP_CAP_MOVE));
		assert_true(pool_banned(client.pool, IMAP_CAP_MOVE));
		client_end(&client);
	}
}

static void
test_logindisabled_can_not_be_switched_off(void **state)
{
	(void)state;
	static const char *const without[] = { "LOGINDISABLED", NULL };
	static const struct turn turns[] = { GREETING("LOGINDISABLED"), CLOSED, END };
	struct client client;
	client_start(&client, dialogue_script, turns);
	client.config.without = without;
	assert_false(client_open(&client));
	expect_fault(&client, FAULT_AUTH, "LOGINDISABLED");
	client_end(&client);
}

static void
test_enable_asks_for_what_is_offered(void **state)
{
	(void)state;
	static const char *const enable[] = { "CONDSTORE", "QRESYNC", NULL };
	static const struct turn qresync[] = {
		GREETING("X"), LOGIN_OK("ID ENABLE CONDSTORE QRESYNC"), EXPECT("ID (\"name\" *)"),
		EXPECT("ENABLE CONDSTORE QRESYNC"), SEND("* ID NIL"), RAW("a2 OK\r\n"),
		SEND("* ENABLED QRESYNC"), REPLY("OK"), END };
	static const struct turn silent[] = { GREETING("X"), LOGIN_OK("ENABLE CONDSTORE"),
		                              EXPECT("ENABLE CONDSTORE"), REPLY("OK"), END };
	static const struct turn refused[] = {GREETING("X"), LOGIN_OK("ENABLE QRESYNC CONDSTORE"),
					      EXPECT("ENABLE CONDSTORE QRESYNC"), REPLY("BAD no"),
					      END};
	static const struct turn nothing[] = { GREETING("X"), LOGIN_OK("ENABLE"), END };
	const struct { const struct turn *turns; bool enabled; } table[] = {
		{ qresync, true }, { silent, false }, { refused, false }, { nothing, false } };
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct client client;
		client_start(&client, dialogue_script, table[i].turns);
		client.config.enable = enable;
		if (!client_open(&client))
			fail_msg("%s", client.fault.text);
		assert_int_equal(conn_enabled(client.conn, IMAP_CAP_QRESYNC), table[i].enabled);
		client_end(&client);
	}
}

/* --- COMPRESS -------------------------------------------------------------------------- */

static void
test_compress(void **state)
{
	(void)state;
	static const struct turn works[] = {GREETING("X"),
					    LOGIN_OK("ID COMPRESS=DEFLATE"),
					    EXPECT("ID *"),
					    EXPECT("COMPRESS DEFLATE"),
					    RAW("a2 OK\r\na3 OK compressing\r\n"),
					    DEFLATE,
					    SEND("* OK this came along"),
					    EXPECT("NOOP"),
					    SEND("* OK squeezed"),
					    REPLY("OK done"),
					    EXPECT("NOOP"),
					    REPLY("OK"),
					    END};
	static const struct turn refused[] = {
		GREETING("X"), LOGIN_OK("COMPRESS=DEFLATE"), EXPECT("COMPRESS DEFLATE"),
		REPLY("NO [COMPRESSIONACTIVE] by TLS"), EXPECT("NOOP"), REPLY("OK"), EXPECT("NOOP"),
		REPLY("OK"), END };
	const struct turn *const both[] = { works, refused };
	for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
		struct client client;
		client_start(&client, dialogue_script, both[i]);
		client.config.compress = true;
		if (!client_open(&client))
			fail_msg("%s", client.fault.text);
		assert_true(conn_noop(client.conn, &client.fault));
		assert_true(conn_noop(client.conn, &client.fault));
		client_end(&client);
	}
}

static void
test_compress_that_breaks_is_not_used_again(void **state)
{
	(void)state;
	static const struct turn turns[] = {GREETING("X"),
					    LOGIN_OK("COMPRESS=DEFLATE"),
					    EXPECT("COMPRESS DEFLATE"),
					    REPLY("OK"),
					    SEND("* OK this is no deflate"),
					    HANG,
					    ACCEPT,
					    GREETING("X"),
					    LOGIN_OK("COMPRESS=DEFLATE"),
					    EXPECT("NOOP"),
					    REPLY("OK"),
					    END};
	struct client client;
	client_start(&client, dialogue_script, turns);
	client.config.compress = true;
	assert_true(client_open(&client));
	assert_false(conn_noop(client.conn, &client.fault));
	expect_fault(&client, FAULT_PROTOCOL, NULL);
	assert_true(pool_banned(client.pool, IMAP_CAP_COMPRESS_DEFLATE));
	conn_free(&client.conn);
	assert_true(client_open(&client));
	assert_true(conn_noop(client.conn, &client.fault));
	client_end(&client);
}

/* --- deadlines and the end ------------------------------------------------------------- */

static void
test_a_stalled_server_at_each_step(void **state)
{
	(void)state;
	static const struct turn silent[] = { HANG, END };
	static const struct turn at_caps[] = { SEND("* OK hi"), EXPECT("CAPABILITY"), HANG, END };
	static const struct turn at_login[] = { GREETING("X"), EXPECT("LOGIN *"), HANG, END };
	static const struct turn at_auth[] = { GREETING("AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"),
		                               RAW("+"), HANG, END };
	static const struct turn at_id[] = {GREETING("X"), LOGIN_OK("ID"), EXPECT("ID *"), HANG,
					    END};
	const struct turn *const all[] = { silent, at_caps, at_login, at_auth, at_id };
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		struct client client;
		client_start(&client, dialogue_script, all[i]);
		client.config.timeout_s = 1;
		int64_t begin = clock_boot_ns();
		assert_false(client_open(&client));
		expect_fault(&client, FAULT_TIMEOUT, "127.0.0.1");
		assert_true(clock_boot_ns() - begin >= 990 * CLOCK_MS);
		client_end(&client);
	}
}

static void *
cancel_pool(void *pool)
{
	g_usleep(100 * 1000);
	pool_cancel(pool);
	return NULL;
}

static void
test_opening_can_be_cancelled(void **state)
{
	(void)state;
	static const struct turn turns[] = { GREETING("X"), EXPECT("LOGIN *"), HANG, END };
	struct client client;
	client_start(&client, dialogue_script, turns);
	GThread *thread = g_thread_new("cancel", cancel_pool, client.pool);
	assert_false(client_open(&client));
	expect_fault(&client, FAULT_CANCELLED, NULL);
	g_thread_join(thread);
	client_end(&client);
}

/* --- the trace ------------------------------------------------------------------------- */

static char *
traced(const struct turn *turns, const char *password)
{
	struct client client;
	char *path = g_build_filename(tls.dir, "trace", NULL), *text = NULL;
	int saved = dup(STDERR_FILENO), file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	client_start(&client, dialogue_script, turns);
	client.secret.secrets[0] = password;
	client.config.trace = true;
	log_set_debug(true);
	dup2(file, STDERR_FILENO);
	bool ok = client_open(&client) && conn_noop(client.conn, &client.fault);
	dup2(saved, STDERR_FILENO);
	log_set_debug(false);
	close(saved);
	close(file);
	assert_true(ok);
	client_end(&client);
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_unlink(path);
	g_free(path);
	return text;
}

static void
expect_words(const char *text, const char *const *words, bool there)
{
	for (; *words != NULL; words++)
		if ((strstr(text, *words) != NULL) != there)
			fail_msg("`%s` is %s:\n%s", *words, there ? "missing" : "there", text);
}

static void
test_the_trace_has_no_secrets(void **state)
{
	(void)state;
	static const struct turn login[] = {
		GREETING("X"),
		EXPECT("LOGIN *"),
		REPLY("OK [CAPABILITY IMAP4rev1] in"),
		EXPECT("NOOP"),
		RAW("* 1 FETCH (BODY[] {12}\r\nhello\r\nworld UID 7)\r\n"),
		REPLY("OK done"),
		END};
	static const struct turn plain[] = {GREETING("AUTH=PLAIN"),
					    EXPECT("AUTHENTICATE PLAIN"),
					    SEND("+ c2VjcmV0IGNoYWxsZW5nZQ=="),
					    LINE("*"),
					    REPLY("OK [CAPABILITY IMAP4rev1] in"),
					    EXPECT("NOOP"),
					    REPLY("OK done"),
					    END};
	static const struct turn initial[] = {
		GREETING("AUTH=PLAIN SASL-IR"), EXPECT("AUTHENTICATE PLAIN *"),
		REPLY("OK [CAPABILITY IMAP4rev1] in"), EXPECT("NOOP"), REPLY("OK done"), END };
	static const char *const secrets[] = { "pa55word", "AGFsaWNlAHBhNTV3b3Jk", "c2Vjcm", NULL };
	static const char *const said[] = {"LOGIN", "a2 NOOP", "a2 OK done", "{12}", "UID 7",
					   "***",   "[1] <",   "[1] >",      NULL};
	static const char *const elided[] = { "hello\r", "world", NULL };
	char *text = traced(login, "pa55word");
	expect_words(text, secrets, false);
	expect_words(text, said, true);
	expect_words(text, elided, false);
	g_free(text);
	text = traced(plain, "pa55word");
	expect_words(text, secrets, false);
	g_free(text);
	text = traced(initial, "pa55word");
	expect_words(text, secrets, false);
	g_free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greetings),
		cmocka_unit_test(test_clear_text_only_on_loopback),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_starttls_attacks),
		cmocka_unit_test(test_implicit_tls_with_a_client_certificate),
		cmocka_unit_test(test_the_name_is_verified),
		cmocka_unit_test(test_capabilities_come_in_many_ways),
		cmocka_unit_test(test_logindisabled_can_not_be_switched_off),
		cmocka_unit_test(test_enable_asks_for_what_is_offered),
		cmocka_unit_test(test_compress),
		cmocka_unit_test(test_compress_that_breaks_is_not_used_again),
		cmocka_unit_test(test_a_stalled_server_at_each_step),
		cmocka_unit_test(test_opening_can_be_cancelled),
		cmocka_unit_test(test_the_trace_has_no_secrets),
	};
	return cmocka_run_group_tests(tests, make_certs, free_certs);
}
