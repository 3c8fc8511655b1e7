"""What the benchmarks share: ways to mount a volume, and what is counted while it works. Linux only, as root."""
import collections
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, check=True):
    """Runs a command; a failure is an exception that shows what it printed."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if check and result.returncode:
        raise RuntimeError(f'{" ".join(map(str, command))}: exit {result.returncode}\n{result.stdout}{result.stderr}')
    return result


def in_own_namespace():
    """Starts the script once more where no mount of it is seen outside."""
    if os.geteuid() != 0:
        sys.exit('needs root')
    if os.environ.get('EXT4BOX_NAMESPACE') != '1':
        os.environ['EXT4BOX_NAMESPACE'] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private', sys.executable, *sys.argv])


def add_common_options(parser):
    parser.add_argument('--build', default=os.path.join(HERE, '..', '..', 'build'),
                        help='build folder with tests and optimisation (default: the one of ./check)')
    parser.add_argument('--backing', default='/dev/shm', help='folder of the images (default: memory)')
    parser.add_argument('--json', help='file for every single value')


@contextlib.contextmanager
def scratch(backing):
    folder = tempfile.mkdtemp(prefix='ext4box-bench.', dir=backing)
    os.mkdir(f'{folder}/mnt')
    try:
        yield folder
    finally:
        if os.path.ismount(f'{folder}/mnt'):
            run('umount', '-l', f'{folder}/mnt', check=False)
        shutil.rmtree(folder, ignore_errors=True)


def drop_caches():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as file:
        file.write('3')


def check_clean(volume):
    """The file system is consistent and marked so; anything else ends the benchmark."""
    result = run('e2fsck', '-fn', volume, check=False)
    if result.returncode or 'WARNING' in result.stdout or 'Fix?' in result.stdout:
        raise RuntimeError(f'e2fsck -fn {volume}: exit {result.returncode}\n{result.stdout}{result.stderr}')


class System:
    """One way to mount `source`, an image or a block device, on `point`."""

    NAMES = ('kernel', 'fuse2fs', 'ext4box')

    def __init__(self, name, source, point, build):
        self.name, self.source, self.point = name, source, point
        self.broker = f'{build}/broker/fuservicemount'
        self.server = None  # process id of what serves the mount
        self.child = None

    def mount(self):
        if self.name == 'kernel':
            image = os.path.isfile(self.source)
            run('mount', '-t', 'ext4', *(['-o', 'loop'] if image else []), self.source, self.point)
            if image:
                run('losetup', '--direct-io=on', run('findmnt', '-n', '-o', 'SOURCE', self.point).stdout.strip(), check=False)
        elif self.name == 'fuse2fs':
            self.child = subprocess.Popen(['fuse2fs', '-f', self.source, self.point], stdout=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL)
            while not os.path.ismount(self.point):
                if self.child.poll() is not None:
                    raise RuntimeError('fuse2fs did not mount')
                time.sleep(0.002)
            self.server = self.child.pid
        else:
            run(self.broker, self.source, self.point)
            with contextlib.suppress(IndexError):
                self.server = int(re.findall(r'"worker_pid": ?(\d+)', run(self.broker, '--status', self.point, '--json').stdout)[0])

    def unmount(self):
        """Returns when the server, if there is one, has written everything and ended."""
        if self.name == 'ext4box':
            run(self.broker, '--unmount', self.point)
        else:
            run('umount', self.point)
        if self.child:
            self.child.wait()
        self.server = self.child = None

    def cold(self):
        self.unmount()
        drop_caches()
        self.mount()

    def processor_seconds(self):
        """Processor time that the server has used, exact to the nanosecond; 0 for the kernel."""
        total = 0
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in os.listdir(f'/proc/{self.server}/task') if self.server else []:
                with open(f'/proc/{self.server}/task/{task}/schedstat') as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def peak_memory(self):
        """Bytes of memory that the server had at most; 0 for the kernel."""
        if not self.server:
            return 0
        with open(f'/proc/{self.server}/status') as file:
            return int(re.search(r'VmHWM:\s+(\d+) kB', file.read())[1]) * 1024


class Requests:
    """Counts what the kernel sends to the FUSE mount on `point` while the context lasts; nothing for other mounts."""

    TRACING = '/sys/kernel/tracing'

    def __init__(self, point):
        device = os.stat(point).st_dev
        self.connection = os.major(device) << 20 | os.minor(device)
        self.counts = collections.Counter()

    def __enter__(self):
        if not os.path.isdir(f'{self.TRACING}/events'):
            run('mount', '-t', 'tracefs', 'tracefs', self.TRACING)
        self.instance = f'{self.TRACING}/instances/ext4box-bench.{os.getpid()}'
        os.mkdir(self.instance)
        self.write('buffer_size_kb', '32768')
        self.write('events/fuse/fuse_request_send/filter', f'connection == {self.connection}')
        self.write('events/fuse/fuse_request_send/enable', '1')
        self.pipe = subprocess.Popen(['cat', f'{self.instance}/trace_pipe'], stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        return self.counts

    def write(self, name, text):
        with open(f'{self.instance}/{name}', 'w') as file:
            file.write(text)

    def read(self):
        for line in self.pipe.stdout:
            if found := re.search(r'\(FUSE_(\w+)\)', line):
                self.counts[found[1].lower()] += 1

    def __exit__(self, *_):
        self.write('events/fuse/fuse_request_send/enable', '0')
        time.sleep(0.3)  # the pipe hands over what is left
        self.pipe.terminate()
        self.pipe.wait()
        self.reader.join()
        os.rmdir(self.instance)


class LoopDevice:
    """A loop device with direct I/O over an image, kept across mounts so that its counters tell what each step moves."""

    def __init__(self, image):
        self.path = run('losetup', '--find', '--show', '--direct-io=on', image).stdout.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run('losetup', '-d', self.path)

    def counters(self):
        """requests and KiB read, requests and KiB written, flushes: since the device was made."""
        with open(f'/sys/block/{os.path.basename(self.path)}/stat') as file:
            fields = [int(field) for field in file.read().split()]
        return collections.Counter(reads=fields[0], read_kib=fields[2] // 2, writes=fields[4], written_kib=fields[6] // 2,
                                   flushes=fields[15])
