# SPDX-License-Identifier: MIT
"""What fakeimap.py tells unasked: IDLE (RFC 2177) and NOTIFY (RFC 5465), and the line that a
connection can listen on while it waits for news."""
import re
import select
import socket


class Cut(Exception):
    """The line ends here."""


class Line:
    """Buffered reading from a socket, with a wait that wake() ends."""

    def __init__(self, sock):
        self.sock = sock
        self.data = bytearray()
        self.inner, self.outer = socket.socketpair()
        self.outer.setblocking(False)

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Cut
        self.data += data

    def readline(self):
        start = 0
        while (end := self.data.find(b'\n', start)) < 0:
            start = len(self.data)
            if start > 1 << 24:
                raise Cut
            self._more()
        return self._take(end + 1)

    def read(self, count):
        while len(self.data) < count:
            self._more()
        return self._take(count)

    def _take(self, count):
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    def wake(self):
        try:
            self.outer.send(b'.')
        except OSError:  # full, so it will wake; or closed
            pass

    def wait(self):
        """True when there is something to read, False when woken before."""
        if self.data:
            return True
        ready, _, _ = select.select([self.sock, self.inner], [], [])
        if self.inner in ready:
            self.inner.recv(1 << 12)
        return self.sock in ready

    def close(self):
        self.inner.close()
        self.outer.close()


class Push:
    """The part of a connection that listens."""

    def do_idle(self, rest, uid):
        server = self.server
        if not server.has('IDLE') or server.idle == 'refuse':
            self.tagged('BAD unknown command')
            return
        if server.idle == 'no-plus':  # and nothing else, ever
            while True:
                self.line.readline()
        self.send('+ idling')
        self.flush()
        self.listening = True
        try:
            while True:
                with server.lock:
                    if server.idle != 'mute':
                        self.say_injected()
                        self.idle_news()
                self.flush()
                if self.line.wait():
                    break
                if server.stopping:
                    raise Cut
        finally:
            self.listening = False
        if self.line.readline().strip().upper() != b'DONE':
            raise Cut
        with server.lock:
            if server.idle != 'mute':
                self.idle_news()
            self.tagged('OK done')

    def idle_news(self):
        server, before = self.server, len(self.out)
        self.news()
        if server.idle == 'bye' and (len(self.out) > before or self.box is None):
            del self.out[before:]
            self.send('* BYE this was enough')
            raise Cut

    def say_injected(self):
        while self.injected:
            self.send(self.injected.pop(0))

    # NOTIFY.

    EVENTS = ('MESSAGENEW', 'MESSAGEEXPUNGE', 'FLAGCHANGE', 'MAILBOXNAME', 'SUBSCRIPTIONCHANGE')

    def do_notify(self, rest, uid):
        server = self.server
        words = self.words(rest)
        if not server.has('NOTIFY'):
            self.tagged('BAD unknown command')
            return
        if words[0].upper() == 'NONE':
            self.notify = None
            self.tagged('OK nothing')
            return
        if words.pop(0).upper() != 'SET':
            self.tagged('BAD SET or NONE')
            return
        status = words[0].upper() == 'STATUS' and bool(words.pop(0))
        events = {}
        for group in words:
            inner = self.words(group[1:-1])
            names = self.words(inner[1].strip('()')) if len(inner) > 2 else None
            wanted = {e.upper() for e in self.words(inner[-1].strip('()'))}
            events[inner[0].upper()] = (names, wanted)
        asked = set().union(*(w for _, w in events.values()))
        if server.notify == 'refuse':
            self.tagged('NO not for you')
            return
        if asked - server.notify_events:
            self.tagged('NO [BADEVENT (%s)] events not supported' % ' '.join(
                sorted(server.notify_events)))
            return
        if 'FLAGCHANGE' in asked and not {'MESSAGENEW', 'MESSAGEEXPUNGE'} <= asked:
            self.tagged('BAD FlagChange needs MessageNew and MessageExpunge')
            return
        self.notify = events
        self.notified = {}
        self.told = getattr(self, 'told', set())
        for box in server.boxes.values():
            self.notified[box] = self._state(box)
            if status and self._events(box) & {'MESSAGENEW', 'MESSAGEEXPUNGE', 'FLAGCHANGE'} \
                    and self.box is not box and self._selectable(box):
                self.send(self.status_line(box, self._notify_items()))
        self.tagged('OK done')

    def _notify_items(self):
        return ['MESSAGES', 'UIDNEXT', 'UIDVALIDITY'] + (
            ['HIGHESTMODSEQ'] if self.condstore else [])

    @staticmethod
    def _selectable(box):
        return not any(a.lower() in ('\\noselect', '\\nonexistent') for a in box.attributes)

    def _state(self, box):
        return box.name, box.uidvalidity, box.uidnext, len(box.messages), box.modseq

    def _events(self, box):
        """What is to be told about a mailbox."""
        wanted = set()
        for kind, (names, events) in self.notify.items():
            if kind in ('PERSONAL', 'SUBSCRIBED') or (kind == 'INBOXES' and box.name == 'INBOX') \
                    or (kind == 'MAILBOXES' and box.name in names) \
                    or (kind == 'SUBTREE' and any(re.match(re.escape(n) + r'(\W|$)', box.name)
                                                  for n in names)):
                wanted |= events
        return wanted

    def notify_news(self):
        server = self.server
        self.say_injected()
        if self.notify is None or server.notify == 'mute':
            return
        before = len(self.out)
        there = set(server.boxes.values())
        for box in [b for b in self.notified if b not in there]:
            name = self.notified.pop(box)[0]
            if 'MAILBOXNAME' in self._events(box):
                self.send('* LIST (\\NonExistent) %s %s' % (
                    self._delimiter(), self._quoted(name)))
        for box in list(server.boxes.values()):
            old, new = self.notified.get(box), self._state(box)
            if new == old:
                continue
            self.notified[box] = new
            if server.notify == 'once' and box in self.told:
                continue
            self.told.add(box)
            self._tell(box, old, new)
        if server.notify == 'overflow' and len(self.out) > before:
            del self.out[before:]
            self.send('* OK [NOTIFICATIONOVERFLOW] too much')
            self.notify = None

    def _tell(self, box, old, new):
        events = self._events(box)
        if (old is None or old[0] != new[0]) and 'MAILBOXNAME' in events:
            self.send('* LIST (%s) %s %s%s' % (
                ' '.join(box.attributes), self._delimiter(), self._quoted(box.name),
                '' if old is None else ' ("OLDNAME" (%s))' % self._quoted(old[0])))
        if box is self.box or not self._selectable(box):
            return
        if old is None or old[1:4] != new[1:4]:
            if events & {'MESSAGENEW', 'MESSAGEEXPUNGE'}:
                self.send(self.status_line(box, self._notify_items()))
        elif old[4] != new[4] and 'FLAGCHANGE' in events and self.condstore:
            self.send(self.status_line(box, ['UIDVALIDITY', 'HIGHESTMODSEQ']))
