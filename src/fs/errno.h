/* SPDX-License-Identifier: MIT */
/* The one place where a fault becomes an errno. */
#ifndef FS_ERRNO_H
#define FS_ERRNO_H

#include "base/fault.h"

/* A positive errno for a call by name. */
int errno_of(enum fault_kind kind);
/* The same for a call on an inode that the kernel holds, by a handle or by a name that it looked up
 * before: what is gone is ESTALE there, which has the kernel look the name up once more. */
int errno_of_handle(enum fault_kind kind);

#endif
