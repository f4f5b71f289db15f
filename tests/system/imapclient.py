# SPDX-License-Identifier: MIT
"""A second client for the tests: a thin wrapper on imaplib.

It is the judge of what the server holds, so it asks plainly and caches nothing. Mailbox
names are given as text and sent in modified UTF-7; UIDs are integers everywhere.
"""
import base64
import imaplib
import re
import socket
import ssl
import time

imaplib._MAXLINE = 1 << 26  # a SEARCH answer of 100,000 UIDs is one line
imaplib.Commands.setdefault('MOVE', ('SELECTED',))


def utf7_encode(name):
    """Modified UTF-7, RFC 3501 section 5.1.3."""
    out, wide = [], []

    def flush():
        if wide:
            data = base64.b64encode(''.join(wide).encode('utf-16-be')).decode()
            out.append('&' + data.rstrip('=').replace('/', ',') + '-')
            wide.clear()
    for char in name:
        if ' ' <= char <= '~':
            flush()
            out.append('&-' if char == '&' else char)
        else:
            wide.append(char)
    flush()
    return ''.join(out)


def utf7_decode(raw):
    def part(match):
        text = match.group(1)
        if text == '':
            return '&'
        text = text.replace(',', '/')
        return base64.b64decode(text + '=' * (-len(text) % 4)).decode('utf-16-be')
    return re.sub('&([^-]*)-', part, raw)


def quote_mailbox(name):
    return '"' + utf7_encode(name).replace('\\', '\\\\').replace('"', '\\"') + '"'


def wait_for_greeting(server, seconds):
    """Until the server (with process, port, log() and stop()) greets. Raises when it does not."""
    name = type(server).__name__
    end = time.monotonic() + seconds
    while True:
        if server.process.poll() is not None:
            words = server.process.stderr.read().decode() if server.process.stderr else ''
            raise RuntimeError('%s does not start: %s%s' % (name, words, server.log()))
        try:
            with socket.create_connection(('127.0.0.1', server.port), 1) as s:
                s.settimeout(10)
                if s.recv(4) == b'* OK':
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            server.stop()
            raise RuntimeError('%s does not answer: %s' % (name, server.log()))
        time.sleep(0.03)


class ImapError(Exception):
    pass


class Imap:
    """A logged-in connection. `selected` is the mailbox last examined or selected."""

    def __init__(self, port, user='alice', password='secret', tls=False, cafile=None):
        if tls:
            context = ssl.create_default_context(cafile=cafile)
            self.c = imaplib.IMAP4_SSL('localhost', port, ssl_context=context, timeout=120)
        else:
            self.c = imaplib.IMAP4('127.0.0.1', port, timeout=120)
        self.c.login(user, password)
        self.selected = None

    def stop(self):
        try:
            self.c.logout()
        except (OSError, imaplib.IMAP4.error):
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def ok(self, answer):
        kind, data = answer
        if kind != 'OK':
            raise ImapError('%s %r' % (kind, data))
        return data

    def uid_command(self, *words):
        return self.ok(self.c.uid(*words))

    # Mailboxes.

    def select(self, name, readonly=False):
        self.ok(self.c.select(quote_mailbox(name), readonly))
        self.selected = name
        return self

    def examine(self, name):
        return self.select(name, True)

    def create(self, name):
        self.ok(self.c.create(quote_mailbox(name)))

    def delete(self, name):
        self.ok(self.c.delete(quote_mailbox(name)))

    def rename(self, old, new):
        self.ok(self.c.rename(quote_mailbox(old), quote_mailbox(new)))

    def subscribe(self, name):
        self.ok(self.c.subscribe(quote_mailbox(name)))

    def mailboxes(self):
        names = []
        for item in self.ok(self.c.list()):
            if isinstance(item, tuple):  # the name was a literal
                names.append(utf7_decode(item[1].decode()))
            elif item:
                match = re.match(rb'\(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.*)$', item)
                name = match.group(2).decode()
                if name.startswith('"'):
                    name = re.sub(r'\\(.)', r'\1', name[1:-1])
                names.append(utf7_decode(name))
        return names

    def status(self, name, item):
        data = self.ok(self.c.status(quote_mailbox(name), '(%s)' % item))[0]
        return int(re.search(rb'%s (\d+)' % item.encode(), data).group(1))

    def uidvalidity(self, name):
        return self.status(name, 'UIDVALIDITY')

    # Messages of the selected mailbox.

    def append(self, name, message, flags='', date=None):
        """`message` is sent as it is. Date: seconds since 1970 or an INTERNALDATE text.
        Returns the UID, None when the server does not tell."""
        when = None
        if date is not None:
            when = imaplib.Time2Internaldate(date) if not isinstance(date, str) else '"%s"' % date
        # imaplib's append() would turn each line end into CRLF.
        self.c.literal = message
        data = self.ok(self.c._simple_command('APPEND', quote_mailbox(name),
                                              '(%s)' % flags, *([when] if when else [])))
        match = re.search(rb'APPENDUID \d+ (\d+)', data[0] or b'')
        return int(match.group(1)) if match else None

    def uids(self, criteria='ALL'):
        found = []
        for line in self.uid_command('SEARCH', criteria):
            found += [int(x) for x in (line or b'').split()]
        return sorted(found)

    def _fetch(self, uids, items):
        if isinstance(uids, int):
            uids = str(uids)
        elif not isinstance(uids, str):
            uids = ','.join(str(u) for u in sorted(uids))
        if not uids:
            return []
        return self.uid_command('FETCH', uids, '(UID %s)' % items)

    def bodies(self, uids='1:*'):
        """{uid: octets of BODY.PEEK[]}."""
        found, data = {}, self._fetch(uids, 'BODY.PEEK[]')
        for i, part in enumerate(data):
            if isinstance(part, tuple):
                head = part[0] + (data[i + 1] if isinstance(data[i + 1], bytes) else b'')
                found[int(re.search(rb'\bUID (\d+)', head).group(1))] = part[1]
            elif part and b'BODY[] ""' in part:
                found[int(re.search(rb'\bUID (\d+)', part).group(1))] = b''
        return found

    def body(self, uid):
        return self.bodies(uid)[uid]

    def flags(self, uids='1:*'):
        """{uid: set of flags, without \\Recent}."""
        found = {}
        for part in self._fetch(uids, 'FLAGS'):
            if part:
                uid = int(re.search(rb'\bUID (\d+)', part).group(1))
                words = re.search(rb'FLAGS \(([^)]*)\)', part).group(1).decode().split()
                found[uid] = {w for w in words if w != '\\Recent'}
        return found

    def dates(self, uids='1:*'):
        """{uid: INTERNALDATE in seconds since 1970}."""
        found = {}
        for part in self._fetch(uids, 'INTERNALDATE'):
            if part:
                uid = int(re.search(rb'\bUID (\d+)', part).group(1))
                stamp = imaplib.Internaldate2tuple(part)
                found[uid] = int(time.mktime(stamp))
        return found

    def store(self, uids, what, flags):
        if isinstance(uids, int):
            uids = [uids]
        self.uid_command('STORE', ','.join(map(str, uids)), what, '(%s)' % flags)

    def expunge(self, uids):
        """These and no others; needs UIDPLUS."""
        if isinstance(uids, int):
            uids = [uids]
        self.store(uids, '+FLAGS.SILENT', '\\Deleted')
        self.uid_command('EXPUNGE', ','.join(map(str, uids)))

    def copy(self, uids, name):
        self.uid_command('COPY', ','.join(map(str, uids)), quote_mailbox(name))

    def move(self, uids, name):
        self.uid_command('MOVE', ','.join(map(str, uids)), quote_mailbox(name))

    def noop(self):
        self.ok(self.c.noop())
