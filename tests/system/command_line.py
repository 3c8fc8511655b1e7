"""The command line as users and scripts meet it: switches, exit codes, one line per failure, nothing on success."""
import os
import signal
import subprocess
import time

from support import (BROKER, WORKER, digest, expect, loops_over, main, mounted, run, status, wait_for)


def expect_failure(result, code, *words):
    """One line on stderr that contains `words`, nothing on stdout, this exit code."""
    expect(result.returncode == code, f'exit {result.returncode} instead of {code}: {result.stderr}')
    expect(result.stdout == '', f'stdout: {result.stdout!r}')
    lines = result.stderr.splitlines()
    expect(len(lines) == 1 and lines[0].startswith('fuservicemount: '), f'not one line: {result.stderr!r}')
    for word in words:
        expect(word in lines[0], f'{word!r} is not in {lines[0]!r}')


def mounts_writes_unmounts(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    with open(f'{point}/hello', 'w') as file:
        file.write('world')
    entry = status(point)
    expect(entry['source'] == image and entry['mountpoint'] == point and not entry['read_only'], f'{entry}')
    expect(entry['mode'] == 'classic' and entry['way'] == 'spawn', f'{entry}')
    expect(os.path.isdir(f'/proc/{entry["worker_pid"]}'), f'{entry}')
    table = run('findmnt', '-n', '-o', 'FSTYPE', point).stdout.strip()
    expect(table == 'fuseblk.ext4', table)
    expect(entry['loop_device'] in loops_over(image), f'{entry} but {loops_over(image)}')
    scratch.unmount(point)
    expect(not loops_over(image), 'the loop device is still there')
    scratch.fsck(image)
    with scratch.kernel(image, 'ro') as kernel:
        with open(f'{kernel}/hello') as file:
            expect(file.read() == 'world', 'the kernel reads something else')


def every_failure_is_one_line_and_writes_nothing(scratch):
    image = scratch.image()
    point = scratch.directory()
    before = digest(image)
    garbage = scratch / 'garbage.img'
    with open(garbage, 'wb') as file:
        file.write(os.urandom(1 << 20))
    empty = scratch / 'empty.img'
    open(empty, 'w').close()
    with open(scratch / 'text', 'w') as file:
        file.write('a file, not a directory')

    def fails(code, *arguments_and_words):
        arguments, words = arguments_and_words
        expect_failure(run(BROKER, *arguments, check=False), code, *words)

    fails(32, (scratch / 'missing.img', point), ('missing.img', 'No such file'))
    fails(32, (image, scratch / 'nowhere'), ('nowhere', 'No such file'))
    fails(32, (garbage, point), ('garbage.img',))
    fails(32, (empty, point), ('empty.img',))
    fails(32, (scratch.path, point), (scratch.path,))
    fails(32, (image, scratch / 'text'), ('text',))
    fails(1, (image, point, '-o', 'frobnicate'), ('frobnicate',))
    fails(1, (image, point, '-o', 'errors=perhaps'), ('errors=perhaps',))
    fails(1, (image, point, '--frobnicate'), ('--frobnicate',))
    fails(1, (image,), ())
    fails(1, (image, point, 'more'), ('more',))
    fails(1, (image, point, '--timeout', 'soon'), ('soon',))
    fails(1, (image, point, '-o', 'offset=12monkeys'), ('offset=12monkeys',))
    fails(32, (image, point, '-o', 'offset=1T'), ('offset',))
    fails(32, (image, point, '--service', '--socket-dir', scratch / 'no-sockets'), ('no-sockets',))
    fails(32, (image, point, '--spawn', '--worker', scratch / 'no-worker'), ('no-worker',))
    fails(32, ('-t', 'xfs', image, point), ('xfs',))
    expect(not mounted(point) and digest(image) == before, 'a failed mount left traces')
    expect(not loops_over(image), 'a failed mount left a loop device')


def success_prints_nothing(scratch):
    image, point = scratch.image(), scratch.directory()
    for switches in ([], ['-n'], ['-s'], ['-w'], ['-r'], ['-t', 'ext4'], ['-t', 'fuse.ext4'], ['-t', 'fuseblk.ext4', '-o', 'noatime'], ['--spawn'],
                     ['--timeout', '60'], ['--worker', WORKER]):
        for command in ([BROKER, image, point, *switches], [BROKER, '--unmount', point]):
            result = run(*command)
            expect(result.stdout == result.stderr == '', f'{command[1:]}: {result}')
    scratch.fsck(image)


def a_volume_that_is_refused_is_left_as_it_was(scratch):
    """What only the worker can find out, it finds out without writing."""
    unknown = scratch.image('unknown.img')
    run('debugfs', '-w', '-R', 'feature FEATURE_I31', unknown)
    short = scratch.image('short.img')
    os.truncate(short, 1 << 20)
    for image in (unknown, short):
        before = digest(image)
        for options in ([], ['-o', 'noloop'], ['-w']):
            expect_failure(scratch.mount(image, *options, check=False), 32, image)
        expect(digest(image) == before, f'{image} was written to')
        expect(not mounted(scratch / 'mnt') and not loops_over(image), f'{image} left traces')


def a_read_only_worker_could_not_write(scratch):
    """Its descriptors of the volume do not let it, whatever it becomes."""
    image = scratch.image()
    for options in (['-r'], ['-o', 'ro,noloop']):
        with scratch.mounted(image, *options) as point:
            worker, seen = status(point)['worker_pid'], 0
            for number in os.listdir(f'/proc/{worker}/fd'):
                if os.readlink(f'/proc/{worker}/fd/{number}') == image:
                    with open(f'/proc/{worker}/fdinfo/{number}') as file:
                        flags = int(file.read().split('flags:')[1].split()[0], 8)
                    expect(flags & os.O_ACCMODE == os.O_RDONLY, f'descriptor {number} has flags {flags:o}')
                    seen += 1
            expect(seen > 0, 'the worker has no volume')


def workers_have_ids_and_descriptors_of_their_own(scratch):
    workers = []
    for name in ('one', 'two'):
        point = scratch.mount(scratch.image(f'{name}.img'), where=name)
        workers.append(status(point)['worker_pid'])
    ids = [os.stat(f'/proc/{worker}').st_uid for worker in workers]
    expect(ids[0] != ids[1] and 0 not in ids and 65534 not in ids, f'{ids}')
    for worker, name in zip(workers, ('one', 'two')):
        loop = status(scratch / name)['loop_device']
        held = sorted(os.readlink(f'/proc/{worker}/fd/{number}') for number in os.listdir(f'/proc/{worker}/fd'))
        for path in held:
            known = path in ('/dev/fuse', loop) or path.startswith(('pipe:', 'socket:', 'anon_inode:[event', 'anon_inode:[signal'))
            expect(known, f'a worker holds {path}')
        expect(held.count(loop) >= 1 and sum(path.startswith('socket:') for path in held) == 1, f'{held}')
    for name in ('one', 'two'):
        scratch.unmount(scratch / name)


def only_roots_socket_is_connected_to(scratch):
    """A service that somebody else could have put there is none."""
    import socket
    image, point, sockets = scratch.image(), scratch.directory(), scratch.directory('sockets')
    before, path = digest(image), f'{sockets}/ext4'

    def refused(word):
        expect_failure(run(BROKER, image, point, '--service', '--socket-dir', sockets, check=False), 32, word)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(8)
    listener.setblocking(False)
    os.chmod(sockets, 0o777)
    refused("not root's alone")
    os.chmod(sockets, 0o755)
    os.chown(sockets, 65534, 65534)
    refused("not root's alone")
    os.chown(sockets, 0, 0)
    os.chown(path, 65534, 65534)
    refused("not root's alone")
    try:
        listener.accept()
        raise AssertionError('somebody was connected to')
    except BlockingIOError:
        pass
    # Root's file, but not root who listens: SO_PEERCRED names who called listen().
    os.remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        listener.listen(8)
        os._exit(0)
    os.waitpid(child, 0)
    refused('does not belong to root')
    os.remove(path)
    with open(path, 'w'):
        pass
    refused('ext4')
    expect(digest(image) == before and not mounted(point), 'traces left')


def a_full_backlog_is_waited_for_no_longer_than_told(scratch):
    import socket
    image, point, sockets = scratch.image(), scratch.directory(), scratch.directory('sockets')
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f'{sockets}/ext4')
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    waiting.connect(f'{sockets}/ext4')
    expect_failure(run(BROKER, image, point, '--service', '--socket-dir', sockets, '--timeout', '1', check=False), 32, 'temporarily unavailable')


def check_tells_whether_a_service_is_there(scratch):
    sockets = scratch.directory('sockets')
    expect(run(BROKER, '-t', 'ext4', '--check', '--socket-dir', sockets, check=False).returncode == 1, 'no socket, but found')
    import socket
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f'{sockets}/ext4')
    listener.listen(1)
    run(BROKER, '-t', 'fuse.ext4', '--check', '--socket-dir', sockets)
    listener.close()


def read_only_writes_nothing(scratch):
    image = scratch.image()
    before = digest(image)
    for arguments in (['-r'], ['-o', 'ro'], ['-o', 'ro,norecovery']):
        point = scratch.mount(image, *arguments)
        expect(status(point)['read_only'], 'not read-only')
        try:
            open(f'{point}/file', 'w')
            raise AssertionError('a read-only mount took a file')
        except OSError as error:
            expect(error.errno == 30, f'{error}')
        os.listdir(point)
        scratch.unmount(point)
        expect(digest(image) == before, f'{arguments} wrote')


def falls_back_to_read_only_with_one_warning(scratch):
    image = scratch.image()
    run('chattr', '+i', image)
    try:
        result = scratch.mount(image, check=False)
        expect(result.returncode == 0 and len(result.stderr.splitlines()) == 1 and 'read-only' in result.stderr, f'{result}')
        expect(status(scratch / 'mnt')['read_only'], 'not read-only')
        scratch.unmount(scratch / 'mnt')
        expect_failure(scratch.mount(image, '-o', 'rw', check=False), 32, image)
    finally:
        run('chattr', '-i', image)


def falls_back_where_the_medium_is_read_only(scratch):
    """EROFS: an image in a read-only file system, and a block device that takes no writes."""
    folder, point = scratch.directory('folder'), scratch / 'mnt'
    image = scratch.image('folder/disk.img')
    before = digest(image)
    run('mount', '--bind', folder, folder)
    run('mount', '-o', 'remount,bind,ro', folder)
    loop = run('losetup', '-r', '-f', '--show', image).stdout.strip()
    try:
        for source in (image, loop):
            result = scratch.mount(source, check=False)
            expect(result.returncode == 0 and len(result.stderr.splitlines()) == 1 and 'read-only' in result.stderr, f'{result}')
            expect(status(point)['read_only'], 'not read-only')
            scratch.unmount(point)
            expect_failure(scratch.mount(source, '-w', check=False), 32, source)
    finally:
        run('losetup', '-d', loop)
        run('umount', folder)
    expect(digest(image) == before, 'written to')


def a_busy_source_is_retried(scratch):
    image = scratch.image()
    first = scratch.mount(image, where='first')
    process = subprocess.Popen([BROKER, image, scratch.directory('second'), '--timeout', '60'], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    expect(process.poll() is None, 'it did not wait')
    scratch.unmount(first)
    said = process.communicate(timeout=60)[1]
    expect(process.returncode == 0 and said == '', f'exit {process.returncode}: {said}')
    scratch.unmount(scratch / 'second')
    scratch.fsck(image)


def windows_of_one_disk_image(scratch):
    disk = scratch / 'whole.disk'
    with open(disk, 'wb') as file:
        file.truncate(200 << 20)
    for start in (1, 101):
        part = scratch.image('part.img', '64M')
        run('dd', f'if={part}', f'of={disk}', 'bs=1M', f'seek={start}', 'conv=notrunc')
    first = scratch.mount(disk, '-o', 'offset=1M,sizelimit=64M', where='first')
    second = scratch.mount(disk, '-o', f'offset={101 << 20},sizelimit={64 << 20}', where='second')
    for point in (first, second):
        with open(f'{point}/where', 'w') as file:
            file.write(point)
    refused = scratch.mount(disk, '-o', 'offset=1M,sizelimit=32M', '--timeout', '1', where='third', check=False)
    expect_failure(refused, 32, first)
    scratch.unmount(first)
    scratch.unmount(second)
    for start, name in ((1, first), (101, second)):
        run('dd', f'if={disk}', f'of={scratch / "part.img"}', 'bs=1M', f'skip={start}', 'count=64')
        scratch.fsck(scratch / 'part.img')
        with scratch.kernel(scratch / 'part.img', 'ro') as kernel:
            expect(open(f'{kernel}/where').read() == name, 'the wrong window')


def block_devices_are_served_directly(scratch):
    image = scratch.image()
    loop = run('losetup', '-f', '--show', image).stdout.strip()
    try:
        point = scratch.mount(loop)
        with open(f'{point}/file', 'w') as file:
            file.write('text')
        expect(loops_over(image) == [loop], f'{loops_over(image)}')
        scratch.unmount(point)
    finally:
        run('losetup', '-d', loop)
    scratch.fsck(image)


def noloop_serves_the_file_itself(scratch):
    image = scratch.image()
    point = scratch.mount(image, '-o', 'noloop')
    expect(not loops_over(image) and status(point)['loop_device'] is None, 'a loop device was made')
    with open(f'{point}/file', 'w') as file:
        file.write('text')
    scratch.unmount(point)
    scratch.fsck(image)


def foreground_stays_until_unmount(scratch):
    image, point = scratch.image(), scratch.directory()
    process = subprocess.Popen([BROKER, image, point, '-f'])
    wait_for(lambda: mounted(point), 'mounted')
    time.sleep(0.2)
    expect(process.poll() is None, 'it ended')
    run(BROKER, '--unmount', point)
    expect(process.wait(10) == 0, f'exit {process.returncode}')
    scratch.fsck(image)


def a_foreground_mount_is_unmounted_by_term(scratch):
    image, point = scratch.image(), scratch.directory()
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen([BROKER, image, point, '-f'])
        wait_for(lambda: mounted(point), 'mounted')
        with open(f'{point}/file', 'w') as file:
            file.write('text')
        process.send_signal(number)
        expect(process.wait(30) in (0, 8), f'exit {process.returncode}')
        expect(not mounted(point), 'still mounted')
        scratch.fsck(image)


def interrupted_mounts_are_undone(scratch):
    image, point = scratch.image(), scratch.directory()
    before = digest(image)
    lock = run('losetup', '-f', '--show', image).stdout.strip()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([BROKER, image, point, '--timeout', '30'], stderr=subprocess.PIPE)
            time.sleep(0.5)
            process.send_signal(number)
            expect(process.wait(10) == 8, f'exit {process.returncode}')
    finally:
        run('losetup', '-d', lock)
    expect(not mounted(point) and digest(image) == before, 'traces left')


def unmount_of_what_is_not_ours(scratch):
    point = scratch.directory()
    expect_failure(run(BROKER, '--unmount', point, check=False), 32, point)
    expect_failure(run(BROKER, '--unmount', scratch / 'nothing', check=False), 32, 'nothing')


main(mounts_writes_unmounts, every_failure_is_one_line_and_writes_nothing, check_tells_whether_a_service_is_there,
     success_prints_nothing, a_volume_that_is_refused_is_left_as_it_was, a_read_only_worker_could_not_write,
     workers_have_ids_and_descriptors_of_their_own, only_roots_socket_is_connected_to,
     a_full_backlog_is_waited_for_no_longer_than_told, falls_back_where_the_medium_is_read_only, a_busy_source_is_retried,
     read_only_writes_nothing, falls_back_to_read_only_with_one_warning, windows_of_one_disk_image,
     block_devices_are_served_directly, noloop_serves_the_file_itself, foreground_stays_until_unmount,
     a_foreground_mount_is_unmounted_by_term, interrupted_mounts_are_undone, unmount_of_what_is_not_ours)
