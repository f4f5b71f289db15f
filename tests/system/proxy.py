#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A TCP proxy that makes a line bad, in a process of its own.

    proxy = Proxy('/some/dir', server_port)
    proxy.delay(50); proxy.stall(); proxy.go(); proxy.cut(); proxy.stats(); proxy.stop()

As a program it is steered over a Unix socket, one command a line, one JSON line back:

    proxy.py --target PORT --control SOCKET [--listen PORT]

    delay MS         round trip added, half of it each way; bandwidth is not limited by it
    bandwidth N      octets a second each way, 0: no limit
    stall | go       forward nothing, without closing anything; forward again
    strand           nothing goes over the present connections ever again, and nobody is told;
                     new ones work: what a laptop finds when it wakes up
    cut              reset all connections now
    cut-after N      end all once N more octets came from the server (N are forwarded)
    cut-response K   end all once K more responses were forwarded whole; counted over all
                     connections; needs cleartext without compression
    refuse on|off    stop listening; listen again
    limit N          connections at a time; more are closed at once; 0: no limit
    stats            {"up", "down": octets, "open", "accepted", "responses"}
    reset            those counters to 0
"""
import argparse
import asyncio
import collections
import json
import re
import socket
import struct

from steered import Steered

READ_SIZE = 1 << 18
# What may wait in a delayed pipe: 1 Gbit/s over 500 ms.
PIPE_MAX = 64 << 20
LITERAL = re.compile(rb'\{(\d+)\+?\}\r\n$')


class Responses:
    """Finds the ends of whole server responses in a stream of octets."""

    def __init__(self):
        self.skip = 0  # octets of a literal still to come
        self.line = b''

    def ends(self, data):
        """Offsets in data just behind a response that ended there."""
        found, at = [], 0
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                at += step
                continue
            end = data.find(b'\n', at)
            if end < 0:
                self.line = (self.line + data[at:])[-64:]
                break
            tail = (self.line + data[at:end + 1])[-64:]
            self.line = b''
            at = end + 1
            literal = LITERAL.search(tail)
            if literal:
                self.skip = int(literal.group(1))
            else:
                found.append(at)
        return found


class Pipe:
    """One direction of a connection: from `source` to `sink`, both asyncio transports."""

    def __init__(self, server, down):
        self.server, self.down = server, down
        self.source = self.sink = None
        self.queue = collections.deque()
        self.size = 0
        self.free_at = 0.0
        self.timer = None
        self.ended = False
        self.sink_full = False
        self.stranded = False
        self.responses = Responses() if down else None

    def feed(self, data):
        server = self.server
        if self.stranded:
            return
        if self.down:
            data, cut = server.count_down(self.responses, data)
        else:
            server.up += len(data)
            cut = False
        if not self.queue and not server.delay and not server.bandwidth and not server.stalled \
                and self.sink is not None:
            self.sink.write(data)
        elif server.bandwidth:
            step = max(int(server.bandwidth / 100), 512)
            for i in range(0, len(data), step):
                self._enqueue(data[i:i + step])
        else:
            self._enqueue(data)
        if cut:
            server.finish()
        self._balance()

    def _enqueue(self, data):
        now = self.server.loop.time()
        due = now + self.server.delay / 2
        if self.server.bandwidth:
            due = max(due, self.free_at)
            self.free_at = due + len(data) / self.server.bandwidth
        self.queue.append((due, data))
        self.size += len(data)
        self._arm()

    def _arm(self):
        if self.timer is None and self.queue and not self.server.stalled and self.sink is not None:
            self.timer = self.server.loop.call_at(self.queue[0][0], self.drain)

    def drain(self):
        self.timer = None
        if self.server.stalled or self.stranded or self.sink is None:
            return
        now = self.server.loop.time() + 0.0002
        ready = []
        while self.queue and self.queue[0][0] <= now:
            data = self.queue.popleft()[1]
            self.size -= len(data)
            ready.append(data)
        if ready:
            self.sink.write(b''.join(ready))
        self._balance()
        self._arm()
        self._finish()

    def _balance(self):
        if self.source is None or self.source.is_closing():
            return
        if self.size > PIPE_MAX or self.sink_full:
            self.source.pause_reading()
        elif not self.source.is_reading():
            self.source.resume_reading()

    def set_full(self, full):
        self.sink_full = full
        self._balance()

    def end(self):
        """The source sent its last octet."""
        self.ended = True
        self._finish()

    def _finish(self):
        if self.ended and not self.queue and self.sink is not None and not self.server.stalled \
                and not self.stranded:
            self.sink.close()


class Side(asyncio.Protocol):
    """An end of a connection: reads into `out`, and is the sink of `into`."""

    def __init__(self, out, into, owner):
        self.out, self.into, self.owner = out, into, owner

    def connection_made(self, transport):
        self.transport = transport
        transport.max_size = READ_SIZE
        sock = transport.get_extra_info('socket')
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(8 << 20)
        self.out.source = transport
        self.into.sink = transport
        self.owner.made(self)
        self.into._arm()
        self.into._finish()

    def data_received(self, data):
        self.out.feed(data)

    def eof_received(self):
        return False

    def connection_lost(self, _):
        self.out.source = None
        self.into.sink = None
        self.out.end()
        self.owner.lost(self)

    def pause_writing(self):
        self.into.set_full(True)

    def resume_writing(self):
        self.into.set_full(False)


class Connection:
    def __init__(self, server):
        self.server = server
        self.up, self.down = Pipe(server, False), Pipe(server, True)
        self.client = Side(self.up, self.down, self)
        self.upstream = Side(self.down, self.up, self)
        self.sides = set()

    def made(self, side):
        self.sides.add(side)
        if side is self.client:
            self.server.connections.add(self)
            self.server.accepted += 1
            self.server.loop.create_task(self._connect())

    async def _connect(self):
        server = self.server
        if server.limit and len(server.connections) > server.limit:
            self.cut()
            return
        try:
            await server.loop.create_connection(lambda: self.upstream, '127.0.0.1', server.target)
        except OSError:
            self.cut()
            return
        if self.client not in self.sides:
            self.upstream.transport.close()

    def lost(self, side):
        self.sides.discard(side)
        if not self.sides:
            self.server.connections.discard(self)

    def cut(self):
        for side in list(self.sides):
            sock = side.transport.get_extra_info('socket')
            if sock is not None:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                except OSError:
                    pass
            side.transport.abort()
        self.server.connections.discard(self)


class Server:
    def __init__(self, target):
        self.target = target
        self.loop = asyncio.get_running_loop()
        self.connections = set()
        self.delay = self.bandwidth = self.limit = 0
        self.stalled = False
        self.cut_at_octet = self.cut_at_response = None
        self.listener = None
        self.port = 0
        self.reset()

    def reset(self):
        self.up = self.down = self.accepted = self.responses = 0

    async def listen(self):
        self.listener = await self.loop.create_server(
            lambda: Connection(self).client, '127.0.0.1', self.port, backlog=1000)
        self.port = self.listener.sockets[0].getsockname()[1]

    def count_down(self, parser, data):
        """(what of data may be forwarded, whether to cut then)."""
        cut = False
        if self.cut_at_octet is not None:
            if len(data) >= self.cut_at_octet:
                data, cut = data[:self.cut_at_octet], True
                self.cut_at_octet = None
            else:
                self.cut_at_octet -= len(data)
        for end in parser.ends(data):
            self.responses += 1
            if self.cut_at_response is not None:
                self.cut_at_response -= 1
                if self.cut_at_response <= 0:
                    self.cut_at_response = None
                    data, cut = data[:end], True
                    break
        self.down += len(data)
        return data, cut

    def pipes(self):
        for connection in self.connections:
            yield connection.up
            yield connection.down

    def cut(self):
        for connection in list(self.connections):
            connection.cut()

    def strand(self):
        for pipe in self.pipes():
            pipe.stranded = True
            pipe.queue.clear()

    def finish(self):
        """Ends all connections behind what was forwarded."""
        for connection in list(self.connections):
            if connection.upstream in connection.sides:
                connection.upstream.transport.abort()
            else:
                connection.cut()

    def set_stall(self, on):
        self.stalled = on
        if not on:
            for pipe in self.pipes():
                pipe.drain()
                pipe._finish()

    async def command(self, words):
        name, value = words[0], words[1] if len(words) > 1 else None
        if name == 'delay':
            self.delay = float(value) / 1000
        elif name == 'bandwidth':
            self.bandwidth = float(value)
        elif name == 'limit':
            self.limit = int(value)
        elif name in ('stall', 'go'):
            self.set_stall(name == 'stall')
        elif name == 'cut':
            self.cut()
        elif name == 'strand':
            self.strand()
        elif name == 'cut-after':
            self.cut_at_octet = int(value)
        elif name == 'cut-response':
            self.cut_at_response = int(value)
        elif name == 'refuse':
            if value == 'on' and self.listener:
                self.listener.close()
                self.listener = None
            elif value == 'off' and not self.listener:
                await self.listen()
        elif name == 'reset':
            self.reset()
        elif name != 'stats':
            return {'error': 'unknown command'}
        return {'up': self.up, 'down': self.down, 'open': len(self.connections),
                'accepted': self.accepted, 'responses': self.responses}

    async def control(self, reader, writer):
        while line := await reader.readline():
            try:
                answer = await self.command(line.decode().split())
            except (ValueError, OSError, IndexError) as error:
                answer = {'error': str(error)}
            writer.write(json.dumps(answer).encode() + b'\n')
            await writer.drain()
        writer.close()


async def serve(arguments):
    server = Server(arguments.target)
    server.port = arguments.listen
    await server.listen()
    await asyncio.start_unix_server(server.control, arguments.control)
    print(server.port, flush=True)
    await asyncio.Event().wait()


class Proxy(Steered):
    """Starts the program above and steers it."""

    def __init__(self, path, target, delay=0):
        super().__init__(__file__, path, target)
        if delay:
            self.delay(delay)

    def delay(self, milliseconds):
        self.ask('delay', milliseconds)

    def bandwidth(self, octets):
        self.ask('bandwidth', octets)

    def limit(self, connections):
        self.ask('limit', connections)

    def stall(self):
        self.ask('stall')

    def go(self):
        self.ask('go')

    def strand(self):
        self.ask('strand')

    def cut(self):
        self.ask('cut')

    def cut_after(self, octets):
        self.ask('cut-after', octets)

    def cut_response(self, responses):
        self.ask('cut-response', responses)

    def refuse(self, on=True):
        self.ask('refuse', 'on' if on else 'off')

    def stats(self):
        return self.ask('stats')

    def reset(self):
        return self.ask('reset')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='a TCP proxy that makes a line bad')
    parser.add_argument('--target', type=int, required=True)
    parser.add_argument('--control', required=True)
    parser.add_argument('--listen', type=int, default=0)
    asyncio.run(serve(parser.parse_args()))
