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
    server.fetches(message)                     # how often its body was sent

Every message keeps an identity of its own through COPY and MOVE (message.origin), so that a
test can prove that none was lost or doubled; EMAILID, X-GM-MSGID and X-GUID are made of it.
Everything received is in server.commands as (connection, mailbox, line). All fields may be
changed while it runs. What it can is what its capabilities say: ESEARCH, ENABLE, CONDSTORE,
QRESYNC, IDLE, NOTIFY, LIST-EXTENDED, LIST-STATUS, SPECIAL-USE, OBJECTID, X-GM-EXT-1, UNSELECT,
UIDPLUS, MOVE, QUOTA; X-GUID, which none tells, by x_guid=True.

fakemodel.py has the account, the changes that a test makes itself, and the faults of a mailbox;
fakeselected.py the commands on messages; fakepush.py IDLE and NOTIFY.

As a program it serves a small account for trying by hand: fakeimap.py [PORT].
"""
import fnmatch
import random
import re
import socket
import sys
import threading
import time

from fakemodel import Account, Box, Faults, Message  # noqa: F401 (for tests)
from fakepush import Cut, Line, Push
from fakeselected import Selected
from imapclient import utf7_encode

BASE = 'IMAP4rev1'
ALL = ('IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CONDSTORE '
       'ESEARCH SPECIAL-USE QUOTA CHILDREN')
MODERN = ALL + ' QRESYNC LIST-EXTENDED LIST-STATUS STATUS=SIZE NOTIFY'
PLAIN = 'IMAP4rev1 LITERAL+ UIDPLUS MOVE SPECIAL-USE'


class FakeImap(Account):
    def __init__(self, capabilities=ALL, users=None, delimiter='/', port=0, namespace='',
                 special=True, start=True, x_guid=False):
        super().__init__()
        self.capabilities = capabilities if BASE in capabilities else BASE + ' ' + capabilities
        self.users = users or {'alice': 'secret'}
        self.delimiter, self.namespace = delimiter, namespace
        self.connections = {}
        self.opened = 0
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
        self.message_limit = None  # MESSAGELIMIT: no more messages a command than these
        self.limit_untagged = False  # it is told beside another code
        self.x_guid = x_guid     # Dovecot's, which no capability tells
        self.closed = True       # with QRESYNC, a SELECT in a mailbox tells [CLOSED]
        self.enable = 'good'     # 'silent' (done, without ENABLED), 'none' (OK, and nothing is
        #                          done), 'pretend' (ENABLED, and nothing is done), 'refuse'
        self.idle = 'good'       # 'mute', 'no-plus', 'bye' (at the first news), 'refuse'
        self.notify = 'good'     # 'mute', 'overflow' (at the first news), 'refuse'
        self.notify_events = set(Push.EVENTS)  # others are answered with BADEVENT
        self.inbox = 'INBOX'     # how LIST spells it
        self.add_box('INBOX')
        if self.has('X-GM-EXT-1'):
            self.gmail()
        elif special:
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
            self.change()

    def url(self, user='alice'):
        return 'imap://%s@127.0.0.1:%d' % (user, self.port)

    def tell(self, line):
        """Sends a line of the server's to everybody who listens by IDLE or NOTIFY."""
        with self.lock:
            for connection in self.connections.values():
                if connection.listening or connection.notify is not None:
                    connection.injected.append(line)
            self.change()

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


class Connection(Selected, Push):
    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.line = Line(sock)
        self.wake = self.line.wake
        self.out, self.waiting = [], 0
        self.user = None
        self.box = None
        self.readonly = True
        self.seen = []      # the UIDs that this connection numbers its messages by
        self.modseq = 0     # of the mailbox, up to where its news were told
        self.validity = 0   # of the mailbox, as it was told
        self.condstore = self.qresync = False
        self.listening = False  # in IDLE
        self.notify = None      # {filter: (mailboxes, events)}
        self.injected = []
        self.tag, self.kind = '*', 'GREETING'

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
            server.octets[self.kind] += len(data) + 2
            server.responses += 1
            if server.cut_at_response is not None:
                server.cut_at_response -= 1
                if server.cut_at_response < 0:
                    server.cut_at_response = None
                    self.out.pop()
                    raise Cut
        self.waiting += len(data)

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
            line = self.line.readline().rstrip(b'\r\n')
            literal = re.search(rb'~?\{(\d+)(\+?)\}$', line)
            if not literal:
                parts.append(line)
                return parts
            parts.append(line[:literal.start()])
            if not literal.group(2):
                self.send('+ go on')
                self.flush()
            parts.append(self.line.read(int(literal.group(1))))

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
                self.listen()
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
                self.line.close()
            self.close()
            self.sock.close()

    def listen(self):
        """Until the next command comes, with the news that NOTIFY asked for."""
        while self.notify is not None and not self.server.stopping:
            self.kind = 'NOTIFY'
            with self.server.lock:
                self.notify_news()
            self.flush()
            if self.line.wait():
                break

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
            self.kind = server.kind(name, rest)
            server.counts[self.kind] += 1
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
            if self.box is not None and name not in ('SELECT', 'EXAMINE', 'UNSELECT', 'LOGOUT'):
                with server.lock:
                    self.tell_validity()
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
                depth, j = 0, i
                while j < len(text) and (depth or text[j] != ' '):
                    depth += {'[': 1, ']': -1}.get(text[j], 0)
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
            words.append(self.line.readline().decode().strip())
        _, user, password = base64.b64decode(words[1]).decode().split('\0')
        self._logged_in(user, password)

    def do_enable(self, rest, uid):
        server = self.server
        if not server.has('ENABLE') or server.enable == 'refuse' or self.box is not None:
            self.tagged('BAD not now')
            return
        known = [w for w in rest.upper().split()
                 if w in ('CONDSTORE', 'QRESYNC', 'UTF8=ACCEPT') and server.has(w)]
        if server.enable in ('good', 'silent'):
            self.qresync = self.qresync or 'QRESYNC' in known
            self.condstore = self.condstore or self.qresync or 'CONDSTORE' in known
        if server.enable in ('good', 'pretend'):
            self.send('* ENABLED' + ''.join(' ' + w for w in known))
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

    def _pattern(self, pattern):
        delimiter = self.server.delimiter
        if delimiter:
            return re.escape(pattern).replace('\\*', '.*').replace(
                '%', '[^%s]*' % re.escape(delimiter))
        return fnmatch.translate(pattern.replace('%', '*'))

    def _list(self, rest, word):
        words = self.words(rest)
        server, delimiter = self.server, self._delimiter()
        selection = words.pop(0).upper() if words[0].startswith('(') else ''
        returned = []
        if len(words) > 2:
            if words[2].upper() != 'RETURN' or not server.has('LIST-EXTENDED'):
                raise ValueError('no RETURN here')
            returned = self.words(words[3][1:-1].upper())
        patterns = self.words(words[1][1:-1]) if words[1].startswith('(') else [words[1]]
        status = None
        if 'STATUS' in returned:
            if not server.has('LIST-STATUS'):
                raise ValueError('no STATUS here')
            status = returned[returned.index('STATUS') + 1].strip('()').split()
        if patterns == ['']:
            self.send('* %s (\\Noselect) %s ""' % (word, delimiter))
            self.tagged('OK done')
            return
        regexes = [self._pattern(words[0] + p) for p in patterns]
        for name, box in server.boxes.items():
            use = [a for a in box.attributes if a.lower() not in ('\\noselect', '\\nonexistent')]
            if ('SPECIAL-USE' in selection and not use) or \
                    not any(re.fullmatch(r, name, re.S) for r in regexes):
                continue
            shown = [a for a in box.attributes if a not in use or word == 'XLIST'
                     or server.has('SPECIAL-USE')]
            if 'CHILDREN' in returned:
                below = name + (server.delimiter or '\0')
                shown.append('\\HasChildren' if any(n.startswith(below) for n in server.boxes)
                             else '\\HasNoChildren')
            self.send('* %s (%s) %s %s' % (word, ' '.join(shown), delimiter, self._quoted(
                server.inbox if name == 'INBOX' else name)))
            if status and self._selectable(box) and not isinstance(box.faults.status, str):
                self.send(self.status_line(box, status))
        self.tagged('OK done')

    def do_list(self, rest, uid):
        self._list(rest, 'LIST')

    def do_lsub(self, rest, uid):
        self._list(rest, 'LSUB')

    def do_xlist(self, rest, uid):
        self._list(rest, 'XLIST')

    def status_line(self, box, items):
        values = {'MESSAGES': len(box.messages), 'UIDNEXT': box.uidnext, 'RECENT': 0,
                  'UIDVALIDITY': box.uidvalidity,
                  'UNSEEN': sum('\\Seen' not in m.flags for m in box.messages)}
        if self.server.has('CONDSTORE'):
            values['HIGHESTMODSEQ'] = box.told_modseq() \
                if box.faults.highestmodseq not in ('none', 'absent') else 0
        if self.server.has('OBJECTID'):
            values['MAILBOXID'] = '(%s)' % box.mailboxid
        if self.server.has('STATUS=SIZE'):
            values['SIZE'] = sum(len(m.body) for m in box.messages)
        if isinstance(box.faults.status, dict):
            values.update(box.faults.status)
        if 'HIGHESTMODSEQ' in items:
            self.condstore = True
        unknown = [i for i in items if i not in values]
        if unknown:
            raise ValueError('no such item: %s' % unknown[0])
        return '* STATUS %s (%s)' % (self._quoted(box.name), ' '.join(
            '%s %s' % (i, values[i]) for i in items))

    def do_status(self, rest, uid):
        name, items = self.words(rest)
        box = self._find(name)
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
        elif isinstance(box.faults.status, str):
            self.tagged(box.faults.status)
        elif not self._selectable(box):
            self.tagged('NO can not be selected')
        else:
            self.send(self.status_line(box, items.upper().strip('()').split()))
            self.tagged('OK done')

    def do_create(self, rest, uid):
        name = self.words(rest)[0]
        if self._find(name):
            self.tagged('NO [ALREADYEXISTS] there it is')
        else:
            box = self.server.add_box(name)
            self.tagged('OK [MAILBOXID (%s)] done' % box.mailboxid
                        if self.server.has('OBJECTID') else 'OK done')

    def do_rename(self, rest, uid):
        old, new = self.words(rest)
        if self._find(old) is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
        elif self._find(new) is not None:
            self.tagged('NO [ALREADYEXISTS] there it is')
        elif old.upper() == 'INBOX':
            self.server.violations.append('RENAME of INBOX')
            self.tagged('NO not that one')
        else:
            self.server.rename(old, new)
            self.tagged('OK done')

    def do_delete(self, rest, uid):
        name = self.words(rest)[0]
        box = self._find(name)
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
            return
        self.server.remove_box(box.name)
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
