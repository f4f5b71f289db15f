# SPDX-License-Identifier: MIT
"""stat as the kernel has it, and as it is told when it asks anew: what differs is stale."""
import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, FORCE_SYNC = 0x100, 0x2000
BASIC = 0x7ff


def _statx(path, flags):
    buffer = ctypes.create_string_buffer(256)
    if _libc.statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW | flags, BASIC, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    (_, _, _, nlink, uid, gid, mode, ino, size, blocks, _) = struct.unpack_from(
        '<IIQIIIHxxQQQQ', buffer.raw, 0)
    times = [struct.unpack_from('<qI', buffer.raw, at) for at in (64, 96, 112)]
    return {'mode': mode, 'nlink': nlink, 'uid': uid, 'gid': gid, 'ino': ino, 'size': size,
            'blocks': blocks, 'ctime': times[1], 'mtime': times[2]}


def kept(path):
    """What stat says: from the kernel's cache, where that is held for good."""
    return _statx(path, 0)


def asked(path):
    """What the program says now."""
    return _statx(path, FORCE_SYNC)


def stale(path):
    """{field: (kept, asked)} of those that differ."""
    old, new = kept(path), asked(path)
    return {key: (old[key], new[key]) for key in old if old[key] != new[key]}
