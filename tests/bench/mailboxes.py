# SPDX-License-Identifier: MIT
"""Many mailboxes on one account: how many commands a walk over all costs."""
import collections

import corpus
from common import timed
from tap import Tap

EACH = 2    # messages
CHANGED = 3  # mailboxes


def count(bench, what, tap, mount):
    before = mount.requests()
    seconds = timed('find', mount.path, '-type', 'f', '-printf', '%s')
    tap.quiet(1.5)
    trace = tap.trace()
    kinds = collections.Counter(' '.join(command.split()[:1]).upper()
                                for command in trace.commands)
    bench.row('find in %d mailboxes, %s' % (bench.args.mailboxes, what), '%.3f s' % seconds,
              '%d FUSE requests' % (mount.requests() - before),
              '%d commands: %s' % (len(trace.commands), ', '.join(
                  '%d %s' % (number, kind) for kind, number in kinds.most_common(5)) or 'none'))
    bench.tell(trace)


def run(bench):
    for number in range(bench.args.mailboxes):
        bench.server.deliver('box%04d' % number, corpus.bulk(EACH, seed=10 + number), user='many',
                             own=False)
    bench.fill('INBOX', corpus.bulk(EACH, seed=9), user='many')
    cache = bench.temporary()
    tap = Tap(bench.work, bench.server.port)
    mount = bench.mount_tapped(tap, cache, user='many')
    count(bench, 'first', tap, mount)
    tap.reset()
    count(bench, 'again', tap, mount)
    mount.stop()
    tap.reset()
    mount = bench.mount_tapped(tap, cache, user='many')
    count(bench, 'after a remount', tap, mount)
    mount.stop()
    with bench.server.imap('many') as client:
        for number in range(CHANGED):
            body, when, _ = next(corpus.bulk(1, seed=8))
            client.append('box%04d' % (number * 7), body, '', when)
    tap.reset()
    mount = bench.mount_tapped(tap, cache, user='many')
    count(bench, 'after a remount, %d changed' % CHANGED, tap, mount)
    mount.stop()
    tap.stop()
