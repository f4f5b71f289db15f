# SPDX-License-Identifier: MIT
"""What every system test stands on.

A test file holds functions marked @case, each with servers and mounts of its own:

    from harness import case, check, equal, main, Mount, Dovecot

    @case
    def lists(t):
        server = t.add(Dovecot(t.path))
        mount = t.add(Mount(t, server.url()))
        check('hello.eml' in mount.ls('INBOX'), 'the message is listed')

    main()

A case has a private directory, t.path, that goes away with it. What was added with
t.add() is stopped in reverse order. Each check prints one line, PASS or FAIL; a case
goes on after a failed check and ends at an exception. Children are ended by their
pid, and a case that hangs is ended by a watchdog: it aborts the FUSE connections
that this test opened, since nothing else frees a process that waits in the kernel.

Exit status: 0 all passed, 1 something failed, 77 when /dev/fuse or Dovecot is missing
(1 in CI, i.e. with the environment variable CI set: nothing is skipped there).

Arguments: names of the cases to run; -l lists them; -k keeps the private directories.
"""
import errno
import faulthandler
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from imapclient import Imap, quote_mailbox  # noqa: F401 (for tests)

IMAPFS = os.environ.get('IMAPFS', os.path.abspath('imapfs'))
CASE_LIMIT = float(os.environ.get('CASE_LIMIT', '300'))
# Sanitizers slow everything down; bounds that only guard against hangs grow with this.
PATIENCE = float(os.environ.get('PATIENCE', '1'))

_cases = []
_results = {'passed': 0, 'failed': 0}
_current = None


# --- running ------------------------------------------------------------------------------

class Abandon(Exception):
    """The case can't go on; what failed was printed already."""


def case(function):
    _cases.append(function)
    return function


def say(word, text):
    print('%s: %s' % (word, text), flush=True)


def check(ok, what, detail=None):
    """One line, PASS or FAIL. Returns ok."""
    name = '%s: %s' % (_current, what) if _current else what
    if ok:
        _results['passed'] += 1
        say('PASS', name)
    else:
        _results['failed'] += 1
        say('FAIL', name)
        if detail is not None:
            text = detail if isinstance(detail, str) else repr(detail)
            for line in text.splitlines()[:40]:
                print('      ' + line[:500], flush=True)
    return bool(ok)


def equal(got, wanted, what):
    return check(got == wanted, what, 'got    %.1500r\nwanted %.1500r' % (got, wanted))


def need(ok, what, detail=None):
    """Like check(), but ends the case when it fails."""
    if not check(ok, what, detail):
        raise Abandon(what)


class Case:
    def __init__(self, name):
        self.name = name
        self.things = []
        self.path = tempfile.mkdtemp(prefix='imapfs-test-%s-' % name[:20])
        os.chmod(self.path, 0o711)

    def add(self, thing):
        """thing.stop() is called at the end of the case."""
        self.things.append(thing)
        return thing

    def stop(self):
        for thing in reversed(self.things):
            try:
                thing.stop()
            except Exception as error:  # the others must be stopped all the same
                check(False, 'stopping %s' % type(thing).__name__,
                      ''.join(traceback.format_exception(error)))
        self.things = []


def _watchdog(seconds, done, name):
    if done.wait(seconds):
        return
    say('FAIL', '%s: still running after %d seconds' % (name, seconds))
    faulthandler.dump_traceback(all_threads=True)
    for mount in list(Mount.live):
        print('--- log of %s' % mount.path)
        print(mount.log()[-4000:], flush=True)
        mount.abort()
    for child in list(Child.live):
        child.kill()
    for mount in list(Mount.live):
        mount.detach()
    os._exit(1)


def _run(function, keep):
    global _current
    _current = function.__name__
    test = Case(function.__name__)
    done = threading.Event()
    limit = getattr(function, 'limit', CASE_LIMIT) * PATIENCE
    guard = threading.Thread(target=_watchdog, args=(limit, done, function.__name__),
                             daemon=True)
    guard.start()
    before = _results['failed']
    try:
        function(test)
    except Abandon:
        pass
    except Exception as error:
        check(False, 'ran to its end', ''.join(traceback.format_exception(error)))
    finally:
        test.stop()
        done.set()
        if keep or (_results['failed'] > before and os.environ.get('KEEP')):
            print('      kept %s' % test.path)
        else:
            shutil.rmtree(test.path, ignore_errors=True)
        _current = None


def missing():
    """What this machine lacks for system tests, or None."""
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        return '/dev/fuse is missing or not ours to open'
    if not os.path.exists('/usr/sbin/dovecot'):
        return 'Dovecot is missing; on Debian: apt-get install dovecot-imapd'
    if shutil.which('fusermount3') is None:
        return 'fusermount3 is missing; on Debian: apt-get install fuse3'
    return None


def main(mounts=True):
    """Runs the cases; `mounts` tells whether they need imapfs and FUSE."""
    faulthandler.enable()
    words = sys.argv[1:]
    if '-l' in words:
        for function in _cases:
            print(function.__name__)
        return
    lack = missing() if mounts else None
    if lack:
        say('SKIP' if not os.environ.get('CI') else 'FAIL', lack)
        sys.exit(1 if os.environ.get('CI') else 77)
    if mounts and not os.access(IMAPFS, os.X_OK):
        say('FAIL', '%s is no program (set IMAPFS)' % IMAPFS)
        sys.exit(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    wanted = [w for w in words if not w.startswith('-')]
    unknown = set(wanted) - {f.__name__ for f in _cases}
    if unknown:
        sys.exit('no such case: %s' % ' '.join(sorted(unknown)))
    for function in _cases:
        if not wanted or function.__name__ in wanted:
            _run(function, '-k' in words)
    print('%d passed, %d failed' % (_results['passed'], _results['failed']), flush=True)
    sys.exit(1 if _results['failed'] or not _results['passed'] else 0)


# --- small tools --------------------------------------------------------------------------

def wait_for(condition, seconds=30, step=0.02):
    """The first true value of condition(), or the last one when the time is over."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def sha_file(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __repr__(self):
        return 'exit %s after %.2f s\n%s\n%s' % (
            self.code, self.seconds, self.out[-1500:].decode('utf-8', 'replace'),
            self.err[-1500:].decode('utf-8', 'replace'))


def run(*argv, timeout=120, env=None, cwd=None, stdin=None):
    """Runs a program to its end; code is 'timeout' when it did not end in time (it is
    killed then, as far as the kernel lets it)."""
    start = time.monotonic()
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                             env=env, cwd=cwd, start_new_session=True)
    try:
        out, err = child.communicate(stdin, timeout=timeout * PATIENCE)
        code = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        try:
            out, err = child.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            out, err = b'', b'(not killable)'
        code = 'timeout'
    return Result(code, out, err, time.monotonic() - start)


def sh(script, timeout=120, cwd=None, env=None):
    return run('/bin/sh', '-c', script, timeout=timeout, cwd=cwd, env=env)


class Child:
    """A child process whose standard error goes to a file, ended with this process."""
    live = []

    def __init__(self, argv, log, env=None, cwd=None, stdin=subprocess.DEVNULL,
                 death='KILL'):
        self.log_path = log
        with open(log, 'ab') as f:
            self.process = subprocess.Popen(
                ['setpriv', '--pdeathsig', death, *argv], stdin=stdin, stdout=f, stderr=f,
                env=env, cwd=cwd, start_new_session=True)
        self.pid = self.process.pid
        Child.live.append(self)

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def wait(self, seconds):
        """The exit status, or None when it still runs."""
        try:
            code = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            return None
        if self in Child.live:
            Child.live.remove(self)
        return code

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait(5)

    def output(self):
        with open(self.log_path, 'rb') as f:
            return f.read().decode('utf-8', 'replace')


# --- the mount ----------------------------------------------------------------------------

SUSPICIOUS = re.compile(
    r'AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehavior|runtime error|'
    r'[Aa]ssert|-CRITICAL \*\*|-WARNING \*\*|double free|corrupt|Segmentation|SIGSEGV|SIGBUS|'
    r'stack smashing|buffer overflow|^imapfs: error:', re.M)

SANITIZER_ENV = {
    'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=0',
    'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1:exitcode=99',
    'G_DEBUG': '', 'G_SLICE': 'always-malloc',
}


def mountinfo(path):
    """(major, minor) of the FUSE mount on path, None when there is none."""
    real = os.path.realpath(os.path.dirname(path)) + '/' + os.path.basename(path)
    with open('/proc/self/mountinfo') as f:
        for line in f:
            fields = line.split()
            if fields[4] == real and ' - fuse' in line:
                major, minor = fields[2].split(':')
                return int(major), int(minor)
    return None


class Mount:
    """imapfs in the foreground, with a home of its own.

    `home` is kept between mounts of one case when the same directory is given (the
    default is CASE/home), so a second Mount sees the first one's cache. `expect` lists
    regular expressions of log lines that would otherwise fail the case.
    """
    live = []

    def __init__(self, case_, source, options=(), home=None, name='mnt', expect=(),
                 debug=False, start=True, environment=None, passfile=True, secret='secret'):
        self.case = case_
        self.source = source
        self.path = os.path.join(case_.path, name)
        self.home = home or os.path.join(case_.path, 'home')
        self.options = [options] if isinstance(options, str) else list(options)
        self.expect = [re.compile(e) for e in expect]
        self.debug = debug
        self.environment = environment or {}
        self.child = None
        self.minor = None
        self.checked = 0
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        self.log_path = os.path.join(case_.path, name + '.log')
        open(self.log_path, 'ab').close()
        if passfile:
            secret_file = os.path.join(self.home, 'secret')
            with open(secret_file, 'w') as f:
                f.write(secret + '\n')
            os.chmod(secret_file, 0o600)
            self.options.append('passfile=' + secret_file)
        if start:
            self.start()

    def env(self):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith('XDG_') and k not in ('HOME', 'DBUS_SESSION_BUS_ADDRESS')}
        env.update(HOME=self.home, LC_ALL='C.UTF-8', TZ='America/New_York', **SANITIZER_ENV)
        env.update(self.environment)
        return env

    def argv(self):
        argv = [IMAPFS, '-f']
        if self.debug:
            argv.append('-d')
        for option in self.options:
            argv += ['-o', option]
        return argv + [self.source, self.path]

    def launch(self):
        """Starts the program without waiting for the mount."""
        self.child = Child(self.argv(), self.log_path, env=self.env(), cwd=self.case.path)
        Mount.live.append(self)

    def start(self, seconds=60):
        self.launch()
        self.await_mount(seconds)
        return self

    def await_mount(self, seconds=60):
        wait_for(lambda: mountinfo(self.path) or not self.child.running(), seconds)
        device = mountinfo(self.path)
        if device is None:
            need(False, 'imapfs mounts %s' % self.source, self.log()[-3000:])
        self.minor = device[1]

    def log(self):
        with open(self.log_path, 'rb') as f:
            return f.read().decode('utf-8', 'replace')

    def suspicious(self):
        """Lines of the log that no test announced, since the last look."""
        text = self.log()
        fresh, self.checked = text[self.checked:], len(text)
        return [line for line in fresh.splitlines()
                if SUSPICIOUS.search(line) and not any(e.search(line) for e in self.expect)]

    def check_log(self):
        lines = self.suspicious()
        if lines:
            check(False, 'nothing suspicious in the log', self.log()[-6000:] if any(
                'Sanitizer' in line or 'runtime' in line for line in lines) else '\n'.join(lines))

    def _unmount(self, lazy=False):
        argv = ['fusermount3', '-u', self.path] if not lazy else ['fusermount3', '-uz', self.path]
        return run(*argv, timeout=30)

    def stop(self, how='fusermount', seconds=60):
        """Ends the mount cleanly, and checks that it did."""
        if self.child is None:
            return
        if self.child.running():
            if how == 'fusermount':
                result = self._unmount()
                if result.code != 0:  # busy: a test left something open
                    check(False, 'unmounts', result)
                    self._unmount(lazy=True)
            else:
                self.child.signal(signal.SIGTERM)
        code = self.child.wait(seconds)
        if code is None:
            check(False, 'imapfs ends after the unmount', self.log()[-3000:])
            self.abort()
            self.child.kill()
            code = -signal.SIGKILL
        elif code != 0:
            check(False, 'imapfs ends with status 0', 'status %s\n%s' % (code, self.log()[-6000:]))
        self._gone()
        self.check_log()
        self.code = code

    def _gone(self):
        if self in Mount.live:
            Mount.live.remove(self)
        self.child = None
        self.detach()

    def detach(self):
        if mountinfo(self.path):
            self._unmount(lazy=True)

    def kill(self):
        """kill -9, and clear away the dead mount."""
        self.child.kill()
        self._gone()
        self.check_log()

    def remount(self, options=None):
        self.stop()
        if options is not None:
            self.options = [o for o in self.options if o.startswith(('passfile=', 'tls='))] \
                + list(options)
        self.start()
        return self

    def abort(self):
        """Fails everything that waits on this mount, the only cure for a wedged one."""
        if self.minor is None:
            return
        control = '/sys/fs/fuse/connections'
        if not os.path.exists('%s/%d/abort' % (control, self.minor)) and not os.path.ismount(control):
            subprocess.run(['mount', '-t', 'fusectl', 'fusectl', control],
                           stderr=subprocess.DEVNULL)
        try:
            with open('%s/%d/abort' % (control, self.minor), 'w') as f:
                f.write('1')
        except OSError:
            pass

    # What tests do with a mount.

    def p(self, *parts):
        return os.path.join(self.path, *parts)

    def ls(self, *parts):
        return sorted(os.listdir(self.p(*parts)))

    def messages(self, *parts):
        """{uid: name} of the messages of a mailbox."""
        found = {}
        for name in self.ls(*parts):
            if name.endswith('.eml'):
                found[self.uid(*parts, name)] = name
        return found

    def xattr(self, attribute, *parts):
        return os.getxattr(self.p(*parts), attribute).decode()

    def uid(self, *parts):
        return int(self.xattr('user.imap.uid', *parts))

    def read(self, *parts):
        with open(self.p(*parts), 'rb') as f:
            return f.read()

    def wait_names(self, wanted, *parts, seconds=30):
        """The listing, once it is as wanted (a predicate), or the last one seen."""
        names = []

        def look():
            names[:] = self.ls(*parts)
            return wanted(names)
        wait_for(look, seconds, 0.2)
        return names

    def wait_names_quietly(self, wanted, *parts, seconds=60):
        """The same, where the listing may fail at first."""
        names = []

        def look():
            try:
                names[:] = self.ls(*parts)
            except OSError:
                return False
            return wanted(names)
        wait_for(look, seconds, 0.2)
        return names


def mount(case_, server, options=(), proxy=None, **more):
    """A mount of a Dovecot or FakeImap, in cleartext, through a proxy if one is given."""
    url = 'imap://alice@127.0.0.1:%d' % (proxy or server).port
    options = [options] if isinstance(options, str) else list(options)
    return case_.add(Mount(case_, url, ['tls=off', *options], **more))


def tree(top):
    """{path below top: octets} of the regular files."""
    found = {}
    for path, _, files in os.walk(top):
        for name in files:
            with open(os.path.join(path, name), 'rb') as f:
                found[os.path.relpath(os.path.join(path, name), top)] = f.read()
    return found


def error_of(call, *arguments):
    """The errno name that a call fails with, None when it works."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return None


# Imported last: it needs what is above.
from dovecot import Dovecot, Authority  # noqa: E402,F401
from proxy import Proxy  # noqa: E402,F401
