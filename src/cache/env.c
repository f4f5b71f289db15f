/* SPDX-License-Identifier: MIT */
/* Opening LMDB's files: see env.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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
