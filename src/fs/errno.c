/* SPDX-License-Identifier: MIT */
/* Faults to errno codes: see errno.h. */
#include "config.h"

#include "fs/errno.h"

#include <errno.h>

int
errno_of(enum fault_kind kind)
{
	switch (kind) {
	case FAULT_NONE:
		return 0;
	case FAULT_GONE:
		return ENOENT;
	case FAULT_READONLY:
		return EROFS;
	case FAULT_DENIED:
	case FAULT_AUTH:
		return EACCES;
	case FAULT_QUOTA:
		return EDQUOT;
	case FAULT_TOOBIG:
		return EFBIG;
	case FAULT_EXISTS:
		return EEXIST;
	case FAULT_INVALID:
		return EINVAL;
	case FAULT_UNREACHABLE:
	case FAULT_TLS:
		return EHOSTUNREACH;
	case FAULT_TIMEOUT:
		return ETIMEDOUT;
	case FAULT_CANCELLED: /* what the next call will see */
		return ENOTCONN;
	case FAULT_UNSUPPORTED:
		return EOPNOTSUPP;
	case FAULT_REFUSED:
	case FAULT_PROTOCOL:
	case FAULT_BUSY:
	case FAULT_CACHE:
		break;
	}
	return EIO;
}

int
errno_of_handle(enum fault_kind kind)
{
	return kind == FAULT_GONE ? ESTALE : errno_of(kind);
}
