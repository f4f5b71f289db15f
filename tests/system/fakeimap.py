#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An IMAP server that tests can make lie: a model of an account, served on 127.0.0.1 in
cleartext, with faults that are switched on one by one.

    server = FakeImap(capabilities='UIDPLUS MOVE SPECIAL-USE')
    inbox = server.box('INBOX')
    message = inbox.add(b'Subject: x\\r\\n\\r\\nhello\\r\\n')
    inbox.faults.size[message.uid] = 3          # RFC822.SIZE lies
    server.lose_answer('UID MOVE')              # done, but the answer never comes
    ...
    server.violations                           # what no client may do: EXPUNGE, CLOSE
    server.copies(message)                      # [(mailbox, uid, flags)] where it stands now

Every message keeps an identity of its own through COPY and MOVE (message.origin), so that a
test can prove that none was lost or doubled. Everything received is in server.commands as
(connection, mailbox, line). All fields may be changed while it runs.

As a program it serves a small account for trying by hand: fakeimap.py [PORT].
"""
import fnmatch
import itertools
import random
import re
import socket
import sys
import threading
import time

from imapclient import utf7_encode

MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()
BASE = 'IMAP4rev1'
ALL = ('IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CONDSTORE '
       'ESEARCH SPECIAL-USE QUOTA CHILDREN')


def internaldate(when):
    t = time.gmtime(when)
    return '"%2d-%s-%04d %02d:%02d:%02d +0000"' % (
        t.tm_mday, MONTHS[t.tm_mon - 1], t.tm_year, t.tm_hour, t.tm_min, t.tm_sec)


def ranges(uids):
    """A sequence set, ascending, of the integers."""
    out = []
    for uid in sorted(uids):
        if out and out[-1][1] == uid - 1:
            out[-1][1] = uid
        else:
            out.append([uid, uid])
    return ','.join(str(a) if a == b else '%d:%d' % (a, b) for a, b in out)


def in_set(text, largest):
    """A predicate for a sequence set."""
    spans = []
    for part in text.split(','):
        ends = [largest if e == '*' else int(e) for e in part.split(':')]
        spans.append((min(ends), max(ends)))
    return lambda n: any(a <= n <= b for a, b in spans)


class Message:
    origins = itertools.count(1)

    def __init__(self, body, flags=(), date=None, origin=None):
        self.body = body
        self.flags = set(flags)
        self.date = 1714745525 if date is None else date
        self.origin = origin or next(Message.origins)
        self.uid = 0
        self.modseq = 1


class Faults:
    """Of one mailbox. Sets and dictionaries are by UID."""

    def __init__(self):
        self.size = {}              # RFC822.SIZE to report; None: leave the item out
        self.body = {}              # what BODY[] gives: 'NIL', '""', 'none' (no item), bytes
        self.body_once = {}         # the same, for the next FETCH only
        self.omit = set()           # left out of any FETCH of more than one message
        self.omit_always = set()
        self.poison = set()         # NO [UNAVAILABLE] to every FETCH of its headers or body
        self.poison_body = set()    # the same, of its body alone
        self.peek_sees = False      # BODY.PEEK sets \\Seen
        self.odd_order = False      # UID last, FLAGS in the middle, unasked FLAGS in between
        self.ignore_origin = False  # <n.m> gives from 0 on
        self.search = None          # 'empty', 'none' (no line), 'split' (one a line)
        self.select = None          # text of a NO to SELECT and EXAMINE
        self.select_once = None
        self.no_uidnext = False
        self.copy = None            # tagged answer to COPY and MOVE; nothing is done
        self.copyuid = 'good'       # 'none', 'truncated', 'wrong' (another UIDVALIDITY), 'foreign'
        self.move_keeps = False     # MOVE answers OK, copies, and leaves the source
        self.move_nothing = False   # MOVE answers OK and does nothing
        self.expunge_keeps = False  # UID EXPUNGE answers OK and does nothing
        self.store = None           # tagged answer to STORE; nothing is done
        self.auto_expunge = False   # \\Deleted removes at once
        self.keep_seq = False
        self.fetch_delay = 0.0      # seconds before a message


class Box:
    def __init__(self, account, name, attributes=()):
        self.account, self.name = account, name
        self.attributes = list(attributes)
        self.messages = []
        self.uidvalidity = next(account.validities)
        self.uidnext = 1
        self.modseq = 1
        self.readonly = False
        self.faults = Faults()

    def add(self, body, flags=(), date=None, origin=None, uid=None):
        """Delivers; returns the message, whose uid is set."""
        with self.account.lock:
            message = Message(body, flags, date, origin)
            message.uid = self.uidnext if uid is None else uid
            self.uidnext = max(self.uidnext, message.uid + 1)
            self.modseq += 1
            message.modseq = self.modseq
            self.messages.append(message)
            self.account.changed.notify_all()
            return message

    def by_uid(self, uid):
        return next((m for m in self.messages if m.uid == uid), None)

    def remove(self, uids):
        with self.account.lock:
            self.messages = [m for m in self.messages if m.uid not in uids]
            self.modseq += 1
            self.account.changed.notify_all()

    def touch(self, message):
        self.modseq += 1
        message.modseq = self.modseq
        self.account.changed.notify_all()

    def renumber(self, shift=1000):
        """A new UIDVALIDITY with the same mail in the same order."""
        with self.account.lock:
            self.uidvalidity = next(self.account.validities)
            for i, message in enumerate(self.messages):
                message.uid = shift + i
            self.uidnext = shift + len(self.messages)


class Cut(Exception):
    """The line ends here."""


class FakeImap:
    def __init__(self, capabilities=ALL, users=None, delimiter='/', port=0, namespace='',
                 special=True, start=True):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.capabilities = capabilities if BASE in capabilities else BASE + ' ' + capabilities
        self.users = users or {'alice': 'secret'}
        self.delimiter, self.namespace = delimiter, namespace
        self.validities = itertools.count(100)
        self.boxes = {}
        self.commands, self.violations, self.expunged = [], [], []
        self.fetched = []        # (mailbox, uid, first octet, octets) of each body sent
        self.connections = {}
        self.opened = 0
        self.bodies_sent = 0
        self.quota = None        # (used, limit) in KiB
        self.broken = set()      # first words of commands answered with BAD
        self.max_connections = None
        self.login_answer = None  # e.g. 'NO [AUTHENTICATIONFAILED] no'
        self.greeting = None
        self.lost = []           # [pattern]: answers that never come, each once
        self.cut_before = []     # [pattern]: cut at the command, before it is done, each once
        self.replies = {}        # {pattern: tagged answer}, instead of doing it
        self.silent = set()      # patterns of commands that are never answered
        self.before = None       # called with (connection, line) before a command is done
        self.responses = 0       # sent, over all connections
        self.cut_at_response = None
        self.add_box('INBOX')
        if special:
            for name in ('Trash', 'Sent'):
                self.add_box(name, ['\\' + name])
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', port))
        self.port = self.listener.getsockname()[1]
        self.stopping = False
        if start:
            self.start()

    def start(self):
        self.listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.stopping:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.stopping:
                sock.close()
                return
            with self.lock:
                self.opened += 1
                connection = Connection(self, sock, self.opened)
                self.connections[connection.number] = connection
            threading.Thread(target=connection.serve, daemon=True).start()

    def stop(self):
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop_all()

    def drop_all(self):
        """Cuts every connection."""
        with self.lock:
            for connection in list(self.connections.values()):
                connection.close()
            self.changed.notify_all()

    def url(self, user='alice'):
        return 'imap://%s@127.0.0.1:%d' % (user, self.port)

    # The account.

    def add_box(self, name, attributes=()):
        with self.lock:
            self.boxes[name] = Box(self, name, attributes)
            return self.boxes[name]

    def box(self, name):
        return self.boxes[name]

    def has(self, capability):
        return capability.upper() in self.capabilities.upper().split()

    def copies(self, message):
        """[(mailbox, uid, flags)] of what this message became."""
        with self.lock:
            return [(b.name, m.uid, set(m.flags)) for b in self.boxes.values()
                    for m in b.messages if m.origin == message.origin]

    def received(self, pattern):
        """The lines received that match."""
        with self.lock:
            return [line for _, _, line in self.commands if re.search(pattern, line, re.I)]

    # Faults of the line.

    def lose_answer(self, pattern):
        """The next command that matches is done, and then the line is cut."""
        self.lost.append(pattern)

    def cut_at(self, pattern):
        """The line is cut when the next command that matches arrives; it is not done."""
        self.cut_before.append(pattern)

    def take(self, patterns, line):
        with self.lock:
            for pattern in patterns:
                if re.search(pattern, line, re.I):
                    patterns.remove(pattern)
                    return True
        return False


class Connection:
    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.file = sock.makefile('rb')
        self.out, self.waiting = [], 0
        self.user = None
        self.box = None
        self.readonly = True
        self.seen = []      # the UIDs that this connection numbers its messages by
        self.compressed = False
        self.tag = '*'

    # The line.

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def send(self, data):
        """One response, with its literals."""
        server = self.server
        if isinstance(data, str):
            data = data.encode('utf-8', 'surrogateescape')
        self.out.append(data + b'\r\n')
        with server.lock:
            server.responses += 1
            if server.cut_at_response is not None:
                server.cut_at_response -= 1
                if server.cut_at_response < 0:
                    server.cut_at_response = None
                    self.out.pop()
                    raise Cut
        self.waiting += len(data)
        if self.waiting > 60000:
            self.flush()

    def flush(self):
        data, self.out, self.waiting = b''.join(self.out), [], 0
        if data:
            self.sock.sendall(data)

    def tagged(self, text):
        self.send(self.tag + ' ' + text)

    def read_command(self):
        """A line with its literals: [bytes, ...], text and literals in turn."""
        parts = []
        while True:
            line = self.file.readline(1 << 20)
            if not line.endswith(b'\n'):
                raise Cut
            line = line.rstrip(b'\r\n')
            literal = re.search(rb'~?\{(\d+)(\+?)\}$', line)
            if not literal:
                parts.append(line)
                return parts
            parts.append(line[:literal.start()])
            if not literal.group(2):
                self.send('+ go on')
                self.flush()
            data = self.file.read(int(literal.group(1)))
            if len(data) < int(literal.group(1)):
                raise Cut
            parts.append(data)

    def serve(self):
        server = self.server
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if server.max_connections is not None and \
                    len(server.connections) > server.max_connections:
                self.send('* BYE Too many connections')
                raise Cut
            self.send(server.greeting or '* OK [CAPABILITY %s%s] ready' % (
                server.capabilities, '' if 'AUTH=' in server.capabilities else ' AUTH=PLAIN'))
            self.flush()
            while True:
                self.one()
                self.flush()
        except (Cut, OSError):
            pass
        finally:
            try:
                self.flush()
            except OSError:
                pass
            with server.lock:
                server.connections.pop(self.number, None)
            self.close()
            self.file.close()
            self.sock.close()

    def one(self):
        server = self.server
        parts = self.read_command()
        # Literals are shown quoted in the record, as if they had been sent that way.
        text = ''.join(p.decode('utf-8', 'surrogateescape') if i % 2 == 0 else
                       '"%s"' % p[:200].decode('latin-1').replace('\\', '\\\\').replace('"', '\\"')
                       for i, p in enumerate(parts))
        match = re.match(r'(\S+) (\S+) ?(.*)$', text, re.S)
        if not match:
            self.send('* BAD what?')
            return
        self.tag, name, rest = match.groups()
        self.literals = parts[1::2]
        name = name.upper()
        uid = name == 'UID'
        if uid:
            name, _, rest = rest.partition(' ')
            name = name.upper()
        line = ('UID ' if uid else '') + name + (' ' + rest if rest else '')
        with server.lock:
            shown = 'LOGIN ...' if name == 'LOGIN' else line
            server.commands.append((self.number, self.box.name if self.box else None, shown))
            self._watch(name, uid)
        if server.before:
            server.before(self, line)
        if server.take(server.cut_before, line):
            self.out = []
            raise Cut
        if any(re.search(p, line, re.I) for p in server.silent):
            return
        lose = server.take(server.lost, line)
        sent = len(self.out)
        self.perform(name, uid, rest, line)
        if lose:
            del self.out[sent:]
            raise Cut

    def _watch(self, name, uid):
        """What would take other people's mail away."""
        if (name == 'EXPUNGE' and not uid) or (name == 'CLOSE' and not self.readonly):
            self.server.violations.append('%s in %s' % (name, self.box.name if self.box else '-'))

    def perform(self, name, uid, rest, line):
        server = self.server
        for pattern, answer in list(server.replies.items()):
            if re.search(pattern, line, re.I):
                self.tagged(answer)
                return
        handler = getattr(self, 'do_' + name.lower(), None)
        if handler is None or name in server.broken or (name == 'MOVE' and not server.has('MOVE')):
            self.tagged('BAD unknown command')
            return
        if self.user is None and name not in ('CAPABILITY', 'LOGIN', 'AUTHENTICATE', 'NOOP',
                                              'LOGOUT', 'ID', 'STARTTLS'):
            self.tagged('BAD log in first')
            return
        try:
            if name in ('FETCH', 'IDLE'):  # long, and lock for themselves
                handler(rest, uid)
            else:
                with server.lock:
                    handler(rest, uid)
        except (ValueError, IndexError, AttributeError) as error:
            self.tagged('BAD %s' % str(error).replace('\r', ' ').replace('\n', ' '))

    @staticmethod
    def words(text):
        """Atoms, quoted strings and parenthesized lists (as text)."""
        out, i = [], 0
        while i < len(text):
            if text[i] == ' ':
                i += 1
            elif text[i] == '"':
                j, word = i + 1, ''
                while text[j] != '"':
                    if text[j] == '\\':
                        j += 1
                    word += text[j]
                    j += 1
                out.append(word)
                i = j + 1
            elif text[i] == '(':
                depth, j = 0, i
                while True:
                    depth += {'(': 1, ')': -1}.get(text[j], 0)
                    j += 1
                    if depth == 0:
                        break
                out.append(text[i:j])
                i = j
            else:
                j = i
                while j < len(text) and text[j] != ' ':
                    j += 1
                out.append(text[i:j])
                i = j
        return out

    # Any state.

    def do_capability(self, rest, uid):
        self.send('* CAPABILITY ' + self.server.capabilities)
        self.tagged('OK done')

    def do_noop(self, rest, uid):
        self.news()
        self.tagged('OK done')

    do_check = do_noop

    def do_id(self, rest, uid):
        self.send('* ID ("name" "fake")')
        self.tagged('OK done')

    def do_logout(self, rest, uid):
        self.send('* BYE bye')
        self.tagged('OK done')
        raise Cut

    def _logged_in(self, user, password):
        server = self.server
        if server.login_answer:
            self.tagged(server.login_answer)
        elif server.users.get(user) != password:
            self.tagged('NO [AUTHENTICATIONFAILED] wrong user or password')
        else:
            self.user = user
            self.tagged('OK [CAPABILITY %s] logged in' % server.capabilities)

    def do_login(self, rest, uid):
        self._logged_in(*self.words(rest)[:2])

    def do_authenticate(self, rest, uid):
        import base64
        words = self.words(rest)
        if words[0].upper() != 'PLAIN':
            self.tagged('NO no such mechanism')
            return
        if len(words) < 2:
            self.send('+ ')
            self.flush()
            words.append(self.file.readline().decode().strip())
        _, user, password = base64.b64decode(words[1]).decode().split('\0')
        self._logged_in(user, password)

    def do_enable(self, rest, uid):
        if self.server.has('CONDSTORE') and 'CONDSTORE' in rest.upper():
            self.send('* ENABLED CONDSTORE')
        self.tagged('OK done')

    def do_namespace(self, rest, uid):
        server = self.server
        self.send('* NAMESPACE (("%s" %s)) NIL NIL' % (server.namespace, self._delimiter()))
        self.tagged('OK done')

    def _delimiter(self):
        d = self.server.delimiter
        return 'NIL' if d is None else '"%s"' % d.replace('\\', '\\\\')

    # Mailboxes. Names are kept as they go over the line.

    @staticmethod
    def _quoted(name):
        if any(c in name for c in '\r\n"\\') or not name.isascii():
            raw = name.encode('utf-8', 'surrogateescape')
            return '{%d}\r\n' % len(raw) + name
        return '"%s"' % name

    def _find(self, name):
        if name.upper() == 'INBOX':
            name = 'INBOX'
        return self.server.boxes.get(name)

    def _list(self, rest, word):
        words = self.words(rest)
        special_only = False
        if words and words[0].startswith('('):
            special_only = 'SPECIAL-USE' in words.pop(0).upper()
        pattern = words[0] + words[1]
        server, delimiter = self.server, self._delimiter()
        if words[1] == '':
            self.send('* %s (\\Noselect) %s ""' % (word, delimiter))
            self.tagged('OK done')
            return
        if server.delimiter:
            regex = re.escape(pattern).replace('\\*', '.*').replace(
                '%', '[^%s]*' % re.escape(server.delimiter))
        else:
            regex = fnmatch.translate(pattern.replace('%', '*'))
        for name, box in server.boxes.items():
            use = [a for a in box.attributes if a.lower() not in ('\\noselect', '\\nonexistent')]
            if special_only and not use:
                continue
            if re.fullmatch(regex, name, re.S):
                shown = box.attributes if server.has('SPECIAL-USE') or word == 'XLIST' else \
                    [a for a in box.attributes if a not in use]
                self.send('* %s (%s) %s %s' % (word, ' '.join(shown), delimiter,
                                               self._quoted(name)))
        self.tagged('OK done')

    def do_list(self, rest, uid):
        self._list(rest, 'LIST')

    def do_lsub(self, rest, uid):
        self._list(rest, 'LSUB')

    def do_xlist(self, rest, uid):
        self._list(rest, 'XLIST')

    def do_status(self, rest, uid):
        name, items = self.words(rest)
        box = self._find(name)
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
            return
        values = {'MESSAGES': len(box.messages), 'UIDNEXT': box.uidnext, 'RECENT': 0,
                  'UIDVALIDITY': box.uidvalidity, 'HIGHESTMODSEQ': box.modseq,
                  'UNSEEN': sum('\\Seen' not in m.flags for m in box.messages)}
        self.send('* STATUS %s (%s)' % (self._quoted(name), ' '.join(
            '%s %d' % (i, values[i]) for i in items.upper().strip('()').split() if i in values)))
        self.tagged('OK done')

    def do_create(self, rest, uid):
        name = self.words(rest)[0]
        if self._find(name):
            self.tagged('NO [ALREADYEXISTS] there it is')
        else:
            self.server.add_box(name)
            self.tagged('OK done')

    def do_delete(self, rest, uid):
        name = self.words(rest)[0]
        box = self._find(name)
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
            return
        self.server.expunged += [(name, m.origin) for m in box.messages]
        del self.server.boxes[name]
        self.tagged('OK done')

    def do_subscribe(self, rest, uid):
        self.tagged('OK done')

    do_unsubscribe = do_subscribe

    def do_getquotaroot(self, rest, uid):
        server = self.server
        if not server.has('QUOTA') or server.quota is None:
            self.tagged('NO no quota')
            return
        self.send('* QUOTAROOT %s "root"' % self._quoted(self.words(rest)[0]))
        self.send('* QUOTA "root" (STORAGE %d %d)' % server.quota)
        self.tagged('OK done')

    def do_getquota(self, rest, uid):
        self.send('* QUOTA "root" (STORAGE %d %d)' % self.server.quota)
        self.tagged('OK done')

    def _select(self, rest, readonly):
        name = self.words(rest)[0]
        self.box = None
        box = self._find(name)
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
            return
        answer, box.faults.select_once = box.faults.select_once or box.faults.select, None
        if answer or any(a.lower() in ('\\noselect', '\\nonexistent') for a in box.attributes):
            self.tagged(answer or 'NO can not be selected')
            return
        self.box, self.readonly = box, readonly or box.readonly
        self.seen = [m.uid for m in box.messages]
        self.modseq = box.modseq
        self.send('* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)')
        self.send('* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] ok'
                  if not self.readonly else '* OK [PERMANENTFLAGS ()] none')
        self.send('* %d EXISTS' % len(box.messages))
        self.send('* 0 RECENT')
        self.send('* OK [UIDVALIDITY %d] ok' % box.uidvalidity)
        if not box.faults.no_uidnext:
            self.send('* OK [UIDNEXT %d] ok' % box.uidnext)
        if self.server.has('CONDSTORE'):
            self.send('* OK [HIGHESTMODSEQ %d] ok' % box.modseq)
        self.tagged('OK [READ-%s] done' % ('ONLY' if self.readonly else 'WRITE'))

    def do_select(self, rest, uid):
        self._select(rest, False)

    def do_examine(self, rest, uid):
        self._select(rest, True)

    def do_unselect(self, rest, uid):
        self.box = None
        self.tagged('OK done')

    def do_close(self, rest, uid):
        if not self.readonly:
            self._expunge(lambda u: True)
        self.box = None
        self.tagged('OK done')

    def do_append(self, rest, uid):
        words = self.words(rest)
        box = self._find(words[0])
        if box is None:
            self.tagged('NO [TRYCREATE] no such mailbox')
            return
        flags = words[1].strip('()').split() if words[1].startswith('(') else []
        message = box.add(self.literals[-1], flags)
        self.news()
        self.tagged('OK [APPENDUID %d %d] done' % (box.uidvalidity, message.uid)
                    if self.server.has('UIDPLUS') else 'OK done')

    # The selected mailbox.

    def news(self, expunges=True):
        """Tells what others did, as EXPUNGE, EXISTS and FETCH FLAGS."""
        box = self.box
        if box is None:
            return
        there = {m.uid for m in box.messages}
        if expunges:
            for i in range(len(self.seen) - 1, -1, -1):
                if self.seen[i] not in there:
                    del self.seen[i]
                    self.send('* %d EXPUNGE' % (i + 1))
        known = set(self.seen)
        fresh = [m.uid for m in box.messages if m.uid not in known]
        if fresh:
            self.seen += fresh
            self.send('* %d EXISTS' % len(self.seen))
        for message in box.messages:
            if message.modseq > self.modseq and message.uid in known:
                self.send('* %d FETCH (UID %d FLAGS (%s)%s)' % (
                    self.seen.index(message.uid) + 1, message.uid, ' '.join(sorted(message.flags)),
                    self._modseq(message)))
        self.modseq = box.modseq

    def _modseq(self, message):
        return ' MODSEQ (%d)' % message.modseq if self.server.has('CONDSTORE') else ''

    def do_idle(self, rest, uid):
        server = self.server
        self.send('+ idling')
        self.flush()
        self.sock.settimeout(0.05)
        try:
            while True:
                with server.lock:
                    self.news()
                self.flush()
                try:
                    line = self.sock.recv(100, socket.MSG_PEEK)
                except (TimeoutError, BlockingIOError):
                    if server.stopping:
                        raise Cut from None
                    continue
                self.sock.settimeout(None)
                line = self.file.readline()
                if line.strip().upper() != b'DONE':
                    raise Cut
                break
        finally:
            self.sock.settimeout(None)
        self.tagged('OK done')

    def _chosen(self, text, uid):
        """The messages of a set, with their sequence numbers."""
        box = self.box
        if box is None:
            raise ValueError('no mailbox selected')
        by_uid = {m.uid: m for m in box.messages}
        if uid:
            test = in_set(text, self.seen[-1] if self.seen else 0)
            return [(i + 1, by_uid[u]) for i, u in enumerate(self.seen) if test(u) and u in by_uid]
        test = in_set(text, len(self.seen))
        return [(i + 1, by_uid[u]) for i, u in enumerate(self.seen) if test(i + 1) and u in by_uid]

    def do_search(self, rest, uid):
        box, faults = self.box, self.box.faults
        text = rest.upper()
        esearch = re.match(r'RETURN \(([^)]*)\) ?', text)
        if esearch:
            text = text[esearch.end():]
        words = self.words(text) or ['ALL']
        by_uid = {m.uid: m for m in box.messages}
        found = [(i + 1, by_uid[u]) for i, u in enumerate(self.seen) if u in by_uid]
        while words:
            word = words.pop(0)
            if word == 'UID' or re.fullmatch(r'[\d:*,]+', word):
                spec = words.pop(0) if word == 'UID' else word
                chosen = {m.uid for _, m in self._chosen(spec, word == 'UID')}
                found = [f for f in found if f[1].uid in chosen]
            elif word in ('SEEN', 'DELETED', 'FLAGGED', 'ANSWERED', 'DRAFT'):
                found = [f for f in found if '\\' + word.capitalize() in f[1].flags]
            elif word in ('UNSEEN', 'UNDELETED', 'UNFLAGGED', 'UNANSWERED', 'UNDRAFT'):
                found = [f for f in found if '\\' + word[2:].capitalize() not in f[1].flags]
            elif word == 'KEYWORD':
                key = words.pop(0)
                found = [f for f in found if key in {x.upper() for x in f[1].flags}]
            elif word == 'HEADER':
                field, value = words.pop(0), words.pop(0)
                found = [f for f in found if re.search(
                    re.escape(field) + r':[^\r\n]*' + re.escape(value),
                    f[1].body.decode('latin-1'), re.I)]
            elif word == 'MODSEQ':
                least = int(words.pop(0))
                found = [f for f in found if f[1].modseq >= least]
            elif word != 'ALL':
                self.tagged('BAD unknown key %s' % word)
                return
        numbers = [m.uid if uid else seq for seq, m in found]
        if faults.search == 'empty':
            numbers = []
        if esearch and self.server.has('ESEARCH'):
            items = esearch.group(1).split() or ['ALL']
            out = '* ESEARCH (TAG "%s")%s' % (self.tag, ' UID' if uid else '')
            if 'MIN' in items and numbers:
                out += ' MIN %d' % numbers[0]
            if 'MAX' in items and numbers:
                out += ' MAX %d' % numbers[-1]
            if 'COUNT' in items:
                out += ' COUNT %d' % len(numbers)
            if 'ALL' in items and numbers:
                out += ' ALL ' + ranges(numbers)
            self.send(out)
        elif esearch:
            self.tagged('BAD no RETURN here')
            return
        elif faults.search == 'split':
            for number in numbers:
                self.send('* SEARCH %d' % number)
        elif faults.search != 'none':
            self.send('* SEARCH' + ''.join(' %d' % n for n in numbers))
        self.news(expunges=uid)
        self.tagged('OK done')

    ITEM = re.compile(r'(BODY(?:\.PEEK)?)\[([^\]]*)\](?:<(\d+)\.(\d+)>)?|([A-Z0-9.-]+)', re.I)

    def do_fetch(self, rest, uid):
        words = self.words(rest)
        server = self.server
        with server.lock:
            chosen = self._chosen(words[0], uid)
            box = self.box
            faults = box.faults
        modifier = words[2].upper() if len(words) > 2 else ''
        since = re.search(r'CHANGEDSINCE (\d+)', modifier)
        if since:
            chosen = [c for c in chosen if c[1].modseq > int(since.group(1))]
        items = [m for m in self.ITEM.finditer(words[1].strip('()'))]
        names = [m.group(0).upper() for m in items]
        whole = any(m.group(1) and not m.group(2) for m in items)
        bodies = any(m.group(1) for m in items)
        uids = {m.uid for _, m in chosen}
        if (bodies and uids & faults.poison) or (whole and uids & faults.poison_body):
            self.tagged('NO [UNAVAILABLE] message can not be read now')
            return
        seen = faults.peek_sees and whole or any(
            (m.group(1) or '').upper() == 'BODY' for m in items) and not self.readonly
        for seq, message in chosen:
            if message.uid in faults.omit_always or \
                    (message.uid in faults.omit and len(chosen) > 1):
                continue
            if faults.fetch_delay:
                self.flush()
                time.sleep(faults.fetch_delay)
            with server.lock:
                if seen and '\\Seen' not in message.flags:
                    message.flags.add('\\Seen')
                    box.touch(message)
                    if 'FLAGS' not in names:
                        names = names + ['FLAGS']
                        items = items + [self.ITEM.match('FLAGS')]
                self._fetch_one(seq, message, items, uid or 'UID' in names, bool(since))
        with server.lock:
            self.news(expunges=uid)
        self.tagged('OK done')

    def _fetch_one(self, seq, message, items, with_uid, with_modseq):
        faults = self.box.faults
        parts = []
        for match in items:
            item = match.group(0).upper()
            if item == 'UID':
                continue
            if item == 'FLAGS':
                parts.append(b'FLAGS (%s)' % ' '.join(sorted(message.flags)).encode())
            elif item == 'INTERNALDATE':
                parts.append(b'INTERNALDATE ' + (message.date if isinstance(message.date, str)
                             else internaldate(message.date)).encode())
            elif item == 'RFC822.SIZE':
                size = faults.size.get(message.uid, len(message.body))
                if size is not None:
                    parts.append(b'RFC822.SIZE %d' % size)
            elif item == 'MODSEQ':
                with_modseq = True
            elif match.group(1):
                part = self._body(message, match)
                if part is not None:
                    parts.append(part)
        if with_modseq and self.server.has('CONDSTORE'):
            parts.append(b'MODSEQ (%d)' % message.modseq)
        if with_uid:
            if faults.odd_order:
                parts.reverse()
                parts.append(b'UID %d' % message.uid)
                self.send('* OK [ALERT] nothing of interest')
                self.send('* %d FETCH (FLAGS (%s))' % (seq, ' '.join(sorted(message.flags))))
            else:
                parts.insert(0, b'UID %d' % message.uid)
        self.send(b'* %d FETCH (' % seq + b' '.join(parts) + b')')

    def _body(self, message, match):
        server, faults, body = self.server, self.box.faults, message.body
        section = match.group(2).upper()
        echo = b'BODY[%s]' % section.encode()
        if section == '':
            fault = faults.body_once.pop(message.uid, None) or faults.body.get(message.uid)
            if fault == 'none':
                return None
            if fault in ('NIL', '""'):
                return echo + b' ' + fault.encode()
            if fault is not None:
                body = fault
        elif section.startswith('HEADER'):
            head, blank, _ = body.partition(b'\r\n\r\n')
            head = b'' if body.startswith(b'\r\n') else head + b'\r\n'
            fields = re.match(r'HEADER\.FIELDS(\.NOT)? \(([^)]*)\)', section)
            if fields:
                wanted = {f.strip('"').encode() for f in fields.group(2).split()}
                kept = []
                for line in re.findall(rb'[^\r\n][^\n]*\n(?:[ \t][^\n]*\n)*', head):
                    inside = line.split(b':', 1)[0].strip().upper() in wanted
                    if inside != bool(fields.group(1)):
                        kept.append(line)
                head = b''.join(kept)
            body = head + b'\r\n'
        elif section == 'TEXT':
            body = body.partition(b'\r\n\r\n')[2]
        else:
            return echo + b' NIL'
        if match.group(3) is not None:
            origin, length = int(match.group(3)), int(match.group(4))
            start = 0 if faults.ignore_origin else origin
            body = body[start:start + length]
            echo += b'<%d>' % origin
        if section == '':
            server.fetched.append((self.box.name, message.uid,
                                   int(match.group(3) or 0), len(body)))
            server.bodies_sent += len(body)
        return echo + b' {%d}\r\n' % len(body) + body

    def do_store(self, rest, uid):
        words = self.words(rest)
        chosen = self._chosen(words[0], uid)
        if len(words) > 3:  # (UNCHANGEDSINCE n)
            words.pop(1)
        what, flags = words[1].upper(), set(words[2].strip('()').split())
        faults = self.box.faults
        if self.readonly:
            self.tagged('NO [READ-ONLY] examined only')
            return
        if faults.store:
            self.tagged(faults.store)
            return
        for seq, message in chosen:
            if what.startswith('+'):
                message.flags |= flags
            elif what.startswith('-'):
                message.flags -= flags
            else:
                self.server.violations.append('absolute STORE in ' + self.box.name)
                message.flags = flags
            self.box.touch(message)
            if 'SILENT' not in what:
                self.send('* %d FETCH (UID %d FLAGS (%s))' % (
                    seq, message.uid, ' '.join(sorted(message.flags))))
        if faults.auto_expunge:
            self._expunge(lambda u: True)
        self.modseq = self.box.modseq
        self.tagged('OK done')

    def _expunge(self, test):
        box = self.box
        gone = [m for m in box.messages if '\\Deleted' in m.flags and test(m.uid)]
        self.server.expunged += [(box.name, m.origin) for m in gone]
        box.remove({m.uid for m in gone})

    def do_expunge(self, rest, uid):
        if uid and not self.server.has('UIDPLUS'):
            self.tagged('BAD unknown command')
            return
        if self.readonly:
            self.tagged('NO [READ-ONLY] examined only')
            return
        if not self.box.faults.expunge_keeps:
            self._expunge(in_set(rest.strip(), self.seen[-1] if self.seen else 0) if uid
                          else lambda u: True)
        self.news()
        self.tagged('OK done')

    def _transfer(self, rest, uid, move):
        words = self.words(rest)
        chosen = self._chosen(words[0], uid)
        target = self._find(words[1])
        faults = self.box.faults
        if faults.copy:
            self.tagged(faults.copy)
            return
        if target is None:
            self.tagged('NO [TRYCREATE] no such mailbox')
            return
        if move and faults.move_nothing:
            self.tagged('OK done')
            return
        made = [(m.uid, target.add(m.body, m.flags, m.date, m.origin).uid) for _, m in chosen]
        code = ''
        if self.server.has('UIDPLUS') and made and faults.copyuid != 'none':
            validity = target.uidvalidity + (7 if faults.copyuid == 'wrong' else 0)
            code = '[COPYUID %d %s %s] ' % (validity, ','.join(str(a) for a, _ in made),
                                           ','.join(str(b) for _, b in made))
            if faults.copyuid == 'truncated':
                code = '[COPYUID %d  ] ' % target.uidvalidity
            elif faults.copyuid == 'foreign':  # names messages that nobody meant
                others = [m.uid for m in self.box.messages if m.uid not in dict(made)]
                code = '[COPYUID %d %s %s] ' % (validity, ranges(others or [1]),
                                               ranges(b for _, b in made[:len(others) or 1]))
        if not move:
            self.tagged('OK %sdone' % code)
            return
        if code:
            self.send('* OK %smoved' % code)
        if not faults.move_keeps:
            self.box.remove({a for a, _ in made})
            self.news()
        self.tagged('OK done')

    def do_copy(self, rest, uid):
        self._transfer(rest, uid, False)

    def do_move(self, rest, uid):
        if self.readonly:
            self.tagged('NO [READ-ONLY] examined only')
            return
        self._transfer(rest, uid, True)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = FakeImap(port=port)
    rand = random.Random(1)
    for name in ('INBOX', 'Archive', utf7_encode('Entwürfe')):
        box = server.boxes.get(name) or server.add_box(name)
        for i in range(20):
            box.add(b'From: Fake <fake@example.org>\r\nSubject: message %d\r\n\r\n' % i
                    + b'line\r\n' * rand.randint(1, 500))
    print('%s, password secret; ends with its input' % server.url(), flush=True)
    seen = 0
    try:
        while True:
            time.sleep(0.2)
            for number, box, line in server.commands[seen:]:
                seen += 1
                print('%d %s> %s' % (number, box or '', line), flush=True)
    except KeyboardInterrupt:
        server.stop()


if __name__ == '__main__':
    main()
