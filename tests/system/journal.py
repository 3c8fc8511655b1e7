"""A volume as the kernel's ext4 leaves it when the power fails: shown without a write, replayed before the first one."""
import os
import shutil

from support import digest, expect, expect_same_tree, main, run, snapshot


def crashed(scratch, *options):
    """An image whose journal holds what its metadata lacks, and how the kernel shows the same after its own replay."""
    image = scratch.image('disk.img', '128M', *options)
    with scratch.kernel(image) as point:
        for number in range(200):
            os.makedirs(f'{point}/folder/{number}')
        run('sync', f'{point}/folder')
        shutil.rmtree(f'{point}/folder')
        os.mkdir(f'{point}/kept')
        for number in range(50):
            with open(f'{point}/kept/{number}', 'w') as file:
                file.write(str(number) * 1000)
        run('sync', '-d', *(f'{point}/kept/{number}' for number in range(50)))
        run('sync', f'{point}/kept')
        run('cp', '--sparse=always', image, scratch / 'crashed.img')
    shutil.copyfile(scratch / 'crashed.img', scratch / 'reference.img')
    with scratch.kernel(scratch / 'reference.img') as point:
        reference = snapshot(point), space(point)
    expect(b'kept/49' in reference[0], 'the kernel has nothing to show')
    return scratch / 'crashed.img', *reference


def space(point):
    """Numbers of statfs(2) that a replay changes."""
    numbers = os.statvfs(point)
    return numbers.f_blocks, numbers.f_bfree, numbers.f_files, numbers.f_ffree


def read_only_mounts_write_nothing(scratch):
    image, reference, free = crashed(scratch)
    before = digest(image)
    with scratch.mounted(image, '-o', 'ro', where='a') as first, scratch.mounted(image, '-o', 'ro', where='b') as second:
        expect_same_tree(snapshot(first), reference)
        expect_same_tree(snapshot(second), reference)
        expect(space(first) == free, f'free space: {space(first)}, the kernel says {free}')
    expect(digest(image) == before, 'a read-only mount has changed the image')
    with scratch.mounted(image, '-o', 'ro,norecovery') as point:
        expect(not os.path.exists(f'{point}/kept/49'), 'norecovery shows what is only in the journal')
    expect(digest(image) == before, 'norecovery has changed the image')


def a_mount_that_writes_replays(scratch):
    for options in ([], ['-b', '1024', '-O', '^metadata_csum,^64bit']):
        image, reference, free = crashed(scratch, *options)
        with scratch.mounted(image) as point:
            expect(space(point) == free, f'free space: {space(point)}, the kernel says {free}')
            expect_same_tree(snapshot(point), reference)
            with open(f'{point}/kept/new', 'w') as file:
                file.write('new')
        scratch.fsck(image)
        with scratch.kernel(image, 'ro') as point:
            after = snapshot(point)
        expect(after.pop(b'kept/new')['size'] == 3, 'the new file is not there')
        del after[b'kept'], reference[b'kept']
        expect_same_tree(after, reference)


main(read_only_mounts_write_nothing, a_mount_that_writes_replays)
