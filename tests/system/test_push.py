#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Push: what another client does shows up without a call having waited for it."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import ALL, MODERN, FakeImap  # noqa: E402
from harness import (Dovecot, Proxy, case, check, equal, main, mount, need,  # noqa: E402
                     wait_for)

# Polling alone would take so long that a test ends before: what is seen came by push.
NEVER = 'refresh=3600'
WAIT = 60


def letter(n):
    return (b'From: A <a@b>\r\nSubject: letter %d\r\nMessage-ID: <l%d@x>\r\n'
            b'Date: Mon, 1 Jan 2024 00:00:%02d +0000\r\n\r\nhello %d\r\n' % (n, n, n % 60, n))


def eml(names):
    return {n for n in names if n.endswith('.eml')}


def with_words(mount_, *parts):
    """{word in the name: name}, for letters."""
    found = {}
    for name in eml(os.listdir(mount_.p(*parts))):
        match = re.search(r'letter-(\d+)', name)
        if match:
            found[int(match.group(1))] = name
    return found


def follows(m, c, box, base, what):
    """A message that comes, a flag that changes, a message that goes, seen by ls, stat and
    getfattr. `base`: the number of the first letter, which must be free."""
    known = with_words(m, box)
    path = m.p(box)
    before = os.stat(path).st_mtime_ns
    missing = None
    uid = c.append(box, letter(base))
    need(wait_for(lambda: base in with_words(m, box), WAIT), '%s: a new message is listed' % what,
         m.log()[-3000:])
    name = with_words(m, box)[base]
    equal(len(with_words(m, box)), len(known) + 1, '%s: nothing else changed' % what)
    equal(m.read(box, name), letter(base), '%s: and it can be read' % what)
    check(os.stat(path).st_mtime_ns > before, '%s: the directory has changed' % what)
    c.select(box)
    flags = m.xattr('user.imap.flags', box, name)
    ctime = os.stat(m.p(box, name)).st_ctime_ns
    c.store(uid, '+FLAGS', '\\Flagged')
    check(wait_for(lambda: '\\Flagged' in m.xattr('user.imap.flags', box, name), WAIT),
          '%s: a flag shows up in getfattr' % what, flags)
    check(wait_for(lambda: os.stat(m.p(box, name)).st_ctime_ns > ctime, WAIT),
          '%s: and in stat' % what)
    c.expunge(uid)

    def gone():
        nonlocal missing
        try:
            os.stat(m.p(box, name))
            return False
        except FileNotFoundError as error:
            missing = error
            return True
    check(wait_for(gone, WAIT), '%s: an expunged message is gone for stat' % what)
    equal(set(with_words(m, box)), set(known), '%s: and for ls' % what)


def fill(server, boxes, count=3):
    with server.imap() as c:
        for i, box in enumerate(boxes):
            if box not in c.mailboxes():
                c.create(box)
            for n in range(count):
                c.append(box, letter(100 * i + n))


def has(m, pattern):
    return wait_for(lambda: re.search(pattern, m.log()), WAIT)


@case
def notify_follows_all_mailboxes(t):
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work', 'Other'])
    m = mount(t, server, NEVER, debug=True)
    for box in ('INBOX', 'Work', 'Other'):
        equal(len(eml(m.ls(box))), 3, box + ' is listed')
    need(has(m, r'> a\d+ NOTIFY SET STATUS'), 'NOTIFY is asked for', m.log()[-3000:])
    with server.imap() as c:
        for n, box in enumerate(('INBOX', 'Work', 'Other')):
            follows(m, c, box, 1000 + n, box)
        c.create('Fresh')
        c.append('Fresh', letter(7))
        check(wait_for(lambda: 'Fresh' in m.ls(), WAIT), 'a new mailbox shows up')
        c.delete('Fresh')
        check(wait_for(lambda: 'Fresh' not in m.ls(), WAIT), 'a deleted one goes')
    check(not re.search(r'> a\d+ IDLE', m.log()), 'nothing is in IDLE')


@case
def idle_follows_the_mailbox_used_last(t):
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    m = mount(t, server, [NEVER, 'without=NOTIFY'], debug=True)
    equal(len(eml(m.ls('Work'))), 3, 'Work is listed')
    need(has(m, r'> a\d+ IDLE'), 'IDLE is asked for', m.log()[-3000:])
    with server.imap() as c:
        follows(m, c, 'Work', 1000, 'Work')
        equal(len(eml(m.ls('INBOX'))), 3, 'INBOX is listed')
        need(wait_for(lambda: len(re.findall(r'> a\d+ IDLE', m.log())) > 1, WAIT),
             'IDLE follows the user')
        follows(m, c, 'INBOX', 1001, 'INBOX')


@case
def idle_follows_who_reads(t):
    """Names that the kernel knows are not asked for; what is read and asked of them counts."""
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    m = mount(t, server, [NEVER, 'without=NOTIFY', 'connections=2'], debug=True)

    def begun():
        return len(re.findall(r'> a\d+ IDLE', m.log()))
    name = [n for n in m.ls('Work') if n.endswith('.eml')][0]
    for use in (lambda: m.xattr('user.imap.flags', 'Work', name), lambda: m.read('Work', name)):
        equal(len(eml(m.ls('Work'))), 3, 'Work is listed')
        need(wait_for(lambda: m.ls('Work') and begun() > 0, WAIT), 'IDLE is asked for')
        use()
        count = begun()
        need(wait_for(lambda: m.ls('INBOX') and begun() > count, WAIT), 'it follows the user')
        count = begun()
        check(wait_for(lambda: use() is not None and begun() > count, WAIT, 0.5), 'and the reader')


@case
def idle_without_mod_sequences(t):
    """Where nothing tells cheaply whether a mailbox changed; and with one watcher alone."""
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    m = mount(t, server, [NEVER, 'without=CONDSTORE', 'without=QRESYNC', 'connections=2'],
              debug=True)
    for n, box in enumerate(('Work', 'INBOX', 'Work')):
        count = len(re.findall(r'> a\d+ IDLE', m.log()))
        equal(len(eml(m.ls(box))), 3, box + ' is listed')
        need(wait_for(lambda: len(re.findall(r'> a\d+ IDLE', m.log())) > count, WAIT),
             'IDLE follows the user')
        with server.imap() as c:
            follows(m, c, box, 1000 + n, box)


@case
def polling_without_either(t):
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    m = mount(t, server, ['refresh=1', 'without=NOTIFY', 'without=IDLE'], debug=True)
    with server.imap() as c:
        for n, box in enumerate(('Work', 'INBOX')):
            equal(len(eml(m.ls(box))), 3, box + ' is listed')
            follows(m, c, box, 1000 + n, box)
    check(not re.search(r'> a\d+ (IDLE|NOTIFY)', m.log()), 'neither was tried')


@case
def one_connection_polls(t):
    server = t.add(Dovecot(t.path, connections=1))
    fill(server, ['INBOX'])
    m = mount(t, server, ['refresh=1', 'connections=1'], debug=True)
    equal(len(eml(m.ls('INBOX'))), 3, 'INBOX is listed')
    # The server has room for nobody else.
    path = server.maildir('INBOX')
    server.deliver('INBOX', [(letter(50), time.time())])
    check(wait_for(lambda: 50 in with_words(m, 'INBOX'), WAIT), 'a new message shows up', path)
    check(not re.search(r'> a\d+ (IDLE|NOTIFY)', m.log()), 'nobody listens')


@case
def server_with_room_for_one(t):
    """More connections are wanted than the server allows."""
    server = t.add(Dovecot(t.path, connections=1))
    fill(server, ['INBOX'])
    m = mount(t, server, ['refresh=1'], debug=True)
    equal(len(eml(m.ls('INBOX'))), 3, 'INBOX is listed')
    server.deliver('INBOX', [(letter(50), time.time())])
    check(wait_for(lambda: 50 in with_words(m, 'INBOX'), WAIT), 'a new message shows up')
    equal(m.read('INBOX', with_words(m, 'INBOX')[50]), letter(50), 'and can be read')
    check(not re.search(r'> a\d+ (IDLE|NOTIFY)', m.log()), 'nobody listens')


def after_a_cut(t, options, pattern):
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, [NEVER, *options], proxy=proxy, debug=True)
    equal(len(eml(m.ls('Work'))), 3, 'Work is listed')
    need(has(m, pattern), 'it listens', m.log()[-3000:])
    with server.imap() as c:
        follows(m, c, 'Work', 1000, 'at first')
        asked = len(re.findall(pattern, m.log()))
        proxy.refuse(True)
        proxy.cut()
        uid = c.append('Work', letter(2000))
        c.select('Work')
        time.sleep(1)
        equal(len(eml(m.ls('Work'))), 3, 'offline the listing is served')
        proxy.refuse(False)
        check(wait_for(lambda: 2000 in with_words(m, 'Work'), WAIT),
              'what came meanwhile shows up', m.log()[-3000:])
        need(wait_for(lambda: len(re.findall(pattern, m.log())) > asked, WAIT),
             'it listens again', m.log()[-3000:])
        follows(m, c, 'Work', 1001, 'after the cut')
        check(uid is not None, 'the second client went on')


@case
def notify_after_a_cut(t):
    after_a_cut(t, [], r'> a\d+ NOTIFY')


@case
def idle_after_a_cut(t):
    after_a_cut(t, ['without=NOTIFY'], r'> a\d+ IDLE')


@case
def listings_cost_nothing_while_watched(t):
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'], 20)
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('Work'))), 20, 'Work is listed')
    names = m.ls('Work')
    need(has(m, r'> a\d+ NOTIFY'), 'it listens')

    def settled():
        """Until nothing is asked of the program any more."""
        before = len(re.findall('unique: [0-9]+, opcode: (LOOKUP|GETATTR)', m.log()))
        for name in names:
            os.stat(m.p('Work', name))
        return len(re.findall('unique: [0-9]+, opcode: (LOOKUP|GETATTR)', m.log())) == before
    check(wait_for(settled, WAIT), 'a stat of each is answered by the kernel')
    time.sleep(2.5)  # longer than `refresh`
    check(settled(), 'and still is after refresh seconds')


@case
def deliveries_behind_the_back_are_found(t):
    """Dovecot's NOTIFY does not see what is written into a Maildir: it is found out, and IDLE,
    which sees it, takes its place."""
    server = t.add(Dovecot(t.path))
    fill(server, ['INBOX', 'Work'])
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('Work'))), 3, 'Work is listed')
    need(has(m, r'> a\d+ NOTIFY'), 'it listens')
    number = 50

    def distrusted():
        nonlocal number
        number += 1
        server.deliver('Work', [(letter(number), time.time())])
        check(wait_for(lambda: number in with_words(m, 'Work'), WAIT),
              'delivery %d shows up' % number, m.log()[-3000:])
        end = time.monotonic() + 6
        while time.monotonic() < end:
            if 'offers NOTIFY, but' in m.log():
                return True
            time.sleep(0.2)
        return False
    need(any(distrusted() for _ in range(20)), 'NOTIFY is no longer believed', m.log()[-3000:])
    need(has(m, r'> a\d+ IDLE'), 'IDLE takes its place', m.log()[-3000:])
    with server.imap() as c:
        follows(m, c, 'Work', 1000, 'with IDLE')


# --- servers that don't do what they offer ------------------------------------------------


def arrives(m, server, number, box='INBOX'):
    server.box(box).add(letter(number))
    return check(wait_for(lambda: number in with_words(m, box), WAIT),
                 'message %d shows up' % number, m.log()[-3000:])


def until_found_out(m, server, cap, box='INBOX'):
    """Messages come, and each shows up by polling, until the server is no longer believed."""
    for number in range(100, 120):
        need(arrives(m, server, number, box), 'polling goes on')
        if wait_for(lambda: 'offers %s, but' % cap in m.log(), 6):
            return check(True, '%s is no longer believed' % cap)
    return check(False, '%s is no longer believed' % cap, m.log()[-3000:])


def fake(capabilities, **faults):
    server = FakeImap(capabilities)
    for name, value in faults.items():
        setattr(server, name, value)
    server.box('INBOX').add(letter(1))
    server.box('Sent').add(letter(2))
    return server


@case
def mute_idle_is_found_out(t):
    server = t.add(fake(ALL, idle='mute'))
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    need(wait_for(lambda: server.received('IDLE'), WAIT), 'it is in IDLE')
    until_found_out(m, server, 'IDLE')
    need(wait_for(lambda: not any(c.listening for c in list(server.connections.values())), WAIT),
         'nobody is in IDLE any more')
    arrives(m, server, 200)
    equal(server.violations, [], 'no client may do what was not done')


@case
def inbox_in_another_spelling(t):
    server = t.add(fake(ALL, inbox='Inbox'))
    m = mount(t, server, NEVER)
    equal(sorted(m.ls()), ['INBOX', 'Sent', 'Trash'], 'the mailboxes are listed')
    for box in ('INBOX', 'Sent'):
        equal(len(eml(m.ls(box))), 1, '%s is listed' % box)

    def watched():
        with server.lock:
            return {c.box.name for c in server.connections.values() if c.listening}
    check(wait_for(lambda: watched() == {'INBOX', 'Sent'}, WAIT),
          'it is watched beside the mailbox used last', watched())
    arrives(m, server, 100)


@case
def mute_notify_gives_way_to_idle(t):
    server = t.add(fake(MODERN, notify='mute'))
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    need(wait_for(lambda: server.received('NOTIFY'), WAIT), 'NOTIFY was asked for')
    until_found_out(m, server, 'NOTIFY')
    need(wait_for(lambda: server.received('IDLE'), WAIT), 'IDLE takes its place')
    arrives(m, server, 200)


@case
def notify_that_leaves_out_the_last(t):
    server = t.add(fake(MODERN, notify='once'))
    m = mount(t, server, NEVER, debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    need(wait_for(lambda: server.received('NOTIFY'), WAIT), 'NOTIFY was asked for')
    for number in (100, 101, 102):
        arrives(m, server, number)


@case
def idle_that_never_begins(t):
    server = t.add(fake(ALL, idle='no-plus'))
    m = mount(t, server, ['refresh=1', 'timeout=2'], debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    need(has(m, r'IDLE is offered and does not work'), 'it is found out')
    arrives(m, server, 100)
    before = len(server.received('IDLE'))
    arrives(m, server, 101)
    equal(len(server.received('IDLE')), before, 'IDLE is left alone')


@case
def idle_that_ends_in_goodbye(t):
    server = t.add(fake(ALL, idle='bye'))
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    need(wait_for(lambda: server.received('IDLE'), WAIT), 'it is in IDLE')
    for number in range(100, 106):
        arrives(m, server, number)
    opened = server.opened
    check(opened < 40, 'it does not connect again and again', opened)


@case
def notify_refused_or_taken_back(t):
    for name, faults in (('refuse', {'notify': 'refuse'}), ('overflow', {'notify': 'overflow'}),
                         ('flags', {'notify_events': {'MESSAGENEW', 'MESSAGEEXPUNGE'}})):
        server = t.add(fake(MODERN, **faults))
        m = mount(t, server, NEVER, name='mnt-' + name, home=os.path.join(t.path, name),
                  debug=True)
        equal(len(eml(m.ls('INBOX'))), 1, name + ': INBOX is listed')
        need(wait_for(lambda: server.received('NOTIFY'), WAIT), name + ': NOTIFY was asked for')
        if name == 'overflow':
            server.box('Sent').add(letter(3))
        need(wait_for(lambda: server.received('IDLE'), WAIT), name + ': IDLE takes its place',
             m.log()[-3000:])
        arrives(m, server, 100)
        m.stop()


@case
def watchers_take_no_connection_from_readers(t):
    """The server allows two, then one: who reads is served, and changes are seen."""
    server = t.add(fake(MODERN, max_connections=2))
    m = mount(t, server, 'refresh=1', debug=True)
    equal(len(eml(m.ls('INBOX'))), 1, 'INBOX is listed')
    arrives(m, server, 100)
    server.max_connections = 1
    server.drop_all()
    for number in (101, 102):
        arrives(m, server, number)
        name = with_words(m, 'INBOX')[number]
        equal(m.read('INBOX', name), letter(number), 'message %d can be read' % number)


main()
