# SPDX-License-Identifier: MIT
"""Servers from Debian's packages that are unpacked and not installed, since they conflict with those
of Dovecot. The packages, and the libraries they need that the machine lacks, are fetched once, as
root or not, into a directory of their own (IMAPFS_NAME, else /var/tmp/imapfs-NAME-UID).
"""
import glob
import os
import shutil
import subprocess


def run(*argv, **more):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError('%s: %s' % (' '.join(argv), done.stdout[-2000:]))
    return done.stdout


def _is_installed(package):
    done = subprocess.run(['dpkg-query', '-W', '-f', '${db:Status-Status}', package],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout == 'installed'


def _libraries(package):
    """The libraries that a package depends on."""
    words = run('apt-cache', 'depends', '--important', package).split()
    return [name for name in words if name.startswith('lib') and not name.endswith(':')]


def unpack(name, packages):
    """Where the packages are unpacked; done once."""
    top = os.environ.get('IMAPFS_' + name.upper()) or \
        '/var/tmp/imapfs-%s-%d' % (name, os.getuid())
    root = os.path.join(top, 'root')
    if os.path.exists(os.path.join(root, 'complete')):
        return root
    work = '%s.%d' % (top, os.getpid())
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(os.path.join(work, 'root'))
    if not run('apt-cache', 'policy', packages[0]).strip():
        run('apt-get', '-q', 'update')
    wanted, todo = set(packages), list(packages)
    while todo:
        for library in _libraries(todo.pop()):
            if library not in wanted and not _is_installed(library):
                wanted.add(library)
                todo.append(library)
    run('apt-get', '-q', '-o', 'APT::Sandbox::User=root', 'download', *sorted(wanted), cwd=work)
    for file in os.listdir(work):
        if file.endswith('.deb'):
            run('dpkg', '-x', os.path.join(work, file), os.path.join(work, 'root'))
    open(os.path.join(work, 'root', 'complete'), 'w').close()
    os.chmod(work, 0o755)
    try:
        os.rename(work, top)
    except OSError:  # another test was faster
        if not os.path.exists(os.path.join(root, 'complete')):
            shutil.rmtree(top, ignore_errors=True)
            os.rename(work, top)
        else:
            shutil.rmtree(work, ignore_errors=True)
    return root


def library_path(root):
    """LD_LIBRARY_PATH for the programs below root."""
    tops = [os.path.join(root, 'usr/lib'), os.path.join(root, 'lib')]
    return ':'.join([directory for top in tops
                     for directory in [*glob.glob(glob.escape(top) + '/*-gnu*'), top]])
