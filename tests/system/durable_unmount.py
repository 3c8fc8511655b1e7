"""unmount returns when the image is complete: what reads the image in the next instant sees everything."""
import os

from support import BROKER, digest, expect, main, run


def fifty_times(scratch, arguments, umount):
    image = scratch.image(size='32M')
    for turn in range(50):
        point = scratch.mount(image, *arguments)
        with open(f'{point}/file', 'wb') as file:
            file.write(os.urandom(1 << 20))
        os.makedirs(f'{point}/directory{turn}')
        written = digest(f'{point}/file')
        umount(point)
        first = digest(image)
        header = run('dumpe2fs', '-h', image).stdout
        expect('Filesystem state:         clean\n' in header, f'turn {turn}: not clean:\n{header}')
        with open(scratch / 'copy.img', 'wb') as copy, open(image, 'rb') as source:
            copy.write(source.read())
        run('debugfs', '-R', f'dump /file {scratch / "dumped"}', scratch / 'copy.img')
        expect(digest(scratch / 'dumped') == written, f'turn {turn}: the file in the image differs')
        expect(digest(image) == first, f'turn {turn}: the image changed after unmount')
    scratch.fsck(image)


def block_mount_by_unmount(scratch):
    fifty_times(scratch, [], lambda point: scratch.unmount(point))


def block_mount_by_umount(scratch):
    def umount(point):
        run('umount', point)
        scratch.mount_points.remove(point)
    fifty_times(scratch, [], umount)


def plain_mount_by_unmount(scratch):
    fifty_times(scratch, ['-o', 'noloop'], lambda point: scratch.unmount(point))


main(block_mount_by_unmount, block_mount_by_umount, plain_mount_by_unmount)
