# SPDX-License-Identifier: MIT
"""Reading messages: cold against mbsync and one FETCH a message, warm against a Maildir."""
import os
import shutil

from common import Raw, median, timed


def mbsync(bench, name, port):
    top = bench.temporary()
    with open(top + '/rc', 'w') as f:
        f.write('IMAPAccount a\nHost localhost\nPort %d\nUser alice\nPass secret\n'
                'SSLType IMAPS\nCertificateFile %s\n\nIMAPStore r\nAccount a\n\n'
                'MaildirStore l\nPath %s/\nInbox %s/inbox\nSubFolders Verbatim\n\n'
                'Channel c\nFar :r:\nNear :l:\nPatterns %s\nCreate Near\nSync Pull\n'
                'SyncState *\n' % (port, bench.server.cafile, top, top, name))
    seconds = timed('mbsync', '-q', '-c', top + '/rc', 'c')
    seconds += timed('grep', '-r', 'xylographer', top + '/' + name)
    shutil.rmtree(top)
    return seconds


def cold(bench, name, delay, cache):
    bench.proxy.reset()
    mount = bench.mount(cache)
    seconds = timed('grep', '-r', 'xylographer', os.path.join(mount.path, name))
    mount.stop()
    stats = bench.proxy.stats()
    bench.row('octets of a cold grep of %s' % name, '%d down' % stats['down'],
              '%d up' % stats['up'])
    if shutil.which('mbsync'):
        bench.compare('cold grep -r of %s, %d ms' % (name, delay), seconds,
                      mbsync(bench, name, bench.proxy.port), 'mbsync + grep')
    count = min(bench.boxes[name], 500)
    loop = Raw(bench.proxy.port).one_by_one(name, count) * bench.boxes[name] / count
    bench.compare('cold grep -r of %s, %d ms' % (name, delay), seconds, loop,
                  'one FETCH a message')


def warm(bench, name, cache):
    grep, tar, disk_grep, disk_tar = [], [], [], []
    maildir = bench.maildir(name)
    for _ in range(bench.args.rounds):
        mount = bench.mount(cache)
        timed('grep', '-r', 'xylographer', maildir)
        disk_grep.append(timed('grep', '-r', 'xylographer', maildir))
        disk_tar.append(timed(shell='tar cf - -C %s . | cat' % maildir))
        grep.append(timed('grep', '-r', 'xylographer', os.path.join(mount.path, name)))
        mount.stop()
        mount = bench.mount(cache)
        tar.append(timed(shell='tar cf - -C %s/%s . | cat' % (mount.path, name)))
        mount.stop()
    bench.compare('warm grep -r of %s after a remount' % name, median(grep), median(disk_grep),
                  'Maildir')
    bench.compare('warm tar of %s after a remount' % name, median(tar), median(disk_tar),
                  'Maildir')


def run(bench):
    names = [bench.small(size) for size in bench.args.sizes if size <= 10000]
    names += [bench.real(bench.args.real)] if bench.args.real else []
    for delay in bench.args.delays:
        bench.proxy.delay(delay)
        for name in names:
            if delay and bench.boxes[name] > 2000:
                continue
            cache = bench.temporary()
            cold(bench, name, delay, cache)
            if delay == 0:
                warm(bench, name, cache)
            shutil.rmtree(cache)
    bench.proxy.delay(0)
