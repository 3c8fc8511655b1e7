"""File operations as programs use them, through the kernel, on every shape of volume."""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import time

from support import digest, expect, main, run

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

SHAPES = {
    'ext4': ('ext4', ()),
    'ext4 1k': ('ext4', ('-b', '1024')),
    'ext4 without checksums and 64bit': ('ext4', ('-O', '^metadata_csum,^64bit')),
    'ext4 without journal': ('ext4', ('-O', '^has_journal')),
    'ext3': ('ext3', ()),
    'ext2': ('ext2', ()),
    'ext2 1k, small inodes': ('ext2', ('-b', '1024', '-I', '128')),
    'meta_bg': ('ext4', ('-O', 'meta_bg,^resize_inode')),
}


def fails_with(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        expect(error.errno == number, f'{call}: {error}')
        return
    raise AssertionError(f'{call}{arguments} did not fail with {errno.errorcode[number]}')


def fallocate(path, mode, offset, length):
    with open(path, 'r+b') as file:
        if LIBC.fallocate(file.fileno(), mode, offset, length):
            raise OSError(ctypes.get_errno(), 'fallocate')


def on_every_shape(case):
    def wrapped(scratch):
        for name, (kind, options) in SHAPES.items():
            image = scratch.image('shape.img', '256M', *options, type=kind)
            try:
                with scratch.mounted(image) as point:
                    case(point, kind, '128' in options)
                scratch.fsck(image)
                with scratch.kernel(image, 'ro') as kernel:
                    os.listdir(kernel)
            except Exception as problem:
                raise AssertionError(f'on {name}: {problem}') from problem
    wrapped.__name__ = case.__name__
    return wrapped


@on_every_shape
def names_and_links(point, kind, small_inodes):
    for code in list(range(1, 47)) + list(range(48, 256)):
        with open(os.path.join(os.fsencode(point), b'n' + bytes([code])), 'wb') as file:
            file.write(bytes([code]))
    expect(len(os.listdir(os.fsencode(point))) == 255, 'names are missing')  # 254 and lost+found
    fails_with(errno.ENAMETOOLONG, os.mkdir, f'{point}/' + 'x' * 256)
    os.mkdir(f'{point}/' + 'x' * 255)
    os.mkdir(f'{point}/dir')
    fails_with(errno.EEXIST, os.mkdir, f'{point}/dir')
    with open(f'{point}/dir/file', 'w') as file:
        file.write('text')
    fails_with(errno.ENOTEMPTY, os.rmdir, f'{point}/dir')
    fails_with(errno.EISDIR, os.unlink, f'{point}/dir')
    os.link(f'{point}/dir/file', f'{point}/other')
    expect(os.stat(f'{point}/other').st_nlink == 2, 'link count')
    os.rename(f'{point}/other', f'{point}/dir/moved')
    expect(sorted(os.listdir(f'{point}/dir')) == ['file', 'moved'], 'rename')
    os.rename(f'{point}/dir', f'{point}/renamed')
    expect(os.stat(f'{point}/renamed').st_nlink == 2, 'links of a directory')
    os.mkdir(f'{point}/empty')
    os.rename(f'{point}/renamed', f'{point}/empty')
    expect(os.path.exists(f'{point}/empty/file'), 'rename over an empty directory')
    fails_with(errno.EINVAL, os.rename, f'{point}/empty', f'{point}/empty/inside')
    for name, kind_of, device in (('fifo', stat.S_IFIFO, 0), ('socket', stat.S_IFSOCK, 0), ('null', stat.S_IFCHR, os.makedev(1, 3)),
                                  ('disk', stat.S_IFBLK, os.makedev(259, 70_000))):
        os.mknod(f'{point}/{name}', kind_of | 0o640, device)
        info = os.lstat(f'{point}/{name}')
        expect((info.st_mode, info.st_rdev) == (kind_of | 0o640, device), f'{name}: {info}')
    directory = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    expect(LIBC.syncfs(directory) == 0, 'syncfs')
    os.close(directory)
    longest = os.statvfs(point).f_bsize - 1  # a block, with its NUL
    for length in (1, 58, 59, 60, 61, 1000, longest - 1, longest if longest < 4095 else 4094):
        os.symlink('t' * length, f'{point}/symlink{length}')
        expect(os.readlink(f'{point}/symlink{length}') == 't' * length, f'symlink of {length}')
    expect(os.statvfs(point).f_bfree > 0 and os.statvfs(point).f_files > 0, 'statfs')


@on_every_shape
def data_in_every_way(point, kind, small_inodes):
    path = f'{point}/data'
    block = os.urandom(1 << 20)
    with open(path, 'wb') as file:
        for _ in range(20):
            file.write(block)
        os.fsync(file.fileno())
    expect(os.path.getsize(path) == 20 << 20, 'size')
    with open(path, 'ab') as file:
        file.write(b'tail')
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, 1 << 16)
    memory[:] = b'D' * (1 << 16)
    expect(os.pwritev(direct, [memory], 1 << 20) == 1 << 16, 'direct write')
    expect(os.preadv(direct, [memory], 0) == 1 << 16 and memory[:] == block[:1 << 16], 'direct read')
    os.close(direct)
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapped:
        expect(mapped[1 << 20:(1 << 20) + 4] == b'DDDD', 'mmap reads what was written directly')
        mapped[5:9] = b'mmap'
        mapped.flush()
    with open(path, 'rb') as file:
        expect(file.read(9)[5:] == b'mmap', 'read after mmap')
        file.seek(-4, os.SEEK_END)
        expect(file.read() == b'tail', 'append')
    os.truncate(path, 4097)
    os.truncate(path, 10_000)
    with open(path, 'rb') as file:
        file.seek(4097)
        expect(file.read() == bytes(10_000 - 4097), 'old bytes behind a truncation')

    sparse = f'{point}/sparse'
    far = (4 << 30) + 12345 if kind == 'ext4' else (1 << 30) + 12345
    with open(sparse, 'wb') as file:
        file.seek(far)
        file.write(b'end')
    expect(os.stat(sparse).st_blocks < 100, 'a hole takes space')
    with open(sparse, 'rb') as file:
        expect(os.lseek(file.fileno(), 0, os.SEEK_DATA) > 1 << 20, 'SEEK_DATA')
        expect(os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 0, 'SEEK_HOLE')
        file.seek(far)
        expect(file.read() == b'end', 'behind the hole')

    open_but_gone = open(f'{point}/gone', 'w+b')
    open_but_gone.write(block)
    open_but_gone.flush()
    os.unlink(f'{point}/gone')
    open_but_gone.seek(0)
    expect(open_but_gone.read() == block and os.fstat(open_but_gone.fileno()).st_nlink == 0, 'unlinked but open')
    open_but_gone.write(b'more')
    open_but_gone.close()


@on_every_shape
def space_allocation(point, kind, small_inodes):
    path = f'{point}/file'
    with open(path, 'wb') as file:
        file.write(b'x' * 200_000)
    if kind != 'ext4':
        fails_with(errno.EOPNOTSUPP, fallocate, path, KEEP_SIZE, 0, 1 << 20)
    else:
        fallocate(path, KEEP_SIZE, 0, 1 << 20)
        expect(os.path.getsize(path) == 200_000 and os.stat(path).st_blocks >= 2048, 'KEEP_SIZE')
        fallocate(path, 0, 1 << 20, 1 << 20)
        expect(os.path.getsize(path) == 2 << 20, 'allocation grows the file')
        with open(path, 'rb') as file:
            file.seek(200_000)
            expect(file.read() == bytes((2 << 20) - 200_000), 'allocated space reads as zeros')
        fallocate(path, ZERO_RANGE, 100, 50_000)
        with open(path, 'rb') as file:
            expect(file.read(60_000) == b'x' * 100 + bytes(50_000) + b'x' * 9_900, 'ZERO_RANGE')
        with open(path, 'r+b') as file:
            file.seek(1_500_000)
            file.write(b'middle')
    fallocate(path, PUNCH_HOLE | KEEP_SIZE, 100_000, 50_000)
    with open(path, 'rb') as file:
        file.seek(99_999)
        expect(file.read(50_002) == b'x' + bytes(50_000) + b'x', 'PUNCH_HOLE')


@on_every_shape
def attributes(point, kind, small_inodes):
    path = f'{point}/file'
    with open(path, 'w') as file:
        file.write('text')
    os.utime(path, ns=(1_234_567_890_123_456_789, 1_734_567_890_987_654_321))
    got = os.stat(path).st_mtime_ns
    expect(got == (1_734_567_890 * 10**9 if small_inodes else 1_734_567_890_987_654_321), f'mtime {got}')
    os.chmod(path, 0o4751)
    os.chown(path, 70_000, 80_000)
    info = os.stat(path)
    expect((info.st_uid, info.st_gid) == (70_000, 80_000), 'owner')
    before = os.stat(point).st_mtime_ns
    time.sleep(0.02)
    os.mkdir(f'{point}/dir')
    expect(os.stat(point).st_mtime_ns > before or small_inodes, 'a directory keeps its old mtime')
    for key, value in (('user.small', b'v'), ('user.empty', b''), ('user.big', os.urandom(500)), ('trusted.t', b'\0'),
                       ('security.s', b'label')):
        os.setxattr(path, key, value)
        expect(os.getxattr(path, key) == value, key)
    expect(sorted(os.listxattr(path)) == ['security.s', 'trusted.t', 'user.big', 'user.empty', 'user.small'], f'{os.listxattr(path)}')
    fails_with(errno.EEXIST, os.setxattr, path, 'user.small', b'', os.XATTR_CREATE)
    fails_with(errno.ENODATA, os.setxattr, path, 'user.none', b'', os.XATTR_REPLACE)
    fails_with(errno.ENODATA, os.getxattr, path, 'user.none')
    fails_with(errno.ENOSPC, os.setxattr, path, 'user.huge', bytes(65_000))
    os.removexattr(path, 'user.big')
    fails_with(errno.ENODATA, os.removexattr, path, 'user.big')


@on_every_shape
def immutable_and_append_only(point, kind, small_inodes):
    path = f'{point}/file'
    with open(path, 'w') as file:
        file.write('text')
    run('chattr', '+i', path)
    fails_with(errno.EPERM, open, path, 'r+')
    fails_with(errno.EPERM, os.unlink, path)
    fails_with(errno.EPERM, os.chmod, path, 0o600)
    expect('i' in run('lsattr', path).stdout.split()[0], 'lsattr')
    run('chattr', '-i', '+a', path)
    fails_with(errno.EPERM, open, path, 'w')
    fails_with(errno.EPERM, open, path, 'r+')
    with open(path, 'a') as file:
        file.write(' and more')
    run('chattr', '-a', path)
    with open(path) as file:
        expect(file.read() == 'text and more', 'append-only')
    os.unlink(path)


@on_every_shape
def reading_directories_that_change(point, kind, small_inodes):
    folder = f'{point}/many'
    os.mkdir(folder)
    names = {f'name-{number:05}' for number in range(3000)}
    for name in names:
        with open(f'{folder}/{name}', 'w'):
            pass
    expect(set(os.listdir(folder)) == names, 'names are missing')
    seen = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            os.unlink(entry.path)
            if number % 10 == 0:
                with open(f'{folder}/late-{number}', 'w'):
                    pass
    old = [name for name in seen if name.startswith('name')]
    expect(sorted(old) == sorted(names), f'{len(old)} of {len(names)} names were seen, {len(set(old))} different')
    for name in os.listdir(folder):
        os.unlink(f'{folder}/{name}')
    os.rmdir(folder)


def deleting_20_000_names_while_they_are_listed(scratch):
    image = scratch.image(size='64M')
    with scratch.mounted(image) as point:
        folder = f'{point}/many'
        os.mkdir(folder)
        with open(f'{point}/file', 'w'):
            pass
        for number in range(20_000):
            os.link(f'{point}/file', f'{folder}/name-{number}')
        seen = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                os.unlink(entry.path)
                seen += 1
        expect(seen == 20_000 and os.listdir(folder) == [], f'{seen} were seen, {len(os.listdir(folder))} are left')
        os.rmdir(folder)
    scratch.fsck(image)


def full_volume(scratch):
    image = scratch.image(size='32M')
    with scratch.mounted(image) as point:
        written = 0
        try:
            with open(f'{point}/big', 'wb', buffering=0) as file:
                while True:
                    written += file.write(bytes(1 << 16))
                    os.fsync(file.fileno())
        except OSError as error:
            expect(error.errno == errno.ENOSPC, f'{error}')
        expect(written > 20 << 20, f'full after {written}')
        os.unlink(f'{point}/big')
        with open(f'{point}/again', 'wb') as file:
            file.write(bytes(16 << 20))
            os.fsync(file.fileno())
    scratch.fsck(image)


main(names_and_links, data_in_every_way, space_allocation, attributes, immutable_and_append_only, reading_directories_that_change,
     deleting_20_000_names_while_they_are_listed, full_volume)
