"""kill -9 of the worker: whoever uses the mount is let go, and e2fsck -y brings every fsynced file back with its contents."""
import os
import random
import signal
import subprocess
import time

from support import digest, expect, main, mounted, run, status, wait_for

# Works below its working directory, never by a path: when the mount is detached, a path leads to the directory below it, where a writer
# would go on undisturbed. Ends by the first error, which it reports.
WRITER = """
import errno, hashlib, os, random, sys
rng = random.Random(int(sys.argv[2]))
os.chdir(sys.argv[1])
print('started', flush=True)
number = 0
try:
    while True:
        name = f'f{sys.argv[2]}-{number}'
        data = rng.randbytes(rng.randrange(1, 50_000))
        file = os.open(name, os.O_WRONLY | os.O_CREAT)
        assert os.write(file, data) == len(data)
        if number % 2 == 0:
            os.fsync(file)
            folder = os.open('.', os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            print(name, hashlib.sha256(data).hexdigest(), flush=True)
        os.close(file)
        if number % 6 == 0 and number:
            os.unlink(f'f{sys.argv[2]}-{number - 3}')
        number += 1
except OSError as problem:
    print('ended', errno.errorcode[problem.errno], flush=True)
"""


def whereabouts(pid):
    """Where a process that does not end is, and what it has open."""
    text = []
    for name in ('stat', 'stack'):
        try:
            with open(f'/proc/{pid}/{name}') as file:
                text.append(file.read())
        except OSError as problem:
            text.append(f'{name}: {problem}\n')
    return ''.join(text) + run('ls', '-l', f'/proc/{pid}/fd', f'/proc/{pid}/cwd', check=False).stdout


def wait_until_let_go(writer):
    try:
        writer.wait(30)
    except subprocess.TimeoutExpired:
        where = whereabouts(writer.pid)
        writer.kill()
        raise AssertionError(f'a writer was not let go:\n{where}')


def fsynced_files_survive(scratch):
    rng = random.Random(7)
    for turn in range(6):
        image = scratch.image(size='256M')
        point = scratch.mount(image)
        logs = [scratch / f'log{number}' for number in range(3)]
        writers = []
        for number, log in enumerate(logs):
            with open(log, 'w') as file:
                writers.append(subprocess.Popen(['/usr/bin/python3', '-c', WRITER, point, str(turn * 10 + number)], stdout=file))
        wait_for(lambda: all(os.path.getsize(log) for log in logs), 'writers started', 30)
        time.sleep(0.5 + rng.random())
        os.kill(status(point)['worker_pid'], signal.SIGKILL)
        for writer in writers:
            wait_until_let_go(writer)
            expect(writer.returncode == 0, f'a writer failed by itself: exit {writer.returncode}')
        wait_for(lambda: not mounted(point), 'detached', 5)
        scratch.mount_points.remove(point)
        expect(os.listdir(point) == [], 'something was written below the mount point')
        # The writers kept the detached mount in use; the loop device goes with it.
        wait_for(lambda: run('losetup', '-j', image).stdout == '', 'loop device gone', 5)
        result = run('e2fsck', '-fy', image, check=False)
        expect(result.returncode in (0, 1), f'e2fsck: exit {result.returncode}\n{result.stdout}')
        acknowledged = 0
        with scratch.kernel(image, 'ro') as kernel:
            for log in logs:
                with open(log) as file:
                    first, *names, last = file.read().splitlines()
                expect(first == 'started', f'a writer began with {first!r}')
                # Under way at the worker's end, or begun after it.
                expect(last in ('ended ECONNABORTED', 'ended ENOTCONN', 'ended EIO'), f'a writer was let go with {last!r}')
                for name, wanted in map(str.split, names):
                    expect(digest(os.path.join(kernel, name)) == wanted, f'{name} is not what was fsynced')
                    acknowledged += 1
        expect(acknowledged > 10, f'only {acknowledged} files were acknowledged')


main(fsynced_files_survive)
