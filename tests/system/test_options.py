#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Logins, certificates, what the options do, and what the program says when it fails."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeimap import FakeImap  # noqa: E402
from harness import (IMAPFS, Dovecot, Mount, Proxy, case, check, equal, error_of, main, mount,  # noqa: E402
                     need, run, wait_for)

MESSAGE = b'From: a@example.org\r\nSubject: hello\r\nDate: Fri, 3 May 2024 14:12:05 +0000\r\n\r\nx\r\n'


def secure(t, server, options=(), scheme='imaps', **more):
    port = server.tls_port if scheme == 'imaps' else server.port
    return t.add(Mount(t, '%s://alice@localhost:%d' % (scheme, port),
                       ['cafile=' + server.cafile, *options], **more))


def attempt(t, source, *options, secret='secret', point=None):
    """Tries to mount in the background: (status, what it printed)."""
    directory = point or t.path + '/never'
    if point is None:
        os.makedirs(directory, exist_ok=True)
    path = t.path + '/attempt-secret'
    with open(path, 'w') as f:
        f.write(secret + '\n')
    os.chmod(path, 0o600)
    argv = [IMAPFS, source, directory, '-o', 'timeout=5', '-o', 'cache=' + t.path + '/attempt']
    if not any(o.startswith(('passcmd', 'tokencmd')) for o in options):
        argv += ['-o', 'passfile=' + path]
    for option in options:
        argv += ['-o', option]
    result = run(*argv, timeout=60)
    if result.code == 0:
        run('fusermount3', '-u', directory)
    text = result.err if isinstance(result.err, str) else result.err.decode()
    return result.code, text


@case
def mechanisms(t):
    server = t.add(Dovecot(t.path, mechanisms='plain login cram-md5 scram-sha-1 scram-sha-256'))
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000)])
    for number, mechanism in enumerate(('PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1',
                                        'SCRAM-SHA-256')):
        for scheme in ('imaps', 'imap'):
            m = secure(t, server, ['auth=' + mechanism, 'cache=%s/c%d%s' % (t.path, number, scheme)],
                       scheme=scheme, name='m%d%s' % (number, scheme))
            equal(len(m.ls('INBOX')), 1, '%s over %s' % (mechanism, scheme))
            m.stop()
    code, text = attempt(t, 'imaps://alice@localhost:%d' % server.tls_port, 'auth=GSSAPI',
                         'cafile=' + server.cafile)
    check(code == 1 and 'GSSAPI' in text, 'a mechanism that is not offered', text)


@case
def tokens(t):
    server = t.add(Dovecot(t.path, mechanisms='plain xoauth2 oauthbearer', tokens={'good-token': 'alice'}))
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000)])
    for mechanism in ('XOAUTH2', 'OAUTHBEARER'):
        counter = t.path + '/' + mechanism
        # The first token has expired: the command is run again.
        command = 'test -e %s && echo good-token || { touch %s; echo old-token; }' % (counter, counter)
        m = secure(t, server, ['auth=' + mechanism, 'tokencmd=' + command,
                               'cache=%s/c%s' % (t.path, mechanism)], passfile=False,
                   name='m' + mechanism)
        equal(len(m.ls('INBOX')), 1, mechanism)
        m.stop()


@case
def client_certificates(t):
    server = t.add(Dovecot(t.path, mechanisms='plain external', client_certs=True,
                           extra='auth_ssl_username_from_cert = yes\n'))
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000)])
    certificate, key = server.authority.cert('client:alice')
    m = secure(t, server, ['certfile=' + certificate, 'keyfile=' + key, 'auth=EXTERNAL'],
               passfile=False)
    equal(len(m.ls('INBOX')), 1, 'EXTERNAL')


@case
def certificates(t):
    for number, (kind, words) in enumerate((('expired', 'expired'), ('wrongname', 'elsewhere'),
                                            ('selfsigned', 'itself'), ('good', None))):
        path = '%s/%d' % (t.path, number)
        os.makedirs(path)
        os.chmod(path, 0o711)
        server = t.add(Dovecot(path, certificate=kind))
        for scheme, port in (('imaps', server.tls_port), ('imap', server.port)):
            code, text = attempt(t, '%s://alice@localhost:%d' % (scheme, port),
                                 'cafile=' + server.cafile)
            if words:
                check(code == 1 and (words in text or 'self' in text) and text.count('\n') == 1,
                      '%s over %s' % (kind, scheme), text)
            else:
                equal((code, text), (0, ''), 'a good one over ' + scheme)
        if kind == 'good':
            code, text = attempt(t, 'imaps://alice@localhost:%d' % server.tls_port)
            check(code == 1 and 'cafile' in text, 'an authority that is not known', text)


@case
def what_fails_is_told(t):
    server = t.add(Dovecot(t.path))
    url = 'imaps://alice@localhost:%d' % server.tls_port
    trust = 'cafile=' + server.cafile
    full = t.path + '/full'
    os.makedirs(full + '/x')
    for source, options, more, status, words in (
            ('http://x', (), {}, 2, 'imaps://'),
            ('imaps://alice:pass@host', (), {}, 2, 'password'),
            (url, (trust, 'delete=never'), {}, 2, 'trash|expunge|mark'),
            ('imaps://alice@no.such.host.invalid', (trust,), {}, 1, 'no.such.host.invalid'),
            ('imaps://alice@localhost:1', (trust,), {}, 1, 'refused'),
            (url, (trust,), {'secret': 'wrong'}, 1, 'alice'),
            (url, (trust, 'passcmd=exit 3'), {}, 1, 'passcmd'),
            (url, (trust, 'cafile=/nonexistent'), {}, 1, '/nonexistent'),
            (url, (trust,), {'point': t.path + '/absent'}, 1, 'absent'),
            (url, (trust,), {'point': full}, 1, 'not empty')):
        code, text = attempt(t, source, *options, **more)
        lines = [line for line in text.splitlines() if not line.startswith('Try:')]
        check(code == status and len(lines) == 1 and words in text,
              'one line about %s' % words, (code, text))
        check('pass@' not in text, 'without the secret')
    code, text = attempt(t, url, trust, 'bogus')
    check(code == 1 and 'unknown option' in text and 'bogus' in text, 'what option it was', text)
    m = secure(t, server)
    code, text = attempt(t, url, trust, point=m.path)
    check(code == 1 and 'unmount' in text, 'a mount point in use', text)
    busy = attempt(t, url, trust, 'cache=' + os.path.join(t.path, 'b'))
    equal(busy[0], 0, 'another cache is another mount')


@case
def compression(t):
    server = t.add(Dovecot(t.path, compress=True))
    body = MESSAGE + b'All work and no play makes for a line of text.\r\n' * 40000
    server.deliver('INBOX', [(body, 1_700_000_000)])
    proxy = t.add(Proxy(t.path, server.port))
    m = mount(t, server, proxy=proxy)
    equal(m.read('INBOX', m.ls('INBOX')[0]), body, 'octets through COMPRESS')
    check(proxy.stats()['down'] < len(body) // 4, 'fewer on the wire', proxy.stats())


@case
def names_by_uid(t):
    server = t.add(FakeImap())
    box = server.box('INBOX')
    box.add(MESSAGE)
    m = mount(t, server, options=['names=uid'])
    equal(m.ls('INBOX'), ['%d.1.eml' % box.uidvalidity], 'UIDVALIDITY.UID.eml')
    equal(server.received('HEADER'), [], 'no headers were asked for')


@case
def seen(t):
    server = t.add(Dovecot(t.path))
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000 + n) for n in range(3)])
    m = mount(t, server, options=['seen'])
    names = m.messages('INBOX')
    m.read('INBOX', names[2])
    m.stop()
    with server.imap() as client:
        client.examine('INBOX')
        equal({u for u, f in client.flags().items() if '\\Seen' in f}, {2}, 'what was read is seen')


@case
def attributes_and_quota(t):
    server = t.add(Dovecot(t.path, quota=1000))
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000, 'SF')])
    m = mount(t, server)
    name = m.ls('INBOX')[0]
    equal(m.xattr('user.imap.flags', 'INBOX', name), '\\Seen \\Flagged', 'flags')
    equal(m.xattr('user.imap.uid', 'INBOX', name), '1', 'UID')
    check('user.imap.uidvalidity' in os.listxattr(m.p('INBOX', name)), 'listed')
    equal(error_of(os.getxattr, m.p('INBOX', name), 'user.other'), 'ENODATA', 'another one')
    check(error_of(os.getxattr, m.p('INBOX', name), 'security.selinux') in ('EOPNOTSUPP', 'ENOTSUP'),
          'not ours')
    equal(error_of(os.setxattr, m.p('INBOX', name), 'user.imap.flags', b'x'), 'EPERM', 'not yet set')
    stat = os.statvfs(m.path)
    equal(stat.f_blocks * stat.f_frsize, 1000 * 1024, 'df shows the quota')
    entry = os.stat(m.p('INBOX', name))
    equal(int(entry.st_mtime), 1_700_000_000, 'mtime is INTERNALDATE')
    equal((entry.st_mode & 0o777, entry.st_size), (0o600, len(MESSAGE)), 'mode and size')
    for call, arguments in ((open, (m.p('new'), 'w')), (os.mkdir, (m.p('dir'),)),
                            (os.rename, (m.p('INBOX', name), m.p('Trash', name))),
                            (os.rmdir, (m.p('Trash'),)), (os.truncate, (m.p('INBOX', name), 0))):
        equal(error_of(call, *arguments), 'EPERM', 'not yet: %s' % call.__name__)


@case
def odd_mailbox_names(t):
    server = t.add(FakeImap(delimiter='.'))
    for name in ('a/b', 'x&y', '..', 'Entw&APw-rfe', 'p.q.r', 'tab\tname', '50%20'):
        server.add_box(name)
    m = mount(t, server)
    names = m.ls()
    for name in ('a%2Fb', '%2E%2E' if False else 'Entwürfe', 'p', '50%2520'):
        check(name in names, name, names)
    check(all('/' not in n and n not in ('.', '..') for n in names), 'none leaves its directory')
    equal(m.ls('p', 'q'), ['r'], 'mailboxes within mailboxes')


@case
def unmounting(t):
    server = t.add(Dovecot(t.path))
    for how in ('fusermount', 'term'):
        m = mount(t, server, name='m' + how, options=['cache=%s/%s' % (t.path, how)])
        m.ls()
        m.stop(how=how)
        check(not os.path.ismount(m.path), 'gone after ' + how)
    # The kernel says nothing of what is still open then.
    server.deliver('INBOX', [(MESSAGE, 1_700_000_000)])
    m = mount(t, server, name='open', options=['cache=%s/open' % t.path])
    name, = m.ls('INBOX')
    handles = [os.open(m.p('INBOX', *more), os.O_RDONLY) for more in ((), (name,))]
    os.listdir(handles[0])
    m.stop(how='term')
    for handle in handles:
        os.close(handle)
    code, text = attempt(t, 'imap://alice@127.0.0.1:%d' % server.port, 'tls=off')
    equal((code, text), (0, ''), 'into the background and back')
    need(wait_for(lambda: not os.path.ismount(t.path + '/never'), 10), 'unmounted')
    time.sleep(0.2)


main()
