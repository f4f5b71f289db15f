/* SPDX-License-Identifier: MIT */
/* Tests of the command line, the configuration file and the sources of secrets. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "secret.h"
#include "settings.h"

static char *dir;

static int
make_dir(void **state)
{
	(void)state;
	dir = g_dir_make_tmp("imapfs-settings-XXXXXX", NULL);
	return dir == NULL;
}

static int
remove_dir(void **state)
{
	(void)state;
	char *argv[] = { (char[]){ "rm" }, (char[]){ "-rf" }, dir, NULL };
	g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
	g_free(dir);
	return 0;
}

static char *
write_file(const char *name, const char *text, int mode)
{
	char *path = g_build_filename(dir, name, NULL);
	assert_true(g_file_set_contents(path, text, -1, NULL));
	assert_int_equal(g_chmod(path, mode), 0);
	return path;
}

/* Parses words separated by blanks. */
static bool
parse(struct settings *settings, const char *line, const char *file, struct fault *fault)
{
	char **words = g_strsplit(line, " ", -1);
	settings_init(settings);
	bool ok = settings_parse(settings, (int)g_strv_length(words), words, file, fault);
	g_strfreev(words);
	return ok;
}

static void
test_urls(void **state)
{
	(void)state;
	static const struct {
		const char *url, *host, *user;
		unsigned port;
		enum settings_tls tls;
	} good[] = {
		{ "imaps://alice@mail.example.org", "mail.example.org", "alice", 993, SETTINGS_TLS },
		{ "imap://mail.example.org:1143/", "mail.example.org", NULL, 1143, SETTINGS_STARTTLS },
		{ "imaps://a%40b.c@h", "h", "a@b.c", 993, SETTINGS_TLS },
		{ "imaps://a@b.c@h:1", "h", "a@b.c", 1, SETTINGS_TLS },
		{ "imaps://u@[::1]:993", "::1", "u", 993, SETTINGS_TLS },
		{ "imaps://[fe80::1]", "fe80::1", NULL, 993, SETTINGS_TLS },
	};
	static const char *const bad[] = { "http://x", "imaps://", "imaps://u@", "imaps://h:0",
		                           "imaps://h:65536", "imaps://h:x", "imaps://h/INBOX",
		                           "imaps://u:secret@h", "http://u:secret@h",
		                           "imaps://u:secret@h/x", "imaps://[::1", "imaps://[::1]x",
		                           "imaps://%zz@h", "imaps://@h", "" };
	for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
		struct settings settings;
		settings_init(&settings);
		assert_true(settings_parse_url(&settings, good[i].url, NULL));
		assert_string_equal(settings.host, good[i].host);
		assert_int_equal(settings.port, good[i].port);
		assert_int_equal(settings.tls, good[i].tls);
		if (good[i].user != NULL)
			assert_string_equal(settings.user, good[i].user);
		else
			assert_null(settings.user);
		settings_release(&settings);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct settings settings;
		struct fault fault = { 0 };
		settings_init(&settings);
		assert_false(settings_parse_url(&settings, bad[i], &fault));
		assert_int_equal(fault.kind, FAULT_INVALID);
		assert_null(strstr(fault.text, "secret"));
		settings_release(&settings);
	}
}

/* Random words of a URL's characters: taken apart or refused, and no password is repeated. */
static void
test_random_urls(void **state)
{
	(void)state;
	static const char *const words[] = { "imaps://", "imap://", "a", "@", ":", "/", "%40", "%0",
		                             "%00", "[", "]", "::1", "993", "0", ".", "?", "\xff" };
	GRand *random = g_rand_new_with_seed(1);
	for (int i = 0; i < 20000; i++) {
		struct settings settings;
		struct fault fault = { 0 };
		GString *url = g_string_new(words[g_rand_int_range(random, 0, 2)]);
		for (int n = g_rand_int_range(random, 0, 9); n > 0; n--)
			g_string_append(url, words[g_rand_int_range(random, 2, G_N_ELEMENTS(words))]);
		settings_init(&settings);
		if (settings_parse_url(&settings, url->str, &fault)) {
			assert_true(settings.host[0] != '\0');
			assert_null(strpbrk(settings.host, "/@%?"));
			assert_in_range(settings.port, 1, 65535);
			assert_true(settings.user == NULL || settings.user[0] != '\0');
		} else {
			assert_int_equal(fault.kind, FAULT_INVALID);
		}
		settings_release(&settings);
		g_string_free(url, TRUE);
	}
	g_rand_free(random);
}

/* Two accounts never share a cache; none is hidden or leaves its place. */
static void
test_places(void **state)
{
	(void)state;
	static const char *const users[] = { "a-b", "a/b", "a%2Fb", "a:b", "\xc3\xa4", "\xc3\xb6", ".",
		                             "..", "-" };
	GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
		struct settings settings;
		settings_init(&settings);
		settings.user = g_strdup(users[i]);
		settings.host = g_strdup("::1");
		settings.cache_dir = g_strdup("/c");
		settings.port = 993;
		char *place = settings_state_dir(&settings);
		char **parts = g_strsplit(place, "/", -1);
		assert_int_equal(g_strv_length(parts), 4);
		assert_true(parts[2][0] != '.');
		assert_true(g_hash_table_add(seen, place));
		g_strfreev(parts);
		settings_release(&settings);
	}
	g_hash_table_destroy(seen);
}

static void
test_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t octets;
	} good[] = { { "0", 0 }, { "17", 17 }, { "1k", 1024 }, { "500M", 500u << 20 },
		     { "2G", UINT64_C(2) << 30 }, { "3T", UINT64_C(3) << 40 } };
	static const char *const bad[] = { "", "G", "-1", "1x", "1GB", "99999999999999999999",
		                           "18446744073709551615K" };
	uint64_t octets;
	for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
		assert_true(settings_parse_size(good[i].text, &octets));
		assert_int_equal(octets, good[i].octets);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_false(settings_parse_size(bad[i], &octets));
}

static void
test_command_line(void **state)
{
	(void)state;
	struct settings settings;
	struct fault fault;
	assert_true(parse(&settings, "imapfs -f imaps://a@h /tmp/m -o "
	                             "delete=expunge,names=uid,refresh=5,without=MOVE:QRESYNC,IDLE,ro,"
	                             "noatime,_netdev,x-systemd.automount,cache_size=1G -o seen",
	                  NULL, &fault));
	assert_true(settings.foreground && settings.read_only && settings.seen);
	assert_true(settings.names_by_uid);
	assert_int_equal(settings.delete_policy, SETTINGS_EXPUNGE);
	assert_int_equal(settings.refresh_s, 5);
	assert_int_equal(settings.without->len, 4);
	assert_string_equal(g_ptr_array_index(settings.without, 1), "QRESYNC");
	assert_string_equal(g_ptr_array_index(settings.without, 2), "IDLE");
	assert_int_equal(settings.options->len, 2);
	assert_string_equal(g_ptr_array_index(settings.options, 0), "noatime");
	assert_string_equal(settings.mountpoint, "/tmp/m");
	settings_release(&settings);
	static const char *const bad[] = {
		"imapfs", "imapfs imaps://a@h", "imapfs imaps://a@h /m /n", "imapfs -Q imaps://a@h /m",
		"imapfs imaps://a@h /m -o delete=never", "imapfs imaps://a@h /m -o refresh=0",
		"imapfs imaps://a@h /m -o refresh", "imapfs imaps://a@h /m -o ro=1",
		"imapfs imap://a@h /m -o tls=off", "imapfs imaps://a@h /m -o without=NONSENSE",
		"imapfs imaps://a@h /m -o passcmd=x,passfile=y", "imapfs imaps://a@h /m -o keyfile=x",
		"imapfs imaps://a@h /m -o umask=9", "imapfs imaps://a@h /m -o cache_size=lots",
		"imapfs imaps://a@h /m -o tls=on",
	};
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		assert_false(parse(&settings, bad[i], NULL, &fault));
		assert_int_equal(fault.kind, FAULT_INVALID);
		assert_true(fault.text[0] != '\0');
		settings_release(&settings);
	}
	assert_true(parse(&settings, "imapfs imap://a@127.0.0.1:99 /m -o tls=off", NULL, &fault));
	assert_int_equal(settings.tls, SETTINGS_CLEARTEXT);
	settings_release(&settings);
}

static void
test_configuration_file(void **state)
{
	(void)state;
	struct settings settings;
	struct fault fault;
	char *file = write_file("config", "[work]\nurl=imaps://bob@mail.example.org\n"
	                                  "passcmd=pass show mail\ndelete=mark\nseen=yes\n"
	                                  "[off]\nurl=imaps://h\nseen=false\nro=No\nsync=0\n"
	                                  "[flag]\nurl=imaps://h\nseen=never\n"
	                                  "[typo]\nurl=imaps://h\nrefesh=3\n[none]\nuser=x\n", 0600);
	assert_true(parse(&settings, "imapfs work /m -o delete=expunge", file, &fault));
	assert_string_equal(settings.user, "bob");
	assert_string_equal(settings.passcmd, "pass show mail");
	assert_true(settings.seen);
	assert_int_equal(settings.delete_policy, SETTINGS_EXPUNGE);
	settings_release(&settings);
	assert_true(parse(&settings, "imapfs off /m", file, &fault));
	assert_false(settings.seen || settings.read_only || settings.sync);
	settings_release(&settings);
	static const struct {
		const char *section, *says;
	} bad[] = { { "typo", "refesh" }, { "none", "url" }, { "absent", "neither" },
		    { "flag", "yes or no" } };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		char *line = g_strdup_printf("imapfs %s /m", bad[i].section);
		assert_false(parse(&settings, line, file, &fault));
		assert_non_null(strstr(fault.text, bad[i].says));
		settings_release(&settings);
		g_free(line);
	}
	assert_false(parse(&settings, "imapfs work /m", "/nonexistent/config", &fault));
	settings_release(&settings);
	g_free(file);
}

/* What the secret of these options is, or why there is none. */
static char *
secret_of(const char *option, struct fault *fault)
{
	struct settings settings;
	struct secret *secret = NULL;
	char *argv[] = { (char[]){ "imapfs" }, (char[]){ "imaps://a@h" }, (char[]){ "/m" },
		         (char[]){ "-o" }, g_strdup(option), NULL };
	settings_init(&settings);
	assert_true(settings_parse(&settings, 5, argv, NULL, fault));
	GString *text = g_string_new(NULL);
	bool ok = secret_new(&settings, &secret, fault) && secret_get(secret, false, text, fault);
	secret_free(&secret);
	settings_release(&settings);
	g_free(argv[4]);
	return g_string_free(text, !ok);
}

static void
test_secrets(void **state)
{
	(void)state;
	struct fault fault;
	char *good = write_file("good", "s3cret\r\nsecond line\n", 0600);
	char *open_ = write_file("open", "s3cret\n", 0644);
	char *empty = write_file("empty", "\n", 0600);
	const struct {
		char *option;
		const char *secret, *says;
	} table[] = {
		{ g_strconcat("passfile=", good, NULL), "s3cret", NULL },
		{ g_strconcat("passfile=", open_, NULL), NULL, "chmod 600" },
		{ g_strconcat("passfile=", empty, NULL), NULL, "empty" },
		{ g_strconcat("passfile=", dir, NULL), NULL, "ordinary" },
		{ g_strdup("passfile=/nonexistent"), NULL, "No such file" },
		{ g_strdup("passcmd=printf 'a b'"), "a b", NULL },
		{ g_strdup("tokencmd=echo ya29.x"), "ya29.x", NULL },
		{ g_strdup("passcmd=echo x; exit 3"), NULL, "status 3" },
		{ g_strdup("passcmd=true"), NULL, "nothing" },
		{ g_strdup("passcmd=/nonexistent/x 2>/dev/null"), NULL, "status 127" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		char *secret = secret_of(table[i].option, &fault);
		if (table[i].secret != NULL) {
			assert_non_null(secret);
			assert_string_equal(secret, table[i].secret);
		} else {
			assert_null(secret);
			assert_int_equal(fault.kind, FAULT_AUTH);
			assert_non_null(strstr(fault.text, table[i].says));
		}
		g_free(secret);
		g_free(table[i].option);
	}
	g_free(good);
	g_free(open_);
	g_free(empty);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_random_urls),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_configuration_file),
		cmocka_unit_test(test_secrets),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
