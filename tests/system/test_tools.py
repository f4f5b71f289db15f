#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests' own tools: what they are trusted with, they must do."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from fakeimap import MODERN, FakeImap  # noqa: E402
from harness import Dovecot, Imap, Proxy, case, check, equal, error_of, main  # noqa: E402
from imapclient import ImapError, utf7_decode, utf7_encode  # noqa: E402
import imaplib  # noqa: E402


def fails(call, *arguments):
    try:
        call(*arguments)
    except (OSError, ImapError, imaplib.IMAP4.error):
        return True
    return False


@case
def corpus_is_the_same_on_each_run(t):
    check(corpus.sample() == corpus.sample(), 'the sample')
    check(corpus.nasty() == corpus.nasty(), 'the nasty messages')
    count = sum(map(len, corpus.sample().values()))
    check(300 <= count <= 500, 'a few hundred messages', count)


@case
def modified_utf7(t):
    for name, raw in (('Entwürfe', 'Entw&APw-rfe'), ('a & b', 'a &- b'),
                      ('日本語', '&ZeVnLIqe-'), ('😀', '&2D3eAA-')):
        equal(utf7_encode(name), raw, 'encodes ' + raw)
        equal(utf7_decode(raw), name, 'decodes ' + raw)


@case
def dovecot_serves(t):
    server = t.add(Dovecot(t.path, without=('MOVE',), quota=1000))
    server.deliver('Box/Ärger', [(b'Subject: x\r\n\r\nhello\r\n', 1_000_000_000, 'S')])
    with server.imap() as c:
        check('Box/Ärger' in c.mailboxes(), 'a mailbox written to disk is listed')
        check('MOVE' not in c.c.capabilities and 'UIDPLUS' in c.c.capabilities,
              'a capability is taken away')
        c.examine('Box/Ärger')
        equal(c.bodies(), {1: b'Subject: x\r\n\r\nhello\r\n'}, 'the octets')
        equal(c.flags(), {1: {'\\Seen'}}, 'the flags')
        equal(c.dates(), {1: 1_000_000_000}, 'the date')
        equal(c.append('INBOX', b'Subject: y\n\nbare\r\n', '\\Flagged', 1_100_000_000), 1,
              'appends')
        server.freeze()
        c.c.sock.settimeout(0.5)
        check(fails(c.noop), 'a frozen server does not answer')
        server.thaw()
    server.halt()
    check(fails(server.imap), 'a halted one is not there')
    server.start()
    with server.imap() as c:
        equal(c.examine('INBOX').uids(), [1], 'and has its mail again')
    equal([line for line in server.log().splitlines() if 'Error' in line], [], 'no error is logged')


@case
def proxy_spoils_the_line(t):
    server = t.add(FakeImap())
    for octets, when, _ in corpus.bulk(300, 2000):
        server.box('INBOX').add(octets, date=when)
    proxy = t.add(Proxy(t.path, server.port))
    client = Imap(proxy.port)
    client.examine('INBOX')
    whole = client.bodies()
    equal(len(whole), 300, 'everything passes')
    proxy.delay(100)
    start = time.monotonic()
    client.noop()
    check(time.monotonic() - start >= 0.1, 'delays by the round trip')
    equal(client.bodies(), whole, 'everything passes with a delay')
    proxy.delay(0)
    proxy.bandwidth(1_000_000)
    start = time.monotonic()
    client.bodies()
    check(time.monotonic() - start > 0.4, 'limits the bandwidth')
    proxy.bandwidth(0)
    proxy.reset()
    proxy.cut_after(5000)
    check(fails(client.bodies), 'cuts after a number of octets')
    equal(proxy.stats()['down'], 5000, 'exactly those were forwarded')
    client = Imap(proxy.port)
    client.examine('INBOX')
    proxy.reset()
    proxy.cut_response(7)
    check(fails(client.bodies), 'cuts after a number of responses')
    equal(proxy.stats()['responses'], 7, 'exactly those were forwarded')
    client = Imap(proxy.port)
    proxy.stall()
    client.c.sock.settimeout(0.5)
    check(fails(client.noop), 'stalls')
    proxy.go()
    client = Imap(proxy.port)
    proxy.cut()
    check(fails(client.noop), 'cuts now')
    proxy.refuse()
    equal(error_of(Imap, proxy.port), 'ECONNREFUSED', 'refuses')
    proxy.refuse(False)
    Imap(proxy.port).stop()
    proxy.limit(1)
    first = Imap(proxy.port)
    check(fails(Imap, proxy.port), 'limits the connections')
    first.stop()


@case
def fake_tells_on_its_clients(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    messages = [box.add(b'Subject: %d\r\n\r\nx\r\n' % i) for i in range(20)]
    client = Imap(server.port)
    client.select('INBOX')
    client.move([1, 2], 'Trash')
    equal(server.copies(messages[0]), [('Trash', 1, set())], 'a moved message is in one place')
    client.copy([3], 'Trash')
    equal(len(server.copies(messages[2])), 2, 'a copied one in two')
    client.expunge(4)
    equal(server.expunged, [('INBOX', messages[3].origin)], 'what was expunged is known')
    equal(server.violations, [], 'nothing wrong so far')
    client.store([5], 'FLAGS', '\\Seen')
    equal(len(server.violations), 1, 'an absolute STORE is noticed')
    client.c.expunge()
    equal(len(server.violations), 2, 'a bare EXPUNGE is noticed')
    client.c.close()
    equal(len(server.violations), 3, 'a CLOSE is noticed')
    client.select('INBOX')
    box.faults.poison_body.add(7)
    check(fails(client.bodies, '6:8'), 'a poisoned message spoils a set')
    box.faults.body_once[6] = 'NIL'
    equal(client.bodies('6'), {}, 'a body is NIL')
    equal(client.bodies('6'), {6: messages[5].body}, 'once')
    server.lose_answer('UID MOVE')
    check(fails(client.move, [8], 'Trash'), 'an answer is lost')
    equal([c[0] for c in server.copies(messages[7])], ['Trash'], 'after it was done')
    client = Imap(server.port)
    client.select('INBOX')
    server.cut_at('UID MOVE')
    check(fails(client.move, [9], 'Trash'), 'a line is cut')
    equal([c[0] for c in server.copies(messages[8])], ['INBOX'], 'before it was done')


class Raw:
    """A client that sees each line as it is."""

    def __init__(self, server):
        self.socket = socket.create_connection(('127.0.0.1', server.port), timeout=30)
        self.file = self.socket.makefile('rb')
        self.line()
        self.ask('LOGIN alice secret')

    def send(self, text):
        self.socket.sendall(text.encode() + b'\r\n')

    def line(self):
        return self.file.readline().decode().rstrip('\r\n')

    def ask(self, text):
        """The untagged lines, and what the tagged one says."""
        self.send('a ' + text)
        lines = [self.line()]
        while not lines[-1].startswith('a ') and lines[-1]:
            lines.append(self.line())
        return lines[:-1], lines[-1][2:]

    def stop(self):
        self.file.close()
        self.socket.close()


@case
def fake_knows_what_changed_since(t):
    server = t.add(FakeImap(MODERN + ' OBJECTID'))
    box = server.box('INBOX')
    messages = [box.add(b'Subject: %d\r\n\r\nx\r\n' % i) for i in range(5)]
    select = 'EXAMINE INBOX (QRESYNC (%d %d))' % (box.uidvalidity, box.modseq)
    since = box.modseq
    client = t.add(Raw(server))
    check(client.ask(select)[1].startswith('BAD'), 'QRESYNC has to be enabled')
    equal(client.ask('ENABLE QRESYNC')[0], ['* ENABLED QRESYNC'], 'ENABLE')
    box.expunge([2, 5])
    box.set_flags(3, ['\\Flagged'])
    changed = '* 2 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (%d))' % box.modseq
    equal(client.ask(select)[0][-2:], ['* VANISHED (EARLIER) 2,5', changed], 'QRESYNC')
    equal(client.ask('UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d VANISHED)' % since)[0],
          ['* VANISHED (EARLIER) 2', changed], 'CHANGEDSINCE VANISHED, as far as * goes')
    check('* OK [HIGHESTMODSEQ %d] ok' % box.modseq in client.ask(select)[0], 'HIGHESTMODSEQ')
    for fault, told in (('all', ['* VANISHED (EARLIER) 1:4294967294']), ('missing', []),
                        ('malformed', ['* VANISHED (EARLIER)'])):
        box.faults.vanished = fault
        equal([x for x in client.ask(select)[0] if 'VANISHED' in x], told, 'VANISHED, ' + fault)
    box.faults.highestmodseq = 0
    check('* OK [HIGHESTMODSEQ 0] ok' in client.ask(select)[0], 'HIGHESTMODSEQ 0')
    box.faults.qresync = 'BAD what?'
    check(client.ask(select)[1].startswith('BAD'), 'QRESYNC is refused')
    equal(client.ask('UID FETCH 1 EMAILID')[1], 'BAD no mailbox selected', 'which selects nothing')
    client.ask('EXAMINE INBOX')
    made = server.move(messages[0], 'Trash')
    equal(client.ask('NOOP')[0], ['* VANISHED 1'], 'VANISHED of what is moved now')
    client.ask('EXAMINE Trash')
    equal(client.ask('UID FETCH %d (EMAILID)' % made.uid)[0],
          ['* 1 FETCH (UID 1 EMAILID (M%08d))' % messages[0].origin], 'its EMAILID stays')
    equal(client.ask('UID SEARCH RETURN (COUNT ALL) ALL')[0],
          ['* ESEARCH (TAG "a") UID COUNT 1 ALL 1'], 'ESEARCH')
    check(client.ask('UID FETCH 1 X-GUID')[1].startswith('BAD'), 'it is no Dovecot')
    server.x_guid = True
    check(client.ask('UID FETCH 1 X-GUID')[0], 'now it is')
    equal((server.counts['SEARCH'], server.fetches(messages[0])), (1, 0), 'and counts')


@case
def fake_pushes(t):
    server = t.add(FakeImap(MODERN))
    box = server.box('INBOX')
    box.add(b'Subject: x\r\n\r\nx\r\n')
    client, watcher = t.add(Raw(server)), t.add(Raw(server))
    client.ask('EXAMINE INBOX')
    client.send('a IDLE')
    equal(client.line(), '+ idling', 'IDLE')
    box.add(b'Subject: y\r\n\r\ny\r\n')
    equal(client.line(), '* 2 EXISTS', 'says what comes')
    box.expunge([1])
    equal(client.line(), '* 1 EXPUNGE', 'and goes')
    box.renumber(tell='code')
    equal(client.line(), '* OK [UIDVALIDITY %d] all UIDs are new' % box.uidvalidity, 'UIDVALIDITY')
    client.send('DONE')
    equal(client.line(), 'a OK done', 'until DONE')
    server.idle = 'bye'
    client.send('a IDLE')
    equal(client.line(), '+ idling', 'IDLE')
    box.add(b'Subject: z\r\n\r\nz\r\n')
    check(client.line().startswith('* BYE') and client.line() == '', 'BYE in IDLE')
    watcher.ask('ENABLE CONDSTORE')
    equal(len(watcher.ask('NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange '
                          'MailboxName))')[0]), 3, 'NOTIFY tells how all are')
    box.add(b'Subject: w\r\n\r\nw\r\n')
    equal(watcher.line(), '* STATUS "INBOX" (MESSAGES 3 UIDNEXT %d UIDVALIDITY %d '
          'HIGHESTMODSEQ %d)' % (box.uidnext, box.uidvalidity, box.modseq), 'and what comes')
    server.add_box('One')
    equal(watcher.line(), '* LIST () "/" "One"', 'and mailboxes')
    watcher.line()
    server.rename('One', 'Two')
    equal(watcher.line(), '* LIST () "/" "Two" ("OLDNAME" ("One"))', 'renamed ones')
    server.notify = 'overflow'
    box.set_flags(box.messages[0].uid, ['\\Seen'])
    check('NOTIFICATIONOVERFLOW' in watcher.line(), 'until it is too much')


@case
def fake_is_gmail(t):
    server = t.add(FakeImap('IMAP4rev1 UIDPLUS MOVE SPECIAL-USE X-GM-EXT-1'))
    server.add_box('Work')
    message = server.box('[Gmail]/All Mail').add(b'Subject: x\r\n\r\nx\r\n')
    server.label(message, 'INBOX', 'Work')
    client = t.add(Raw(server))
    client.ask('SELECT Work')
    line = client.ask('UID FETCH 1 (X-GM-MSGID X-GM-LABELS)')[0][0]
    equal(line, '* 1 FETCH (UID 1 X-GM-MSGID %d X-GM-LABELS ("\\\\Inbox"))' % (
        (1 << 60) + message.origin), 'its number and labels')
    client.ask('UID STORE 1 +FLAGS.SILENT (\\Seen)')
    equal([c[2] for c in server.copies(message)], [{'\\Seen'}] * 3, 'flags are everywhere')
    client.ask('UID MOVE 1 INBOX')
    equal([c[0] for c in server.copies(message)], ['INBOX', '[Gmail]/All Mail'], 'no label twice')
    client.ask('SELECT INBOX')
    client.ask('UID MOVE 1 [Gmail]/Trash')
    equal([c[0] for c in server.copies(message)], ['[Gmail]/Trash'], 'the trash has it alone')


main(mounts=False)
