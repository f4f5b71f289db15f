# SPDX-License-Identifier: MIT
"""A mailbox of very many messages, of a server that makes them up."""
import os
import subprocess
import time

from common import ENV, ITEMS, TOOLS, Mount, Mounted, Raw, timed
from tap import Tap

MEMORY_LIMIT = 48 << 10  # KiB
INDEXING_US = 10         # allowed a message, above the raw FETCH


class BigServer:
    def __init__(self, messages):
        self.process = subprocess.Popen(
            [os.path.join(TOOLS, 'bigserver'), '-n', str(messages)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def order(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Million:
    def __init__(self, bench, count):
        self.bench, self.count = bench, count
        self.server = BigServer(count)
        self.tap = Tap(bench.work, self.server.port)
        self.tap.pause()
        self.cache = bench.temporary()

    def mount(self):
        mount = Mount(self.bench.work, 'imap://alice@127.0.0.1:%d' % self.tap.port, self.cache,
                      'tls=off')
        self.path = os.path.join(mount.path, 'INBOX')
        return mount

    def memory(self, mount, when):
        self.bench.limit('RssAnon, %d messages, %s' % (self.count, when),
                         max(mount.peak['RssAnon'], mount.memory()) / 1024, MEMORY_LIMIT / 1024,
                         '%.1f MiB')

    def first(self):
        raw = Raw(self.tap.port, tls=False)
        seconds = raw.stream('INBOX', ITEMS)
        raw.stop()
        mount = self.mount()
        ours = timed('ls', '-f', self.path)
        self.bench.compare('first listing of %d messages' % self.count, ours, seconds,
                           'raw FETCH')
        self.bench.compare('indexing %d messages' % self.count, ours,
                           seconds + self.count * INDEXING_US / 1e6,
                           'raw FETCH + %d us a message' % INDEXING_US)
        self.memory(mount, 'first ls -f')
        listed = len(os.listdir(self.path))
        self.bench.row('entries listed', '%d' % listed, '%d messages' % self.count)
        mount.stop()

    def change(self, mount, what, order, look):
        """What one change costs."""
        self.tap.quiet(1.0)
        self.tap.reset()
        written, start = mount.written(), time.monotonic()
        self.server.order(*order)
        end = start + 60
        while not look() and time.monotonic() < end:
            time.sleep(0.01)
        seconds = time.monotonic() - start
        self.tap.quiet(1.5)
        trace = self.tap.trace()
        self.bench.row('%s, of %d: octets on the line, written to the index' % (what, self.count),
                       '%d, %d KiB' % (trace.octets, (mount.written() - written) >> 10),
                       'seen after %.3f s' % seconds)
        self.tap.pause()

    def floor(self):
        """Seconds of ls -l of the same names in the floor."""
        file = os.path.join(self.bench.work, 'million.list')
        mount = self.mount()
        with open(file, 'wb') as f:
            subprocess.run(['find', self.path, '-type', 'f', '-printf', '%s %Ts %f\n'], stdout=f,
                           env=ENV, check=True)
        mount.stop()
        path = os.path.join(self.bench.work, 'floor')
        mount = Mounted(path, [os.path.join(TOOLS, 'floor'), file, path])
        seconds = timed('ls', '-l', path)
        mount.stop()
        return seconds

    def again(self):
        floor = self.floor()
        mount = self.mount()
        seconds = timed('ls', '-l', self.path)
        self.bench.compare('ls -l of %d messages after a remount' % self.count, seconds, floor,
                           'floor')
        self.memory(mount, 'ls -l after a remount')
        by_uid = {}
        for name in os.listdir(self.path)[:3]:
            path = os.path.join(self.path, name)
            by_uid[path] = int(os.getxattr(path, 'user.imap.uid'))
        (first, uid), (second, other), *_ = by_uid.items()
        before = os.getxattr(first, 'user.imap.flags')
        self.change(mount, 'a flag change', ('flag', uid),
                    lambda: os.getxattr(first, 'user.imap.flags') != before)
        self.change(mount, 'an expunge', ('expunge', other), lambda: not os.path.exists(second))
        directory = os.stat(self.path).st_mtime_ns
        self.change(mount, 'a new message', ('add',),
                    lambda: os.stat(self.path).st_mtime_ns != directory)
        self.memory(mount, 'after changes of one')
        mount.stop()

    def reopened(self):
        """Unchanged, and after one change: what the line carries."""
        for what, order in (('nothing', None), ('one flag', ('flag', self.count // 2))):
            if order:
                self.server.order(*order)
            self.tap.reset()
            mount = self.mount()
            timed('ls', '-f', self.path)
            self.tap.quiet()
            trace = self.tap.trace()
            self.bench.row('reopening %d messages, %s changed' % (self.count, what),
                           '%d octets' % trace.of('INBOX').octets,
                           '%d round trips on %d connections'
                           % (trace.of('INBOX').trips, trace.of('INBOX').connections))
            self.bench.tell(trace)
            mount.stop()

    def stop(self):
        self.tap.stop()
        self.server.stop()


def run(bench):
    million = Million(bench, bench.args.million)
    million.first()
    million.again()
    million.reopened()
    million.stop()
