/* SPDX-License-Identifier: MIT */
/* The one place where a fault becomes an errno. */
#ifndef FS_ERRNO_H
#define FS_ERRNO_H

#include "base/fault.h"

/* A positive errno for a call by name or inode number. */
int errno_of(enum fault_kind kind);
/* The same for a call on an open handle: what is gone is ESTALE there. */
int errno_of_handle(enum fault_kind kind);

#endif
