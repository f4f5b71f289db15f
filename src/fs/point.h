/* SPDX-License-Identifier: MIT */
/*
 * The mount point: a directory that is there, is empty, and has no filesystem
 * of our kind on it. A dead mount that a killed process left behind (calls to it
 * fail with ENOTCONN) is detached.
 */
#ifndef FS_POINT_H
#define FS_POINT_H

#include <stdbool.h>

#include "base/fault.h"

/* False: it can't be mounted on, and why. nonempty: what is in it may be hidden. */
bool point_prepare(const char *path, bool nonempty, struct fault *fault);

/* Detaches what is mounted there, in use or not. */
bool point_detach(const char *path);

/*
 * The type and source of the topmost mount on a path, out of the text of a mountinfo file
 * (proc(5)). The path is absolute and has no links. False: nothing is mounted right there.
 */
bool point_find(const char *mountinfo, const char *path, char **type_r, char **source_r);

#endif
