#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast imapfs is, as ratios to limits and peers measured in the same run.

    bench.py [--parts listing,bodies,wire,push,million,mailboxes] [--sizes 1000,10000,100000]
             [--rounds 3] [--delays 0,50] [--real 2000] [--wire-sizes 100000] [--push 40]
             [--million 1000000] [--mailboxes 1000] [-v]

Starts private servers with mailboxes of many small messages and one of realistic sizes, puts a
delay into the line, and prints a table in Markdown:

    listing     the first ls -f of a mailbox, against the same FETCH streamed raw over TLS; ls -l
                after a remount and again, against a FUSE program that answers from memory (floor)
                plus one SELECT, and a Maildir of the same names; what a repetition asks for
    bodies      cold grep -r, against mbsync's first pull plus grep, and one FETCH a message; warm
                grep and tar, against the Maildir; octets
    wire        octets and round trips of reopening a mailbox, by each way of syncing
    push        how long until what another client did is seen
    million     memory, and what a change of one costs, in a mailbox of a million messages
    mailboxes   what a walk over a thousand mailboxes asks for

Rounds of what is compared are interleaved; figures are medians. The server's own cache is warmed
by a FETCH that is thrown away. The environment tells where things are: IMAPFS, BENCH_TOOLS.
"""
import argparse
import importlib

from common import Bench

PARTS = 'listing,bodies,wire,push,million,mailboxes'


def numbers(text):
    return [int(n) for n in text.split(',') if n]


def main():
    parser = argparse.ArgumentParser(description='See the top of this file.')
    parser.add_argument('--parts', default=PARTS)
    parser.add_argument('--sizes', default='1000,10000,100000', type=numbers)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--delays', default='0,50', type=numbers)
    parser.add_argument('--real', type=int, default=2000)
    parser.add_argument('--wire-sizes', default='100000', type=numbers)
    parser.add_argument('--push', type=int, default=40)
    parser.add_argument('--million', type=int, default=1000000)
    parser.add_argument('--mailboxes', type=int, default=1000)
    parser.add_argument('-v', '--verbose', action='store_true')
    args = parser.parse_args()
    for part in args.parts.split(','):
        if part not in PARTS.split(','):
            parser.error('no such part: ' + part)
    bench = Bench(args)
    try:
        print('| what | imapfs | against | ratio |\n|---|---|---|---|', flush=True)
        for part in args.parts.split(','):
            importlib.import_module(part).run(bench)
    finally:
        bench.stop()


if __name__ == '__main__':
    main()
