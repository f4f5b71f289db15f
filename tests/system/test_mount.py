#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The main job: a mounted account is listed, read, searched, backed up and deleted from."""
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from fakeimap import FakeImap  # noqa: E402
from follow import in_step, new_ones_go  # noqa: E402
from harness import (Dovecot, Proxy, case, check, equal, error_of, main, mount, need,  # noqa: E402
                     run, sha, sha_file, sh, wait_for)

SMALL = b'From: a@example.org\r\nSubject: %s\r\nDate: Fri, 3 May 2024 14:12:05 +0000\r\n' \
        b'Message-ID: <%s@example.org>\r\n\r\n%s\r\n'


def small(number, size=20):
    word = b'm%d' % number
    return SMALL % (word, word, (b'text of %s ' % word * (size // 10 + 1))[:size])


def truth(server, mailbox):
    """{uid: octets} by another client."""
    with server.imap() as client:
        client.examine(mailbox)
        return client.bodies()


def fill(server, mailbox='INBOX', count=30):
    server.deliver(mailbox, [(small(n), 1_600_000_000 + n) for n in range(count)])


@case
def every_octet_through_every_tool(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.nasty().values())
    server.deliver('Box/Ärger & Co', [(small(n), 1_600_000_000 + n) for n in range(5)])
    wanted = {uid: sha(body) for uid, body in truth(server, 'INBOX').items()}
    m = mount(t, server)
    names = m.messages('INBOX')
    equal(sorted(names), sorted(wanted), 'every message is listed once')
    check(all(len(n.encode()) <= 255 and n[0] not in '-.' for n in names.values()), 'names are sane')
    for uid, name in names.items():
        if sha(m.read('INBOX', name)) != wanted[uid]:
            check(False, 'read of %s' % name)
    for tool, script in (('cp -a', 'cp -a INBOX %s/out'), ('rsync', 'rsync -a INBOX/ %s/out/'),
                         ('tar', 'mkdir %s/out && tar cf - -C INBOX . | tar xf - -C %s/out')):
        out = t.path + '/out'
        result = sh(script.replace('%s', t.path), cwd=m.path)
        equal(result.code, 0, '%s ends well' % tool)
        bad = [n for uid, n in names.items() if sha_file(os.path.join(out, n)) != wanted[uid]]
        equal(bad, [], 'octets through ' + tool)
        if tool == 'rsync':
            again = sh('rsync -ai INBOX/ %s/out/' % t.path, cwd=m.path)
            equal(again.out, b'', 'a second rsync transfers nothing')
        shutil.rmtree(out)
    with server.imap() as client:
        client.examine('INBOX')
        seen = [u for u, flags in client.flags().items() if '\\Seen' in flags]
    equal(seen, [], 'nothing was marked as read')
    equal(m.ls('Box', 'Ärger & Co') != [], True, 'a mailbox with a name in UTF-7')


@case
def backups_transfer_nothing_twice(t):
    server = t.add(Dovecot(t.path))
    fill(server)
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy, options=['refresh=600'])
    tar = 'tar cf %s/a.tar --no-check-device -g %s/snar INBOX' % (t.path, t.path)
    equal(sh(tar, cwd=m.path).code, 0, 'tar')
    inodes = {n: os.stat(m.p('INBOX', n)).st_ino for n in m.ls('INBOX')}
    m.remount()
    equal({n: os.stat(m.p('INBOX', n)).st_ino for n in m.ls('INBOX')}, inodes,
          'inodes stay over a remount')
    proxy.reset()
    equal(sh(tar, cwd=m.path).code, 0, 'tar again')
    listed = sh('tar tf %s/a.tar' % t.path).out.splitlines()
    equal([n for n in listed if n.endswith(b'.eml')], [], 'the second incremental tar is empty')
    for name in m.ls('INBOX'):
        m.read('INBOX', name)
    check(proxy.stats()['down'] < 6000, 'what was read once is not fetched again', proxy.stats())


def deletion(t, without, policy, expected, special=None):
    server = t.add(Dovecot(t.path, without=without, special_use=special))
    fill(server, count=12)
    with server.imap() as client:
        client.select('INBOX')
        client.store([12], '+FLAGS', '\\Deleted')  # another client's
    m = mount(t, server, options=['delete=' + policy, 'refresh=1'])
    names = m.messages('INBOX')
    check(12 not in names, 'what is marked is not listed')
    for uid in (1, 3, 5):
        os.unlink(m.p('INBOX', names[uid]))
    check(not set(names[u] for u in (1, 3, 5)) & set(m.ls('INBOX')), 'gone at once')
    fd = os.open(m.p('INBOX'), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    with server.imap() as client:
        client.select('INBOX')
        flags = client.flags()
        left = set(flags)
        trash = next((b for b in client.mailboxes() if b in ('Trash', 'Papierkorb')), None)
        copies = []
        if trash:
            client.examine(trash)
            copies = client.flags()
    check(12 in left and '\\Deleted' in flags[12], 'another client\'s marked message is kept', flags)
    if expected == 'moved':
        equal(left, set(range(1, 13)) - {1, 3, 5}, 'they left the mailbox')
        equal(len(copies), 3, 'and are in the trash')
        check(not any('\\Deleted' in f for f in copies.values()), 'unmarked')
    elif expected == 'copied':
        equal(len(copies), 3, 'they are in the trash')
        check(all('\\Deleted' in flags[u] for u in (1, 3, 5)), 'and marked where they were')
    elif expected == 'expunged':
        equal(left, set(range(1, 13)) - {1, 3, 5}, 'they are gone')
        equal(len(copies), 0, 'and nowhere else')
    else:
        check(all('\\Deleted' in flags[u] for u in (1, 3, 5)), 'they are marked')
        equal(len(copies), 0, 'and nowhere else')
    names = m.messages('INBOX')
    equal(sorted(names), [2, 4, 6, 7, 8, 9, 10, 11], 'the others are listed')
    m.stop()
    server.stop()


@case
def deletion_by_policy_and_capability(t):
    for n, (without, policy, expected, special) in enumerate([
            ((), 'trash', 'moved', None),
            (('MOVE',), 'trash', 'moved', None),
            (('MOVE', 'UIDPLUS'), 'trash', 'copied', None),
            ((), 'trash', 'moved', {}),
            (('SPECIAL-USE',), 'trash', 'moved', {'Papierkorb': '\\Trash'}),
            ((), 'expunge', 'expunged', None),
            (('UIDPLUS',), 'expunge', 'marked', None),
            ((), 'mark', 'marked', None)]):
        print('--', without, policy, special)
        t.path = os.path.join(os.path.dirname(t.path), os.path.basename(t.path).split('.')[0]
                              + '.%d' % n)
        os.makedirs(t.path, exist_ok=True)
        os.chmod(t.path, 0o711)
        deletion(t, without, policy, expected, special)
        shutil.rmtree(t.path, ignore_errors=True)


@case
def rm_of_a_whole_mailbox(t):
    server = t.add(Dovecot(t.path))
    fill(server, count=300)
    m = mount(t, server)
    equal(len(m.ls('INBOX')), 300, 'listed')
    equal(sh('rm INBOX/*', cwd=m.path).code, 0, 'rm')
    equal(m.ls('INBOX'), [], 'empty')
    m.stop()
    equal(truth(server, 'INBOX'), {}, 'empty on the server after the unmount')
    equal(len(truth(server, 'Trash')), 300, 'all in the trash')


@case
def rm_of_what_has_just_come(t):
    """Each connection knows what it was told: a STORE or MOVE of other messages does nothing."""
    for name, options in (('move', []), ('copy', ['without=MOVE']), ('gone', ['delete=expunge'])):
        os.makedirs(t.path + '/' + name)
        os.chmod(t.path + '/' + name, 0o755)
        server = t.add(Dovecot(t.path + '/' + name))
        fill(server, count=10)
        m = mount(t, server, ['refresh=1', *options], name='mnt-' + name, home=t.path + '/h' + name)
        new_ones_go(m, server)
        check('MOVE does not' not in m.log(), 'MOVE is believed')
        equal(len(in_step(m, server, 'INBOX')[0]), 10, 'the others stay')
        m.stop()


@case
def rm_of_what_another_client_moves(t):
    """A message has its inode in its new place; a deletion meant for the old one spares it there."""
    server = t.add(Dovecot(t.path))
    fill(server, count=120)
    m = mount(t, server, ['refresh=1'])
    with server.imap() as client:
        client.create('Other')
        names = in_step(m, server, 'INBOX', 'Other')[0]
        client.select('INBOX')
        for first in range(1, 120, 10):
            uids = range(first, first + 10)

            def remove():
                for uid in uids:
                    try:
                        os.unlink(m.p('INBOX', names[uid]))
                    except FileNotFoundError:
                        pass
                    time.sleep(0.01)
            remover = threading.Thread(target=remove)
            early = first % 20 == 1
            if early:
                remover.start()
            client.move(list(uids), 'Other')
            if not early:
                remover.start()
            m.ls('Other')
            remover.join()
    in_step(m, server, 'INBOX', 'Other')


@case
def deletions_survive_kill_and_lost_answers(t):
    for capabilities in ('IMAP4rev1 UIDPLUS MOVE SPECIAL-USE', 'IMAP4rev1 UIDPLUS SPECIAL-USE',
                         'IMAP4rev1 SPECIAL-USE'):
        server = t.add(FakeImap(capabilities=capabilities))
        messages = [server.box('INBOX').add(small(n)) for n in range(6)]
        server.lose_answer('UID (MOVE|COPY)')
        m = mount(t, server, options=['cache=%s/c%d' % (t.path, len(capabilities))],
                  expect=['.*'], name='m%d' % len(capabilities))
        names = m.messages('INBOX')
        for message in messages[:3]:
            os.unlink(m.p('INBOX', names[message.uid]))
        time.sleep(1.5)
        m.kill()
        m.start()
        m.stop()
        for message in messages[:3]:
            live = [c for c in server.copies(message) if '\\Deleted' not in c[2]]
            equal([c[0] for c in live], ['Trash'], 'one copy, in the trash (%s)' % capabilities)
        for message in messages[3:]:
            equal([c[0] for c in server.copies(message)], ['INBOX'], 'the others stay')
        equal(server.violations, [], 'no EXPUNGE without UIDs, no CLOSE')


def told_by_fsync(m, mailbox):
    fd = os.open(m.p(mailbox), os.O_RDONLY)
    try:
        return error_of(os.fsync, fd)
    finally:
        os.close(fd)


@case
def what_the_server_refuses_comes_back(t):
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS SPECIAL-USE'))
    messages = [server.box('INBOX').add(small(n)) for n in range(3)]
    server.box('INBOX').faults.copy = 'NO [OVERQUOTA] full'
    m = mount(t, server, expect=['could not be deleted'])
    names = m.messages('INBOX')
    os.unlink(m.p('INBOX', names[1]))
    back = m.wait_names(lambda found: names[1] in found, 'INBOX')
    check(names[1] in back, 'it is listed again')
    equal([c[0] for c in server.copies(messages[0])], ['INBOX'], 'and still there')
    equal(m.read('INBOX', names[1]), messages[0].body, 'and read')
    equal(told_by_fsync(m, 'INBOX'), 'EDQUOT', 'fsync of the directory tells')


@case
def what_is_not_marked_comes_back(t):
    """Dovecot answers OK to a STORE that the rights do not allow."""
    for policy, capabilities in (('expunge', 'UIDPLUS'), ('expunge', ''), ('mark', 'UIDPLUS'),
                                 ('trash', 'UIDPLUS')):
        server = t.add(FakeImap(capabilities='IMAP4rev1 SPECIAL-USE ' + capabilities))
        inbox = server.box('INBOX')
        messages = [inbox.add(small(n)) for n in range(3)]
        m = mount(t, server, ['delete=' + policy], expect=['could not be deleted'])
        names = m.messages('INBOX')
        inbox.faults.store = 'OK done'
        os.unlink(m.p('INBOX', names[1]))
        equal(told_by_fsync(m, 'INBOX'), 'EACCES', 'fsync of the directory tells')
        back = m.wait_names(lambda found: names[1] in found, 'INBOX')
        check(names[1] in back, 'it is listed again')
        inbox.faults.store = None
        os.unlink(m.p('INBOX', names[1]))
        equal(told_by_fsync(m, 'INBOX'), None, 'it is deleted once that is allowed')
        gone = messages[0] not in inbox.messages or '\\Deleted' in messages[0].flags
        check(gone and names[1] not in m.ls('INBOX'), 'and gone')
        m.stop()


@case
def read_only_for_a_while(t):
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS MOVE SPECIAL-USE'))
    inbox = server.box('INBOX')
    messages = [inbox.add(small(n)) for n in range(3)]
    inbox.readonly = True
    m = mount(t, server, ['connections=1', 'refresh=3600'], expect=['could not be deleted'])
    names = m.messages('INBOX')
    os.unlink(m.p('INBOX', names[1]))
    equal(told_by_fsync(m, 'INBOX'), 'EROFS', 'nothing is deleted in a read-only mailbox')
    check(names[1] in m.wait_names(lambda found: names[1] in found, 'INBOX'), 'it is listed again')
    inbox.readonly = False
    os.unlink(m.p('INBOX', names[1]))
    equal(told_by_fsync(m, 'INBOX'), None, 'but later, when it no longer is')
    equal([c[0] for c in server.copies(messages[0])], ['Trash'], 'it is in the trash')


@case
def fsync_of_the_root_tells_of_all(t):
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS SPECIAL-USE'))
    for name in ('INBOX', 'Other'):
        box = server.box(name) if name == 'INBOX' else server.add_box(name)
        box.faults.copy = 'NO [OVERQUOTA] full'
        for n in range(3):
            box.add(small(n))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy, options=['timeout=20'], expect=['.*'])
    root = os.open(m.p(), os.O_RDONLY)
    names = m.messages('Other')
    m.messages('INBOX')
    for number, when in enumerate(('before', 'while it waits')):
        if when != 'before':
            proxy.refuse()
            proxy.cut()
        name = names[number + 1]
        os.unlink(m.p('Other', name))
        if when == 'before':
            check(wait_for(lambda: name in m.ls('Other'), 20), 'it is listed again')
        else:
            threading.Timer(1, proxy.refuse, (False,)).start()
        equal(error_of(os.fsync, root), 'EDQUOT', 'refused ' + when)
        equal(error_of(os.fsync, root), None, 'that is told once')
    os.close(root)


def a_message_goes_by_a_lying_move(t, expect, lost=None):
    """MOVE answers OK, copies, and leaves the source; that of `lost` never answers."""
    server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS MOVE SPECIAL-USE'))
    box = server.box('INBOX')
    messages = [box.add(small(n)) for n in range(4)]
    box.faults.move_keeps = True
    if lost:
        server.lose_answer(lost)
    m = mount(t, server, expect=[expect])
    names = m.messages('INBOX')
    os.unlink(m.p('INBOX', names[2]))
    if lost:
        check(wait_for(lambda: not box.by_uid(2), 30), 'it is removed')
    m.stop()
    live = [c[0] for c in server.copies(messages[1]) if '\\Deleted' not in c[2]]
    equal(live, ['Trash'], 'one copy, in the trash')
    equal(server.violations, [], 'no EXPUNGE without UIDs')


@case
def a_move_that_lies(t):
    a_message_goes_by_a_lying_move(t, 'MOVE does not do')


@case
def a_move_that_lies_and_is_cut_off(t):
    """Its answer was lost: there is no second copy."""
    a_message_goes_by_a_lying_move(t, '.*', lost='UID MOVE')


@case
def a_twin_gets_a_copy_of_its_own(t):
    """Of two that are alike one was copied or moved before the line was cut."""
    for way in ('MOVE ', ''):
        server = t.add(FakeImap(capabilities='IMAP4rev1 UIDPLUS %sSPECIAL-USE' % way))
        box = server.box('INBOX')
        messages = [box.add(small(n)) for n in (0, 1, 1, 2)]

        def halfway(_, line):
            found = re.match(r'UID (MOVE|COPY) 2:3 ', line)
            if found:
                server.before = None
                server.put(server.box('Trash'), messages[1])
                if found.group(1) == 'MOVE':
                    box.remove({2})
                server.cut_at('UID (MOVE|COPY)')
                server.cut_at(r'STATUS "?Trash"? \(UIDNEXT UIDVALIDITY\)')
        server.before = halfway
        proxy = t.add(Proxy(t.path, server.port))
        m = mount(t, server, proxy=proxy, expect=['.*'], name='m' + (way.strip() or 'copy'),
                  options=['cache=%s/c%s' % (t.path, way.strip()), 'timeout=5'])
        names = m.messages('INBOX')
        proxy.refuse()
        proxy.cut()
        for uid in (2, 3):
            os.unlink(m.p('INBOX', names[uid]))
        proxy.refuse(False)
        check(wait_for(lambda: len(box.messages) == 2, 30), 'they are removed ' + way)
        m.stop()
        check(server.before is None, 'they went together ' + way)
        for message in messages[1:3]:
            check('Trash' in [c[0] for c in server.copies(message)], 'there is a copy ' + way)
        equal(server.violations, [], 'no EXPUNGE without UIDs')


@case
def wrong_sizes_harm_no_reader(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    bodies = {}
    for size in (400, 9000, 3_000_000):
        for lie in (10, size * 2, None, 0, 1_500_000):
            message = box.add(small(len(bodies), size))
            box.faults.size[message.uid] = lie
            bodies[message.uid] = message.body
    m = mount(t, server)
    names = m.messages('INBOX')
    equal(len(names), len(bodies), 'all are listed')
    for tool in ('cat', 'tail', 'mmap', 'cp', 'tar'):
        for uid, name in names.items():
            path = m.p('INBOX', name)
            if tool == 'cat':
                got = m.read('INBOX', name)
            elif tool == 'tail':
                got = bodies[uid][:-100] + subprocess.run(['tail', '-c', '100', path],
                                                          stdout=subprocess.PIPE).stdout
            elif tool == 'mmap':
                with open(path, 'rb') as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mm:
                    got = mm[:]
            elif tool == 'cp':
                shutil.copyfile(path, t.path + '/copy')
                with open(t.path + '/copy', 'rb') as f:
                    got = f.read()
            else:
                got = subprocess.run('tar cf - -C %s "%s" | tar xOf -' % (m.p('INBOX'), name),
                                     shell=True, stdout=subprocess.PIPE).stdout
            if got != bodies[uid] or os.stat(path).st_size != len(bodies[uid]):
                check(False, '%s of a message of %d octets, announced as %s' % (
                    tool, len(bodies[uid]), box.faults.size[uid]), (len(got), os.stat(path).st_size))
        check(True, tool)


@case
def a_bad_message_costs_itself(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for n in range(8):
        box.add(small(n))
    box.faults.poison = {3}
    box.faults.body = {5: 'NIL'}
    box.faults.body_once = {6: '""'}
    box.faults.omit = {7}
    box.faults.peek_sees = True
    m = mount(t, server, expect=["can't be read", 'does not give'])
    names = m.ls('INBOX')
    equal(len(names), 8, 'all are listed')
    failed = []
    for name in names:
        try:
            m.read('INBOX', name)
        except OSError as error:
            failed.append(error.errno)
    equal(failed, [5, 5], 'two can not be read: EIO')
    m.stop()
    seen = [x.uid for x in box.messages if '\\Seen' in x.flags]
    equal(seen, [], 'the server marked on PEEK, and it was taken back')


@case
def stalled_server(t):
    server = t.add(Dovecot(t.path))
    fill(server, count=20)
    server.deliver('Big', [(small(n, 20_000 if n % 2 else 2_000_000), 1_600_000_000 + n)
                           for n in range(60)])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy, options=['timeout=8', 'refresh=3600'], expect=['.*'])
    inbox, big = m.ls('INBOX'), m.ls('Big')
    for name in inbox:
        m.read('INBOX', name)
    proxy.stall()
    readers = [subprocess.Popen(['cat', m.p('Big', big[n % 60])], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for n in range(500)]
    time.sleep(1)
    start = time.time()
    equal(m.ls('INBOX'), inbox, 'ls of a cached mailbox')
    equal(m.ls('Big'), big, 'ls of the mailbox that is waited for')
    for name in inbox:
        os.stat(m.p('INBOX', name))
        m.read('INBOX', name)
    check(time.time() - start < 8, 'without waiting for the server')
    readers[0].send_signal(signal.SIGKILL)
    check(wait_for(lambda: readers[0].poll() is not None, 5), 'a waiting call can be interrupted')
    codes = [reader.wait() for reader in readers]
    check(all(codes), 'all end with an error')
    proxy.go()
    check(wait_for(lambda: sh('cat Big/* >/dev/null', cwd=m.path).code == 0, 60),
          'all works again without a remount')
    m.stop()
    proxy.refuse(True)
    m.start()
    equal(m.ls('INBOX'), inbox, 'mounts without a server')
    equal(sha(m.read('INBOX', inbox[0])), sha(m.read('INBOX', inbox[0])), 'and reads')
    proxy.refuse(False)


@case
def a_first_listing_that_is_cut_is_an_error(t):
    server = t.add(Dovecot(t.path))
    server.deliver('Many', corpus.bulk(4000))
    proxy = t.add(Proxy(t.path, server.port))
    backup = t.path + '/backup'
    os.makedirs(backup + '/Many')
    with open(backup + '/Many/precious.eml', 'w') as f:
        f.write('x')
    m = mount(t, server, proxy=proxy, options=['timeout=3'], expect=['.*'])
    proxy.cut_after(300_000)
    proxy.refuse(True)
    result = sh('rsync -a --delete Many/ %s/Many/' % backup, cwd=m.path, timeout=120)
    check(result.code not in (0, 'timeout'), 'rsync sees errors, and soon', result)
    check(os.path.exists(backup + '/Many/precious.eml'), 'and deletes nothing')
    proxy.refuse(False)
    check(wait_for(lambda: sh('rsync -a --delete Many/ %s/Many/' % backup, cwd=m.path).code == 0,
                   60), 'later it goes through')
    equal(len(os.listdir(backup + '/Many')), 4000, 'with everything')


@case
def others_changes_are_seen(t):
    server = t.add(Dovecot(t.path))
    fill(server, count=5)
    m = mount(t, server, options=['refresh=2'])
    names = m.messages('INBOX')
    with server.imap() as client:
        client.select('INBOX')
        client.store([2], '+FLAGS', '\\Flagged')
        client.store([1], '+FLAGS', '\\Deleted')
        client.expunge([1])
        client.append('INBOX', small(77))
        client.create('Fresh')
    time.sleep(4)
    found = m.messages('INBOX')
    equal(sorted(found), [2, 3, 4, 5, 6], 'new and gone messages')
    equal(m.xattr('user.imap.flags', 'INBOX', names[2]), '\\Flagged', 'flags')
    check('Fresh' in m.ls(), 'a new mailbox', m.ls())
    equal({u: found[u] for u in (2, 3)}, {u: names[u] for u in (2, 3)}, 'the others keep their names')


@case
def uidvalidity_changes(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for n in range(10):
        box.add(small(n))
    m = mount(t, server, options=['refresh=1'], expect=['.*'])
    before = {n: m.read('INBOX', n) for n in m.ls('INBOX')}
    box.renumber()
    time.sleep(3)
    after = {n: m.read('INBOX', n) for n in m.ls('INBOX')}
    equal(after, before, 'the same names and octets')


@case
def kill_at_random_moments(t):
    server = t.add(Dovecot(t.path))
    fill(server, count=300)
    wanted = {uid: sha(body) for uid, body in truth(server, 'INBOX').items()}
    m = mount(t, server, expect=['.*'])
    rand = random.Random(7)
    for _ in range(6):
        reader = subprocess.Popen(['grep', '-rc', 'text', m.p('INBOX')], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(rand.random() * 0.6)
        m.kill()
        reader.wait()
        m.start()
    names = m.messages('INBOX')
    equal({u: sha(m.read('INBOX', n)) for u, n in names.items()}, wanted, 'all octets are right')


@case
def cut_at_every_response(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    for n in range(5):
        box.add(small(n, 3000))
    wanted = sorted(sha(x.body) for x in box.messages)
    good = 0
    for k in range(1, 46):
        server.responses = 0
        server.cut_at_response = k
        m = mount(t, server, options=['cache=%s/c%d' % (t.path, k), 'timeout=5'], expect=['.*'],
                  name='m%d' % k)
        server_names = []
        wait_for(lambda: not server_names.clear() and not server_names.extend(
            sha(m.read('INBOX', n)) for n in safe_ls(m)) and sorted(server_names) == wanted, 20)
        good += sorted(server_names) == wanted
        m.stop()
    equal(good, 45, 'right in the end wherever the line was cut')


def safe_ls(m):
    try:
        return m.ls('INBOX')
    except OSError:
        return []


@case
def small_full_and_missing_caches(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', [(small(n, 200_000 if n else 5_000_000), 1_600_000_000 + n)
                             for n in range(8)])
    wanted = {uid: sha(body) for uid, body in truth(server, 'INBOX').items()}
    tmp = t.path + '/small'
    os.makedirs(tmp)
    need(run('mount', '-t', 'tmpfs', '-o', 'size=2m', 'none', tmp).code == 0, 'a small disk')
    try:
        for options in (['cache_size=300k'], ['cache_size=1'], ['cache=' + tmp]):
            m = mount(t, server, options=options, expect=['.*'], home=t.path + '/h' + options[0][-3:],
                      name='m' + options[0][-4:].replace('/', ''))
            names = m.messages('INBOX')
            got = {u: sha(m.read('INBOX', n)) for u, n in names.items()}
            equal(got, wanted, 'all octets with ' + options[0].split('=')[0])
            m.stop()
    finally:
        run('umount', tmp)


main()
