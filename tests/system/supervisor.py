"""What remains of the broker: a dead worker takes its mount with it, a wedged one cannot hang unmount, a dead supervisor harms nobody."""
import os
import signal
import subprocess
import time

from support import (BROKER, alive, expect, loops_over, main, mounted, run, status, wait_for)


def supervisor_of(worker):
    """The worker's parent."""
    with open(f'/proc/{worker}/stat') as file:
        return int(file.read().rpartition(')')[2].split()[1])


def expect_gone(scratch, image, point, supervisor):
    wait_for(lambda: not mounted(point), 'detached', 1)
    os.listdir(point)  # no ENOTCONN
    wait_for(lambda: not loops_over(image), 'loop device freed', 5)
    wait_for(lambda: not alive(supervisor), 'supervisor gone', 5)
    scratch.mount_points.remove(point)
    run('e2fsck', '-fy', image, check=False)
    scratch.fsck(image)


def a_killed_worker_takes_its_mount_with_it(scratch):
    image = scratch.image()
    for arguments in ([], ['-o', 'noloop']):
        point = scratch.mount(image, *arguments)
        worker = status(point)['worker_pid']
        supervisor = supervisor_of(worker)
        os.kill(worker, signal.SIGKILL)
        expect_gone(scratch, image, point, supervisor)


def a_worker_that_aborts_takes_its_mount_with_it(scratch):
    """errors=panic and a directory block that is garbage: the worker ends itself, by a signal that no kill(1) could send it."""
    image = scratch.image('disk.img', '64M', '-b', '4096')
    with scratch.kernel(image) as kernel:
        os.mkdir(f'{kernel}/broken')
    block = int(run('debugfs', '-R', 'blocks /broken', image).stdout.split()[0])
    with open(image, 'r+b') as file:
        file.seek(block * 4096)
        file.write(os.urandom(4096))
    point = scratch.mount(image, '-o', 'errors=panic')
    supervisor = supervisor_of(status(point)['worker_pid'])
    run('ls', f'{point}/broken', check=False, timeout=10)
    expect_gone(scratch, image, point, supervisor)


def other_signals_do_not_end_a_worker(scratch):
    """It is the first process of its pid namespace; those it knows make it commit."""
    image = scratch.image()
    point = scratch.mount(image)
    worker = status(point)['worker_pid']
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGSEGV):
        os.kill(worker, number)
    time.sleep(0.5)
    with open(f'{point}/file', 'w') as file:
        file.write('still here')
    scratch.unmount(point)
    scratch.fsck(image)


def it_survives_the_callers_group_and_hangup(scratch):
    image, point = scratch.image(), scratch.directory()
    shell = subprocess.Popen(['/bin/sh', '-c', f'{BROKER} {image} {point}; sleep 60'], start_new_session=True)
    wait_for(lambda: mounted(point), 'mounted')
    time.sleep(0.3)
    scratch.mount_points.append(point)
    worker = status(point)['worker_pid']
    supervisor = supervisor_of(worker)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(shell.pid, number)
        except ProcessLookupError:
            pass
        time.sleep(0.1)
    shell.wait()
    expect(alive(worker) and alive(supervisor), 'worker or supervisor died with the group')
    with open(f'{point}/file', 'w') as file:
        file.write('still here')
    scratch.unmount(point)
    scratch.fsck(image)


def the_mount_outlives_its_supervisor(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    worker = status(point)['worker_pid']
    os.kill(supervisor_of(worker), signal.SIGKILL)
    time.sleep(0.3)
    with open(f'{point}/file', 'w') as file:
        file.write('unsupervised')
    expect(status(point)['worker_pid'] == worker, 'status forgot it')
    scratch.unmount(point)
    wait_for(lambda: not alive(worker), 'worker gone')
    scratch.fsck(image)


def a_wedged_worker_cannot_hang_unmount(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    worker = status(point)['worker_pid']
    os.kill(worker, signal.SIGSTOP)
    started = time.monotonic()
    result = run(BROKER, '--unmount', point, '--timeout', '2', check=False, timeout=60)
    expect(time.monotonic() - started < 20, 'it took too long')
    expect(result.returncode == 32 and len(result.stderr.splitlines()) == 1, f'{result}')
    wait_for(lambda: not mounted(point), 'detached')
    scratch.mount_points.remove(point)
    wait_for(lambda: not alive(worker), 'worker killed')


def stale_state_is_not_believed(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    worker = status(point)['worker_pid']
    os.kill(supervisor_of(worker), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not alive(worker), 'worker dead')
    expect(all(entry['mountpoint'] != point for entry in status()), 'a dead mount is shown')
    # Nobody is left who knows how it went: the mount goes, but that is no success.
    result = run(BROKER, '--unmount', point, check=False)
    expect(result.returncode == 32 and len(result.stderr.splitlines()) == 1 and 'nobody saw' in result.stderr, f'{result}')
    expect(not mounted(point), 'still mounted')
    scratch.mount_points.remove(point)


def status_works_without_privilege(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    os.chmod(scratch.path, 0o755)
    result = run('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', BROKER, '--status', '--json', check=False)
    expect(result.returncode == 0 and point in result.stdout, f'{result}')
    scratch.unmount(point)


def covered_and_bound_mounts_are_detached_or_left(scratch):
    image = scratch.image()
    point = scratch.mount(image)
    bound = scratch.directory('bound')
    run('mount', '--bind', point, bound)
    worker = status(point)['worker_pid']
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not mounted(point) and not mounted(bound), 'both detached', 2)
    scratch.mount_points.remove(point)


main(a_killed_worker_takes_its_mount_with_it, a_worker_that_aborts_takes_its_mount_with_it, other_signals_do_not_end_a_worker, it_survives_the_callers_group_and_hangup, the_mount_outlives_its_supervisor,
     a_wedged_worker_cannot_hang_unmount, stale_state_is_not_believed, status_works_without_privilege,
     covered_and_bound_mounts_are_detached_or_left)
