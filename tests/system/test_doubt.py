#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Syncs with a server whose word is not proof: a model server lies in one way at a time, in each
way that news are had. What it still has must not go, and all must be right when it stops lying."""
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import FakeImap  # noqa: E402
from follow import in_step, inodes, letter, octets_right  # noqa: E402
from harness import case, check, equal, error_of, main, mount, need, run, wait_for  # noqa: E402

BASE = 'LITERAL+ UIDPLUS MOVE SPECIAL-USE ENABLE UNSELECT'
WAYS = {
    'qresync': BASE + ' ESEARCH CONDSTORE QRESYNC',
    'condstore': BASE + ' ESEARCH CONDSTORE',
    'neither': BASE,
}


def served(t, way, count, **more):
    server = t.add(FakeImap(WAYS[way], **more))
    box = server.box('INBOX')
    for number in range(count):
        box.add(letter(number, 600), ['\\Seen'] if number % 3 else [])
    return server, box


def mounted(t, server, way, *options):
    """One connection: what it hears is what the mount knows."""
    return mount(t, server, ['refresh=1', 'connections=1', *options], name='mnt-' + way,
                 home='%s/home-%s' % (t.path, way), expect=['.*'])


def flags_follow(m, box, what='flags are the server\'s'):
    def same():
        try:
            return {uid: sorted(m.xattr('user.imap.flags', 'INBOX', name).split())
                    for uid, name in m.messages('INBOX').items()} == \
                {msg.uid: sorted(msg.flags) for msg in box.messages}
        except OSError:
            return False  # it changes under us
    ok = wait_for(same, 20, 0.1)
    check(ok, what, None if ok else m.log()[-3000:])


def syncs(m, server, count=2):
    """Waits for that many syncs more."""
    def seen():
        return len(server.received('^(EXAMINE|SELECT|NOOP)'))
    for _ in range(count):
        before = seen()
        time.sleep(1.05)
        m.ls('INBOX')
        wait_for(lambda: seen() > before, 5, 0.02)
        time.sleep(0.2)


def change_some(box):
    """Other clients' work: some go, some come, some change their flags."""
    uids = [msg.uid for msg in box.messages]
    box.expunge(uids[2:4])
    for number in range(3):
        box.add(letter(10000 + box.uidnext, 600))
    for uid in uids[6:9]:
        box.set_flags(uid, ['\\Flagged'])


LIES = {
    'an empty SEARCH': dict(search='empty'),
    'no SEARCH': dict(search='none', esearch='none'),
    'a SEARCH a UID': dict(search='split', esearch='plain'),
    'ESEARCH refused': dict(esearch='bad'),
    'SEARCH of numbers': dict(search='numbers'),
    'EXISTS too high': dict(exists=2),
    'EXISTS too low': dict(exists=-2),
    'no UIDNEXT': dict(no_uidnext=True),
    'NOMODSEQ': dict(highestmodseq='none'),
    'HIGHESTMODSEQ 0': dict(highestmodseq=0),
    'no HIGHESTMODSEQ': dict(highestmodseq='absent'),
    'a HIGHESTMODSEQ that lags': dict(lag=4),
    'QRESYNC refused': dict(qresync='BAD what?'),
    'QRESYNC ignored': dict(qresync='ignored'),
    'VANISHED of all': dict(vanished='all', vanished_live='all'),
    'VANISHED malformed': dict(vanished='malformed', vanished_live='malformed'),
    'VANISHED missing': dict(vanished='missing'),
    'VANISHED a UID': dict(vanished='split'),
    'VANISHED of what never was': dict(vanished='unknown'),
    'STATUS refused': dict(status='NO not now', exists=-40),
}


def lies(t, way):
    server, box = served(t, way, 40)
    m = mounted(t, server, way)
    in_step(m, server, 'INBOX')
    for name, faults in LIES.items():
        # What this way never asks can't be a lie.
        if (way != 'qresync' and not faults.keys().isdisjoint(('vanished', 'qresync'))) or \
                (way == 'neither' and not faults.keys().isdisjoint(('highestmodseq', 'lag'))):
            continue
        # A lie that begins while nobody looks, and one that begins in the middle.
        for remounted in (True, False):
            if remounted:
                m.stop()
            known = {msg.uid for msg in box.messages}
            change_some(box)
            for fault, value in faults.items():
                setattr(box.faults, fault, value)
            if remounted:
                m.start()
            syncs(m, server)
            lost = {msg.uid for msg in box.messages} & known - set(m.messages('INBOX'))
            check(not lost, '%s: nothing goes that is there' % name, lost)
            for fault in faults:
                setattr(box.faults, fault, type(box.faults)().__dict__[fault])
            in_step(m, server, 'INBOX', quiet=True)
            flags_follow(m, box, '%s: flags are right in the end' % name)
    m.stop()
    server.stop()


for _way in WAYS:
    def _case(t, way=_way):
        lies(t, way)
    _case.__name__ = 'lies_%s' % _way
    _case.limit = 600
    case(_case)


@case
def few_that_seem_to_have_gone(t):
    """A mailbox that seems empty, where even VANISHED says so."""
    server, box = served(t, 'qresync', 6)
    m = mounted(t, server, 'qresync')
    in_step(m, server, 'INBOX')
    m.stop()
    box.set_flags(3, ['\\Flagged'])
    box.faults.exists, box.faults.vanished = -6, 'all'
    m.start()
    syncs(m, server)
    equal(sorted(m.messages('INBOX')), [1, 2, 3, 4, 5, 6], 'nothing goes that is there')
    box.faults.exists, box.faults.vanished = 0, None
    in_step(m, server, 'INBOX')
    flags_follow(m, box)


@case
def limited(t):
    """No more messages a command than the server allows: the rest is asked for."""
    for way in WAYS:
        server, box = served(t, way, 450)
        server.message_limit = 100
        m = mounted(t, server, way)
        in_step(m, server, 'INBOX')
        equal(len(m.ls('INBOX')), 450, '%s: all are listed' % way)
        for round_ in range(2):
            server.limit_untagged = round_ == 1
            m.stop()
            for msg in box.messages:
                box.set_flags(msg.uid, ['\\Flagged', '\\Answered'][round_:][:1])
            box.expunge([msg.uid for msg in box.messages][5:30])
            for number in range(150):
                box.add(letter(20000 + 1000 * round_ + number, 600))
            m.start()
            in_step(m, server, 'INBOX')
            flags_follow(m, box, '%s: flags are the server\'s' % way)
        octets_right(m, server, 'INBOX')
        m.stop()
        server.stop()


@case
def news_without_a_name(t):
    """Flags that change while a sync is on its way, told by a message's number alone."""
    server, box = served(t, 'neither', 20)
    box.faults.unnamed = True
    m = mounted(t, server, 'neither')
    in_step(m, server, 'INBOX')
    late = [None]

    def change(connection, line):
        """Behind the last answer of a sync: too late for this one."""
        if late[0] is None or not line.startswith('UID FETCH') or 'BODY' in line:
            return

        def news(expunges=True):
            del connection.news
            uid, late[0] = late[0], None
            box.set_flags(uid, ['\\Flagged'])
            connection.news(expunges)
        connection.news = news
    server.before = change
    box.add(letter(500, 600))
    in_step(m, server, 'INBOX')
    for uid in (3, 21):
        late[0] = uid
        box.add(letter(600 + uid, 600))
        wait_for(lambda: late[0] is None, 20, 0.1) or m.ls('INBOX')
        in_step(m, server, 'INBOX')
        flags_follow(m, box, 'the flag of UID %d is seen' % uid)


@case
def doubts_are_not_forgotten(t):
    """A sync that could not tell what is there is done again, though nothing happens."""
    server, box = served(t, 'neither', 20)
    m = mounted(t, server, 'neither')
    in_step(m, server, 'INBOX')
    m.stop()
    box.expunge([4])
    box.faults.exists = 1
    m.start()
    syncs(m, server)
    box.faults.exists = 0
    in_step(m, server, 'INBOX')


@case
def a_listing_is_whole_or_an_error(t):
    """A first listing of which the server's answers contradict each other; and one after a
    renumbering."""
    server, box = served(t, 'condstore', 20)
    box.faults.search, box.faults.omit_always = 'empty', {3, 7, 8}
    m = mounted(t, server, 'condstore')
    equal(error_of(os.listdir, m.p('INBOX')), 'EIO', 'a listing that lacks messages is an error')
    box.faults.__init__()
    equal(len(m.wait_names_quietly(lambda names: len(names) == 20, 'INBOX')), 20, 'in the end all')
    numbers = inodes(m, 'INBOX')
    for faults in (dict(search='empty', omit_always=set(range(1000, 1020))),
                   dict(exists=-20, no_uidnext=True)):
        for fault, value in faults.items():
            setattr(box.faults, fault, value)
        box.renumber()
        syncs(m, server)
        equal(len(m.ls('INBOX')), 20, '%s: none goes' % ', '.join(faults))
        box.faults.__init__()
        in_step(m, server, 'INBOX')
        equal(inodes(m, 'INBOX'), numbers, 'they are who they were')


@case
def counts_too_many(t):
    """EXISTS counts what no list has: that is shown which can be, and what comes and goes after."""
    for way in ('qresync', 'condstore', 'neither'):
        server, box = served(t, way, 20)
        box.faults.exists = 2
        m = mounted(t, server, way)
        in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        box.expunge([msg.uid for msg in box.messages][3:5])
        box.add(letter(500, 600))
        in_step(m, server, 'INBOX')
        m.stop()
        box.expunge([box.messages[0].uid])
        box.add(letter(501, 600))
        m.start()
        in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        equal(m.log().count('however it is asked'), 2, 'it is said once a mount')
        check('does not add up' not in m.log(), 'what changed is believed all the same')
        m.stop()


@case
def each_connection_looks_for_itself(t):
    """Where news are told to a NOOP alone, one that has heard nothing does not give what is new."""
    server, box = served(t, 'neither', 20)
    box.faults.quiet, box.faults.fetch_delay = True, 0.02
    m = mount(t, server, ['refresh=1', 'connections=4', 'without=QRESYNC:CONDSTORE'])
    names, number = set(), 1000

    def read(new):
        bad = []
        threads = [threading.Thread(target=lambda n=n: bad.append(
            (n, error_of(m.read, 'INBOX', n)))) for n in new]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [b for b in bad if b[1]]
    for round_ in range(6):
        new = set(m.wait_names_quietly(lambda now: len(now) == 20 + 9 * round_, 'INBOX')) - names
        equal(read(new), [], 'what is new is read')
        names |= new
        gone = sorted(new)[:3]
        for name in gone:
            os.unlink(m.p('INBOX', name))
        names -= set(gone)
        for _ in range(12):
            box.add(letter(number, 600))
            number += 1
    trashed = wait_for(lambda: len(server.box('Trash').messages) == 18, 30, 0.2)
    check(trashed, 'what is deleted is deleted', len(server.box('Trash').messages))
    in_step(m, server, 'INBOX')


@case
def qresync_is_kept(t):
    """A mailbox that can't be opened now says nothing about QRESYNC; nor do deletions of much, which
    are asked about."""
    server, box = served(t, 'qresync', 40)
    m = mounted(t, server, 'qresync')
    in_step(m, server, 'INBOX')
    box.faults.select_once = 'NO [UNAVAILABLE] not now'
    box.add(letter(500, 600))
    in_step(m, server, 'INBOX')
    for _ in range(4):
        box.expunge([msg.uid for msg in box.messages][:-10])
        in_step(m, server, 'INBOX')
        for number in range(30):
            box.add(letter(box.uidnext + 1000, 600))
        in_step(m, server, 'INBOX')
    before = len(server.received('QRESYNC'))
    box.add(letter(501, 600))
    in_step(m, server, 'INBOX')
    check(len(server.received('QRESYNC')) > before, 'it is still used')


@case
def what_was_not_written_is_asked_for_again(t):
    """The disk is full while changed flags are written, and has room when the sync ends."""
    server, box = served(t, 'condstore', 3000)
    disk = t.path + '/disk'
    os.makedirs(disk)
    need(run('mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', disk).code == 0, 'a small disk')
    m = mounted(t, server, 'condstore', 'cache=' + disk)
    failed = []

    def fill(connection, line):
        if 'CHANGEDSINCE' in line and not failed:
            try:
                with open(disk + '/rest', 'wb', 0) as f:
                    while True:
                        f.write(bytes(4096))
            except OSError:
                failed.append(False)
        elif failed == [False] and line.startswith('UID FETCH'):
            failed.append(wait_for(lambda: "can't be written" in m.log(), 20, 0.05))
            os.unlink(disk + '/rest')
    try:
        in_step(m, server, 'INBOX')
        server.before = fill
        for msg in list(box.messages):
            box.set_flags(msg.uid, ['\\Flagged', 'a-keyword-that-takes-room-%050d' % msg.uid])
        box.add(letter(5000, 600))
        in_step(m, server, 'INBOX')
        check(wait_for(lambda: len(failed) > 1, 10) and failed[1], 'something was not written')
        flags_follow(m, box)
    finally:
        m.stop()
        run('umount', disk)


@case
def all_is_compared_after_an_unclean_end(t):
    """What no sync could notice is found, mended, counted and told."""
    for way in WAYS:
        server, box = served(t, way, 1200)
        m = mounted(t, server, way)
        in_step(m, server, 'INBOX')
        box.expunge([5])
        in_step(m, server, 'INBOX')
        kept = inodes(m, 'INBOX')
        m.kill()
        with server.lock:  # no mod-sequence, UIDNEXT or EXISTS tells of any of it
            box.by_uid(7).flags = {'work'}
            box.by_uid(8).flags = {'\\Draft', '\\Seen'}
            box.messages.remove(box.by_uid(9))
            box.add(letter(7000, 600), uid=5).modseq = 1
            box.modseq -= 1
            box.messages.sort(key=lambda msg: msg.uid)
            box.reuse(10, letter(7001, 700))
        m.start()
        in_step(m, server, 'INBOX')
        told = wait_for(lambda: re.search('(\\d+) differences mended', m.log()), 20, 0.1)
        # By searches and the latest 500 one sees flags before all is compared.
        equal(told and told.group(1), {'qresync': '5', 'condstore': '5', 'neither': '3'}[way], '%s: they are counted' % way)
        flags_follow(m, box)
        octets_right(m, server, 'INBOX')
        now = inodes(m, 'INBOX')
        equal(len([n for n in kept if now.get(n) == kept[n]]), 1197,
              'the others have their names and inodes')
        m.stop()
        m.start()
        in_step(m, server, 'INBOX')
        equal(m.log().count('mended'), 1, '%s: nothing is left to mend' % way)
        m.stop()
        server.stop()


@case
def a_delta_of_another_uidvalidity(t):
    """What a SELECT tells of UIDs that are not the ones asked about changes nothing, also where the
    sync ends there."""
    server, box = served(t, 'qresync', 1200)
    m = mounted(t, server, 'qresync')
    in_step(m, server, 'INBOX')
    kept = inodes(m, 'INBOX')
    m.stop()
    for msg in box.messages[:600]:
        msg.flags.add('\\Deleted')
    box.renumber(1, box.messages[::-1])
    box.faults.vanished = 'foreign'
    for _ in range(30):
        server.cut_at('^(SELECT|UID)')
    m.start()
    for _ in range(5):
        time.sleep(0.5)
        equal(inodes(m, 'INBOX'), kept, 'the old listing stays as it was')
    server.cut_before.clear()
    in_step(m, server, 'INBOX')


@case
def unsettled(t):
    """UIDVALIDITY is another one at each EXAMINE, until a SELECT settles it."""
    server, box = served(t, 'neither', 20)
    box.faults.unsettled = True
    m = mounted(t, server, 'neither')
    equal(len(m.ls('INBOX')), 20, 'it is listed')
    for number in range(3):
        box.add(letter(500 + number, 600))
        syncs(m, server)
    in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX')
    check(m.log().count('was renumbered:') < 2, 'it is renumbered once at most')


main()
