#!/usr/bin/env python3
"""Kernel ext4 over a loop device, Debian's fuse2fs and ext4box, side by side in one run.

  bench.py [--build DIR] [--backing DIR] [--repeat N] [--only ROW,...] [--json FILE]

Every row runs on every system in turn, each on a fresh image of the same geometry, the order rotated from one repeat to the next;
read rows run after unmount, drop_caches and mount. The table shows rates relative to kernel ext4 (1.00; higher is better) and, from a
pass of its own that is not timed, how many FUSE requests one operation of the row costs. Needs root; quote ratios, never absolute times.
"""
import argparse
import collections
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, check=True):
    return subprocess.run([str(c) for c in command], check=check, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class System:
    """One way to mount an image."""

    def __init__(self, name, image, point, build):
        self.name, self.image, self.point, self.build = name, image, point, build

    def mount(self):
        if self.name == 'kernel':
            run('mount', '-t', 'ext4', '-o', 'loop', self.image, self.point)
            loop = run('findmnt', '-n', '-o', 'SOURCE', self.point).stdout.strip()
            run('losetup', '--direct-io=on', loop, check=False)
        elif self.name == 'fuse2fs':
            run('fuse2fs', self.image, self.point)
            while not os.path.ismount(self.point):
                time.sleep(0.005)
        else:
            run(f'{self.build}/broker/fuservicemount', self.image, self.point)

    def unmount(self):
        if self.name == 'ext4box':
            run(f'{self.build}/broker/fuservicemount', '--unmount', self.point)
            return
        run('umount', self.point)
        while self.name == 'fuse2fs' and run('pgrep', '-f', f'^fuse2fs {self.image}', check=False).returncode == 0:
            time.sleep(0.01)

    def cold(self):
        self.unmount()
        os.sync()
        with open('/proc/sys/vm/drop_caches', 'w') as file:
            file.write('3')
        self.mount()


def timed(command):
    start = time.monotonic()
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


class Bench:
    def __init__(self, options):
        self.work_program = f'{options.build}/tests/bench/file_work'
        self.options = options

    def work(self, *arguments):
        """Seconds of one inner loop."""
        return float(run(self.work_program, *arguments).stdout)

    # Each row: prepare on the mounted system, then measure; returns (operations, seconds).
    def streaming_write(self, system):
        return 512, self.work('stream-out', f'{system.point}/big', 512 * MIB)

    def streaming_read(self, system):
        self.work('stream-out', f'{system.point}/big', 512 * MIB)
        system.cold()
        return 512, self.work('stream-in', f'{system.point}/big')

    def four_writers(self, system):
        return 512, self.work('parallel', system.point, 4, 128 * MIB)

    def small_files(self, system):
        return 4000, self.work('create', system.point, 4000, 4096, 100)

    def creates_in_one_directory(self, system):
        os.mkdir(f'{system.point}/one')
        return 10_000, self.work('create', f'{system.point}/one', 10_000, 0, 0)

    def find_and_stat(self, system):
        self.work('create', system.point, 5000, 0, 100)
        system.cold()
        return 5000, timed(f'find {system.point} -size +1G -printf x')

    def cold_tar(self, system):
        self.work('create', system.point, 4000, 8192, 100)
        system.cold()
        return 4000, timed(f'tar -C {system.point} -cf - . | cat')

    def append_and_fsync(self, system):
        return 500, self.work('append-sync', f'{system.point}/log', 500)

    def remove_tree(self, system):
        os.mkdir(f'{system.point}/tree')
        self.work('create', f'{system.point}/tree', 5000, 4096, 100)
        return 5000, timed(f'rm -r {system.point}/tree')

    ROWS = ('streaming_write', 'streaming_read', 'four_writers', 'small_files', 'creates_in_one_directory', 'find_and_stat',
            'cold_tar', 'append_and_fsync', 'remove_tree')


class RequestCounter:
    """Counts what the kernel sends to one FUSE connection, by its tracepoint."""

    TRACING = '/sys/kernel/tracing'

    def __enter__(self):
        run('mount', '-t', 'tracefs', 'tracefs', self.TRACING, check=False)
        self.instance = f'{self.TRACING}/instances/ext4box-bench'
        os.makedirs(self.instance, exist_ok=True)
        self.counts = collections.Counter()
        self.write('buffer_size_kb', '16384')
        self.write('events/fuse/fuse_request_send/enable', '1')
        self.pipe = subprocess.Popen(['cat', f'{self.instance}/trace_pipe'], stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        return self

    def write(self, name, text):
        with open(f'{self.instance}/{name}', 'w') as file:
            file.write(text)

    def read(self):
        for line in self.pipe.stdout:
            if '(FUSE_' in line:
                self.counts[line.split('(FUSE_')[1].split(')')[0]] += 1

    def __exit__(self, *_):
        time.sleep(0.5)
        self.write('events/fuse/fuse_request_send/enable', '0')
        self.pipe.terminate()
        self.reader.join()
        os.rmdir(self.instance)


def main():
    parser = argparse.ArgumentParser(description='kernel ext4, fuse2fs and ext4box side by side')
    parser.add_argument('--build', default=os.path.join(HERE, '..', '..', 'build-release'))
    parser.add_argument('--backing', default='/dev/shm', help='folder of the images (default: memory)')
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--only', help='rows, comma separated: ' + ','.join(Bench.ROWS))
    parser.add_argument('--json')
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if os.environ.get('EXT4BOX_NAMESPACE') != '1':
        os.environ['EXT4BOX_NAMESPACE'] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private', sys.executable, *sys.argv])

    bench = Bench(options)
    rows = options.only.split(',') if options.only else bench.ROWS
    names = ['kernel', 'fuse2fs', 'ext4box']
    folder = tempfile.mkdtemp(prefix='ext4box-bench.', dir=options.backing)
    rates = {row: {name: [] for name in names} for row in rows}
    requests = {}

    def one(row, name):
        image, point = f'{folder}/image', f'{folder}/mnt'
        os.makedirs(point, exist_ok=True)
        with open(image, 'wb') as file:
            os.posix_fallocate(file.fileno(), 0, 2048 * MIB)
        run('mke2fs', '-q', '-F', '-t', 'ext4', image)
        system = System(name, image, point, options.build)
        system.mount()
        try:
            operations, seconds = getattr(bench, row)(system)
        finally:
            system.unmount()
        run('e2fsck', '-fn', image)
        os.unlink(image)
        return operations, seconds

    try:
        for repeat in range(options.repeat):
            for row in rows:
                for name in names[repeat % 3:] + names[:repeat % 3]:
                    operations, seconds = one(row, name)
                    rates[row][name].append(operations / seconds)
                print(f'repeat {repeat + 1}: {row}', file=sys.stderr, flush=True)
        for row in rows:
            with RequestCounter() as counter:
                operations, _ = one(row, 'ext4box')
            requests[row] = {kind: count / operations for kind, count in counter.counts.most_common()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    print(f'{"row":28}{"kernel":>14}{"fuse2fs":>10}{"ext4box":>10}   requests for one operation')
    for row in rows:
        base = statistics.median(rates[row]['kernel'])
        ratios = [statistics.median(a / b for a, b in zip(rates[row][name], rates[row]['kernel'])) for name in names[1:]]
        most = ', '.join(f'{kind.lower()} {count:.2f}' for kind, count in list(requests[row].items())[:4])
        print(f'{row:28}{base:12.0f}/s{ratios[0]:10.2f}{ratios[1]:10.2f}   {sum(requests[row].values()):.2f}: {most}')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'rates': rates, 'requests': requests}, file, indent=1)


main()
