# SPDX-License-Identifier: MIT
"""A private Dovecot on 127.0.0.1, and the certificate authority that it needs.

    server = Dovecot('/some/dir', without=('MOVE',))
    server.port, server.tls_port, server.url(), server.imap()
    server.stop()

All its files are below the directory it is given; the system's own Dovecot and its
configuration are never touched. As root, mail belongs to `nobody`, since Dovecot refuses
root; as another user everything runs as that user.
"""
import grp
import http.server
import json
import os
import pwd
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

from imapclient import Imap, utf7_encode, wait_for_greeting

DOVECOT = '/usr/sbin/dovecot'

# What Debian 12's Dovecot announces after login, without plugins.
CAPABILITIES = (
    'IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES '
    'THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN '
    'NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES '
    'WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW '
    'STATUS=SIZE SAVEDATE LITERAL+ NOTIFY SPECIAL-USE').split()

SPECIAL_USE = {'Drafts': '\\Drafts', 'Junk': '\\Junk', 'Sent': '\\Sent', 'Trash': '\\Trash'}

TEMPLATE = '''\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
instance_name = {dir}
listen = 127.0.0.1
protocols = imap
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
first_valid_gid = 0
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
auth_username_format = %u
auth_ssl_username_from_cert = yes
mail_location = {location}
mail_fsync = {fsync}
mail_attachment_detection_options =
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_client_ca_file = {ca}
{client_certs}
passdb {{
  driver = passwd-file
  args = {dir}/users
  mechanisms = {password_mechanisms}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
{special_use}
}}
protocol imap {{
  mail_max_userip_connections = {connections}
  mail_plugins = $mail_plugins {plugins}
  imap_id_send = name *
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 200
  process_min_avail = 1
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
  unix_listener stats-writer {{
    mode = 0666
  }}
  unix_listener login/stats-writer {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
service auth-worker {{
  user = $default_internal_user
}}
{capability}
{quota}
{oauth}
{extra}
'''


def _openssl(*words, cwd):
    done = subprocess.run(['openssl', *words], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError('openssl %s: %s' % (' '.join(words), done.stdout.decode()))


class Authority:
    """A certificate authority in a directory. Paths: ca, and what cert() returns."""

    def __init__(self, path, name='imapfs test authority'):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self.ca = os.path.join(path, 'ca.pem')
        self._key('ca.key')
        _openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=' + name, '-days', '30',
                 '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-out', 'ca.pem', cwd=path)

    def _key(self, name):
        _openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name,
                 cwd=self.path)
        os.chmod(os.path.join(self.path, name), 0o600)

    def cert(self, kind):
        """(certificate, key): 'good' for localhost and 127.0.0.1, 'expired', 'wrongname',
        'selfsigned', or 'client:USER' for a client."""
        stem = kind.replace(':', '-')
        paths = tuple(os.path.join(self.path, stem + end) for end in ('.pem', '.key'))
        if os.path.exists(paths[0]):
            return paths
        self._key(stem + '.key')
        name, alternatives = 'localhost', 'DNS:localhost,IP:127.0.0.1'
        if kind == 'wrongname':
            name, alternatives = 'elsewhere.example', 'DNS:elsewhere.example'
        usage = 'serverAuth'
        if kind.startswith('client:'):
            name = kind.split(':', 1)[1]
            alternatives, usage = 'email:%s@example.org' % name, 'clientAuth'
        with open(os.path.join(self.path, stem + '.ext'), 'w') as f:
            f.write('subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n'
                    % (alternatives, usage))
        _openssl('req', '-new', '-key', stem + '.key', '-subj', '/CN=' + name,
                 '-out', stem + '.csr', cwd=self.path)
        signer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial']
        if kind == 'selfsigned':
            signer = ['-signkey', stem + '.key']
        _openssl('x509', '-req', '-in', stem + '.csr', *signer, '-out', stem + '.pem',
                 '-extfile', stem + '.ext', '-days', '-1' if kind == 'expired' else '30',
                 cwd=self.path)
        return paths


class TokenServer:
    """Says whose an OAuth 2.0 access token is. `tokens` is {token: user}, changeable."""

    def __init__(self, tokens):
        self.tokens = dict(tokens)
        self.asked = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                token = urllib.parse.unquote(self.path.rsplit('=', 1)[-1])
                owner.asked.append(token)
                user = owner.tokens.get(token)
                body = json.dumps({'email': user, 'active': True} if user else
                                  {'error': 'invalid_token'}).encode()
                self.send_response(200 if user else 401)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def _two_ports():
    with socket.socket() as a, socket.socket() as b:
        a.bind(('127.0.0.1', 0))
        b.bind(('127.0.0.1', 0))
        return a.getsockname()[1], b.getsockname()[1]


def _alive(pid):
    try:
        with open('/proc/%d/stat' % pid) as f:
            return f.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


class Dovecot:
    """See the top of this file. Parameters:

    users         {name: password}
    storage       'maildir', 'sdbox' or 'mdbox' (for very many messages)
    without       capabilities that are not announced (the commands still work)
    capability    announce exactly this text instead
    prefix, separator   of the personal namespace ('' and '/')
    special_use   {mailbox: attribute}, created at once; {} for none
    quota         KiB, or None
    mechanisms    of SASL; with XOAUTH2 or OAUTHBEARER `tokens` are accepted
    certificate   see Authority.cert()
    client_certs  ask for client certificates (EXTERNAL)
    connections   that one user may have
    compress      offer COMPRESS=DEFLATE
    ports         (imap, imaps), instead of free ones
    """

    def __init__(self, path, users=None, storage='maildir', without=(), capability=None,
                 prefix='', separator='/', special_use=None, quota=None,
                 mechanisms='plain login', tokens=None, certificate='good', client_certs=False,
                 connections=50, compress=False, fsync='never', ports=None, extra='',
                 authority=None, start=True):
        self.path = os.path.join(path, 'dovecot')
        os.makedirs(self.path, exist_ok=True)
        self.users = users or {'alice': 'secret'}
        self.user = next(iter(self.users))
        self.prefix, self.separator, self.storage = prefix, separator, storage
        self.port, self.tls_port = ports or _two_ports()
        self.process = None
        self.stopped = False
        root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid())
        owner = pwd.getpwnam('nobody') if root else me
        self.uid, self.gid = owner.pw_uid, owner.pw_gid
        self.authority = authority or Authority(os.path.join(self.path, 'ca'))
        self.cafile = self.authority.ca
        cert, key = self.authority.cert(certificate)
        with open(os.path.join(self.path, 'users'), 'w') as f:
            for name, password in self.users.items():
                f.write('%s:{PLAIN}%s\n' % (name, password))
        os.chmod(os.path.join(self.path, 'users'), 0o644)
        special = SPECIAL_USE if special_use is None else special_use
        self.tokens = None
        known = mechanisms.split()
        oauth = ''
        if 'xoauth2' in known or 'oauthbearer' in known:
            self.tokens = TokenServer(tokens or {})
            with open(os.path.join(self.path, 'oauth2.conf'), 'w') as f:
                f.write('tokeninfo_url = http://127.0.0.1:%d/?access_token=\n'
                        'username_attribute = email\nintrospection_mode = auth\n'
                        'force_introspection = no\n' % self.tokens.port)
            oauth = ('passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n'
                     '  args = %s/oauth2.conf\n}\n' % self.path)
        if 'external' in known:
            oauth += ('passdb {\n  driver = static\n  mechanisms = external\n'
                      '  args = nopassword\n}\n')
        passwords = [m for m in known if m not in ('xoauth2', 'oauthbearer', 'external')]
        if capability is None and without:
            gone = {w.upper() for w in without}
            left = [c for c in CAPABILITIES if c not in gone]
            if compress and 'COMPRESS=DEFLATE' not in gone:
                left.append('COMPRESS=DEFLATE')
            capability = ' '.join(left)
        plugins = (['quota', 'imap_quota'] if quota else []) + \
            (['zlib', 'imap_zlib'] if compress else [])
        self.settings = dict(
            dir=self.path, mechanisms=mechanisms, cert=cert, key=key, ca=self.cafile,
            password_mechanisms=' '.join(passwords) or 'none',
            internal='dovecot' if root else me.pw_name,
            internal_group='dovecot' if root else grp.getgrgid(me.pw_gid).gr_name,
            login='dovenull' if root else me.pw_name,
            uid=self.uid, gid=self.gid, location=self._location(), fsync=fsync,
            separator=separator, prefix=prefix, connections=connections,
            plugins=' '.join(plugins), port=self.port, tls_port=self.tls_port,
            client_certs='ssl_ca = <%s\nssl_verify_client_cert = yes\n'
                         'ssl_require_crl = no' % self.cafile if client_certs else '',
            special_use='\n'.join('  mailbox "%s" {\n    special_use = %s\n    auto = subscribe\n  }'
                                  % (utf7_name, use)
                                  for utf7_name, use in special.items()),
            capability='imap_capability = ' + capability if capability else '',
            quota='plugin {\n  quota = count:User quota\n  quota_vsizes = yes\n'
                  '  quota_rule = *:storage=%dK\n}' % quota if quota else '',
            oauth=oauth, extra=extra)
        os.makedirs(os.path.join(self.path, 'state'), exist_ok=True)
        for top in ('mail', 'home', 'index'):
            os.makedirs(os.path.join(self.path, top), exist_ok=True)
            if root:
                os.chown(os.path.join(self.path, top), self.uid, self.gid)
        if start:
            self.start()

    def _location(self):
        mail = self.path + '/mail/%u'
        if self.storage == 'maildir':
            return 'maildir:' + mail + (':LAYOUT=fs' if self.separator == '/' else '')
        return '%s:%s' % (self.storage, mail)

    # Life.

    def start(self):
        with open(os.path.join(self.path, 'dovecot.conf'), 'w') as f:
            f.write(TEMPLATE.format(**self.settings))
        self.process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'TERM', DOVECOT, '-F', '-c', self.path + '/dovecot.conf'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for_greeting(self, 30)
        return self

    def pids(self):
        """The master's and its children's."""
        found = [self.process.pid]
        for entry in os.listdir('/proc'):
            if entry.isdigit():
                try:
                    with open('/proc/%s/stat' % entry) as f:
                        if int(f.read().rsplit(')', 1)[1].split()[1]) == self.process.pid:
                            found.append(int(entry))
                except (OSError, IndexError):
                    pass
        return found

    def freeze(self):
        """Stops answering, without closing anything."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)
        self.stopped = True

    def thaw(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)
        self.stopped = False

    def stop(self):
        if self.tokens:
            self.tokens.stop()
            self.tokens = None
        self.halt()

    def halt(self):
        """Ends the server; start() starts it again on the same ports."""
        if self.process is None or self.process.poll() is not None:
            return
        if self.stopped:
            self.thaw()
        children = self.pids()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait(10)
        self.process.stderr.close()
        self._end(children[1:])

    @staticmethod
    def _end(children):
        """Children end on their own, but some take seconds."""
        for number, patience in ((signal.SIGTERM, 0.3), (signal.SIGKILL, 5)):
            for pid in children:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + patience
            while any(_alive(p) for p in children):
                if time.monotonic() > end:
                    break
                time.sleep(0.02)
            else:
                return

    def log(self):
        try:
            with open(os.path.join(self.path, 'dovecot.log'), errors='replace') as f:
                return f.read()
        except OSError:
            return ''

    # Access.

    def url(self, user=None, port=None, scheme='imap', host='127.0.0.1'):
        port = port or (self.tls_port if scheme == 'imaps' else self.port)
        return '%s://%s@%s:%d' % (scheme, user or self.user, host, port)

    def imap(self, user=None):
        user = user or self.user
        return Imap(self.port, user, self.users[user])

    def _inner(self, mailbox):
        """The mailbox's name without the namespace prefix."""
        return mailbox[len(self.prefix):] if self.prefix and mailbox.startswith(self.prefix) \
            else mailbox

    def maildir(self, mailbox, user=None):
        """The Maildir of a mailbox (storage='maildir'), made if need be."""
        top = os.path.join(self.path, 'mail', user or self.user)
        inner = self._inner(mailbox)
        if inner.upper() == 'INBOX':
            path = top
        elif self.separator == '/':
            path = os.path.join(top, utf7_encode(inner))
        else:
            path = os.path.join(top, '.' + '.'.join(
                utf7_encode(part) for part in inner.split(self.separator)))
        fresh = not os.path.isdir(os.path.join(path, 'cur'))
        for part in ('cur', 'new', 'tmp'):
            os.makedirs(os.path.join(path, part), exist_ok=True)
        if fresh:
            self.own(top)
        return path

    def own(self, path):
        """Gives all below path to the user of the mail."""
        if os.geteuid() != 0:
            return
        os.chown(path, self.uid, self.gid)
        for top, directories, files in os.walk(path):
            for name in directories + files:
                os.chown(os.path.join(top, name), self.uid, self.gid)

    def deliver(self, mailbox, messages, user=None, own=True):
        """Writes messages straight into a Maildir. `messages` yields (octets, seconds since
        1970) or (octets, seconds, flags as Maildir letters)."""
        path = self.maildir(mailbox, user)
        count = getattr(self, '_count', 0)
        for message in messages:
            body, when = message[0], message[1]
            letters = message[2] if len(message) > 2 else ''
            count += 1
            name = '%d.M%08d.test:2,%s' % (max(int(when), 1), count, ''.join(sorted(letters)))
            file = os.path.join(path, 'cur', name)
            with open(file, 'wb') as f:
                f.write(body)
            if own and os.geteuid() == 0:
                os.chown(file, self.uid, self.gid)
            os.utime(file, (when, when))
        self._count = count
