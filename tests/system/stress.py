"""Four processes work at once with a fixed seed; the result equals a model and is clean for e2fsck and the kernel."""
import errno
import os
import random
import subprocess
import sys

from support import digest, expect, expect_same_tree, main, run, snapshot

STEPS = int(os.environ.get('EXT4BOX_STRESS_STEPS', '4000'))


class Worker:
    """Random work below one folder; the same seed does the same anywhere, so a plain folder is the model."""

    def __init__(self, root, seed):
        self.root, self.rng = root, random.Random(seed)
        os.makedirs(root, exist_ok=True)
        self.files, self.folders, self.serial = [], [root], 0

    def fresh(self):
        self.serial += 1
        name = f'n{self.serial}' + 'x' * self.rng.choice((0, 5, 100))
        return os.path.join(self.rng.choice(self.folders), name)

    def step(self):
        rng = self.rng
        action = rng.choice(('create', 'create', 'write', 'write', 'append', 'truncate', 'rename', 'rename_over', 'link', 'unlink', 'mkdir',
                             'rmdir', 'fallocate', 'punch', 'xattr', 'symlink', 'chmod', 'fsync'))
        if action in ('create', 'mkdir', 'symlink', 'rmdir') or not self.files:
            return self.on_folder(action)
        path = rng.choice(self.files)
        length = rng.randrange(1, 200_000)
        place = rng.randrange(0, 400_000)
        if action in ('write', 'append', 'truncate', 'fallocate', 'punch', 'fsync'):
            with open(path, 'r+b', buffering=0) as file:
                if action == 'write':
                    os.pwrite(file.fileno(), rng.randbytes(length), place)
                elif action == 'append':
                    file.seek(0, os.SEEK_END)
                    file.write(rng.randbytes(length))
                elif action == 'truncate':
                    file.truncate(place)
                elif action == 'fallocate':
                    os.posix_fallocate(file.fileno(), place, length)
                elif action == 'punch':
                    run_fallocate(file.fileno(), place, length)
                else:
                    os.fsync(file.fileno())
        elif action == 'rename':
            target = self.fresh()
            os.rename(path, target)
            self.files[self.files.index(path)] = target
        elif action == 'rename_over':
            other = rng.choice(self.files)
            if other != path and not same_inode(path, other):
                os.rename(path, other)
                self.files.remove(path)
        elif action == 'link':
            target = self.fresh()
            os.link(path, target)
            self.files.append(target)
        elif action == 'unlink':
            os.unlink(path)
            self.files.remove(path)
        elif action == 'xattr':
            os.setxattr(path, f'user.k{rng.randrange(4)}', rng.randbytes(rng.randrange(0, 300)))
        elif action == 'chmod':
            os.chmod(path, rng.randrange(0o1000))

    def on_folder(self, action):
        rng = self.rng
        if action == 'mkdir':
            path = self.fresh()
            os.mkdir(path)
            self.folders.append(path)
        elif action == 'symlink':
            os.symlink('t' * rng.randrange(1, 300), self.fresh())
        elif action == 'rmdir':
            path = rng.choice(self.folders)
            try:
                if path != self.root:
                    os.rmdir(path)
                    self.folders.remove(path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
        else:
            path = self.fresh()
            with open(path, 'xb') as file:
                file.write(rng.randbytes(rng.randrange(0, 20_000)))
            self.files.append(path)


def same_inode(left, right):
    return os.stat(left).st_ino == os.stat(right).st_ino


def run_fallocate(descriptor, offset, length):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(descriptor, 0x02 | 0x01, offset, length):  # PUNCH_HOLE | KEEP_SIZE
        raise OSError(ctypes.get_errno(), 'fallocate')


def work(root, seed):
    worker = Worker(root, seed)
    for _ in range(STEPS):
        worker.step()


def in_parallel(root):
    code = f'import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); import stress; ' \
           'stress.work(sys.argv[1], int(sys.argv[2]))'
    processes = [subprocess.Popen(['/usr/bin/python3', '-c', code, f'{root}/w{seed}', str(seed)]) for seed in range(4)]
    for process in processes:
        expect(process.wait(600) == 0, 'a stress process failed')


def four_processes(scratch, kind='ext4', options=(), arguments=()):
    model = scratch.directory('model')
    in_parallel(model)
    wanted = snapshot(model, times=False)
    image = scratch.image('disk.img', '8G', *options, type=kind)
    point = scratch.mount(image, *arguments)
    in_parallel(point)
    expect_same_tree(wanted, snapshot(point, times=False))
    scratch.unmount(point)
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as kernel:
        expect_same_tree(wanted, snapshot(kernel, times=False))


def on_ext4(scratch):
    four_processes(scratch)


def on_ext4_without_loop(scratch):
    four_processes(scratch, arguments=('-o', 'noloop'))


def on_small_blocks(scratch):
    four_processes(scratch, options=('-b', '1024'))


def on_ext2(scratch):
    four_processes(scratch, kind='ext2')


if __name__ == '__main__':
    main(on_ext4, on_ext4_without_loop, on_small_blocks, on_ext2)
