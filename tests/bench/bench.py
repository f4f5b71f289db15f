#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast imapfs is, as ratios to limits and peers measured in the same run.

    bench.py [--sizes 1000,10000,100000] [--rounds 3] [--delays 0,50] [--real 2000]

Starts a private Dovecot with mailboxes of many small messages and one of realistic sizes, puts a
delay into the line, and prints a table in Markdown:

    first listing       ls -f of a mailbox never seen, against the same FETCH streamed raw over TLS
    remounted ls -l     first and second, against a Maildir of the same names on disk
    cold, warm grep -r  against mbsync's first pull plus grep, and one FETCH a message
    tar                 warm, against the Maildir
    octets              on the wire both ways, for a cold grep
    memory              peak RssAnon and RssFile of imapfs

Rounds of what is compared are interleaved; figures are medians. The server's own cache is warmed
by a FETCH that is thrown away. Commands write into pipes, since grep and tar skip work otherwise.
"""
import argparse
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'system'))
import corpus  # noqa: E402
from dovecot import Dovecot  # noqa: E402
from proxy import Proxy  # noqa: E402

IMAPFS = os.environ.get('IMAPFS', 'imapfs')
ITEMS = ('(UID FLAGS INTERNALDATE RFC822.SIZE '
         'BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)])')
ENV = dict(os.environ, LC_ALL='C')


def timed(*argv, pipe=True, shell=None):
    start = time.perf_counter()
    if shell:
        subprocess.run(['sh', '-c', shell], env=ENV, stdout=subprocess.DEVNULL, check=False)
    else:
        child = subprocess.Popen(argv, env=ENV, stdout=subprocess.PIPE)
        while child.stdout.read(1 << 20):
            pass
        child.wait()
    return time.perf_counter() - start


class Raw:
    """A client that asks and throws away, over TLS."""

    def __init__(self, port, password='secret'):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection(('127.0.0.1', port)))
        self.socket.recv(65536)
        self.ask('LOGIN alice ' + password)

    def ask(self, command):
        self.socket.sendall(b'a ' + command.encode() + b'\r\n')
        tail, total = b'', 0
        while True:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError
            total += len(data)
            tail = (tail + data)[-4000:]
            if tail.endswith(b'\r\n') and b'\r\na ' in b'\r\n' + tail:
                return total

    def stream(self, mailbox):
        start = time.perf_counter()
        self.ask('EXAMINE "%s"' % mailbox)
        self.ask('UID FETCH 1:* ' + ITEMS)
        return time.perf_counter() - start

    def one_by_one(self, mailbox, count):
        start = time.perf_counter()
        self.ask('EXAMINE "%s"' % mailbox)
        for number in range(1, count + 1):
            self.ask('FETCH %d BODY.PEEK[]' % number)
        return time.perf_counter() - start


class Mount:
    def __init__(self, work, port, cafile, cache):
        self.path = os.path.join(work, 'mnt')
        os.makedirs(self.path, exist_ok=True)
        self.peak = {'RssAnon': 0, 'RssFile': 0}
        self.child = subprocess.Popen(
            [IMAPFS, '-f', 'imaps://alice@localhost:%d' % port, self.path, '-o',
             'cafile=%s,passfile=%s/password,cache=%s,refresh=600' % (cafile, work, cache)])
        while not os.path.ismount(self.path):
            if self.child.poll() is not None:
                sys.exit('imapfs did not mount')
            time.sleep(0.02)
        self.alive = True
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self):
        while self.alive:
            try:
                with open('/proc/%d/status' % self.child.pid) as f:
                    for line in f:
                        name, _, rest = line.partition(':')
                        if name in self.peak:
                            self.peak[name] = max(self.peak[name], int(rest.split()[0]))
            except OSError:
                return
            time.sleep(0.05)

    def stop(self):
        subprocess.run(['fusermount3', '-u', self.path], check=True)
        self.child.wait()
        self.alive = False
        self.watcher.join()


def median(values):
    return statistics.median(values)


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix='imapfs-bench-')
        os.chmod(self.work, 0o755)
        with open(os.open(self.work + '/password', os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
            f.write('secret\n')
        self.server = Dovecot(self.work, users={'alice': 'secret'})
        self.proxy = Proxy(self.work, self.server.tls_port)
        self.boxes = {}
        self.rows = []

    def row(self, what, seconds, against, ratio):
        self.rows.append((what, seconds, against, ratio))
        print('| %s | %s | %s | %s |' % (what, seconds, against, ratio), flush=True)

    def compare(self, what, ours, theirs, against):
        self.row(what, '%.3f s' % ours, '%s: %.3f s' % (against, theirs), '%.2f' % (ours / theirs))

    def fill(self):
        for size in self.args.sizes:
            name = 'small%d' % size
            self.server.deliver(name, corpus.bulk(size), own=False)
            self.boxes[name] = size
        if self.args.real:
            self.server.deliver('real', realistic(self.args.real), own=False)
            self.boxes['real'] = self.args.real
        self.server.own(os.path.join(self.server.path, 'mail'))

    def mount(self, cache):
        return Mount(self.work, self.proxy.port, self.server.cafile, cache)

    def first_listing(self, name, delay):
        raw, ours, peaks = [], [], []
        Raw(self.server.tls_port).stream(name)
        for _ in range(self.args.rounds):
            raw.append(Raw(self.proxy.port).stream(name))
            cache = tempfile.mkdtemp(dir=self.work)
            mount = self.mount(cache)
            ours.append(timed('ls', '-f', os.path.join(mount.path, name)))
            mount.stop()
            peaks.append(mount.peak)
            shutil.rmtree(cache)
        self.compare('first listing of %s, %d ms' % (name, delay), median(ours), median(raw),
                     'raw FETCH')
        peak = max(p['RssAnon'] for p in peaks), max(p['RssFile'] for p in peaks)
        self.row('memory, listing %s' % name, '%d MiB' % (peak[0] // 1024), 'RssFile: %d MiB'
                 % (peak[1] // 1024), '')

    def warm_listing(self, name, cache, maildir):
        first, second, disk = [], [], []
        for _ in range(self.args.rounds):
            mount = self.mount(cache)
            path = os.path.join(mount.path, name)
            timed('ls', '-l', maildir)
            disk.append(timed('ls', '-l', maildir))
            first.append(timed('ls', '-l', path))
            second.append(timed('ls', '-l', path))
            mount.stop()
        self.compare('ls -l of %s after a remount' % name, median(first), median(disk), 'Maildir')
        self.compare('ls -l of %s again' % name, median(second), median(disk), 'Maildir')

    def mbsync(self, name, port):
        top = tempfile.mkdtemp(dir=self.work)
        with open(top + '/rc', 'w') as f:
            f.write('IMAPAccount a\nHost localhost\nPort %d\nUser alice\nPass secret\n'
                    'SSLType IMAPS\nCertificateFile %s\n\nIMAPStore r\nAccount a\n\n'
                    'MaildirStore l\nPath %s/\nInbox %s/inbox\nSubFolders Verbatim\n\n'
                    'Channel c\nFar :r:\nNear :l:\nPatterns %s\nCreate Near\nSync Pull\n'
                    'SyncState *\n' % (port, self.server.cafile, top, top, name))
        seconds = timed('mbsync', '-q', '-c', top + '/rc', 'c')
        seconds += timed('grep', '-r', 'xylographer', top + '/' + name)
        shutil.rmtree(top)
        return seconds

    def grep(self, name, delay, maildir):
        cache = tempfile.mkdtemp(dir=self.work)
        self.proxy.reset()
        mount = self.mount(cache)
        path = os.path.join(mount.path, name)
        cold = timed('grep', '-r', 'xylographer', path)
        mount.stop()
        stats = self.proxy.stats()
        self.row('octets of a cold grep of %s' % name, '%d down' % stats['down'],
                 '%d up' % stats['up'], '')
        if shutil.which('mbsync'):
            self.compare('cold grep -r of %s, %d ms' % (name, delay), cold,
                         self.mbsync(name, self.proxy.port), 'mbsync + grep')
        count = min(self.boxes[name], 500)
        loop = Raw(self.proxy.port).one_by_one(name, count) * self.boxes[name] / count
        self.compare('cold grep -r of %s, %d ms' % (name, delay), cold, loop,
                     'one FETCH a message')
        if delay == 0:
            self.warm(name, cache, maildir)
        return cache

    def warm(self, name, cache, maildir):
        grep, tar, disk_grep, disk_tar = [], [], [], []
        for _ in range(self.args.rounds):
            mount = self.mount(cache)
            timed('grep', '-r', 'xylographer', maildir)
            disk_grep.append(timed('grep', '-r', 'xylographer', maildir))
            disk_tar.append(timed(shell='tar cf - -C %s . | cat' % maildir))
            grep.append(timed('grep', '-r', 'xylographer', os.path.join(mount.path, name)))
            mount.stop()
            mount = self.mount(cache)
            tar.append(timed(shell='tar cf - -C %s/%s . | cat' % (mount.path, name)))
            mount.stop()
        self.compare('warm grep -r of %s after a remount' % name, median(grep), median(disk_grep),
                     'Maildir')
        self.compare('warm tar of %s after a remount' % name, median(tar), median(disk_tar),
                     'Maildir')

    def run(self):
        print('| what | imapfs | against | ratio |\n|---|---|---|---|')
        self.fill()
        for delay in self.args.delays:
            self.proxy.delay(delay)
            for name in self.boxes:
                if delay and self.boxes[name] > 10000:
                    continue
                self.first_listing(name, delay)
        self.proxy.delay(0)
        for name in self.boxes:
            maildir = os.path.join(self.server.path, 'mail', 'alice', name, 'cur')
            cache = tempfile.mkdtemp(dir=self.work)
            mount = self.mount(cache)
            timed('ls', '-f', os.path.join(mount.path, name))
            mount.stop()
            self.warm_listing(name, cache, maildir)
            shutil.rmtree(cache)
        for delay in self.args.delays:
            self.proxy.delay(delay)
            for name, size in self.boxes.items():
                if size > 10000 or (delay and size > 2000):
                    continue
                maildir = os.path.join(self.server.path, 'mail', 'alice', name, 'cur')
                shutil.rmtree(self.grep(name, delay, maildir))

    def stop(self):
        self.proxy.stop()
        self.server.stop()
        shutil.rmtree(self.work, ignore_errors=True)


def realistic(count):
    """Sizes as mailboxes have them: most a few KiB, some hundreds, a few megabytes."""
    for number, (body, when, _) in enumerate(corpus.bulk(count, seed=2)):
        size = (3000, 6000, 4000, 20000, 9000, 80000, 2500, 5000, 12000, 400000)[number % 10]
        if number % 400 == 399:
            size = 4000000
        line = b'All work and no play makes for a line of text of the usual length.\r\n'
        yield body + line * ((size - len(body)) // len(line) + 1), when


def main():
    parser = argparse.ArgumentParser(description='See the top of this file.')
    parser.add_argument('--sizes', default='1000,10000,100000')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--delays', default='0,50')
    parser.add_argument('--real', type=int, default=2000)
    args = parser.parse_args()
    args.sizes = [int(n) for n in args.sizes.split(',') if n]
    args.delays = [int(n) for n in args.delays.split(',') if n]
    bench = Bench(args)
    try:
        bench.run()
    finally:
        bench.stop()


if __name__ == '__main__':
    main()
