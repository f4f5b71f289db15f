#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A mount in step with what other clients do, on real servers, in each of the ways there are."""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from follow import WHEN, in_step, inodes, letter, octets_right  # noqa: E402
from harness import case, check, equal, main, mount  # noqa: E402
from ways import SERVERS, WAYS, flags_follow, served  # noqa: E402


def by_uid(m, mailbox):
    """{uid: (name, inode number)}"""
    numbers = inodes(m, mailbox)
    return {uid: (name, numbers[name]) for uid, name in m.messages(mailbox).items()}


class Others:
    """What other clients do: everything that can be done to mail, by a fixed seed."""

    def __init__(self, server, seed, keywords=True):
        self.server, self.random, self.number = server, random.Random(seed), 1000
        self.keywords = keywords

    def letter(self):
        self.number += 1
        return letter(self.number, 600)

    def do(self, client, box, other):
        client.select(box)
        uids = client.uids()
        what = self.random.choice(['append', 'append', 'expunge', 'flag', 'flag', 'unflag',
                                   'copy', 'move', 'away'])
        if what == 'append' or len(uids) < 3:
            client.append(box, self.letter(), self.random.choice(['', '\\Seen', '\\Flagged']),
                          WHEN + self.number)
            return
        some = self.random.sample(uids, self.random.randint(1, min(3, len(uids))))
        flags = ['\\Seen', '\\Answered', '\\Flagged', '\\Draft']
        if self.keywords:
            flags.append('work')
        if what == 'expunge':
            client.store(some, '+FLAGS', '\\Deleted')
            client.expunge(some)
        elif what == 'flag':
            client.store(some, '+FLAGS', self.random.choice(flags))
        elif what == 'unflag':
            client.store(some, '-FLAGS', self.random.choice(flags))
        elif what == 'copy':
            client.copy(some, other)
        elif what == 'move':
            client.move(some, other)
        else:
            client.store(some[:1], '+FLAGS', '\\Deleted')


def follows(t, kind, way):
    server = served(t, kind, kind + way)
    with server.imap() as client:
        client.create('Other')
        for number in range(30):
            client.append('INBOX', letter(number, 600), '\\Seen', WHEN + number)
        client.append('Other', letter(100, 600), '', WHEN)
    # A keyword of an old message is seen by mod-sequences alone, or by the daily comparison.
    others = Others(server, 20261124, 'neither' not in way)
    m = mount(t, server, ['refresh=1', *WAYS[way]], name='mnt-' + way, home='%s/home-%s' % (t.path, way),
              expect=['.*'])
    in_step(m, server, 'INBOX', 'Other')
    octets_right(m, server, 'INBOX', 'Other')
    kept = by_uid(m, 'INBOX')
    with server.imap() as client:
        for number in range(120):
            box, other = others.random.choice([('INBOX', 'Other'), ('Other', 'INBOX')])
            others.do(client, box, other)
            if number % 40 == 19:
                in_step(m, server, 'INBOX', 'Other', quiet=True)
    in_step(m, server, 'INBOX', 'Other')
    octets_right(m, server, 'INBOX', 'Other')
    flags_follow(m, server, 'INBOX')
    flags_follow(m, server, 'Other')
    now = by_uid(m, 'INBOX')
    stayed = [u for u in kept if u in now]
    check(len(stayed) > 0, 'some have stayed')
    equal([now[u] for u in stayed], [kept[u] for u in stayed], 'with their names and inodes')
    # All gone, all new, while nobody looks.
    m.stop()
    with server.imap() as client:
        for number in range(40):
            others.do(client, 'INBOX', 'Other')
        client.select('Other')
        client.store(client.uids(), '+FLAGS', '\\Deleted')
        client.expunge(client.uids())
        client.create('Third')
        client.append('Third', others.letter(), '', WHEN)
    m.start()
    in_step(m, server, 'INBOX', 'Other', 'Third')
    octets_right(m, server, 'INBOX', 'Other', 'Third')
    flags_follow(m, server, 'INBOX')
    equal([n for n in m.ls('Other') if n.endswith('.eml')], [], 'the other one is empty')
    m.stop()
    server.stop()


for _kind in SERVERS:
    for _way in WAYS:
        def _case(t, kind=_kind, way=_way):
            follows(t, kind, way)
        _case.__name__ = '%s_%s' % (_kind, _way.replace('-', '_'))
        case(_case)


main()
