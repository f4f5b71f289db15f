# SPDX-License-Identifier: MIT
"""How long until the mount shows what another client did, with nobody asking for it.

A watcher looks every few milliseconds by ls, stat and getfattr. Times are counted from the other
client's command, and from the moment the server's first line about it passed."""
import os
import random
import time

import corpus
from common import percentile, timed
from tap import Tap

MESSAGES = 200
PERIOD = 0.004
GIVE_UP = 30
LIMIT = 1.0


class Watch:
    """Looks until a thing is seen, and remembers the longest look."""

    def __init__(self):
        self.longest = 0

    def until(self, look):
        """The moment it was seen, or None."""
        end = time.monotonic() + GIVE_UP
        while time.monotonic() < end:
            start = time.monotonic()
            seen = look()
            now = time.monotonic()
            self.longest = max(self.longest, now - start)
            if seen:
                return now
            time.sleep(PERIOD)
        return None


def flags_of(path):
    return os.getxattr(path, 'user.imap.flags')


def gone(path):
    try:
        os.stat(path)
        return False
    except OSError:
        return True


class Push:
    def __init__(self, bench, name, client, tap, mount):
        self.bench, self.name, self.client, self.tap = bench, name, client, tap
        self.path = os.path.join(mount.path, name)
        self.watch = Watch()
        self.random = random.Random(7)

    def pick(self):
        """(path, UID) of some message that is listed."""
        name = self.random.choice(sorted(os.listdir(self.path)))
        path = os.path.join(self.path, name)
        return path, int(os.getxattr(path, 'user.imap.uid'))

    def come(self, number):
        body, when, _ = next(corpus.bulk(1, seed=100 + number))
        before = set(os.listdir(self.path))
        return (lambda: self.client.append(self.name, body, '', when),
                lambda: set(os.listdir(self.path)) - before)

    def go(self, _):
        path, uid = self.pick()
        return lambda: self.client.expunge(uid), lambda: gone(path)

    def flag(self, _):
        path, uid = self.pick()
        before = flags_of(path)
        sign = '-' if b'Flagged' in before else '+'
        return (lambda: self.client.store(uid, sign + 'FLAGS', '\\Flagged'),
                lambda: flags_of(path) != before)

    def measure(self, how, what, prepare):
        whole, line, server = [], [], []
        for number in range(self.bench.args.push):
            # Not in step with the server's own pauses.
            time.sleep(self.random.uniform(0.3, 1.0))
            act, look = prepare(number)
            self.tap.reset()
            start = time.monotonic()
            act()
            seen = self.watch.until(look) or start + GIVE_UP
            news = self.tap.trace().news(start)
            whole.append(seen - start)
            line.append(seen - news if news is not None else GIVE_UP)
            server.append(news - start if news is not None else GIVE_UP)
        p95 = percentile(whole, 95)
        self.bench.row('%s seen, %s: 95th percentile' % (what, how), '%.3f s' % p95,
                       'limit: %.3f s' % LIMIT, '%.2f' % (p95 / LIMIT))
        self.bench.row('%s seen, %s: from the server\'s line on' % (what, how),
                       '%.3f s' % percentile(line, 95),
                       'the server\'s share: %.3f s' % percentile(server, 95))


def run(bench):
    name = 'push'
    bench.fill(name, corpus.bulk(MESSAGES, seed=5))
    for how, options in (('NOTIFY', ()), ('IDLE', ('without=NOTIFY',))):
        tap = Tap(bench.work, bench.server.port)
        mount = bench.mount_tapped(tap, bench.temporary(), *options)
        timed('ls', '-l', os.path.join(mount.path, name))
        tap.quiet()
        with bench.server.imap() as client:
            client.select(name)
            push = Push(bench, name, client, tap, mount)
            push.measure(how, 'a new message', push.come)
            push.measure(how, 'a flag change', push.flag)
            push.measure(how, 'an expunge', push.go)
            bench.row('the longest of those ls, stat, getfattr, %s' % how,
                      '%.3f s' % push.watch.longest)
        mount.stop()
        tap.stop()
