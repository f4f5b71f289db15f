/* SPDX-License-Identifier: MIT */
/*
 * A real mount of this layer, over a real cache, with an account that has no
 * server (fake-account.h). Each test mounts in a child, works in the mount as
 * any program would, and ends the child with SIGTERM.
 *
 * Skipped where there is no /dev/fuse.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "fake-account.h"
#include "fs/mount.h"

#define WAIT_MS 10000

struct fixture {
	char *dir, *state, *bodies, *point;
	pid_t pid;
	int ready; /* reads "ready" or end of file */
};

static const struct fake_message messages[] = {
	{ "one.eml", 3000, 3000, true },   { "two.eml", 60000, 60000, true },
	{ "three.eml", 200000, 200000, true },
	{ "four.eml", 5000, 5000, false }, /* fetched when it is opened */
	{ "grows.eml", 4501, 3001, false },  /* the hint is odd: the truth is half more */
	{ "five.eml", 800, 800, true },
};

static char *
path_of(const struct fixture *f, const char *name)
{
	return g_build_filename(f->point, name, NULL);
}

static void
say_ready(void *ctx, const char *warning)
{
	const char *text = warning != NULL ? "warned" : "ready";
	if (write(*(int *)ctx, text, strlen(text)) < 0)
		_exit(3);
	close(*(int *)ctx);
}

static struct mount_config
config_of(const struct fixture *f)
{
	return (struct mount_config){
		.source = "imaps://alice@mail.example.org", .mountpoint = f->point,
		.uid = getuid(), .gid = getgid(), .umask = 0077,
		.cache = { f->state, f->bodies, 64 << 20 },
		.account = { .refresh_s = 10, .timeout_s = 30 },
	};
}

/* Mounts in a child. What it said is in text_r ("" if it failed). */
static void
mount_child(struct fixture *f, struct mount_config *config, char text_r[16])
{
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	fflush(stdout);
	f->pid = fork();
	assert_int_not_equal(f->pid, -1);
	if (f->pid == 0) {
		struct fault fault;
		close(pipes[0]);
		config->ready = say_ready;
		config->ready_ctx = &pipes[1];
		exit(mount_run(config, &fault) ? 0 : 1); /* not _exit: leaks are looked for */
	}
	close(pipes[1]);
	ssize_t len = read(pipes[0], text_r, 15);
	text_r[MAX(len, 0)] = '\0';
	close(pipes[0]);
}

/* Its exit status, or -1 if it does not end. */
static int
child_status(struct fixture *f)
{
	int status;
	for (int i = 0; i < WAIT_MS; i++) {
		if (waitpid(f->pid, &status, WNOHANG) == f->pid) {
			f->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
		}
		g_usleep(1000);
	}
	return -1;
}

static bool
fill(const struct fixture *f)
{
	const struct mount_config config = config_of(f);
	struct cache *cache;
	struct fault fault;
	if (!cache_open(&config.cache, &cache, &fault))
		return false;
	bool ok = fake_fill_tree(cache);
	for (uint32_t n = 1; n <= G_N_ELEMENTS(messages); n++)
		ok = ok && fake_fill_message(cache, FAKE_INBOX, n, &messages[n - 1]) != 0;
	cache_close(&cache);
	return ok;
}

static struct fixture *
fixture_new(void)
{
	struct fixture *f = g_new0(struct fixture, 1);
	fake = fake_switches_new();
	f->dir = g_dir_make_tmp("imapfs-mount-XXXXXX", NULL);
	f->state = g_build_filename(f->dir, "state", NULL);
	f->bodies = g_build_filename(f->dir, "bodies", NULL);
	f->point = g_build_filename(f->dir, "mnt", NULL);
	return g_mkdir(f->point, 0700) == 0 && fill(f) ? f : NULL;
}

static int
setup(void **state)
{
	if (access("/dev/fuse", R_OK | W_OK) != 0) {
		print_message("no /dev/fuse here\n");
		exit(77);
	}
	*state = fixture_new();
	return *state != NULL ? 0 : -1;
}

static int
setup_mounted(void **state)
{
	char text[16];
	if (setup(state) != 0)
		return -1;
	struct mount_config config = config_of(*state);
	mount_child(*state, &config, text);
	return strcmp(text, "ready") == 0 ? 0 : -1;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	int status = 0;
	if (f->pid != 0) {
		kill(f->pid, SIGTERM);
		status = child_status(f);
		if (status != 0)
			print_error("the filesystem ended with status %d\n", status);
		if (status == -1) {
			kill(f->pid, SIGKILL);
			umount2(f->point, MNT_DETACH);
		}
	}
	char *command = g_strdup_printf("rm -r '%s'", f->dir);
	if (system(command) != 0)
		status = -1;
	g_free(command);
	g_free(f->point);
	g_free(f->bodies);
	g_free(f->state);
	g_free(f->dir);
	g_free(f);
	munmap(fake, sizeof *fake);
	return status;
}

/* --- helpers --------------------------------------------------------------------------- */

static GString *
list(const char *path, int *error_r)
{
	GString *names = g_string_new(NULL);
	DIR *dir = opendir(path);
	struct dirent *entry;
	errno = 0;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		g_string_append_printf(names, "%s ", entry->d_name);
		errno = 0;
	}
	*error_r = errno;
	if (dir != NULL)
		closedir(dir);
	return names;
}

static void
assert_listing(const struct fixture *f, const char *name, const char *expected)
{
	char *path = path_of(f, name);
	int error;
	GString *names = list(path, &error);
	assert_int_equal(error, 0);
	assert_string_equal(names->str, expected);
	g_string_free(names, TRUE);
	g_free(path);
}

static void
assert_content(const struct fixture *f, const char *name, uint32_t n, size_t size)
{
	char *path = path_of(f, name), *got = NULL, *expected = fake_body(FAKE_INBOX, n, size);
	gsize len = 0;
	struct stat st;
	assert_true(g_file_get_contents(path, &got, &len, NULL));
	assert_int_equal(len, size);
	assert_memory_equal(got, expected, size);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	g_free(got);
	g_free(expected);
	g_free(path);
}

static bool
await(atomic_int *counter, int least)
{
	for (int i = 0; i < WAIT_MS && atomic_load(counter) < least; i++)
		g_usleep(1000);
	return atomic_load(counter) >= least;
}

/* Runs a shell command with the mount as $M; its exit status. */
static int
shell(const struct fixture *f, const char *command)
{
	char *line = g_strdup_printf("M='%s'; %s", f->point, command);
	int status = system(line);
	g_free(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A shell command that is left running. */
static pid_t
shell_start(const struct fixture *f, const char *command)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		char *line = g_strdup_printf("M='%s'; %s", f->point, command);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static int
shell_wait(pid_t pid)
{
	int status;
	for (int i = 0; i < WAIT_MS; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
		g_usleep(1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static void
send_event(enum account_event_kind kind, uint64_t dir, uint64_t ino, const char *name)
{
	fake->event_kind = kind;
	fake->event_dir = dir;
	fake->event_ino = ino;
	g_strlcpy(fake->event_name, name, sizeof fake->event_name);
	atomic_fetch_add(&fake->event_number, 1);
}

static struct stat
stat_of(const struct fixture *f, const char *name)
{
	struct stat st = { 0 };
	char *path = path_of(f, name);
	assert_int_equal(stat(path, &st), 0);
	g_free(path);
	return st;
}

/* --- tests ----------------------------------------------------------------------------- */

static void
test_list(void **state)
{
	struct fixture *f = *state;
	assert_listing(f, "", ". .. INBOX Archive Slow ");
	for (int i = 0; i < 3; i++)
		assert_listing(f, "INBOX", ". .. one.eml two.eml three.eml four.eml grows.eml "
		                           "five.eml ");
	assert_listing(f, "Archive", ". .. 2024 ");
	assert_listing(f, "Archive/2024", ". .. ");
	assert_int_equal(shell(f, "test $(ls -l $M/INBOX | grep -c '^-rw-------') = 6"), 0);
	assert_int_equal(shell(f, "test $(find $M/INBOX $M/Archive -name '*.eml' | wc -l) = 6"), 0);
	assert_int_equal(shell(f, "test -e $M/INBOX/none.eml"), 1);
	struct stat st = stat_of(f, "INBOX/one.eml");
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, 3000);
	assert_int_equal(st.st_blocks, 6);
	assert_int_equal(st.st_mtim.tv_sec, 1400000001);
	assert_int_equal(st.st_ctim.tv_nsec, 7);
	st = stat_of(f, "Archive");
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(stat_of(f, "").st_ino, 1);
	assert_int_equal(stat_of(f, "").st_nlink, 5);
}

static void
test_read(void **state)
{
	struct fixture *f = *state;
	for (int i = 0; i < 3; i++) {
		assert_content(f, "INBOX/one.eml", 1, 3000);
		assert_content(f, "INBOX/two.eml", 2, 60000);
		assert_content(f, "INBOX/three.eml", 3, 200000);
		assert_content(f, "INBOX/four.eml", 4, 5000);
		assert_content(f, "INBOX/five.eml", 6, 800);
	}
	assert_int_equal(atomic_load(&fake->reads), 0);
	assert_int_equal(shell(f, "test $(grep -rl 'line of message 3' $M/INBOX) = "
	                          "$M/INBOX/three.eml"), 0);
	assert_int_equal(shell(f, "tar cf - -C $M INBOX | tar tvf - | grep -q '200000 .*three'"), 0);
	assert_int_equal(shell(f, "test $(tail -c 7 $M/INBOX/two.eml | wc -c) = 7"), 0);
	for (int i = 0; i < 1000 && atomic_load(&fake->pins) != 0; i++)
		g_usleep(1000); /* RELEASE comes when it likes */
	assert_int_equal(atomic_load(&fake->pins), 0);
}

/* The size that was shown is wrong; from the first open on it is right, for every reader. */
static void
test_size(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(shell(f, "ls -l $M/INBOX > /dev/null"), 0);
	assert_int_equal(stat_of(f, "INBOX/grows.eml").st_size, 3001);
	char *path = path_of(f, "INBOX/grows.eml");
	int fd = open(path, O_RDONLY);
	struct stat st;
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 4501);
	char *map = mmap(NULL, 4501, PROT_READ, MAP_SHARED, fd, 0);
	char *expected = fake_body(FAKE_INBOX, 5, 4501);
	assert_memory_equal(map, expected, 4501);
	munmap(map, 4501);
	g_free(expected);
	close(fd);
	g_free(path);
	assert_content(f, "INBOX/grows.eml", 5, 4501);
}

/* Nothing can be stored: what was fetched is given to the reader all the same. */
static void
test_not_stored(void **state)
{
	struct fixture *f = *state;
	atomic_store(&fake->store_fails, true);
	for (int i = 0; i < 2; i++) {
		assert_content(f, "INBOX/four.eml", 4, 5000);
		assert_content(f, "INBOX/grows.eml", 5, 4501);
	}
	assert_int_equal(shell(f, "cmp $M/INBOX/four.eml $M/INBOX/four.eml"), 0);
}

static void
test_fetch_fails(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "INBOX/four.eml");
	atomic_store(&fake->fetch_fails, true);
	assert_int_equal(open(path, O_RDONLY), -1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_content(f, "INBOX/one.eml", 1, 3000);
	atomic_store(&fake->fetch_fails, false);
	assert_content(f, "INBOX/four.eml", 4, 5000);
	g_free(path);
}

/* Forty readers wait for a server that is silent; everything else goes on. */
static void
test_stalled(void **state)
{
	struct fixture *f = *state;
	pid_t pids[40];
	atomic_store(&fake->fetch_goes, false);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = shell_start(f, "exec cat $M/INBOX/four.eml > /dev/null");
	assert_true(await(&fake->waiting, (int)G_N_ELEMENTS(pids)));
	assert_listing(f, "INBOX", ". .. one.eml two.eml three.eml four.eml grows.eml five.eml ");
	assert_content(f, "INBOX/three.eml", 3, 200000);
	assert_int_equal(stat_of(f, "INBOX/four.eml").st_size, 5000);
	assert_int_equal(shell(f, "test -e $M/INBOX/none"), 1);
	/* Half of them lose patience. */
	for (size_t i = 0; i < G_N_ELEMENTS(pids) / 2; i++) {
		kill(pids[i], SIGTERM);
		assert_int_equal(shell_wait(pids[i]), 256 + SIGTERM);
	}
	atomic_store(&fake->fetch_goes, true);
	for (size_t i = G_N_ELEMENTS(pids) / 2; i < G_N_ELEMENTS(pids); i++)
		assert_int_equal(shell_wait(pids[i]), 0);
	assert_content(f, "INBOX/four.eml", 4, 5000);
}

/* The end of the mount answers who waits. */
static void
test_end_while_waiting(void **state)
{
	struct fixture *f = *state;
	atomic_store(&fake->fetch_goes, false);
	pid_t pid = shell_start(f, "exec cat $M/INBOX/four.eml 2> /dev/null");
	pid_t slow = shell_start(f, "exec ls $M/Slow/x.eml > /dev/null 2>&1");
	assert_true(await(&fake->waiting, 2));
	send_event(EVENT_MESSAGE_GONE, 5, 77, "y"); /* the notifier must not hang in there */
	kill(f->pid, SIGTERM);
	assert_int_equal(child_status(f), 0);
	assert_int_equal(shell_wait(pid), 1);
	assert_int_not_equal(shell_wait(slow), 0);
}

static void
test_first_listing(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "Slow");
	int error;
	/* What has arrived is shown while the rest is under way. */
	atomic_store(&fake->slow_target, 2);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	const char *expected[] = { ".", "..", "slow-1.eml", "slow-2.eml" };
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct dirent *entry = readdir(dir);
		assert_non_null(entry);
		assert_string_equal(entry->d_name, expected[i]);
	}
	assert_int_equal(shell(f, "cat $M/Slow/slow-1.eml > /dev/null"), 0);
	/* A name that has not come may still come, or not. */
	pid_t waits = shell_start(f, "test -e $M/Slow/slow-3.eml");
	pid_t in_vain = shell_start(f, "test -e $M/Slow/none.eml");
	/* What no message is called is known not to be there. */
	assert_int_equal(shell(f, "test -e $M/Slow/.git"), 1);
	assert_true(await(&fake->waiting, 2));
	atomic_store(&fake->slow_target, 3);
	assert_int_equal(shell_wait(waits), 0);
	const struct dirent *third = readdir(dir);
	assert_non_null(third);
	assert_string_equal(third->d_name, "slow-3.eml");
	atomic_store(&fake->slow_listed, true);
	assert_null(readdir(dir));
	assert_int_equal(shell_wait(in_vain), 1);
	closedir(dir);
	GString *names = list(path, &error);
	assert_int_equal(error, 0);
	assert_string_equal(names->str, ". .. slow-1.eml slow-2.eml slow-3.eml ");
	g_string_free(names, TRUE);
	g_free(path);
}

/* A listing that is cut off ends in an error, never in an end. */
static void
test_listing_fails(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "Slow");
	int error;
	atomic_store(&fake->slow_target, 2);
	while (atomic_load(&fake->slow_step) < 2)
		g_usleep(1000);
	atomic_store(&fake->listing_fails, true);
	for (int i = 0; i < 2; i++) {
		GString *names = list(path, &error);
		assert_int_equal(error, EHOSTUNREACH);
		assert_string_equal(names->str, ". .. slow-1.eml slow-2.eml ");
		g_string_free(names, TRUE);
	}
	assert_int_equal(shell(f, "ls $M/Slow > /dev/null 2>&1"), 2);
	g_free(path);
}

/* While a directory is listed for the first time, calls in it don't wait for each other. */
static void
test_parallel(void **state)
{
	struct fixture *f = *state;
	atomic_store(&fake->slow_target, 1);
	while (atomic_load(&fake->slow_step) < 1)
		g_usleep(1000);
	pid_t stuck = shell_start(f, "exec test -e $M/Slow/none.eml");
	assert_true(await(&fake->waiting, 1));
	pid_t quick = shell_start(f, "exec cat $M/Slow/slow-1.eml > /dev/null");
	assert_int_equal(shell_wait(quick), 0);
	kill(stuck, SIGKILL);
	assert_int_equal(shell_wait(stuck), 256 + SIGKILL);
}

static void
test_unlink(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(shell(f, "exec 3< $M/INBOX/three.eml && rm $M/INBOX/three.eml && "
	                          "test $(wc -c <&3) = 200000"), 0);
	assert_int_equal(atomic_load(&fake->deletes), 1);
	assert_listing(f, "INBOX", ". .. one.eml two.eml four.eml grows.eml five.eml ");
	assert_int_equal(shell(f, "test -e $M/INBOX/three.eml"), 1);
	assert_int_equal(shell(f, "rm $M/INBOX/*.eml"), 0);
	assert_int_equal(atomic_load(&fake->deletes), 6);
	assert_listing(f, "INBOX", ". .. ");
}

static void
test_unlink_refused(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "INBOX/one.eml");
	atomic_store(&fake->read_only, true);
	assert_int_equal(unlink(path), -1);
	assert_int_equal(errno, EROFS);
	assert_content(f, "INBOX/one.eml", 1, 3000);
	g_free(path);
}

static void
test_fsync(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "INBOX/one.eml");
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	atomic_store(&fake->sync_goes, false);
	pid_t pid = shell_start(f, "exec sync $M/INBOX");
	assert_true(await(&fake->waiting, 1));
	assert_int_equal(fsync(fd), 0); /* nothing of a message is pending */
	/* The kernel holds the directory's lock now, and the notifier does not wait for it. */
	send_event(EVENT_MESSAGE_GONE, stat_of(f, "INBOX").st_ino, 4711, "gone.eml");
	g_usleep(50000);
	assert_listing(f, "Archive", ". .. 2024 ");
	send_event(EVENT_MESSAGE_NEW, stat_of(f, "Archive").st_ino, 0, "none");
	atomic_store(&fake->sync_goes, true);
	assert_int_equal(shell_wait(pid), 0);
	close(fd);
	g_free(path);
}

static void
assert_errno(int result, int expected)
{
	assert_int_equal(result, -1);
	assert_int_equal(errno, expected);
}

static void
test_refused(void **state)
{
	struct fixture *f = *state;
	char *file = path_of(f, "INBOX/one.eml"), *other = path_of(f, "INBOX/other");
	char *dir = path_of(f, "Archive");
	for (int i = 0; i < 2; i++) {
		assert_errno(open(file, O_WRONLY), EPERM);
		assert_errno(open(file, O_RDWR), EPERM);
		assert_errno(open(file, O_WRONLY | O_TRUNC), EPERM);
		assert_errno(open(other, O_CREAT | O_WRONLY, 0600), EPERM);
		assert_errno(truncate(file, 0), EPERM);
		assert_errno(chmod(file, 0644), EPERM);
		assert_errno(mkdir(other, 0700), EPERM);
		assert_errno(rmdir(dir), EPERM);
		assert_errno(rename(file, other), EPERM);
		assert_errno(link(file, other), EPERM);
		assert_errno(symlink(file, other), EPERM);
		assert_errno(mkfifo(other, 0600), EPERM);
		assert_errno(setxattr(file, "user.imap.flags", "x", 1, 0), EPERM);
		assert_errno(removexattr(file, "user.imap.flags"), EPERM);
		assert_errno(setxattr(file, "security.x", "x", 1, 0), EOPNOTSUPP);
	}
	assert_content(f, "INBOX/one.eml", 1, 3000);
	g_free(file);
	g_free(other);
	g_free(dir);
}

static void
test_xattr(void **state)
{
	struct fixture *f = *state;
	char *file = path_of(f, "INBOX/two.eml"), value[200];
	ssize_t len = getxattr(file, "user.imap.flags", value, sizeof value);
	assert_int_equal(len, strlen("\\Seen \\Flagged work"));
	assert_memory_equal(value, "\\Seen \\Flagged work", (size_t)len);
	assert_int_equal(getxattr(file, "user.imap.uid", NULL, 0), 1);
	assert_errno((int)getxattr(file, "user.imap.flags", value, 3), ERANGE);
	assert_errno((int)getxattr(file, "user.nothing", value, 3), ENODATA);
	assert_errno((int)getxattr(file, "security.selinux", value, 3), EOPNOTSUPP);
	assert_errno((int)getxattr(file, "system.posix_acl_access", value, 3), EOPNOTSUPP);
	len = listxattr(file, value, sizeof value);
	assert_true(len > 0);
	assert_non_null(memmem(value, (size_t)len, "user.imap.uidvalidity", 22));
	g_free(file);
}

static void
test_statfs(void **state)
{
	struct fixture *f = *state;
	struct statvfs st;
	assert_int_equal(statvfs(f->point, &st), 0);
	assert_int_equal(st.f_namemax, 255);
	assert_true(st.f_bavail * st.f_frsize >= (uint64_t)1 << 40);
	atomic_store(&fake->quota_used, 3 << 20);
	atomic_store(&fake->quota_limit, 10 << 20);
	assert_int_equal(statvfs(f->point, &st), 0);
	assert_int_equal(st.f_blocks * st.f_frsize, 10 << 20);
	assert_int_equal(st.f_bavail * st.f_frsize, 7 << 20);
	atomic_store(&fake->quota_used, 11 << 20);
	assert_int_equal(statvfs(f->point, &st), 0);
	assert_int_equal(st.f_bavail, 0);
}

/* OPENDIR waits for a sync, and can be interrupted. */
static void
test_opendir(void **state)
{
	struct fixture *f = *state;
	atomic_store(&fake->refresh_waits, true);
	pid_t killed = shell_start(f, "exec ls $M/INBOX > /dev/null");
	pid_t waits = shell_start(f, "exec ls $M/INBOX > /dev/null");
	assert_true(await(&fake->waiting, 2));
	assert_content(f, "INBOX/one.eml", 1, 3000);
	kill(killed, SIGTERM);
	assert_int_equal(shell_wait(killed), 256 + SIGTERM);
	atomic_store(&fake->refresh_waits, false);
	assert_int_equal(shell_wait(waits), 0);
}

/* A message that another client deleted is gone, though the kernel may keep it for long. */
static void
test_event(void **state)
{
	struct fixture *f = *state;
	struct stat st = stat_of(f, "INBOX/one.eml");
	char *path = path_of(f, "INBOX/none.eml");
	assert_int_equal(access(path, F_OK), -1); /* is remembered by the kernel */
	int used = atomic_load(&fake->used);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(atomic_load(&fake->used), used);
	send_event(EVENT_MESSAGE_NEW, stat_of(f, "INBOX").st_ino, st.st_ino, "none.eml");
	for (int i = 0; i < WAIT_MS && atomic_load(&fake->used) == used; i++) {
		assert_int_equal(access(path, F_OK), -1);
		g_usleep(1000);
	}
	assert_true(atomic_load(&fake->used) > used);
	g_free(path);
}

static void
test_offline(void **state)
{
	struct fixture *f = *state;
	struct mount_config config = config_of(f);
	char text[16];
	atomic_store(&fake->login_fails, true);
	mount_child(f, &config, text);
	assert_string_equal(text, "warned");
	assert_content(f, "INBOX/one.eml", 1, 3000);
}

static void
test_sync_option(void **state)
{
	struct fixture *f = *state;
	struct mount_config config = config_of(f);
	char text[16];
	config.sync = true;
	mount_child(f, &config, text);
	assert_string_equal(text, "ready");
	atomic_store(&fake->sync_goes, false);
	pid_t pid = shell_start(f, "exec rm $M/INBOX/one.eml");
	assert_true(await(&fake->waiting, 1));
	atomic_store(&fake->sync_goes, true);
	assert_int_equal(shell_wait(pid), 0);
	assert_int_equal(atomic_load(&fake->deletes), 1);
}

/* Pending changes keep the program from ending; a second signal does not wait for them. */
static void
test_second_signal(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	atomic_store(&fake->stop_hangs, true);
	pid_t reader = shell_start(f, "exec sleep 1 < $M/INBOX/one.eml");
	kill(f->pid, SIGTERM);
	assert_true(await(&fake->stopping, 1));
	assert_int_equal(waitpid(f->pid, NULL, WNOHANG), 0);
	assert_int_equal(stat(f->point, &st), 0); /* unmounted, though it was in use */
	assert_int_not_equal(st.st_ino, 1);
	kill(f->pid, SIGTERM);
	assert_int_equal(child_status(f), 1);
	shell_wait(reader);
}

static void
test_options(void **state)
{
	struct fixture *f = *state;
	struct mount_config config = config_of(f);
	const char *const options[] = { "nosuid", "nodev", "noexec", NULL };
	const char *const wrong[] = { "no_such_option", NULL };
	char text[16];
	config.options = wrong;
	mount_child(f, &config, text);
	assert_string_equal(text, "");
	assert_int_equal(child_status(f), 1);
	config.options = options;
	config.read_only = true;
	config.source = "imaps://a,b@mail\\example org";
	mount_child(f, &config, text);
	assert_string_equal(text, "ready");
	assert_int_equal(shell(f, "grep -F \" $M fuse.imapfs ro,nosuid,nodev,noexec\" "
	                          "/proc/self/mounts | grep -qF 'imaps://a,b@mail'"), 0);
	char *path = path_of(f, "INBOX/one.eml");
	assert_errno(unlink(path), EROFS);
	g_free(path);
	/* What is mounted is not mounted over. */
	struct fixture second = *f;
	mount_child(&second, &config, text);
	assert_string_equal(text, "");
	assert_int_equal(child_status(&second), 1);
}

static void
test_dead_mount(void **state)
{
	struct fixture *f = *state;
	struct mount_config config = config_of(f);
	char text[16];
	struct stat st;
	mount_child(f, &config, text);
	assert_string_equal(text, "ready");
	kill(f->pid, SIGKILL);
	assert_int_equal(child_status(f), 256 + SIGKILL);
	assert_int_equal(stat(f->point, &st), -1);
	assert_int_equal(errno, ENOTCONN);
	mount_child(f, &config, text);
	assert_string_equal(text, "ready");
	assert_content(f, "INBOX/one.eml", 1, 3000);
	/* Unmounted from outside, it ends by itself. */
	assert_int_equal(shell(f, "umount $M 2> /dev/null || fusermount3 -u $M"), 0);
	assert_int_equal(child_status(f), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_list, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_read, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_not_stored, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_fetch_fails, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_stalled, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_end_while_waiting, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_first_listing, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_listing_fails, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_parallel, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_unlink, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_unlink_refused, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_fsync, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_xattr, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_statfs, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_opendir, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_event, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_second_signal, setup_mounted, teardown),
		cmocka_unit_test_setup_teardown(test_offline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sync_option, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_mount, setup, teardown),
	};
	log_init("test-fs-mount");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
