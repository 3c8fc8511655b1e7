"""mount(8) and umount(8) through the installed links, with the words they pass."""
import os

from support import BROKER, expect, loops_over, main, mounted, run, status


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
    expect(result.returncode != 0 and len(result.stderr.splitlines()) >= 1, f'{result}')
    expect(status(point)['read_only'], 'became writable')
    scratch.unmount(point)


main(mount_and_umount_work, fstab_words_are_taken, fake_mounts_nothing, remount_goes_read_only_and_back,
     remount_read_write_needs_a_writable_descriptor)
