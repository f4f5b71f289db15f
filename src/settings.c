/* SPDX-License-Identifier: MIT */
/*
 * The command line and the configuration file: see settings.h. Both give options by name; a table
 * says what each one sets and how its value is read. The URL is read in settings-url.c.
 */
#include "config.h"

#include "settings.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_opt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imap/caps.h"

/* One row an option of our own: its name, what it sets, how its value is read. */
enum kind { KIND_TEXT, KIND_PATH, KIND_NUMBER, KIND_SIZE, KIND_FLAG, KIND_CHOICE, KIND_WITHOUT,
	    KIND_OCTAL, KIND_URL };

static const struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	unsigned min, max;     /* NUMBER */
	const char *choices;   /* CHOICE: "a|b|c", the place is the value */
} table[] = {
	{ "url", KIND_URL, offsetof(struct settings, url), 0, 0, NULL },
	{ "user", KIND_TEXT, offsetof(struct settings, user), 0, 0, NULL },
	{ "passcmd", KIND_TEXT, offsetof(struct settings, passcmd), 0, 0, NULL },
	{ "passfile", KIND_PATH, offsetof(struct settings, passfile), 0, 0, NULL },
	{ "tokencmd", KIND_TEXT, offsetof(struct settings, tokencmd), 0, 0, NULL },
	{ "auth", KIND_TEXT, offsetof(struct settings, auth), 0, 0, NULL },
	{ "cafile", KIND_PATH, offsetof(struct settings, cafile), 0, 0, NULL },
	{ "certfile", KIND_PATH, offsetof(struct settings, certfile), 0, 0, NULL },
	{ "keyfile", KIND_PATH, offsetof(struct settings, keyfile), 0, 0, NULL },
	{ "tls", KIND_CHOICE, offsetof(struct settings, tls), 0, 0, "off" },
	{ "delete", KIND_CHOICE, offsetof(struct settings, delete_policy), 0, 0,
	  "trash|expunge|mark" },
	{ "trash", KIND_TEXT, offsetof(struct settings, trash), 0, 0, NULL },
	{ "names", KIND_CHOICE, offsetof(struct settings, names_by_uid), 0, 0, "subject|uid" },
	{ "cache", KIND_PATH, offsetof(struct settings, cache_dir), 0, 0, NULL },
	{ "cache_size", KIND_SIZE, offsetof(struct settings, cache_size), 0, 0, NULL },
	{ "refresh", KIND_NUMBER, offsetof(struct settings, refresh_s), 1, 86400, NULL },
	{ "timeout", KIND_NUMBER, offsetof(struct settings, timeout_s), 1, 3600, NULL },
	{ "connections", KIND_NUMBER, offsetof(struct settings, connections), 1, 32, NULL },
	{ "without", KIND_WITHOUT, 0, 0, 0, NULL },
	{ "seen", KIND_FLAG, offsetof(struct settings, seen), 0, 0, NULL },
	{ "ro", KIND_FLAG, offsetof(struct settings, read_only), 0, 0, NULL },
	{ "allow_other", KIND_FLAG, offsetof(struct settings, allow_other), 0, 0, NULL },
	{ "sync", KIND_FLAG, offsetof(struct settings, sync), 0, 0, NULL },
	{ "debug", KIND_FLAG, offsetof(struct settings, debug), 0, 0, NULL },
	{ "uid", KIND_NUMBER, offsetof(struct settings, uid), 0, UINT_MAX, NULL },
	{ "gid", KIND_NUMBER, offsetof(struct settings, gid), 0, UINT_MAX, NULL },
	{ "umask", KIND_OCTAL, offsetof(struct settings, umask), 0, 0, NULL },
};

/* What mount(8), fstab and systemd say to others. */
static const char *const ignored[] = { "rw", "user", "users", "nouser", "owner", "auto", "noauto",
	                               "_netdev", "nofail", "defaults", "async",
	                               "default_permissions" };

const char *
settings_usage(void)
{
	return "usage: imapfs [options] SOURCE MOUNTPOINT\n"
	       "\n"
	       "SOURCE is imaps://[user@]host[:port], imap://[user@]host[:port] (STARTTLS),\n"
	       "or a section of ~/.config/imapfs/config.\n"
	       "\n"
	       "    -o user=NAME             who logs in\n"
	       "    -o passcmd=COMMAND       prints the password\n"
	       "    -o passfile=FILE         holds the password; readable by you alone\n"
	       "    -o tokencmd=COMMAND      prints an OAuth 2.0 access token\n"
	       "    -o auth=MECHANISM        the mechanism to log in with\n"
	       "    -o cafile=FILE           certificates of authorities to trust\n"
	       "    -o certfile=FILE,keyfile=FILE    a certificate of one's own\n"
	       "    -o tls=off               no encryption, to this machine only\n"
	       "    -o delete=trash|expunge|mark     what rm does (trash)\n"
	       "    -o trash=NAME            the mailbox for the trash\n"
	       "    -o names=subject|uid     names of messages (subject)\n"
	       "    -o cache=DIR             where the index and the messages are kept\n"
	       "    -o cache_size=SIZE       of the messages (2G)\n"
	       "    -o refresh=SECONDS       how old a listing may be (10)\n"
	       "    -o timeout=SECONDS       without an answer, until an error (30)\n"
	       "    -o connections=N         to the server, at most (4)\n"
	       "    -o without=CAP[,CAP]     capabilities of the server to leave unused\n"
	       "    -o seen                  reading marks a message as read\n"
	       "    -o sync                  rm waits for the server\n"
	       "    -o ro, allow_other, uid=N, gid=N, umask=M, and the common mount options\n"
	       "    -f                       stay in the foreground\n"
	       "    -d                       the same, and trace what is said to the server\n"
	       "    -h, -V                   this help; the version\n"
	       "\n"
	       "Unmount with: fusermount3 -u MOUNTPOINT\n";
}

void
settings_init(struct settings *settings)
{
	*settings = (struct settings){
		.cache_size = UINT64_C(2) << 30, .refresh_s = 10, .timeout_s = 30,
		.connections = 4, .uid = geteuid(), .gid = getegid(), .umask = 077,
		.without = g_ptr_array_new_with_free_func(g_free),
		.options = g_ptr_array_new_with_free_func(g_free),
	};
}

void
settings_release(struct settings *settings)
{
	char *strings[] = { settings->source, settings->section, settings->mountpoint,
		            settings->url, settings->host, settings->user, settings->auth,
		            settings->passcmd, settings->passfile, settings->tokencmd,
		            settings->cafile, settings->certfile, settings->keyfile,
		            settings->trash, settings->cache_dir };
	for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
		g_free(strings[i]);
	g_ptr_array_free(settings->without, TRUE);
	g_ptr_array_free(settings->options, TRUE);
}

/* --- values ------------------------------------------------------------------------------- */

bool
settings_parse_size(const char *text, uint64_t *octets_r)
{
	static const char units[] = "KMGT";
	char *end;
	if (!g_ascii_isdigit(*text))
		return false;
	errno = 0;
	guint64 number = g_ascii_strtoull(text, &end, 10);
	const char *unit = *end != '\0' ? strchr(units, g_ascii_toupper(*end)) : NULL;
	if (errno != 0 || (*end != '\0' && (unit == NULL || end[1] != '\0')))
		return false;
	for (; unit != NULL && unit >= units; unit--) {
		if (number > UINT64_MAX / 1024)
			return false;
		number *= 1024;
	}
	*octets_r = number;
	return true;
}

static bool
parse_number(const char *text, const struct option *option, unsigned *number_r)
{
	char *end;
	if (!g_ascii_isdigit(*text))
		return false;
	guint64 number = g_ascii_strtoull(text, &end, option->kind == KIND_OCTAL ? 8 : 10);
	if (*end != '\0' || number > (option->kind == KIND_OCTAL ? 0777 : option->max) ||
	    number < option->min)
		return false;
	*number_r = (unsigned)number;
	return true;
}

/* NULL: the option alone, as on the command line. */
static bool
parse_flag(const char *text, bool *flag_r)
{
	static const char *const words[][2] = { { "no", "yes" }, { "false", "true" },
		                                { "off", "on" }, { "0", "1" } };
	if (text == NULL) {
		*flag_r = true;
		return true;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		for (int flag = 0; flag < 2; flag++)
			if (g_ascii_strcasecmp(text, words[i][flag]) == 0) {
				*flag_r = flag == 1;
				return true;
			}
	return false;
}

static bool
parse_choice(const char *text, const char *choices, int *choice_r)
{
	char **words = g_strsplit(choices, "|", -1);
	int choice = -1;
	for (int i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], text) == 0)
			choice = i;
	g_strfreev(words);
	if (choice >= 0)
		*choice_r = choice;
	return choice >= 0;
}

static void
set_text(char **field, const char *text)
{
	g_free(*field);
	*field = g_strdup(text);
}

/* "~/x" and relative paths: the program changes its directory later. */
static void
set_path(char **field, const char *text)
{
	g_free(*field);
	if (text[0] == '~' && text[1] == '/')
		*field = g_build_filename(g_get_home_dir(), text + 2, NULL);
	else
		*field = g_canonicalize_filename(text, NULL);
}

static bool
is_capability(const char *word)
{
	struct imap_caps caps = { 0 };
	/* X-GUID is never announced. */
	return imap_caps_remove(&caps, word) || g_ascii_strcasecmp(word, "X-GUID") == 0;
}

static bool
add_without(struct settings *settings, const char *text, struct fault *fault)
{
	char **words = g_strsplit_set(text, ": ,", -1);
	bool ok = true;
	for (int i = 0; ok && words[i] != NULL; i++) {
		if (words[i][0] == '\0')
			continue;
		if (!is_capability(words[i]))
			ok = fault_set(fault, FAULT_INVALID,
			               "without=%s: no capability of that name is in use",
			               words[i]);
		else
			g_ptr_array_add(settings->without, g_strdup(words[i]));
	}
	g_strfreev(words);
	return ok;
}

static bool
bad_value(const char *name, const char *value, const char *wanted, struct fault *fault)
{
	return fault_set(fault, FAULT_INVALID, "%s=%s: %s", name, value, wanted);
}

static bool
set_option(struct settings *settings, const struct option *option, const char *value,
           struct fault *fault)
{
	void *field = (char *)settings + option->offset;
	unsigned number;
	int choice;
	switch (option->kind) {
	case KIND_URL:
		set_text(field, value);
		return settings_parse_url(settings, value, fault);
	case KIND_TEXT:
		set_text(field, value);
		return true;
	case KIND_PATH:
		set_path(field, value);
		return true;
	case KIND_FLAG:
		return parse_flag(value, field) ||
		       bad_value(option->name, value, "yes or no is wanted", fault);
	case KIND_SIZE:
		return settings_parse_size(value, field) ||
		       bad_value(option->name, value, "a size such as 500M or 2G is wanted", fault);
	case KIND_NUMBER:
	case KIND_OCTAL:
		if (!parse_number(value, option, &number)) {
			char wanted[80];
			snprintf(wanted, sizeof wanted, option->kind == KIND_OCTAL
			         ? "an octal number up to 777 is wanted"
			         : "a number from %u to %u is wanted", option->min, option->max);
			return bad_value(option->name, value, wanted, fault);
		}
		*(unsigned *)field = number;
		return true;
	case KIND_CHOICE:
		if (!parse_choice(value, option->choices, &choice)) {
			char wanted[80];
			snprintf(wanted, sizeof wanted, "%s is wanted", option->choices);
			return bad_value(option->name, value, wanted, fault);
		}
		if (option->offset == offsetof(struct settings, names_by_uid))
			*(bool *)field = choice == 1;
		else if (option->offset == offsetof(struct settings, tls))
			settings->tls = SETTINGS_CLEARTEXT;
		else
			*(int *)field = choice;
		return true;
	case KIND_WITHOUT:
		return add_without(settings, value, fault);
	}
	return false;
}

static const struct option *
find_option(const char *name, size_t len)
{
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

/* --- the configuration file --------------------------------------------------------------- */

static char *
default_config_file(void)
{
	return g_build_filename(g_get_user_config_dir(), "imapfs", "config", NULL);
}

static bool
read_section(struct settings *settings, GKeyFile *file, const char *path, struct fault *fault)
{
	char **keys = g_key_file_get_keys(file, settings->section, NULL, NULL);
	bool ok = true;
	for (int i = 0; ok && keys != NULL && keys[i] != NULL; i++) {
		const struct option *option = find_option(keys[i], strlen(keys[i]));
		char *value = g_key_file_get_string(file, settings->section, keys[i], NULL);
		if (option == NULL)
			ok = fault_set(fault, FAULT_INVALID, "%s, section [%s]: unknown option %s",
			               path, settings->section, keys[i]);
		else if (value == NULL)
			ok = fault_set(fault, FAULT_INVALID, "%s, section [%s]: the value of %s "
			               "can't be read", path, settings->section, keys[i]);
		else if (!set_option(settings, option, value, fault))
			ok = fault_prefix(fault, "%s, section [%s]", path, settings->section);
		g_free(value);
	}
	g_strfreev(keys);
	if (ok && settings->host == NULL)
		ok = fault_set(fault, FAULT_INVALID, "%s, section [%s]: there is no url=", path,
		               settings->section);
	return ok;
}

static bool
load_section(struct settings *settings, const char *config_file, struct fault *fault)
{
	char *path = config_file != NULL ? g_strdup(config_file) : default_config_file();
	GKeyFile *file = g_key_file_new();
	GError *error = NULL;
	bool ok = g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error);
	if (!ok && g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		fault_set(fault, FAULT_INVALID, "\"%s\" is neither a URL (imaps://user@host) nor a "
		          "section of %s, which does not exist", settings->section, path);
	else if (!ok)
		fault_set(fault, FAULT_INVALID, "%s: %s", path, error->message);
	else if (!g_key_file_has_group(file, settings->section))
		ok = fault_set(fault, FAULT_INVALID, "\"%s\" is neither a URL (imaps://user@host) "
		               "nor a section of %s", settings->section, path);
	else
		ok = read_section(settings, file, path, fault);
	g_clear_error(&error);
	g_key_file_free(file);
	g_free(path);
	return ok;
}

/* --- the command line --------------------------------------------------------------------- */

struct parse {
	struct settings *settings;
	GPtrArray *given;   /* "name=value" of -o, in order, applied after the file */
	struct fault *fault;
	bool bad;
};

static bool
is_ignored(const char *option)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ignored); i++)
		if (strcmp(ignored[i], option) == 0)
			return true;
	return g_str_has_prefix(option, "x-") || g_str_has_prefix(option, "comment=");
}

static bool
apply_given(struct settings *settings, const char *given, struct fault *fault)
{
	const char *equals = strchr(given, '=');
	size_t len = equals != NULL ? (size_t)(equals - given) : strlen(given);
	const struct option *option = find_option(given, len);
	/* without=MOVE,IDLE: a comma parts options, and here the members of one. */
	if (option == NULL && settings->without->len > 0 && is_capability(given))
		return add_without(settings, given, fault);
	if (option == NULL) {
		g_ptr_array_add(settings->options, g_strdup(given));
		return true;
	}
	if ((option->kind == KIND_FLAG) != (equals == NULL))
		return fault_set(fault, FAULT_INVALID, equals == NULL ? "-o %s needs a value"
		                                                       : "-o %s takes no value",
		                 option->name);
	return set_option(settings, option, equals != NULL ? equals + 1 : NULL, fault);
}

static int
take_operand(struct parse *parse, const char *arg)
{
	struct settings *settings = parse->settings;
	if (settings->source == NULL) {
		settings->source = g_strdup(arg);
	} else if (settings->mountpoint == NULL) {
		settings->mountpoint = g_canonicalize_filename(arg, NULL);
	} else {
		parse->bad = true;
		fault_set(parse->fault, FAULT_INVALID, "one thing too many: %s", arg);
		return -1;
	}
	return 0;
}

static int
take_arg(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct parse *parse = data;
	(void)out;
	if (key == FUSE_OPT_KEY_NONOPT)
		return take_operand(parse, arg);
	if (arg[0] != '-') {
		if (!is_ignored(arg))
			g_ptr_array_add(parse->given, g_strdup(arg));
		return 0;
	}
	for (const char *c = arg + 1; *c != '\0'; c++) {
		if (*c == 'f')
			parse->settings->foreground = true;
		else if (*c == 'd')
			parse->settings->foreground = parse->settings->debug = true;
		else if (*c == 'h' || strcmp(arg, "--help") == 0)
			parse->settings->help = true;
		else if (*c == 'V' || strcmp(arg, "--version") == 0)
			parse->settings->version = true;
		else if (strchr("nvsw", *c) == NULL) { /* of mount(8) */
			parse->bad = true;
			fault_set(parse->fault, FAULT_INVALID, "unknown option %s", arg);
			return -1;
		}
		if (arg[1] == '-')
			break;
	}
	return 0;
}

static bool
check(struct settings *settings, struct fault *fault)
{
	int secrets = (settings->passcmd != NULL) + (settings->passfile != NULL) +
	              (settings->tokencmd != NULL);
	bool loopback = strcmp(settings->host, "localhost") == 0 ||
	                g_str_has_prefix(settings->host, "127.") ||
	                strcmp(settings->host, "::1") == 0;
	if (settings->mountpoint == NULL)
		return fault_set(fault, FAULT_INVALID, "the mount point is missing");
	if (settings->tls == SETTINGS_CLEARTEXT && !loopback)
		return fault_set(fault, FAULT_INVALID, "tls=off is for this machine only "
		                 "(127.0.0.1, ::1, localhost), not for %s", settings->host);
	if (secrets > 1)
		return fault_set(fault, FAULT_INVALID, "one of passcmd, passfile and tokencmd is "
		                 "enough");
	if (settings->keyfile != NULL && settings->certfile == NULL)
		return fault_set(fault, FAULT_INVALID, "keyfile needs a certfile");
	if (settings->user == NULL)
		settings->user = g_strdup(g_get_user_name());
	return true;
}

bool
settings_parse(struct settings *settings, int argc, char **argv, const char *config_file,
               struct fault *fault)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct parse parse = { settings, g_ptr_array_new_with_free_func(g_free), fault, false };
	const struct fuse_opt none[] = { FUSE_OPT_END };
	bool ok = fuse_opt_parse(&args, &parse, none, take_arg) == 0;
	fuse_opt_free_args(&args);
	if (!ok && !parse.bad)
		fault_set(fault, FAULT_INVALID, "the command line can't be read");
	if (ok && (settings->help || settings->version)) {
		g_ptr_array_free(parse.given, TRUE);
		return true;
	}
	if (ok && settings->source == NULL)
		ok = fault_set(fault, FAULT_INVALID, "SOURCE and MOUNTPOINT are missing");
	if (ok && strstr(settings->source, "://") != NULL) {
		/* Which of the two is clear text must be known before the URL is. */
		for (guint i = 0; i < parse.given->len; i++)
			if (strcmp(g_ptr_array_index(parse.given, i), "tls=off") == 0)
				settings->tls = SETTINGS_CLEARTEXT;
		ok = settings_parse_url(settings, settings->source, fault);
	} else if (ok) {
		set_text(&settings->section, settings->source);
		ok = load_section(settings, config_file, fault);
	}
	for (guint i = 0; ok && i < parse.given->len; i++)
		ok = apply_given(settings, g_ptr_array_index(parse.given, i), fault);
	g_ptr_array_free(parse.given, TRUE);
	if (ok)
		ok = check(settings, fault);
	g_ptr_array_add(settings->without, NULL);
	g_ptr_array_add(settings->options, NULL);
	return ok;
}

/* --- places ------------------------------------------------------------------------------- */

/* "user@host_port" as one component; what is escaped keeps two accounts apart. */
static char *
account_dir(const struct settings *settings)
{
	char *plain = g_strdup_printf("%s@%s_%u", settings->user, settings->host, settings->port);
	char *name = g_uri_escape_string(plain, "@+", FALSE);
	if (name[0] == '.') {
		char *visible = g_strconcat("%2E", name + 1, NULL);
		g_free(name);
		name = visible;
	}
	g_free(plain);
	return name;
}

static char *
place(const struct settings *settings, const char *below, const char *user_dir,
      const char *system_dir)
{
	char *account = account_dir(settings), *dir;
	if (settings->cache_dir != NULL)
		dir = g_build_filename(settings->cache_dir, account, below, NULL);
	else if (g_getenv("HOME") == NULL)
		dir = g_build_filename(system_dir, account, NULL);
	else
		dir = g_build_filename(user_dir, "imapfs", account, NULL);
	g_free(account);
	return dir;
}

char *
settings_state_dir(const struct settings *settings)
{
	return place(settings, "state", g_get_user_state_dir(), "/var/lib/imapfs");
}

char *
settings_body_dir(const struct settings *settings)
{
	return place(settings, "bodies", g_get_user_cache_dir(), "/var/cache/imapfs");
}
