#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Messages that other clients move and copy: names, inodes and downloaded bodies go with them,
and what only looks alike never shows another's octets."""
import errno
import os
import random
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import ALL, MODERN, PLAIN, FakeImap  # noqa: E402
from follow import (WHEN, forged, forged_header, in_step, inodes, letter, octets_right,  # noqa: E402
                    truth, used, wrong_octets)
from harness import Dovecot, Proxy, case, check, equal, main, mount, wait_for  # noqa: E402

SIZE = 20_000
BOXES = ('INBOX', 'Archive', 'Other')


class Fake:
    """A FakeImap with what these tests ask of any server."""

    def __init__(self, t, capabilities, x_guid=False):
        self.server = t.add(FakeImap(capabilities, x_guid=x_guid))
        self.ids = x_guid or 'OBJECTID' in capabilities
        for name in BOXES[1:]:
            self.server.add_box(name)
        self.port = self.server.port

    def add(self, mailbox, octets, when=WHEN):
        self.server.box(mailbox).add(octets, date=when)

    def _message(self, mailbox, octets):
        return next(x for x in self.server.box(mailbox).messages if x.body == octets)

    def move(self, octets, source, target):
        self.server.move(self._message(source, octets), target)

    def copy(self, octets, source, target):
        self.server.copy(self._message(source, octets), target)

    def reset(self):
        self.server.reset()

    def fetched(self):
        """How many bodies were fetched since reset(); sizes are all the same."""
        return len(self.server.fetched)


class Real:
    """The same, a Dovecot behind a proxy that counts."""

    def __init__(self, t, name, **more):
        self.server = t.add(Dovecot(os.path.join(t.path, name), **more))
        self.proxy = t.add(Proxy(t.path, self.server.port))
        self.port = self.proxy.port
        self.ids = True
        with self.server.imap() as client:
            for box in BOXES[1:]:
                client.create(box)

    def add(self, mailbox, octets, when=WHEN):
        with self.server.imap() as client:
            client.append(mailbox, octets, date=when)

    def _do(self, verb, octets, source, target):
        with self.server.imap() as client:
            client.select(source)
            uid = next(u for u, b in client.bodies().items() if b == octets)
            getattr(client, verb)([uid], target)

    def move(self, octets, source, target):
        self._do('move', octets, source, target)

    def copy(self, octets, source, target):
        self._do('copy', octets, source, target)

    def reset(self):
        self.proxy.reset()

    def fetched(self):
        return self.proxy.stats()['down'] // SIZE


def kinds(t):
    """(name, server, options) of each kind of identity."""
    yield 'emailid', Fake(t, MODERN + ' OBJECTID'), []
    yield 'emailid-plain', Fake(t, PLAIN + ' OBJECTID'), []
    yield 'guid', Fake(t, ALL, x_guid=True), []
    yield 'dovecot', Real(t, 'dovecot'), []
    yield 'none', Fake(t, MODERN), []
    yield 'none-plain', Fake(t, PLAIN), []
    without = Real(t, 'without')
    without.ids = False
    yield 'dovecot-none', without, ['without=X-GUID']


def fresh(t, name, server, options=(), **more):
    return mount(t, server, options=['cache=%s/c-%s' % (t.path, name), *options],
                 name='m-' + name, **more)


def by_octets(server, mailbox, names):
    """{octets: name} of a listing {uid: name}."""
    return {body: names[uid] for uid, body in truth(server, mailbox).items()}


def steps(m, server, order, live):
    """Looks at the mailboxes in that order, each until it is in step."""
    if live:
        for mailbox in order:
            m.ls(mailbox)
    return {box: in_step(m, server, box)[0] for box in order}


def moved_and_copied(t, name, kind, options, order, live):
    server = kind.server
    letters = [letter(n, SIZE) for n in range(6)]
    for octets in letters:
        kind.add('INBOX', octets)
    m = fresh(t, name, kind, [*options, 'refresh=1'], expect=['.*'])
    for box in BOXES:
        in_step(m, server, box, quiet=True)
    octets_right(m, server, *BOXES)
    names = by_octets(server, 'INBOX', m.messages('INBOX'))
    before = inodes(m, 'INBOX')
    if not live:
        m.stop()
    kind.reset()
    kind.move(letters[0], 'INBOX', 'Archive')
    kind.move(letters[1], 'INBOX', 'Other')
    kind.copy(letters[2], 'INBOX', 'Archive')
    kind.copy(letters[2], 'INBOX', 'Other')
    if not live:
        m.start()
    found = steps(m, server, order, live)
    inode = {box: inodes(m, box) for box in BOXES}
    for i, target in ((0, 'Archive'), (1, 'Other')):
        old = names[letters[i]]
        equal(list(by_octets(server, target, found[target]).get(x) for x in (letters[i],)), [old],
              'a moved one keeps its name (%s)' % name)
        equal(inode[target].get(old), before[old], 'and its inode')
    old = names[letters[2]]
    places = [inode[box].get(old) for box in BOXES]
    equal(places[0], before[old], 'a copied one keeps the inode where it was')
    check(None not in places and len(set(places)) == 3, 'and has others elsewhere', places)
    equal({n: inode['INBOX'].get(n) for x in letters[3:] for n in [names[x]]},
          {names[x]: before[names[x]] for x in letters[3:]}, 'the others stay')
    octets_right(m, server, *BOXES)
    fetched = kind.fetched()
    if kind.ids:
        equal(fetched, 0, 'nothing was fetched again (%s)' % name)
    else:
        check(2 <= fetched <= 4, 'once more for each place', fetched)
    octets_right(m, server, *BOXES)
    m.remount()
    octets_right(m, server, *BOXES)
    equal(kind.fetched(), fetched, 'and never again')
    equal([inodes(m, box) for box in BOXES], [inode[box] for box in BOXES], 'inodes stay')
    m.stop()


@case
def source_first(t):
    for name, kind, options in kinds(t):
        moved_and_copied(t, name, kind, options, BOXES, False)
        kind.server.stop()


@case
def target_first(t):
    for name, kind, options in kinds(t):
        moved_and_copied(t, name, kind, options, BOXES[::-1], False)
        kind.server.stop()


@case
def while_mounted(t):
    for name, kind, options in kinds(t):
        moved_and_copied(t, name, kind, options, BOXES[::-1], True)
        kind.server.stop()


@case
def away_and_back(t):
    """With the place between seen, and not."""
    for name, kind, options in kinds(t):
        server = kind.server
        octets, stays = letter(1, SIZE), letter(2, SIZE)
        kind.add('INBOX', octets)
        kind.add('INBOX', stays)
        m = fresh(t, name, kind, [*options, 'refresh=1'], expect=['.*'])
        names, _, _ = in_step(m, server, *BOXES)
        old = by_octets(server, 'INBOX', names)[octets]
        ino = inodes(m, 'INBOX')[old]
        octets_right(m, server, 'INBOX')
        kind.reset()
        for seen in (True, False):
            kind.move(octets, 'INBOX', 'Archive')
            if seen:
                in_step(m, server, 'Archive', 'INBOX')
                equal(inodes(m, 'Archive').get(old), ino, 'moved (%s)' % name)
            else:
                m.stop()
            kind.move(octets, 'Archive', 'INBOX')
            if not seen:
                m.start()
            in_step(m, server, 'INBOX', 'Archive')
            equal(inodes(m, 'INBOX').get(old), ino, 'and back, with name and inode (%s, %s)' % (
                name, 'seen' if seen else 'not seen'))
        octets_right(m, server, *BOXES)
        fetched = kind.fetched()
        check(fetched == 0 if kind.ids else fetched <= 1, 'fetched no more than needed', fetched)
        m.stop()
        server.stop()


@case
def moved_before_it_was_read(t):
    """Partly cached, or not at all."""
    for name, kind, options in kinds(t):
        server = kind.server
        big, small = letter(1, 3_000_000), letter(2, SIZE)
        for octets in (big, small):
            kind.add('INBOX', octets)
        m = fresh(t, name, kind, [*options, 'refresh=1'], expect=['.*'])
        names = by_octets(server, 'INBOX', in_step(m, server, *BOXES)[0])
        before = inodes(m, 'INBOX')
        with open(m.p('INBOX', names[big]), 'rb', buffering=0) as f:
            equal(f.read(5000), big[:5000], 'a part is read')
        kind.move(big, 'INBOX', 'Archive')
        kind.move(small, 'INBOX', 'Archive')
        in_step(m, server, 'Archive', 'INBOX')
        equal(inodes(m, 'Archive'), before, 'names and inodes are carried (%s)' % name)
        octets_right(m, server, 'Archive')
        m.stop()
        server.stop()


@case
def stored_once(t):
    """However many mailboxes it stands in, with and without an id."""
    size = 900_000
    for name, kind, options in kinds(t):
        server = kind.server
        octets = letter(1, size)
        kind.add('INBOX', octets)
        m = fresh(t, name, kind, [*options, 'refresh=1'], expect=['.*'])
        in_step(m, server, *BOXES)
        octets_right(m, server, 'INBOX')
        m.stop()
        cache = '%s/c-%s' % (t.path, name)
        before = used(cache)
        check(before > size, 'it is in the cache')
        for box in BOXES[1:]:
            kind.copy(octets, 'INBOX', box)
            kind.copy(octets, 'INBOX', box)  # twice in one mailbox
        m.start()
        in_step(m, server, *BOXES)
        octets_right(m, server, *BOXES)
        m.stop()
        m.start()
        octets_right(m, server, *BOXES)
        m.stop()
        grown = used(cache) - before
        check(grown < 1.5 * size, 'five places take the room of one (%s)' % name, grown)
        server.stop()


@case
def gmail_labels(t):
    server = t.add(FakeImap('IMAP4rev1 LITERAL+ UIDPLUS MOVE IDLE CONDSTORE ENABLE ESEARCH '
                            'SPECIAL-USE UNSELECT X-GM-EXT-1'))
    every = '[Gmail]/All Mail'
    for name in ('Work', 'Home', 'Two words', 'Priv&AOk-'):
        server.add_box(name)
    messages = [server.box(every).add(letter(n, SIZE), date=WHEN + n) for n in range(4)]
    server.label(messages[0], 'INBOX', 'Work')
    server.label(messages[1], 'Work', 'Home')
    server.label(messages[2], 'INBOX')
    m = mount(t, server, options=['refresh=1'], expect=['.*'])
    places = ('INBOX', 'Work', 'Home', every)

    def look():
        return {box: by_octets(server, box, in_step(m, server, box, quiet=True)[0])
                for box in places}
    found = look()
    equal({box: len(names) for box, names in found.items()},
          {'INBOX': 2, 'Work': 2, 'Home': 1, every: 4}, 'labels are directories')
    octets_right(m, server, *places)
    equal([server.fetches(x) for x in messages], [1, 1, 1, 1], 'each is fetched once')
    body = messages[0].body
    name = found[every][body]
    equal([found[box].get(body) for box in ('INBOX', 'Work')], [name] * 2, 'with one name')
    equal(len({inodes(m, box)[name] for box in ('INBOX', 'Work', every)}), 3, 'and three inodes')

    def labels(box, octets=body):
        try:
            text = m.xattr('user.imap.labels', box, found[box][octets])
        except OSError as error:
            equal(error.errno, errno.ENODATA, 'none is none')
            return []
        return sorted(a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', text))
    equal(labels('INBOX'), ['Work'], 'user.imap.labels in INBOX')
    equal(labels(every), ['Work', '\\Inbox'], 'and in All Mail')
    equal(labels(every, messages[3].body), [], 'of one that has none')
    server.label(messages[3], 'INBOX', 'Two words', 'Priv&AOk-')
    check(wait_for(lambda: labels(every, messages[3].body) == ['Priv\u00e9', 'Two words', '\\Inbox'],
                   20, 0.2), 'labels are spelled as mailboxes are', labels(every, messages[3].body))
    equal(m.ls('Two words') + m.ls('Priv\u00e9'), [found[every][messages[3].body]] * 2,
          'and are directories')
    work = next(x for x in server.box('Work').messages if x.body == body)
    ino = inodes(m, 'Work')[name]
    server.move(work, 'Home')
    server.relabelled(messages[0], server.box('Home'))
    found = look()
    equal(inodes(m, 'Home').get(name), ino, 'another label: the file is in another directory')
    check(name not in m.ls('Work'), 'and not where it was')
    check(wait_for(lambda: labels('INBOX') == ['Home'], 20, 0.2), 'its labels are told',
          labels('INBOX'))
    octets_right(m, server, *places)
    equal([server.fetches(x) for x in messages], [1, 1, 1, 1], 'nothing was fetched again')
    m.remount()
    octets_right(m, server, *places)
    equal([server.fetches(x) for x in messages], [1, 1, 1, 1], 'nor after a remount')


def storm(t, name, kind, options, make, seed):
    """Three forged ones, moved and copied at random, read and unread, the mount up and down."""
    rand = random.Random(seed)
    server = kind.server
    for variant in range(3):
        kind.add(BOXES[variant % 2], make(7, variant, SIZE))
    kind.add('INBOX', letter(8, SIZE))
    m = fresh(t, name, kind, [*options, 'refresh=1'], expect=['.*'])
    in_step(m, server, *BOXES, quiet=True)
    bad = []
    for step in range(9):
        down = rand.random() < 0.4
        if down:
            m.stop()
        for _ in range(rand.randint(1, 3)):
            source = rand.choice([b for b in BOXES if truth(server, b)])
            octets = rand.choice(sorted(truth(server, source).values()))
            target = rand.choice([b for b in BOXES if b != source])
            full = sum(len(truth(server, b)) for b in BOXES) > 9
            (kind.move if full or rand.random() < 0.6 else kind.copy)(octets, source, target)
        if down:
            m.start()
        order = rand.sample(BOXES, 3)
        in_step(m, server, *order, quiet=True)
        read = rand.sample(BOXES, rand.randint(1, 3))
        bad += [(step, *b) for b in wrong_octets(m, server, *read)]
    bad += wrong_octets(m, server, *BOXES)
    check(bad == [], 'forged ones never show each other\'s octets (%s)' % name,
          '%s\n%s' % (bad, m.log()[-3000:]) if bad else None)
    m.stop()


@case
def forged_bodies(t):
    for seed, (name, kind, options) in enumerate(kinds(t)):
        storm(t, name, kind, options, forged, seed)
        kind.server.stop()


@case
def forged_headers(t):
    for seed, (name, kind, options) in enumerate(kinds(t)):
        storm(t, name, kind, options, forged_header, 100 + seed)
        kind.server.stop()


@case
def forged_in_the_place_of_another(t):
    """The one that was known goes, and one that looks the same comes elsewhere: the very case
    where only the octets tell."""
    for cached in (True, False):
        for order in (BOXES, BOXES[::-1]):
            kind = Fake(t, MODERN)
            server = kind.server
            one, other = forged(1, 1, SIZE), forged(1, 2, SIZE)
            kind.add('INBOX', one)
            m = fresh(t, '%d%s' % (cached, order[0]), kind, ['refresh=1'], expect=['.*'])
            name = list(in_step(m, server, *BOXES)[0].values())[0]
            if cached:
                equal(m.read('INBOX', name), one, 'the known one')
            with open(m.p('INBOX', name), 'rb') as held:
                first = held.read(100)
                server.box('INBOX').expunge([1])
                kind.add('Archive', other)
                in_step(m, server, *order)
                equal(m.ls('Archive'), [name], 'it has that name')
                octets_right(m, server, 'Archive', what='its own octets')
                equal(first + held.read(), one, 'the old handle has the old octets')
            octets_right(m, server, 'Archive')
            m.remount()
            octets_right(m, server, 'Archive', what='after a remount, too')
            m.stop()


@case
def held_by_the_kernel(t):
    """The kernel has pages of the one that went; the forged one must not show them."""
    kind = Fake(t, MODERN)
    server = kind.server
    one, other = forged(1, 1, SIZE), forged(1, 2, SIZE)
    kind.add('INBOX', one)
    m = mount(t, kind, ['refresh=1'], expect=['.*'])
    name = list(in_step(m, server, *BOXES)[0].values())[0]
    for _ in range(3):
        equal(m.read('INBOX', name), one, 'the known one, from the kernel')
    server.box('INBOX').expunge([1])
    kind.add('INBOX', other)
    in_step(m, server, 'INBOX')
    octets_right(m, server, 'INBOX', what='the one that came in its place')
    kind.move(other, 'INBOX', 'Archive')
    kind.add('INBOX', one)
    in_step(m, server, 'Archive', 'INBOX')
    octets_right(m, server, *BOXES, what='each its own')


@case
def ids_that_are_none(t):
    """NIL and empty ids are the same for all, and prove nothing."""
    for what in ('NIL', '()', '""'):
        kind = Fake(t, MODERN + ' OBJECTID')
        server = kind.server
        for box in ('INBOX', 'Archive'):
            server.box(box).faults.ids = {uid: what for uid in range(1, 9)}
        for variant in range(3):
            kind.add('INBOX', forged(1, variant, SIZE))
        m = fresh(t, str(len(what)) + what.strip('()"'), kind, ['refresh=1'], expect=['.*'])
        in_step(m, server, *BOXES)
        octets_right(m, server, 'INBOX', what='with %s for an id' % what)
        kind.move(forged(1, 1, SIZE), 'INBOX', 'Archive')
        kind.copy(forged(1, 2, SIZE), 'INBOX', 'Archive')
        in_step(m, server, 'Archive', 'INBOX')
        octets_right(m, server, *BOXES)
        m.stop()


main()
