/* SPDX-License-Identifier: MIT */
/* The mount point: see point.h. */
#include "config.h"

#include "fs/point.h"

#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/log.h"

/* mountinfo writes blanks and the like as octal, which is what g_strcompress() undoes. */
bool
point_find(const char *mountinfo, const char *path, char **type_r, char **source_r)
{
	char **lines = g_strsplit(mountinfo, "\n", -1);
	bool found = false;
	for (char **line = lines; *line != NULL; line++) {
		char **halves = g_strsplit(*line, " - ", 2);
		char **left = g_strsplit(halves[0] != NULL ? halves[0] : "", " ", -1);
		char **right = g_strsplit(halves[0] != NULL && halves[1] != NULL ? halves[1] : "",
		                          " ", -1);
		if (g_strv_length(left) >= 5 && g_strv_length(right) >= 2) {
			char *place = g_strcompress(left[4]);
			if (strcmp(place, path) == 0) {
				if (found) { /* a later one lies on top */
					g_free(*type_r);
					g_free(*source_r);
				}
				*type_r = g_strdup(right[0]);
				*source_r = g_strcompress(right[1]);
				found = true;
			}
			g_free(place);
		}
		g_strfreev(halves);
		g_strfreev(left);
		g_strfreev(right);
	}
	g_strfreev(lines);
	return found;
}

static bool
run_fusermount(const char *path)
{
	char fusermount[] = "fusermount3", options[] = "-uz", end[] = "--";
	char *where = g_strdup(path);
	char *argv[] = { fusermount, options, end, where, NULL };
	int status = -1;
	bool ok = g_spawn_sync(NULL, argv, NULL,
	                       G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
	                               G_SPAWN_STDERR_TO_DEV_NULL,
	                       NULL, NULL, NULL, NULL, &status, NULL) &&
	          status == 0;
	g_free(where);
	return ok;
}

bool
point_detach(const char *path)
{
	return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || run_fusermount(path);
}

static bool
is_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool empty = true;
	if (dir == NULL)
		return true; /* not for us to know */
	while (empty && (entry = readdir(dir)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(dir);
	return empty;
}

static bool
point_fault(const char *path, int err, struct fault *fault)
{
	if (err == ENOENT)
		return fault_set(fault, FAULT_INVALID,
		                 "the mount point %s does not exist; make it with mkdir", path);
	return fault_set(fault, FAULT_INVALID, "the mount point %s can't be used: %s", path,
	                 strerror(err));
}

/* What is mounted on it already. *automount_r: a place that waits for this very mount. */
static bool
check_mounts(const char *path, bool *automount_r, struct fault *fault)
{
	char *mountinfo, *type, *source;
	char *real = realpath(path, NULL);
	bool ok = true;
	if (real != NULL && g_file_get_contents("/proc/self/mountinfo", &mountinfo, NULL, NULL)) {
		if (point_find(mountinfo, real, &type, &source)) {
			*automount_r = strcmp(type, "autofs") == 0;
			if (g_str_has_prefix(type, "fuse"))
				ok = fault_set(fault, FAULT_BUSY,
				               "%s is in use: %s is mounted there; unmount it "
				               "with fusermount3 -u %s", path, source, path);
			g_free(type);
			g_free(source);
		}
		g_free(mountinfo);
	}
	free(real);
	return ok;
}

bool
point_prepare(const char *path, bool nonempty, struct fault *fault)
{
	struct stat st;
	bool automount = false;
	int err = stat(path, &st) == 0 ? 0 : errno;
	if (err == ENOTCONN) {
		log_info("%s: detaching a dead mount", path);
		if (!point_detach(path))
			return fault_set(fault, FAULT_BUSY,
			                 "a dead mount on %s can't be removed; try fusermount3 "
			                 "-uz %s", path, path);
		err = stat(path, &st) == 0 ? 0 : errno;
	}
	if (err != 0)
		return point_fault(path, err, fault);
	if (!S_ISDIR(st.st_mode))
		return point_fault(path, ENOTDIR, fault);
	if (!check_mounts(path, &automount, fault))
		return false;
	/* To look into an automount point would call for the mount that is being made. */
	if (!automount && !nonempty && !is_empty(path))
		return fault_set(fault, FAULT_INVALID,
		                 "the mount point %s is not empty; take another directory, or hide "
		                 "what is in it with -o nonempty", path);
	return true;
}
