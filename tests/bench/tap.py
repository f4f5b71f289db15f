#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A TCP proxy that writes down what passes, in a process of its own, for cleartext IMAP.

    tap = Tap('/some/dir', server_port)
    tap.reset(); ...; trace = tap.trace(); tap.stop()

A Trace has what passed since reset(), in order:

    trace.octets, trace.trips     of all connections, both ways; trace.connections: how many
    trace.commands                [text], without tags; trace.numbered: [(connection, text)]
    trace.of(mailbox)             a Trace of that mailbox alone: from its SELECT or EXAMINE on,
                                  until the connection selects another
    trace.news(since)             when the first untagged response came after that moment

A round trip is a command that was sent while the client waited for no other on that connection:
commands in one pipeline cost one. Moments are those of time.monotonic().
"""
import argparse
import asyncio
import json
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'system'))
from steered import Steered  # noqa: E402

LITERAL = re.compile(rb'\{(\d+)\+?\}\r?\n$')
TEXT_MAX = 120


class Lines:
    """Finds whole commands or responses, with their literals, in a stream of octets."""

    def __init__(self):
        self.skip = 0      # octets of a literal still to come
        self.size = 0      # of the one under way
        self.line = b''    # the line under way, its beginning and end
        self.text = None   # the first line's, behind a literal

    def ends(self, data):
        """(offset behind it, octets, text) of each that ended in data."""
        at = 0
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                self.size += step
                at += step
                continue
            end = data.find(b'\n', at)
            piece = data[at:end + 1] if end >= 0 else data[at:]
            self.size += len(piece)
            self.line += piece
            if len(self.line) > 4096:
                self.line = self.line[:TEXT_MAX] + self.line[-64:]
            at += len(piece)
            if end < 0:
                break
            literal = LITERAL.search(self.line)
            if self.text is None:
                self.text = self.line[:TEXT_MAX]
            self.line = b''
            if literal:
                self.skip = int(literal.group(1))
            else:
                yield at, self.size, self.text.rstrip().decode('latin-1')
                self.size, self.text = 0, None


class Side(asyncio.Protocol):
    """One end of a connection. What is read here goes to `other`."""

    def __init__(self, server, number, up):
        self.server, self.number, self.up = server, number, up
        self.other = self.transport = None
        self.early = []
        self.lines = Lines()

    def connection_made(self, transport):
        self.transport = transport
        sock = transport.get_extra_info('socket')
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.max_size = 1 << 18
        for data in self.early:
            transport.write(data)

    def send(self, data):
        if self.transport is None:
            self.early.append(data)
        else:
            self.transport.write(data)

    def data_received(self, data):
        moment = time.monotonic()
        self.other.send(data)
        self.server.record(self, moment, data)

    def pause_writing(self):
        self.other.transport.pause_reading()

    def resume_writing(self):
        self.other.transport.resume_reading()

    def connection_lost(self, _):
        if self.other.transport is not None:
            self.other.transport.close()


class Server:
    def __init__(self, target):
        self.target, self.events, self.count = target, [], 0
        self.last, self.paused = time.monotonic(), False
        self.loop = asyncio.get_running_loop()

    def accept(self):
        self.count += 1
        client, server = Side(self, self.count, True), Side(self, self.count, False)
        client.other, server.other = server, client
        self.loop.create_task(self.loop.create_connection(lambda: server, '127.0.0.1',
                                                          self.target))
        return client

    def record(self, side, moment, data):
        """Kinds: C a command; T a tagged response; D what else came from the server at once."""
        self.last = moment
        if self.paused:
            return
        if side.up:
            for _, size, text in side.lines.ends(data):
                self.events.append((side.number, moment, 'C', size, text))
            return
        start = behind = 0  # of what is not yet written down; behind the last response
        first = ''
        for end, _, text in side.lines.ends(data):
            if text[:1] in ('*', '+'):
                first = first or text
            else:
                if behind > start:
                    self.events.append((side.number, moment, 'D', behind - start, first))
                self.events.append((side.number, moment, 'T', end - behind, text))
                start, first = end, ''
            behind = end
        if start < len(data):
            self.events.append((side.number, moment, 'D', len(data) - start, first))

    async def control(self, reader, writer):
        while line := await reader.readline():
            if line == b'last\n':
                answer = self.last
            else:
                answer = self.events
            if line in (b'reset\n', b'pause\n'):
                self.events, answer = [], None
                self.paused = line == b'pause\n'
            writer.write(json.dumps(answer).encode() + b'\n')
            await writer.drain()


async def serve(arguments):
    server = Server(arguments.target)
    listener = await server.loop.create_server(server.accept, '127.0.0.1', 0, backlog=100)
    await asyncio.start_unix_server(server.control, arguments.control)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


class Trace:
    def __init__(self, events):
        self.events = events
        self.octets = sum(event[3] for event in events)
        self.numbered = [(event[0], event[4].split(' ', 1)[-1]) for event in events
                         if event[2] == 'C']
        self.commands = [command for _, command in self.numbered]
        self.connections = len({event[0] for event in events})
        self.trips, waiting = 0, {}
        for number, _, kind, _, text in events:
            tags = waiting.setdefault(number, set())
            tag = text.split(' ', 1)[0]
            if kind == 'T':
                tags.discard(tag)
            elif kind == 'C' and tag != text:  # DONE has no tag
                self.trips += not tags
                tags.add(tag)

    def of(self, mailbox):
        chosen, inside = [], {}
        pattern = re.compile(r'\S+ (SELECT|EXAMINE|UNSELECT)(?: "?([^" ]+)"?)?', re.I)
        for event in self.events:
            match = pattern.match(event[4]) if event[2] == 'C' else None
            if match:
                inside[event[0]] = match.group(2) == mailbox
            if inside.get(event[0]):
                chosen.append(event)
        return Trace(chosen)

    def news(self, since):
        for _, moment, kind, _, text in self.events:
            if moment >= since and kind == 'D' and text.startswith('* '):
                return moment
        return None


class Tap(Steered):
    """Starts the program above, and asks it."""

    def __init__(self, path, target):
        super().__init__(__file__, path, target)

    def reset(self):
        self.ask('reset')

    def pause(self):
        """Writes nothing down until reset(), for speed. Nothing may be under way at that moment."""
        self.ask('pause')

    def trace(self):
        return Trace(self.ask('events'))

    def quiet(self, seconds=1.5, limit=600):
        """Waits until nothing passed for so long."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if time.monotonic() - self.ask('last') > seconds:
                return
            time.sleep(0.05)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='a TCP proxy that writes down what passes')
    parser.add_argument('--target', type=int, required=True)
    parser.add_argument('--control', required=True)
    asyncio.run(serve(parser.parse_args()))
