"""Several users on a mount of root's see ext4's permissions."""
import os

from support import expect, main, run

ALICE, BOB, GROUP = 12345, 23456, 34567


def as_user(uid, command, groups=()):
    """Exit status of a shell command as that user."""
    group = ','.join(map(str, groups))
    set_groups = [f'--groups={group}'] if groups else ['--clear-groups']
    return run('setpriv', f'--reuid={uid}', f'--regid={uid}', *set_groups, '/bin/sh', '-c', command, check=False).returncode


def permissions_are_ext4s(scratch):
    os.chmod(scratch.path, 0o755)
    image = scratch.image()
    with scratch.mounted(image, '-o', 'suid,dev') as point:
        os.chmod(point, 0o1777)
        expect(as_user(ALICE, f'umask 027; echo secret > {point}/file; mkdir {point}/dir') == 0, 'alice cannot create')
        info = os.stat(f'{point}/file')
        expect((info.st_uid, info.st_mode & 0o7777) == (ALICE, 0o640), f'{info}')
        expect(as_user(BOB, f'cat {point}/file') != 0, "bob reads alice's file")
        expect(as_user(BOB, f'cat {point}/file', [ALICE]) == 0, 'the group cannot read')
        expect(as_user(BOB, f'rm -f {point}/file') != 0, "bob removes alice's file from a sticky directory")
        run('setfacl', '-m', f'u:{BOB}:rw', f'{point}/file')
        expect(as_user(BOB, f'cat {point}/file && echo more >> {point}/file') == 0, 'the ACL does not let bob in')
        run('setfacl', '-m', f'd:u:{BOB}:rx,d:o::-', f'{point}/dir')
        expect(as_user(ALICE, f'echo inherited > {point}/dir/file') == 0, 'alice cannot create in her directory')
        expect(f'user:{BOB}:r' in run('getfacl', '-n', f'{point}/dir/file').stdout, 'no default ACL inherited')
        # Set-user-ID goes when another user writes, and with chown.
        run('cp', '/bin/true', f'{point}/program')
        os.chmod(f'{point}/program', 0o4777)
        expect(as_user(ALICE, f'echo x >> {point}/program') == 0, 'cannot write')
        expect(os.stat(f'{point}/program').st_mode & 0o6000 == 0, 'set-user-ID survived a write')
        os.chmod(f'{point}/program', 0o6755)
        os.chown(f'{point}/program', ALICE, ALICE)
        expect(os.stat(f'{point}/program').st_mode & 0o6000 == 0, 'set-user-ID survived chown')
        # A set-group-ID directory hands its group on.
        os.mkdir(f'{point}/shared')
        os.chown(f'{point}/shared', ALICE, GROUP)
        os.chmod(f'{point}/shared', 0o2777)
        expect(as_user(BOB, f'mkdir {point}/shared/sub; touch {point}/shared/file') == 0, 'cannot create')
        expect(os.stat(f'{point}/shared/file').st_gid == GROUP, 'group not inherited')
        expect(os.stat(f'{point}/shared/sub').st_mode & 0o2000, 'set-group-ID not inherited')
        expect(as_user(ALICE, f'chown {BOB} {point}/file') != 0, 'alice gives a file away')
    scratch.fsck(image)


def device_nodes_and_set_user_id_need_root_to_ask(scratch):
    image = scratch.image()
    with scratch.mounted(image) as point:
        options = run('findmnt', '-n', '-o', 'OPTIONS', point).stdout
        expect('nosuid' in options and 'nodev' in options, options)
    with scratch.mounted(image, '-o', 'suid,dev') as point:
        options = run('findmnt', '-n', '-o', 'OPTIONS', point).stdout
        expect('nosuid' not in options and 'nodev' not in options, options)


main(permissions_are_ext4s, device_nodes_and_set_user_id_need_root_to_ask)
