"""Two writers never share a byte range, whichever way the second one comes; readers may share."""
import os

from support import BROKER, expect, main, run


def expect_refused(scratch, source, *arguments, holder):
    result = scratch.mount(source, '--timeout', '1', *arguments, where='second', check=False)
    expect(result.returncode == 32, f'{source}: exit {result.returncode}: {result.stderr}')
    lines = result.stderr.splitlines()
    expect(len(lines) == 1 and holder in lines[0], f'{holder!r} is not named: {result.stderr!r}')


def every_second_way_is_refused(scratch):
    image = scratch.image()
    os.link(image, scratch / 'hardlink.img')
    os.symlink(image, scratch / 'symlink.img')
    for arguments in ([], ['-o', 'noloop']):
        point = scratch.mount(image, *arguments, where='first')
        for other in (image, scratch / 'hardlink.img', scratch / 'symlink.img'):
            expect_refused(scratch, other, holder=point)
            expect_refused(scratch, other, '-o', 'noloop', holder=point)
        expect_refused(scratch, image, '-o', 'offset=1M', holder=point)
        expect_refused(scratch, image, '-r', holder=point)
        loop = run('losetup', '-f', '--show', image).stdout.strip()
        try:
            expect_refused(scratch, loop, holder=point)
        finally:
            run('losetup', '-d', loop)
        scratch.unmount(point)
    scratch.fsck(image)


def a_foreign_loop_device_is_named(scratch):
    image = scratch.image()
    loop = run('losetup', '-f', '--show', image).stdout.strip()
    try:
        expect_refused(scratch, image, holder=loop)
    finally:
        run('losetup', '-d', loop)


def a_kernel_mount_is_refused(scratch):
    image = scratch.image()
    with scratch.kernel(image):
        result = scratch.mount(image, '--timeout', '1', where='second', check=False)
        expect(result.returncode == 32 and '/dev/loop' in result.stderr, f'{result}')


def readers_share(scratch):
    image = scratch.image()
    first = scratch.mount(image, '-r', where='first')
    second = scratch.mount(image, '-r', where='second')
    expect(os.listdir(first) == os.listdir(second), 'different')
    result = scratch.mount(image, '--timeout', '1', where='third', check=False)
    expect(result.returncode == 32, f'a writer beside readers: {result}')
    scratch.unmount(first)
    scratch.unmount(second)


def the_lock_dies_with_the_worker(scratch):
    import signal
    from support import mounted, status, wait_for
    image = scratch.image()
    point = scratch.mount(image)
    os.kill(status(point)['worker_pid'], signal.SIGKILL)
    wait_for(lambda: not mounted(point), 'detached', 2)
    scratch.mount_points.remove(point)
    run('e2fsck', '-fy', image, check=False)
    with scratch.mounted(image):
        pass


main(every_second_way_is_refused, a_foreign_loop_device_is_named, a_kernel_mount_is_refused, readers_share,
     the_lock_dies_with_the_worker)
