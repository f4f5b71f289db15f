#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A private Dovecot with the sample mail, for trying imapfs: sample_server.py DIR

Writes DIR/ready once it serves, with the lines `port N`, `tls_port N`, `cafile PATH` and
`messages N`; user alice, password in DIR/password. SIGUSR1 has another client put a message into
INBOX. Runs until it gets SIGTERM.
"""
import email.utils
import os
import secrets
import signal
import sys
import time

import corpus
from dovecot import Dovecot


ARRIVAL = (b'From: Alice Smith <alice@example.org>\r\nTo: You <you@example.org>\r\n'
           b'Subject: Just arrived\r\nDate: %s\r\nMessage-ID: <%d@example.org>\r\n\r\n'
           b'Hello.\r\n')


def arrive(server):
    date = email.utils.formatdate().encode()
    with server.imap() as client:
        client.append('INBOX', ARRIVAL % (date, time.time_ns()))


def main():
    path = sys.argv[1]
    os.chmod(path, 0o711)
    password = secrets.token_urlsafe(12)
    with open(os.open(path + '/password', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w') as f:
        f.write(password + '\n')
    server = Dovecot(path, users={'alice': password})
    stop, arrivals = [], []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    signal.signal(signal.SIGUSR1, lambda *_: arrivals.append(True))
    count = 0
    for mailbox, messages in corpus.sample().items():
        count += len(messages)
        server.deliver(mailbox, messages)
    with open(path + '/ready.new', 'w') as f:
        f.write('port %d\ntls_port %d\ncafile %s\nmessages %d\n' % (
            server.port, server.tls_port, server.cafile, count))
    os.rename(path + '/ready.new', path + '/ready')
    while not stop and server.process.poll() is None:
        if arrivals:
            arrivals.pop()
            arrive(server)
        time.sleep(0.2)
    server.stop()


if __name__ == '__main__':
    main()
