/* SPDX-License-Identifier: MIT */
/* Tests of logging in: each mechanism, their order, and what refusals mean. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <glib/gstdio.h>
#include <gsasl.h>
#include <stdlib.h>

#include "session/mech.h"

#include "certs.h"
#include "dialogue.h"

/* --- mechanisms by known examples ------------------------------------------------------ */

static const struct mech_info *
info_of(const char *name)
{
	for (const struct mech_info *info = mech_table; info->name != NULL; info++)
		if (strcmp(info->name, name) == 0)
			return info;
	fail_msg("no mechanism %s", name);
	return NULL;
}

static void
test_known_exchanges(void **state)
{
	(void)state;
	/* RFC 2595, 2195, 7628 section 4.1, and Google's page on XOAUTH2; LOGIN by its draft. */
	const struct {
		const char *mech, *user, *secret, *host;
		unsigned port;
		const char *turns[6]; /* challenge (NULL: the client begins), answer, ... */
	} table[] = {
		{"PLAIN",
		 "tim",
		 "tanstaaftanstaaf",
		 "h",
		 143,
		 {"", "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"}},
		{"CRAM-MD5",
		 "tim",
		 "tanstaaftanstaaf",
		 "h",
		 143,
		 {"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+",
		  "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"}},
		{"LOGIN",
		 "tim",
		 "tanstaaftanstaaf",
		 "h",
		 143,
		 {"VXNlciBOYW1lAA==", "dGlt", "UGFzc3dvcmQA", "dGFuc3RhYWZ0YW5zdGFhZg=="}},
		{"OAUTHBEARER",
		 "user@example.com",
		 "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
		 "server.example.com",
		 143,
		 {"",
		  "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQz"
		  "AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9"
		  "PQEB",
		  "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=", "AQ=="}},
		{"XOAUTH2",
		 "someuser@example.com",
		 "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
		 "h",
		 993,
		 {"",
		  "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRj"
		  "Mk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==",
		  "eyJzdGF0dXMiOiI0MDEifQ==", ""}},
		{"EXTERNAL", "alice", NULL, "h", 993, {"", "YWxpY2U="}},
		{"EXTERNAL", NULL, NULL, "h", 993, {"", ""}},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct fault fault = {0};
		const struct mech_params params = { table[i].user, table[i].secret, table[i].host,
			                            table[i].port, NULL };
		const struct mech_info *info = info_of(table[i].mech);
		struct mech *mech = mech_new(info, &params, &fault);
		assert_non_null(mech);
		GString *line = g_string_new(NULL);
		assert_int_equal(info->client_first, table[i].turns[0][0] == '\0');
		for (unsigned t = 0; table[i].turns[t] != NULL; t += 2) {
			if (t == 0 && info->client_first)
				assert_true(mech_first(mech, line, &fault));
			else
				assert_true(mech_step(mech, table[i].turns[t], line, &fault));
			assert_string_equal(line->str, table[i].turns[t + 1]);
		}
		assert_true(mech_finished(mech));
		g_string_free(line, TRUE);
		mech_free(&mech);
	}
}

static void
test_oauth_names_are_escaped_and_complaints_are_kept(void **state)
{
	(void)state;
	struct fault fault;
	GString *line = g_string_new(NULL);
	const struct mech_params params = { "a=b,c", "tok", "h", 993, NULL };
	struct mech *mech = mech_new(info_of("OAUTHBEARER"), &params, &fault);
	gsize len;
	assert_true(mech_first(mech, line, &fault));
	guchar *text = g_base64_decode(line->str, &len);
	static const char expected[] =
		"n,a=a=3Db=2Cc,\001host=h\001port=993\001auth=Bearer tok\001\001";
	assert_int_equal(len, sizeof expected - 1);
	assert_memory_equal(text, expected, len);
	g_free(text);
	assert_null(mech_complaint(mech));
	assert_true(mech_step(mech, "eyJzdGF0dXMiOiI0MDEifQ==", line, &fault));
	assert_string_equal(mech_complaint(mech), "{\"status\":\"401\"}");
	mech_free(&mech);
	assert_null(mech);
	mech_free(&mech);
	g_string_free(line, TRUE);
}

/* --- dialogues ------------------------------------------------------------------------- */

struct dialogue {
	const char *force;
	bool token;
	const char *user;         /* NULL: alice */
	const char *secrets[2];
	enum fault_kind kind;     /* NONE: logged in */
	const char *word;         /* in the fault's text */
	unsigned asked;           /* how often the secret was asked for */
	struct turn turns[24];
};

static void
play(const struct dialogue *dialogue)
{
	struct turn *turns = g_memdup2(dialogue->turns, sizeof dialogue->turns);
	struct peer *peer = peer_new(dialogue_script, turns);
	struct dialogue_secret secret = {.secrets = {dialogue->secrets[0], dialogue->secrets[1]}};
	struct conn_config config =
		dialogue_config(peer, secret.secrets[0] != NULL ? &secret : NULL, dialogue->token);
	struct conn *conn = NULL;
	struct fault fault = {0};
	config.auth = dialogue->force;
	if (dialogue->user != NULL)
		config.user = dialogue->user;
	bool ok = conn_open(&config, NULL, 1, &conn, &fault);
	conn_free(&conn);
	peer_finish(&peer);
	g_free(turns);
	if (dialogue->kind == FAULT_NONE && !ok)
		fail_msg("not logged in: %s", fault.text);
	assert_int_equal(fault.kind, dialogue->kind);
	if (dialogue->word != NULL && strstr(fault.text, dialogue->word) == NULL)
		fail_msg("`%s` is not in: %s", dialogue->word, fault.text);
	assert_int_equal(secret.asked, dialogue->asked);
	for (int i = 0; i < 2 && !ok; i++)
		assert_true(dialogue->secrets[i] == NULL ||
		            strstr(fault.text, dialogue->secrets[i]) == NULL);
}

#define GREETING(caps) SEND("* OK [CAPABILITY IMAP4rev1 " caps "] hello")
#define CAPS_AFTER     EXPECT("CAPABILITY"), SEND("* CAPABILITY IMAP4rev1"), REPLY("OK")
/* alice, secret */
#define PLAIN64 "AGFsaWNlAHNlY3JldA=="

static void
test_mechanisms(void **state)
{
	(void)state;
	static const struct dialogue table[] = {
		/* With and without SASL-IR; a bare `+`. */
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("SASL-IR AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN " PLAIN64),
			   REPLY("OK [CAPABILITY IMAP4rev1] in"), END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"), RAW("+\r\n"),
			   LINE(PLAIN64), REPLY("OK"), CAPS_AFTER, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=LOGIN"), EXPECT("AUTHENTICATE LOGIN"),
			   SEND("+ VXNlcm5hbWU6"), LINE("YWxpY2U="), SEND("* OK still here"),
			   SEND("+ UGFzc3dvcmQ6"), LINE("c2VjcmV0"), SEND("* CAPABILITY IMAP4rev1"),
			   REPLY("OK"), END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=CRAM-MD5 AUTH=PLAIN"), EXPECT("AUTHENTICATE CRAM-MD5"),
			   SEND("+ PDFAaD4="), LINE("YWxpY2Ug*"), REPLY("OK"), CAPS_AFTER, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("X"), EXPECT("LOGIN \"alice\" \"secret\""), REPLY("OK"),
			   CAPS_AFTER, END}},
		/* 8-bit and odd characters. */
		{.secrets = {"p\"\\ss"},
		 .asked = 1,
		 .turns = {GREETING("X"), EXPECT("LOGIN \"alice\" \"p\\\"\\\\ss\""), REPLY("OK"),
			   CAPS_AFTER, END}},
		{.secrets = {"p\xc3\xa4ss"},
		 .asked = 1,
		 .turns = {GREETING("X"), EXPECT("LOGIN \"alice\" {5}"), SEND("* OK wait"),
			   SEND("+ go"), LINE("p\xc3\xa4ss"), REPLY("OK"), CAPS_AFTER, END}},
		/* Tokens. */
		{.token = true,
		 .secrets = {"tok"},
		 .asked = 1,
		 .turns = {GREETING("SASL-IR AUTH=XOAUTH2 AUTH=PLAIN"),
			   EXPECT("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2sBAQ=="),
			   REPLY("OK"), CAPS_AFTER, END}},
		{.token = true,
		 .secrets = {"tok"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=XOAUTH2 AUTH=OAUTHBEARER"),
			   EXPECT("AUTHENTICATE OAUTHBEARER"), SEND("+ "), LINE("bixhPWFsaWNlL*"),
			   REPLY("OK"), CAPS_AFTER, END}},
		/* Forced, in any case. */
		{.secrets = {"secret"},
		 .force = "plain",
		 .asked = 1,
		 .turns = {GREETING("AUTH=CRAM-MD5 AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"),
			   SEND("+"), LINE(PLAIN64), REPLY("OK"), CAPS_AFTER, END}},
		{.secrets = {"secret"},
		 .force = "LOGIN",
		 .asked = 1,
		 .turns = {GREETING("AUTH=PLAIN"), EXPECT("LOGIN \"alice\" \"secret\""),
			   REPLY("OK"), CAPS_AFTER, END}},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		play(&table[i]);
}

static void
test_refusals(void **state)
{
	(void)state;
	static const struct dialogue table[] = {
		/* A refused password is not tried again by another mechanism. */
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .word = "AUTHENTICATIONFAILED",
		 .turns = {GREETING("SASL-IR AUTH=PLAIN AUTH=LOGIN"),
			   EXPECT("AUTHENTICATE PLAIN *"),
			   REPLY("NO [AUTHENTICATIONFAILED] bad password"), CLOSED, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .word = "alice",
		 .turns = {GREETING("AUTH=CRAM-MD5 AUTH=PLAIN"), EXPECT("AUTHENTICATE CRAM-MD5"),
			   SEND("+ PDFAaD4="), LINE("*"), REPLY("NO wrong"), CLOSED, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .word = "(LOGIN)",
		 .turns = {GREETING("X"), EXPECT("LOGIN \"alice\" *"), REPLY("NO wrong"), CLOSED,
			   END}},
		/* A mechanism that isn't really there gives way. */
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=CRAM-MD5 AUTH=PLAIN"), EXPECT("AUTHENTICATE CRAM-MD5"),
			   REPLY("NO unsupported mechanism"), EXPECT("AUTHENTICATE PLAIN"),
			   SEND("+ "), LINE(PLAIN64), REPLY("OK"), CAPS_AFTER, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"), REPLY("BAD what?"),
			   EXPECT("LOGIN \"alice\" \"secret\""), REPLY("OK"), CAPS_AFTER, END}},
		/* SASL-IR that isn't really there: once more without. */
		{.secrets = {"secret"},
		 .asked = 1,
		 .turns = {GREETING("SASL-IR AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN *"),
			   REPLY("BAD syntax"), EXPECT("AUTHENTICATE PLAIN"), SEND("+ "),
			   LINE(PLAIN64), REPLY("OK"), CAPS_AFTER, END}},
		{.secrets = {"secret"},
		 .force = "PLAIN",
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .turns = {GREETING("SASL-IR AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN *"),
			   REPLY("BAD syntax"), EXPECT("AUTHENTICATE PLAIN"), REPLY("BAD syntax"),
			   CLOSED, END}},
		/* Later is not no. */
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_BUSY,
		 .word = "Too many",
		 .turns = {GREETING("X"), EXPECT("LOGIN *"),
			   REPLY("NO [ALERT] Too many simultaneous connections"), CLOSED, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_BUSY,
		 .turns = {GREETING("SASL-IR AUTH=PLAIN"), EXPECT("AUTHENTICATE *"),
			   REPLY("NO [UNAVAILABLE] the database is down"), CLOSED, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_BUSY,
		 .turns = {GREETING("X"), EXPECT("LOGIN *"), REPLY("NO [LIMIT] eleven"), CLOSED,
			   END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_BUSY,
		 .word = "shutting down",
		 .turns = {GREETING("X"), EXPECT("LOGIN *"),
			   SEND("* BYE [UNAVAILABLE] shutting down"), CUT, END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .word = "credentials",
		 .turns = {GREETING("X"), EXPECT("LOGIN *"), SEND("* BYE Invalid credentials"), CUT,
			   END}},
		{.secrets = {"secret"},
		 .asked = 1,
		 .kind = FAULT_UNREACHABLE,
		 .turns = {GREETING("X"), EXPECT("LOGIN *"), CUT, END}},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		play(&table[i]);
}

static void
test_nothing_in_common(void **state)
{
	(void)state;
	static const struct dialogue table[] = {
		{.secrets = {"secret"},
		 .kind = FAULT_AUTH,
		 .word = "XOAUTH2",
		 .turns = {GREETING("AUTH=XOAUTH2 LOGINDISABLED"), CLOSED, END}},
		{.secrets = {"secret"},
		 .kind = FAULT_AUTH,
		 .word = "LOGINDISABLED",
		 .turns = {GREETING("LOGINDISABLED"), CLOSED, END}},
		{.secrets = {"secret"},
		 .force = "LOGIN",
		 .kind = FAULT_AUTH,
		 .word = "LOGINDISABLED",
		 .turns = {GREETING("AUTH=PLAIN LOGINDISABLED"), CLOSED, END}},
		{.secrets = {"secret"},
		 .force = "SCRAM-SHA-256",
		 .kind = FAULT_AUTH,
		 .word = "SCRAM-SHA-256",
		 .turns = {GREETING("AUTH=PLAIN"), CLOSED, END}},
		{.secrets = {"qqq"},
		 .token = true,
		 .kind = FAULT_AUTH,
		 .word = "token",
		 .turns = {GREETING("AUTH=PLAIN"), CLOSED, END}},
		{.kind = FAULT_AUTH,
		 .word = "without a password",
		 .turns = {GREETING("AUTH=PLAIN"), CLOSED, END}},
		{.secrets = {"zzz"},
		 .user = "",
		 .asked = 1,
		 .kind = FAULT_AUTH,
		 .turns = {GREETING("AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"), SEND("+"),
			   LINE("*"), REPLY("NO who?"), CLOSED, END}},
		/* EXTERNAL wants a certificate, which clear text hasn't. */
		{.secrets = {"secret"},
		 .force = "EXTERNAL",
		 .kind = FAULT_AUTH,
		 .turns = {GREETING("AUTH=EXTERNAL"), CLOSED, END}},
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		play(&table[i]);
}

static void
test_kerberos_without_a_ticket_gives_way(void **state)
{
	(void)state;
	setenv("KRB5CCNAME", "FILE:/nonexistent/ticket", 1);
	static const struct dialogue dialogue = {
		.secrets = {"secret"},
		.asked = 1,
		.turns = {GREETING("AUTH=GSSAPI AUTH=PLAIN"), EXPECT("AUTHENTICATE PLAIN"),
			  SEND("+ "), LINE(PLAIN64), REPLY("OK"), CAPS_AFTER, END}};
	static const struct dialogue forced = {
		.force = "GSSAPI", .kind = FAULT_AUTH, .word = "GSSAPI",
		.turns = { GREETING("AUTH=GSSAPI AUTH=PLAIN"), CLOSED, END } };
	play(&dialogue);
	play(&forced);
	unsetenv("KRB5CCNAME");
}

static void
test_tokens_are_renewed_once(void **state)
{
	(void)state;
	static const struct dialogue renewed = {
		.token = true,
		.secrets = {"old", "new"},
		.asked = 2,
		.turns = {GREETING("SASL-IR AUTH=XOAUTH2"),
			  EXPECT("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBvbGQBAQ=="),
			  SEND("+ eyJzdGF0dXMiOiI0MDEifQ=="), LINE(""),
			  REPLY("NO [AUTHENTICATIONFAILED]"), ACCEPT,
			  GREETING("SASL-IR AUTH=XOAUTH2"),
			  EXPECT("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBuZXcBAQ=="),
			  REPLY("OK"), CAPS_AFTER, END}};
	static const struct dialogue refused = {
		.token = true,
		.secrets = {"old", "new"},
		.asked = 2,
		.kind = FAULT_AUTH,
		.turns = {GREETING("SASL-IR AUTH=OAUTHBEARER"),
			  EXPECT("AUTHENTICATE OAUTHBEARER *"),
			  SEND("+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0="), LINE("AQ=="), REPLY("NO"),
			  ACCEPT, GREETING("SASL-IR AUTH=OAUTHBEARER"),
			  EXPECT("AUTHENTICATE OAUTHBEARER *"), REPLY("NO"), CLOSED, END}};
	static const struct dialogue no_new_one = {
		.token = true,
		.secrets = {"old", NULL},
		.asked = 2,
		.kind = FAULT_AUTH,
		.word = "no secret",
		.turns = {GREETING("SASL-IR AUTH=XOAUTH2"), EXPECT("AUTHENTICATE *"), REPLY("NO"),
			  ACCEPT, GREETING("SASL-IR AUTH=XOAUTH2"), CLOSED, END}};
	/* Busy is no reason for a new one. */
	static const struct dialogue busy = {
		.token = true, .secrets = { "old", "new" }, .asked = 1, .kind = FAULT_BUSY,
		.turns = { GREETING("SASL-IR AUTH=XOAUTH2"), EXPECT("AUTHENTICATE *"),
		           REPLY("NO [UNAVAILABLE]"), CLOSED, END } };
	play(&renewed);
	play(&refused);
	play(&no_new_one);
	play(&busy);
}

/* --- SCRAM, against libgsasl's server -------------------------------------------------- */

struct scram {
	const char *mech, *password;
	bool initial, mute; /* mute: OK without the server's proof */
	bool expect_refusal;
	SSL_CTX *tls;       /* for the -PLUS ones */
	char *binding;      /* base64 */
};

static int
scram_property(Gsasl *library, Gsasl_session *session, Gsasl_property property)
{
	struct scram *scram = gsasl_callback_hook_get(library);
	if (property == GSASL_CB_TLS_EXPORTER && scram->binding != NULL) {
		gsasl_property_set(session, property, scram->binding);
		return GSASL_OK;
	}
	if (property != GSASL_PASSWORD)
		return GSASL_NO_CALLBACK;
	gsasl_property_set(session, GSASL_PASSWORD, scram->password);
	return GSASL_OK;
}

static void
scram_exchange(struct peer *peer, const struct scram *scram, Gsasl_session *session)
{
	const char *line = scram->initial ? strrchr(peer_line(peer), ' ') + 1 : NULL;
	int code = GSASL_NEEDS_MORE;
	if (line == NULL) {
		peer_send(peer, "+ \r\n");
		peer_expect_line(peer, "*");
		line = peer_line(peer);
	}
	for (int round = 0; round < 4 && !peer_failed(peer); round++) {
		char *answer = NULL;
		code = gsasl_step64(session, line, &answer);
		if (code != GSASL_OK && code != GSASL_NEEDS_MORE)
			break;
		bool last = code == GSASL_OK;
		if (last && scram->mute) {
			gsasl_free(answer);
			break;
		}
		peer_send(peer, "+ %s\r\n", answer);
		gsasl_free(answer);
		peer_expect_line(peer, "*");
		line = peer_line(peer);
		if (last)
			break;
	}
	if (code == GSASL_OK)
		peer_reply(peer, "OK [CAPABILITY IMAP4rev1] in");
	else
		peer_reply(peer, "NO [AUTHENTICATIONFAILED] %s", gsasl_strerror(code));
}

static void
scram_script(struct peer *peer, void *ctx)
{
	struct scram *scram = ctx;
	Gsasl *library;
	Gsasl_session *session;
	peer_accept(peer);
	if (scram->tls != NULL) {
		unsigned char binding[32];
		peer_start_tls(peer, scram->tls);
		peer_binding(peer, binding);
		scram->binding = g_base64_encode(binding, sizeof binding);
	}
	peer_send(peer, "* OK [CAPABILITY IMAP4rev1 %s AUTH=PLAIN AUTH=%s] hello\r\n",
	          scram->initial ? "SASL-IR" : "X", scram->mech);
	if (gsasl_init(&library) != GSASL_OK ||
	    gsasl_server_start(library, scram->mech, &session) != GSASL_OK) {
		peer_fail(peer, "no %s", scram->mech);
		return;
	}
	gsasl_callback_hook_set(library, scram);
	gsasl_callback_set(library, scram_property);
	char *glob = g_strdup_printf("AUTHENTICATE %s%s", scram->mech, scram->initial ? " *" : "");
	peer_expect(peer, glob);
	g_free(glob);
	if (!peer_failed(peer))
		scram_exchange(peer, scram, session);
	gsasl_finish(session);
	gsasl_done(library);
}

static void
test_scram(void **state)
{
	(void)state;
	struct scram table[] = {
		{ "SCRAM-SHA-1", "secret", true, false, false, NULL, NULL },
		{ "SCRAM-SHA-1", "secret", false, false, false, NULL, NULL },
		{ "SCRAM-SHA-256", "secret", true, false, false, NULL, NULL },
		{ "SCRAM-SHA-256", "secret", false, false, false, NULL, NULL },
		{ "SCRAM-SHA-256", "other", true, false, true, NULL, NULL },
		{ "SCRAM-SHA-256", "secret", true, true, true, NULL, NULL },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		struct dialogue_secret secret = { .secrets = { "secret" } };
		struct peer *peer = peer_new(scram_script, &table[i]);
		struct conn_config config = dialogue_config(peer, &secret, false);
		struct conn *conn = NULL;
		struct fault fault = {0};
		bool ok = conn_open(&config, NULL, 1, &conn, &fault);
		conn_free(&conn);
		peer_finish(&peer);
		assert_int_equal(ok, !table[i].expect_refusal);
		assert_int_equal(fault.kind, ok ? FAULT_NONE : FAULT_AUTH);
		if (table[i].mute)
			assert_non_null(strstr(fault.text, "did not prove"));
	}
}

static void
test_scram_with_channel_binding(void **state)
{
	(void)state;
	const struct cert_spec spec = { "server", "IP:127.0.0.1", -1, 10, NULL, 0 };
	struct cert cert = cert_make(&spec);
	char *dir = g_dir_make_tmp("imapfs-auth-XXXXXX", NULL);
	char *file = g_build_filename(dir, "cert.pem", NULL);
	cert_write(&cert, file, 0);
	static const char *const mechs[] = { "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS" };
	for (size_t i = 0; i < G_N_ELEMENTS(mechs); i++) {
		struct scram scram = { .mech = mechs[i], .password = "secret", .initial = true,
			               .tls = cert_server(&cert, NULL) };
		struct dialogue_secret secret = { .secrets = { "secret" } };
		struct peer *peer = peer_new(scram_script, &scram);
		struct conn_config config = dialogue_config(peer, &secret, false);
		struct conn *conn = NULL;
		struct fault fault = {0};
		config.tls = CONN_TLS_IMPLICIT;
		config.cafile = file;
		if (!conn_open(&config, NULL, 1, &conn, &fault))
			print_error("%s\n", fault.text);
		conn_free(&conn);
		peer_finish(&peer);
		assert_int_equal(fault.kind, FAULT_NONE);
		SSL_CTX_free(scram.tls);
		g_free(scram.binding);
	}
	g_unlink(file);
	g_rmdir(dir);
	g_free(file);
	g_free(dir);
	cert_free(&cert);
}

static void
test_scram_with_a_server_that_lies(void **state)
{
	(void)state;
	/* A nonce that isn't ours: the exchange is given up. */
	static const struct dialogue dialogue = {
		.secrets = {"secret"},
		.force = "SCRAM-SHA-1",
		.asked = 1,
		.kind = FAULT_AUTH,
		.turns = {GREETING("SASL-IR AUTH=SCRAM-SHA-1"),
			  EXPECT("AUTHENTICATE SCRAM-SHA-1 *"),
			  SEND("+ cj1ldmlsLHM9UVNYQ1IrUTZzZWs4YmY5MixpPTQwOTY="), LINE("?"),
			  REPLY("BAD cancelled"), CLOSED, END}};
	play(&dialogue);
}

/* libgsasl's GSSAPI leaves a little behind when there is no ticket. */
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
	return "leak:libgssapi_krb5";
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_exchanges),
		cmocka_unit_test(test_oauth_names_are_escaped_and_complaints_are_kept),
		cmocka_unit_test(test_mechanisms),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_kerberos_without_a_ticket_gives_way),
		cmocka_unit_test(test_tokens_are_renewed_once),
		cmocka_unit_test(test_scram),
		cmocka_unit_test(test_scram_with_channel_binding),
		cmocka_unit_test(test_scram_with_a_server_that_lies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
