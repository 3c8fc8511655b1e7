#!/usr/bin/env python3
"""What must not grow: with the volume, with a directory, with the number of those who call fsync.

  scale.py [--build DIR] [--backing DIR] [--repeat N] [--only PART,...] [--creates N,...] [--json FILE]

Kernel ext4 and ext4box work on the same loop device with direct I/O, one after the other; beside times, which are the best of the
repeats and good for ratios only, stand the requests that reached the device, which nothing else on the machine can change. Parts:

  volume     mount, first write, fsync and unmount of a sparse volume of 15 TiB against one of 1 GiB, and the server's memory
  directory  creates in one directory, --creates 100000,1000000 by default
  append     4 KiB append and fsync
  callers    the same from 1 to 16 threads: whether they share commits
  journal    create and unlink with a journal against the same without

Needs root. Quote ratios, never absolute times.
"""
import argparse
import json
import os
import time

from systems import LoopDevice, System, add_common_options, check_clean, drop_caches, in_own_namespace, run, scratch

SYSTEMS = ('kernel', 'ext4box')


def table(title, heads, lines):
    print(f'\n**{title}**\n\n| ' + ' | '.join(heads) + ' |\n|' + ' --- |' * len(heads))
    for line in lines:
        print('| ' + ' | '.join(line) + ' |')
    print(flush=True)


class Scale:
    def __init__(self, options, folder):
        self.options = options
        self.build = os.path.abspath(options.build)
        self.folder, self.point = folder, f'{folder}/mnt'
        self.values = {}

    def work(self, *arguments):
        """Seconds of one inner loop."""
        return float(run(f'{self.build}/tests/bench/file_work', *arguments).stdout)

    def volume_of(self, size, *options):
        """A loop device over a new file system; a context."""
        image = f'{self.folder}/image'
        if os.path.exists(image):
            os.unlink(image)
        run('truncate', '-s', size, image)
        run('mke2fs', '-q', '-F', '-t', 'ext4', '-E', 'nodiscard', *options, image)
        return LoopDevice(image)

    def on(self, name, loop, measure):
        """measure(system) on the mounted system; returns its value and what it moved on the device, then checks the volume."""
        system = System(name, loop.path, self.point, self.build)
        system.mount()
        try:
            before = loop.counters()
            value = measure(system)
            moved = loop.counters()
            moved.subtract(before)
        finally:
            system.unmount()
        check_clean(loop.path)
        return value, moved

    def volume(self):
        """Each step on each size; the best times of the repeats, the counts of the last."""
        sizes = ('1G', '15T')
        steps = {name: {size: {} for size in sizes} for name in SYSTEMS}
        memory = {size: 0 for size in sizes}
        for size in sizes:
            with self.volume_of(size) as loop:
                for _ in range(self.options.repeat):
                    for name in SYSTEMS:
                        system = System(name, loop.path, self.point, self.build)
                        drop_caches()
                        for step, act in self.life(system):
                            before, start = loop.counters(), time.monotonic()
                            act()
                            seconds = time.monotonic() - start
                            moved = loop.counters()
                            moved.subtract(before)
                            old = steps[name][size].get(step, (seconds, None))
                            steps[name][size][step] = (min(old[0], seconds), moved)
                            memory[size] = max(memory[size], system.peak_memory())
                        if size == '1G':  # of the large one e2fsck would take minutes and all memory
                            check_clean(loop.path)
        lines = []
        for name in SYSTEMS:
            for step, (small, few) in steps[name]['1G'].items():
                large, many = steps[name]['15T'][step]
                lines.append((name, step, f'{large / small:.2f}', *(f'{c["reads"]} + {c["writes"]} + {c["flushes"]}' for c in (few, many)),
                              *(f'{c["read_kib"]} / {c["written_kib"]}' for c in (few, many))))
        table('A volume of 15 TiB against one of 1 GiB', ('system', 'step', 'time', 'reads + writes + flushes at 1 GiB', 'at 15 TiB',
                                                           'KiB read / written at 1 GiB', 'at 15 TiB'), lines)
        print('The worker had at most ' + ', '.join(f'{bytes >> 20} MiB at {size}' for size, bytes in memory.items()) + '.')
        self.values['volume'] = {'steps': steps, 'memory': memory}

    def life(self, system):
        """The steps of a short life, in order: (name, act)."""
        path = f'{self.point}/first'
        file = []

        def first_write():
            file.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            os.write(file[0], b'x' * 4096)

        def close():
            os.close(file[0])
            system.unmount()

        return (('mount', system.mount), ('first write', first_write), ('fsync', lambda: os.fsync(file[0])), ('unmount', close))

    def directory(self):
        counts = [int(count) for count in self.options.creates.split(',')]
        lines, values = [], {}
        for count in counts:
            values[count] = {}
            for name in SYSTEMS:
                with self.volume_of('8G', '-N', str(max(counts) + 10_000)) as loop:
                    seconds, moved = self.on(name, loop, lambda _: self.work('create', self.point, count, 0, 0))
                values[count][name] = (seconds / count, moved)
            each, base = values[count], values[counts[0]]
            lines.append((f'{count:,}', f'{each["ext4box"][0] / each["kernel"][0]:.2f}',
                          *(f'{each[name][0] / base[name][0]:.2f}' for name in SYSTEMS),
                          *(f'{each[name][1]["written_kib"] / count:.2f}' for name in SYSTEMS)))
        table('Creates in one directory', ('creates', 'time of one against kernel ext4', f'kernel: one against {counts[0]:,}',
                                           'ext4box: the same', 'KiB written for one: kernel', 'ext4box'), lines)
        self.values['directory'] = values

    def append(self):
        best = {}
        with self.volume_of('1G') as loop:
            for _ in range(self.options.repeat):
                for name in SYSTEMS:
                    result = self.on(name, loop, lambda _: self.work('append-sync', f'{self.point}/log', 500))
                    best[name] = min(best.get(name, result), result, key=lambda one: one[0])
        lines = [(name, f'{best[name][0] / best["kernel"][0]:.2f}', f'{best[name][1]["writes"] / 500:.2f}',
                  f'{best[name][1]["written_kib"] / 500:.1f}', f'{best[name][1]["flushes"] / 500:.2f}') for name in SYSTEMS]
        table('4 KiB append and fsync', ('system', 'time against kernel ext4', 'device writes for one', 'KiB', 'flushes'), lines)
        self.values['append'] = best

    def callers(self):
        lines, values = [], {}
        for callers in (1, 2, 4, 8, 16):
            best = {}
            with self.volume_of('1G') as loop:
                for _ in range(self.options.repeat):
                    for name in SYSTEMS:
                        result = self.on(name, loop, lambda _: self.work('parallel-sync', self.point, callers, 200))
                        best[name] = min(best.get(name, result), result, key=lambda one: one[0])
            values[callers] = best
            syncs = callers * 200
            alone = values[1]
            lines.append((str(callers), f'{best["ext4box"][0] / best["kernel"][0]:.2f}',
                          *(f'{callers * alone[name][0] / best[name][0]:.2f}' for name in SYSTEMS),
                          *(f'{best[name][1]["flushes"] / syncs:.2f}' for name in SYSTEMS)))
        table('fsync from several threads', ('callers', 'time against kernel ext4', 'kernel: rate against one caller', 'ext4box: the same',
                                             'flushes for one: kernel', 'ext4box'), lines)
        self.values['callers'] = values

    def journal(self):
        best = {}
        for _ in range(self.options.repeat):
            for kind, options in (('journal', ()), ('none', ('-O', '^has_journal'))):
                for name in SYSTEMS:
                    with self.volume_of('1G', *options) as loop:
                        def create_and_unlink(_):
                            return self.work('create', self.point, 10_000, 0, 0), self.work('unlink', self.point, 10_000)
                        seconds, moved = self.on(name, loop, create_and_unlink)
                    old = best.get((name, kind), (seconds, moved))[0]
                    best[name, kind] = tuple(map(min, old, seconds)), moved
        lines = []
        for name in SYSTEMS:
            (creates, unlinks), with_it = best[name, 'journal']
            (bare_creates, bare_unlinks), without = best[name, 'none']
            lines.append((name, f'{creates / bare_creates:.2f}', f'{unlinks / bare_unlinks:.2f}',
                          f'{with_it["written_kib"] / 20_000:.2f} / {without["written_kib"] / 20_000:.2f}'))
        table('Journal against none, 10,000 files', ('system', 'create', 'unlink', 'KiB written for one operation, with / without'), lines)
        self.values['journal'] = {' '.join(key): value for key, value in best.items()}

    PARTS = ('volume', 'directory', 'append', 'callers', 'journal')


def main():
    parser = argparse.ArgumentParser(description='what must not grow')
    add_common_options(parser)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--only', default=','.join(Scale.PARTS), help='parts, comma separated: ' + ', '.join(Scale.PARTS))
    parser.add_argument('--creates', default='100000,1000000', help='how many files in one directory, comma separated')
    options = parser.parse_args()
    in_own_namespace()
    with scratch(options.backing) as folder:
        scale = Scale(options, folder)
        for part in options.only.split(','):
            getattr(scale, part)()
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(scale.values, file, indent=1)


main()
