# SPDX-License-Identifier: MIT
"""The account behind fakeimap.py: mailboxes, messages, what may be wrong with them, and the
changes that a test makes by itself, as another client would.

    box.add(octets)                         delivers
    box.expunge([uid, ...])
    box.set_flags(uid, add=('\\\\Seen',), remove=())
    box.renumber(tell='code')               a new UIDVALIDITY for the same messages
    box.reuse(uid, octets)                  the UID names another message, nobody is told
    account.move(message, 'Archive')        also copy(), rename(old, new), remove_box()
    account.label(message, 'Work', 'INBOX') Gmail: puts it there; unlabel() takes it away

All of it may be called at any time, from any thread; those who listen are told at once.
"""
import collections
import itertools
import re
import threading
import time

MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()
ALL_MAIL = '[Gmail]/All Mail'


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
        self.ids = {}               # EMAILID, X-GM-MSGID, X-GUID as sent; None: left out
        self.omit = set()           # left out of any FETCH of more than one message
        self.omit_always = set()
        self.poison = set()         # NO [UNAVAILABLE] to every FETCH of its headers or body
        self.poison_body = set()    # the same, of its body alone
        self.peek_sees = False      # BODY.PEEK sets \\Seen
        self.odd_order = False      # UID last, FLAGS in the middle, unasked FLAGS in between
        self.ignore_origin = False  # <n.m> gives from 0 on
        self.search = None          # 'empty', 'none' (no line), 'split' (one a line), 'numbers'
        #                             (not UIDs)
        self.esearch = None         # 'plain': SEARCH comes back; 'none' (no line), 'bad' (BAD)
        self.select = None          # text of a NO to SELECT and EXAMINE
        self.select_once = None
        self.exists = 0             # what EXISTS of a SELECT says too much
        self.no_uidnext = False
        self.unsettled = False      # each EXAMINE tells another UIDVALIDITY, until a SELECT
        self.quiet = False          # FETCH and SEARCH tell nothing of what others did, as Courier's
        self.unnamed = False        # flags that are told unasked come without the UID
        self.status = None          # tagged answer to STATUS, or {item: value} told instead
        self.copy = None            # tagged answer to COPY and MOVE; nothing is done
        self.copyuid = 'good'       # 'none', 'truncated', 'wrong' (another UIDVALIDITY), 'foreign'
        self.move_keeps = False     # MOVE answers OK, copies, and leaves the source
        self.move_nothing = False   # MOVE answers OK and does nothing
        self.expunge_keeps = False  # UID EXPUNGE answers OK and does nothing
        self.store = None           # tagged answer to STORE; nothing is done
        self.auto_expunge = False   # \\Deleted removes at once
        self.fetch_delay = 0.0      # seconds before a message
        # Mod-sequences and what is gone. Going back: Box.rewind().
        self.highestmodseq = None   # told instead: 0, a number, 'none' (NOMODSEQ), 'absent'
        self.lag = 0                # HIGHESTMODSEQ is told so much too low
        self.late = set()           # changes that no CHANGEDSINCE, QRESYNC or news tells yet
        self.qresync = None         # tagged answer to SELECT (QRESYNC ...), or 'ignored'
        self.vanished = None        # (EARLIER) 'all' (1:4294967294), 'malformed', 'missing',
        #                             'split' (one a line), 'unknown' (UIDs that never were, too);
        #                             'foreign': also to who has another UIDVALIDITY
        self.vanished_live = None   # 'all', 'malformed', 'missing', 'expunge' (EXPUNGE instead)


class Box:
    numbers = itertools.count(1)

    def __init__(self, account, name, attributes=()):
        self.account, self.name = account, name
        self.attributes = list(attributes)
        self.mailboxid = 'F%04d' % next(Box.numbers)
        self.messages = []
        self.uidvalidity = next(account.validities)
        self.tell = None        # how a new UIDVALIDITY is told to those who are inside
        self.uidnext = 1
        self.modseq = 1
        self.gone = []          # (mod-sequence, UID) of what was expunged
        self.gone_since = 0     # expunges up to this mod-sequence are forgotten
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
            self.account.change()
            return message

    def by_uid(self, uid):
        return next((m for m in self.messages if m.uid == uid), None)

    def remove(self, uids):
        with self.account.lock:
            uids = set(uids)
            self.modseq += 1
            self.gone += [(self.modseq, m.uid) for m in self.messages if m.uid in uids]
            self.messages = [m for m in self.messages if m.uid not in uids]
            self.account.change()

    def expunge(self, uids):
        """Another client's expunge."""
        with self.account.lock:
            uids = set(uids)
            self.account.expunged += [(self.name, m.origin) for m in self.messages
                                      if m.uid in uids]
            self.remove(uids)

    def touch(self, message):
        """After a change of its flags. On Gmail they are those of all its places."""
        with self.account.lock:
            self.modseq += 1
            message.modseq = self.modseq
            if self.account.has('X-GM-EXT-1'):
                for box, other in self.account.places(message):
                    if other is not message and \
                            other.flags - {'\\Deleted'} != message.flags - {'\\Deleted'}:
                        other.flags = message.flags - {'\\Deleted'} | other.flags & {'\\Deleted'}
                        box.modseq += 1
                        other.modseq = box.modseq
            self.account.change()

    def set_flags(self, uid, add=(), remove=()):
        with self.account.lock:
            message = self.by_uid(uid)
            message.flags = (message.flags | set(add)) - set(remove)
            self.touch(message)

    def told_modseq(self):
        """HIGHESTMODSEQ as it is told."""
        fault = self.faults.highestmodseq
        return fault if isinstance(fault, int) else max(self.modseq - self.faults.lag, 1)

    def rewind(self, by):
        """All mod-sequences go back, as on a server that was restored from a backup."""
        with self.account.lock:
            self.modseq = max(self.modseq - by, 1)
            for message in self.messages:
                message.modseq = max(message.modseq - by, 1)
            self.gone = [(max(m - by, 1), uid) for m, uid in self.gone]
            self.account.change()

    def forget(self):
        """Which UIDs were expunged, and when, is no longer known."""
        self.gone, self.gone_since = [], self.modseq

    def vanished_since(self, modseq):
        if modseq < self.gone_since:
            return set(range(1, self.uidnext)) - {m.uid for m in self.messages}
        there = {m.uid for m in self.messages}
        return {uid for at, uid in self.gone if at > modseq} - there

    def changed_since(self, modseq):
        return [m for m in self.messages if m.modseq > modseq and m.uid not in self.faults.late]

    def renumber(self, shift=1000, order=None, tell=None):
        """A new UIDVALIDITY; the messages get the UIDs from `shift` on. `order` lists the
        messages that stay, in their new order, and octets of new ones among them. Those who
        have the mailbox selected are told by tell='code', OK [UIDVALIDITY n], or thrown out by
        'bye', or see only that other UIDs are there."""
        with self.account.lock:
            self.uidvalidity = next(self.account.validities)
            self.tell = tell
            self.gone, self.gone_since = [], 0
            self.messages = [m if isinstance(m, Message) else Message(m)
                             for m in (self.messages if order is None else order)]
            for i, message in enumerate(self.messages):
                message.uid = shift + i
                self.modseq += 1
                message.modseq = self.modseq
            self.uidnext = shift + len(self.messages)
            self.account.change()

    def reuse(self, uid, body, flags=None, date=None):
        """The UID names another message from now on, as no server may do; nothing tells.
        Returns the new message."""
        with self.account.lock:
            old = self.by_uid(uid)
            message = Message(body, old.flags if flags is None else flags,
                              old.date if date is None else date)
            message.uid, message.modseq = uid, old.modseq
            self.messages[self.messages.index(old)] = message
            return message


class Account:
    """What FakeImap serves."""

    def __init__(self):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.validities = itertools.count(100)
        self.boxes = {}
        self.expunged = []       # (mailbox, origin)
        self.violations = []
        self.commands = []       # (connection, mailbox, line)
        self.reset()

    def reset(self):
        """Counters to 0."""
        self.fetched = []        # (mailbox, uid, first octet, octets) of each body sent
        self.bodies_sent = 0     # octets
        self.bodies = collections.Counter()   # {(mailbox, uid): how often BODY[] was sent}
        self.read = collections.Counter()     # {origin: the same}
        self.octets = collections.Counter()   # {kind of command: octets sent for it}
        self.counts = collections.Counter()   # {kind of command: how many}

    @staticmethod
    def kind(name, rest):
        """BODY, HEADERS or FLAGS for a FETCH; else the command's name, EXAMINE as SELECT."""
        if name == 'FETCH':
            return 'BODY' if re.search(r'BODY(\.PEEK)?\[\]', rest, re.I) else \
                'HEADERS' if 'HEADER' in rest.upper() else 'FLAGS'
        return 'SELECT' if name == 'EXAMINE' else name

    def fetches(self, message):
        """How often the body of this message was sent, from whatever place."""
        return self.read[message.origin]

    def change(self):
        """Wakes those who listen."""
        with self.lock:
            self.changed.notify_all()
            for connection in list(getattr(self, 'connections', {}).values()):
                connection.wake()

    def add_box(self, name, attributes=()):
        with self.lock:
            self.boxes[name] = Box(self, name, attributes)
            self.change()
            return self.boxes[name]

    def box(self, name):
        return self.boxes[name]

    def remove_box(self, name):
        with self.lock:
            box = self.boxes.pop(name)
            self.expunged += [(name, m.origin) for m in box.messages]
            self.change()

    def rename(self, old, new):
        """With the mailboxes below it. UIDVALIDITY stays, as on most servers."""
        with self.lock:
            below = old + (self.delimiter or '\0')
            self.boxes = {
                new + name[len(old):] if name == old or name.startswith(below) else name: box
                for name, box in self.boxes.items()}
            for name, box in self.boxes.items():
                box.name = name
            self.change()

    def has(self, capability):
        return capability.upper() in self.capabilities.upper().split()

    def places(self, message):
        """[(mailbox, message)] of what this message became, in any mailbox."""
        return [(b, m) for b in self.boxes.values() for m in b.messages
                if m.origin == message.origin]

    def copies(self, message):
        """[(mailbox, uid, flags)] of what this message became."""
        with self.lock:
            return [(b.name, m.uid, set(m.flags)) for b, m in self.places(message)]

    def where(self, message):
        """The mailbox that holds this very object."""
        return next(b for b in self.boxes.values() if message in b.messages)

    def put(self, box, message):
        """A copy of a message, as COPY makes it. Gmail has it once in a mailbox."""
        there = next((m for m in box.messages if m.origin == message.origin), None)
        if there is not None and self.has('X-GM-EXT-1'):
            return there
        made = box.add(message.body, message.flags, message.date, message.origin)
        if self.has('X-GM-EXT-1'):
            self.relabelled(message, box)
        return made

    def relabelled(self, message, changed):
        """The labels of a message are something that its other places show."""
        for box, other in self.places(message):
            if box is not changed:
                box.modseq += 1
                other.modseq = box.modseq
        self.change()

    def copy(self, message, name):
        with self.lock:
            return self.put(self.boxes[name], message)

    def move(self, message, name):
        """What another client's MOVE does: the message as it stands in its new place."""
        with self.lock:
            source = self.where(message)
            made = self.put(self.boxes[name], message)
            source.remove({message.uid})
            return made

    # Gmail.

    def gmail(self):
        """Makes the mailboxes that Gmail has."""
        for name, use in (('[Gmail]', '\\Noselect'), (ALL_MAIL, '\\All'),
                          ('[Gmail]/Sent Mail', '\\Sent'), ('[Gmail]/Trash', '\\Trash'),
                          ('[Gmail]/Spam', '\\Junk'), ('[Gmail]/Starred', '\\Flagged')):
            self.add_box(name, [use])

    def label(self, message, *names):
        """Puts the message into these mailboxes and All Mail."""
        with self.lock:
            for name in (ALL_MAIL, *names):
                self.put(self.boxes[name], message)

    def unlabel(self, message, name):
        with self.lock:
            box = self.boxes[name]
            box.remove({m.uid for m in box.messages if m.origin == message.origin})
            self.relabelled(message, box)

    def labels(self, message, here):
        """X-GM-LABELS: the other mailboxes it stands in, those with a use by that."""
        found = []
        for box, _ in self.places(message):
            if box is not here and box.name != ALL_MAIL:
                use = [a for a in box.attributes if a.startswith('\\')]
                found.append('\\Inbox' if box.name == 'INBOX' else use[0] if use else box.name)
        return found
