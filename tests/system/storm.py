"""kill -9 of the worker, again and again, under load from several processes: nothing that was acknowledged is lost, whoever recovers."""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time

from support import expect, loops_over, main, mounted, run, status, wait_for

ROUNDS = int(os.environ.get('EXT4BOX_STORM_ROUNDS', '24'))
SEED = int(os.environ.get('EXT4BOX_STORM_SEED', '1'))
WRITERS = 4

# Says on standard output, which leads elsewhere, what must be true from then on: 'have NAME DIGEST SIZE', also when more follows
# behind SIZE; 'may NAME' before anything is done that ends such a promise; 'gone NAME'. fsync of a new file promises its name, too.
# Works below its working directory, never by a path: when the mount is detached, a path leads to the directory below it.
WRITER = """
import hashlib, os, random, sys
rng = random.Random(int(sys.argv[2]))
os.chdir(sys.argv[1])
files, number = {}, 0
say = lambda *words: print(*words, flush=True)
def promise(name, data):
    files[name] = data
    say('have', name, hashlib.sha256(data).hexdigest(), len(data))
def sync(name):
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
def write(name, data, flags):
    descriptor = os.open(name, os.O_WRONLY | flags)
    while data:
        data = data[os.write(descriptor, data):]
    os.fsync(descriptor)
    os.close(descriptor)
say('started')
try:
    while True:
        number += 1
        name = f'f{sys.argv[2]}-{number}'
        data = rng.randbytes(rng.randrange(1, rng.choice((200, 5_000, 60_000))))
        action = rng.choice(('new', 'new', 'append', 'replace', 'unlink', 'rename', 'noise'))
        known = rng.choice(sorted(files)) if files else None
        if action == 'new' or not known:
            write(name, data, os.O_CREAT | os.O_EXCL)
            promise(name, data)
        elif action == 'append':
            write(known, data, os.O_APPEND)
            promise(known, files[known] + data)
        elif action == 'replace':
            write('temporary', data, os.O_CREAT | os.O_TRUNC)
            say('may', known)
            os.rename('temporary', known)
            sync('.')
            promise(known, data)
        elif action == 'unlink':
            say('may', known)
            del files[known]
            os.unlink(known)
            sync('.')
            say('gone', known)
        elif action == 'rename':
            say('may', known)
            os.rename(known, name)
            sync('.')
            say('gone', known)
            promise(name, files.pop(known))
        else:
            os.makedirs(f'noise/{number % 7}/{number}', exist_ok=True)
            with open(f'noise/{number % 7}/file', 'wb') as file:
                file.write(data)
            os.truncate(f'noise/{number % 7}/file', len(data) // 2)
            os.rename(f'noise/{number % 7}/{number}', f'noise/{number}')
            if number % 3 == 0:
                os.rmdir(f'noise/{number}')
except OSError:
    pass
"""


class Promises:
    """What the writers of all rounds may rely on, by path below the mount point."""

    def __init__(self):
        self.have, self.gone, self.kept = {}, set(), 0

    def read(self, folder, log):
        for line in log.splitlines(keepends=True):
            word, *rest = line.split()
            if not line.endswith('\n') or not rest:
                continue
            path = f'{folder}/{rest[0]}'
            self.gone.discard(path)
            self.have.pop(path, None)
            if word == 'have':
                self.have[path] = (rest[1], int(rest[2]))
                self.kept += 1
            elif word == 'gone':
                self.gone.add(path)

    def forget(self, folder):
        self.have = {path: promise for path, promise in self.have.items() if not path.startswith(f'{folder}/')}
        self.gone = {path for path in self.gone if not path.startswith(f'{folder}/')}

    def check(self, point, who):
        for path, (digest, size) in self.have.items():
            expect(os.path.exists(f'{point}/{path}'), f'{who}: {path} was fsynced and is not there')
            with open(f'{point}/{path}', 'rb') as file:
                expect(hashlib.sha256(file.read(size)).hexdigest() == digest, f'{who}: {path} is not what was fsynced')
        for path in self.gone:
            expect(not os.path.lexists(f'{point}/{path}'), f'{who}: {path} was removed for good and is there')


def storm(scratch, image, arguments, rng, round, promises):
    """Mounts, lets writers work, kills the worker; takes what they were promised."""
    point = scratch.mount(image, *arguments)
    promises.check(point, 'mounted again')
    for old in range(round - 3):
        if os.path.isdir(f'{point}/{old}'):
            promises.forget(f'{old}')
            shutil.rmtree(f'{point}/{old}')
    writers = []
    for number in range(WRITERS):
        folder = f'{round}/{number}'
        os.makedirs(f'{point}/{folder}')
        log = open(scratch / f'log{number}', 'w+')
        command = ['/usr/bin/python3', '-c', WRITER, f'{point}/{folder}', str(rng.randrange(1 << 30))]
        writers.append((folder, log, subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True)))
    for _, log, _ in writers:
        wait_for(lambda: os.fstat(log.fileno()).st_size > 0, 'writers started', 30)
    time.sleep(rng.random())
    os.kill(status(point)['worker_pid'], signal.SIGKILL)
    for folder, log, writer in writers:
        complaint = writer.communicate(timeout=60)[1]
        expect(not complaint, f'a writer failed: {complaint}')
        log.seek(0)
        promises.read(folder, log.read())
        log.close()
    wait_for(lambda: not mounted(point), 'the dead mount is detached', 10)
    wait_for(lambda: not loops_over(image), 'its loop device is gone', 10)
    scratch.mount_points.remove(point)


def recover(scratch, image, way, promises):
    """One of three implementations takes the image as the killed worker left it."""
    if way == 'us':
        with scratch.mounted(image) as point:
            promises.check(point, 'ext4box')
    elif way == 'kernel':
        with scratch.kernel(image) as point:
            promises.check(point, 'the kernel')
            with open(f'{point}/kernel', 'ab') as file:
                file.write(b'was here\n')
    else:
        result = run('e2fsck', '-p', image, check=False)
        expect(result.returncode in (0, 1), f'e2fsck -p: exit {result.returncode}\n{result.stdout}{result.stderr}')
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as point:
        promises.check(point, f'after {way}, the kernel')


def nothing_acknowledged_is_lost(scratch):
    print(f'seed {SEED}, {ROUNDS} rounds', flush=True)
    rng = random.Random(SEED)
    promises = Promises()
    image = scratch.image(size='256M')
    for round in range(ROUNDS):
        arguments = ('-o', 'noloop') if rng.random() < 0.5 else ()
        storm(scratch, image, arguments, rng, round, promises)
        # Sometimes the next storm's mount is the one that recovers.
        way = ('us', 'kernel', 'e2fsck', None)[round % 4]
        if way:
            recover(scratch, image, way, promises)
    recover(scratch, image, 'us', promises)
    print(f'{promises.kept} promises kept', flush=True)
    expect(promises.kept > 10 * ROUNDS, f'only {promises.kept} were acknowledged')


if __name__ == '__main__':
    main(nothing_acknowledged_is_lost)
