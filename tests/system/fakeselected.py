# SPDX-License-Identifier: MIT
"""The selected mailbox of fakeimap.py: SELECT with CONDSTORE and QRESYNC (RFC 7162), what others
did in it, and the commands on its messages."""
import re
import time

from fakemodel import in_set, internaldate, ranges
from fakepush import Cut


class Selected:
    """The part of a connection that has a mailbox selected."""

    def _params(self, text):
        """CONDSTORE and QRESYNC of a SELECT: (UIDVALIDITY, mod-sequence) or None."""
        words = self.words(text[1:-1]) if text else []
        since = None
        while words:
            word = words.pop(0).upper()
            if word == 'CONDSTORE' and self.server.has('CONDSTORE'):
                self.condstore = True
            elif word == 'QRESYNC' and self.qresync:
                validity, modseq = self.words(words.pop(0)[1:-1])[:2]
                since = int(validity), int(modseq)
                if since[1] == 0:
                    raise ValueError('no mod-sequence is 0')
            else:
                raise ValueError('%s is not enabled' % word)
        return since

    def _select(self, rest, readonly):
        words = self.words(rest)
        if self.box is not None and self.server.has('QRESYNC') and self.server.closed:
            self.send('* OK [CLOSED] the one before')
        self.box = None
        since = self._params(words[1] if len(words) > 1 else '')
        box = self._find(words[0])
        if box is None:
            self.tagged('NO [NONEXISTENT] no such mailbox')
            return
        faults = box.faults
        answer, faults.select_once = faults.select_once or faults.select, None
        if answer or not self._selectable(box):
            self.tagged(answer or 'NO can not be selected')
            return
        if since and faults.qresync not in (None, 'ignored'):
            self.tagged(faults.qresync)
            return
        self.box, self.readonly = box, readonly or box.readonly
        self.seen = [m.uid for m in box.messages]
        if readonly and faults.unsettled:
            box.uidvalidity = next(self.server.validities)
        faults.unsettled &= readonly
        self.validity = box.uidvalidity
        self.modseq = box.modseq
        self.send('* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)')
        self.send('* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] ok'
                  if not self.readonly else '* OK [PERMANENTFLAGS ()] none')
        self.send('* %d EXISTS' % (len(box.messages) + faults.exists))
        self.send('* 0 RECENT')
        self.send('* OK [UIDVALIDITY %d] ok' % box.uidvalidity)
        if not faults.no_uidnext:
            self.send('* OK [UIDNEXT %d] ok' % box.uidnext)
        if self.server.has('CONDSTORE') and faults.highestmodseq != 'absent':
            self.send('* OK [NOMODSEQ] none' if faults.highestmodseq == 'none' else
                      '* OK [HIGHESTMODSEQ %d] ok' % box.told_modseq())
        if self.server.has('OBJECTID'):
            self.send('* OK [MAILBOXID (%s)] ok' % box.mailboxid)
        if since and faults.qresync is None and \
                (since[0] == box.uidvalidity or faults.vanished == 'foreign'):
            self._vanished_earlier(box.vanished_since(since[1]))
            self._changed(since[1])
        self.tagged('OK [READ-%s] done' % ('ONLY' if self.readonly else 'WRITE'))

    def _vanished_earlier(self, uids):
        fault = self.box.faults.vanished
        if fault == 'all':
            self.send('* VANISHED (EARLIER) 1:4294967294')
        elif fault == 'malformed':
            self.send('* VANISHED (EARLIER)')
        elif fault == 'split':
            for uid in sorted(uids):
                self.send('* VANISHED (EARLIER) %d' % uid)
        elif fault == 'unknown':
            self.send('* VANISHED (EARLIER) %s' % ranges(
                uids | {self.box.uidnext + 10, self.box.uidnext + 11, 4294967294}))
        elif fault != 'missing' and uids:
            self.send('* VANISHED (EARLIER) %s' % ranges(uids))

    def _changed(self, modseq):
        for message in self.box.changed_since(modseq):
            self.send('* %d FETCH (UID %d FLAGS (%s) MODSEQ (%d))' % (
                self.seen.index(message.uid) + 1, message.uid, ' '.join(sorted(message.flags)),
                message.modseq))

    def do_select(self, rest, uid):
        self._select(rest, False)

    def do_examine(self, rest, uid):
        self._select(rest, True)

    def do_unselect(self, rest, uid):
        if not self.server.has('UNSELECT'):
            self.tagged('BAD unknown command')
            return
        self.box = None
        self.tagged('OK done')

    def do_close(self, rest, uid):
        if not self.readonly:
            self._expunge(lambda u: True)
        self.box = None
        self.tagged('OK done')

    # What others did.

    def tell_validity(self):
        """Before anything is said in terms of the new UIDs."""
        box = self.box
        if box.uidvalidity != self.validity and box.tell == 'bye':
            self.send('* BYE the mailbox was changed under you')
            raise Cut
        if box.uidvalidity != self.validity and box.tell == 'code':
            self.send('* OK [UIDVALIDITY %d] all UIDs are new' % box.uidvalidity)
            if len(box.messages) != len(self.seen):
                self.send('* %d EXISTS' % len(box.messages))
            self.seen, self.modseq = [m.uid for m in box.messages], box.modseq
        self.validity = box.uidvalidity

    def news(self, expunges=True):
        box = self.box
        if box is None:
            return
        self.tell_validity()
        if expunges:
            self._tell_gone({m.uid for m in box.messages})
        known = set(self.seen)
        fresh = [m.uid for m in box.messages if m.uid not in known]
        if fresh:
            self.seen += fresh
            self.send('* %d EXISTS' % len(self.seen))
        for message in box.changed_since(self.modseq):
            if message.uid in known:
                self.send('* %d FETCH (%sFLAGS (%s)%s)' % (
                    self.seen.index(message.uid) + 1,
                    '' if box.faults.unnamed else 'UID %d ' % message.uid,
                    ' '.join(sorted(message.flags)), self._modseq(message)))
        if not box.faults.late:
            self.modseq = box.modseq

    def _tell_gone(self, there):
        fault = self.box.faults.vanished_live
        gone = [uid for uid in self.seen if uid not in there]
        if not gone:
            return
        if self.qresync and fault != 'expunge':
            self.seen = [uid for uid in self.seen if uid in there]
            if fault != 'missing':
                self.send('* VANISHED %s' % {'all': '1:4294967294', 'malformed': '(x'}.get(
                    fault, ranges(gone)))
            return
        for i in range(len(self.seen) - 1, -1, -1):
            if self.seen[i] not in there:
                del self.seen[i]
                self.send('* %d EXPUNGE' % (i + 1))

    def _modseq(self, message):
        return ' MODSEQ (%d)' % message.modseq if self.condstore else ''

    def _highest(self):
        """The code of a tagged OK after expunges."""
        return '[HIGHESTMODSEQ %d] ' % self.box.told_modseq() if self.qresync else ''

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

    # SEARCH.

    FLAG_KEYS = {k + f.upper(): (f, not k) for k in ('', 'UN')
                 for f in ('Seen', 'Deleted', 'Flagged', 'Answered', 'Draft')}

    def _key(self, words):
        """Takes one search key off the words; returns a predicate of (number, message)."""
        word = words.pop(0)
        if word == 'NOT':
            inner = self._key(words)
            return lambda f: not inner(f)
        if word == 'OR':
            one, other = self._key(words), self._key(words)
            return lambda f: one(f) or other(f)
        if word.startswith('('):
            return self._keys(self.words(word[1:-1]))
        if word == 'UID' or re.fullmatch(r'[\d:*,]+', word):
            chosen = {m.uid for _, m in self._chosen(
                words.pop(0) if word == 'UID' else word, word == 'UID')}
            return lambda f: f[1].uid in chosen
        if word in self.FLAG_KEYS:
            flag, wanted = self.FLAG_KEYS[word]
            return lambda f: ('\\' + flag in f[1].flags) == wanted
        if word in ('KEYWORD', 'UNKEYWORD'):
            key = words.pop(0)
            return lambda f: (key in {x.upper() for x in f[1].flags}) == (word == 'KEYWORD')
        if word == 'HEADER':
            field, value = re.escape(words.pop(0)), re.escape(words.pop(0))
            pattern = re.compile(field + r':[^\r\n]*' + value, re.I)
            return lambda f: pattern.search(f[1].body.decode('latin-1'))
        if word == 'MODSEQ':
            least = int(words.pop(0))
            self.condstore = True
            return lambda f: f[1].modseq >= least
        if word in ('LARGER', 'SMALLER'):
            size = int(words.pop(0))
            return lambda f: (len(f[1].body) > size) if word == 'LARGER' else \
                len(f[1].body) < size
        if word != 'ALL':
            raise ValueError('unknown key %s' % word)
        return lambda f: True

    def _keys(self, words):
        tests = []
        while words:
            tests.append(self._key(words))
        return lambda f: all(test(f) for test in tests)

    def do_search(self, rest, uid):
        box, faults = self.box, self.box.faults
        text = rest.upper()
        esearch = re.match(r'RETURN \(([^)]*)\) ?', text)
        if esearch:
            text = text[esearch.end():]
            if not self.server.has('ESEARCH') or faults.esearch == 'bad':
                self.tagged('BAD no RETURN here')
                return
        test = self._keys(self.words(text))
        by_uid = {m.uid: m for m in box.messages}
        found = [f for f in ((i + 1, by_uid[u]) for i, u in enumerate(self.seen) if u in by_uid)
                 if test(f)]
        least = self._limited([m for m in by_uid.values() if m.uid in self.seen and
                               (' UID ' not in ' ' + text or self._in_uid_key(text)(m.uid))])
        found = [f for f in found if f[1].uid >= least]
        numbers = [m.uid if uid and faults.search != 'numbers' else seq for seq, m in found]
        modseq = max((m.modseq for _, m in found), default=0) if 'MODSEQ' in text else 0
        if faults.search == 'empty':
            numbers, modseq = [], 0
        if esearch and faults.esearch != 'plain':
            if faults.esearch != 'none':
                self._say_esearch(esearch.group(1).split() or ['ALL'], numbers, uid, modseq)
        elif faults.search == 'split':
            for number in numbers:
                self.send('* SEARCH %d' % number)
        elif faults.search != 'none':
            self.send('* SEARCH' + ''.join(' %d' % n for n in numbers)
                      + (' (MODSEQ %d)' % modseq if modseq else ''))
        if not faults.quiet:
            self.news(expunges=uid)
        self._tagged_limited(least)

    def _in_uid_key(self, text):
        return in_set(re.search(r'\bUID (\S+)', text).group(1), self.seen[-1] if self.seen else 0)

    def _limited(self, messages):
        """The least UID down to which a command on these goes (RFC 9738); 0: all of them."""
        limit = self.server.message_limit
        uids = sorted((m.uid for m in messages), reverse=True)
        return uids[limit - 1] if limit and len(uids) > limit else 0

    def _tagged_limited(self, least):
        if least and self.server.limit_untagged:
            self.send('* NO [MESSAGELIMIT %d %d] not all' % (self.server.message_limit, least))
            least = 0
        self.tagged('OK [MESSAGELIMIT %d %d] not all' % (self.server.message_limit, least)
                    if least else 'OK done')

    def _say_esearch(self, items, numbers, uid, modseq):
        out = '* ESEARCH (TAG "%s")%s' % (self.tag, ' UID' if uid else '')
        if 'MIN' in items and numbers:
            out += ' MIN %d' % numbers[0]
        if 'MAX' in items and numbers:
            out += ' MAX %d' % numbers[-1]
        if 'COUNT' in items:
            out += ' COUNT %d' % len(numbers)
        if 'ALL' in items and numbers:
            out += ' ALL ' + ranges(numbers)
        if modseq:
            out += ' MODSEQ %d' % modseq
        self.send(out)

    # FETCH.

    ITEM = re.compile(r'(BODY(?:\.PEEK)?)\[([^\]]*)\](?:<(\d+)\.(\d+)>)?|([A-Z0-9.-]+)', re.I)
    PLAIN = {'UID', 'FLAGS', 'INTERNALDATE', 'RFC822.SIZE'}
    EXTENDED = {'MODSEQ': 'CONDSTORE', 'EMAILID': 'OBJECTID', 'THREADID': 'OBJECTID',
                'X-GM-MSGID': 'X-GM-EXT-1', 'X-GM-THRID': 'X-GM-EXT-1',
                'X-GM-LABELS': 'X-GM-EXT-1'}

    def _items(self, text):
        items = list(self.ITEM.finditer(text.strip('()')))
        for item in items:
            name = item.group(0).upper()
            known = item.group(1) or name in self.PLAIN or (
                self.server.x_guid if name == 'X-GUID' else
                name in self.EXTENDED and self.server.has(self.EXTENDED[name]))
            if not known:
                raise ValueError('unknown item %s' % name)
        return items

    def _since(self, text, chosen, uids, uid):
        """What is left of the chosen by CHANGEDSINCE; tells VANISHED if that was asked."""
        match = re.fullmatch(r'\(CHANGEDSINCE (\d+)( VANISHED)?\)', text.upper())
        if not match or not self.server.has('CONDSTORE') or int(match.group(1)) == 0 or \
                (match.group(2) and not (self.qresync and uid)):
            raise ValueError('modifier ' + text)
        since = int(match.group(1))
        self.condstore = True
        if match.group(2):
            test = in_set(uids, self.seen[-1] if self.seen else 0)
            self._vanished_earlier({u for u in self.box.vanished_since(since) if test(u)})
        changed = {m.uid for m in self.box.changed_since(since)}
        return [c for c in chosen if c[1].uid in changed]

    def do_fetch(self, rest, uid):
        words = self.words(rest)
        server = self.server
        with server.lock:
            chosen = self._chosen(words[0], uid)
            box, faults = self.box, self.box.faults
            items = self._items(words[1])
            if len(words) > 2:
                chosen = self._since(words[2], chosen, words[0], uid)
        names = [m.group(0).upper() for m in items]
        if 'MODSEQ' in names:
            self.condstore = True
        whole = any(m.group(1) and not m.group(2) for m in items)
        bodies = any(m.group(1) for m in items)
        least = self._limited([m for _, m in chosen])
        chosen = [c for c in chosen if c[1].uid >= least]
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
                self._fetch_one(seq, message, items, uid or 'UID' in names, len(words) > 2)
            if self.waiting > 60000:
                self.flush()
        with server.lock:
            if not faults.quiet:
                self.news(expunges=uid)
        self._tagged_limited(least)

    @staticmethod
    def _label(name):
        """In each form that a string may have."""
        if '&' in name:
            return '{%d}\r\n%s' % (len(name), name)
        return '"%s"' % name.replace('\\', '\\\\') if re.search(r'[\\ "]', name) else name

    def _simple_item(self, item, message):
        """What an item other than BODY[] is answered with, None to leave it out."""
        faults, server = self.box.faults, self.server
        if item == 'FLAGS':
            return '(%s)' % ' '.join(sorted(message.flags))
        if item == 'INTERNALDATE':
            return message.date if isinstance(message.date, str) else internaldate(message.date)
        if item == 'RFC822.SIZE':
            return faults.size.get(message.uid, len(message.body))
        if item in ('EMAILID', 'X-GM-MSGID', 'X-GUID') and message.uid in faults.ids:
            return faults.ids[message.uid]
        if item == 'X-GM-LABELS':
            return '(%s)' % ' '.join(map(self._label, server.labels(message, self.box)))
        form = {'EMAILID': '(M%08d)', 'THREADID': '(T%08d)', 'X-GUID': '%032x'}.get(item)
        return form % message.origin if form else (1 << 60) + message.origin

    def _fetch_one(self, seq, message, items, with_uid, with_modseq):
        faults = self.box.faults
        parts = []
        for match in items:
            item = match.group(0).upper()
            if item == 'MODSEQ':
                with_modseq = True
            elif match.group(1):
                part = self._body(message, match)
                if part is not None:
                    parts.append(part)
            elif item != 'UID':
                value = self._simple_item(item, message)
                if value is not None:
                    parts.append(('%s %s' % (item, value)).encode('utf-8', 'surrogateescape'))
        if with_modseq:
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

    @staticmethod
    def _header(message, section):
        body = message.body
        head = b'' if body.startswith(b'\r\n') else body.partition(b'\r\n\r\n')[0] + b'\r\n'
        fields = re.match(r'HEADER\.FIELDS(\.NOT)? \(([^)]*)\)', section)
        if fields:
            wanted = {f.strip('"').encode() for f in fields.group(2).split()}
            head = b''.join(
                line for line in re.findall(rb'[^\r\n][^\n]*\n(?:[ \t][^\n]*\n)*', head)
                if (line.split(b':', 1)[0].strip().upper() in wanted) != bool(fields.group(1)))
        return head + b'\r\n'

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
            body = self._header(message, section)
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
            server.bodies[self.box.name, message.uid] += 1
            server.read[message.origin] += 1
            server.bodies_sent += len(body)
        return echo + b' {%d}\r\n' % len(body) + body

    # Changes.

    def do_store(self, rest, uid):
        words = self.words(rest)
        chosen = self._chosen(words[0], uid)
        unchanged = re.match(r'\(UNCHANGEDSINCE (\d+)\)', words[1], re.I)
        if unchanged:
            words.pop(1)
            self.condstore = True
        what, flags = words[1].upper(), set(words[2].strip('()').split())
        faults = self.box.faults
        if self.readonly:
            self.tagged('NO [READ-ONLY] examined only')
            return
        if faults.store:
            self.tagged(faults.store)
            return
        current = self.modseq == self.box.modseq  # what others changed is still to be told
        failed = [m.uid if uid else seq for seq, m in chosen
                  if unchanged and m.modseq > int(unchanged.group(1))]
        for seq, message in chosen:
            if (message.uid if uid else seq) in failed:
                continue
            if what.startswith('+'):
                message.flags |= flags
            elif what.startswith('-'):
                message.flags -= flags
            else:
                self.server.violations.append('absolute STORE in ' + self.box.name)
                message.flags = flags
            self.box.touch(message)
            if 'SILENT' not in what:
                self.send('* %d FETCH (UID %d FLAGS (%s)%s)' % (
                    seq, message.uid, ' '.join(sorted(message.flags)), self._modseq(message)))
            elif self.condstore:
                self.send('* %d FETCH (UID %d%s)' % (seq, message.uid, self._modseq(message)))
        if faults.auto_expunge:
            self._expunge(lambda u: True)
        if current:
            self.modseq = self.box.modseq
        self.tagged('OK [MODIFIED %s] some not' % ranges(failed) if failed else 'OK done')

    def _expunge(self, test):
        self.box.expunge(m.uid for m in self.box.messages
                         if '\\Deleted' in m.flags and test(m.uid))

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
        self.tagged('OK %sdone' % self._highest())

    def _copyuid(self, target, made):
        fault = self.box.faults.copyuid
        if not self.server.has('UIDPLUS') or not made or fault == 'none':
            return ''
        if fault == 'truncated':
            return '[COPYUID %d  ] ' % target.uidvalidity
        validity = target.uidvalidity + (7 if fault == 'wrong' else 0)
        if fault == 'foreign':  # names messages that nobody meant
            others = [m.uid for m in self.box.messages if m.uid not in dict(made)]
            return '[COPYUID %d %s %s] ' % (validity, ranges(others or [1]),
                                           ranges(b for _, b in made[:len(others) or 1]))
        return '[COPYUID %d %s %s] ' % (validity, ','.join(str(a) for a, _ in made),
                                       ','.join(str(b) for _, b in made))

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
        made = [(m.uid, self.server.put(target, m).uid) for _, m in chosen]
        code = self._copyuid(target, made)
        if not move:
            self.tagged('OK %sdone' % code)
            return
        if code:
            self.send('* OK %smoved' % code)
        if not faults.move_keeps:
            self.box.remove({a for a, _ in made})
            if self.server.has('X-GM-EXT-1') and '\\Trash' in target.attributes:
                for _, message in chosen:
                    for box, other in self.server.places(message):
                        if box is not target:
                            box.remove({other.uid})
            self.news()
        self.tagged('OK %sdone' % self._highest())

    def do_copy(self, rest, uid):
        self._transfer(rest, uid, False)

    def do_move(self, rest, uid):
        if self.readonly:
            self.tagged('NO [READ-ONLY] examined only')
            return
        self._transfer(rest, uid, True)
