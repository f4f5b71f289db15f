# SPDX-License-Identifier: MIT
"""A private Courier IMAP server, from Debian's packages, which are unpacked and not installed.

    server = Courier(t.path)
    server.port, server.user, server.imap(), server.url()
    server.stop()

The login is done here, in place of Courier's own imaplogin and authdaemon: it hands the connection
to imapd just as those do. So no part of the machine's own configuration is read, and root is not
needed. Courier's ways: SELECT tells no UIDNEXT, there are no mod-sequences, ESEARCH and MOVE, all
mailboxes are below INBOX, and IDLE without a file monitor is none.
"""
import base64
import os
import shlex
import socket
import subprocess
import threading

from imapclient import Imap
from unpacked import library_path, run, unpack

PACKAGES = ['courier-imap', 'courier-base', 'courier-authlib']
# Courier waits for a daemon that would watch files for it; without one it looks for itself.
NO_MONITOR = ''.join('int %s(void) { return -1; }\n' % f for f in (
    'FAMOpen', 'FAMClose', 'FAMMonitorDirectory', 'FAMMonitorFile', 'FAMCancelMonitor',
    'FAMNextEvent', 'FAMPending'))
CAPABILITY = ('IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT '
              'QUOTA IDLE')


class Courier:
    prefix, separator = 'INBOX.', '.'

    def __init__(self, path, users=None):
        self.root = unpack('courier', PACKAGES)
        self.path = os.path.join(path, 'courier')
        self.users = dict(users or {'alice': 'secret'})
        self.user = next(iter(self.users))
        os.makedirs(self.path)
        run('cc', '-shared', '-fPIC', '-o', self.path + '/libfam.so.0', '-x', 'c', '-',
            input=NO_MONITOR)
        for user in self.users:
            os.mkdir(os.path.join(self.path, user))
            run(self.root + '/usr/bin/maildirmake.courier', self.maildir(user),
                env=self.environment(user, '-'))
        self.log = open(self.path + '/out', 'ab')
        self.sockets = set()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def maildir(self, user=None):
        return os.path.join(self.path, user or self.user, 'Maildir')

    def environment(self, user, tag):
        return {
            'PATH': os.environ['PATH'],
            'LD_LIBRARY_PATH': self.path + ':' + library_path(self.root),
            'HOME': os.path.join(self.path, user), 'MAILDIR': 'Maildir',
            'AUTHENTICATED': user, 'AUTHADDR': user, 'PROTOCOL': 'IMAP', 'IMAPLOGINTAG': tag,
            'TCPREMOTEIP': '127.0.0.1', 'TCPREMOTEPORT': '1', 'IMAP_STARTTLS': 'NO',
            'IMAP_CAPABILITY': CAPABILITY, 'IMAP_KEYWORDS': '1', 'IMAP_ACL': '1',
            'IMAP_TRASHFOLDERNAME': 'Trash',
        }

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b'* OK [CAPABILITY %s] Courier-IMAP ready.\r\n' % CAPABILITY.encode())
            login = self._login(sock)
            if login is not None:
                subprocess.run([self.root + '/usr/bin/imapd', 'Maildir'], stdin=sock, stdout=sock,
                               stderr=self.log, cwd=os.path.join(self.path, login[1]),
                               env=self.environment(login[1], login[0]))
        except OSError:
            pass
        finally:
            self.sockets.discard(sock)
            sock.close()

    @staticmethod
    def _line(sock):
        """Octet by octet: what follows is imapd's to read."""
        line = b''
        while not line.endswith(b'\n'):
            octet = sock.recv(1)
            if not octet:
                raise OSError('closed')
            line += octet
        return line.decode('latin-1').strip()

    def _login(self, sock):
        """(tag, user) of a login that is right, None after a LOGOUT."""
        while True:
            tag, name, *rest = shlex.split(self._line(sock))
            name = name.upper()
            user = None
            if name == 'LOGIN':
                user, password = rest[:2]
            elif name == 'AUTHENTICATE':
                if len(rest) < 2:
                    sock.sendall(b'+ \r\n')
                    rest.append(self._line(sock))
                _, user, password = base64.b64decode(rest[1]).decode().split('\0')
            elif name == 'CAPABILITY':
                sock.sendall(b'* CAPABILITY %s\r\n' % CAPABILITY.encode())
            if user is not None and self.users.get(user) == password:
                return tag, user
            good = name in ('CAPABILITY', 'NOOP', 'LOGOUT')
            sock.sendall(b'%s %s done\r\n' % (tag.encode(), b'OK' if good else b'NO'))
            if name == 'LOGOUT':
                return None

    def stop(self):
        self.listener.close()
        for sock in list(self.sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.log.close()

    def name(self, mailbox):
        """What is shown as `mailbox`."""
        return mailbox if mailbox == 'INBOX' else self.prefix + mailbox

    def url(self, user=None, port=None, scheme='imap', host='127.0.0.1'):
        return '%s://%s@%s:%d' % (scheme, user or self.user, host, port or self.port)

    def imap(self, user=None):
        user = user or self.user
        return Imap(self.port, user, self.users[user])
