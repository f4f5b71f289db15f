/* SPDX-License-Identifier: MIT */
/*
 * The account's URL: see settings.h.
 *
 *     imaps://alice@mail.example.org      TLS from the first octet, port 993
 *     imap://alice%40b.org@[::1]:1143     STARTTLS, port 143 if none is given
 *
 * The user's part may hold an @; a password in it is refused, and no message repeats it.
 */
#include "config.h"

#include "settings.h"

#include <string.h>

static bool
bad_url(const char *url, const char *why, struct fault *fault)
{
	/* What stands before the @ may hold a password. */
	const char *at = strrchr(url, '@');
	if (at != NULL && memchr(url, ':', (size_t)(at - url)) != NULL)
		return fault_set(fault, FAULT_INVALID, "the URL ending in %s: %s; "
		                 "imaps://user@host or imap://user@host is wanted", at, why);
	return fault_set(fault, FAULT_INVALID, "%s: %s; imaps://user@host or imap://user@host is "
	                 "wanted", url, why);
}

static bool
parse_port(const char *text, unsigned *port_r)
{
	char *end;
	guint64 port = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 10) : 0;
	if (port == 0 || port > 65535 || *end != '\0')
		return false;
	*port_r = (unsigned)port;
	return true;
}

/* "host", "host:port", "[::1]:port". */
static bool
parse_host(struct settings *settings, const char *url, const char *text, struct fault *fault)
{
	const char *colon = strrchr(text, ':');
	if (text[0] == '[') {
		const char *close = strchr(text, ']');
		if (close == NULL || (close[1] != '\0' && close[1] != ':'))
			return bad_url(url, "the address has no closing bracket", fault);
		g_free(settings->host);
		settings->host = g_strndup(text + 1, (size_t)(close - text) - 1);
		colon = close[1] == ':' ? close + 1 : NULL;
	} else {
		g_free(settings->host);
		settings->host = colon != NULL ? g_strndup(text, (size_t)(colon - text))
		                               : g_strdup(text);
	}
	if (colon != NULL && !parse_port(colon + 1, &settings->port))
		return bad_url(url, "the port is no number from 1 to 65535", fault);
	if (settings->host[0] == '\0' || strpbrk(settings->host, " \t/?#%@") != NULL)
		return bad_url(url, "there is no host in it", fault);
	return true;
}

static bool
parse_user(struct settings *settings, const char *text, struct fault *fault)
{
	if (strchr(text, ':') != NULL)
		/* The URL itself is not repeated: it holds a secret. */
		return fault_set(fault, FAULT_INVALID, "a password does not belong in the URL, "
		                 "where others can see it; use -o passcmd= or -o passfile=");
	char *user = g_uri_unescape_string(text, NULL);
	if (user == NULL || user[0] == '\0') {
		g_free(user);
		return fault_set(fault, FAULT_INVALID, "the user name in the URL can't be read");
	}
	/* -o user= has the last word. */
	if (settings->user == NULL)
		settings->user = user;
	else
		g_free(user);
	return true;
}

bool
settings_parse_url(struct settings *settings, const char *url, struct fault *fault)
{
	bool cleartext = settings->tls == SETTINGS_CLEARTEXT;
	const char *rest;
	if (g_str_has_prefix(url, "imaps://")) {
		settings->tls = SETTINGS_TLS;
		settings->port = 993;
		rest = url + strlen("imaps://");
	} else if (g_str_has_prefix(url, "imap://")) {
		settings->tls = cleartext ? SETTINGS_CLEARTEXT : SETTINGS_STARTTLS;
		settings->port = 143;
		rest = url + strlen("imap://");
	} else {
		return bad_url(url, "it is no URL of a mail account", fault);
	}
	char *text = g_strdup(rest);
	size_t len = strlen(text);
	if (len > 0 && text[len - 1] == '/')
		text[len - 1] = '\0';
	/* A user name may hold an @ of its own. */
	char *at = strrchr(text, '@');
	const char *host = at != NULL ? at + 1 : text;
	bool ok = true;
	if (at != NULL) {
		*at = '\0';
		ok = parse_user(settings, text, fault);
	}
	if (ok && strchr(host, '/') != NULL)
		ok = bad_url(url, "it has a path, but the whole account is mounted", fault);
	ok = ok && parse_host(settings, url, host, fault);
	g_free(text);
	return ok;
}
