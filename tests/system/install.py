"""meson install with DESTDIR puts everything where a distribution wants it, and the installed broker finds the installed worker."""
import os

from support import BUILD, BROKER, expect, main, run


def everything_is_in_its_place(scratch):
    root = scratch.directory('root')
    run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', root)
    prefix = next(path for path in (f'{root}/usr/local', f'{root}/usr') if os.path.isdir(path))
    expect(os.access(f'{prefix}/bin/fuservicemount', os.X_OK), 'no broker')
    expect(os.access(f'{prefix}/libexec/ext4box/ext4box-worker', os.X_OK), 'no worker')
    for page in ('fuservicemount.8', 'ext4box-worker.8'):
        expect(os.path.exists(f'{prefix}/share/man/man8/{page}'), f'no {page}')
    for kind in ('fuse', 'fuseblk'):
        for number in (2, 3, 4):
            for verb in ('mount', 'umount'):
                link = f'{prefix}/sbin/{verb}.{kind}.ext{number}'
                expect(os.path.realpath(link) == f'{prefix}/bin/fuservicemount', f'{link} -> {os.path.realpath(link)}')
    expect(run(f'{prefix}/bin/fuservicemount', '--version').stdout == run(BROKER, '--version').stdout, 'another version')


def the_installed_pair_works(scratch):
    """Over this namespace's own /usr/local, for the worker's place is compiled in."""
    layers = [scratch.directory(name) for name in ('upper', 'work')]
    prefix = run('meson', 'introspect', BUILD, '--buildoptions').stdout
    expect('"/usr/local"' in prefix, 'configured for another prefix than /usr/local')
    run('mount', '-t', 'overlay', '-o', f'lowerdir=/usr/local,upperdir={layers[0]},workdir={layers[1]}', 'overlay', '/usr/local')
    try:
        run('meson', 'install', '-C', BUILD, '--no-rebuild')
        image, point = scratch.image(), scratch.directory()
        run('/usr/local/bin/fuservicemount', image, point)
        with open(f'{point}/file', 'w') as file:
            file.write('text')
        run('/usr/local/sbin/umount.fuse.ext4', point)
        scratch.fsck(image)
    finally:
        run('umount', '-l', '/usr/local')


main(everything_is_in_its_place, the_installed_pair_works)
