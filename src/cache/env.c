/* SPDX-License-Identifier: MIT */
/* Opening LMDB's files: see env.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cache/env.h"

#define READERS_MAX   512
#define TABLES_MAX    32
#define LOCK_FILE_LEN (64 * 1024)
#define MAP_SIZE_MIN  ((size_t)64 << 20)

bool
env_fault(struct fault *fault, int result, const char *what)
{
	return fault_set(fault, FAULT_CACHE, "cache: %s: %s", what, mdb_strerror(result));
}

/* LMDB writes to its lock file through a map, where a full disk means SIGBUS: its blocks are had
 * beforehand. */
static int
reserve_lock_file(const char *path)
{
	char *lock = g_strconcat(path, "-lock", NULL);
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int result = fd < 0 ? errno : posix_fallocate(fd, 0, LOCK_FILE_LEN);
	if (fd >= 0)
		close(fd);
	g_free(lock);
	return result;
}

int
env_open_file(const char *path, unsigned flags, size_t map_size, MDB_env **env_r)
{
	int result = reserve_lock_file(path);
	if (result != 0)
		return result;
	for (; map_size >= MAP_SIZE_MIN; map_size /= 4) {
		MDB_env *env;
		if ((result = mdb_env_create(&env)) != 0)
			return result;
		mdb_env_set_maxdbs(env, TABLES_MAX);
		mdb_env_set_maxreaders(env, READERS_MAX);
		mdb_env_set_mapsize(env, map_size);
		result = mdb_env_open(env, path, flags | MDB_NOSUBDIR | MDB_NOTLS, 0600);
		if (result == 0) {
			int dead;
			mdb_reader_check(env, &dead);
			*env_r = env;
			return 0;
		}
		mdb_env_close(env);
		if (result != ENOMEM)
			break;
	}
	return result;
}

/* How many pages from `first` on are free. */
static uint64_t
free_pages_from(MDB_env *env, size_t first)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, value;
	uint64_t count = 0;
	if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	/* Table 0 lists them: the number of page numbers, and these. */
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			const size_t *list = value.mv_data;
			size_t len = value.mv_size / sizeof *list;
			for (size_t i = 1; i < len && i <= list[0]; i++)
				count += list[i] >= first;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return count;
}

bool
env_is_whole(MDB_env *env, const char *path)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat file;
	if (mdb_env_info(env, &info) != 0 || mdb_env_stat(env, &stat) != 0 ||
	    lstat(path, &file) != 0)
		return false;
	size_t there = (size_t)file.st_size / stat.ms_psize;
	if (there > info.me_last_pgno)
		return true;
	/* The list of free pages may be in the part that is missing: it can be read as zeros
	 * then. */
	return truncate(path, (off_t)((info.me_last_pgno + 1) * stat.ms_psize)) == 0 &&
	       free_pages_from(env, there) == info.me_last_pgno + 1 - there;
}

void
env_warn_if_remote(const char *dir)
{
	/* NFS, SMB, SMB2, CIFS, FUSE, 9P: locks and maps can't be relied on. */
	static const unsigned long remote[] = { 0x6969,     0x517b,     0xfe534d42,
		                                0xff534d42, 0x65735546, 0x01021997 };
	struct statfs fs;
	if (statfs(dir, &fs) != 0)
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(remote); i++)
		if (((unsigned long)fs.f_type & 0xffffffff) == remote[i])
			log_warn("the cache in %s is on a network filesystem; name a local "
			         "directory with -o cache=DIR", dir);
}

bool
env_may_complain(atomic_llong *last)
{
	long long now = clock_boot_ns(), before = atomic_load(last);
	return (before == 0 || now - before > 60 * CLOCK_SEC) &&
	       atomic_compare_exchange_strong(last, &before, now);
}

gint64 *
env_new_key(uint64_t key)
{
	gint64 *copy = g_new(gint64, 1);
	*copy = (gint64)key;
	return copy;
}

int
env_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, void *data_r, size_t len)
{
	char text[16];
	size_t name_len = g_strlcpy(text, name, sizeof text);
	MDB_val key = VAL(text, name_len), value;
	int result = mdb_get(txn, meta, &key, &value);
	if (result == 0 && value.mv_size != len)
		result = MDB_CORRUPTED;
	if (result == 0)
		memcpy(data_r, value.mv_data, len);
	return result;
}

int
env_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, void *data, size_t len)
{
	char text[16];
	size_t name_len = g_strlcpy(text, name, sizeof text);
	MDB_val key = VAL(text, name_len), value = VAL(data, len);
	return mdb_put(txn, meta, &key, &value, 0);
}
