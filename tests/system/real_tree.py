"""A real tree of at least 500 MB and 30 000 files, copied in, compared, read by the kernel; and the other way round."""
import os
import random
import subprocess

from support import Skip, expect, expect_same_tree, main, run, snapshot

LEAST_BYTES, LEAST_FILES = 500 << 20, 30_000


def build_tree(root):
    """A copy of real folders, with what they lack: hard links, holes, xattrs, odd names, devices, deep links."""
    os.makedirs(root)
    files = size = 0
    for source in ('/usr/share', '/usr/lib', '/usr/include', '/usr/bin', '/usr/local', '/usr/src'):
        if files >= LEAST_FILES and size >= LEAST_BYTES:
            break
        for directory, folders, names in os.walk(source):
            if files >= LEAST_FILES and size >= LEAST_BYTES:
                break
            target = root + directory
            os.makedirs(target, exist_ok=True)
            paths = [os.path.join(directory, name) for name in names]
            big = [p for p in paths if not os.path.islink(p) and os.path.getsize(p) > 64 << 20]
            chosen = [p for p in paths if p not in big]
            if chosen:
                subprocess.run(['cp', '-a', '-t', target, '--', *chosen], check=True)
            files += len(chosen)
            size += sum(os.lstat(p).st_size for p in chosen)
    # Where the machine has little, fill up with made files.
    rng = random.Random(1)
    made = 0
    while files < LEAST_FILES or size < LEAST_BYTES:
        folder = f'{root}/made/{made // 200}'
        os.makedirs(folder, exist_ok=True)
        length = rng.randrange(1, 40_000)
        with open(f'{folder}/{made}', 'wb') as file:
            file.write(rng.randbytes(length))
        files, size, made = files + 1, size + length, made + 1

    special = f'{root}/special'
    os.makedirs(special)
    with open(f'{special}/first', 'w') as file:
        file.write('linked')
    for number in range(50):
        os.link(f'{special}/first', f'{special}/link{number}')
    os.symlink('x' * 4000, f'{special}/long')
    os.symlink('x' * 59, f'{special}/fast')
    os.symlink('x' * 60, f'{special}/slow')
    with open(f'{special}/holes', 'wb') as file:
        for place in (0, 1 << 20, (5 << 30) + 123):
            file.seek(place)
            file.write(b'data')
    os.mkfifo(f'{special}/fifo')
    os.mknod(f'{special}/null', 0o20666, os.makedev(1, 3))
    for name in (b'\xff\xfe', b'new\nline', b'x' * 255, b' ', b'\\', '\u65e5\u672c'.encode()):
        with open(os.path.join(os.fsencode(special), name), 'wb') as file:
            file.write(name)
    for number in range(40):
        path = f'{special}/xattr{number}'
        with open(path, 'w'):
            pass
        for key in range(number % 5 + 1):
            os.setxattr(path, f'user.key{key}', os.urandom(number * 20))
        os.setxattr(path, 'trusted.mark', b'\x00\x01')
    subprocess.run(['setfacl', '-m', 'u:1234:rw,g:77:r', f'{special}/xattr1'], check=True)
    subprocess.run(['setfacl', '-d', '-m', 'u:1234:rwx', special], check=True)
    os.chown(f'{special}/xattr2', 100_000, 200_000)
    os.utime(f'{special}/xattr3', ns=(10**9 * 5_000_000_000 + 123_456_789, 10**9 * 5_000_000_000 + 987_654_321))
    os.utime(f'{special}/xattr4', ns=(-10**9 * 1000, -10**9 * 1000))


def copy(source, target):
    """As root would: everything, holes and links included."""
    tar = subprocess.Popen(['tar', '-C', source, '--xattrs', '--xattrs-include=*', '--acls', '--sparse', '-cf', '-', '.'],
                           stdout=subprocess.PIPE)
    subprocess.run(['tar', '-C', target, '--xattrs', '--xattrs-include=*', '--acls', '-xpf', '-'], stdin=tar.stdout, check=True)
    expect(tar.wait() == 0, 'tar failed')


def delete_and_modify_half(root):
    """The same half for everybody: every second file is removed or changed."""
    for directory, folders, names in sorted(os.walk(os.fsencode(root))):
        for index, name in enumerate(sorted(names)):
            path = os.path.join(directory, name)
            if not os.path.isfile(path) or os.path.islink(path):
                continue
            if index % 4 == 0:
                os.unlink(path)
            elif index % 4 == 2 and os.lstat(path).st_nlink == 1:
                times = os.lstat(path)
                with open(path, 'r+b') as file:
                    file.seek(index * 100 % (os.path.getsize(path) + 1))
                    file.write(b'changed' * 50)
                    file.truncate(file.tell() + index)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def there_and_back(scratch):
    source = scratch / 'source'
    build_tree(source)
    original = snapshot(source)
    regular = [entry for entry in original.values() if 'size' in entry]
    expect(len(regular) >= LEAST_FILES, f'only {len(regular)} files')
    image = scratch.image(size='3G')
    point = scratch.mount(image)
    copy(source, point)
    expect_same_tree(original, snapshot(point))
    scratch.unmount(point)
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as kernel:
        expect_same_tree(original, snapshot(kernel))
    # Read again through a fresh worker, then change half of it, as the source is changed.
    point = scratch.mount(image)
    expect_same_tree(original, snapshot(point))
    delete_and_modify_half(point)
    delete_and_modify_half(source)
    changed = snapshot(source, times=False)
    expect_same_tree(changed, snapshot(point, times=False))
    scratch.unmount(point)
    scratch.fsck(image)
    with scratch.kernel(image) as kernel:
        expect_same_tree(changed, snapshot(kernel, times=False))
        subprocess.run(['rm', '-rf', f'{kernel}/usr'], check=True)
    scratch.fsck(image)


def what_the_kernel_wrote(scratch):
    source = scratch / 'source'
    build_tree(source)
    original = snapshot(source)
    image = scratch.image(size='3G')
    with scratch.kernel(image) as kernel:
        copy(source, kernel)
    point = scratch.mount(image)
    expect_same_tree(original, snapshot(point))
    delete_and_modify_half(point)
    delete_and_modify_half(source)
    changed = snapshot(source, times=False)
    scratch.unmount(point)
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as kernel:
        expect_same_tree(changed, snapshot(kernel, times=False))
    point = scratch.mount(image)
    subprocess.run(['rm', '-rf', '--', *(f'{point}/{name}' for name in os.listdir(point) if name != 'lost+found')], check=True)
    expect(os.listdir(point) == ['lost+found'], f'left: {os.listdir(point)}')
    scratch.unmount(point)
    scratch.fsck(image)


main(there_and_back, what_the_kernel_wrote)
