/* SPDX-License-Identifier: MIT */
/* The mounted filesystem, from start to end: see mount.h. */
#include "config.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mount.h"
#include "fs/name.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/point.h"

/* With a cache to show, a server that does not answer is waited for no longer. */
#define OFFLINE_WAIT_MS 5000
#define WAKE_PAUSE_US   20000

struct mount {
	const struct mount_config *config;
	struct fs fs;
	_Atomic(struct notifier *) notifier; /* NULL while there is nothing to tell the kernel */
	pthread_t main_thread;
	sigset_t signals, old_mask;          /* that end the mount; before mount_run() */
	pthread_t signal_thread;
	bool watching;                       /* signal_thread runs */
	pthread_mutex_t stop_lock;           /* stop_thread; that loop_ended becomes true */
	GThread *stop_thread;                /* started while the loop runs, or NULL */
	atomic_bool mounted, loop_ended, over;
};

/* --- libfuse's words ------------------------------------------------------------------- */

/* The last line of what libfuse complained of, since it says why in this way alone. */
static char fuse_words[256];

static void __attribute__((format(printf, 2, 0)))
take_fuse_words(enum fuse_log_level level, const char *format, va_list args)
{
	static bool goes_on; /* some lines come piece by piece */
	char text[sizeof fuse_words];
	vsnprintf(text, sizeof text, format, args);
	bool ends = g_str_has_suffix(text, "\n");
	if (ends)
		g_strchomp(text);
	if (text[0] == '\0')
		return;
	log_debug("libfuse: %s", text);
	if (level > FUSE_LOG_ERR)
		return;
	if (!goes_on)
		fuse_words[0] = '\0';
	bool named = !goes_on && g_str_has_prefix(text, "fuse: ");
	g_strlcat(fuse_words, named ? text + strlen("fuse: ") : text, sizeof fuse_words);
	goes_on = !ends;
}

/* --- signals --------------------------------------------------------------------------- */

/*
 * The signals that end the mount are blocked in all threads and waited for by one. It can't just
 * make libfuse's loop end: the notifier may be inside the kernel, waiting for a lock whose holder
 * waits for an answer of ours. So the workers serve until the notifier has ended.
 */
static void *
stop_serving(void *data)
{
	struct mount *mount = data;
	struct notifier *notifier = atomic_load(&mount->notifier);
	park_lot_close(mount->fs.parks);
	if (notifier != NULL)
		notifier_stop(notifier);
	fuse_session_exit(mount->fs.session);
	/* The main thread may be just before its wait, hence more than once. */
	while (!atomic_load(&mount->loop_ended)) {
		pthread_kill(mount->main_thread, SIGUSR1);
		g_usleep(WAKE_PAUSE_US);
	}
	return NULL;
}

static void
begin_stop(struct mount *mount)
{
	pthread_mutex_lock(&mount->stop_lock);
	if (!atomic_load(&mount->loop_ended))
		mount->stop_thread = g_thread_new("stop", stop_serving, mount);
	pthread_mutex_unlock(&mount->stop_lock);
}

/* The loop has ended, perhaps by itself. What the thread uses is there until it has ended. */
static void
end_stop(struct mount *mount)
{
	pthread_mutex_lock(&mount->stop_lock);
	atomic_store(&mount->loop_ended, true);
	pthread_mutex_unlock(&mount->stop_lock);
	if (mount->stop_thread != NULL)
		g_thread_join(mount->stop_thread);
}

static void *
watch_signals(void *data)
{
	struct mount *mount = data;
	sigset_t set = mount->signals;
	unsigned count = 0;
	int signal;
	while (sigwait(&set, &signal) == 0 && !atomic_load(&mount->over)) {
		if (signal == SIGUSR1)
			continue;
		if (++count == 1) {
			begin_stop(mount);
			continue;
		}
		log_warn("ended by a second signal; changes that are pending wait in the cache for "
		         "the next mount");
		if (atomic_load(&mount->mounted))
			point_detach(mount->config->mountpoint);
		_exit(1);
	}
	return NULL;
}

static void
ignore_signal(int signal)
{
	(void)signal;
}

static void
block_signals(struct mount *mount)
{
	struct sigaction wake = { .sa_handler = ignore_signal };
	sigemptyset(&mount->signals);
	sigaddset(&mount->signals, SIGTERM);
	sigaddset(&mount->signals, SIGINT);
	sigaddset(&mount->signals, SIGHUP);
	sigaddset(&mount->signals, SIGUSR1);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGUSR1, &wake, NULL);
	pthread_sigmask(SIG_BLOCK, &mount->signals, &mount->old_mask);
}

static void
join_signal_thread(struct mount *mount)
{
	atomic_store(&mount->over, true);
	if (mount->watching) {
		pthread_kill(mount->signal_thread, SIGUSR1);
		pthread_join(mount->signal_thread, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &mount->old_mask, NULL);
}

/* --- the account ----------------------------------------------------------------------- */

static void
account_said(void *ctx, const struct account_event *event)
{
	struct mount *mount = ctx;
	struct notifier *notifier = atomic_load(&mount->notifier);
	if (notifier != NULL)
		notifier_event(notifier, event);
}

static bool
open_account(struct mount *mount, struct fault *fault)
{
	const struct mount_config *config = mount->config;
	struct account_config account = config->account;
	name_init();
	account.namer = (struct account_namer){ .from_header = name_from_header,
		                                .from_uid = name_from_uid,
		                                .numbered = name_numbered };
	account.event = account_said;
	account.event_ctx = mount;
	account.read_only = config->read_only;
	if (!cache_open(&config->cache, &mount->fs.cache, fault))
		return false;
	mount->fs.account = account_new(&account, mount->fs.cache);
	mount->fs.look = (struct node_look){ config->uid, config->gid, config->umask };
	mount->fs.refresh_s = account.refresh_s;
	mount->fs.sync = config->sync;
	fs_init(&mount->fs);
	return true;
}

/* False: no use to mount. A warning: there is no server now, but something to show. */
static bool
wait_login(struct mount *mount, GString *warning, struct fault *fault)
{
	struct account *account = mount->fs.account;
	uint64_t step;
	bool listed = account_listing(account, ROOT_MAILBOX, &step) == LISTING_COMPLETE;
	int wait_ms = (int)mount->config->account.timeout_s * 1000;
	if (listed)
		wait_ms = MIN(wait_ms, OFFLINE_WAIT_MS);
	if (account_wait_login(account, wait_ms, fault))
		return true;
	if (!listed || fault->kind == FAULT_AUTH || fault->kind == FAULT_TLS ||
	    fault->kind == FAULT_UNSUPPORTED)
		return false;
	g_string_printf(warning, "mounted without the server, from the cache: %s", fault->text);
	return true;
}

/* Lets changes go out, and closes what open_account() opened. */
static bool
close_account(struct mount *mount, struct fault *fault)
{
	bool ok = true;
	if (mount->fs.account != NULL) {
		ok = account_stop(mount->fs.account, fault);
		account_free(&mount->fs.account);
		fs_release(&mount->fs);
	}
	struct notifier *notifier = atomic_exchange(&mount->notifier, NULL);
	notifier_free(&notifier);
	cache_close(&mount->fs.cache);
	return ok;
}

/* --- the session ----------------------------------------------------------------------- */

static bool
has_option(const struct mount_config *config, const char *name)
{
	return config->options != NULL && g_strv_contains(config->options, name);
}

static bool
new_session(struct mount *mount, struct fault *fault)
{
	const struct mount_config *config = mount->config;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char *options = NULL;
	char *name = g_strconcat("fsname=", config->source, NULL);
	bool ok = fuse_opt_add_opt_escaped(&options, name) == 0 &&
	          fuse_opt_add_opt(&options, "subtype=imapfs,default_permissions") == 0;
	g_free(name);
	if (config->read_only)
		ok = ok && fuse_opt_add_opt(&options, "ro") == 0;
	if (config->allow_other)
		ok = ok && fuse_opt_add_opt(&options, "allow_other") == 0;
	for (const char *const *extra = config->options; extra != NULL && *extra != NULL; extra++)
		if (strcmp(*extra, "nonempty") != 0)
			ok = ok && fuse_opt_add_opt(&options, *extra) == 0;
	ok = ok && fuse_opt_add_arg(&args, "imapfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	     fuse_opt_add_arg(&args, options) == 0;
	if (ok)
		mount->fs.session = fuse_session_new(&args, ops_table(),
		                                     sizeof(struct fuse_lowlevel_ops), &mount->fs);
	free(options);
	fuse_opt_free_args(&args);
	return mount->fs.session != NULL ||
	       fault_set(fault, FAULT_INVALID, "mount options: %s", fuse_words);
}

static void
parks_idle(void *ctx)
{
	notifier_kick(ctx);
}

static bool
mount_session(struct mount *mount, struct fault *fault)
{
	struct notify_sink sink = ops_notify_sink;
	if (!new_session(mount, fault))
		return false;
	if (fuse_session_mount(mount->fs.session, mount->config->mountpoint) != 0)
		return fault_set(fault, FAULT_DENIED, "%s can't be mounted on: %s",
		                 mount->config->mountpoint, fuse_words);
	atomic_store(&mount->mounted, true);
	int err = ops_hook_io(&mount->fs);
	if (err != 0)
		return fault_set(fault, FAULT_UNSUPPORTED, "libfuse: %s", g_strerror(-err));
	sink.ctx = &mount->fs;
	struct notifier *notifier = notifier_new(&sink);
	atomic_store(&mount->notifier, notifier);
	park_lot_on_idle(mount->fs.parks, parks_idle, notifier);
	return true;
}

static void
serve(struct mount *mount)
{
	sigset_t wake;
	sigemptyset(&wake);
	sigaddset(&wake, SIGUSR1);
	mount->watching = pthread_create(&mount->signal_thread, NULL, watch_signals, mount) == 0;
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	fuse_loop_cfg_set_clone_fd(loop, 0);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	int result = fuse_session_loop_mt(mount->fs.session, loop);
	pthread_sigmask(SIG_BLOCK, &wake, NULL);
	end_stop(mount);
	fuse_loop_cfg_destroy(loop);
	if (result < 0)
		log_error("the kernel's requests can't be read: %s", g_strerror(-result));
}

/* Ends what needs the session. */
static void
close_session(struct mount *mount)
{
	struct notifier *notifier = atomic_load(&mount->notifier);
	if (mount->fs.session == NULL)
		return;
	park_lot_close(mount->fs.parks);
	if (notifier != NULL)
		notifier_stop(notifier);
	if (atomic_exchange(&mount->mounted, false))
		fuse_session_unmount(mount->fs.session);
}

bool
mount_run(const struct mount_config *config, struct fault *fault)
{
	struct mount mount = { .config = config, .main_thread = pthread_self(),
		               .stop_lock = PTHREAD_MUTEX_INITIALIZER };
	GString *warning = g_string_new(NULL);
	fuse_set_log_func(take_fuse_words);
	if (!point_prepare(config->mountpoint, has_option(config, "nonempty"), fault)) {
		g_string_free(warning, TRUE);
		return false;
	}
	block_signals(&mount); /* all threads inherit this */
	bool ok = open_account(&mount, fault);
	if (ok) {
		/* Until it is mounted, a signal just ends the process. */
		pthread_sigmask(SIG_SETMASK, &mount.old_mask, NULL);
		ok = wait_login(&mount, warning, fault);
		pthread_sigmask(SIG_BLOCK, &mount.signals, NULL);
	}
	ok = ok && mount_session(&mount, fault);
	if (ok) {
		if (config->ready != NULL)
			config->ready(config->ready_ctx, warning->len > 0 ? warning->str : NULL);
		serve(&mount);
	}
	close_session(&mount);
	struct fault pending;
	if (!close_account(&mount, &pending) && ok) {
		*fault = pending;
		ok = false;
	}
	join_signal_thread(&mount);
	if (mount.fs.session != NULL)
		fuse_session_destroy(mount.fs.session);
	g_string_free(warning, TRUE);
	return ok;
}
