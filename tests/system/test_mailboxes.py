#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tree of mailboxes as others change it: many mailboxes, new ones, renamed and deleted ones."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from fakeimap import ALL, MODERN, PLAIN, FakeImap  # noqa: E402
from harness import (IMAPFS, Dovecot, case, check, equal, error_of, main, mount, need,  # noqa: E402
                     sh, wait_for)

COUNT = 1000
REFRESH = 2
MEMORY_MAX = 48 << 20  # octets of RssAnon


def letter(n):
    return b'From: A <a@b>\r\nSubject: letter %d\r\nMessage-ID: <l%d@x>\r\n\r\nhello %d\r\n' % (n, n, n)


class Rawlog:
    """What clients sent to a Dovecot: each connection's commands, in files that it writes."""

    def __init__(self, path):
        self.path = os.path.join(path, 'rawlog')
        os.makedirs(self.path)
        os.chmod(self.path, 0o777)
        self.setting = 'protocol imap {\n  rawlog_dir = %s\n}\n' % self.path
        self.read = {}

    def forget(self):
        self.commands()

    def commands(self):
        """Those that came since the last time."""
        found = []
        for name in sorted(os.listdir(self.path)):
            if name.endswith('.in'):
                with open(os.path.join(self.path, name), 'rb') as f:
                    f.seek(self.read.get(name, 0))
                    data = f.read()
                    data = data[:data.rfind(b'\n') + 1]
                    self.read[name] = self.read.get(name, 0) + len(data)
                found += [re.sub(rb'^[\d.]+ ', b'', line).decode('utf-8', 'replace').strip()
                          for line in data.splitlines()]
        return found

    def count(self, commands, pattern):
        return sum(bool(re.match(r'\S+ (?:UID )?(?:%s)\b' % pattern, c, re.I)) for c in commands)


def logged(t, **more):
    log = Rawlog(t.path)
    return t.add(Dovecot(t.path, extra=log.setting, **more)), log


def rss_anon(pid):
    with open('/proc/%d/status' % pid) as f:
        return int(re.search(r'^RssAnon:\s+(\d+) kB', f.read(), re.M).group(1)) << 10


def walk(m):
    """{directory: its messages}, by find."""
    out = sh('find . -mindepth 1', cwd=m.path, timeout=300)
    need(out.code == 0, 'find works', out)
    found = {}
    for line in out.out.decode().splitlines():
        path = line[2:]
        if path.endswith('.eml'):
            found.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))
        else:
            found.setdefault(path, set())
    return found


def state(m, *box):
    """Of each message by its name: inode and octets; and the directory's inode."""
    return os.stat(m.p(*box)).st_ino, {n: (os.stat(m.p(*box, n)).st_ino, m.read(*box, n))
                                       for n in m.ls(*box) if n.endswith('.eml')}


def gone(m, *box):
    return wait_for(lambda: not os.path.exists(m.p(*box)) and box[-1] not in m.ls(*box[:-1]), 30, 0.2)


def came(m, *box):
    return wait_for(lambda: box[-1] in m.ls(*box[:-1]) and os.path.isdir(m.p(*box)), 30, 0.2)


# --- many ---------------------------------------------------------------------------------

def populate(server, count):
    names = ['Project %02d/Part %02d' % (i // 20, i % 20) for i in range(count)]
    for i, name in enumerate(names):
        server.deliver(name, [(letter(2 * i + k), 1_600_000_000 + i) for k in range(2)], own=False)
    server.own(os.path.join(server.path, 'mail', server.user))
    return names


def counts(log, what):
    commands = log.commands()
    opened = log.count(commands, 'SELECT|EXAMINE')
    print('      %s: %d commands, %d mailboxes opened, %d LIST, %d STATUS' % (
        what, len(commands), opened, log.count(commands, 'LIST'), log.count(commands, 'STATUS')))
    return opened, commands


def quiet(log):
    """Until what was under way is over, and all of it is stale. What a connection has selected is
    opened again and again, since STATUS of that tells nothing."""
    calm = [0]

    def is_quiet():
        time.sleep(REFRESH + 0.5)
        calm[0] = calm[0] + 1 if log.count(log.commands(), 'SELECT|EXAMINE') <= 5 else 0
        return calm[0] == 3
    wait_for(is_quiet, 60)


def many(t, count, options=(), without=(), opened_most=20):
    server, log = logged(t, without=without)
    names = populate(server, count)
    m = mount(t, server, ['refresh=%d' % REFRESH, *options])
    first = walk(m)
    wanted = {n for n in names} | {os.path.dirname(n) for n in names}
    check(wanted <= set(first), 'all mailboxes are there', sorted(wanted - set(first))[:5])
    equal(sorted({len(first[n]) for n in names}), [2], 'each with its two messages')
    counts(log, 'the first find')
    quiet(log)
    second = walk(m)
    equal(second, first, 'a second find sees the same')
    opened, commands = counts(log, 'the second find')
    check(opened <= opened_most, 'and opens hardly a mailbox', (opened, commands[:40]))
    return server, log, names, m, first


@case
def a_thousand(t):
    server, log, names, m, before = many(t, COUNT)
    log.forget()
    with server.imap() as c:
        c.append(names[7], letter(9001))
        c.select(names[500])
        c.expunge([1])
        c.select(names[999])
        c.store([2], '+FLAGS', '\\Flagged')
    expunged = before[names[500]]
    time.sleep(REFRESH + 0.5)

    def seen():
        now = walk(m)
        return len(now[names[7]]) == 3 and len(now[names[500]]) == 1 and now
    after = wait_for(seen, 60, 0.2)
    need(after, 'what another client added and removed shows up in a find')
    opened, commands = counts(log, 'find after three changes')
    check(opened <= 40, 'which opens little more than what changed', (opened, commands[:60]))
    check(after[names[500]] < expunged, 'the right one is gone')
    changed = {n for n in names if after[n] != before[n]}
    equal(changed, {names[7], names[500]}, 'nothing else changed')
    uids = m.messages(names[999])
    check(wait_for(lambda: m.xattr('user.imap.flags', names[999], uids[2]) == '\\Flagged', 30, 0.2),
          'and a flag')
    used = rss_anon(m.child.pid)
    print('      RssAnon %d KiB' % (used >> 10))
    # AddressSanitizer keeps what was freed for a while.
    with open(IMAPFS, 'rb') as program:
        most = MEMORY_MAX * (8 if b'__asan_init' in program.read() else 1)
    check(used < most, 'memory is sane', used)
    m.remount()
    log.forget()
    equal(walk(m), after, 'after a remount all is as before')
    opened, commands = counts(log, 'find after a remount')
    check(opened <= 20, 'at the cost of a few commands', (opened, commands[:40]))


@case
def without_list_status(t):
    many(t, 120, ['without=LIST-STATUS'])


@case
def without_condstore(t):
    server, log, names, m, before = many(t, 60, ['without=CONDSTORE:QRESYNC:NOTIFY:IDLE'])
    uids = m.messages(names[33])
    with server.imap() as c:
        c.select(names[33])
        c.store([1], '+FLAGS', '\\Seen')
        c.append(names[34], letter(9001))

    def seen():
        now = walk(m)
        return len(now[names[34]]) == 3 and '\\Seen' in m.xattr('user.imap.flags', names[33], uids[1])
    check(wait_for(seen, 60, 0.3), 'an arrival and a message that was read show up')


@case
def broken_list_status(t):
    """It is announced, but brings no STATUS, or is refused: STATUS is asked for one by one."""
    for kind in ('none', 'BAD', 'odd'):
        server = t.add(FakeImap(capabilities=ALL + ' LIST-EXTENDED LIST-STATUS'))
        boxes = [server.add_box('Box%02d' % n) for n in range(30)]
        for n, box in enumerate(boxes):
            box.add(letter(n))
        if kind == 'BAD':
            server.replies[r'RETURN \(.*STATUS'] = 'BAD no such option'
        else:
            for n, box in enumerate(boxes):
                box.faults.status = '' if kind == 'none' else (
                    '()', '(MESSAGES 1 )', '(MESSAGES x UIDNEXT)', '(UIDNEXT 0)')[n % 4]
        m = mount(t, server, ['refresh=1'], name='m-' + kind, home=os.path.join(t.path, 'h' + kind))
        first = walk(m)
        equal(sum(len(f) for f in first.values()), 30, kind + ': all are listed')
        boxes[11].add(letter(100))
        time.sleep(1.2)
        check(wait_for(lambda: len(walk(m)['Box11']) == 2, 30, 0.3), kind + ': what is new shows up')
        equal({k: v for k, v in walk(m).items() if k != 'Box11'},
              {k: v for k, v in first.items() if k != 'Box11'}, kind + ': the rest stays')
        equal(server.violations, [], kind + ': nothing dangerous was sent')
        m.stop()
        server.stop()


def slow(count, seconds, pattern='.'):
    """A server with that many mailboxes, that takes its time for the commands that match."""
    server = FakeImap(capabilities='IMAP4rev1 UIDPLUS UNSELECT CONDSTORE ESEARCH')
    for n in range(count):
        server.add_box('Box%02d' % n).add(letter(n))
    server.before = lambda _, line: re.match(pattern, line) and time.sleep(seconds)
    return server


@case
def first_listings_open_no_others(t):
    """While many are listed for the first time, those that were are not opened again and again."""
    server = t.add(slow(50, 0.03))
    m = mount(t, server, ['refresh=1'])
    first = walk(m)
    equal(sum(len(f) for f in first.values()), 50, 'all are listed')
    opened = len(server.received('^(SELECT|EXAMINE)'))
    print('      %d mailboxes opened, %d STATUS' % (opened, len(server.received('^STATUS'))))
    check(opened < 150, 'few are opened twice', opened)


@case
def slow_looks_are_not_waited_for(t):
    """STATUS of all takes longer than a listing may wait: so none does, from the second on."""
    server = t.add(slow(40, 0.05, 'STATUS'))
    m = mount(t, server, ['refresh=1'])
    first = walk(m)
    time.sleep(1.5)
    walk(m)  # now it is known how long they take
    wait_for(lambda: len(server.received('^STATUS')) >= 40, 30)
    time.sleep(1.5)
    before = len(server.received('^STATUS'))
    equal(walk(m), first, 'a walk shows what is known')
    asked = len(server.received('^STATUS')) - before
    check(asked <= 120, 'and is over before two looks are', asked)
    server.boxes['Box33'].add(letter(100))
    check(wait_for(lambda: len(walk(m)['Box33']) == 2, 30, 0.3), 'what is new shows up')


# --- new, deleted -------------------------------------------------------------------------

@case
def created_and_deleted(t):
    # Dovecot's own cache of names misses what comes again within the same second.
    server = t.add(Dovecot(t.path, extra='mailbox_list_index = no\n'))
    with server.imap() as c:
        c.create('Parent/Child')
        c.append('Parent/Child', letter(1))
        c.create('Both/Below')
        c.create('Both')
        c.append('Both', letter(2))
        m = mount(t, server, ['refresh=1'])
        equal(len(m.ls('Parent', 'Child')), 1, 'listed')
        equal(len(m.ls('Both')), 2, 'a message and a mailbox')
        equal(error_of(os.stat, m.p('Later')), 'ENOENT', 'a name that is not there')
        stamp, deep = os.stat(m.path).st_mtime_ns, os.stat(m.p('Parent')).st_mtime_ns
        c.create('Later')
        c.append('Later', letter(3))
        c.create('Parent/New')
        check(came(m, 'Later'), 'a new mailbox shows up')
        equal(len(m.ls('Later')), 1, 'with its message')
        check(came(m, 'Parent', 'New'), 'one below another too')
        check(os.stat(m.path).st_mtime_ns > stamp, 'the mtime above grew')
        check(os.stat(m.p('Parent')).st_mtime_ns > deep, 'that of the parent too')
        stamp = os.stat(m.p('Parent')).st_mtime_ns
        links = os.stat(m.p('Parent')).st_nlink
        c.delete('Parent/Child')
        check(gone(m, 'Parent', 'Child'), 'a deleted mailbox is gone')
        check(os.stat(m.p('Parent')).st_mtime_ns > stamp, 'which shows in the mtime')
        equal(os.stat(m.p('Parent')).st_nlink, links - 1, 'and the link count')
        c.delete('Both')
        check(wait_for(lambda: m.ls('Both') == ['Below'], 30, 0.2),
              'one with sub-mailboxes loses its messages', m.ls('Both'))
        c.create('Parent/Child')
        check(came(m, 'Parent', 'Child'), 'one of the same name comes again')
        check(wait_for(lambda: m.ls('Parent', 'Child') == [], 30, 0.2), 'and is empty')
        c.create('Both')
        c.append('Both', letter(4))
        check(wait_for(lambda: len(m.ls('Both')) == 2, 30, 0.2), 'the other gets messages again')


@case
def left_out_is_not_gone(t):
    """LIST forgets a mailbox for once, that STATUS knows."""
    server = t.add(FakeImap())
    box = server.add_box('Shy')
    box.add(letter(1))
    m = mount(t, server, ['refresh=1'])
    before = state(m, 'Shy')

    class Forgetful(dict):
        def items(self):
            return [(k, v) for k, v in super().items() if k != 'Shy']
    with server.lock:
        server.boxes = Forgetful(server.boxes)
    count = len(server.received('LIST'))
    server.add_box('Other')
    check(came(m, 'Other'), 'another one came')
    wait_for(lambda: m.ls() and len(server.received('LIST')) > count + 4, 20, 0.3)
    check('Shy' in m.ls(), 'it is still there')
    equal(state(m, 'Shy'), before, 'as it was')


@case
def bare_refusals_are_no_proof(t):
    """A server in trouble lists nothing, or says NO to what is asked of any mailbox."""
    server = t.add(FakeImap())
    for name in ('Shy', 'Bold', 'Above/Below'):
        server.add_box(name).add(letter(1))
    m = mount(t, server, ['refresh=1'], expect=['.'])
    names = ('Shy', 'Bold', 'Above/Below')
    before = {name: state(m, *name.split('/')) for name in names}
    top = m.ls()

    class Forgetful(dict):
        listed = ()

        def items(self):
            return [(k, v) for k, v in super().items() if k in self.listed]

    def looks(count):
        seen = len(server.received('^LIST'))
        wait_for(lambda: m.ls() and len(server.received('^LIST')) >= seen + 2 * count, 30, 0.2)
    with server.lock:
        server.boxes = Forgetful(server.boxes)
        server.replies['^STATUS'] = 'NO not today'
    looks(3)
    equal(m.ls(), top, 'nothing goes while LIST is empty')
    server.boxes.listed = [name for name in server.boxes if name != 'Shy']
    looks(3)
    equal(m.ls(), top, 'nor while nothing can be asked for')
    del server.replies['^STATUS']
    looks(3)
    equal({name: state(m, *name.split('/')) for name in names}, before, 'it was as it is')
    server.replies['^STATUS "?Shy'] = 'NO not you'
    check(gone(m, 'Shy'), 'what is refused alone goes')


@case
def refused_is_not_renamed(t):
    """One that is listed, but can't be asked for, is not what a new one that is like it was."""
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS UNSELECT'))
    old = server.add_box('Old')
    old.uidvalidity = 1
    for n in range(5):
        old.add(letter(n))
    m = mount(t, server, ['refresh=1'], expect=['.'])
    before = state(m, 'Old')
    with server.lock:
        old.faults.status = 'NO not today'
        new = server.add_box('New')
        new.uidvalidity = 1
        for n in range(5):
            new.add(letter(50 + n))
    need(came(m, 'New'), 'a new one comes')
    equal(sorted(v[1] for v in state(m, 'New')[1].values()), sorted(x.body for x in new.messages),
          'with its own messages')
    equal(state(m, 'Old'), before, 'the old one is as it was')


@case
def another_trash(t):
    """The special use \\Trash is given to another mailbox: that is the trash from then on."""
    server = t.add(FakeImap(capabilities=ALL + ' LIST-EXTENDED'))
    old, new = server.boxes['Trash'], server.add_box('Bin')
    for n in range(3):
        server.box('INBOX').add(letter(n))
    m = mount(t, server, ['refresh=1'], expect=['.'])
    names = m.ls('INBOX')

    def looked():
        seen = len(server.received('^LIST'))
        wait_for(lambda: m.ls() and len(server.received('^LIST')) >= seen + 4, 30, 0.2)
    with server.lock:
        old.attributes, new.attributes = [], ['\\Trash']
    looked()
    os.unlink(m.p('INBOX', names[0]))
    check(wait_for(lambda: len(new.messages) == 1, 30), 'what is deleted goes there')
    server.replies[r'RETURN'] = 'NO not today'
    server.capabilities = server.capabilities.replace(' SPECIAL-USE', '')
    old.attributes, new.attributes = [], []
    looked()
    os.unlink(m.p('INBOX', names[1]))
    check(wait_for(lambda: len(new.messages) == 2, 30), 'even when the server does not tell for once')
    equal(len(old.messages), 0, 'and never to the old one')


# --- renamed ------------------------------------------------------------------------------

def bodies(log):
    return [c for c in log.commands() if 'BODY.PEEK[]' in c]


@case
def renamed(t):
    server, log = logged(t)
    for name in ('Alpha', 'Beta', 'Deep/One', 'Deep/One/Two', 'Dir/X/Inner', 'Old', 'Case'):
        server.deliver(name, corpus.bulk(4, seed=len(name) + ord(name[0])))
    m = mount(t, server, ['refresh=1'])
    before = {n: state(m, *n.split('/')) for n in (
        'Alpha', 'Beta', 'Deep/One', 'Deep/One/Two', 'Dir/X/Inner', 'Old', 'Case')}
    directories = {n: os.stat(m.p(n)).st_ino for n in ('Deep', 'Dir', 'Dir/X')}
    log.forget()
    stamp = os.stat(m.path).st_mtime_ns
    holder = os.open(m.p('Alpha'), os.O_RDONLY | os.O_DIRECTORY)
    with server.imap() as c:
        c.rename('Alpha', 'Größe & Maß')
        c.rename('Beta', 'Deep/Beta')
        c.rename('Deep/One', 'Moved')
        c.rename('Dir/X', 'Dir/Y')
        c.rename('Old', 'Old-2024')
        c.create('Old')
        c.append('Old', letter(77))
        c.rename('Case', 'case')
    moves = {'Alpha': 'Größe & Maß', 'Beta': 'Deep/Beta', 'Deep/One': 'Moved',
             'Deep/One/Two': 'Moved/Two', 'Dir/X/Inner': 'Dir/Y/Inner', 'Old': 'Old-2024',
             'Case': 'case'}
    for old, new in moves.items():
        need(came(m, *new.split('/')), '%s is now %s' % (old, new))
    for old in moves:
        if old != 'Old':
            check(wait_for(lambda o=old: not os.path.exists(m.p(o)), 30, 0.2), old + ' is gone')
    for old, new in moves.items():
        equal(state(m, *new.split('/')), before[old],
              '%s: inodes, names and octets are those of %s' % (new, old))
    equal(os.stat(m.p('Dir/Y')).st_ino, directories['Dir/X'], 'a directory without messages too')
    equal(os.stat(m.p('Deep')).st_ino, directories['Deep'], 'what stayed, stayed')
    check(os.stat(m.path).st_mtime_ns > stamp, 'the mtime above grew')
    check(wait_for(lambda: len(m.ls('Old')) == 1, 30, 0.2), 'the new one of an old name has its own')
    equal([m.read('Old', n) for n in m.ls('Old')], [letter(77)], 'and its octets')
    equal(len(bodies(log)), 1, 'no other body was fetched')
    equal(os.fstat(holder).st_ino, before['Alpha'][0], 'an open directory is what it was')
    os.close(holder)
    with server.imap() as c:
        c.append('Moved', letter(78))
    check(wait_for(lambda: len(m.ls('Moved')) == len(before['Deep/One'][1]) + 2, 30, 0.2),
          'a renamed mailbox is kept in step')
    m.remount()
    for old, new in moves.items():
        if new != 'Moved':
            equal(state(m, *new.split('/')), before[old], '%s after a remount' % new)


@case
def renamed_while_away(t):
    server, log = logged(t)
    server.deliver('Here/It/Is', corpus.bulk(5))
    m = mount(t, server)
    before = state(m, 'Here', 'It', 'Is')
    m.stop()
    with server.imap() as c:
        c.rename('Here/It', 'There')
        c.append('There/Is', letter(5))
    log.forget()
    m.start()
    check(came(m, 'There', 'Is') and wait_for(lambda: len(m.ls('There', 'Is')) == 6, 30, 0.2),
          'it is there')
    now = state(m, 'There', 'Is')
    equal(now[0], before[0], 'with its inode')
    equal({n: v for n, v in now[1].items() if n in before[1]}, before[1], 'and its messages')
    equal(len(bodies(log)), 1, 'of which none was fetched again')


@case
def renamed_by_id(t):
    """MAILBOXID decides, where numbers would not, or would say the wrong."""
    server = t.add(FakeImap(capabilities=ALL + ' OBJECTID LIST-EXTENDED LIST-STATUS'))
    a, b = server.add_box('A'), server.add_box('B')
    for n in range(4):
        a.add(letter(n))
        b.add(letter(n + 50))
    a.uidvalidity = b.uidvalidity = 1
    m = mount(t, server, ['refresh=1'])
    before = {n: state(m, n) for n in ('A', 'B')}
    # The ids are told by SELECT, or by a look at all of them.
    fetched = len(server.fetched)
    with server.lock:
        server.rename('A', 'Second')
        server.rename('B', 'First')
    need(came(m, 'First') and came(m, 'Second'), 'both come under their new names')
    equal(state(m, 'Second'), before['A'], 'one is the one')
    equal(state(m, 'First'), before['B'], 'the other the other')
    equal(server.fetched[fetched:], [], 'no body was fetched')
    check(gone(m, 'A') and gone(m, 'B'), 'the old names are gone')


@case
def renamed_or_not(t):
    """What could be several known ones, or only looks like one, shows its own messages."""
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS UNSELECT'))
    boxes = [server.add_box('Box%d' % n) for n in range(3)]
    for n, box in enumerate(boxes):
        box.uidvalidity = 1
        for k in range(5):
            box.add(letter(10 * n + k))
    m = mount(t, server, ['refresh=1'])
    for n in range(3):
        equal(len(state(m, 'Box%d' % n)[1]), 5, 'Box%d is listed' % n)
    with server.lock:
        server.rename('Box0', 'Neu0')
        server.rename('Box1', 'Neu1')
        del server.boxes['Box2']
        other = server.add_box('Other')
        other.uidvalidity = 1
        for k in range(9):
            other.add(letter(100 + k))
    need(came(m, 'Neu0') and came(m, 'Neu1') and came(m, 'Other'), 'the new ones come')
    for name, box in (('Neu0', boxes[0]), ('Neu1', boxes[1]), ('Other', other)):
        wanted = sorted(x.body for x in box.messages)
        got = []

        def right():
            got[:] = sorted(v[1] for v in state(m, name)[1].values())
            return got == wanted
        wait_for(right, 30, 0.3)
        equal(got, wanted, name + ' shows its own messages')
    equal(server.violations, [], 'nothing dangerous was sent')


@case
def alike_is_not_the_same(t):
    """A new mailbox that has UIDVALIDITY and counts of one that went: its messages are its own, and
    what is done to the old ones is not done to them."""
    for number, capabilities in enumerate((PLAIN, MODERN)):
        server = t.add(FakeImap(capabilities))
        old = server.add_box('Old')
        old.uidvalidity = 1
        for n in range(5):
            old.add(letter(n))
        m = mount(t, server, ['refresh=1', 'delete=expunge'], name='m%d' % number,
                  home='%s/h%d' % (t.path, number), expect=['.'])
        names = m.ls('Old')
        # A comparison takes its time.
        server.before = lambda _, line: re.match('UID (FETCH.*FLAGS|SEARCH)', line) and time.sleep(1)
        with server.lock:
            server.remove_box('Old')
            new = server.add_box('New')
            new.uidvalidity = 1
            for n in range(5):
                new.add(letter(50 + n))
        need(came(m, 'New'), 'a new one comes')
        wrong = []

        def its_own():
            found = m.ls('New')
            for name in found:
                try:
                    said = m.read('New', name).split()[-1]
                except OSError:  # it is going
                    continue
                if b'_letter-%s_' % said not in name.encode():
                    wrong.append((name, said))
            return len(found) == 5 and not set(found) & set(names)
        # Whatever is there by now.
        for name in names[:3]:
            error_of(os.unlink, m.p('New', name))
        check(wait_for(its_own, 30, 0.1), 'with messages of its own', m.ls('New'))
        equal(wrong, [], 'no name shows another one\'s octets')
        check(gone(m, 'Old'), 'the old one goes')
        equal(len(new.messages), 5, 'none is deleted')
        equal(server.received('^UID (STORE|EXPUNGE)'), [], 'nor asked to be')
        m.stop()
        server.stop()


@case
def moved_below_itself(t):
    server = t.add(Dovecot(t.path))
    server.deliver('Work', corpus.bulk(3))
    m = mount(t, server, ['refresh=1'])
    names = m.ls('Work')
    with server.imap() as c:
        c.rename('Work', 'Temporary')
        c.rename('Temporary', 'Work/2024')
    check(came(m, 'Work', '2024'), 'it comes below its old name')
    check(wait_for(lambda: m.ls('Work', '2024') == names, 30, 0.2), 'with its messages')
    check(wait_for(lambda: m.ls('Work') == ['2024'], 30, 0.2), 'and is gone above', m.ls('Work'))


@case
def odd_names_come_and_go(t):
    names = ['Entwürfe', '日本語/メール', 'a b', "quo'te", 'dollar$HOME', '-dash', 'été & hiver', 'ends.']
    server = t.add(Dovecot(t.path))
    with server.imap() as c:
        m = mount(t, server, ['refresh=1'])
        m.ls()
        for name in names:
            c.create(name)
            c.append(name, letter(1))
        for name in names:
            check(came(m, *name.split('/')), name + ' comes')
            equal(len(m.ls(name)), 1, name + ' holds its message')
        before = {name: state(m, *name.split('/')) for name in names}
        for name in names:
            c.rename(name, name + '→2')
        for name in names:
            check(came(m, *(name + '→2').split('/')), name + ' gets another name')
            equal(state(m, *(name + '→2').split('/')), before[name], 'and is the same')
        for name in names:
            c.delete(name + '→2')
        for name in names:
            check(gone(m, *(name + '→2').split('/')), name + ' goes')


main()
