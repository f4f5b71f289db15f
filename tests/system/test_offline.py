#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Without a server: what is cached is served at once, the rest fails in time, and coming back
needs nobody. A server that has stopped answering holds up only those who need it."""
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from harness import (Dovecot, PATIENCE, Proxy, case, check, equal, error_of, main, mount,  # noqa: E402
                     need, run, tree, wait_for)

# Opens and reads each file in a thread of its own, prints `ok OCTETS` or `error ERRNO` for each.
READER = '''
import os, sys, threading
def read(path):
    try:
        with open(path, 'rb') as f:
            answer = 'ok %d\\n' % len(f.read())
    except OSError as error:
        answer = 'error %d\\n' % error.errno
    os.write(1, answer.encode())
threading.stack_size(1 << 18)
threads = [threading.Thread(target=read, args=(p,)) for p in sys.stdin.read().splitlines()]
for t in threads: t.start()
for t in threads: t.join()
'''
GUARD = 20  # seconds: far more than anything cached takes, far less than HANG
HANG = 90
TIMEOUT = 4
LATE = ('EHOSTUNREACH', 'ETIMEDOUT', 'EIO')
COUNT = 60


def letter(n, size=20):
    return (b'From: A <a@b>\r\nSubject: letter %d\r\nMessage-ID: <l%d@x>\r\n\r\n' % (n, n)
            + (b'line of letter %06d\r\n' % n) * (size // 23 + 1))


class Readers:
    def __init__(self, t, paths, name='readers'):
        self.log = os.path.join(t.path, name + '.log')
        with open(self.log, 'wb') as out:
            self.child = subprocess.Popen([sys.executable, '-c', READER], stdin=subprocess.PIPE,
                                          stdout=out, stderr=subprocess.DEVNULL)
        self.child.stdin.write('\n'.join(paths).encode())
        self.child.stdin.close()
        t.add(self)

    def ended(self, seconds):
        return wait_for(lambda: self.child.poll() is not None, seconds, 0.1)

    def answers(self):
        with open(self.log) as f:
            return f.read().splitlines()

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def account(t, options=()):
    """INBOX and Other are read, of Small and Large one message each; Never* were never listed."""
    server = t.add(Dovecot(t.path))
    same = letter(7, 2_000_000)
    server.deliver('INBOX', corpus.bulk(COUNT))
    server.deliver('Other', corpus.bulk(20, seed=2))
    server.deliver('Small', [(letter(n, 20_000), 1_600_000_000 + n) for n in range(COUNT)])
    server.deliver('Large', [(b'X-Number: %d\r\n' % n + same, 1_600_000_000 + n) for n in range(8)])
    for name in ('Never', 'Never-stalled', 'Never-refused'):
        server.deliver(name, corpus.bulk(3, seed=3))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, ['refresh=1', 'timeout=%d' % TIMEOUT, *options], proxy=proxy, expect=['.'])
    names = {box: m.ls(box) for box in ('INBOX', 'Other', 'Small', 'Large')}
    need([len(names[b]) for b in names] == [COUNT, 20, COUNT, 8], 'all is listed')
    for box in ('INBOX', 'Other'):
        for name in names[box]:
            m.read(box, name)
    for box in ('Small', 'Large'):
        m.read(box, names[box][0])
    return server, proxy, m, names


def at_once(m, names, what):
    """ls, stat and cat of what is cached, in the same and in other mailboxes."""
    for name, argv in (
            ('ls -l', ['ls', '-l', *(m.p(b) for b in names)]),
            ('ls of the top', ['ls', '-l', m.path]),
            ('stat', ['stat', m.p('Small', names['Small'][3]), m.p('Large', names['Large'][5])]),
            ('cat', ['cat', *(m.p(b, n) for b in ('INBOX', 'Other') for n in names[b])]),
            ('cat of a small one', ['cat', m.p('Small', names['Small'][0])]),
            ('cat of a large one', ['cat', m.p('Large', names['Large'][0])]),
            ('df', ['df', m.path]),
            ('getfattr', ['getfattr', '-d', m.p('Large', names['Large'][6])])):
        result = run(*argv, timeout=GUARD)
        check(result.code == 0, '%s: %s works' % (what, name), result)


def fails(what, call, *arguments):
    """Neither hangs nor works."""
    began = time.monotonic()
    code = error_of(call, *arguments)
    check(code in LATE and time.monotonic() - began < HANG * PATIENCE, what + ' ends in an error',
          (code, time.monotonic() - began))


def works(what, call, *arguments):
    """Sooner or later, without anyone doing anything."""
    check(wait_for(lambda: error_of(call, *arguments) is None, HANG, 0.3), what)


def news(server, m, what, subject):
    """What arrives on the server is seen."""
    with server.imap() as c:
        c.append('INBOX', letter(subject))
    found = wait_for(lambda: [n for n in m.ls('INBOX') if 'letter-%d_' % subject in n], HANG, 0.2)
    if check(found, what + ': what arrives is listed', m.ls('INBOX')[-3:]):
        equal(m.read('INBOX', found[0]), letter(subject), what + ': and read')


@case
def the_line_goes_down(t):
    server, proxy, m, names = account(t)
    before = tree(m.p('Other'))
    for round_, kind in enumerate(('refused', 'stalled')):
        if kind == 'refused':
            proxy.refuse()
            proxy.cut()
        else:
            proxy.stall()
        at_once(m, names, kind)
        fails(kind + ': a message that is not cached', m.read, 'Small', names['Small'][10 + round_])
        fails(kind + ': the rest of a large one', m.read, 'Large', names['Large'][1 + round_])
        if round_ == 0:
            fails(kind + ': a mailbox never listed', os.listdir, m.p('Never'))
        at_once(m, names, kind + ', later')
        equal(tree(m.p('Other')), before, kind + ': the octets are right')
        victim = names['INBOX'][round_]
        equal(error_of(os.unlink, m.p('INBOX', victim)), None, kind + ': a deletion does not wait')
        check(victim not in m.ls('INBOX'), kind + ': and shows')
        names['INBOX'].remove(victim)
        names['INBOX'].insert(0, names['INBOX'][0])
        if kind == 'refused':
            proxy.refuse(False)
        else:
            proxy.go()
        works(kind + ': when it is back, reading works', m.read, 'Small', names['Small'][10 + round_])
        works(kind + ': and listing', os.listdir, m.p('Never'))

        def trashed():
            with server.imap() as c:
                return c.status('Trash', 'MESSAGES') == round_ + 1
        check(wait_for(trashed, HANG, 0.3), kind + ': the deletion reaches the server')
        news(server, m, kind, 1000 + round_)


@case
def mounts_without_a_server(t):
    server, proxy, m, names = account(t)
    before = tree(m.p('INBOX'))
    m.stop()
    for kind in ('refused', 'stalled'):
        if kind == 'refused':
            proxy.refuse()
        else:
            proxy.stall()
        m.start(seconds=GUARD + 10)
        at_once(m, names, 'mounted with the server ' + kind)
        equal(tree(m.p('INBOX')), before, kind + ': the octets are right')
        fails(kind + ': what is not cached', m.read, 'Small', names['Small'][30 if kind == 'refused' else 31])
        # One of its own: what was wanted is listed when there is a server again.
        fails(kind + ': what was never listed', os.listdir, m.p('Never-' + kind))
        if kind == 'refused':
            many = [m.p('Small', n) for n in names['Small'][1:]] * 10
            result = run('cat', *many, timeout=GUARD)
            check(result.code == 1, 'a grep over what is not cached does not wait a file', result)
            proxy.refuse(False)
        else:
            proxy.go()
        works(kind + ': the server comes, and reading works', m.read, 'Small', names['Small'][
            32 if kind == 'refused' else 33])
        m.stop()
    m.start()
    news(server, m, 'in the end', 2000)


@case
def who_looks_is_served_sooner(t):
    """The pauses between attempts get long, but not for somebody who lists."""
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', corpus.bulk(COUNT))
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, ['refresh=1', 'timeout=%d' % TIMEOUT], proxy=proxy, expect=['.'])
    equal(len(m.ls('INBOX')), COUNT, 'all is listed')
    server.stop()
    proxy.cut()
    proxy.reset()
    # 1, 2, 4 and 8 seconds, more or less: the next pause is 12 at least, and the one after it 24.
    need(wait_for(lambda: proxy.stats()['accepted'] >= 5, 60, 0.1), 'it is tried now and then')
    proxy.reset()
    check(wait_for(lambda: len(m.ls('INBOX')) == COUNT and proxy.stats()['accepted'] >= 3, 11, 0.1),
          'with somebody there it is tried each second', proxy.stats())
    server.start()
    news(server, m, 'when it is back', 4000)


@case
def a_dead_line_is_found_out(t):
    """As after a laptop's sleep: the connections are dead, and nobody said so."""
    server, proxy, m, names = account(t)
    for round_ in range(3):
        readers = Readers(t, [m.p('Small', n) for n in names['Small'][:1]], 'warm%d' % round_)
        check(readers.ended(GUARD), 'the line works')
        proxy.strand()
        at_once(m, names, 'stranded')
        began = time.monotonic()
        code = error_of(m.read, 'Small', names['Small'][40 + round_])
        print('      the first read ends with %s after %.1f s' % (code, time.monotonic() - began))
        check(code in (None, *LATE) and time.monotonic() - began < HANG * PATIENCE,
              'the first use ends, well or not', code)
        accepted = proxy.stats()['accepted']
        began = time.monotonic()
        equal(error_of(m.read, 'Small', names['Small'][43 + round_]), None, 'the next use works')
        check(accepted > 0 and proxy.stats()['accepted'] >= accepted, 'on a new connection')
        equal(m.read('Small', names['Small'][46 + round_])[-23:],
              letter(46 + round_, 20_000)[-23:], 'with the right octets')
        news(server, m, 'after that', 3000 + round_)


@case
def a_dead_line_while_idle(t):
    """One that was idle for long is doubted at once, and what was asked for is done."""
    server, proxy, m, names = account(t, ['refresh=3600', 'without=NOTIFY:IDLE'])
    time.sleep(2 * TIMEOUT + 1)
    proxy.strand()
    proxy.reset()
    equal(error_of(m.read, 'Small', names['Small'][50]), None, 'a read works')
    equal(error_of(m.read, 'Small', names['Small'][51]), None, 'the next one works')
    check(proxy.stats()['accepted'] > 0, 'on a new connection')


def watched(t, without):
    """A mount whose INBOX is watched, without asking, as far as the server can."""
    path = os.path.join(t.path, without)
    os.mkdir(path, 0o711)
    server = t.add(Dovecot(path))
    server.deliver('INBOX', corpus.bulk(COUNT))
    proxy = t.add(Proxy(path, server.port))
    m = mount(t, server, ['refresh=3600', 'timeout=%d' % TIMEOUT, 'without=' + without],
              proxy=proxy, expect=['.'], name='m' + without, home=path + '/home')
    return server, proxy, m


@case
def a_dead_watcher_is_found_out(t):
    """The line that brings the news dies with the others: use of any of them finds it out."""
    for without in ('XLIST', 'NOTIFY'):
        server, proxy, m = watched(t, without)
        names = m.ls('INBOX')
        for n in names[:3]:
            m.read('INBOX', n)
        news(server, m, 'by push', 5000)
        proxy.strand()
        code = error_of(m.read, 'INBOX', names[3])
        check(code in (None, *LATE), 'a read ends', code)
        news(server, m, 'by push on a new line', 5001)
        m.stop()


@case
def a_dead_watcher_is_found_out_by_looking(t):
    """The same where nothing is read: what is watched is listed without a question."""
    for without in ('XLIST', 'NOTIFY'):
        server, proxy, m = watched(t, without)
        equal(len(m.ls('INBOX')), COUNT, 'listed')
        news(server, m, 'by push', 7000)
        time.sleep(2 * TIMEOUT + 1)
        proxy.strand()
        news(server, m, 'by push on a new line', 7001)
        m.stop()


@case
def a_dead_line_is_not_the_servers_fault(t):
    """What is asked when it dies is asked again in the same way on a new one."""
    server = t.add(Dovecot(t.path))
    boxes = ['B%d' % n for n in range(40)]
    for n, box in enumerate(boxes):
        server.deliver(box, [(letter(n), 1_600_000_000)])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, ['refresh=2', 'timeout=%d' % TIMEOUT, 'without=NOTIFY:IDLE'], proxy=proxy,
              debug=True, expect=['.'])

    def looked():
        """How often all were asked for at once, after another look at them."""
        for box in boxes:
            os.listdir(m.p(box))
        return len(re.findall(r'> a\d+ LIST .* STATUS', m.log()))
    need(wait_for(looked, HANG, 1.2), 'LIST brings the numbers of all')
    proxy.strand()
    need(wait_for(lambda: looked() and 'no answer in time' in m.log(), HANG, 1.2), 'the line dies')
    before = looked()
    check(wait_for(lambda: looked() > before, HANG, 1.2), 'and it does so on a new one')


@case
def dead_while_reading(t):
    """The line dies in the middle of it."""
    server, proxy, m, names = account(t)
    proxy.bandwidth(300_000)
    readers = Readers(t, [m.p('Small', n) for n in names['Small'][5:45]])
    wait_for(lambda: len(readers.answers()) > 3, GUARD, 0.05)
    proxy.strand()
    proxy.bandwidth(0)
    check(readers.ended(HANG), 'all readers end')
    answers = readers.answers()
    equal(len(answers), 40, 'each with an answer')
    print('      %d of them with what they wanted' % sum(a.startswith('ok') for a in answers))
    for n in (5, 20, 44):
        works('what it was is read later', m.read, 'Small', names['Small'][n])


@case
def many_readers_of_a_stalled_server(t):
    server, proxy, m, names = account(t, ['timeout=25'])
    proxy.stall()
    for box in ('Small', 'Large'):
        readers = Readers(t, [m.p(box, n) for n in names[box]] * 4, box)
        time.sleep(1)
        at_once(m, names, 'readers in ' + box)
        single = subprocess.Popen(['cat', m.p(box, names[box][5])], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        check(single.poll() is None, box + ': a reader waits')
        single.send_signal(signal.SIGINT)
        if not check(wait_for(lambda: single.poll() is not None, GUARD), box + ': and can be interrupted'):
            single.kill()
        if box == 'Small':
            readers.child.kill()
            check(readers.ended(GUARD), 'those that wait can be killed at once')
        else:
            check(readers.ended(HANG), 'all end within the timeout')
            answers = readers.answers()
            equal(len([a for a in answers if a.startswith('error')]), 28, 'with an error')
            equal(len([a for a in answers if a.startswith('ok')]), 4, 'but for the cached one')
    proxy.go()
    works('when the line is back, reading works', m.read, 'Large', names['Large'][7])


@case
def ends_while_the_line_is_dead(t):
    server, proxy, m, names = account(t)
    proxy.stall()
    readers = Readers(t, [m.p('Small', n) for n in names['Small'][10:40]])
    time.sleep(1)
    m.child.signal(signal.SIGTERM)
    equal(m.child.wait(HANG), 0, 'SIGTERM ends it, with readers waiting on a stalled server')
    check(readers.ended(GUARD), 'and them')
    m._gone()
    m.check_log()


@case
def many_cuts_while_reading(t):
    server, proxy, m, names = account(t, ['timeout=30'])
    readers = Readers(t, [m.p('Small', n) for n in names['Small'][1:]])
    for _ in range(6):
        time.sleep(0.15)
        proxy.cut()
    check(readers.ended(HANG), 'the readers end')
    equal(len(readers.answers()), COUNT - 1, 'all of them')
    wrong = [n for n in names['Small'][1:] if error_of(m.read, 'Small', n) is not None
             or m.read('Small', n) != letter(int(n.split('_letter-')[1].split('_')[0]), 20_000)]
    equal(wrong, [], 'what is read then is right')


@case
def cut_while_listing(t):
    """Where the server is still there, nobody sees that a line was cut."""
    server = t.add(Dovecot(t.path))
    server.deliver('Many', corpus.bulk(1000))
    proxy = t.add(Proxy(t.path, server.port))
    for octets in (1_000, 20_000, 150_000, 300_000):
        m = mount(t, server, ['cache=%s/c%d' % (t.path, octets)], proxy=proxy, expect=['.'],
                  name='m%d' % octets)
        proxy.cut_after(octets)
        result = run('ls', m.p('Many'))
        equal((result.code, len(result.out.split())), (0, 1000), 'cut after %d octets' % octets)
        m.stop()


@case
def one_connection_is_all(t):
    """A server that allows one: it is for those who wait, not for the news."""
    server = t.add(Dovecot(t.path))
    for box in ('INBOX', 'A', 'B', 'C'):
        server.deliver(box, corpus.bulk(COUNT))
    proxy = t.add(Proxy(t.path, server.port))
    proxy.limit(1)
    m = mount(t, server, ['timeout=%d' % TIMEOUT, 'refresh=2'], proxy=proxy, expect=['.'])
    equal(len(m.ls('INBOX')), COUNT, 'listed')
    for n, box in enumerate('ABC'):
        proxy.cut()
        time.sleep(3)  # who wants the news may come first
        works('cut %d: a mailbox is listed' % n, os.listdir, m.p(box))
        works('cut %d: a message is read' % n, m.read, box, m.ls(box)[n])
        news(server, m, 'cut %d' % n, 6000 + n)


main()
