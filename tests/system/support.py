"""What every system test needs: a private mount namespace, a scratch directory, images, mounts, checks, and proof that nothing is left.

A case is a script that calls main(function, ...): each function gets a Scratch, runs, and fails by an exception. The script runs once
more inside `unshare --mount`, so that no mount of it is ever seen outside, and fails when it leaves a mount, loop device or process.
"""
import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get('EXT4BOX_BUILD', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'build'))
BROKER = os.path.abspath(os.path.join(BUILD, 'broker', 'fuservicemount'))
WORKER = os.path.abspath(os.path.join(BUILD, 'worker', 'ext4box-worker'))
SKIP = 77


class Skip(Exception):
    """The machine lacks what this case needs; the text says what."""


def run(*command, check=True, timeout=120, **keywords):
    """Runs a command; returns it with stdout and stderr as text. With check, a failure is an exception that shows both."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors='surrogateescape', timeout=timeout, **keywords)
    if check and result.returncode:
        raise AssertionError(f'{" ".join(map(str, command))}: exit {result.returncode}\n{result.stdout}{result.stderr}')
    return result


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def wait_for(condition, what, seconds=10):
    """Waits until condition() is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f'not within {seconds} s: {what}')
        time.sleep(0.02)


def digest(path):
    """SHA-256 of a file's contents."""
    whole = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def digest_of_data(path):
    """SHA-256 of a file's size and of what in it is not zero: the same for the same contents, stored sparsely or not. Holes are not read,
    so that one of gigabytes costs nothing."""
    whole, step = hashlib.sha256(), 1 << 20
    with open(path, 'rb', buffering=0) as file:
        info = os.fstat(file.fileno())
        whole.update(b'%d' % info.st_size)
        place = 0
        while place < info.st_size:
            if info.st_blocks * 512 < info.st_size:
                try:
                    place = os.lseek(file.fileno(), place, os.SEEK_DATA) // step * step
                except OSError as error:
                    expect(error.errno == errno.ENXIO, f'SEEK_DATA in {path!r}: {error}')
                    break
            piece = os.pread(file.fileno(), step, place)
            if piece.strip(b'\0'):
                whole.update(b'@%d:' % place + piece)
            place += step
    return whole.hexdigest()


def mounted(path):
    path = os.path.realpath(path)
    with open('/proc/self/mountinfo') as table:
        return any(line.split()[4].encode().decode('unicode_escape') == path for line in table)


def alive(pid):
    """True while the process runs; a zombie does not."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def loops_over(path):
    """Loop devices whose backing file is `path`."""
    found = run('losetup', '-j', path).stdout
    return [line.split(':')[0] for line in found.splitlines()]


class Scratch:
    """One case's directory, images and mounts; leaves nothing behind."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix='ext4box-test.', dir='/var/tmp')
        self.mount_points = []
        self.workers = set()

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def image(self, name='disk.img', size='64M', *options, type='ext4'):
        """Makes an image with mke2fs and returns its path."""
        path = self / name
        run('mke2fs', '-q', '-F', '-t', type, *options, path, size)
        return path

    def directory(self, name='mnt'):
        path = self / name
        os.makedirs(path, exist_ok=True)
        return path

    def mount(self, source, *arguments, where='mnt', check=True, **keywords):
        """Mounts by the broker; returns the mount point, or the finished command without check."""
        point = self.directory(where)
        result = run(BROKER, source, point, *arguments, check=check, **keywords)
        if result.returncode == 0:
            expect(result.stdout == '', f'a successful mount printed {result.stdout!r}')
            self.mount_points.append(point)
            self.workers.add(status(point)['worker_pid'])
        return point if check else result

    def unmount(self, point, *arguments):
        run(BROKER, '--unmount', point, *arguments)
        expect(not mounted(point), f'{point} is still mounted')
        if point in self.mount_points:
            self.mount_points.remove(point)

    @contextlib.contextmanager
    def mounted(self, source, *arguments, **keywords):
        point = self.mount(source, *arguments, **keywords)
        yield point
        self.unmount(point)

    @contextlib.contextmanager
    def kernel(self, image, *options, where='kernel'):
        """The same image under the kernel's ext4."""
        point = self.directory(where)
        run('mount', '-t', 'ext4', '-o', ','.join(('loop', *options)), image, point)
        try:
            yield point
        finally:
            run('umount', point)

    def fsck(self, image):
        """e2fsck -fn finds nothing to complain about."""
        result = run('e2fsck', '-fn', image, check=False, timeout=600)
        words = ('WARNING', 'error', 'Fix?', 'wrong', 'Clear?', 'differences')
        expect(result.returncode == 0 and not any(word in result.stdout for word in words),
               f'e2fsck -fn {image}: exit {result.returncode}\n{result.stdout}{result.stderr}')

    def close(self):
        left = []
        for point in reversed(self.mount_points):
            if mounted(point):
                left.append(f'mount {point}')
                with contextlib.suppress(Exception):
                    run(BROKER, '--unmount', point, check=False, timeout=60)
                run('umount', '-l', point, check=False)
        for pid in self.workers:
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not alive(pid), 'worker gone', 5)
            if alive(pid):
                left.append(f'worker {pid}')
                os.kill(pid, signal.SIGKILL)
        for name in os.listdir(self.path):
            path = self / name
            if os.path.isfile(path):
                with contextlib.suppress(AssertionError):
                    wait_for(lambda: not loops_over(path), 'loop device gone', 5)
                for loop in loops_over(path):
                    left.append(f'{loop} over {name}')
                    run('losetup', '-d', loop, check=False)
        shutil.rmtree(self.path, ignore_errors=True)
        return left


def status(point=None):
    """--status --json: the list, or the entry of one mount point."""
    arguments = ['--status', '--json'] if point is None else ['--status', point, '--json']
    entries = json.loads(run(BROKER, *arguments).stdout)
    if point is None:
        return entries
    expect(len(entries) == 1, f'--status {point} showed {entries}')
    return entries[0]


def snapshot(root, times=True):
    """What can be told of a tree: for each path its type, mode, owner, size, times, links, xattrs and contents."""
    tree, first = {}, {}
    for directory, folders, files in os.walk(os.fsencode(root)):
        folders.sort()  # one order for everybody: which of several links comes first must not depend on readdir
        files.sort()
        for name in [b'.'] * (directory == os.fsencode(root)) + folders + files:
            path = os.path.normpath(os.path.join(directory, name))
            relative = os.path.relpath(path, os.fsencode(root))
            if relative == b'lost+found' or relative.startswith(b'lost+found/'):
                continue
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            entry = {'mode': info.st_mode, 'owner': (info.st_uid, info.st_gid),
                     'xattrs': {n: os.getxattr(path, n, follow_symlinks=False)
                                for n in sorted(os.listxattr(path, follow_symlinks=False))}}
            if times:
                entry['mtime'] = info.st_mtime_ns
            if kind == stat.S_IFREG:
                entry['size'] = info.st_size
                entry['links'] = info.st_nlink
                entry['same_as'] = first.setdefault(info.st_ino, relative)
                entry['digest'] = digest_of_data(path) if entry['same_as'] == relative else ''
            elif kind == stat.S_IFLNK:
                entry['target'] = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                entry['device'] = info.st_rdev
            elif kind == stat.S_IFDIR and relative != b'.':
                entry['links'] = info.st_nlink
            tree[relative] = entry
    return tree


def expect_same_tree(left, right, ignore=()):
    """Fails with the first differences of two snapshots."""
    problems = [f'only on one side: {path!r}' for path in sorted(left.keys() ^ right.keys())]
    for path in sorted(left.keys() & right.keys()):
        for key in left[path].keys() | right[path].keys():
            if key not in ignore and left[path].get(key) != right[path].get(key):
                problems.append(f'{path!r}: {key}: {left[path].get(key)!r} against {right[path].get(key)!r}')
    expect(not problems, f'{len(problems)} differences:\n' + '\n'.join(problems[:20]))


def main(*cases):
    """Runs the cases, each with a Scratch of its own, in a private mount namespace."""
    if os.geteuid() != 0 or not os.path.exists('/dev/fuse'):
        print('skipped: needs root and /dev/fuse')
        sys.exit(SKIP)
    if os.environ.get('EXT4BOX_NAMESPACE') != '1':
        os.environ['EXT4BOX_NAMESPACE'] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private', '/usr/bin/python3', *sys.argv])
    chosen = [case for case in cases if len(sys.argv) < 2 or case.__name__ in sys.argv[1:]]
    failures = 0
    for case in chosen:
        scratch = Scratch()
        started = time.monotonic()
        try:
            case(scratch)
            verdict = 'ok'
        except Skip as reason:
            verdict = f'skipped: {reason}'
        except BaseException as problem:  # the leak check below must run whatever happened
            import traceback
            traceback.print_exc()
            verdict = f'FAILED: {problem}'
            failures += 1
        left = scratch.close()
        if left and verdict == 'ok':
            verdict = f'FAILED: left behind {left}'
            failures += 1
        print(f'{case.__name__}: {verdict} ({time.monotonic() - started:.1f} s)', flush=True)
    sys.exit(1 if failures else 0)
