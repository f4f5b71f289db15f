/* SPDX-License-Identifier: MIT */
/*
 * The floor: a filesystem of one flat directory that answers from memory, with the
 * mount options and the manners of imapfs. What it takes is the kernel's protocol;
 * what imapfs takes on top of that is its own.
 *
 *     floor LIST MOUNTPOINT
 *
 * LIST has a line an entry: "SIZE MTIME NAME" (octets, seconds since 1970). It ends
 * when it is unmounted. Files can't be read.
 */
#include "config.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_INO 2      /* of the first file; the directory is FUSE_ROOT_ID */
#define VALID_S   86400.0

struct entry {
	char *name;
	uint64_t size;
	int64_t mtime;
};

static struct floor {
	GArray *entries;     /* struct entry */
	GHashTable *by_name; /* name -> its place in entries, plus 1 */
	uid_t uid;
	gid_t gid;
} tree;

static bool
read_list(const char *path)
{
	char *text, *rest;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return false;
	tree.entries = g_array_new(FALSE, FALSE, sizeof(struct entry));
	tree.by_name = g_hash_table_new(g_str_hash, g_str_equal);
	tree.uid = getuid();
	tree.gid = getgid();
	/* The names stay where they were read to. */
	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		struct entry entry = { .size = strtoull(line, &line, 10),
			               .mtime = strtoll(line, &line, 10) };
		if (*line != ' ')
			return false;
		entry.name = line + 1;
		g_array_append_val(tree.entries, entry);
		g_hash_table_insert(tree.by_name, entry.name, GUINT_TO_POINTER(tree.entries->len));
	}
	return true;
}

static bool
stat_of(fuse_ino_t ino, struct stat *attr_r)
{
	*attr_r = (struct stat){ .st_ino = ino, .st_uid = tree.uid, .st_gid = tree.gid,
		                 .st_blksize = 4096 };
	if (ino == FUSE_ROOT_ID) {
		attr_r->st_mode = S_IFDIR | 0700;
		attr_r->st_nlink = 2;
		return true;
	}
	if (ino - FIRST_INO >= tree.entries->len)
		return false;
	const struct entry *entry = &g_array_index(tree.entries, struct entry, ino - FIRST_INO);
	attr_r->st_mode = S_IFREG | 0600;
	attr_r->st_nlink = 1;
	attr_r->st_size = (off_t)entry->size;
	attr_r->st_blocks = (blkcnt_t)((entry->size + 511) / 512);
	attr_r->st_mtime = attr_r->st_ctime = attr_r->st_atime = entry->mtime;
	return true;
}

static void
op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	conn->want |= conn->capable & FUSE_CAP_READDIRPLUS;
	conn->max_background = conn->congestion_threshold = 65535;
}

static void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	guint place = GPOINTER_TO_UINT(g_hash_table_lookup(tree.by_name, name));
	struct fuse_entry_param entry = { .attr_timeout = VALID_S, .entry_timeout = VALID_S };
	if (parent == FUSE_ROOT_ID && place > 0) {
		entry.ino = FIRST_INO + place - 1;
		stat_of(entry.ino, &entry.attr);
	}
	fuse_reply_entry(req, &entry);
}

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat attr;
	(void)fi;
	if (stat_of(ino, &attr))
		fuse_reply_attr(req, &attr, VALID_S);
	else
		fuse_reply_err(req, ESTALE);
}

static void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->cache_readdir = fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void
read_directory(fuse_req_t req, size_t size, off_t off, bool plus)
{
	char *buffer = g_malloc(size);
	size_t used = 0;
	for (guint at = (guint)off; at < tree.entries->len; at++) {
		const struct entry *entry = &g_array_index(tree.entries, struct entry, at);
		struct fuse_entry_param param = { .ino = FIRST_INO + at, .attr_timeout = VALID_S,
			                          .entry_timeout = VALID_S };
		stat_of(param.ino, &param.attr);
		size_t need = plus ? fuse_add_direntry_plus(req, buffer + used, size - used,
		                                            entry->name, &param, at + 1)
		                   : fuse_add_direntry(req, buffer + used, size - used, entry->name,
		                                       &param.attr, at + 1);
		if (need > size - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, buffer, used);
	g_free(buffer);
}

static void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	read_directory(req, size, off, false);
}

static void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	read_directory(req, size, off, true);
}

/* ls stops asking for a kind of attribute after this answer alone. */
static void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino;
	(void)size;
	fuse_reply_err(req, g_str_has_prefix(name, "user.") ? ENODATA : EOPNOTSUPP);
}

static const struct fuse_lowlevel_ops table = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.getxattr = op_getxattr,
};

int
main(int argc, char **argv)
{
	char *words[] = { argv[0], (char[]){ "-o" },
		          (char[]){ "fsname=floor,subtype=floor,default_permissions" }, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, words);
	if (argc != 3 || !read_list(argv[1])) {
		fprintf(stderr, "usage: floor LIST MOUNTPOINT\n");
		return 2;
	}
	struct fuse_session *session = fuse_session_new(&args, &table, sizeof table, NULL);
	if (session == NULL || fuse_session_mount(session, argv[2]) != 0)
		return 1;
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	fuse_loop_cfg_set_clone_fd(loop, 0);
	int result = fuse_session_loop_mt(session, loop);
	fuse_loop_cfg_destroy(loop);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return result != 0;
}
