# SPDX-License-Identifier: MIT
"""What tests need that follow messages from place to place: letters, forged ones among them, and
comparisons of a mount with what the server holds. The server is a Dovecot, Cyrus, Courier or
FakeImap.
"""
import hashlib
import os
import threading

from harness import check, error_of, sha, wait_for

WHEN = 1_700_000_000


def letter(number, size=4000, text=b'', extra=b''):
    """A message of its own; `text` and `extra` (header lines) make others of the same number
    out of it, which have its name."""
    head = (b'Received: from a.example.org by b.example.org; Tue, 14 Nov 2023 22:13:20 +0000\r\n'
            b'From: Sender %d <s%d@example.org>\r\nTo: you@example.org\r\nSubject: letter %d\r\n'
            b'Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <letter.%d@example.org>\r\n'
            b'%s\r\n' % (number, number, number, number, extra))
    body = text + b''.join(b'%s\r\n' % hashlib.sha256(
        b'%d %d' % (number, i)).hexdigest().encode() for i in range(size // 66 + 1))
    return (head + body)[:max(size, len(head) + len(text)) - 2] + b'\r\n'


def forged(number, variant, size=4000):
    """Shares every header, the size and the date with all variants; differs in the body."""
    return letter(number, size, b'This is the forged variant %08d of it.\r\n' % variant)


def forged_header(number, variant, size=4000):
    """The same, but it differs in a header that no name is made of."""
    return letter(number, size, extra=b'X-Variant: %08d\r\n' % variant)


def raw_name(server, mailbox):
    """The server's name of what is shown as `mailbox`."""
    return server.name(mailbox) if hasattr(server, 'name') else mailbox


def truth(server, mailbox):
    """{uid: octets}, what is marked as deleted left out."""
    if hasattr(server, 'boxes'):
        with server.lock:
            return {m.uid: m.body for m in server.box(mailbox).messages
                    if '\\Deleted' not in m.flags}
    with server.imap() as client:
        client.examine(raw_name(server, mailbox))
        flags = client.flags()
        return {uid: body for uid, body in client.bodies().items()
                if '\\Deleted' not in flags[uid]}


def validity(server, mailbox):
    if hasattr(server, 'boxes'):
        return server.box(mailbox).uidvalidity
    with server.imap() as client:
        return client.uidvalidity(raw_name(server, mailbox))


def listing(m, mailbox):
    """{uid: name}, None while it changes under us or can't be listed."""
    try:
        return m.messages(mailbox)
    except OSError:
        return None


def in_step(m, server, *mailboxes, quiet=False):
    """Waits until the mount lists what the server has; [{uid: name}, ...] of the mailboxes."""
    found = []
    for mailbox in mailboxes:
        wanted = (sorted(truth(server, mailbox)), str(validity(server, mailbox)))

        def same():
            names = listing(m, mailbox)
            return names is not None and sorted(names) == wanted[0] and \
                error_of(os.getxattr, m.p(mailbox), 'user.imap.uidvalidity') is None and \
                m.xattr('user.imap.uidvalidity', mailbox) == wanted[1]
        ok = wait_for(same, 30, 0.1)
        if not ok or not quiet:
            check(ok, '%s is listed as the server has it' % mailbox, '%s, server %s\n%s' % (
                listing(m, mailbox), wanted, m.log()[-3000:]))
        found.append(listing(m, mailbox) or {})
    return found


def inodes(m, mailbox):
    """{name: inode number}"""
    return {n: os.stat(m.p(mailbox, n)).st_ino for n in m.ls(mailbox) if n.endswith('.eml')}


def wrong_octets(m, server, *mailboxes):
    """Reads all; [(mailbox, uid, name)] of those that show other octets than the server's. What is
    listed can change until the kernel has heard of a renumbering; and one that can't be had yet
    (ESTALE, when it turns out to be another one) is opened once more."""
    wrong = []
    for mailbox in mailboxes:
        wanted, names = truth(server, mailbox), {}

        def all_are_listed():
            names.clear()
            names.update(listing(m, mailbox) or {})
            return wanted.keys() <= names.keys()
        if not wait_for(all_are_listed, 30, 0.1):
            wrong.append((mailbox, 'not all are listed', sorted(wanted.keys() - names.keys())))
        for uid, name in names.items():
            got = None
            for _ in range(3):
                try:
                    got = m.read(mailbox, name)
                    break
                except OSError as error:
                    got = error
            if uid in wanted and got != wanted[uid]:
                wrong.append((mailbox, uid, name, got if isinstance(got, OSError) else sha(got)))
    return wrong


def octets_right(m, server, *mailboxes, what='octets are the server\'s'):
    bad = wrong_octets(m, server, *mailboxes)
    return check(bad == [], what, '%s\n%s' % (bad, m.log()[-3000:]) if bad else None)


def used(path):
    """Octets that the files below take on the disk."""
    return sum(os.stat(os.path.join(top, f)).st_blocks * 512
               for top, _, files in os.walk(path) for f in files)


def new_ones_go(m, server, rounds=6):
    """Mail that comes is deleted as soon as it is listed, by connections that have not been told of
    it. Lasts until it is gone from the server."""
    names = set(m.ls('INBOX'))
    number = 5000
    for _ in range(rounds):
        with server.imap() as client:
            for _ in range(5):
                client.append('INBOX', letter(number, 600), '', WHEN + number)
                number += 1
        new = set(m.wait_names_quietly(lambda now: len(set(now) - names) == 5, 'INBOX',
                                       seconds=20)) - names
        check(len(new) == 5, 'what has come is listed')
        threads = [threading.Thread(target=os.unlink, args=(m.p('INBOX', name),)) for name in new]
        for thread in threads:
            thread.start()
        m.read('INBOX', min(names))
        for thread in threads:
            thread.join()

    def left():
        with server.imap() as client:
            client.examine('INBOX')
            return client.uids('UNDELETED SUBJECT "letter 50"')
    wait_for(lambda: not left(), 15, 0.3)
    check(not left(), 'what was deleted as soon as it came is gone', left())
