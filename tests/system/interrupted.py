"""INT and TERM at any moment of a mount: either it stands or nothing of it is left, and the exit code says which."""
import ctypes
import os
import signal
import subprocess
import time

from support import BROKER, alive, expect, loops_over, main, mounted, run, wait_for

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 48


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def reap():
    """The processes that came to us because their parent ended, without those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    return [child for child in children(os.getpid()) if alive(child)]


def expect_nothing_left(image, point, states):
    expect(not mounted(point), 'still mounted')
    wait_for(lambda: not loops_over(image), 'loop device freed', 5)
    wait_for(lambda: not reap(), 'broker and worker gone', 5)
    left = [name for name in os.listdir(states) if name != 'slots']
    expect(not left, f'state files left: {left}')


def at_every_moment(scratch, arguments, number, target):
    """`target` finds the process to interrupt, given the caller's process."""
    states = os.environ['EXT4BOX_RUN_DIR'] = scratch / 'run'
    expect(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, 'prctl')
    image, point = scratch.image(size='16M'), scratch.directory()
    lengths = []
    for _ in range(5):
        started = time.monotonic()
        run(BROKER, image, point, *arguments)
        lengths.append(time.monotonic() - started)
        run(BROKER, '--unmount', point)
    whole = sorted(lengths)[2]
    codes = []
    for turn in range(ROUNDS):
        process = subprocess.Popen([BROKER, image, point, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(turn * 1.2 * whole / ROUNDS)
        for pid in target(process):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        said = process.communicate(timeout=60)[1]
        codes.append(process.returncode)
        if process.returncode == 0:
            # The signal came late. One that went to the broker itself still unmounts.
            expect(said == '', said)
            run(BROKER, '--unmount', point, check=False)
            wait_for(lambda: not mounted(point), 'unmounted')
        else:
            expect(process.returncode in (8, -number), f'exit {process.returncode}: {said}')
            expect(len(said.splitlines()) == (process.returncode == 8), f'not one line: {said!r}')
        expect_nothing_left(image, point, states)
        scratch.fsck(image)
    expect(8 in codes, f'never interrupted: {codes}')


def the_caller_is_interrupted(scratch):
    at_every_moment(scratch, [], signal.SIGINT, lambda process: [process.pid])


def the_caller_of_a_plain_mount_is_terminated(scratch):
    at_every_moment(scratch, ['-o', 'noloop'], signal.SIGTERM, lambda process: [process.pid])


def the_broker_itself_is_terminated(scratch):
    at_every_moment(scratch, [], signal.SIGTERM, lambda process: children(process.pid))


def a_source_in_use_is_not_waited_for_any_longer(scratch):
    image, point = scratch.image(), scratch.directory()
    states = os.environ['EXT4BOX_RUN_DIR'] = scratch / 'run'
    loop = run('losetup', '-f', '--show', image).stdout.strip()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([BROKER, image, point, '--timeout', '600'], stderr=subprocess.PIPE, text=True)
            wait_for(lambda: children(process.pid) and os.path.exists(f'{states}/slots'), 'waiting')
            process.send_signal(number)
            said = process.communicate(timeout=60)[1]
            expect(process.returncode == 8 and said == f'fuservicemount: {image}: interrupted\n', f'{process.returncode}: {said}')
    finally:
        run('losetup', '-d', loop)
    expect_nothing_left(image, point, states)


main(the_caller_is_interrupted, the_caller_of_a_plain_mount_is_terminated, the_broker_itself_is_terminated,
     a_source_in_use_is_not_waited_for_any_longer)
