#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A mailbox that gets another UIDVALIDITY: names, inodes and cached bodies stay, nobody is shown
another message's octets, and nothing that was meant for an old UID is done to a new one."""
import glob
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import ALL, MODERN, PLAIN, FakeImap  # noqa: E402
from follow import (WHEN, forged, in_step, inodes, letter, listing, octets_right,  # noqa: E402
                    truth, validity)
from harness import (Dovecot, Proxy, case, check, equal, error_of, main, mount,  # noqa: E402
                     wait_for)

WAYS = (('QRESYNC', MODERN), ('CONDSTORE', ALL), ('neither', PLAIN))
SIZE = 20_000
CHANGES = '^UID (MOVE|COPY|STORE|EXPUNGE)'


def fresh(t, name, server, options=(), **more):
    """A mount with a cache of its own."""
    return mount(t, server, options=['cache=%s/c-%s' % (t.path, name), *options],
                 name='m-' + name, **more)


def mixed(box, drop, add):
    """The messages of a mailbox in another order, some gone, some new among them."""
    left = [m for m in box.messages if m.uid not in drop]
    left = left[1::2] + left[::2][::-1]
    for i, octets in enumerate(add):
        left.insert(1 + 3 * i, octets)
    return left


def same_as_before(m, server, box, before, bodies, messages):
    """Everything that was read keeps name and inode, and is not fetched again."""
    names, = in_step(m, server, 'INBOX')
    now = inodes(m, 'INBOX')
    left = [x for x in messages if x in box.messages]
    equal([(names.get(x.uid), now.get(names.get(x.uid))) for x in left],
          [(bodies[x.body], before[bodies[x.body]]) for x in left], 'names and inodes stay')
    octets_right(m, server, 'INBOX')
    again = [x.uid for x in messages if server.fetches(x)]
    equal(again, [], 'no body is fetched again')


@case
def between_mounts(t):
    for way, capabilities in WAYS:
        server = t.add(FakeImap(capabilities))
        box = server.box('INBOX')
        messages = [box.add(letter(n, SIZE), date=WHEN + n % 3) for n in range(12)]
        m = fresh(t, way, server)
        names, = in_step(m, server, 'INBOX')
        bodies = {x.body: names[x.uid] for x in messages}
        before = inodes(m, 'INBOX')
        octets_right(m, server, 'INBOX')
        for round_ in range(2):
            m.stop()
            server.reset()
            new = [letter(100 + 10 * round_ + n, SIZE) for n in range(2)]
            # First UIDs that overlap with the old ones, then others.
            box.renumber(1 if round_ == 0 else 500, mixed(box, {3 + round_}, new))
            m.start()
            same_as_before(m, server, box, before, bodies, messages)
            equal(sum(server.bodies.values()), 2, 'what is new is fetched once (%s)' % way)
            bodies.update({x.body: n for x in box.messages
                           for u, n in m.messages('INBOX').items() if u == x.uid})
            before.update(inodes(m, 'INBOX'))
            messages = list(box.messages)
        equal(server.violations, [], 'nothing was done to the mailbox')
        m.stop()


@case
def while_mounted_and_read(t):
    for tell in ('code', 'bye', None):
        server = t.add(FakeImap(MODERN))
        box = server.box('INBOX')
        messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(8)]
        big = box.add(letter(50, 3_000_000), date=WHEN)
        m = fresh(t, str(tell), server, options=['refresh=1'], expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        bodies = {x.body: names[x.uid] for x in messages + [big]}
        before = inodes(m, 'INBOX')
        for x in messages:
            m.read('INBOX', names[x.uid])
        whole = open(m.p('INBOX', names[messages[2].uid]), 'rb')
        lost = open(m.p('INBOX', names[messages[4].uid]), 'rb')
        part = open(m.p('INBOX', names[big.uid]), 'rb', buffering=0)
        equal(part.read(1000), big.body[:1000], 'a big one is begun')
        start, end = whole.read(100), lost.read(100)
        server.reset()
        box.renumber(1000, [letter(70, SIZE)] + [x for x in reversed(box.messages)
                                                 if x is not messages[4]], tell)
        server.drop_all() if tell is None else None
        got, error = b'', None
        try:
            while data := part.read(100_000):
                got += data
        except OSError as e:
            error = e
        check(big.body[1000:] == got, 'the open one is read on, to the right end (%s)' % tell,
              '%s after %d\n%s' % (error, len(got), m.log()[-3000:]))
        names, = in_step(m, server, 'INBOX')
        now = inodes(m, 'INBOX')
        kept = {bodies[x.body]: before[bodies[x.body]] for x in box.messages if x.body in bodies}
        equal({n: now.get(n) for n in kept}, kept, 'names and inodes stay (%s)' % tell)
        equal(start + whole.read(), messages[2].body, 'the handle of a cached one reads on')
        equal(end + lost.read(), messages[4].body, 'and so does that of one that is gone')
        part.seek(0)
        check(error or part.read(5000) == big.body[:5000], 'the big one from its beginning')
        for handle in (whole, lost, part):
            handle.close()
        octets_right(m, server, 'INBOX')
        equal([x.uid for x in messages if server.fetches(x)], [], 'no cached body is fetched again')
        m.stop()


@case
def many_times_while_being_read(t):
    """A reader that opens and reads all the time, and UIDs that always name others."""
    server = t.add(FakeImap(MODERN))
    box = server.box('INBOX')
    messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(10)]
    m = fresh(t, 'many', server, options=['refresh=1'], expect=['.*'])
    names, = in_step(m, server, 'INBOX')
    right = {names[x.uid]: x.body for x in messages}
    before = inodes(m, 'INBOX')
    bad = []
    for round_ in range(6):
        box.renumber(1, box.messages[3:] + box.messages[:3], ('code', 'bye')[round_ % 2])
        for _ in range(3):
            for name, body in right.items():
                try:
                    if m.read('INBOX', name) != body:
                        bad.append((round_, name))
                except OSError:
                    pass  # the mailbox is changing
        time.sleep(0.3)
    equal(bad, [], 'the right octets, always')
    in_step(m, server, 'INBOX')
    equal(inodes(m, 'INBOX'), before, 'names and inodes stay')
    # What comes behind the news of a renumbering is dropped, and asked for again.
    again = sum(max(server.fetches(x) - 1, 0) for x in messages)
    check(again <= 6, 'fetched again is at most what came in the moment of a renumbering',
          [server.fetches(x) for x in messages])


def forget_uids(server, mailbox='INBOX'):
    """Takes UIDs and UIDVALIDITY away from a Maildir."""
    path = server.maildir(mailbox)
    for pattern in ('dovecot-uidlist*', 'dovecot.index*', 'dovecot-uidvalidity*'):
        for file in glob.glob(os.path.join(path, pattern)):
            os.unlink(file)


def new_validity(server, mailbox='INBOX'):
    """Dovecot takes the time of day for it, so that the second must be another one."""
    old = validity(server, mailbox)

    def changed():
        forget_uids(server, mailbox)
        return validity(server, mailbox) != old
    check(wait_for(changed, 10, 0.3), 'Dovecot has a new UIDVALIDITY')


def maildir_file(server, octets, mailbox='INBOX'):
    return next(f for f in glob.glob(server.maildir(mailbox) + '/cur/*')
                if open(f, 'rb').read() == octets)


def shuffled_maildir(server, count, first=0):
    """Messages whose file names are in another order than their UIDs."""
    for n in range(count):
        server.deliver('INBOX', [(letter(first + n, SIZE), WHEN - 1000 * n)])
        validity(server, 'INBOX')
        truth(server, 'INBOX')


@case
def dovecot_between_mounts(t):
    for number, without in enumerate(('', 'X-GUID', 'X-GUID+QRESYNC', 'X-GUID+CONDSTORE')):
        server = t.add(Dovecot(os.path.join(t.path, str(number))))
        shuffled_maildir(server, 10)
        proxy = t.add(Proxy(t.path, server.port))
        m = fresh(t, str(number), server, proxy=proxy,
                  options=['without=' + without.replace('+', ':')] if without else [])
        names, = in_step(m, server, 'INBOX')
        old = truth(server, 'INBOX')
        before = inodes(m, 'INBOX')
        octets_right(m, server, 'INBOX')
        m.stop()
        os.unlink(maildir_file(server, old[4]))
        server.deliver('INBOX', [(letter(90, SIZE), WHEN - 500)])
        new_validity(server)
        new = truth(server, 'INBOX')
        check([x for x in new.values() if x in old.values()] != [
            x for x in old.values() if x in new.values()], 'in another order')
        proxy.reset()
        m.start()
        again, = in_step(m, server, 'INBOX')
        by_body = {body: names[uid] for uid, body in old.items()}
        equal({again[u]: by_body[b] for u, b in new.items() if b in by_body},
              {by_body[b]: by_body[b] for b in new.values() if b in by_body}, 'names stay')
        now = inodes(m, 'INBOX')
        equal({n: i for n, i in now.items() if n in before},
              {n: i for n, i in before.items() if n != names[4]}, 'inodes stay')
        octets_right(m, server, 'INBOX')
        down = proxy.stats()['down']
        check(SIZE < down < 3 * SIZE, 'the new body alone was fetched (%s)' % without, down)
        m.stop()
        server.stop()


@case
def dovecot_while_mounted(t):
    server = t.add(Dovecot(t.path))
    shuffled_maildir(server, 10)
    server.deliver('INBOX', [(letter(50, 3_000_000), WHEN + 50)])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy, options=['refresh=1'], expect=['.*'])
    names, = in_step(m, server, 'INBOX')
    old = truth(server, 'INBOX')
    before = inodes(m, 'INBOX')
    octets_right(m, server, 'INBOX')
    handles = {u: open(m.p('INBOX', names[u]), 'rb') for u in (2, 5, 11)}
    heads = {u: h.read(300) for u, h in handles.items()}
    os.unlink(maildir_file(server, old[5]))
    server.deliver('INBOX', [(letter(91, SIZE), WHEN - 1500)])
    proxy.reset()
    new_validity(server)
    in_step(m, server, 'INBOX')
    now = inodes(m, 'INBOX')
    equal({n: i for n, i in now.items() if n in before},
          {n: i for n, i in before.items() if n != names[5]}, 'names and inodes stay')
    for uid, handle in handles.items():
        check(heads[uid] + handle.read() == old[uid], 'an open handle reads on (%d)' % uid)
        handle.close()
    octets_right(m, server, 'INBOX')
    check(proxy.stats()['down'] < 200_000, 'cached bodies were not fetched again', proxy.stats())


@case
def dovecot_uidlist_alone(t):
    """Without it Dovecot gives all messages new UIDs, and leaves UIDVALIDITY as it was."""
    for number, without in enumerate(([], ['without=X-GUID'])):
        server = t.add(Dovecot(os.path.join(t.path, str(number))))
        shuffled_maildir(server, 6)
        proxy = t.add(Proxy(t.path, server.port))
        m = fresh(t, 'l%d' % number, server, proxy=proxy, options=['refresh=1', *without],
                  expect=['.*'])
        in_step(m, server, 'INBOX')
        before = inodes(m, 'INBOX')
        octets_right(m, server, 'INBOX')
        for live in (True, False):
            m.stop() if not live else None
            proxy.reset()
            old = sorted(truth(server, 'INBOX'))
            for file in glob.glob(server.maildir('INBOX') + '/dovecot-uidlist*'):
                os.unlink(file)

            def numbered():
                # Dovecot may show an empty mailbox until the directory changes.
                os.utime(server.maildir('INBOX') + '/cur')
                uids = sorted(truth(server, 'INBOX'))
                return len(uids) == len(old) and uids != old
            check(wait_for(numbered, 30, 0.2), 'other UIDs')
            m.start() if not live else None
            in_step(m, server, 'INBOX')
            equal(inodes(m, 'INBOX'), before, 'names and inodes stay')
            octets_right(m, server, 'INBOX')
            down = proxy.stats()['down']
            check(down < (7 * SIZE if without else SIZE), 'fetched no more than needed', down)
        m.stop()
        server.stop()


def same_name_pairs(server, m):
    """Checks that each UID's file has that UID's octets, and that all are there."""
    names, = in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX', what='forged ones are told apart')
    return names


@case
def forged_messages_are_fetched(t):
    for number, cached in enumerate(((0, 1, 2), (0,), (1, 2), ())):
        for during in (False, True):
            server = t.add(FakeImap(MODERN))
            box = server.box('INBOX')
            messages = [box.add(forged(1, v, SIZE), date=WHEN) for v in range(3)]
            plain = box.add(letter(9, SIZE), date=WHEN)
            m = fresh(t, '%d%d' % (number, during), server, options=['refresh=1'], expect=['.*'])
            names, = in_step(m, server, 'INBOX')
            before = inodes(m, 'INBOX')
            equal(len(set(names.values())), 4, 'four names')
            for i in (*cached, 3):
                m.read('INBOX', names[box.messages[i].uid])
            m.stop() if not during else None
            server.reset()
            box.renumber(1, list(reversed(box.messages)), 'code')
            m.start() if not during else None
            names = same_name_pairs(server, m)
            check(all(server.fetches(x) == 1 for x in messages), 'each was fetched anew',
                  [server.fetches(x) for x in messages])
            equal(server.fetches(plain), 0, 'but not the one that is like no other')
            equal(os.stat(m.p('INBOX', names[plain.uid])).st_ino, before[names[plain.uid]],
                  'which keeps its inode')
            m.stop()


@case
def forged_messages_come_and_go(t):
    """Those that are alike are not the same number before and after."""
    def gone(box):
        return [x for x in box.messages if x is not box.messages[1]]

    def came(box):
        return [forged(1, 7, SIZE)] + box.messages

    def other(box):
        return [forged(1, 8, SIZE), box.messages[2], box.messages[0]]
    for change in (gone, came, other):
        server = t.add(FakeImap(ALL))
        box = server.box('INBOX')
        for variant in range(3):
            box.add(forged(1, variant, SIZE), date=WHEN)
        m = fresh(t, change.__name__, server, expect=['.*'])
        in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        m.stop()
        box.renumber(1, change(box))
        m.start()
        same_name_pairs(server, m)
        m.remount()
        same_name_pairs(server, m)
        m.stop()


@case
def dovecot_forged_messages(t):
    server = t.add(Dovecot(t.path))
    for variant in range(4):
        server.deliver('INBOX', [(forged(1, variant, SIZE), WHEN)])
        truth(server, 'INBOX')
    for number, without in enumerate((['without=X-GUID'], [])):
        m = fresh(t, str(number), server, options=without)
        in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        m.stop()
        # Other file names are other GUIDs, and another order.
        for i, file in enumerate(sorted(glob.glob(server.maildir('INBOX') + '/cur/*'),
                                        reverse=True)):
            os.rename(file, os.path.join(os.path.dirname(file), '%d.M%d%d.test:2,' % (
                WHEN + i, number, i)))
        new_validity(server)
        m.start()
        same_name_pairs(server, m)
        m.stop()


@case
def pending_work_is_not_sent(t):
    for number, killed in enumerate((True, False)):
        server = t.add(FakeImap(ALL))
        box = server.box('INBOX')
        messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(6)]
        proxy = t.add(Proxy(t.path, server.port))
        m = fresh(t, str(number), server, proxy=proxy, options=['refresh=1', 'timeout=5'],
                  expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        proxy.refuse()
        proxy.cut()
        for x in messages[:2]:
            os.unlink(m.p('INBOX', names[x.uid]))
        check(names[messages[0].uid] not in m.ls('INBOX'), 'unlinked, and not yet sent')
        if killed:
            time.sleep(1.5)  # until the intent is on the disk
            m.kill()
        box.renumber(1, list(reversed(box.messages)))
        del server.commands[:]
        proxy.refuse(False)
        if killed:
            m.start()
        in_step(m, server, 'INBOX')
        folder = os.open(m.p('INBOX'), os.O_RDONLY)
        check(error_of(os.fsync, folder) is not None, 'fsync tells that it was not done')
        os.close(folder)
        equal(server.received(CHANGES), [], 'nothing is sent')
        equal([server.copies(x) for x in messages],
              [[('INBOX', x.uid, set())] for x in messages], 'all are where they were')
        octets_right(m, server, 'INBOX')
        m.stop()
        equal(server.received(CHANGES), [], 'nor at the unmount')


@case
def names_in_the_kernel(t):
    """The kernel keeps names of a mailbox that is watched, and that there is no such name, for
    long: it is told."""
    for count in (5, 6000):
        server = t.add(FakeImap(MODERN))
        box = server.box('INBOX')
        fleeting = box.add(letter(99_999, 900), date=WHEN)
        messages = [box.add(letter(n, 900), date=WHEN + n) for n in range(count)]
        m = fresh(t, str(count), server, expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        name, marked = names[fleeting.uid], names[messages[1].uid]
        box.expunge([fleeting.uid])
        in_step(m, server, 'INBOX')
        wait_for(lambda: False, 1.5)  # until a watcher is believed
        equal((os.path.exists(m.p('INBOX', name)), os.path.exists(m.p('INBOX', marked))),
              (False, True), 'as the kernel knows it')
        messages[1].flags.add('\\Deleted')
        new = [letter(20_000 + n, 900) for n in range(count)]
        box.renumber(1, messages[:4] + [fleeting] + new, 'code')
        check(wait_for(lambda: os.path.exists(m.p('INBOX', name)), 60, 0.2), 'a new name is found')
        check(wait_for(lambda: not os.path.exists(m.p('INBOX', marked)), 60, 0.2),
              'what is marked as deleted is not')
        m.stop()


@case
def refused_in_the_middle(t):
    """A deletion is refused while the new generation is built, and has the message already."""
    server = t.add(FakeImap(ALL))
    box = server.box('INBOX')
    messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(12)]
    proxy = t.add(Proxy(t.path, server.port))
    m = fresh(t, 'refused', server, proxy=proxy, options=['refresh=1', 'timeout=20'],
              expect=['.*'])
    names, = in_step(m, server, 'INBOX')
    for x in messages[2:]:
        m.read('INBOX', names[x.uid])
    proxy.refuse()
    proxy.cut()
    for x in messages[:2]:
        os.unlink(m.p('INBOX', names[x.uid]))
    box.renumber(1, list(reversed(box.messages)))
    # The deletion is tried again after five seconds: then header sections are on their way.
    box.faults.select_once = 'NO [SERVERBUG] not now'
    box.faults.fetch_delay = 0.3
    proxy.refuse(False)
    in_step(m, server, 'INBOX')
    box.faults.fetch_delay = 0
    octets_right(m, server, 'INBOX')
    folder = os.open(m.p('INBOX'), os.O_RDONLY)
    check(error_of(os.fsync, folder) is not None, 'fsync tells that it was not done')
    os.close(folder)


@case
def back_and_forth(t):
    """Two servers of one name that do not agree: the UIDVALIDITY goes back when the new generation
    is half built, and the old one loses a message that this one has."""
    server = t.add(FakeImap(MODERN))
    server.add_box('Archive')
    box = server.box('INBOX')
    messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(6)]
    m = fresh(t, 'back', server, options=['refresh=1', 'timeout=5'], expect=['.*'])
    names, _ = in_step(m, server, 'INBOX', 'Archive')
    for x in messages[1:]:
        m.read('INBOX', names[x.uid])
    m.stop()

    def numbered(uidvalidity, first, order):
        with server.lock:
            box.renumber(first, order)
            box.uidvalidity, box.uidnext = uidvalidity, first + len(messages)
            for x in order:
                x.uid = first + messages.index(x)
    old, new = box.uidvalidity, 5000
    for first, lost, moved in ((1, 0, False), (101, 3, True)):
        numbered(new, 100 + first, messages)
        for _ in range(50):
            server.cut_at(r'BODY.PEEK\[HEADER\]')
        m.start()
        listing(m, 'INBOX')
        check(wait_for(lambda: len(server.cut_before) < 50, 20), 'cut when a part was carried over')
        m.kill()
        del server.cut_before[:]
        numbered(old, first, [x for x in messages if x is not messages[lost]])
        if moved:
            server.box('Archive').add(messages[lost].body, date=WHEN + lost)
        m.start()
        in_step(m, server, 'INBOX', 'Archive')
        m.kill()
        numbered(new, 100 + first, messages)
        m.start()
        in_step(m, server, 'INBOX', 'Archive')
        all_ = [*inodes(m, 'INBOX').values(), *inodes(m, 'Archive').values()]
        equal(len(set(all_)), len(all_), 'no inode is given twice')
        octets_right(m, server, 'INBOX', 'Archive')
        m.stop()
        old, new = new, new + 1


@case
def cut_anywhere(t):
    """The line is cut in the middle of it, or the program killed."""
    server = t.add(FakeImap(MODERN))
    box = server.box('INBOX')
    messages = [box.add(letter(n, SIZE), date=WHEN + n % 2) for n in range(8)]
    m = fresh(t, 'cut', server, options=['refresh=1', 'timeout=5'], expect=['.*'])
    names, = in_step(m, server, 'INBOX')
    by_body = {x.body: names[x.uid] for x in messages}
    before = inodes(m, 'INBOX')
    octets_right(m, server, 'INBOX')
    server.reset()
    good = rounds = 0
    for k in range(8, 56, 3):
        rounds += 1
        killed = k % 2 == 0
        m.kill() if killed else m.stop()
        box.renumber(1, box.messages[3:] + box.messages[:3])
        server.cut_at_response = k
        m.start()
        if k % 4 == 0:
            wait_for(lambda: server.cut_at_response is None, 3)
            m.kill()
            server.cut_at_response = None
            m.start()
        names, = in_step(m, server, 'INBOX', quiet=True)
        server.cut_at_response = None
        good += inodes(m, 'INBOX') == before and \
            all(names.get(x.uid) == by_body[x.body] for x in messages)
    equal(good, rounds, 'names and inodes stay wherever the line was cut')
    octets_right(m, server, 'INBOX')
    equal([server.fetches(x) for x in messages], [0] * 8, 'nothing was fetched again')


@case
def uids_that_are_used_again(t):
    """Without a new UIDVALIDITY only the daily comparison can notice. An unclean end makes it
    due."""
    for way, capabilities in WAYS:
        server = t.add(FakeImap(capabilities))
        box = server.box('INBOX')
        messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(10)]
        m = fresh(t, way, server, options=['refresh=1'], expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        before = inodes(m, 'INBOX')
        for x in messages[:8]:
            m.read('INBOX', names[x.uid])
        m.kill()
        box.reuse(2, letter(102, SIZE))                   # other header fields alone
        box.reuse(3, letter(2, SIZE + 1))                 # another size alone
        box.reuse(4, letter(3, SIZE), date=WHEN + 99)     # another date alone
        with server.lock:                                 # two that change places
            box.messages[5].uid, box.messages[6].uid = 7, 6
            box.messages.sort(key=lambda x: x.uid)
        box.reuse(10, letter(110, SIZE))                  # one that was never read
        server.reset()
        m.start()

        def mended():
            found = m.ls('INBOX')
            return names[2] not in found and names[10] not in found
        check(wait_for(mended, 30, 0.2), 'what had another name is noticed (%s)' % way,
              m.log()[-3000:])
        now, = in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        check(all(os.stat(m.p('INBOX', now[u])).st_ino != before[names[u]] for u in (2, 3, 4, 10)),
              'other messages have other inodes')
        equal([(now[u], os.stat(m.p('INBOX', now[u])).st_ino) for u in (1, 5, 8, 9)],
              [(names[u], before[names[u]]) for u in (1, 5, 8, 9)], 'the others stay')
        equal([server.fetches(messages[i]) for i in (0, 4, 7)], [0, 0, 0],
              'and are not fetched again')
        m.remount()
        octets_right(m, server, 'INBOX', what='still the server\'s after a remount')
        equal(server.violations + server.received(CHANGES), [], 'nothing is changed')
        m.stop()


main()
