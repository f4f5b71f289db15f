# SPDX-License-Identifier: MIT
"""Octets and round trips of reopening a mailbox: mount, ls, until the line is quiet."""
import os
import re

import corpus
from common import ITEMS_DOVECOT, Raw, timed
from tap import Tap

CHANGES = 10
MODES = (('QRESYNC', ()), ('CONDSTORE', ('QRESYNC',)), ('neither', ('QRESYNC', 'CONDSTORE')),
         ('neither, no ESEARCH', ('QRESYNC', 'CONDSTORE', 'ESEARCH')))
TRIPS_LIMIT, OCTETS_LIMIT, A_MESSAGE_LIMIT = 2, 2048, 10


def mostly_read(count):
    """97 of 100 are read, 5 answered, 1 flagged, without a pattern."""
    for number, (body, when, _) in enumerate(corpus.bulk(count, seed=3)):
        mixed = number * 2654435761 % (1 << 32) >> 8
        yield body, when, ('S' if mixed % 100 < 97 else '') + \
            ('R' if mixed // 100 % 100 < 5 else '') + ('F' if mixed // 10000 % 100 < 1 else '')


def reopen(bench, tap, name, cache, options):
    """(Trace, entries listed) of a mount and a first ls."""
    tap.reset()
    mount = bench.mount_tapped(tap, cache, *options)
    path = os.path.join(mount.path, name)
    timed('ls', '-f', path)
    tap.quiet()
    trace, listed = tap.trace(), len(os.listdir(path))
    mount.stop()
    return trace, listed


def change(bench, name, count):
    """What another client does in the meantime, at the mailbox's end, middle and beginning."""
    with bench.server.imap() as client:
        client.select(name)
        uids = client.uids()
        client.expunge(uids[:count // 2] + uids[len(uids) // 2:][:count - count // 2])
        client.store(uids[len(uids) // 3:][:count // 2] + uids[-count:][:count - count // 2],
                     '+FLAGS', '\\Flagged')
        for body, when, _ in corpus.bulk(count, seed=4):
            client.append(name, body, '\\Seen', when)


def raw_changes(bench, name, state):
    """Octets of asking for what changed since `state`, in the fewest words."""
    tap = Tap(bench.work, bench.server.port)
    raw = Raw(tap.port, tls=False)
    raw.ask('ENABLE QRESYNC')
    raw.ask('EXAMINE "%s" (QRESYNC (%d %d))' % (name, state['UIDVALIDITY'],
                                                state['HIGHESTMODSEQ']))
    raw.ask('UID FETCH %d:* %s' % (state['UIDNEXT'], ITEMS_DOVECOT))
    octets = tap.trace().of(name).octets
    raw.stop()
    tap.stop()
    return octets


def state_of(bench, name):
    items = ('UIDVALIDITY', 'UIDNEXT', 'HIGHESTMODSEQ')
    with bench.server.imap() as client:
        text = client.ok(client.c.status('"%s"' % name, '(%s)' % ' '.join(items)))[0].decode()
    return {item: int(re.search(item + r' (\d+)', text).group(1)) for item in items}


def judge(bench, what, trace, name, size, extended):
    inside = trace.of(name)
    if extended:
        bench.limit(what + ': octets from SELECT on', inside.octets, OCTETS_LIMIT)
        bench.limit(what + ': round trips from SELECT on', inside.trips, TRIPS_LIMIT)
    else:
        bench.limit(what + ': octets a message', inside.octets / size, A_MESSAGE_LIMIT, '%.2f')
        bench.row(what + ': round trips from SELECT on', '%d' % inside.trips)
    bench.row(what + ': all connections, with the login', '%d octets' % trace.octets,
              '%d round trips on %d connections' % (trace.trips, trace.connections))


def mode(bench, tap, name, size, words, without):
    options = ('without=' + ':'.join(without),) if without else ()
    cache = bench.temporary()
    reopen(bench, tap, name, cache, options)
    what = 'reopening %s, %s' % (name, words)
    # What is asked twice depends on which connection is up first: the worst counts.
    still = max((reopen(bench, tap, name, cache, options)[0] for _ in range(bench.args.rounds)),
                key=lambda trace: (trace.of(name).trips, trace.of(name).octets))
    judge(bench, what, still, name, size, not without)
    bench.tell(still)
    state = state_of(bench, name)
    change(bench, name, CHANGES)
    changed, listed = reopen(bench, tap, name, cache, options)
    if listed != size:
        bench.row(what + ': WRONG', '%d entries' % listed, '%d messages' % size)
    inside = changed.of(name)
    raw = raw_changes(bench, name, state)
    bench.row('%s, after %d came, %d went, %d changed: octets from SELECT on'
              % (what, CHANGES, CHANGES, CHANGES), '%d' % inside.octets,
              'the same asked raw, by QRESYNC: %d' % raw, '%.2f' % (inside.octets / raw))
    bench.row(what + ', after those: round trips from SELECT on', '%d' % inside.trips)
    bench.row(what + ', after those: octets above nothing changed',
              '%d' % (inside.octets - still.of(name).octets))
    bench.tell(changed)


def run(bench):
    for size in bench.args.wire_sizes:
        name = 'wire%d' % size
        bench.fill(name, mostly_read(size))
        Raw(bench.server.tls_port).stream(name)
        tap = Tap(bench.work, bench.server.port)
        for words, without in MODES:
            mode(bench, tap, name, size, words, without)
        tap.stop()
