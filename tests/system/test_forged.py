#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Messages that look alike and are not: one of which a part was read goes, another one stands in
its place, and nobody is shown a mixture of the two, whatever is open, cached or in the kernel."""
import errno
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import ALL, MODERN, PLAIN, FakeImap  # noqa: E402
from fakemodel import Message  # noqa: E402
from follow import WHEN, forged, in_step, inodes, letter, octets_right, truth  # noqa: E402
from harness import Proxy, case, check, equal, error_of, main, mount, wait_for  # noqa: E402

LARGE = 3_000_000
SIZE = 20_000


def twin(variant, size=LARGE):
    """Shares the header section and the size with all variants, and hardly a line of the rest."""
    head, middle, body = letter(1, size).partition(b'\r\n\r\n')
    return head + middle + body.replace(b'a', b'%d' % variant)


def start(t, name, size=LARGE, options=()):
    """A server and a mount that knows its message, the first variant: (server, mount, name)."""
    server = t.add(FakeImap(MODERN))
    server.add_box('Archive')
    server.box('INBOX').add(twin(1, size), date=WHEN)
    m = mount(t, server, ['refresh=1', 'cache=%s/c-%s' % (t.path, name), *options],
              name='m-' + name, expect=['.*'])
    return server, m, list(in_step(m, server, 'INBOX', 'Archive')[0].values())[0]


def begin(m, name, size=LARGE):
    """Opens it and reads a little."""
    handle = open(m.p('INBOX', name), 'rb', buffering=0)
    equal(handle.read(1000), twin(1, size)[:1000], 'it is begun')
    return handle


def rest(handle):
    """What is left to be read, up to an error."""
    got, error = b'', None
    try:
        while data := handle.read(100_000):
            got += data
    except OSError as e:
        error = e
    return got, error


def only_old(handle, size=LARGE):
    got, error = rest(handle)
    old = twin(1, size)[1000:]
    check(got == old if error is None else old.startswith(got),
          'the old handle gives the old octets or none', (len(got), error))


@case
def moved_while_it_is_read(t):
    """Another one turns up elsewhere when it has gone."""
    for held in (True, False):
        server, m, name = start(t, str(held))
        handle = begin(m, name)
        handle.close() if not held else None
        server.box('INBOX').expunge([1])
        server.box('Archive').add(twin(2), date=WHEN)
        in_step(m, server, 'INBOX', 'Archive')
        octets_right(m, server, 'Archive', what='the new one has its own octets')
        if held:
            only_old(handle)
            octets_right(m, server, 'Archive', what='and has them still')
            handle.close()
        octets_right(m, server, 'Archive', what='in the end, too')
        m.stop()


@case
def moved_and_not_stored(t):
    """The cache has no room: the octets are the handle's alone."""
    for size in (200_000, LARGE):
        server, m, name = start(t, str(size), size, ['cache_size=64k'])
        handle = begin(m, name, size)
        server.box('INBOX').expunge([1])
        server.box('Archive').add(twin(2, size), date=WHEN)
        in_step(m, server, 'INBOX', 'Archive')
        octets_right(m, server, 'Archive', what='the new one has its own octets')
        only_old(handle, size)
        handle.close()
        octets_right(m, server, 'Archive', what='in the end, too')
        m.stop()


@case
def renumbered_while_it_is_read(t):
    for held in (True, False):
        server, m, name = start(t, str(held))
        handle = begin(m, name)
        handle.close() if not held else None
        server.box('INBOX').renumber(1, [Message(twin(2), date=WHEN)], 'code')
        in_step(m, server, 'INBOX')
        only_old(handle) if held else None
        octets_right(m, server, 'INBOX', what='the new one has its own octets')
        handle.close()
        octets_right(m, server, 'INBOX', what='in the end, too')
        m.remount()
        octets_right(m, server, 'INBOX', what='and after a remount')
        m.stop()


@case
def the_same_is_read_on(t):
    """Renumbered, moved: the handle of what is still the same reads on, and the inode stays."""
    for how in ('renumbered', 'moved', 'both'):
        server, m, name = start(t, how)
        handle = begin(m, name)
        ino = os.fstat(handle.fileno()).st_ino
        box, target = server.box('INBOX'), 'INBOX' if how == 'renumbered' else 'Archive'
        if how != 'renumbered':
            server.move(box.messages[0], 'Archive')
            in_step(m, server, 'INBOX', 'Archive')
        if how != 'moved':
            server.box(target).renumber(100, None, 'code')
            in_step(m, server, target)
        got, error = rest(handle)
        check(got == twin(1)[1000:] and error is None, 'it is read to the end (%s)' % how,
              (len(got), error))
        octets_right(m, server, target)
        equal(inodes(m, target), {name: ino}, 'it keeps its inode (%s)' % how)
        handle.close()
        octets_right(m, server, target)
        m.stop()


@case
def one_id_for_two(t):
    """An id that is given twice proves nothing where sizes or header fields tell otherwise."""
    for what, make in (('size', lambda n: letter(1, SIZE + n)),
                       ('fields', lambda n: letter(n, SIZE))):
        server = t.add(FakeImap(MODERN + ' OBJECTID'))
        for name in ('INBOX', 'Archive', 'Other'):
            box = server.box(name) if name == 'INBOX' else server.add_box(name)
            box.faults.ids = {uid: '(Msame)' for uid in range(1, 9)}
        server.box('INBOX').add(make(1), date=WHEN)
        server.box('Archive').add(make(2), date=WHEN)
        m = mount(t, server, ['refresh=1', 'cache=%s/c-%s' % (t.path, what)], name='m-' + what,
                  expect=['.*'])
        in_step(m, server, 'INBOX', 'Archive')
        octets_right(m, server, 'INBOX', 'Archive', what='another %s: each its own' % what)
        server.box('INBOX').expunge([1])
        server.box('Other').add(make(3), date=WHEN)
        in_step(m, server, 'INBOX', 'Other')
        octets_right(m, server, 'Other', 'Archive', what='another %s: moved, too' % what)
        server.box('Archive').renumber(50, [Message(make(4), date=WHEN)])
        server.box('Archive').faults.ids[50] = '(Msame)'
        in_step(m, server, 'Archive')
        octets_right(m, server, 'Archive', what='another %s: renumbered, too' % what)
        m.stop()


@case
def used_again_with_another_id(t):
    """A UID that names another message, and the id alone tells."""
    for x_guid in (False, True):
        server = t.add(FakeImap(MODERN + ('' if x_guid else ' OBJECTID'), x_guid=x_guid))
        box = server.box('INBOX')
        for n in range(3):
            box.add(forged(n, n, SIZE), date=WHEN)
        m = mount(t, server, ['refresh=1', 'cache=%s/c-%d' % (t.path, x_guid)],
                  name='m-%d' % x_guid, expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        octets_right(m, server, 'INBOX')
        before = inodes(m, 'INBOX')
        m.kill()
        box.reuse(2, forged(1, 9, SIZE))
        m.start()
        check(wait_for(lambda: inodes(m, 'INBOX').get(names[2]) not in (None, before[names[2]]),
                       30, 0.1), 'it is another file', m.log()[-3000:])
        octets_right(m, server, 'INBOX', what='it has its own octets')
        equal([inodes(m, 'INBOX')[names[u]] for u in (1, 3)], [before[names[u]] for u in (1, 3)],
              'the others keep their inodes')
        m.stop()


@case
def made_anew(t):
    """Another mailbox of that name, or one from a backup, has the same UIDVALIDITY and the same
    UIDs: its numbers have gone back, and all is compared at once."""
    for way, capabilities in (('QRESYNC', MODERN), ('CONDSTORE', ALL), ('neither', PLAIN)):
        server = t.add(FakeImap(capabilities))
        box = server.add_box('Archive')
        for n in range(6):
            box.add(letter(n, SIZE), date=WHEN)
        m = mount(t, server, ['refresh=1', 'cache=%s/c-%s' % (t.path, way)], name='m-' + way,
                  expect=['.*'])
        in_step(m, server, 'Archive')
        octets_right(m, server, 'Archive')
        m.stop()
        server.remove_box('Archive')
        new = server.add_box('Archive')
        new.uidvalidity = box.uidvalidity
        new.add(letter(0, SIZE), date=WHEN)
        for n in range(10, 13):
            new.add(letter(n, SIZE), date=WHEN)
        m.start()
        in_step(m, server, 'Archive')
        octets_right(m, server, 'Archive', what='octets are the new one\'s (%s)' % way)
        # A server whose numbers go back all the time is not compared for ever.
        server.reset()
        for n in range(8):
            known = new.uidnext
            new.add(letter(20 + n, SIZE), date=WHEN)
            in_step(m, server, 'Archive', quiet=True)
            new.expunge([known])
            new.uidnext = known
            in_step(m, server, 'Archive', quiet=True)
        compared = m.log().count('all is compared')
        check(1 < compared < 8, 'but not for ever (%s)' % way, compared)
        octets_right(m, server, 'Archive')
        m.stop()


@case
def another_of_the_same_numbers(t):
    """By its MAILBOXID alone it is another one. What was to be deleted is not deleted there."""
    for way, capabilities in (('QRESYNC', MODERN), ('CONDSTORE', ALL), ('neither', PLAIN)):
        for live in (False, True):
            server = t.add(FakeImap(capabilities + ' OBJECTID'))
            box = server.add_box('Archive')
            for n in range(5):
                box.add(letter(n, SIZE), date=WHEN)
            box.add(letter(50, LARGE), date=WHEN)
            proxy = t.add(Proxy(t.path, server.port))
            name = '%s-%d' % (way, live)
            m = mount(t, server, ['refresh=1', 'timeout=5', 'cache=%s/c-%s' % (t.path, name)],
                      proxy=proxy, name='m-' + name, expect=['.*'])
            names, = in_step(m, server, 'Archive')
            for uid in (1, 2):
                equal(m.read('Archive', names[uid]), truth(server, 'Archive')[uid], 'it is read')
            whole = open(m.p('Archive', names[1]), 'rb')
            part = open(m.p('Archive', names[6]), 'rb', buffering=0)
            begun = part.read(1000)
            proxy.refuse()
            proxy.cut()
            for uid in (3, 4):
                os.unlink(m.p('Archive', names[uid]))
            if not live:
                whole.close()
                part.close()
                wait_for(lambda: False, 1.5)  # until the intent is on the disk
                m.kill()
            with server.lock:
                server.remove_box('Archive')
                new = server.add_box('Archive')
                new.uidvalidity = box.uidvalidity
                for n in range(10, 14):
                    new.add(letter(n, SIZE), date=WHEN)
                new.add(letter(1, SIZE), date=WHEN)
                new.add(letter(51, LARGE), date=WHEN)
            proxy.refuse(False)
            m.start() if not live else None
            in_step(m, server, 'Archive')
            octets_right(m, server, 'Archive', what='octets are the new one\'s (%s)' % name)
            folder = os.open(m.p('Archive'), os.O_RDONLY)
            check(error_of(os.fsync, folder) is not None, 'fsync tells that nothing was deleted')
            os.close(folder)
            equal(len(new.messages), 6, 'nothing is deleted there')
            if live:
                equal(whole.read(), letter(0, SIZE), 'the old handles give the old octets')
                check(letter(50, LARGE).startswith(begun + rest(part)[0]), 'or none')
                whole.close()
                part.close()
            m.stop()
            equal(len(new.messages), 6, 'nor at the end')


@case
def shorter_than_it_was(t):
    """The server gives less than what was opened: a READ behind the end of that, or across it."""
    size = 1_250_000
    for there, offset, length in ((400_000, 500_000, 4096), (1_100_000, 1_200_000, 4096),
                                  (1_100_000, 1_040_000, 100_000),
                                  (1_100_000, 1_090_000, 100_000)):
        name = '%d-%d' % (there, offset)
        server, m, message = start(t, name, size)
        box = server.box('INBOX')
        handle = begin(m, message, size)
        box.faults.body[1] = twin(1, size)[:there]
        got, error = b'', None
        while len(got) < length and error is None:
            try:
                more = os.pread(handle.fileno(), length - len(got), offset + len(got))
                error = None if more else 'the end'
                got += more
            except OSError as failed:
                error = errno.errorcode[failed.errno]
        equal(error, 'EIO', '%s: that is no end of it' % name)
        check(twin(1, size)[offset:offset + length].startswith(got), '%s: no other octets' % name,
              len(got))
        handle.close()
        box.add(letter(2, size), date=WHEN)
        box.faults.body.clear()
        in_step(m, server, 'INBOX')
        handle = open(m.p('INBOX', message), 'rb')
        handle.close()
        check(m.child.running(), '%s: the mount is still there' % name, m.log()[-3000:])
        m.stop()


@case
def renumbered_while_it_is_copied(t):
    """The mailbox is another one, and known as that, when the deletion comes back to it from the
    trash: its UIDs are not those that were meant."""
    server = t.add(FakeImap('IMAP4rev1 UIDPLUS SPECIAL-USE'))
    box = server.box('INBOX')
    box.faults.copyuid = 'none'
    messages = [box.add(letter(n, SIZE), date=WHEN + n) for n in range(6)]
    m = mount(t, server, ['refresh=1'], expect=['.*'])
    names, = in_step(m, server, 'INBOX')
    validity = os.getxattr(m.p('INBOX'), 'user.imap.uidvalidity')
    seen = []

    def renumber(_, line):
        if re.match('EXAMINE "?Trash', line) and not seen and server.received('UID COPY'):
            seen.append(line)
            box.renumber(1, list(reversed(box.messages)))
            seen.append(wait_for(lambda: m.ls('INBOX') and os.getxattr(
                m.p('INBOX'), 'user.imap.uidvalidity') != validity, 20, 0.3))
    server.before = renumber
    os.unlink(m.p('INBOX', names[messages[0].uid]))
    check(wait_for(lambda: len(seen) == 2, 40), 'it is copied')
    check(seen[-1], 'and meanwhile renumbered')
    names, = in_step(m, server, 'INBOX')
    equal([[b for b, _, _ in server.copies(x) if b == 'INBOX'] for x in messages],
          [['INBOX']] * 6, 'all are where they were')
    equal(len(names), 6, 'and listed')
    equal(server.received('UID (STORE|EXPUNGE)'), [], 'nothing is removed')
    folder = os.open(m.p('INBOX'), os.O_RDONLY)
    check(error_of(os.fsync, folder) is not None, 'fsync tells that it was not done')
    os.close(folder)
    octets_right(m, server, 'INBOX')


@case
def used_again_while_a_deletion_waited(t):
    """What was deleted without a line is looked at before it is deleted on the server."""
    for restarted in (False, True):
        name = 'restarted' if restarted else 'live'
        server = t.add(FakeImap(MODERN))
        box = server.box('INBOX')
        for n in range(3):
            box.add(letter(n, SIZE), date=WHEN)
        proxy = t.add(Proxy(t.path, server.port))
        m = mount(t, server, ['refresh=1', 'delete=expunge', 'cache=%s/c-%s' % (t.path, name)],
                  proxy=proxy, name='m-' + name, expect=['.*'])
        names, = in_step(m, server, 'INBOX')
        proxy.refuse(True)
        proxy.cut()
        for uid in (2, 3):
            os.unlink(m.p('INBOX', names[uid]))
        if restarted:
            os.sync()
            wait_for(lambda: False, 2)  # it is written down within a second
            m.kill()
        box.reuse(2, letter(9, SIZE))
        proxy.refuse(False)
        if restarted:
            m.start()
        check(wait_for(lambda: 3 not in truth(server, 'INBOX'), 60, 0.1),
              '%s: what was meant is deleted' % name, m.log()[-3000:])
        check(wait_for(lambda: 'names another message' in m.log(), 60, 0.1),
              '%s: a line tells of the other one' % name, m.log()[-3000:])
        equal(sorted(truth(server, 'INBOX')), [1, 2], '%s: which is not deleted' % name)
        directory = os.open(m.p('INBOX'), os.O_RDONLY)
        check(error_of(os.fsync, directory), '%s: and fsync tells of it' % name)
        os.close(directory)
        m.stop()


main()
