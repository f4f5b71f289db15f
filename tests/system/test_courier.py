#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A mount on a real Courier, whose ways are its own: see courier.py."""
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from courier import Courier  # noqa: E402
from follow import WHEN, in_step, inodes, letter, new_ones_go, octets_right  # noqa: E402
from harness import Mount, Proxy, case, check, equal, error_of, main, wait_for  # noqa: E402


def mounted(t, server):
    return t.add(Mount(t, server.url(), ['tls=off', 'refresh=1'], expect=['Filesystem notification']))


def deliver(server, numbers):
    """As a delivery agent does it, which knows nothing of IMAP."""
    for number in numbers:
        path = os.path.join(server.maildir(), 'tmp', '%d.test' % number)
        with open(path, 'wb') as f:
            f.write(letter(number, 600).replace(b'\r\n', b'\n'))
        os.utime(path, (WHEN + number, WHEN + number))
        os.rename(path, os.path.join(server.maildir(), 'new', '%d.test' % number))


def flags_follow(m, server, mailbox):
    def same():
        with server.imap() as client:
            client.examine(server.name(mailbox))
            wanted = {uid: sorted(flags) for uid, flags in client.flags().items()
                      if '\\Deleted' not in flags}
        try:
            return wanted == {uid: sorted(m.xattr('user.imap.flags', mailbox, name).split())
                              for uid, name in m.messages(mailbox).items()}
        except OSError:
            return False  # it changes under us
    check(wait_for(same, 30, 0.2), 'the flags in %s are the server\'s' % mailbox)


@case
def follows(t):
    """What another client does: arrivals, expunges, flags and keywords, copies."""
    server = t.add(Courier(t.path))
    rand = random.Random(20261125)
    with server.imap() as client:
        client.create('INBOX.Other')
        for number in range(30):
            client.append('INBOX', letter(number, 600), '\\Seen', WHEN + number)
        client.append('INBOX.Other', letter(30, 600), '', WHEN)
        m = mounted(t, server)
        in_step(m, server, 'INBOX', 'Other')
        kept = inodes(m, 'INBOX')
        flags = ['\\Seen', '\\Answered', '\\Flagged', '\\Draft', 'work']
        for number in range(100, 200):
            client.select(rand.choice(['INBOX', 'INBOX.Other']))
            uids = client.uids()
            some = rand.sample(uids, min(len(uids), rand.randint(1, 3)))
            what = rand.choice(['append', 'append', 'expunge', 'flag', 'unflag', 'copy', 'away'])
            if what == 'append' or len(some) < 3:
                client.append(client.selected, letter(number, 600), '', WHEN + number)
            elif what == 'expunge':
                client.expunge(some)
            elif what == 'copy':
                client.copy(some, 'INBOX.Other')
            elif what == 'away':
                client.store(some[:1], '+FLAGS', '\\Deleted')
            else:
                client.store(some, '+FLAGS' if what == 'flag' else '-FLAGS', rand.choice(flags))
            if number % 30 == 29:
                in_step(m, server, 'INBOX', 'Other', quiet=True)
    in_step(m, server, 'INBOX', 'Other')
    octets_right(m, server, 'INBOX', 'Other')
    flags_follow(m, server, 'INBOX')
    flags_follow(m, server, 'Other')
    now = inodes(m, 'INBOX')
    stayed = [n for n in kept if n in now]
    equal([now[n] for n in stayed], [kept[n] for n in stayed], 'what stayed has its inodes')
    gone = m.ls('INBOX')[0]
    os.unlink(m.p('INBOX', gone))
    trashed = wait_for(lambda: 'Trash' in m.ls() and gone in m.ls('Trash'), 30, 0.2)
    check(trashed, 'what is unlinked goes to the trash')
    in_step(m, server, 'INBOX', 'Trash')
    new_ones_go(m, server)
    in_step(m, server, 'INBOX', 'Trash')


@case
def what_was_expunged_is_not_there(t):
    """Courier gives a text of its own for what another client has expunged."""
    server = t.add(Courier(t.path))
    deliver(server, range(4))
    m = t.add(Mount(t, server.url(), ['tls=off', 'refresh=3600', 'without=IDLE', 'connections=1']))
    names = m.messages('INBOX')
    first, *others = sorted(names)
    m.read('INBOX', names[first])
    with server.imap() as client:
        client.select('INBOX')
        client.expunge(others[:2])
    for uid in others[:2]:
        equal(error_of(m.read, 'INBOX', names[uid]), 'ENOENT', 'it is not there')
    octets_right(m, server, 'INBOX')


@case
def the_trash_was_made_meanwhile(t):
    """CREATE of what is there is a NO like any other."""
    server = t.add(Courier(t.path))
    deliver(server, range(3))
    m = t.add(Mount(t, server.url(), ['tls=off', 'refresh=3600', 'without=IDLE']))
    names = m.ls('INBOX')
    with server.imap() as client:
        client.create('INBOX.Trash')
        os.unlink(m.p('INBOX', names[0]))
        m.stop()
        client.examine('INBOX.Trash')
        equal(len(client.uids()), 1, 'what is unlinked goes to the trash')


@case
def the_trash_is_made_at_the_start(t):
    """What was pending is deleted before the mailboxes are listed, which tells the namespace."""
    server = t.add(Courier(t.path))
    proxy = t.add(Proxy(t.path, server.port))
    deliver(server, range(6))
    m = t.add(Mount(t, server.url(port=proxy.port), ['tls=off', 'refresh=3600', 'without=IDLE']))
    names = m.ls('INBOX')
    proxy.refuse()
    proxy.cut()
    for name in names[:3]:
        os.unlink(m.p('INBOX', name))
    time.sleep(1.5)  # until the journal is written
    m.kill()
    proxy.refuse(False)
    m.start()
    wait_for(lambda: 'Trash' in m.ls(), 10, 0.1)
    m.stop()
    with server.imap() as client:
        equal(sorted(client.mailboxes()), ['INBOX', 'INBOX.Trash'], 'the trash is in the namespace')
        client.examine('INBOX.Trash')
        equal(len(client.uids()), 3, 'what was unlinked is in the trash')
        client.examine('INBOX')
        equal(len(client.uids()), 3, 'and nowhere else')


@case
def is_opened_by_nobody_else(t):
    """A mailbox that no other client ever selects has no UIDVALIDITY yet that would stay."""
    server = t.add(Courier(t.path))
    deliver(server, range(12))
    m = mounted(t, server)
    equal(len(m.ls('INBOX')), 12, 'all are listed')
    before = inodes(m, 'INBOX'), m.xattr('user.imap.uidvalidity', 'INBOX')
    for _ in range(3):
        time.sleep(1.2)  # UIDVALIDITYs are seconds, and the refresh is one
        m.ls('INBOX')
    wait_for(lambda: len(m.ls('INBOX')) == 12, 10, 0.2)
    equal((inodes(m, 'INBOX'), m.xattr('user.imap.uidvalidity', 'INBOX')), before,
          'it is not renumbered by being looked at')
    deliver(server, range(20, 25))
    in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX')
    # All UIDs are lost, and with them the UIDVALIDITY.
    numbers = inodes(m, 'INBOX')
    m.stop()
    os.unlink(os.path.join(server.maildir(), 'courierimapuiddb'))
    m.start()
    m.ls('INBOX')
    renumbered = wait_for(lambda: 'was renumbered' in m.log(), 30, 0.2)
    check(renumbered, 'that is found out')
    for _ in range(2):
        time.sleep(1.2)
        m.ls('INBOX')
    in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX')
    equal(inodes(m, 'INBOX'), numbers, 'all are who they were')
    equal(m.log().count('was renumbered'), 1, 'that happened once')


main()
