"""The service way without systemd: a listener that starts one confined worker for each connection, as Accept=yes does."""
import os
import signal
import socket

from support import BROKER, WORKER, alive, expect, loops_over, main, mounted, run, status, wait_for

ID = 4242


class Service:
    """Listens in `directory` for ext4; its process accepts, gives the connection to a worker as descriptor 3, and reaps."""

    def __init__(self, directory):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(f'{directory}/ext4')
        self.listener.listen(8)
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaped at once: nobody but the kernel knows how they ended
            while True:
                connection, _ = self.listener.accept()
                if os.fork() == 0:
                    os.dup2(connection.fileno(), 3)
                    os.set_inheritable(3, True)
                    environment = {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}
                    os.execve('/usr/bin/setpriv', ['setpriv', f'--reuid={ID}', f'--regid={ID}', '--clear-groups', '--bounding-set=-all',
                                                   '--inh-caps=-all', '--no-new-privs', WORKER], environment)
                connection.close()

    def end(self):
        self.listener.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def with_service(case):
    def wrapped(scratch):
        sockets = scratch.directory('sockets')
        service = Service(sockets)
        try:
            case(scratch, ['--socket-dir', sockets])
        finally:
            service.end()
    wrapped.__name__ = case.__name__
    return wrapped


def supervisor(point):
    """Who has the mount's state file: its slot is locked by it, its number is in it."""
    for name in os.listdir('/run/ext4box'):
        if name.endswith('.mount'):
            with open(f'/run/ext4box/{name}') as file:
                fields = dict(line.split('=', 1) for line in file.read().splitlines())
            if fields['mount_point'] == point:
                return int(fields['supervisor_pid'])
    raise AssertionError(f'no state file for {point}')


@with_service
def mounts_and_unmounts(scratch, service):
    image = scratch.image()
    for arguments in ([], ['-o', 'noloop'], ['--service'], ['-r']):
        point = scratch.mount(image, *service, *arguments)
        entry = status(point)
        expect(entry['way'] == 'service' and os.stat(f'/proc/{entry["worker_pid"]}').st_uid == ID, f'{entry}')
        watcher = supervisor(point)
        if '-r' not in arguments:
            with open(f'{point}/file', 'w') as file:
                file.write('text')
        scratch.unmount(point)
        wait_for(lambda: not alive(watcher), 'supervisor gone')
        scratch.fsck(image)


@with_service
def a_killed_worker_takes_its_mount_with_it(scratch, service):
    image = scratch.image()
    point = scratch.mount(image, *service)
    watcher = supervisor(point)
    os.kill(status(point)['worker_pid'], signal.SIGKILL)
    wait_for(lambda: not mounted(point), 'detached', 1)
    wait_for(lambda: not loops_over(image), 'loop device freed', 5)
    wait_for(lambda: not alive(watcher), 'supervisor gone')
    scratch.mount_points.remove(point)
    run('e2fsck', '-fy', image, check=False)
    scratch.fsck(image)


@with_service
def without_its_supervisor_the_kernel_knows_how_it_ended(scratch, service):
    image = scratch.image()
    point = scratch.mount(image, *service)
    os.kill(supervisor(point), signal.SIGKILL)
    with open(f'{point}/file', 'w') as file:
        file.write('unsupervised')
    result = run(BROKER, '--unmount', point, check=False)
    scratch.mount_points.remove(point)
    # Kernels before 6.15 keep no record of a process that has been reaped; then there is no promise, but it is whole.
    unseen = result.returncode == 32 and 'nobody saw' in result.stderr
    expect(result.returncode == 0 or unseen, f'{result}')
    expect(not mounted(point), 'still mounted')
    scratch.fsck(image)


main(mounts_and_unmounts, a_killed_worker_takes_its_mount_with_it, without_its_supervisor_the_kernel_knows_how_it_ended)
