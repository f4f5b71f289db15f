# SPDX-License-Identifier: MIT
"""A private Cyrus IMAP server, from Debian's packages, which are unpacked and not installed:
they conflict with those of Dovecot.

    server = Cyrus(t.path)
    server.port, server.user, server.imap(), server.url()
    server.stop()

No part of the machine's own configuration is read. It needs root, since Cyrus wants to become
somebody else.
"""
import os
import pwd
import signal
import socket
import socketserver
import struct
import subprocess
import threading

from imapclient import Imap, wait_for_greeting
from unpacked import library_path, run, unpack

PACKAGES = ['cyrus-common', 'cyrus-imapd']
OWNER = 'mail'  # who owns the mail; a user that every Debian has

IMAPD_CONF = """\
configdirectory: {dir}/config
partition-default: {dir}/spool
proc_path: {dir}/run/proc
mboxname_lockpath: {dir}/run/lock
idlesocket: {dir}/run/idle
notifysocket: {dir}/run/notify
defaultpartition: default
cyrus_user: {owner}
cyrus_group: {owner}
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
autocreate_quota: 0
autocreate_inbox_folders: Drafts|Sent|Trash
xlist-drafts: Drafts
xlist-sent: Sent
xlist-trash: Trash
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {dir}/run/mux
suppress_capabilities: {suppress}
imapidlepoll: 1
expunge_mode: immediate
delete_mode: immediate
conversations: no
umask: 077
syslog_prefix: imapfs-test
{extra}
"""

CYRUS_CONF = """\
START {{
  recover cmd="{bin}/ctl_cyrusdb -C {dir}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {dir}/imapd.conf -U 30" listen="127.0.0.1:{port}" prefork=1 maxchild=100
}}
EVENTS {{
  checkpoint cmd="{bin}/ctl_cyrusdb -C {dir}/imapd.conf -c" period=1440
}}
DAEMON {{
  idled cmd="{bin}/idled -C {dir}/imapd.conf"
}}
"""


class _Passwords(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """What Cyrus asks of saslauthd: user, password, service and realm, each with its length."""
    daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            words = []
            for _ in range(4):
                size = struct.unpack('>H', self.rfile.read(2))[0]
                words.append(self.rfile.read(size).decode())
            answer = b'OK' if self.server.users.get(words[0]) == words[1] else b'NO'
            self.wfile.write(struct.pack('>H', len(answer)) + answer)

    def __init__(self, path, users):
        self.users = users
        super().__init__(path, self.Handler)
        os.chmod(path, 0o777)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Cyrus:
    """
    users    {name: password}
    without  capabilities that it doesn't announce
    extra    lines for imapd.conf
    """
    prefix, separator = '', '/'

    def __init__(self, path, users=None, without=(), extra='', start=True):
        self.root = unpack('cyrus', PACKAGES)
        self.path = os.path.join(path, 'cyrus')
        self.users = dict(users or {'alice': 'secret'})
        self.user = next(iter(self.users))
        self.users['cyrus'] = 'admin'
        owner = pwd.getpwnam(OWNER)
        for directory in ('', 'config', 'spool', 'run', 'run/lock', 'run/proc'):
            full = os.path.join(self.path, directory)
            os.makedirs(full, exist_ok=True)
            os.chown(full, owner.pw_uid, owner.pw_gid)
        up = self.path  # Cyrus is not root and must come through
        while up not in ('/', '/tmp'):
            up = os.path.dirname(up)
            if os.stat(up).st_uid == os.getuid() and up not in ('/', '/tmp'):
                os.chmod(up, os.stat(up).st_mode | 0o111)
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.bin = os.path.join(self.root, 'usr/lib/cyrus/bin')
        words = dict(dir=self.path, owner=OWNER, bin=self.bin, port=self.port, extra=extra,
                     suppress=' '.join(without))
        with open(self.path + '/imapd.conf', 'w') as f:
            f.write('\n'.join(line for line in IMAPD_CONF.format(**words).splitlines()
                              if not line.endswith(': ')) + '\n')
        with open(self.path + '/cyrus.conf', 'w') as f:
            f.write(CYRUS_CONF.format(**words))
        for file in ('imapd.conf', 'cyrus.conf'):
            os.chmod(os.path.join(self.path, file), 0o644)
        self.passwords = _Passwords(self.path + '/run/mux', self.users)
        self.process = None
        if start:
            self.start()

    @property
    def environment(self):
        return dict(os.environ, CYRUS_VERBOSE='0', LD_LIBRARY_PATH=library_path(self.root))

    def tool(self, name, *argv):
        """Runs one of Cyrus's programs, as the one who owns the mail."""
        owner = pwd.getpwnam(OWNER)
        return run('setpriv', '--reuid', str(owner.pw_uid), '--regid', str(owner.pw_gid),
                    '--clear-groups', os.path.join(self.bin, name), '-C',
                    self.path + '/imapd.conf', *argv, env=self.environment)

    # Life.

    def start(self):
        self.process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'TERM', self.bin + '/master', '-C',
             self.path + '/imapd.conf', '-M', self.path + '/cyrus.conf', '-p',
             self.path + '/run/master.pid'],
            stdin=subprocess.DEVNULL, stdout=open(self.path + '/out', 'ab'),
            stderr=subprocess.STDOUT, env=self.environment, start_new_session=True)
        wait_for_greeting(self, 60)
        return self

    def halt(self):
        """Ends the server; start() starts it again on the same port."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:  # its children, in the session that it began
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def stop(self):
        self.halt()
        if self.passwords:
            self.passwords.shutdown()
            self.passwords.server_close()
            self.passwords = None

    def log(self):
        try:
            with open(self.path + '/out', errors='replace') as f:
                return f.read()
        except OSError:
            return ''

    # Use.

    def url(self, user=None, port=None, scheme='imap', host='127.0.0.1'):
        return '%s://%s@%s:%d' % (scheme, user or self.user, host, port or self.port)

    def imap(self, user=None):
        user = user or self.user
        return Imap(self.port, user, self.users[user])
