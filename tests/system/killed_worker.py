"""kill -9 of the worker: e2fsck -y brings every fsynced file back with its contents."""
import os
import random
import signal
import subprocess
import time

from support import digest, expect, main, mounted, run, status, wait_for

WRITER = """
import os, random, sys
rng = random.Random(int(sys.argv[2]))
number = 0
while True:
    name = f'{sys.argv[1]}/f{sys.argv[2]}-{number}'
    data = rng.randbytes(rng.randrange(1, 50_000))
    with open(name, 'wb') as file:
        file.write(data)
        file.flush()
        if number % 2 == 0:
            os.fsync(file.fileno())
            folder = os.open(sys.argv[1], os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            print(name, hash_of(data), flush=True)
    if number > 4 and number % 3 == 0:
        os.unlink(f'{sys.argv[1]}/f{sys.argv[2]}-{number - 3}') if (number - 3) % 2 else None
    number += 1
"""


def fsynced_files_survive(scratch):
    rng = random.Random(7)
    for turn in range(6):
        image = scratch.image(size='256M')
        point = scratch.mount(image)
        code = 'import hashlib\nhash_of = lambda data: hashlib.sha256(data).hexdigest()\n' + WRITER
        logs = [open(scratch / f'log{number}', 'w+') for number in range(3)]
        writers = [subprocess.Popen(['/usr/bin/python3', '-c', code, point, str(turn * 10 + number)], stdout=log, stderr=subprocess.DEVNULL)
                   for number, log in enumerate(logs)]
        time.sleep(0.5 + rng.random())
        os.kill(status(point)['worker_pid'], signal.SIGKILL)
        for writer in writers:
            writer.wait(30)
        wait_for(lambda: not mounted(point), 'detached', 5)
        scratch.mount_points.remove(point)
        result = run('e2fsck', '-fy', image, check=False)
        expect(result.returncode in (0, 1), f'e2fsck: exit {result.returncode}\n{result.stdout}')
        acknowledged = 0
        with scratch.kernel(image, 'ro') as kernel:
            for log in logs:
                log.seek(0)
                for line in log.read().splitlines():
                    if not line.endswith('\n') and len(line.split()) != 2:
                        continue
                    name, wanted = line.split()
                    expect(digest(kernel + name[len(point):]) == wanted, f'{name} is not what was fsynced')
                    acknowledged += 1
                log.close()
        expect(acknowledged > 10, f'only {acknowledged} files were acknowledged')


main(fsynced_files_survive)
