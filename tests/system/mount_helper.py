"""mount(8) and umount(8) through the installed links, with the words they pass."""
import os

from support import BROKER, digest, expect, loops_over, main, mounted, run, status, wait_for


def install_links(scratch):
    """An overlay over /usr/sbin of this namespace alone, with the links in it."""
    for name in ('upper', 'work'):
        scratch.directory(name)
    run('mount', '-t', 'overlay', '-o', f'lowerdir=/usr/sbin,upperdir={scratch / "upper"},workdir={scratch / "work"}', 'overlay',
        '/usr/sbin')
    for kind in ('fuse', 'fuseblk'):
        for number in (2, 3, 4):
            for verb in ('mount', 'umount'):
                os.symlink(BROKER, f'/usr/sbin/{verb}.{kind}.ext{number}')


def with_links(case):
    def wrapped(scratch):
        install_links(scratch)
        try:
            case(scratch)
        finally:
            run('umount', '-l', '/usr/sbin')
    wrapped.__name__ = case.__name__
    return wrapped


@with_links
def mount_and_umount_work(scratch):
    for kind in ('fuse.ext4', 'fuseblk.ext4'):
        image, point = scratch.image(f'{kind}.img'), scratch.directory(kind)
        run('mount', '-t', kind, image, point)
        with open(f'{point}/file', 'w') as file:
            file.write(kind)
        run('umount', point)
        expect(not mounted(point) and not loops_over(image), 'still there')
        scratch.fsck(image)


@with_links
def fstab_words_are_taken(scratch):
    image, point = scratch.image(), scratch.directory()
    words = 'noauto,nofail,x-systemd.automount,_netdev,noatime,nodev,errors=remount-ro,user_xattr'
    run('mount', '-t', 'fuse.ext4', '-o', words, image, point)
    options = run('findmnt', '-n', '-o', 'OPTIONS', point).stdout
    expect('noatime' in options and 'nodev' in options, options)
    run('umount', point)
    scratch.fsck(image)


@with_links
def fake_mounts_nothing(scratch):
    image, point = scratch.image(), scratch.directory()
    run('mount', '-f', '-t', 'fuse.ext4', image, point)
    expect(not mounted(point), 'mounted')


@with_links
def remount_goes_read_only_and_back(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    with open(f'{point}/file', 'w') as file:
        file.write('before')
    run('mount', '-o', 'remount,ro', point)
    expect(status(point)['read_only'], 'not read-only')
    # Really read-only: clean on the device while it is still mounted.
    run('cp', '--sparse=always', image, scratch / 'copy.img')
    scratch.fsck(scratch / 'copy.img')
    try:
        open(f'{point}/other', 'w')
        raise AssertionError('wrote on a read-only mount')
    except OSError as error:
        expect(error.errno == 30, f'{error}')
    run('mount', '-o', 'remount,rw', point)
    with open(f'{point}/other', 'w') as file:
        file.write('after')
    scratch.unmount(point)
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as kernel:
        expect(sorted(os.listdir(kernel)) == ['file', 'lost+found', 'other'], f'{os.listdir(kernel)}')


@with_links
def remount_read_write_needs_a_writable_descriptor(scratch):
    image = scratch.image()
    point = scratch.mount(image, '-r')
    result = run('mount', '-o', 'remount,rw', point, check=False)
    expect(result.returncode == 32 and 'its source was opened read-only' in result.stderr, f'{result}')
    expect(sum('fuse' in line for line in result.stderr.splitlines()) == 1, f'not one line: {result.stderr}')
    expect(status(point)['read_only'], 'became writable')
    scratch.unmount(point)


@with_links
def umount_of_a_plain_mount_waits_too(scratch):
    """umount(2) would return at once; the helper returns when the image is complete. umount(8) gets to it by the mount table, which
    it reads with -c; without, it may be content with the type that statfs(2) tells, which lacks the subtype."""
    image, point = scratch.image(size='32M'), scratch.directory()
    for turn in range(10):
        run('mount', '-t', 'fuse.ext4', '-o', 'noloop', image, point)
        with open(f'{point}/file', 'wb') as file:
            file.write(os.urandom(1 << 20))
        run('umount', '-c', point) if turn % 2 else run('/usr/sbin/umount.fuse.ext4', point)
        first = digest(image)
        expect('Filesystem state:         clean\n' in run('dumpe2fs', '-h', image).stdout, f'turn {turn}: not clean')
        scratch.fsck(image)
        expect(digest(image) == first, f'turn {turn}: the image changed after umount')


@with_links
def umount_letters_mean_what_umount_means_by_them(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    with open(f'{point}/file', 'w') as file:
        file.write('text')
    user = open(f'{point}/file')
    helper = '/usr/sbin/umount.fuseblk.ext4'
    result = run(helper, '-nv', point, check=False)
    expect(result.returncode == 32 and result.stderr == f'umount.fuseblk.ext4: {point}: cannot unmount: Device or resource busy\n', f'{result}')
    result = run(helper, '-r', point)
    expect(mounted(point) and status(point)['read_only'] and 'read-only' in result.stderr, f'-r: {result}')
    run(helper, '-f', point, check=False)
    run(helper, '-l', point)
    expect(not mounted(point) and user.read() == 'text', '-l: not detached, or its user was cut off')
    user.close()
    wait_for(lambda: not loops_over(image), 'loop device freed')
    scratch.mount_points.remove(point)
    scratch.fsck(image)


main(mount_and_umount_work, fstab_words_are_taken, fake_mounts_nothing, remount_goes_read_only_and_back,
     remount_read_write_needs_a_writable_descriptor, umount_of_a_plain_mount_waits_too,
     umount_letters_mean_what_umount_means_by_them)
