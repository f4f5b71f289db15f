#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Syncs that are cut at each response, or killed: the next one ends in the right state."""
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import FakeImap  # noqa: E402
from follow import WHEN, in_step, letter, listing, octets_right, truth  # noqa: E402
from harness import Proxy, case, check, equal, main, mount, wait_for  # noqa: E402
from ways import WAYS, flags_follow, flags_of, served  # noqa: E402


def change_a_little(server, round_):
    """Ten changes of each kind; what the mount must show then is the server's."""
    with server.imap() as client:
        client.select('INBOX')
        uids = client.uids()
        client.store(uids[:3], '+FLAGS', '\\Deleted')
        client.expunge(uids[:3])
        client.store(uids[5:8], '+FLAGS' if round_ % 2 else '-FLAGS', '\\Flagged')
        for number in range(3):
            n = 5000 + 10 * round_ + number
            client.append('INBOX', letter(n, 600), '', WHEN + n)
        client.copy(uids[10:11], 'Other')
        client.move(uids[11:12], 'Other')


def cut_everywhere(t, kind, way):
    """The line is cut behind the first response of a sync, the second, ...; the next sync ends in
    the right state."""
    server = served(t, kind, kind + way)
    with server.imap() as client:
        client.create('Other')
        for number in range(80):
            client.append('INBOX', letter(number, 600), '', WHEN + number)
    proxy = t.add(Proxy(os.path.join(t.path, kind + way), server.port))
    # One connection and no watcher: what is cut is the sync.
    m = mount(t, server, ['refresh=1', 'timeout=5', 'connections=1', *WAYS[way]], proxy=proxy,
              name='mnt-' + way, home='%s/home-%s-%s' % (t.path, kind, way), expect=['.*'])
    in_step(m, server, 'INBOX', 'Other')
    octets_right(m, server, 'INBOX', 'Other')
    cut = 0
    for behind in range(1, 22):
        m.stop()
        change_a_little(server, behind)
        m.start()  # the login and the tree are over
        before = proxy.stats()['accepted']
        proxy.cut_response(behind)
        for mailbox in ('INBOX', 'Other'):
            try:
                m.ls(mailbox)
            except OSError:
                pass
        wait_for(lambda: proxy.stats()['accepted'] > before, 3, 0.05)
        cut += proxy.stats()['accepted'] > before
        in_step(m, server, 'INBOX', 'Other', quiet=True)
    check(cut > 4, 'the line was cut', cut)
    in_step(m, server, 'INBOX', 'Other')
    flags_follow(m, server, 'INBOX')
    octets_right(m, server, 'INBOX', 'Other')
    m.stop()
    proxy.stop()
    server.stop()


for _kind, _way in (('dovecot', 'qresync'), ('dovecot', 'condstore'), ('dovecot', 'neither'),
                    ('cyrus', 'qresync'), ('cyrus', 'condstore'), ('cyrus', 'neither')):
    def _case(t, kind=_kind, way=_way):
        cut_everywhere(t, kind, way)
    _case.__name__ = 'cut_%s_%s' % (_kind, _way)
    case(_case)


def cut_at_each_response(t, way):
    """On a model server, which answers the same each time: at each response of a sync until there is
    none left. A sync that is cut removes nothing that is there."""
    server = t.add(FakeImap('LITERAL+ UIDPLUS MOVE ENABLE UNSELECT ESEARCH CONDSTORE QRESYNC'))
    box = server.box('INBOX')
    for number in range(30):
        box.add(letter(number, 600), ['\\Seen'] if number % 2 else [])
    m = mount(t, server, ['refresh=1', 'connections=1', *WAYS[way]], name='mnt-' + way,
              home='%s/home-%s' % (t.path, way), expect=['.*'])
    in_step(m, server, 'INBOX')
    cut, lost, wrong = 0, set(), set()
    while cut < 300:
        m.stop()
        m.start()  # the login and the tree are over
        with server.lock:
            known = {msg.uid for msg in box.messages}
            uids = sorted(known)
            box.expunge(uids[3:5])
            box.set_flags(uids[-3], ['\\Flagged', 'work'])
            box.set_flags(uids[0], ['\\Seen'], ['\\Answered'])
            for number in range(2):
                box.add(letter(5000 + box.uidnext, 600))
            server.cut_at_response = cut
        before = server.opened
        try:
            m.ls('INBOX')
        except OSError:
            pass
        whole = wait_for(lambda: server.cut_at_response is None or
                         listing(m, 'INBOX') is not None and sorted(listing(m, 'INBOX')) ==
                         sorted(truth(server, 'INBOX')), 20, 0.02)
        check(whole, 'it ends') if not whole else None
        lost |= known & set(truth(server, 'INBOX')) - set(listing(m, 'INBOX') or known)
        if server.opened == before and server.cut_at_response is not None:
            break
        in_step(m, server, 'INBOX', quiet=True)
        if not wait_for(lambda: flags_of(m, 'INBOX') ==
                        {msg.uid: sorted(msg.flags) for msg in box.messages}, 20, 0.05):
            wrong.add(cut)
        cut += 1
    server.cut_at_response = None
    check(15 < cut < 300, 'the line was cut everywhere', cut)
    equal((lost, wrong), (set(), set()), 'nothing goes that is there; flags are right in the end')
    in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX')


for _way in ('qresync', 'condstore', 'neither'):
    def _case(t, way=_way):
        cut_at_each_response(t, way)
    _case.__name__ = 'cut_at_each_response_%s' % _way
    case(_case)


def killed(t, kind, way):
    """kill -9 in the middle of syncs: of the first listing, and of later ones."""
    server = served(t, kind, kind + way)
    with server.imap() as client:
        client.create('Other')
    if kind == 'dovecot':
        server.deliver('INBOX', [(letter(n, 400), WHEN + n) for n in range(2500)])
    else:
        with server.imap() as client:
            for number in range(400):
                client.append('INBOX', letter(number, 400), '', WHEN + number)
    m = mount(t, server, ['refresh=1', *WAYS[way]], name='mnt-' + way, expect=['.*'],
              home='%s/home-%s-%s' % (t.path, kind, way))
    rand = random.Random(11)
    for round_ in range(8):
        time.sleep(rand.random() * 0.15)
        m.kill()
        change_a_little(server, round_)
        m.start()
        try:
            m.ls('INBOX')
        except OSError:
            pass
    in_step(m, server, 'INBOX', 'Other')
    flags_follow(m, server, 'INBOX')
    names = m.messages('INBOX')
    bodies = truth(server, 'INBOX')
    some = rand.sample(sorted(names), 40)
    equal([u for u in some if m.read('INBOX', names[u]) != bodies[u]], [], 'octets are right')
    m.stop()
    server.stop()


for _kind, _way in (('dovecot', 'qresync'), ('dovecot', 'condstore'), ('dovecot', 'neither'),
                    ('cyrus', 'qresync')):
    def _case(t, kind=_kind, way=_way):
        killed(t, kind, way)
    _case.__name__ = 'killed_%s_%s' % (_kind, _way)
    case(_case)


main()
