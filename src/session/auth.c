/* SPDX-License-Identifier: MIT */
/* Logging in: see auth.h. */
#include "config.h"

#include "session/auth.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "session/mech.h"

struct auth {
	const struct auth_request *request;
	struct imap_caps caps; /* the line forgets its own when the login begins */
	GString *secret;       /* NULL until it is needed */
	bool have_binding;
	unsigned char binding[TLS_BINDING_LEN];
	bool without_ir;       /* SASL-IR turned out not to work */
	bool ir_refused;       /* BAD came right after an initial response */
	struct fault refusal;  /* of the last mechanism that gave way to the next */
};

enum attempt {
	ATTEMPT_IN,   /* logged in */
	ATTEMPT_NEXT, /* this mechanism won't do; auth->refusal says why */
	ATTEMPT_END,  /* fault is set */
};

void
auth_secret_free(GString *secret)
{
	if (secret == NULL)
		return;
	explicit_bzero(secret->str, secret->allocated_len);
	g_string_free(secret, TRUE);
}

bool
auth_refusal_is_busy(enum imap_code code, const char *text)
{
	static const char *const words[] = {
		"too many",      "simultaneous",     "try again later",
		"temporar",      "throttled",        "suggested backoff time",
		"rate limit",    "connection limit", "maximum number of conn",
		"not available", "unavailable",
	};
	enum fault_kind kind = imap_code_fault(IMAP_STATUS_NO, code);
	if (kind == FAULT_BUSY)
		return true;
	if (kind == FAULT_AUTH)
		return false;
	char *lower = g_ascii_strdown(text, -1);
	bool busy = false;
	for (size_t i = 0; i < G_N_ELEMENTS(words) && !busy; i++)
		busy = strstr(lower, words[i]) != NULL;
	g_free(lower);
	return busy;
}

/* What the server said to a login; kind AUTH or BUSY. */
static enum attempt
refused(struct auth *auth, const char *how, const struct auth_event *event, bool next,
        struct fault *fault)
{
	const char *user = auth->request->user != NULL ? auth->request->user : "";
	bool busy = event->status == IMAP_STATUS_NO &&
	            auth_refusal_is_busy(event->code, event->text);
	const char *code = imap_code_name(event->code);
	struct fault why;
	fault_set(&why, busy ? FAULT_BUSY : FAULT_AUTH, "%s %s (%s): %s%s%s%s",
	          busy ? "the server can't log in" : "the server refuses the login of", user, how,
	          code[0] != '\0' ? "[" : "", code, code[0] != '\0' ? "] " : "", event->text);
	if (next && !busy) {
		auth->refusal = why;
		log_debug("%s", why.text);
		return ATTEMPT_NEXT;
	}
	fault_set(fault, why.kind, "%s", why.text);
	return ATTEMPT_END;
}

static bool
get_secret(struct auth *auth, struct fault *fault)
{
	const struct auth_secret_source *source = auth->request->secret;
	if (auth->secret != NULL)
		return true;
	GString *secret = g_string_sized_new(4096);
	if (!source->get(source->ctx, auth->request->refresh, secret, fault)) {
		auth_secret_free(secret);
		return false;
	}
	if (secret->len == 0 || memchr(secret->str, '\0', secret->len) != NULL) {
		bool empty = secret->len == 0;
		auth_secret_free(secret);
		return fault_set(fault, FAULT_AUTH, empty ? "the password is empty"
		                                          : "the password has a NUL in it");
	}
	auth->secret = secret;
	return true;
}

/* Kerberos may ask the network for as long as it likes, so it is only tried where a ticket may be
 * at hand, or nothing else is. */
static bool
ticket_likely(const struct auth_request *request)
{
	if (request->force != NULL || request->secret->get == NULL ||
	    g_getenv("KRB5CCNAME") != NULL)
		return true;
	char *path = g_strdup_printf("/tmp/krb5cc_%u", (unsigned)getuid());
	bool there = access(path, R_OK) == 0;
	g_free(path);
	return there;
}

static bool
fits(const struct auth *auth, const struct mech_info *info)
{
	const struct auth_request *request = auth->request;
	bool has_secret = request->secret->get != NULL;
	if (request->force != NULL && g_ascii_strcasecmp(request->force, info->name) != 0)
		return false;
	if (!imap_caps_auth(&auth->caps, info->name))
		return false;
	if ((info->needs & MECH_NEEDS_SAFE_LINE) != 0 && !request->line_is_safe)
		return false;
	if ((info->needs & MECH_NEEDS_PASSWORD) != 0 && (!has_secret || request->secret->is_token))
		return false;
	if ((info->needs & MECH_NEEDS_TOKEN) != 0 && (!has_secret || !request->secret->is_token))
		return false;
	if ((info->needs & MECH_NEEDS_CERTIFICATE) != 0 && !request->have_certificate)
		return false;
	if ((info->needs & MECH_NEEDS_TICKET) != 0 && !ticket_likely(request))
		return false;
	return (info->needs & MECH_NEEDS_BINDING) == 0 || auth->have_binding;
}

/* --- one mechanism --------------------------------------------------------------------- */

/* AUTHENTICATE, with what is to be said first if that is allowed: *lines_r client lines are then
 * on their way. */
static bool
send_authenticate(struct auth *auth, const struct mech_info *info, const GString *first,
                  unsigned *lines_r, struct fault *fault)
{
	const struct auth_line *line = auth->request->line;
	struct imap_command *command = imap_command_new("AUTHENTICATE", IMAP_LITERALS_SYNC);
	imap_command_raw(command, info->name);
	*lines_r = 0;
	if (info->client_first && !auth->without_ir &&
	    imap_caps_has(&auth->caps, IMAP_CAP_SASL_IR)) {
		imap_command_secret_word(command, first->len > 0 ? first->str : "=");
		*lines_r = 1;
	}
	return line->send(line->ctx, command, fault);
}

/* Answers a challenge. False with the line whole: the mechanism can't go on, `*` was sent. */
static bool
answer(struct auth *auth, struct mech *mech, const char *challenge, GString *text,
       struct fault *fault)
{
	const struct auth_line *line = auth->request->line;
	if (mech_step(mech, challenge, text, fault))
		return line->answer(line->ctx, text->str, fault);
	struct auth_event event;
	if (line->answer(line->ctx, "*", NULL))
		line->wait(line->ctx, &event, NULL);
	return false;
}

static enum attempt
judge(struct auth *auth, const struct mech_info *info, const struct mech *mech,
      const struct auth_event *event, bool proof_sent, struct fault *fault)
{
	if (event->status == IMAP_STATUS_OK) {
		if (mech_finished(mech))
			return ATTEMPT_IN;
		fault_set(fault, FAULT_AUTH, "the server did not prove that it knows the password "
		          "(%s)", info->name);
		return ATTEMPT_END;
	}
	if (mech_complaint(mech) != NULL)
		log_info("the server refuses the token: %s", mech_complaint(mech));
	bool own_secret = (info->needs & (MECH_NEEDS_PASSWORD | MECH_NEEDS_TOKEN)) != 0;
	bool failed_code = imap_code_fault(event->status, event->code) == FAULT_AUTH;
	/* A password that was shown and refused is not shown again: accounts get locked. */
	bool next =
		event->status == IMAP_STATUS_BAD || !own_secret || (!proof_sent && !failed_code);
	return refused(auth, info->name, event, next, fault);
}

static enum attempt
run_mech(struct auth *auth, const struct mech_info *info, struct mech *mech, GString *text,
         struct fault *fault)
{
	const struct auth_line *line = auth->request->line;
	struct auth_event event;
	unsigned lines;
	if (info->client_first && !mech_first(mech, text, &auth->refusal))
		return ATTEMPT_NEXT;
	bool ok = send_authenticate(auth, info, text, &lines, fault);
	bool silent = lines > 0;
	while (ok && line->wait(line->ctx, &event, fault)) {
		if (event.kind == AUTH_EVENT_DONE) {
			auth->ir_refused = silent && event.status == IMAP_STATUS_BAD;
			return judge(auth, info, mech, &event, lines >= info->proof_line, fault);
		}
		silent = false;
		if (lines == 0 && info->client_first)
			ok = line->answer(line->ctx, text->str, fault);
		else
			ok = answer(auth, mech, event.text, text, fault);
		lines++;
	}
	return ATTEMPT_END;
}

static enum attempt
try_mech(struct auth *auth, const struct mech_info *info, struct fault *fault)
{
	const struct auth_request *request = auth->request;
	bool needs_secret = (info->needs & (MECH_NEEDS_PASSWORD | MECH_NEEDS_TOKEN)) != 0;
	if (needs_secret && request->user == NULL) {
		fault_set(fault, FAULT_AUTH, "no user name is given: -o user=NAME");
		return ATTEMPT_END;
	}
	if (needs_secret && !get_secret(auth, fault))
		return ATTEMPT_END;
	const struct mech_params params = {
		.user = request->user,
		.secret = auth->secret != NULL ? auth->secret->str : NULL,
		.host = request->host,
		.port = request->port,
		.binding = auth->have_binding ? auth->binding : NULL,
	};
	struct mech *mech = mech_new(info, &params, &auth->refusal);
	if (mech == NULL)
		return ATTEMPT_NEXT;
	GString *text = g_string_sized_new(8192);
	enum attempt attempt = run_mech(auth, info, mech, text, fault);
	auth_secret_free(text);
	mech_free(&mech);
	return attempt;
}

/* --- the command LOGIN ----------------------------------------------------------------- */

static enum attempt
try_login_command(struct auth *auth, struct fault *fault)
{
	const struct auth_request *request = auth->request;
	const struct auth_line *line = request->line;
	struct auth_event event;
	if (request->user == NULL) {
		fault_set(fault, FAULT_AUTH, "no user name is given: -o user=NAME");
		return ATTEMPT_END;
	}
	if (!get_secret(auth, fault))
		return ATTEMPT_END;
	struct imap_command *command = imap_command_new("LOGIN", IMAP_LITERALS_SYNC);
	imap_command_astring(command, request->user, strlen(request->user));
	imap_command_secret(command, auth->secret->str, auth->secret->len);
	if (!line->send(line->ctx, command, fault) || !line->wait(line->ctx, &event, fault))
		return ATTEMPT_END;
	if (event.kind != AUTH_EVENT_DONE) {
		fault_set(fault, FAULT_PROTOCOL, "the server answers LOGIN with a question");
		return ATTEMPT_END;
	}
	if (event.status == IMAP_STATUS_OK)
		return ATTEMPT_IN;
	return refused(auth, "LOGIN", &event, false, fault);
}

static bool
login_command_fits(const struct auth *auth)
{
	const struct auth_request *request = auth->request;
	if (request->force != NULL && g_ascii_strcasecmp(request->force, "LOGIN") != 0)
		return false;
	return request->line_is_safe && request->secret->get != NULL &&
	       !request->secret->is_token && !imap_caps_has(&auth->caps, IMAP_CAP_LOGINDISABLED);
}

/* --- all together ---------------------------------------------------------------------- */

static bool
nothing_fits(const struct auth *auth, struct fault *fault)
{
	const struct auth_request *request = auth->request;
	char *offered = g_strstrip(g_strdup(auth->caps.mechanisms));
	const char *what = request->force != NULL ? request->force
	                   : request->secret->get == NULL ? "a login without a password"
	                   : request->secret->is_token    ? "an OAuth 2.0 token"
	                                                  : "a password";
	fault_set(fault, FAULT_AUTH, "no login with %s is possible: the server offers %s%s%s", what,
	          offered[0] != '\0' ? offered : "no mechanism",
	          imap_caps_has(&auth->caps, IMAP_CAP_LOGINDISABLED) ? " (LOGINDISABLED)" : "",
	          request->line_is_safe ? "" : ", and the line is not encrypted");
	g_free(offered);
	return false;
}

static enum attempt
try_all(struct auth *auth, bool *sasl_ir_broken_r, struct fault *fault)
{
	for (const struct mech_info *info = mech_table; info->name != NULL; info++) {
		if (!fits(auth, info))
			continue;
		enum attempt attempt = try_mech(auth, info, fault);
		if (attempt == ATTEMPT_NEXT && auth->ir_refused) {
			auth->without_ir = true;
			auth->ir_refused = false;
			attempt = try_mech(auth, info, fault);
			if (attempt == ATTEMPT_IN)
				*sasl_ir_broken_r = true;
		}
		if (attempt != ATTEMPT_NEXT)
			return attempt;
	}
	if (login_command_fits(auth))
		return try_login_command(auth, fault);
	return ATTEMPT_NEXT;
}

bool
auth_login(const struct auth_request *request, bool *sasl_ir_broken_r, struct fault *fault)
{
	struct auth auth = { .request = request, .caps = *request->caps };
	auth.have_binding = request->tls != NULL && tls_binding(request->tls, auth.binding);
	enum attempt attempt = try_all(&auth, sasl_ir_broken_r, fault);
	auth_secret_free(auth.secret);
	explicit_bzero(auth.binding, sizeof auth.binding);
	if (attempt != ATTEMPT_NEXT)
		return attempt == ATTEMPT_IN;
	if (auth.refusal.kind == FAULT_NONE)
		return nothing_fits(&auth, fault);
	return fault_set(fault, FAULT_AUTH, "%s", auth.refusal.text);
}
