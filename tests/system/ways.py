# SPDX-License-Identifier: MIT
"""The ways there are to have news of a mailbox, and the real servers they are tried on."""
import os

from cyrus import Cyrus
from dovecot import Dovecot
from harness import check, wait_for

# How news are had; the polling of what is watched is left to test_push.py.
WAYS = {
    'qresync': [],
    'condstore': ['without=QRESYNC'],
    'condstore-search': ['without=QRESYNC:ESEARCH'],
    'neither': ['without=QRESYNC:CONDSTORE'],
    'neither-search': ['without=QRESYNC:CONDSTORE:ESEARCH:NOTIFY:IDLE'],
}
SERVERS = {'dovecot': Dovecot, 'cyrus': Cyrus}


def served(t, kind, name):
    path = os.path.join(t.path, name)
    os.makedirs(path)
    os.chmod(path, 0o755)
    return t.add(SERVERS[kind](path))


def flags_of(m, mailbox):
    """{uid: sorted flags} as getfattr shows them."""
    return {uid: sorted(m.xattr('user.imap.flags', mailbox, name).split())
            for uid, name in m.messages(mailbox).items()}


def server_flags(server, mailbox):
    with server.imap() as client:
        client.examine(mailbox)
        return {uid: sorted(f for f in flags if f != '\\Recent')
                for uid, flags in client.flags().items() if '\\Deleted' not in flags}


def flags_follow(m, server, mailbox):
    def same():
        try:
            return flags_of(m, mailbox) == server_flags(server, mailbox)
        except OSError:
            return False  # it changes under us
    ok = wait_for(same, 30, 0.2)
    check(ok, 'the flags in %s are the server\'s' % mailbox,
          None if ok else '%s\n%s' % (flags_of(m, mailbox), server_flags(server, mailbox)))
