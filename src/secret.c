/* SPDX-License-Identifier: MIT */
/* Passwords and tokens: see secret.h. */
#include "config.h"

#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"

#define SECRET_MAX      65536u
#define COMMAND_TIME_NS (120 * CLOCK_SEC)

enum origin { FROM_NOTHING, FROM_COMMAND, FROM_FILE, FROM_TERMINAL };

struct secret {
	enum origin origin;
	const char *command; /* of the settings */
	char *path;
	bool is_token, strict;
	GMutex lock;         /* one command at a time: it may ask its user */
	char kept[1024];     /* from the terminal */
};

/* --- files -------------------------------------------------------------------------------- */

/* Without the line's end, and whatever stands behind it. */
static void
append_line(const char *text, size_t len, GString *out)
{
	const char *end = memchr(text, '\n', len);
	if (end != NULL)
		len = (size_t)(end - text);
	if (len > 0 && text[len - 1] == '\r')
		len--;
	g_string_append_len(out, text, (gssize)len);
}

static bool
read_fd(int fd, int64_t deadline_ns, char *text, size_t size, size_t *len_r)
{
	*len_r = 0;
	while (*len_r < size) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int ready = poll(&poll_fd, 1, clock_poll_ms(deadline_ns));
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return false;
		ssize_t got = read(fd, text + *len_r, size - *len_r);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0)
			return true;
		*len_r += (size_t)got;
	}
	return true;
}

static bool
read_secret_file(const struct secret *secret, GString *out, struct fault *fault)
{
	struct stat stat;
	char text[4096];
	size_t len = 0;
	int fd = open(secret->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fault_set(fault, FAULT_AUTH, "the password can't be read from %s: %s",
		                 secret->path, strerror(errno));
	bool ok = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
	if (!ok)
		fault_set(fault, FAULT_AUTH, "%s is no ordinary file", secret->path);
	else if (secret->strict && (stat.st_mode & 077) != 0)
		ok = fault_set(fault, FAULT_AUTH, "%s can be read by others; first run: chmod 600 "
		               "%s", secret->path, secret->path);
	if (ok && !read_fd(fd, clock_boot_ns() + 10 * CLOCK_SEC, text, sizeof text, &len))
		ok = fault_set(fault, FAULT_AUTH, "the password can't be read from %s",
		               secret->path);
	close(fd);
	if (ok)
		append_line(text, len, out);
	explicit_bzero(text, sizeof text);
	if (ok && out->len == 0)
		ok = fault_set(fault, FAULT_AUTH, "%s is empty", secret->path);
	return ok;
}

/* --- commands ----------------------------------------------------------------------------- */

static pid_t
start_command(const char *command, int *fd_r)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setpgid(0, 0);
		dup2(fds[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	if (pid < 0)
		close(fds[0]);
	*fd_r = fds[0];
	return pid;
}

static bool
run_command(const struct secret *secret, GString *out, struct fault *fault)
{
	const char *what = secret->is_token ? "tokencmd" : "passcmd";
	char *text = g_malloc(SECRET_MAX);
	size_t len;
	int fd, status = 0;
	pid_t pid = start_command(secret->command, &fd);
	if (pid < 0) {
		g_free(text);
		return fault_set(fault, FAULT_AUTH, "%s can't be started: %s", what,
		                 strerror(errno));
	}
	bool ok = read_fd(fd, clock_boot_ns() + COMMAND_TIME_NS, text, SECRET_MAX, &len);
	close(fd);
	if (!ok)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ok)
		fault_set(fault, FAULT_AUTH, "%s did not end within two minutes", what);
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		ok = fault_set(fault, FAULT_AUTH, "%s failed with status %d", what,
		               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	if (ok)
		append_line(text, len, out);
	explicit_bzero(text, SECRET_MAX);
	g_free(text);
	if (ok && out->len == 0)
		ok = fault_set(fault, FAULT_AUTH, "%s printed nothing", what);
	return ok;
}

/* --- the terminal ------------------------------------------------------------------------- */

static bool
ask_terminal(struct secret *secret, const struct settings *settings, struct fault *fault)
{
	struct termios before, silent;
	sigset_t held, old;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	if (tty < 0 || tcgetattr(tty, &before) != 0) {
		if (tty >= 0)
			close(tty);
		return fault_set(fault, FAULT_AUTH, "there is no password and no terminal to ask "
		                 "for it: use -o passcmd=, -o passfile= or -o tokencmd=");
	}
	/* Whoever interrupts gets the terminal back as it was. */
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGTSTP);
	sigprocmask(SIG_BLOCK, &held, &old);
	silent = before;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	tcsetattr(tty, TCSAFLUSH, &silent);
	dprintf(tty, "Password of %s at %s: ", settings->user, settings->host);
	size_t len = 0;
	char c;
	bool cancelled = false;
	while (read(tty, &c, 1) == 1 && c != '\n') {
		cancelled |= c == 3;
		if (len + 1 < sizeof secret->kept && c != '\r')
			secret->kept[len++] = c;
		if (cancelled)
			break;
	}
	secret->kept[len] = '\0';
	dprintf(tty, "\n");
	tcsetattr(tty, TCSAFLUSH, &before);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(tty);
	if (cancelled || len == 0)
		return fault_set(fault, FAULT_AUTH, "no password was given");
	secret->origin = FROM_TERMINAL;
	return true;
}

/* --- the secret --------------------------------------------------------------------------- */

static char *
credential_path(const struct settings *settings)
{
	const char *dir = g_getenv("CREDENTIALS_DIRECTORY");
	if (dir == NULL)
		return NULL;
	char *named = g_strdup_printf("%s/imapfs.%s", dir,
	                              settings->section != NULL ? settings->section : "");
	if (settings->section != NULL && access(named, R_OK) == 0)
		return named;
	g_free(named);
	char *path = g_build_filename(dir, "imapfs", NULL);
	if (access(path, R_OK) == 0)
		return path;
	g_free(path);
	return NULL;
}

bool
secret_new(const struct settings *settings, struct secret **secret_r, struct fault *fault)
{
	struct secret *secret = g_new0(struct secret, 1);
	bool external = settings->auth != NULL &&
	                (g_ascii_strcasecmp(settings->auth, "EXTERNAL") == 0 ||
	                 g_ascii_strcasecmp(settings->auth, "GSSAPI") == 0);
	bool ok = true;
	g_mutex_init(&secret->lock);
	mlock(secret->kept, sizeof secret->kept);
	secret->is_token = settings->tokencmd != NULL;
	if (settings->passcmd != NULL || settings->tokencmd != NULL) {
		secret->origin = FROM_COMMAND;
		secret->command = settings->tokencmd != NULL ? settings->tokencmd
		                                             : settings->passcmd;
	} else if (settings->passfile != NULL) {
		GString *probe = g_string_new(NULL);
		secret->origin = FROM_FILE;
		secret->path = g_strdup(settings->passfile);
		secret->strict = true;
		ok = read_secret_file(secret, probe, fault);
		explicit_bzero(probe->str, probe->len);
		g_string_free(probe, TRUE);
	} else if ((secret->path = credential_path(settings)) != NULL) {
		secret->origin = FROM_FILE;
	} else if (!external && (settings->certfile == NULL || isatty(STDIN_FILENO))) {
		ok = ask_terminal(secret, settings, fault);
	}
	if (ok)
		*secret_r = secret;
	else
		secret_free(&secret);
	return ok;
}

void
secret_free(struct secret **secret)
{
	if (*secret == NULL)
		return;
	explicit_bzero((*secret)->kept, sizeof (*secret)->kept);
	munlock((*secret)->kept, sizeof (*secret)->kept);
	g_free((*secret)->path);
	g_mutex_clear(&(*secret)->lock);
	g_free(*secret);
	*secret = NULL;
}

bool
secret_is_token(const struct secret *secret)
{
	return secret->is_token;
}

bool
secret_is_none(const struct secret *secret)
{
	return secret->origin == FROM_NOTHING;
}

bool
secret_get(void *ctx, bool refresh, GString *out, struct fault *fault)
{
	struct secret *secret = ctx;
	bool ok = false;
	(void)refresh;
	g_mutex_lock(&secret->lock);
	switch (secret->origin) {
	case FROM_COMMAND:
		ok = run_command(secret, out, fault);
		break;
	case FROM_FILE:
		ok = read_secret_file(secret, out, fault);
		break;
	case FROM_TERMINAL:
		g_string_append(out, secret->kept);
		ok = true;
		break;
	case FROM_NOTHING:
		fault_set(fault, FAULT_AUTH,
		          "there is no password: use -o passcmd= or -o passfile=");
		break;
	}
	g_mutex_unlock(&secret->lock);
	return ok;
}
