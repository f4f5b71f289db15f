#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes mail: a plausible account to look at, and a nasty one to test with.

Both are the same on every run. A message is (octets, seconds since 1970, Maildir flags).

    for mailbox, messages in sample().items(): ...
    for name, message in nasty().items(): ...

As a program it writes a plain Maildir tree (mailboxes as nested folders), with the
files' mtime as date of arrival:

    corpus.py DIR            the sample account
    corpus.py --nasty DIR    one folder with the nasty messages
"""
import base64
import email.utils
import os
import quopri
import random
import sys
import zlib

EPOCH = 1_700_000_000  # where the sample's time begins, 14 November 2023

PEOPLE = [
    ('Alice Smith', 'alice@example.org', 'us-ascii'),
    ('Bob Miller', 'bob.miller@example.com', 'us-ascii'),
    ('Jürgen Müller', 'juergen@beispiel.example', 'iso-8859-1'),
    ('Zoë García', 'zoe.garcia@ejemplo.example', 'utf-8'),
    ('Łukasz Wójcik', 'lukasz@przyklad.example', 'iso-8859-2'),
    ('Иван Петров', 'ivan@primer.example', 'koi8-r'),
    ('山田太郎', 'yamada@rei.example', 'iso-2022-jp'),
    ('李小龍', 'li@example.example', 'big5'),
    ('김민수', 'kim@yesi.example', 'euc-kr'),
    ('Γιώργος Παπαδόπουλος', 'giorgos@paradeigma.example', 'iso-8859-7'),
    ('דוד כהן', 'david@dugma.example', 'windows-1255'),
    ('Fatma Yılmaz', 'fatma@ornek.example', 'iso-8859-9'),
    ('王芳', 'wang@lizi.example', 'gb18030'),
    ('Chloé Dubois', 'chloe@exemple.example', 'windows-1252'),
]

SUBJECTS = {
    'us-ascii': ['Lunch on Friday', 'Meeting notes', 'Invoice 4711', 'The build is green again',
                 'Holiday pictures', 'Re-organising the cellar', 'Tickets for the concert',
                 'Question about the contract', 'Your order has been shipped', 'Minutes of Monday'],
    'iso-8859-1': ['Grüße aus Köln', 'Rückfrage zur Rechnung', 'Schöne Wörter für später'],
    'utf-8': ['¿Quedamos mañana? 🍕', 'Fotos del fin de semana ☀', 'Presupuesto → versión 2'],
    'iso-8859-2': ['Pożyczyć książkę', 'Zażółć gęślą jaźń'],
    'koi8-r': ['Отчёт за квартал', 'Привет из Москвы'],
    'iso-2022-jp': ['会議の資料について', '来週の予定'],
    'big5': ['會議通知', '照片'],
    'euc-kr': ['회의 안내', '안녕하세요'],
    'iso-8859-7': ['Καλημέρα σας', 'Τιμολόγιο'],
    'windows-1255': ['שלום לכולם', 'חשבונית'],
    'iso-8859-9': ['Toplantı hakkında', 'Görüşmek üzere'],
    'gb18030': ['项目进度', '请查收附件'],
    'windows-1252': ['Réunion à 14 h – salle “B”', 'Facture n° 42 €'],
}

WORDS = ('the a of and to in we you that is it for on with as at this be have from or by not but '
         'what all were when can there use each which how their if will up other about out many '
         'then them these so some would make like him into time has look two more write go see '
         'number way could people my than first water been call who oil its now find long down '
         'day did get come made may part').split()


def _encode_words(text, charset, how='b'):
    if all(' ' <= c <= '~' for c in text):
        return text.encode()
    out = []
    for i in range(0, len(text), 12):
        raw = text[i:i + 12].encode(charset)
        if how == 'b':
            word = base64.b64encode(raw).decode()
        else:
            word = ''.join('=%02X' % b if b < 33 or b > 126 or b in b'=?_' else chr(b) for b in raw)
        out.append('=?%s?%s?%s?=' % (charset, how, word))
    return '\r\n '.join(out).encode()


def _date(when, zone='+0000'):
    seconds = (int(zone[1:3]) * 60 + int(zone[3:])) * 60 * (-1 if zone[0] == '-' else 1)
    text = email.utils.formatdate(when + seconds)
    return text.replace('-0000', zone).encode()


def _prose(rand, lines):
    out = []
    for _ in range(lines):
        line = ' '.join(rand.choice(WORDS) for _ in range(rand.randint(4, 13)))
        out.append(line.capitalize() + '.' if line else '')
    return '\r\n'.join(out) + '\r\n'


def _png(rand, side):
    """A real picture, of random stripes."""
    rows = b''.join(b'\0' + bytes(rand.randrange(256) for _ in range(3)) * side
                    for _ in range(side))

    def chunk(kind, data):
        return (len(data).to_bytes(4, 'big') + kind + data
                + zlib.crc32(kind + data).to_bytes(4, 'big'))
    head = side.to_bytes(4, 'big') * 2 + b'\x08\x02\0\0\0'
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head)
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def _base64_lines(data):
    return base64.encodebytes(data).replace(b'\n', b'\r\n')


def _message(rand, number, person, recipient, subject, when, charset, extra=(), body=None,
             attachment=None):
    name, address, _ = person
    quoting = rand.choice('bq')
    head = [b'Return-Path: <%s>' % address.encode(),
            b'Received: from mail.example (mail.example [192.0.2.%d])\r\n'
            b'\tby mx.example.org with ESMTPS id %08x; %s'
            % (rand.randint(1, 254), number, _date(when)),
            b'From: ' + _encode_words(name, charset, quoting) + b' <%s>' % address.encode(),
            b'To: ' + recipient.encode(),
            b'Subject: ' + _encode_words(subject, charset, quoting),
            b'Date: ' + _date(when, rand.choice(('+0000', '+0100', '-0500', '+0900', '+0530'))),
            b'Message-ID: <%08x.%d@%s>' % (rand.getrandbits(32), number,
                                          address.split('@')[1].encode()),
            *extra, b'MIME-Version: 1.0']
    text = (body or '%s,\r\n\r\n%s\r\n%s\r\n' % (rand.choice(('Hello', 'Hi', 'Dear all', 'Moin')),
            _prose(rand, rand.randint(3, 40)), name)).encode(charset, 'replace')
    part = [b'Content-Type: text/plain; charset=' + charset.encode()]
    kind = rand.choice(('8bit', 'quoted-printable', 'base64'))
    if charset in ('us-ascii', 'iso-2022-jp'):
        kind = '7bit'
    elif kind == 'base64':
        text = _base64_lines(text)
    elif kind == 'quoted-printable':
        text = quopri.encodestring(text.replace(b'\r\n', b'\n')).replace(b'\n', b'\r\n')
    part.append(b'Content-Transfer-Encoding: ' + kind.encode())
    if attachment is None:
        return b'\r\n'.join(head + part) + b'\r\n\r\n' + text
    file, data = attachment
    mark = b'=_%08x' % rand.getrandbits(32)
    head.append(b'Content-Type: multipart/mixed; boundary="%s"' % mark)
    return (b'\r\n'.join(head) + b'\r\n\r\nThis is a message in several parts.\r\n--' + mark
            + b'\r\n' + b'\r\n'.join(part) + b'\r\n\r\n' + text + b'\r\n--' + mark
            + b'\r\nContent-Type: application/octet-stream; name="%s"\r\n' % file.encode()
            + b'Content-Disposition: attachment; filename="%s"\r\n' % file.encode()
            + b'Content-Transfer-Encoding: base64\r\n\r\n' + _base64_lines(data)
            + b'--' + mark + b'--\r\n')


def _subject(rand, charset):
    return rand.choice(SUBJECTS.get(charset) or SUBJECTS['us-ascii'])


def _thread(rand, make, count, people, subject, charset='us-ascii'):
    ids = []
    for i in range(count):
        extra = []
        if ids:
            extra = [b'In-Reply-To: ' + ids[-1], b'References: ' + b' '.join(ids[-5:])]
        message = make(rand.choice(people), ('Re: ' if i else '') + subject, charset, extra)
        line = [x for x in message[0].split(b'\r\n') if x.startswith(b'Message-ID')][0]
        ids.append(line.split(b': ', 1)[1])
        yield message


def sample():
    """{mailbox: [message]}: about 400 messages. Mailbox names are separated with '/'."""
    rand = random.Random(4711)
    clock = [EPOCH]
    number = [0]
    me = 'You <you@example.org>'

    def make(person, subject, charset=None, extra=(), to=me, **more):
        number[0] += 1
        clock[0] += rand.randint(600, 90000)
        charset = charset or person[2]
        if charset == 'us-ascii' and not person[0].isascii():
            charset = 'utf-8'
        flags = ''.join(f for f, odds in (('S', .7), ('R', .2), ('F', .08)) if rand.random() < odds)
        return (_message(rand, number[0], person, to, subject, clock[0], charset, extra, **more),
                clock[0] + rand.randint(1, 90), flags)

    boxes = {}
    inbox = boxes['INBOX'] = []
    for _ in range(110):
        person = rand.choice(PEOPLE)
        attachment = None
        if rand.random() < .15:
            attachment = ('picture-%d.png' % rand.randint(1, 99), _png(rand, rand.randint(40, 120)))
        inbox.append(make(person, _subject(rand, person[2]), attachment=attachment))
    inbox += _thread(rand, make, 7, PEOPLE[:4], 'Summer party: who brings what?')
    inbox.append(make(PEOPLE[1], 'Invoice 4711', body='Please find attached invoice 4711.\r\n',
                      attachment=('invoice-4711.pdf', b'%PDF-1.4\n' + bytes(
                          rand.randrange(256) for _ in range(40000)))))
    lists = [('Lists/kernel-devel', 'Kernel developers', 'kernel-devel.lists.example.org'),
             ('Lists/Gartenfreunde', 'Gartenfreunde', 'garten.lists.example.org')]
    for box, title, ident in lists:
        boxes[box] = []
        topics = {'Lists/kernel-devel': ['[PATCH v%d] mm: fix a leak in the slab' % i
                                         for i in range(1, 9)],
                  'Lists/Gartenfreunde': ['Tomaten im März', 'Läuse an den Rosen',
                                          'Kompost richtig umsetzen']}[box]
        for topic in topics:
            for message in _thread(rand, lambda p, s, c, e: make(
                    p, '[%s] %s' % (title.split()[0], s), 'utf-8',
                    [*e, b'List-Id: %s <%s>' % (title.encode(), ident.encode()),
                     b'List-Post: <mailto:%s>' % ident.replace('.', '@', 1).encode(),
                     b'Precedence: list'], to='%s <%s>' % (title, ident.replace('.', '@', 1))),
                    rand.randint(3, 12), PEOPLE, topic):
                boxes[box].append(message)
    me_person = ('You', 'you@example.org', 'us-ascii')
    boxes['Sent'] = [make(me_person, 'Re: ' + _subject(rand, 'us-ascii'),
                          to='%s <%s>' % PEOPLE[rand.randrange(2)][:2]) for _ in range(40)]
    boxes['Drafts'] = [make(me_person, 'Unfinished: ' + _subject(rand, 'us-ascii'))
                       for _ in range(3)]
    boxes['Archive/2023'] = [make(p, _subject(rand, p[2]))
                             for p in rand.choices(PEOPLE, k=60)]
    boxes['Archive/2023/Reisen & Flüge'] = [
        make(PEOPLE[2], 'Ihre Buchung %d' % rand.randint(10000, 99999), 'utf-8')
        for _ in range(12)]
    boxes['Newsletter'] = [
        make(('Weekly News', 'news@newsletter.example', 'utf-8'), 'Newsletter no. %d' % i, 'utf-8',
             [b'List-Unsubscribe: <https://newsletter.example/u>'], body='<html><body><h1>News '
             'of week %d</h1><p>%s</p></body></html>\r\n' % (i, _prose(rand, 20)))
        for i in range(1, 41)]
    boxes['日本語'] = [make(PEOPLE[6], _subject(rand, 'iso-2022-jp')) for _ in range(8)]
    boxes['Trash'] = [make(('Lottery', 'win@spam.example', 'us-ascii'), 'You have won!!!')
                      for _ in range(5)]
    return boxes


# --- the nasty corpus ---------------------------------------------------------------------

def _plain(subject, body=b'text\r\n', number=0, extra=b'', sender=b'Nasty <nasty@example.org>'):
    return (b'From: ' + sender + b'\r\nSubject: ' + subject + b'\r\n'
            b'Date: Fri, 3 May 2024 14:12:05 +0000\r\n'
            b'Message-ID: <nasty%d@example.org>\r\n' % number + extra + b'\r\n' + body)


def nasty(big=True):
    """{description: (octets, seconds, flags)}. The octets are what is put into the server; a
    server may hand out others (Dovecot's Maildir turns LF into CRLF and NUL into 0x80), so
    the truth is what another client fetches. With `big`, also one of 30 MB and one of 5 MB."""
    rand = random.Random(18)
    n = iter(range(1, 10000))
    m = {}

    def put(name, octets, when=None, flags=''):
        m[name] = (octets, EPOCH + len(m) * 61 if when is None else when, flags)

    put('nul in the body', _plain(b'nul', b'a\0b\0\0c\r\n', next(n)))
    put('nul in the header', _plain(b'n\0u\0l header', b'x\r\n', next(n)))
    put('bare carriage returns', _plain(b'bare cr', b'one\rtwo\r\rthree\r\nfour\r', next(n)))
    put('bare line feeds', _plain(b'bare lf', b'one\ntwo\n\nthree\r\nfour', next(n)))
    put('mixed line ends', b'From: a@b\nSubject: mixed\r\nDate: Fri, 3 May 2024 14:12:05 +0000\n'
        b'\nbody\r\nbody\nbody\r')
    put('lines of 10 kB', _plain(b'long lines', (b'x' * 10000 + b'\r\n') * 5, next(n)))
    put('one line of 1 MB', _plain(b'one line', b'y' * 1_000_000, next(n)))
    put('no body', _plain(b'no body', b'', next(n)))
    put('headers only, no empty line', b'From: a@b\r\nSubject: header only\r\n')
    put('headers only, cut', b'From: a@b\r\nSubject: header onl')
    put('no headers', b'just text, no header at all\r\nsecond line\r\n')
    put('starts with an empty line', b'\r\nThis begins with an empty line\r\n')
    put('two empty lines only', b'\r\n\r\n')
    put('one letter', b'x')
    put('starts with From_', b'From nobody Mon Sep 17 00:00:00 2001\r\nSubject: from line\r\n\r\nx\r\n')
    put('body with From_', _plain(b'from in body', b'\r\nFrom me\r\n>From you\r\n', next(n)))
    put('body with a dot line', _plain(b'dot', b'a\r\n.\r\nb\r\n..\r\n', next(n)))
    put('body like IMAP', _plain(b'imap', b')\r\na1 OK done\r\n* 1 EXPUNGE\r\n* BYE {10}\r\n', next(n)))
    put('brackets', _plain(b'{5} "quoted \\" (a) [b] NIL *', b'x\r\n', next(n)))
    put('nested message', _plain(b'outer', b'--M\r\nContent-Type: message/rfc822\r\n\r\n'
        + _plain(b'inner', b'inside\r\n', next(n)) + b'\r\n--M--\r\n', next(n),
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=M\r\n'))
    deep = _plain(b'deepest', b'bottom\r\n', next(n))
    for level in range(60):
        deep = _plain(b'level %d' % level, deep, next(n),
                      b'MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n')
    put('nested 60 deep', deep)
    put('broken mime', _plain(b'broken mime', b'--X\r\nContent-Type: text/plain\r\n\r\nno end', next(n),
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=Y\r\n'))
    put('subject of 2000', _plain(b'long ' * 400, b'x\r\n', next(n)))
    put('subject of 2000 in Japanese', _plain(_encode_words('日本語の件名' * 340, 'utf-8'), b'x\r\n', next(n)))
    put('subject folded', _plain(b'first\r\n\tsecond\r\n   third\r\n \r\n fourth', b'x\r\n', next(n)))
    put('subject empty', _plain(b'', b'x\r\n', next(n)))
    put('subject of blanks', _plain(b'   \t  ', b'x\r\n', next(n)))
    put('subject missing', b'From: a@b\r\nDate: Fri, 3 May 2024 14:12:05 +0000\r\n\r\nx\r\n')
    put('escape sequences', _plain(b'\x1b[31mred\x1b[0m\x1b]0;title\x07 \x08\x08bell', b'\x1b[2J\r\n', next(n)))
    put('escape in an encoded word', _plain(b'=?utf-8?q?a=1B[31mb=00c=0D=0Ad=2F..=2F?=', b'x\r\n', next(n)))
    put('path in the subject', _plain(b'../../etc/passwd', b'x\r\n', next(n)))
    put('dots', _plain(b'..', b'x\r\n', next(n), sender=b'.'))
    put('starts with a dash', _plain(b'-rf *', b'x\r\n', next(n), sender=b'"-rf" <->'))
    put('shell', _plain(b'$(rm -rf /); `id` & | > < \' " \\ ! ~ ? # %s %n', b'x\r\n', next(n)))
    put('right to left', _plain(_encode_words('שלום \u202egnp.exe\u202c مرحبا', 'utf-8'), b'x\r\n', next(n)))
    put('emoji', _plain(_encode_words('👩‍👩‍👧‍👦 🇪🇺 👍🏽 ok', 'utf-8'), b'x\r\n', next(n)))
    put('combining', _plain(_encode_words('e\u0301a\u0308' + 'o' + '\u0301' * 300, 'utf-8'), b'x\r\n', next(n)))
    put('same, composed', _plain(_encode_words('éä', 'utf-8'), b'x\r\n', next(n)))
    put('unknown charset', _plain(b'=?x-klingon?b?YWJj?= =?unknown-8bit?q?=E4=F6?=', b'x\r\n', next(n)))
    put('broken encoded word', _plain(b'=?utf-8?b?!!!?= =?utf-8?q?=ZZ?= =?utf-8?b?4oKs', b'x\r\n', next(n)))
    put('split character', _plain(b'=?utf-8?b?4g==?= =?utf-8?b?gqw=?=', b'x\r\n', next(n)))
    put('unlabelled utf-8', _plain('naïve – façade'.encode(), b'x\r\n', next(n),
        sender='Zoë <z@example.org>'.encode()))
    put('unlabelled latin-1', _plain('Grüße'.encode('latin-1'), b'x\r\n', next(n),
        sender='Jürgen <j@example.org>'.encode('latin-1')))
    put('invalid utf-8', _plain(b'\xff\xfe\xc0\x80 \xed\xa0\x80 bad', b'\xff\xff\r\n', next(n)))
    put('utf-7 in the subject', _plain(b'=?utf-7?q?+AGEALwAuAC4-?=', b'x\r\n', next(n)))
    for charset, subject in (('koi8-r', 'Привет'), ('iso-2022-jp', '日本語'), ('gb18030', '中文'),
                             ('big5', '中文'), ('euc-kr', '한국어'), ('shift_jis', '日本'),
                             ('windows-1256', 'سلام'), ('iso-8859-15', '€uro'), ('utf-16', 'wide')):
        put('charset ' + charset, _plain(_encode_words(subject, charset), b'x\r\n', next(n)))
    put('date of 1600', b'From: a@b\r\nSubject: old\r\nDate: Mon, 1 Jan 1600 00:00:00 +0000\r\n\r\nx\r\n')
    put('date of 9999', b'From: a@b\r\nSubject: new\r\nDate: Fri, 31 Dec 9999 23:59:60 +0000\r\n\r\nx\r\n')
    put('date of junk', b'From: a@b\r\nSubject: junk date\r\nDate: yesterday, at noon\r\n\r\nx\r\n')
    put('date missing', b'From: a@b\r\nSubject: no date\r\n\r\nx\r\n')
    put('date twice', b'From: a@b\r\nSubject: two dates\r\nDate: Fri, 3 May 2024 14:12:05 +0000\r\n'
        b'Date: Sat, 4 May 2024 14:12:05 +0000\r\n\r\nx\r\n')
    put('arrived in 1970', _plain(b'arrived 1970', b'x\r\n', next(n)), when=1)
    put('arrived in 2037', _plain(b'arrived 2037', b'x\r\n', next(n)), when=2_140_000_000)
    put('sender missing', b'Subject: no sender\r\nDate: Fri, 3 May 2024 14:12:05 +0000\r\n\r\nx\r\n')
    put('sender empty', _plain(b'empty sender', b'x\r\n', next(n), sender=b'<>'))
    put('sender group', _plain(b'group', b'x\r\n', next(n), sender=b'undisclosed: a@b, "C, D" <c@d>;'))
    put('sender of 5 kB', _plain(b'long sender', b'x\r\n', next(n), sender=b'"' + b'n' * 5000 + b'" <n@x>'))
    put('header of 1 MB', _plain(b'huge header', b'x\r\n', next(n), b'X-Huge: ' + b'h' * 1_000_000 + b'\r\n'))
    put('2000 header lines', _plain(b'many headers', b'x\r\n', next(n),
        b''.join(b'X-Line-%d: v\r\n' % i for i in range(2000))))
    put('header names in odd case', b'FROM: a@b\r\nsUBJECT: odd case\r\ndate: Fri, 3 May 2024 14:12:05 +0000\r\n\r\nx\r\n')
    put('blank before the colon', b'From : a@b\r\nSubject : blank\r\nDate : Fri, 3 May 2024 14:12:05 +0000\r\n\r\nx\r\n')
    put('message-id of 5 kB', b'From: a@b\r\nSubject: long id\r\nMessage-ID: <' + b'i' * 5000 + b'@x>\r\n\r\nx\r\n')
    twin = _plain(b'twin', b'the same twice\r\n', next(n))
    when = EPOCH - 1000
    for i in range(4):
        put('duplicate %d' % i, twin, when=when)
    number = next(n)
    put('same name, other text 1', _plain(b'half twin', b'one\r\n', number))
    put('same name, other text 2', _plain(b'half twin', b'two, and longer\r\n', number))
    put('8-bit body', _plain(b'all octets', bytes(range(1, 256)) * 40, next(n)))
    put('random body', _plain(b'random', bytes(rand.randrange(1, 256) for _ in range(70000)), next(n)))
    for size in (0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 131072, 1048575, 1048576,
                 1048577):
        head = _plain(b'size %d' % size, b'', number=100000 + size)
        if size > len(head):
            body = (b'0123456789abcdef' * 4 + b'\r\n') * (size // 66 + 1)
            put('size %d' % size, head + body[:size - len(head) - 2] + b'\r\n')
    if big:
        line = b'%076d\r\n'
        put('30 MB', _plain(b'thirty megabytes', b'', next(n)) +
            b''.join(line % i for i in range(30_000_000 // 78)))
        put('5 MB', _plain(b'five megabytes', b'', next(n)) +
            b''.join(line % (i * 7) for i in range(5_000_000 // 78)))
    return m


def bulk(count, size=300, seed=1):
    """Yields many small plain messages, each with its own subject; about `size` octets."""
    for i in range(count):
        body = (b'%08d ' % (seed * 1_000_000 + i)) * (max(size - 180, 9) // 9)
        body = b'\r\n'.join(body[j:j + 72] for j in range(0, len(body), 72)) + b'\r\n'
        yield (b'From: Sender %d <s%d@example.org>\r\nTo: you@example.org\r\n'
               b'Subject: message number %d\r\nDate: %s\r\nMessage-ID: <bulk.%d.%d@example.org>\r\n\r\n'
               % (i % 97, i % 97, i, _date(EPOCH + i * 60), seed, i) + body, EPOCH + i * 60, '')


def write_maildir(top, boxes):
    count = 0
    for name, messages in boxes.items():
        path = os.path.join(top, name)
        for part in ('cur', 'new', 'tmp'):
            os.makedirs(os.path.join(path, part), exist_ok=True)
        for octets, when, flags in messages:
            count += 1
            file = os.path.join(path, 'cur', '%d.M%06d.sample:2,%s' % (
                when, count, ''.join(sorted(flags))))
            with open(file, 'wb') as f:
                f.write(octets)
            os.utime(file, (when, when))
    return count


if __name__ == '__main__':
    words = [w for w in sys.argv[1:] if w != '--nasty']
    if len(words) != 1:
        sys.exit('usage: corpus.py [--nasty] DIR')
    boxes = {'Nasty': list(nasty().values())} if '--nasty' in sys.argv else sample()
    print('%d messages' % write_maildir(words[0], boxes))
