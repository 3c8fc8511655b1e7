#!/usr/bin/env python3
"""Kernel ext4, Debian's fuse2fs and ext4box, side by side in one run.

  bench.py [--build DIR] [--backing DIR] [--repeat N] [--only ROW,...] [--json FILE]

Each row runs on each system in turn, on a new file system in the same image file; the order rotates from one repeat to the next. What a
row reads is cold: unmounted, caches dropped, mounted again. The table shows rates relative to kernel ext4 (1.00; higher is better), the
best of each system's repeats, since whatever else the machine does can only make one slower; and what the machine cannot disturb:
FUSE requests and microseconds of the server's processor time for one operation. Needs root. Quote ratios, never absolute times.
"""
import argparse
import json
import os
import subprocess
import sys
import time

from systems import MIB, Requests, System, add_common_options, check_clean, in_own_namespace, run, scratch

IMAGE_BYTES = 2048 * MIB


class Row:
    """`prepare` and then, with `cold` after a new mount, `measure`: each gets a function that runs a job of file_work, and the mount
    point. `measure` returns its seconds, or None if it is to be timed from outside."""

    def __init__(self, name, operations, measure, prepare=None, cold=False):
        self.name, self.operations, self.measure, self.prepare, self.cold = name, operations, measure, prepare, cold


def shell(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def tree(size, fan=100, count=4000):
    return lambda work, root: work('create', root, count, size, fan)


ROWS = (
    Row('streaming write', 512, lambda work, root: work('stream-out', f'{root}/big', 512 * MIB)),
    Row('streaming read', 512, lambda work, root: work('stream-in', f'{root}/big'),
        prepare=lambda work, root: work('stream-out', f'{root}/big', 512 * MIB), cold=True),
    Row('4 parallel writers', 512, lambda work, root: work('parallel', root, 4, 128 * MIB)),
    Row('small files', 4000, tree(4096)),
    Row('creates in one directory', 10_000, tree(0, fan=0, count=10_000)),
    Row('find and stat', 4000, lambda work, root: shell(f'find {root} -size +1G -printf x'), prepare=tree(0), cold=True),
    Row('cold tar', 4000, lambda work, root: shell(f'tar -C {root} -cf - . | cat'), prepare=tree(8192), cold=True),
    Row('4 KiB append and fsync', 500, lambda work, root: work('append-sync', f'{root}/log', 500)),
    Row('rm -r', 4000, lambda work, root: shell(f'rm -r {root}/d*'), prepare=tree(4096)),
)


class Bench:
    def __init__(self, options, folder):
        self.build = os.path.abspath(options.build)
        self.image, self.point = f'{folder}/image', f'{folder}/mnt'
        # Allocated once: memory that was never touched is slow to get, and the first system would pay for all.
        with open(self.image, 'wb') as file:
            for _ in range(IMAGE_BYTES // MIB):
                file.write(bytes(MIB))

    def work(self, *arguments):
        """Seconds of one inner loop."""
        return float(run(f'{self.build}/tests/bench/file_work', *arguments).stdout)

    def one(self, row, name, count=False):
        """Runs a row on a system; returns its seconds, the server's processor seconds and, with `count`, its requests by kind."""
        # Everything is initialised at once, so that the kernel's own thread for that does not disturb.
        run('mke2fs', '-q', '-F', '-t', 'ext4', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', self.image)
        system = System(name, self.image, self.point, self.build)
        system.mount()
        requests = {}
        try:
            if row.prepare:
                row.prepare(self.work, self.point)
            if row.cold:
                system.cold()
            if count:
                with Requests(self.point) as requests:
                    seconds, used = self.measure(row, system)
            else:
                seconds, used = self.measure(row, system)
        finally:
            system.unmount()
        check_clean(self.image)
        return seconds, used, requests

    def measure(self, row, system):
        used, start = system.processor_seconds(), time.monotonic()
        seconds = row.measure(self.work, self.point) or time.monotonic() - start
        return seconds, system.processor_seconds() - used


def main():
    parser = argparse.ArgumentParser(description='kernel ext4, fuse2fs and ext4box side by side')
    add_common_options(parser)
    parser.add_argument('--repeat', type=int, default=5)
    parser.add_argument('--only', default='', help='rows, comma separated; the first letters are enough')
    options = parser.parse_args()
    in_own_namespace()
    wanted = tuple(options.only.split(','))
    rows = [row for row in ROWS if row.name.startswith(wanted)]
    names = list(System.NAMES)
    rates = {row.name: {name: [] for name in names} for row in rows}
    used = {row.name: {name: [] for name in names} for row in rows}
    requests = {row.name: {} for row in rows}

    with scratch(options.backing) as folder:
        bench = Bench(options, folder)
        for repeat in range(options.repeat):
            for row in rows:
                for name in names[repeat % 3:] + names[:repeat % 3]:
                    seconds, processor, _ = bench.one(row, name)
                    rates[row.name][name].append(row.operations / seconds)
                    used[row.name][name].append(processor / row.operations * 1e6)
                print(f'repeat {repeat + 1} of {options.repeat}: {row.name}', file=sys.stderr, flush=True)
        for row in rows:
            for name in names[1:]:
                counts = bench.one(row, name, count=True)[2]
                requests[row.name][name] = {kind: count / row.operations for kind, count in counts.most_common()}

    heads = ('row', 'fuse2fs', 'ext4box', 'requests', 'processor µs', 'ext4box asks for')
    print('| ' + ' | '.join(heads) + ' |\n|' + ' --- |' * len(heads))
    for row in rows:
        best = {name: max(values) for name, values in rates[row.name].items()}
        least = {name: min(values) for name, values in used[row.name].items()}
        sums = {name: sum(counts.values()) for name, counts in requests[row.name].items()}
        most = ', '.join(f'{kind} {count:.2f}' for kind, count in requests[row.name]['ext4box'].items() if count >= 0.02)
        print(f'| {row.name} | {best["fuse2fs"] / best["kernel"]:.2f} | {best["ext4box"] / best["kernel"]:.2f} | '
              f'{sums["fuse2fs"]:.2f} / {sums["ext4box"]:.2f} | {least["fuse2fs"]:.0f} / {least["ext4box"]:.0f} | {most} |')
    print('Rates relative to kernel ext4; requests and processor time of one operation (1 MiB, one file, one append): fuse2fs / ext4box.')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'rates': rates, 'processor': used, 'requests': requests}, file, indent=1)


main()
