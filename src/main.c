/* SPDX-License-Identifier: MIT */
/*
 * The program: reads what it is told, asks for the password, and leaves the
 * work to a child that reports one line and a status through a pipe, so that
 * nothing that goes wrong at the start is lost.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount.h"
#include "secret.h"
#include "settings.h"

enum { EXIT_MOUNTED = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What the child tells the parent: a status, then a line (maybe empty). */
struct report {
	int fd;             /* -1: in the foreground */
	bool done;
};

static void
send_report(struct report *report, int status, const char *line)
{
	if (report->done || report->fd < 0)
		return;
	report->done = true;
	dprintf(report->fd, "%c%s", status, line);
	close(report->fd);
}

static void
leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	log_to_syslog();
	if (null < 0)
		return;
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	close(null);
}

static void
on_ready(void *ctx, const char *warning)
{
	struct report *report = ctx;
	if (report->fd < 0) {
		if (warning != NULL)
			log_warn("%s", warning);
		return;
	}
	send_report(report, EXIT_MOUNTED, warning != NULL ? warning : "");
	leave_terminal();
}

static struct mount_config
mount_settings(const struct settings *settings, struct secret *secret, struct report *report)
{
	static const enum conn_tls modes[] = { [SETTINGS_TLS] = CONN_TLS_IMPLICIT,
		                               [SETTINGS_STARTTLS] = CONN_TLS_STARTTLS,
		                               [SETTINGS_CLEARTEXT] = CONN_TLS_OFF };
	static const char *const enable[] = { "QRESYNC", NULL };
	static const enum delete_policy policies[] = { [SETTINGS_TRASH] = DELETE_TRASH,
		                                       [SETTINGS_EXPUNGE] = DELETE_EXPUNGE,
		                                       [SETTINGS_MARK] = DELETE_MARK };
	struct mount_config mount = {
		.source = settings->source, .mountpoint = settings->mountpoint,
		.options = (const char *const *)settings->options->pdata,
		.read_only = settings->read_only, .allow_other = settings->allow_other,
		.sync = settings->sync, .uid = settings->uid, .gid = settings->gid,
		.umask = settings->umask, .ready = on_ready, .ready_ctx = report,
	};
	mount.cache.state_dir = settings_state_dir(settings);
	mount.cache.body_dir = settings_body_dir(settings);
	mount.cache.body_limit = settings->cache_size;
	mount.account = (struct account_config){
		.connections = settings->connections, .refresh_s = settings->refresh_s,
		.timeout_s = settings->timeout_s,
		.delete_policy = policies[settings->delete_policy], .trash = settings->trash,
		.names_by_uid = settings->names_by_uid, .mark_seen = settings->seen,
	};
	mount.account.conn = (struct conn_config){
		.host = settings->host, .port = (uint16_t)settings->port,
		.tls = modes[settings->tls], .cafile = settings->cafile,
		.certfile = settings->certfile, .keyfile = settings->keyfile,
		.user = settings->user, .auth = settings->auth, .timeout_s = settings->timeout_s,
		.without = (const char *const *)settings->without->pdata, .enable = enable,
		.compress = true,
		.trace = settings->debug,
	};
	mount.account.conn.secret.is_token = secret_is_token(secret);
	if (!secret_is_none(secret)) {
		mount.account.conn.secret.get = secret_get;
		mount.account.conn.secret.ctx = secret;
	}
	return mount;
}

static int
serve(const struct settings *settings, struct secret *secret, struct report *report)
{
	struct fault fault = { 0 };
	struct mount_config mount = mount_settings(settings, secret, report);
	bool ok = mount_run(&mount, &fault);
	if (!ok && (report->fd < 0 || report->done))
		log_error("%s", fault.text);
	if (!ok)
		send_report(report, EXIT_FAILED, fault.text);
	char *dirs[2];
	memcpy(&dirs[0], &mount.cache.state_dir, sizeof dirs[0]);
	memcpy(&dirs[1], &mount.cache.body_dir, sizeof dirs[1]);
	g_free(dirs[0]);
	g_free(dirs[1]);
	return ok ? EXIT_MOUNTED : EXIT_FAILED;
}

/* The parent's part: waits for the report, prints its line. */
static int
await_report(int fd)
{
	char text[2048];
	size_t len = 0;
	ssize_t got;
	while (len < sizeof text - 1 && ((got = read(fd, text + len, sizeof text - 1 - len)) > 0 ||
	                                 (got < 0 && errno == EINTR)))
		len += got > 0 ? (size_t)got : 0;
	text[len] = '\0';
	if (len == 0) {
		log_error("the program ended without a word");
		return EXIT_FAILED;
	}
	if (text[0] != EXIT_MOUNTED)
		log_error("%s", text + 1);
	else if (text[1] != '\0')
		log_warn("%s", text + 1);
	return text[0];
}

static int
serve_in_background(const struct settings *settings, struct secret *secret)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0) {
		log_error("pipe: %s", strerror(errno));
		return EXIT_FAILED;
	}
	pid_t pid = fork();
	if (pid < 0) {
		log_error("fork: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (pid > 0) {
		close(fds[1]);
		return await_report(fds[0]);
	}
	close(fds[0]);
	setsid();
	if (chdir("/") != 0)
		log_debug("chdir: %s", strerror(errno));
	struct report report = { .fd = fds[1] };
	return serve(settings, secret, &report);
}

int
main(int argc, char **argv)
{
	struct settings settings;
	struct secret *secret = NULL;
	struct fault fault = { 0 };
	struct report foreground = { .fd = -1 };
	int status = EXIT_USAGE;
	log_init("imapfs");
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	settings_init(&settings);
	if (!settings_parse(&settings, argc, argv, NULL, &fault)) {
		log_error("%s", fault.text);
		fputs("Try: imapfs -h\n", stderr);
	} else if (settings.help) {
		fputs(settings_usage(), stdout);
		status = EXIT_MOUNTED;
	} else if (settings.version) {
		puts(PACKAGE_NAME " " PACKAGE_VERSION);
		status = EXIT_MOUNTED;
	} else if (!secret_new(&settings, &secret, &fault)) {
		log_error("%s", fault.text);
		status = EXIT_FAILED;
	} else {
		log_set_debug(settings.debug);
		/* No core file, no ptrace: the password is in here. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		status = settings.foreground ? serve(&settings, secret, &foreground)
		                             : serve_in_background(&settings, secret);
	}
	secret_free(&secret);
	settings_release(&settings);
	return status;
}
