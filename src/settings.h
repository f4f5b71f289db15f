/* SPDX-License-Identifier: MIT */
/*
 * What the user asked for: the command line, and a section of the configuration
 * file. (The file is not called config.h, which the build generates.)
 *
 *     imapfs [options] SOURCE MOUNTPOINT
 *     SOURCE: imaps://[user@]host[:port] | imap://[user@]host[:port] | a section
 *
 * A section of the file sets the options of the same names; the command line
 * has the last word.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fault.h"

enum settings_tls { SETTINGS_TLS, SETTINGS_STARTTLS, SETTINGS_CLEARTEXT };
enum settings_delete { SETTINGS_TRASH, SETTINGS_EXPUNGE, SETTINGS_MARK };

/* Strings are owned by the settings. NULL: not given. */
struct settings {
	char *source;        /* as given, for /proc/mounts */
	char *section;       /* of the configuration file, if SOURCE is one */
	char *mountpoint;    /* absolute */
	char *url;
	char *host, *user;
	unsigned port;
	enum settings_tls tls;
	char *auth, *passcmd, *passfile, *tokencmd;
	char *cafile, *certfile, *keyfile;
	GPtrArray *without;  /* names of capabilities, NULL at the end */
	enum settings_delete delete_policy;
	char *trash;
	bool names_by_uid;
	char *cache_dir;     /* -o cache=; NULL: the usual places */
	uint64_t cache_size; /* octets */
	unsigned refresh_s, timeout_s, connections;
	bool seen, read_only, allow_other, sync;
	bool foreground, debug, help, version;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	GPtrArray *options;  /* further mount options, NULL at the end */
};

/* The defaults. */
void settings_init(struct settings *settings);
/* Frees what they own. */
void settings_release(struct settings *settings);

/* Reads the command line, and the file if SOURCE is a section. False: one line that says what is
 * wrong (usage: exit status 2 for the kind FAULT_INVALID). config_file: NULL for the usual one. */
bool settings_parse(struct settings *settings, int argc, char **argv, const char *config_file,
                    struct fault *fault);

/* Takes a URL apart into host, port, user (unless that is set) and tls. FAULT_INVALID. */
bool settings_parse_url(struct settings *settings, const char *url, struct fault *fault);
/* "2G", "500M", "1048576": K, M, G, T are powers of 1024. */
bool settings_parse_size(const char *text, uint64_t *octets_r);

/* Where the index and the bodies go. Free with g_free(). */
char *settings_state_dir(const struct settings *settings);
char *settings_body_dir(const struct settings *settings);

/* What -h prints. Static. */
const char *settings_usage(void);

#endif
