"""Two writers never share a byte range, whichever way the second one comes; readers may share."""
import os
import select
import signal
import stat
import subprocess

from support import BROKER, expect, main, mounted, run, status, wait_for


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
    image = scratch.image()
    point = scratch.mount(image)
    os.kill(status(point)['worker_pid'], signal.SIGKILL)
    wait_for(lambda: not mounted(point), 'detached', 2)
    scratch.mount_points.remove(point)
    run('e2fsck', '-fy', image, check=False)
    with scratch.mounted(image):
        pass


def exactly_one_wins(scratch, sources):
    """Starts a mount of every source at the same moment, several times each; one stands, the others name it."""
    starts = [(source, options, scratch.directory(f'point{turn}.{number}'))
              for turn in range(4) for number, (source, options) in enumerate(sources)]
    processes = [subprocess.Popen([BROKER, source, point, *options, '--timeout', '2'], stderr=subprocess.PIPE, text=True)
                 for source, options, point in starts]
    winners, refusals = [], []
    for process, (_, _, point) in zip(processes, starts):
        said = process.communicate(timeout=120)[1]
        if process.returncode == 0:
            winners.append(point)
            scratch.mount_points.append(point)
        else:
            expect(process.returncode == 32 and len(said.splitlines()) == 1, f'exit {process.returncode}: {said}')
            refusals.append(said)
    expect(len(winners) == 1, f'{len(winners)} mounts of one volume: {winners}')
    expect(all('in use' in said for said in refusals), f'{refusals}')
    scratch.unmount(winners[0])


def one_of_many_starts_by_different_paths_wins(scratch):
    image = scratch.image()
    os.link(image, scratch / 'hardlink.img')
    os.symlink(image, scratch / 'symlink.img')
    for _ in range(3):
        exactly_one_wins(scratch, [(image, []), (scratch / 'hardlink.img', []), (scratch / 'symlink.img', ['-o', 'noloop']), (image, ['-o', 'sizelimit=64M'])])
    scratch.fsck(image)


def one_of_many_starts_by_different_device_nodes_wins(scratch):
    """A partition, the window of the disk where it lies, and further nodes of both: no two share an inode, and so a lock."""
    part = scratch.image('part.img')
    disk = scratch / 'whole.disk'
    with open(disk, 'wb') as file:
        file.truncate(80 << 20)
    run('dd', f'if={part}', f'of={disk}', 'bs=1M', 'seek=1', 'conv=notrunc')
    loop = run('losetup', '-f', '--show', '--partscan', disk).stdout.strip()
    partition = f'{loop}p1'
    try:
        # Told, not found in a table: not every kernel reads partition tables.
        run('addpart', loop, '1', '2048', str((64 << 20) // 512))
        wait_for(lambda: os.path.exists(partition), 'the partition')
        for name, device in (('disk', loop), ('partition', partition)):
            os.mknod(scratch / name, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
        window = ['-o', 'offset=1M,sizelimit=64M']
        for _ in range(3):
            exactly_one_wins(scratch, [(loop, window), (scratch / 'disk', window), (partition, []), (scratch / 'partition', [])])
    finally:
        run('losetup', '-d', loop)
    run('dd', f'if={disk}', f'of={part}', 'bs=1M', 'skip=1', 'count=64')
    scratch.fsck(part)


def whoever_sees_a_mount_finds_its_state(scratch):
    """Looks at the state files in the moment in which the mount table changes."""
    states = os.environ['EXT4BOX_RUN_DIR'] = scratch / 'run'
    image, point = scratch.image(), scratch.directory()
    for _ in range(20):
        with open('/proc/self/mountinfo') as table:
            changes = select.poll()
            changes.register(table, select.POLLERR | select.POLLPRI)
            changes.poll(0)
            process = subprocess.Popen([BROKER, image, point])
            while not mounted(point):
                expect(changes.poll(30000), 'no mount')
            texts = [open(f'{states}/{name}').read() for name in os.listdir(states) if name.endswith('.mount')]
        found = [line for text in texts for line in text.splitlines() if line.startswith('worker_pid=')]
        expect(len(found) == 1 and found[0] != 'worker_pid=0', f'a mount is there, but its state files say {found}')
        expect(process.wait(30) == 0, f'exit {process.returncode}')
        run(BROKER, '--unmount', point)


main(every_second_way_is_refused, a_foreign_loop_device_is_named, a_kernel_mount_is_refused, readers_share,
     the_lock_dies_with_the_worker, one_of_many_starts_by_different_paths_wins,
     one_of_many_starts_by_different_device_nodes_wins, whoever_sees_a_mount_finds_its_state)
