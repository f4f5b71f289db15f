#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Listing: the tree of mailboxes, names, and listings that can't be completed."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from fakeimap import FakeImap  # noqa: E402
from harness import (Dovecot, Proxy, case, check, equal, error_of, main, mount, need,  # noqa: E402
                     run, sh, tree)


def letter(n):
    return b'From: A <a@b>\r\nSubject: letter %d\r\nMessage-ID: <l%d@x>\r\n\r\nhello %d\r\n' % (n, n, n)


@case
def mailboxes_of_dovecot(t):
    names = ['Archive/2023/Reisen & Flüge', '日本語', 'a b/c  d', 'percent%41', 'plain%', "quo'te",
             'back\\slash', 'star*', 'dollar$HOME', 'ends.', '~tilde', '#news', '-dash']
    server = t.add(Dovecot(t.path))
    wanted = {'INBOX', 'Drafts', 'Junk', 'Sent', 'Trash', 'Archive', 'Archive/2023', 'a b'}
    with server.imap() as c:
        for name in names:
            try:
                c.create(name)
            except Exception:  # a name that this server does not take
                continue
            c.append(name, letter(1))
            wanted.add(name.replace('%41', '%2541'))
    m = mount(t, server)
    found = {os.path.relpath(os.path.join(path, d), m.path)
             for path, ds, _ in os.walk(m.path) for d in ds}
    equal(found, wanted, 'the tree is the server\'s')
    files = [p for p, _, fs in os.walk(m.path) for f in fs]
    equal(len(files), len(wanted) - 8, 'each holds its message')


@case
def namespace_prefix_is_not_shown(t):
    server = t.add(Dovecot(t.path, prefix='INBOX.', separator='.'))
    with server.imap() as c:
        c.create('INBOX.Work.2024')
        c.append('INBOX.Work.2024', letter(1))
        c.append('INBOX', letter(2))
    m = mount(t, server)
    top = m.ls()
    for name in ('INBOX', 'Work', 'Trash'):
        check(name in top, name + ' is at the top', top)
    equal(len(m.ls('Work', '2024')), 1, 'the message is in Work/2024')
    equal(len([n for n in m.ls('INBOX') if n.endswith('.eml')]), 1, 'INBOX holds its own')


@case
def prefix_without_its_delimiter(t):
    """What NAMESPACE tells of the personal one is `INBOX`, where `INBOX.` is meant."""
    server = t.add(FakeImap(delimiter='.', namespace='INBOX', special=False))
    server.box('INBOX').add(letter(1))
    for name in ('INBOX.Work', 'INBOX.Work.2024', 'Shared.Box'):
        server.add_box(name).add(letter(2))
    m = mount(t, server)
    equal(m.ls(), ['INBOX', 'Shared', 'Work'], 'INBOX is there, and the others beside it')
    equal(len(m.ls('INBOX')), 1, 'with its message')
    equal(len(m.ls('Work', '2024')), 1, 'those below another too')


@case
def odd_names(t):
    """Names that Dovecot would not have, as other servers send them."""
    server = t.add(FakeImap(delimiter='.'))
    wanted = {'INBOX', 'Trash', 'Sent'}
    for raw, shown in (
            ('a/b', 'a%2Fb'), ('x..y', None), ('..', None), ('with space', 'with space'),
            ('pct%2F', 'pct%252F'), ('pct%zz', 'pct%zz'), ('&ZeVnLIqe-', '日本語'),
            ('A & B', 'A %26 B'), ('&AAA', '%26AAA'), ('ctl\x01x', 'ctl%01x'),
            ('quote"d', 'quote"d'), ('back\\slash', 'back\\slash'), ('tab\tx', 'tab%09x'),
            ('parent', 'parent'), ('parent.child', 'parent/child')):
        box = server.add_box(raw, ['\\Noselect'] if raw == 'parent' else [])
        if raw != 'parent':
            box.add(letter(1))
        if shown:
            wanted.add(shown)
    server.add_box('ghost.child').add(letter(2))  # whose parent is not listed
    wanted |= {'ghost', 'ghost/child'}
    long = 'n' * 400
    server.add_box(long).add(letter(3))
    m = mount(t, server)
    found = {os.path.relpath(os.path.join(path, d), m.path)
             for path, ds, _ in os.walk(m.path) for d in ds}
    equal(sorted(wanted - found), [], 'all are there')
    check(not any('..' in f.split('/') or f.startswith('/') for f in found), 'none leaves the mount')
    cut = [f for f in found if f.startswith('nnnn')]
    check(len(cut) == 1 and len(os.fsencode(cut[0])) <= 255, 'a long one is cut', cut)
    for name in ('a%2Fb', 'parent/child', 'ghost/child', '日本語', 'ctl%01x', *cut):
        equal([m.read(name, f)[-9:-3] for f in m.ls(name)], [b'hello '], 'mail of ' + name[:20])
    check(server.violations == [], 'nothing dangerous was sent', server.violations)


@case
def flat_server(t):
    server = t.add(FakeImap(delimiter=None))
    server.add_box('a/b').add(letter(1))
    server.add_box('c.d').add(letter(2))
    m = mount(t, server)
    equal(m.ls(), ['INBOX', 'Sent', 'Trash', 'a%2Fb', 'c.d'], 'names are not split')
    equal(len(m.ls('a%2Fb')), 1, 'and work')


@case
def names_by_uid(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for n in range(5):
        box.add(letter(n))
    m = mount(t, server, ['names=uid'])
    equal(m.ls('INBOX'), ['%d.%d.eml' % (box.uidvalidity, u) for u in range(1, 6)], 'names')
    equal(m.read('INBOX', '%d.3.eml' % box.uidvalidity), letter(2), 'a read')
    equal([x for x in server.received('FETCH') if 'HEADER' in x], [], 'no header was asked for')


@case
def same_names_are_numbered(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for _ in range(4):
        box.add(letter(1), date=1_600_000_000)
    m = mount(t, server)
    names = m.messages('INBOX')
    stem = names[1][:-4]
    equal([names[u] for u in sorted(names)],
          [stem + '.eml', stem + '~2.eml', stem + '~3.eml', stem + '~4.eml'], 'by UID')
    m.remount()
    equal(m.messages('INBOX'), names, 'and stay so')


@case
def message_and_mailbox_of_one_name(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    box.add(letter(1))
    m = mount(t, server, ['names=uid'])
    name = m.ls('INBOX')[0]
    m.stop()
    server.add_box('INBOX/' + name).add(letter(2))
    m.start()
    check(os.path.isdir(m.p('INBOX', name)), 'the mailbox has the name')


@case
def large_mailbox(t):
    server = t.add(Dovecot(t.path, storage='maildir'))
    server.deliver('INBOX', corpus.bulk(10000, 300))
    m = mount(t, server)
    names = m.ls('INBOX')
    equal(len(set(names)), 10000, 'ten thousand names')
    result = sh('ls -l | wc -l; ls -f | wc -l; find . -type f -printf "%s\\n" | sort -n | head -n 1',
                cwd=m.p('INBOX'))
    count = [int(x) for x in result.out.split()]
    equal(count[:2], [10001, 10002], 'ls -l and ls -f')
    check(count[2] > 100, 'sizes', count)


@case
def entries_appear_while_the_fetch_runs(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(6000, 300))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy)
    proxy.bandwidth(400_000)
    with os.scandir(m.p('INBOX')) as entries:
        next(entries)
        early = proxy.stats()['down']
        rest = sum(1 for _ in entries)
    late = proxy.stats()['down']
    equal(rest, 5999, 'all are listed in the end')
    check(early < late * 0.7, 'the first came before the last was fetched', (early, late))
    proxy.bandwidth(0)


@case
def cut_first_listing_ends_in_an_error(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(2000, 300))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy)
    sh('mkdir copy; rsync -a mnt/INBOX/ copy', cwd=t.path)
    kept = tree(t.path + '/copy')
    need(len(kept) == 2000, 'a good copy was made first')
    m.stop()
    for i, after in enumerate((1000, 60_000, 300_000)):
        m = mount(t, server, ['timeout=3'], proxy=proxy, name='cut%d' % i,
                  home=os.path.join(t.path, 'home-cut%d' % i),
                  expect=['listing|INBOX|connection|127.0.0.1'])
        proxy.bandwidth(1_500_000)  # so that the listing runs when the line is cut
        proxy.cut_after(after)
        proxy.refuse()  # a new connection would go on with it
        wait = time.monotonic()
        sync = subprocess.Popen(['rsync', '-a', '--delete', m.p('INBOX') + '/', t.path + '/copy'],
                                stderr=subprocess.PIPE, start_new_session=True)
        try:
            errors = sync.communicate(timeout=90)[1]
        except subprocess.TimeoutExpired:
            sync.kill()
            errors = b'still running'
        check(sync.returncode not in (0, None), 'rsync sees an error (cut after %d, %.1f s)' % (
            after, time.monotonic() - wait), (sync.returncode, errors[-300:]))
        equal(len(tree(t.path + '/copy')), len(kept), 'rsync --delete deleted nothing')
        check(error_of(os.listdir, m.p('INBOX')) is not None, 'ls ends in an error as well')
        proxy.refuse(False)
        proxy.bandwidth(0)
        names = m.wait_names_quietly(lambda n: len(n) == 2000, 'INBOX')
        equal(len(names), 2000, 'when the line is back the listing completes')
        m.stop()


@case
def listing_survives_reconnects(t):
    """Cut, but the server can be reached again: all of it, or an error; never a part."""
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(3000, 300))
    proxy = t.add(Proxy(t.path, server.port))
    for i, after in enumerate((5_000, 200_000, 450_000)):
        m = mount(t, server, proxy=proxy, name='mnt%d' % i, home=t.path + '/home%d' % i,
                  expect=['.'])
        proxy.cut_after(after)
        result = run('ls', '-f', m.p('INBOX'))
        count = len(result.out.split())
        check((result.code == 0 and count == 3002) or result.code != 0,
              'all or an error (cut after %d)' % after, (result.code, count))
        names = m.wait_names_quietly(lambda n: len(n) == 3000, 'INBOX')
        equal(len(names), 3000, 'all in the end')
        m.stop()


@case
def never_listed_and_no_server(t):
    server = t.add(FakeImap())
    server.box('INBOX').add(letter(1))
    other = server.add_box('Other')
    other.add(letter(2))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, ['timeout=3'], proxy=proxy, expect=['.'])
    m.ls('INBOX')
    m.stop()
    proxy.refuse()
    m.start()
    equal(len(m.ls('INBOX')), 1, 'what was listed once is listed')
    check(error_of(os.listdir, m.p('Other')) is not None, 'what was not ends in an error')
    proxy.refuse(False)
    names = m.wait_names_quietly(lambda n: len(n) == 1, 'Other')
    equal(len(names), 1, 'until the server is back')


@case
def unreadable_headers_are_listed(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for n in range(30):
        box.add(letter(n))
    box.faults.poison.add(17)
    m = mount(t, server, expect=['17|UNAVAILABLE|can not be read'])
    names = m.messages('INBOX')
    equal(len(names), 30, 'all are listed')
    equal(names.get(17), '%d.17.eml' % box.uidvalidity, 'the unreadable one by its UID')
    equal(error_of(m.read, 'INBOX', names.get(17, 'x')), 'EIO', 'opening it fails with EIO')
    equal(m.read('INBOX', names[16]), letter(15), 'the others work')


@case
def headers_in_any_order(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    box.faults.odd_order = True
    box.faults.no_uidnext = True
    for n in range(20):
        box.add(letter(n))
    m = mount(t, server)
    names = m.messages('INBOX')
    equal(len(names), 20, 'UID last, stray FLAGS, no UIDNEXT: all are listed')
    equal(m.read('INBOX', names[7]), letter(6), 'and read')


main()
