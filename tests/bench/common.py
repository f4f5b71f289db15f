# SPDX-License-Identifier: MIT
"""What the parts of the benchmark stand on: the clock, a raw client, mounts, the table."""
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
from dovecot import Dovecot  # noqa: E402,F401
from proxy import Proxy  # noqa: E402

IMAPFS = os.environ.get('IMAPFS', 'imapfs')
TOOLS = os.environ.get('BENCH_TOOLS', '.')  # where floor and bigserver are
ITEMS = ('(UID FLAGS INTERNALDATE RFC822.SIZE '
         'BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT MESSAGE-ID)])')
ITEMS_DOVECOT = ITEMS.replace('BODY', 'X-GUID BODY')  # what imapfs asks of a Dovecot
ENV = dict(os.environ, LC_ALL='C')


def median(values):
    return statistics.median(values)


def percentile(values, part):
    """The smallest value that so many of 100 do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * part // 100) - 1)]


def timed(*argv, shell=None):
    """Seconds. The output goes into a pipe, since grep and tar skip work otherwise."""
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
    """A client that asks and throws away."""

    def __init__(self, port, password='secret', tls=True):
        self.socket = socket.create_connection(('127.0.0.1', port))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.socket.recv(65536)
        self.ask('LOGIN alice ' + password)

    def ask(self, command):
        """Octets of the answer."""
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

    def timed(self, *commands):
        start = time.perf_counter()
        for command in commands:
            self.ask(command)
        return time.perf_counter() - start

    def stream(self, mailbox, items=ITEMS_DOVECOT):
        return self.timed('EXAMINE "%s"' % mailbox, 'UID FETCH 1:* ' + items)

    def one_by_one(self, mailbox, count):
        return self.timed('EXAMINE "%s"' % mailbox,
                          *('FETCH %d BODY.PEEK[]' % n for n in range(1, count + 1)))

    def stop(self):
        self.socket.close()


class Mounted:
    """A FUSE program in the foreground; `seconds` it took to mount."""

    def __init__(self, path, argv):
        self.path = path
        os.makedirs(path, exist_ok=True)
        start = time.perf_counter()
        self.child = subprocess.Popen(argv)
        while not os.path.ismount(path):
            if self.child.poll() is not None:
                sys.exit('%s did not mount' % argv[0])
            time.sleep(0.002)
        self.seconds = time.perf_counter() - start

    def _number(self, file, name):
        with open('/proc/%d/%s' % (self.child.pid, file)) as f:
            for line in f:
                if line.startswith(name + ':'):
                    return int(line.split()[1])
        raise KeyError(name)

    def requests(self):
        """FUSE requests so far, and a few reads of other files from the start."""
        return self._number('io', 'syscr')

    def written(self):
        """Octets written to files, and to the kernel in answers."""
        return self._number('io', 'wchar')

    def memory(self, kind='RssAnon'):
        """KiB."""
        return self._number('status', kind)

    def stop(self):
        for _ in range(100):  # busy for a moment after a walk
            done = subprocess.run(['fusermount3', '-u', self.path], stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                break
            time.sleep(0.05)
        self.child.wait()


class Mount(Mounted):
    """imapfs, and the most memory it had while it was mounted."""

    def __init__(self, work, url, cache, *options):
        self.peak = {'RssAnon': 0, 'RssFile': 0}
        path = os.path.join(work, 'mnt')
        super().__init__(path, [IMAPFS, '-f', url, path, '-o', ','.join(
            ('passfile=%s/password' % work, 'cache=' + cache, *options))])
        self.alive = True
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self):
        while self.alive:
            try:
                for kind in self.peak:
                    self.peak[kind] = max(self.peak[kind], self.memory(kind))
            except (OSError, KeyError):
                return
            time.sleep(0.05)

    def stop(self):
        super().stop()
        self.alive = False
        self.watcher.join()


class Bench:
    """Servers, mailboxes, and the table that is printed."""

    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix='imapfs-bench-')
        os.chmod(self.work, 0o755)
        with open(os.open(self.work + '/password', os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
            f.write('secret\n')
        self.server = Dovecot(self.work, users={'alice': 'secret', 'many': 'secret'})
        self.proxy = Proxy(self.work, self.server.tls_port)
        self.boxes = {}  # name -> messages in it
        self.caches = {}

    def row(self, what, ours, against='', ratio=''):
        print('| %s | %s | %s | %s |' % (what, ours, against, ratio), flush=True)

    def compare(self, what, ours, theirs, against):
        """Seconds."""
        self.row(what, '%.3f s' % ours, '%s: %.3f s' % (against, theirs), '%.2f' % (ours / theirs))

    def tell(self, trace):
        """What passed, with -v."""
        for number, command in trace.numbered if self.args.verbose else ():
            print('    %3d %s' % (number, command[:110]))

    def limit(self, what, value, most, form='%d'):
        self.row(what, form % value, 'limit: ' + form % most, '%.2f' % (value / most))

    def fill(self, name, messages, user=None):
        self.server.deliver(name, messages, user=user, own=False)
        self.server.own(os.path.join(self.server.path, 'mail'))

    def small(self, size):
        """The name of a mailbox of so many small messages."""
        name = 'small%d' % size
        if name not in self.boxes:
            self.fill(name, corpus.bulk(size))
            self.boxes[name] = size
        return name

    def real(self, count):
        """The name of one with so many messages of realistic sizes."""
        if 'real' not in self.boxes:
            self.fill('real', realistic(count))
            self.boxes['real'] = count
        return 'real'

    def maildir(self, name):
        return os.path.join(self.server.path, 'mail', 'alice', name, 'cur')

    def temporary(self):
        return tempfile.mkdtemp(dir=self.work)

    def cache_of(self, name):
        """A cache in which that mailbox is listed."""
        if name not in self.caches:
            self.caches[name] = self.temporary()
            mount = self.mount(self.caches[name])
            timed('ls', '-f', os.path.join(mount.path, name))
            mount.stop()
        return self.caches[name]

    def mount(self, cache, *options):
        """Over TLS, through the proxy that makes delays; polls hardly ever."""
        return Mount(self.work, 'imaps://alice@localhost:%d' % self.proxy.port, cache,
                     'cafile=' + self.server.cafile, 'refresh=600', *options)

    def mount_tapped(self, tap, cache, *options, user='alice'):
        """In cleartext, through a tap."""
        return Mount(self.work, 'imap://%s@127.0.0.1:%d' % (user, tap.port), cache, 'tls=off',
                     *options)

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
