# SPDX-License-Identifier: MIT
"""A program of its own that a test starts, asks and ends: proxy.py here, tap.py of the bench.

It is started as `PROGRAM --target PORT --control SOCKET`, prints the port that it serves, and
answers each line that comes through the control socket by a line of JSON.
"""
import json
import os
import socket
import subprocess
import sys


class Steered:
    count = 0

    def __init__(self, program, path, target):
        Steered.count += 1
        name = os.path.basename(program).partition('.')[0]
        control = os.path.join(path, '%s%d' % (name, Steered.count))
        self.process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'KILL', sys.executable, os.path.abspath(program),
             '--target', str(target), '--control', control],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(control)
        self.file = self.socket.makefile('rwb')

    def ask(self, *words):
        self.file.write(' '.join(map(str, words)).encode() + b'\n')
        self.file.flush()
        answer = json.loads(self.file.readline())
        if isinstance(answer, dict) and 'error' in answer:
            raise RuntimeError(answer['error'])
        return answer

    def stop(self):
        self.file.close()
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
