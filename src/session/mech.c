/* SPDX-License-Identifier: MIT */
/* SASL mechanisms: see mech.h. libgsasl does all but those of OAuth 2.0. */
#include "config.h"

#include "session/mech.h"

#include <gsasl.h>
#include <stdint.h>
#include <string.h>

#include "net/tls.h"

#define PASSWORD_SAFE (MECH_NEEDS_PASSWORD | MECH_NEEDS_SAFE_LINE)
#define TOKEN_SAFE    (MECH_NEEDS_TOKEN | MECH_NEEDS_SAFE_LINE)

const struct mech_info mech_table[] = {
	{ "OAUTHBEARER", TOKEN_SAFE, true, 1, false },
	{ "XOAUTH2", TOKEN_SAFE, true, 1, false },
	{ "EXTERNAL", MECH_NEEDS_CERTIFICATE, true, 1, false },
	{ "GSSAPI", MECH_NEEDS_TICKET, true, 1, false },
	{ "SCRAM-SHA-256-PLUS", MECH_NEEDS_PASSWORD | MECH_NEEDS_BINDING, true, 2, true },
	{ "SCRAM-SHA-1-PLUS", MECH_NEEDS_PASSWORD | MECH_NEEDS_BINDING, true, 2, true },
	{ "SCRAM-SHA-256", MECH_NEEDS_PASSWORD, true, 2, true },
	{ "SCRAM-SHA-1", MECH_NEEDS_PASSWORD, true, 2, true },
	{ "CRAM-MD5", MECH_NEEDS_PASSWORD, false, 1, false },
	{ "PLAIN", PASSWORD_SAFE, true, 1, false },
	{ "LOGIN", PASSWORD_SAFE, false, 2, false },
	{ NULL, 0, false, 0, false },
};

struct mech {
	const struct mech_info *info;
	Gsasl *library; /* NULL with a token */
	Gsasl_session *session;
	bool finished;
	/* With a token: */
	GString *first; /* what is said first, not yet base64 */
	bool said;
	char *complaint;
};

/* libgsasl initialises what lies below it each time. */
static GMutex library_lock;

static void
wipe_string(GString *string)
{
	if (string != NULL) {
		explicit_bzero(string->str, string->allocated_len);
		g_string_free(string, TRUE);
	}
}

/* Appends text with `,` and `=` as RFC 5801 (saslname) has them. */
static void
append_saslname(GString *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == ',')
			g_string_append(out, "=2C");
		else if (*text == '=')
			g_string_append(out, "=3D");
		else
			g_string_append_c(out, *text);
	}
}

/* What the client says first: RFC 7628 section 3.1, and Google's XOAUTH2. */
static GString *
token_message(const struct mech_info *info, const struct mech_params *params)
{
	/* With room for all of it at once, so that no copy of the token is left behind. */
	GString *out = g_string_sized_new(strlen(params->secret) + 3 * strlen(params->user) +
	                                  strlen(params->host) + 64);
	if (strcmp(info->name, "XOAUTH2") == 0) {
		g_string_append_printf(out, "user=%s\001auth=Bearer ", params->user);
	} else {
		g_string_append(out, "n,a=");
		append_saslname(out, params->user);
		g_string_append_printf(out, ",\001host=%s\001port=%u\001auth=Bearer ", params->host,
		                       params->port);
	}
	g_string_append(out, params->secret);
	g_string_append(out, "\001\001");
	return out;
}

static bool
start_session(struct mech *mech, const struct mech_params *params, struct fault *fault)
{
	g_mutex_lock(&library_lock);
	int code = gsasl_init(&mech->library);
	g_mutex_unlock(&library_lock);
	if (code == GSASL_OK)
		code = gsasl_client_start(mech->library, mech->info->name, &mech->session);
	if (code != GSASL_OK)
		return fault_set(fault, FAULT_UNSUPPORTED, "%s is not possible here: %s",
		                 mech->info->name, gsasl_strerror(code));
	const char *user = params->user != NULL ? params->user : "";
	bool sets_authzid = (mech->info->needs & (MECH_NEEDS_CERTIFICATE | MECH_NEEDS_TICKET)) != 0;
	gsasl_property_set(mech->session, sets_authzid ? GSASL_AUTHZID : GSASL_AUTHID, user);
	gsasl_property_set(mech->session, GSASL_SERVICE, "imap");
	gsasl_property_set(mech->session, GSASL_HOSTNAME, params->host);
	if ((mech->info->needs & MECH_NEEDS_PASSWORD) != 0)
		gsasl_property_set(mech->session, GSASL_PASSWORD, params->secret);
	if ((mech->info->needs & MECH_NEEDS_BINDING) != 0) {
		char *binding = g_base64_encode(params->binding, TLS_BINDING_LEN);
		gsasl_property_set(mech->session, GSASL_CB_TLS_EXPORTER, binding);
		g_free(binding);
	}
	return true;
}

struct mech *
mech_new(const struct mech_info *info, const struct mech_params *params, struct fault *fault)
{
	struct mech *mech = g_new0(struct mech, 1);
	mech->info = info;
	if ((info->needs & MECH_NEEDS_TOKEN) != 0)
		mech->first = token_message(info, params);
	else if (!start_session(mech, params, fault))
		mech_free(&mech);
	return mech;
}

void
mech_free(struct mech **mech)
{
	struct mech *old = *mech;
	if (old == NULL)
		return;
	if (old->session != NULL) {
		/* The library frees its copy as it is. */
		const char *password = gsasl_property_fast(old->session, GSASL_PASSWORD);
		if (password != NULL)
			explicit_bzero((void *)(uintptr_t)password, strlen(password));
		gsasl_finish(old->session);
	}
	if (old->library != NULL) {
		g_mutex_lock(&library_lock);
		gsasl_done(old->library);
		g_mutex_unlock(&library_lock);
	}
	wipe_string(old->first);
	g_free(old->complaint);
	g_free(old);
	*mech = NULL;
}

static void
set_base64(GString *line, const char *data, size_t len)
{
	char *encoded = g_base64_encode((const guchar *)data, len);
	g_string_assign(line, encoded);
	explicit_bzero(encoded, strlen(encoded));
	g_free(encoded);
}

/* The first answer is the token; a challenge after it is a complaint, in JSON, and waits for a
 * line that says no more than that we have read it. */
static bool
token_step(struct mech *mech, const char *challenge, GString *line_r)
{
	if (!mech->said) {
		set_base64(line_r, mech->first->str, mech->first->len);
		mech->said = true;
		return true;
	}
	gsize len = 0;
	guchar *json = g_base64_decode(challenge, &len);
	g_free(mech->complaint);
	mech->complaint = g_strndup((const char *)json, MIN(len, 300));
	g_free(json);
	bool bearer = strcmp(mech->info->name, "OAUTHBEARER") == 0;
	set_base64(line_r, "\001", bearer ? 1 : 0);
	return true;
}

static bool
session_step(struct mech *mech, const char *challenge, GString *line_r, struct fault *fault)
{
	char *answer = NULL;
	int code = gsasl_step64(mech->session, challenge, &answer);
	if (code != GSASL_OK && code != GSASL_NEEDS_MORE) {
		gsasl_free(answer);
		return fault_set(fault, FAULT_AUTH, "%s: %s", mech->info->name,
				 gsasl_strerror(code));
	}
	mech->finished = code == GSASL_OK;
	g_string_assign(line_r, answer != NULL ? answer : "");
	if (answer != NULL)
		explicit_bzero(answer, strlen(answer));
	gsasl_free(answer);
	return true;
}

bool
mech_step(struct mech *mech, const char *challenge, GString *line_r, struct fault *fault)
{
	if (mech->first != NULL)
		return token_step(mech, challenge, line_r);
	/* Some servers go on asking after all was said. */
	if (mech->finished) {
		g_string_truncate(line_r, 0);
		return true;
	}
	return session_step(mech, challenge, line_r, fault);
}

bool
mech_first(struct mech *mech, GString *line_r, struct fault *fault)
{
	return mech_step(mech, "", line_r, fault);
}

bool
mech_finished(const struct mech *mech)
{
	return mech->finished || !mech->info->must_finish;
}

const char *
mech_complaint(const struct mech *mech)
{
	return mech->complaint;
}
