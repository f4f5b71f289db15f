# SPDX-License-Identifier: MIT
"""Listing a mailbox: the first time, after a remount, again."""
import os
import shutil
import subprocess

from common import ENV, TOOLS, Mounted, Raw, median, timed
from tap import Tap

INDEXING_US = 10  # allowed a message, above the raw FETCH


def first(bench, name, delay):
    raw, ours, peaks = [], [], []
    Raw(bench.server.tls_port).stream(name)
    for _ in range(bench.args.rounds):
        raw.append(Raw(bench.proxy.port).stream(name))
        cache = bench.temporary()
        mount = bench.mount(cache)
        ours.append(timed('ls', '-f', os.path.join(mount.path, name)))
        mount.stop()
        peaks.append(mount.peak)
        shutil.rmtree(cache)
    bench.compare('first listing of %s, %d ms' % (name, delay), median(ours), median(raw),
                  'raw FETCH')
    if delay == 0:
        bench.compare('indexing %s' % name, median(ours),
                      median(raw) + bench.boxes[name] * INDEXING_US / 1e6,
                      'raw FETCH + %d us a message' % INDEXING_US)
    peak = max(p['RssAnon'] for p in peaks), max(p['RssFile'] for p in peaks)
    bench.row('memory, listing %s' % name, '%d MiB' % (peak[0] // 1024),
              'RssFile: %d MiB' % (peak[1] // 1024))


def start_floor(bench, listing):
    path = os.path.join(bench.work, 'floor')
    return Mounted(path, [os.path.join(TOOLS, 'floor'), listing, path])


def write_listing(bench, name):
    """What the floor shall show: the same as imapfs."""
    file = os.path.join(bench.work, name + '.list')
    mount = bench.mount(bench.cache_of(name))
    with open(file, 'wb') as f:
        subprocess.run(['find', os.path.join(mount.path, name), '-type', 'f', '-printf',
                        '%s %Ts %f\n'], stdout=f, env=ENV, check=True)
    mount.stop()
    return file


def remounted(bench, name):
    """ls -l, unchanged, against the floor and one SELECT, and against a Maildir."""
    cache, listing, maildir = bench.cache_of(name), write_listing(bench, name), bench.maildir(name)
    ours, again, mounting, floor, floor_again, disk, select = ([] for _ in range(7))
    for _ in range(max(bench.args.rounds, 3)):
        timed('ls', '-l', maildir)
        disk.append(timed('ls', '-l', maildir))
        mount = start_floor(bench, listing)
        floor.append(timed('ls', '-l', mount.path))
        floor_again.append(timed('ls', '-l', mount.path))
        mount.stop()
        raw = Raw(bench.proxy.port)
        select.append(raw.timed('EXAMINE "%s"' % name))
        raw.stop()
        mount = bench.mount(cache)
        ours.append(timed('ls', '-l', os.path.join(mount.path, name)))
        again.append(timed('ls', '-l', os.path.join(mount.path, name)))
        mounting.append(mount.seconds)
        mount.stop()
    bench.compare('ls -l of %s after a remount' % name, median(ours),
                  median(floor) + median(select), 'floor + SELECT')
    bench.compare('ls -l of %s again' % name, median(again), median(floor_again), 'floor')
    bench.compare('ls -l of %s after a remount' % name, median(ours), median(disk), 'Maildir')
    bench.compare('ls -l of %s again' % name, median(again), median(disk), 'Maildir')
    bench.row('mounting, %s in the cache' % name, '%.3f s' % median(mounting),
              'SELECT: %.3f s' % median(select))


def requests(bench, name):
    """What a repeated ls -l and grep ask for."""
    tap = Tap(bench.work, bench.server.port)
    mount = bench.mount_tapped(tap, bench.temporary())
    path = os.path.join(mount.path, name)
    for what, argv in (('ls -l', ('ls', '-l', path)), ('grep -r', ('grep', '-r', 'x4711', path))):
        for _ in range(2):
            timed(*argv)
            tap.quiet()
        tap.reset()
        before = mount.requests()
        seconds = timed(*argv)
        tap.quiet(0.3)
        bench.row('a repeated %s of %s' % (what, name),
                  '%d FUSE requests' % (mount.requests() - before),
                  '%d commands to the server' % len(tap.trace().commands), '%.3f s' % seconds)
    mount.stop()
    tap.stop()


def run(bench):
    names = [bench.small(size) for size in bench.args.sizes]
    names += [bench.real(bench.args.real)] if bench.args.real else []
    for delay in bench.args.delays:
        bench.proxy.delay(delay)
        for name in names:
            if delay == 0 or bench.boxes[name] <= 10000:
                first(bench, name, delay)
    bench.proxy.delay(0)
    for name in names:
        remounted(bench, name)
        if bench.boxes[name] <= 10000:
            requests(bench, name)
