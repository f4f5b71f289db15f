#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Everything that may happen to messages, at random, while they are read: arrivals (forged ones
among them), expunges, moves, copies, renumberings with other orders and with the line cut, the
mount stopped and killed. What is read must at any time be the octets of the message that
user.imap.uid names, and what an open handle gives must be those of one message.

    STORM=seconds   how long each case goes on (10)
    SEED=number     of the first case, for another storm
"""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import ALL, MODERN, PLAIN, FakeImap  # noqa: E402
from follow import WHEN, in_step, inodes, letter, octets_right  # noqa: E402
from harness import case, check, main, mount  # noqa: E402

SECONDS = float(os.environ.get('STORM', '10'))
SEED = int(os.environ.get('SEED', '1'))
BOXES = ('INBOX', 'Archive', 'Other')
SMALL, LARGE = 6_000, 1_400_000


class Storm:
    def __init__(self, t, name, capabilities, options, seed, renumbers=True, **more):
        self.rand = random.Random(seed)
        self.renumbers = renumbers
        self.server = t.add(FakeImap(capabilities, **more))
        for box in BOXES[1:]:
            self.server.add_box(box)
        self.known = {}   # (mailbox, UIDVALIDITY, UID) -> octets, of all times
        self.all = set()  # octets of all times
        self.kinds = {}   # octets -> (number, size)
        self.numbers = iter(range(100, 10 ** 9))
        self.wrong, self.reads, self.partial, self.up = [], 0, 0, True
        self.over = threading.Event()
        for box in BOXES:
            for _ in range(4):
                self.change('add', box)
        self.m = mount(t, self.server, ['refresh=1', 'timeout=5',
                                        'cache=%s/c-%s' % (t.path, name), *options],
                       name='m-' + name, expect=['.*'])

    # What other clients do.

    def octets(self, like=None):
        """A new message, or one that looks like another one."""
        kind, rand = self.rand.random(), self.rand
        number, size = self.kinds.get(like) or (
            (next(self.numbers), SMALL) if kind < 0.3 else
            (rand.randrange(3), SMALL) if kind < 0.7 else (9, LARGE))
        digit = b'%d' % rand.randrange(4)
        # By the whole header section renumbered messages are told apart, by that alone.
        extra = b'X-Variant: %s\r\n' % (digit if self.renumbers else b'0')
        head, middle, body = letter(number, size, extra=extra).partition(b'\r\n\r\n')
        octets = head + middle + body.replace(b'a', digit)
        self.kinds[octets] = (number, size)
        return octets

    def note(self):
        for name in BOXES:
            box = self.server.box(name)
            for message in box.messages:
                self.known[name, box.uidvalidity, message.uid] = message.body
                self.all.add(message.body)

    def change(self, what=None, name=None):
        rand = self.rand
        with self.server.lock:
            box = self.server.box(name or rand.choice(BOXES))
            what = what or rand.choice(('add', 'expunge', 'move', 'move', 'copy', 'replace', 'replace',
                                        'renumber' if self.renumbers else 'move'))
            some = rand.choice(box.messages) if box.messages else None
            other = rand.choice([b for b in BOXES if b != box.name])
            if what == 'add' or some is None:
                box.add(self.octets(), date=WHEN)
            elif what == 'expunge':
                box.expunge([some.uid])
            elif what in ('move', 'copy') and len(self.server.box(other).messages) < 9:
                getattr(self.server, what)(some, other)
            elif what == 'replace':
                box.expunge([some.uid])
                self.server.box(other).add(self.octets(some.body), date=WHEN)
            elif what == 'renumber':
                order = rand.sample(box.messages, rand.randint(len(box.messages) // 2,
                                                               len(box.messages)))
                new = self.server.box(other).add(self.octets(some.body), date=WHEN)
                if rand.random() < 0.5:  # it comes with the new generation
                    self.server.box(other).messages.remove(new)
                    order.insert(rand.randint(0, len(order)), new)
                # Nobody is left inside with the old UIDs, and not told.
                tell = rand.choice(('code', 'bye', None))
                box.renumber(rand.choice((1, 2, 500)), order, tell)
                self.server.drop_all() if tell is None else None
            self.note()

    # What readers do.

    def ids(self, path, mailbox):
        return (mailbox, int(os.getxattr(path, 'user.imap.uidvalidity')),
                int(os.getxattr(path, 'user.imap.uid')))

    def look(self, rand):
        mailbox = rand.choice(BOXES)
        path = self.m.p(mailbox, rand.choice(self.m.ls(mailbox)))
        before = self.ids(path, mailbox)
        with open(path, 'rb', buffering=0) as f:
            got = b''
            while data := f.read(rand.choice((3000, 200_000))):
                got += data
                if rand.random() < 0.1:
                    self.over.wait(rand.random())
        self.reads += 1
        if got not in self.all:
            self.wrong.append(('a mixture', before, len(got)))
        elif self.ids(path, mailbox) == before and self.known.get(before) != got:
            self.wrong.append(('another message', before, len(got)))

    def hold(self, rand):
        mailbox = rand.choice(BOXES)
        path = self.m.p(mailbox, rand.choice(self.m.ls(mailbox)))
        got = b''
        with open(path, 'rb', buffering=0) as f:
            try:
                while data := f.read(rand.choice((1000, 100_000))):
                    got += data
                    self.over.wait(2 * rand.random())
            except OSError:
                self.partial += 1
        if not any(octets.startswith(got) for octets in list(self.all)):
            self.wrong.append(('a mixture in a handle', path, len(got)))

    def read(self, seed):
        rand = random.Random(seed)
        while not self.over.is_set():
            try:
                (self.hold if seed % 2 else self.look)(rand)
            except (OSError, IndexError):
                self.over.wait(0.05)  # it has gone, or the mount has
            except RuntimeError:
                pass  # the set changed while it was walked over

    # The whole.

    def run(self):
        readers = [threading.Thread(target=self.read, args=(i,)) for i in range(5)]
        for reader in readers:
            reader.start()
        end = time.monotonic() + SECONDS
        rounds = 0
        while time.monotonic() < end and not self.wrong:
            rounds += 1
            for _ in range(self.rand.randint(1, 4)):
                self.change()
                time.sleep(self.rand.choice((0, 0, 0.1)))
            if self.rand.random() < 0.3:
                self.server.cut_at_response = self.rand.randint(1, 60)
            time.sleep(self.rand.random())
            if self.rand.random() < 0.25:
                self.m.kill()
                self.m.start()
        self.server.cut_at_response = None
        self.over.set()
        for reader in readers:
            reader.join(60)
        self.check(rounds)

    def check(self, rounds):
        log = self.m.log()[-3000:]
        check(self.wrong == [], 'always the octets of the message that it is', '%s\n%s' % (
            self.wrong[:5], log))
        check(rounds > 1 and self.reads > 20, 'and many were read', (rounds, self.reads))
        for again in (False, True):
            in_step(self.m, self.server, *BOXES)
            octets_right(self.m, self.server, *BOXES, what='in the end, too')
            numbers = [i for box in BOXES for i in inodes(self.m, box).values()]
            check(len(set(numbers)) == len(numbers), 'no inode is given twice', numbers)
            self.m.remount() if not again else None
        print('      %d rounds, %d reads, %d handles that ended early' % (
            rounds, self.reads, self.partial))


def storm(t, number, name, capabilities, options=(), **more):
    Storm(t, name, capabilities, list(options), SEED + number, **more).run()


@case
def without_ids(t):
    storm(t, 1, 'none', MODERN)


@case
def with_equal_headers(t):
    storm(t, 7, 'equal', MODERN, renumbers=False)
    storm(t, 8, 'equal-plain', PLAIN, renumbers=False)


@case
def without_extensions(t):
    storm(t, 2, 'plain', PLAIN)


@case
def with_emailid(t):
    storm(t, 3, 'emailid', MODERN + ' OBJECTID')


@case
def with_guid(t):
    storm(t, 4, 'guid', ALL, x_guid=True)


@case
def with_little_room(t):
    storm(t, 5, 'little', MODERN, ['cache_size=1M'])


@case
def with_no_room(t):
    storm(t, 6, 'no', ALL, ['cache_size=4k'])


for function in (without_ids, with_equal_headers, without_extensions, with_emailid, with_guid, with_little_room,
                 with_no_room):
    function.limit = 300 + 2 * SECONDS

main()
