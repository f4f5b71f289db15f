#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the kernel keeps: after any storm of changes and readers it is what the server says.

STORM is how many seconds a storm lasts.
"""
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
import statx  # noqa: E402
from follow import letter  # noqa: E402
from harness import Dovecot, case, check, equal, main, mount, need, wait_for  # noqa: E402
from imapclient import ImapError  # noqa: E402

STORM = float(os.environ.get('STORM', '15'))
BOXES = ('INBOX', 'Work', 'Work/Deeper')
LETTERS = 40
FLAGS = ('\\Seen', '\\Flagged', '\\Answered', 'word', 'another')
# Longer than `refresh` of these mounts: what is kept then was not to be forgotten by itself.
BEYOND_REFRESH = 2.5


class Writer(threading.Thread):
    """Another client, which does this and that."""

    def __init__(self, server, seed, mailboxes):
        super().__init__(daemon=True)
        self.server, self.random, self.mailboxes = server, random.Random(seed), mailboxes
        self.over = threading.Event()
        self.error, self.done = None, 0
        self.temporary = []

    def run(self):
        try:
            with self.server.imap() as c:
                while not self.over.is_set():
                    try:
                        self.step(c)
                    except ImapError:  # the other one was faster
                        pass
                    self.done += 1
                    time.sleep(self.random.choice((0, 0, 0.01, 0.05, 0.3)))
        except Exception as error:
            self.error = error

    def step(self, c):
        dice = self.random
        if self.mailboxes and dice.random() < 0.1:
            return self.change_mailboxes(c)
        box = dice.choice(BOXES)
        what = dice.choice(('append', 'append', 'flag', 'flag', 'flags', 'expunge', 'move', 'copy'))
        if what == 'append':
            return c.append(box, letter(dice.randrange(LETTERS), 600), dice.choice(FLAGS))
        uids = c.select(box).uids()
        if not uids:
            return None
        if what == 'flag':
            c.store(dice.choice(uids), dice.choice('+-') + 'FLAGS', dice.choice(FLAGS))
        elif what == 'flags':
            c.store(uids, dice.choice('+-') + 'FLAGS.SILENT', dice.choice(FLAGS))
        elif what == 'expunge':
            c.expunge(dice.sample(uids, min(len(uids), dice.randrange(1, 4))))
        elif what == 'move':
            c.move([dice.choice(uids)], dice.choice([b for b in BOXES if b != box]))
        else:
            c.copy([dice.choice(uids)], dice.choice(BOXES))

    def change_mailboxes(self, c):
        dice = self.random
        if len(self.temporary) < 2 or dice.random() < 0.3:
            name = 'Tmp%d' % dice.randrange(6)
            if name not in self.temporary:
                c.create(name)
                self.temporary.append(name)
                c.append(name, letter(1, 600))
        elif dice.random() < 0.5:
            old, new = self.temporary.pop(0), 'Tmp%d' % dice.randrange(6, 12)
            if new not in self.temporary:
                c.rename(old, new)
                self.temporary.append(new)
            else:
                c.delete(old)
        else:
            c.delete(self.temporary.pop(0))


class Looker(threading.Thread):
    """Asks for every name that it has ever seen."""

    def __init__(self, m, seed):
        super().__init__(daemon=True)
        self.m, self.random = m, random.Random(seed)
        self.over = threading.Event()
        self.seen = set()

    def run(self):
        while not self.over.is_set():
            for path, directories, files in os.walk(self.m.path):
                self.seen.update(os.path.join(path, n) for n in directories + files)
            for path in self.random.sample(sorted(self.seen), min(len(self.seen), 200)):
                try:
                    os.stat(path)
                    os.getxattr(path, 'user.imap.flags')
                except OSError:
                    pass


class Readers:
    """Programs that read all the time."""

    def __init__(self, m, *scripts):
        self.children = [subprocess.Popen(
            ['/bin/sh', '-c', 'while :; do %s; done' % s], cwd=m.path, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for s in scripts]

    def stop(self):
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def truth(server, box):
    """{uid: flags}, what is marked as deleted left out."""
    with server.imap() as c:
        c.examine(box)
        return {uid: flags for uid, flags in c.flags().items() if '\\Deleted' not in flags}


def shown(m, box):
    """The same of the mount, None while it changes under us."""
    try:
        return {uid: set(m.xattr('user.imap.flags', box, name).split())
                for uid, name in m.messages(box).items()}
    except OSError:
        return None


def kernel_agrees(m, seen, what):
    """What stat says without asking the program is what it says when asked; a name is there if it
    is listed. Each is looked at once: asking mends."""
    paths = [m.path]
    for path, directories, files in os.walk(m.path):
        paths += [os.path.join(path, n) for n in directories + files]
    wrong = {os.path.relpath(p, m.path): d for p in paths if (d := statx.stale(p))}
    equal(wrong, {}, what + ': nothing stale is kept')
    equal(sorted(p for p in seen if os.path.lexists(p)), sorted(seen & set(paths)),
          what + ': what is not listed is not found')


def storm(t, what, options, pattern=None):
    server = t.add(Dovecot(t.path, separator='/'))
    with server.imap() as c:
        for box in BOXES[1:]:
            c.create(box)
        for n in range(LETTERS):
            c.append(BOXES[n % 3], letter(n, 600))
    m = mount(t, server, ['refresh=1', *options], debug=bool(pattern))
    need(all(len(m.messages(box)) >= LETTERS // 3 for box in BOXES), 'all is listed')
    if pattern:
        need(wait_for(lambda: re.search(pattern, m.log()), 30), 'it listens')
    readers = t.add(Readers(m, 'grep -rc e.e .', 'ls -lR', 'find . -newer INBOX', 'grep -r x Work'))
    lookers = [Looker(m, n) for n in range(2)]
    writers = [Writer(server, n, n == 0) for n in range(2)]
    for thread in lookers + writers:
        thread.start()
    time.sleep(STORM)
    for thread in writers:
        thread.over.set()
        thread.join(60)
        check(thread.error is None and thread.done > 0, 'the other client did its part',
              (thread.error, thread.done))
    with server.imap() as c:
        # A connection to Dovecot may miss mailboxes that change in quick succession, in LIST, until
        # another one does. So may this one, and it may miss the last.
        for name in ('Last', 'The last'):
            time.sleep(1.1)
            c.create(name)
        boxes = set(c.mailboxes()) - {'The last'}
    for box in BOXES:
        check(wait_for(lambda: shown(m, box) == truth(server, box), 60, 0.2),
              '%s: %s is as the server has it' % (what, box),
              '%s\n%s' % (shown(m, box), truth(server, box)))

    def mailboxes():
        return {os.path.relpath(os.path.join(path, d), m.path) for path, directories, _
                in os.walk(m.path) for d in directories} - {'The last'}
    check(wait_for(lambda: mailboxes() == boxes, 60, 0.2), what + ': and so are the mailboxes',
          '%s\n%s' % (mailboxes(), boxes))
    for thread in lookers:
        thread.over.set()
        thread.join(60)
    readers.stop()
    time.sleep(BEYOND_REFRESH)
    kernel_agrees(m, lookers[0].seen | lookers[1].seen, what)


@case
def storm_with_notify(t):
    storm(t, 'NOTIFY', [])


@case
def storm_with_idle(t):
    storm(t, 'IDLE', ['without=NOTIFY'])


@case
def storm_with_polling(t):
    storm(t, 'polling', ['without=NOTIFY:IDLE'])


@case
def flags_change_while_listed(t):
    """An inode that the kernel does not know yet, while the answer that tells of it is under way."""
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(3000))
    m = mount(t, server, 'refresh=3600')
    equal(len(m.ls('INBOX')), 3000, 'all is listed')
    client = t.add(server.imap())
    client.select('INBOX')
    for number in range(8):
        m.remount()
        time.sleep(0.5)

        def walk(delay=0.5 + number % 4 * 0.03):
            time.sleep(delay)  # Dovecot tells half a second later
            with os.scandir(m.p('INBOX')) as entries:
                for entry in entries:
                    entry.stat(follow_symlinks=False)
        thread = threading.Thread(target=walk)
        thread.start()
        client.store(range(1, 3001), '+-'[number % 2] + 'FLAGS.SILENT', '\\Flagged')
        thread.join()
        names = m.ls('INBOX')
        wanted = number % 2 == 0
        check(wait_for(lambda: all(('\\Flagged' in m.xattr('user.imap.flags', 'INBOX', n)) == wanted
                                   for n in names), 60, 0.2), 'the flags are seen')
        time.sleep(0.5)
        equal([n for n in names if statx.stale(m.p('INBOX', n))], [], 'nothing stale is kept')


@case
def deletion_changes_the_directory(t):
    """Its time is written down after the deletion shows, and the kernel may ask in between."""
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(20))
    m = mount(t, server, 'refresh=3600')
    names = m.ls('INBOX')
    before = os.stat(m.p('INBOX')).st_mtime_ns
    for name in names[:3]:
        os.unlink(m.p('INBOX', name))
        os.stat(m.p('INBOX'))
        time.sleep(3)
        equal(statx.stale(m.p('INBOX')), {}, 'what is kept of the directory is right')
        after = os.stat(m.p('INBOX')).st_mtime_ns
        check(after > before, 'it has changed', (before, after))
        before = after


main()
