#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reading: every octet is the server's, fetched once, and nothing is marked."""
import errno
import os
import stat
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from fakeimap import MODERN, FakeImap  # noqa: E402
from harness import (Dovecot, Mount, Proxy, case, check, equal, error_of, main,  # noqa: E402
                     mount, need, run, sh, sha, sha_file, tree, wait_for)

NAME_LIMIT = 255


def with_mail(t, nasty=True, sample=False, big=True, **more):
    server = t.add(Dovecot(t.path, **more))
    if nasty:
        server.deliver('INBOX', corpus.nasty(big).values())
    if sample:
        for mailbox, messages in corpus.sample().items():
            server.deliver(mailbox, messages)
    return server


def truth(server, mailbox='INBOX'):
    """What another client sees: ({uid: SHA-256}, {uid: size}, {uid: date}, {uid: flags})."""
    with server.imap() as c:
        c.examine(mailbox)
        bodies = c.bodies()
        return ({u: sha(b) for u, b in bodies.items()}, {u: len(b) for u, b in bodies.items()},
                c.dates(), c.flags())


def bad_name(name):
    """Why a message's name needs care in a shell or on a terminal, or None."""
    raw = os.fsencode(name)
    if len(raw) > NAME_LIMIT:
        return 'longer than 255 octets'
    if name[0] in '-.' or not name.endswith('.eml'):
        return 'starts or ends wrongly'
    for char in name[:-4]:
        if not (char.isalnum() or char in '-_~.' or ord(char) > 127):
            return 'holds %r' % char
    try:
        raw.decode('utf-8')
    except UnicodeDecodeError:
        return 'is no UTF-8'
    return None


@case
def nasty_corpus_through_every_tool(t):
    server = with_mail(t)
    shas, sizes, dates, flags = truth(server)
    m = mount(t, server)
    names = m.messages('INBOX')
    equal(sorted(names), sorted(shas), 'every message is listed')
    equal([(n, bad_name(n)) for n in names.values() if bad_name(n)], [], 'names need no quoting')
    inodes = {n: os.stat(m.p('INBOX', n)).st_ino for n in names.values()}
    equal(len(set(inodes.values())), len(names), 'each has an inode of its own')
    by_name = {n: u for u, n in names.items()}

    def compare(what, got):
        wrong = [(n, by_name.get(n)) for n in set(got) | set(by_name)
                 if n not in got or n not in by_name or got[n] != shas[by_name[n]]]
        equal(wrong, [], what + ' gives the server\'s octets')

    got = {}
    for name in by_name:
        result = run('cat', m.p('INBOX', name))
        got[name] = sha(result.out) if result.code == 0 else repr(result)
    compare('cat', got)
    equal([n for n, u in by_name.items() if os.stat(m.p('INBOX', n)).st_size != sizes[u]], [],
          'stat tells the sizes')
    equal([n for n, u in by_name.items() if int(os.stat(m.p('INBOX', n)).st_mtime) != dates[u]], [],
          'mtime is INTERNALDATE')
    for what, script in (
            ('cp -a', 'cp -a mnt/INBOX cp'),
            ('tar', 'mkdir tar && tar cf - -C mnt/INBOX . | tar xf - -C tar'),
            ('rsync', 'rsync -a mnt/INBOX/ rsync'),
            ('find with cat', 'mkdir find && cd mnt/INBOX && '
             'find . -type f -exec sh -c \'cat "$1" >../../find/"$1"\' - {} \\;')):
        result = sh(script, cwd=t.path)
        check(result.code == 0, what + ' ends well', result)
        top = os.path.join(t.path, what.split()[0])
        compare(what, {n: sha_file(os.path.join(top, n)) for n in os.listdir(top)})
    copies = {n: int(os.stat(os.path.join(t.path, 'cp', n)).st_mtime) for n in by_name}
    equal([n for n in copies if copies[n] != dates[by_name[n]]], [], 'cp -a keeps the dates')
    m.remount()
    compare('a read after a remount', {n: sha_file(m.p('INBOX', n)) for n in m.ls('INBOX')})
    equal({n: os.stat(m.p('INBOX', n)).st_ino for n in m.ls('INBOX')}, inodes,
          'inodes are the same after a remount')
    equal(truth(server)[3], flags, 'no flag was changed')


@case
def fresh_reads_by_each_tool(t):
    """Each tool meets messages that were never opened: cold sizes, cold bodies."""
    server = with_mail(t, big=False)
    shas = truth(server)[0]
    for what, script in (('tar', 'mkdir out; tar cf - -C mnt/INBOX . | tar xf - -C out'),
                         ('rsync', 'rsync -a mnt/INBOX/ out'),
                         ('cp', 'cp -a mnt/INBOX out')):
        m = mount(t, server, home=os.path.join(t.path, 'home-' + what))
        result = sh(script, cwd=t.path)
        check(result.code == 0, what + ' ends well', result)
        names = m.messages('INBOX')
        out = os.path.join(t.path, 'out')
        wrong = [n for u, n in names.items() if sha_file(os.path.join(out, n)) != shas[u]]
        equal(wrong, [], what + ' gives the server\'s octets')
        equal(len(names), len(shas), 'all are there')
        m.stop()
        sh('rm -rf out', cwd=t.path)


@case
def stat_is_what_tools_expect(t):
    server = with_mail(t, nasty=False, sample=True)
    m = mount(t, server)
    info = os.stat(m.p('INBOX', m.ls('INBOX')[0]))
    equal(oct(stat.S_IMODE(info.st_mode)), '0o600', 'a message has mode 0600')
    equal(info.st_nlink, 1, 'one link')
    equal(info.st_blocks, (info.st_size + 511) // 512, 'blocks are the size, rounded up')
    check(info.st_ctime >= info.st_mtime - 1, 'ctime is not before the arrival')
    found = sh('find . -type f | wc -l; find . -noleaf -type f | wc -l', cwd=m.path).out.split()
    count = sum(map(len, corpus.sample().values()))
    equal([int(x) for x in found], [count, count], 'find sees every message, by link counts too')
    result = sh("grep -rl 'invoice 4711' . | wc -l", cwd=m.path)
    equal(int(result.out), 1, 'grep finds the invoice')


@case
def second_backup_transfers_nothing(t):
    server = t.add(Dovecot(t.path))
    mail = corpus.nasty(False)
    del mail['arrived in 2037']  # newer than any snapshot, rightly dumped again
    server.deliver('INBOX', mail.values())
    for mailbox, messages in corpus.sample().items():
        if mailbox != 'INBOX':
            server.deliver(mailbox, messages)
    m = mount(t, server)
    first = sh('rsync -a mnt/ copy', cwd=t.path)
    check(first.code == 0, 'rsync ends well', first)
    incremental = 'tar --listed-incremental=snapshot --no-check-device -cf %s -C mnt .'
    first = sh(incremental % 'full.tar', cwd=t.path)
    check(first.code == 0, 'tar ends well', first)

    def again(when):
        for attempt in ('second', 'third'):
            result = sh('rsync -ai mnt/ copy', cwd=t.path)
            changed = [x for x in result.out.decode().splitlines() if not x.startswith('.d')]
            equal((result.code, changed), (0, []), 'the %s rsync transfers nothing%s' % (attempt, when))
        result = sh(incremental % 'more.tar' + ' && tar tf more.tar', cwd=t.path)
        files = [x for x in result.out.decode().splitlines() if not x.endswith('/')]
        equal((result.code, files), (0, []), 'the second incremental tar holds no file' + when)

    again('')
    m.remount()
    again(' after a remount')
    equal(len(tree(t.path + '/copy')), sum(1 for _ in tree(m.path)), 'the copy is complete')


@case
def reads_fetch_once(t):
    server = with_mail(t, nasty=False, sample=True)
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy)
    m.ls('INBOX')
    total = sum(len(o) for o, _, _ in corpus.sample()['INBOX'])
    proxy.reset()
    first = tree(m.p('INBOX'))
    down = proxy.stats()['down']
    check(total <= down < total * 1.3 + 100_000, 'the first reading fetches each once', (total, down))
    proxy.reset()
    equal(tree(m.p('INBOX')), first, 'the second reading gives the same')
    down = proxy.stats()['down']
    check(down < 20_000, 'and fetches nothing', down)
    m.remount()
    proxy.reset()
    equal(tree(m.p('INBOX')), first, 'a reading after a remount gives the same')
    down = proxy.stats()['down']
    check(down < total / 4, 'and fetches no body', (total, down))


@case
def equal_requests_are_joined(t):
    server = t.add(Dovecot(t.path))
    body = b'Subject: shared\r\n\r\n' + b'0123456789abcdef' * 40000 + b'\r\n'
    server.deliver('INBOX', [(body, 1_600_000_000)])
    proxy = t.add(Proxy(t.path, server.port, delay=100))
    m = mount(t, server, proxy=proxy)
    name = m.ls('INBOX')[0]
    proxy.reset()
    got = []
    readers = [threading.Thread(target=lambda: got.append(m.read('INBOX', name) == body))
               for _ in range(40)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    equal(got, [True] * 40, 'forty readers at once get the message')
    down = proxy.stats()['down']
    check(down < 1.5 * len(body), 'which was fetched once', down)


@case
def large_messages_come_in_ranges(t):
    server = with_mail(t, nasty=False)
    big = [x for k, x in corpus.nasty().items() if k == '30 MB']
    server.deliver('INBOX', big)
    octets = big[0][0]
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy)
    name = m.ls('INBOX')[0]
    proxy.reset()
    result = run('head', '-c', '2000', m.p('INBOX', name))
    check(result.out == octets[:2000], 'head gives the beginning', result)
    down = proxy.stats()['down']
    check(down < len(octets) / 2, 'without fetching all', down)
    result = run('tail', '-c', '1000', m.p('INBOX', name))
    check(result.out == octets[-1000:], 'tail gives the end', result)
    with open(m.p('INBOX', name), 'rb') as f:
        for offset in (15_000_001, 4095, 29_999_000, 20_000_000, 1_048_575):
            f.seek(offset)
            check(f.read(70_001) == octets[offset:offset + 70_001], 'octets at %d' % offset)
    equal(sha_file(m.p('INBOX', name)), sha(octets), 'the whole')


@case
def reconnects_in_the_middle(t):
    server = with_mail(t, nasty=False)
    octets = corpus.nasty()['30 MB'][0]
    server.deliver('INBOX', [(octets, 1_600_000_000)])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy, options=['timeout=60'])
    name = m.ls('INBOX')[0]
    for after in (100_000, 3_000_000, 7_000_001):
        proxy.cut_after(after)
        result = run('sha256sum', m.p('INBOX', name))
        equal((result.code, result.out[:64].decode()), (0, sha(octets)),
              'read in spite of a line cut after %d octets' % after)
    stats = proxy.stats()
    check(stats['accepted'] >= 2, 'a new connection was made', stats)


@case
def seen_only_if_asked(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', [(o, w, '') for o, w, _ in corpus.bulk(10)])
    m = mount(t, server)
    tree(m.path)
    sh('cp -a mnt/INBOX copy; grep -r message mnt >/dev/null', cwd=t.path)
    m.stop()
    equal(set().union(*truth(server)[3].values()), set(), 'reading sets no flag')
    m = mount(t, server, options=['seen'], name='mnt2', home=os.path.join(t.path, 'home2'))
    names = m.messages('INBOX')
    need(len(names) == 10, 'all are listed')
    m.read('INBOX', names[3])
    m.read('INBOX', names[5])
    for _ in range(100):
        if sum('\\Seen' in f for f in truth(server)[3].values()) == 2:
            break
        time.sleep(0.1)
    equal([u for u, f in truth(server)[3].items() if '\\Seen' in f], [3, 5],
          '-o seen marks what was read, and nothing else')


@case
def messages_are_immutable(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(3))
    m = mount(t, server)
    path = m.p('INBOX', m.ls('INBOX')[0])
    before = m.read(path)
    for what, script in (('writing', 'echo x >"$1"'), ('appending', 'echo x >>"$1"'),
                         ('truncating', 'truncate -s 0 "$1"'), ('touching', 'touch "$1"'),
                         ('renaming', 'mv "$1" "$1.old"'), ('linking', 'ln "$1" "$1.link"'),
                         ('creating', 'echo x >"${1%/*}/new.eml"'),
                         ('making a mailbox', 'mkdir "${1%/*/*}/New"'),
                         ('removing a mailbox', 'rmdir "${1%/*}"')):
        result = run('sh', '-c', script, '-', path)
        check(result.code not in (0, 'timeout'), what + ' is refused', result)
        check(os.strerror(errno.ENOSYS).encode() not in result.err, 'and not with ENOSYS', result)
    equal(m.read(path), before, 'the message is as it was')
    equal(len(m.ls('INBOX')), 3, 'and so is the mailbox')


@case
def gone_before_it_is_read(t):
    """What another client has expunged or moved, and nobody has told of, is no read error."""
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(30))
    with server.imap() as client:
        client.create('Other')
        for number, more in enumerate((['connections=4'], ['connections=1'])):
            m = mount(t, server, ['refresh=3600', 'without=NOTIFY:IDLE', *more],
                      name='mnt%d' % number, home=t.path + '/h%d' % number)
            names = m.messages('INBOX')
            bodies = truth(server)[0]
            m.ls('Other')
            uids = sorted(names)
            for uid in uids[:3]:  # so that it is selected
                equal(sha(m.read('INBOX', names[uid])), bodies[uid], 'one that is there')
            client.select('INBOX')
            client.expunge(uids[4:6])
            client.move(uids[6:8], 'Other')
            for uid in uids[4:6]:
                error = error_of(m.read, 'INBOX', names[uid])
                check(error == 'ENOENT', 'one that was expunged is not there', error)
            for uid in uids[6:8]:
                error = error_of(m.read, 'INBOX', names[uid])
                check(error in (None, 'ENOENT'), 'one that was moved may be read', error)
            m.stop()


@case
def gone_while_it_is_synced(t):
    """The sync that is under way began before the message went, and can't tell of it."""
    server = t.add(FakeImap(MODERN))
    inbox = server.box('INBOX')
    messages = [message[0] for message in corpus.bulk(5)]
    for body in messages[:4]:
        inbox.add(body)
    inbox.faults.quiet = True
    m = t.add(Mount(t, server.url(), ['tls=off', 'refresh=1', 'without=NOTIFY:IDLE']))
    names = m.messages('INBOX')
    m.read('INBOX', names[2])
    inside, go_on = threading.Event(), threading.Event()

    def before(connection, line):
        if 'HEADER.FIELDS' in line and not inside.is_set():
            inside.set()
            go_on.wait(20)
    server.before = before
    inbox.add(messages[4])
    time.sleep(1.2)
    m.ls('INBOX')
    check(wait_for(inside.is_set, 10), 'a sync is under way')
    inbox.expunge([1])
    threading.Timer(1, go_on.set).start()
    equal(error_of(m.read, 'INBOX', names[1]), 'ENOENT', 'what has gone meanwhile is not there')


@case
def gone_from_where_it_went(t):
    """It has another UID, which is found out, and has gone from there too when it is asked for."""
    server = t.add(FakeImap(MODERN + ' OBJECTID'))
    inbox, other = server.box('INBOX'), server.add_box('Other')
    messages = [inbox.add(message[0]) for message in corpus.bulk(4)]
    m = t.add(Mount(t, server.url(), ['tls=off', 'refresh=3600', 'without=NOTIFY:IDLE']))
    names = m.messages('INBOX')
    m.read('INBOX', names[2])
    back = server.move(server.move(messages[0], 'Other'), 'INBOX')

    def before(connection, line):
        if line.startswith('UID FETCH %d (UID BODY.PEEK[])' % back.uid) and back in inbox.messages:
            inbox.expunge([back.uid])
    server.before = before
    equal(error_of(m.read, 'INBOX', names[1]), 'ENOENT', 'what has gone from there is not there')
    check(back not in inbox.messages and not other.messages, 'it was asked for there')


main()
