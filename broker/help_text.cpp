#include "broker/options.h"

namespace broker {

std::string_view help_text() {
  return R"(Usage: fuservicemount SOURCE MOUNTPOINT [-t TYPE] [-o OPTIONS] [-r|-w] [-n] [-s] [-v] [-f]
       fuservicemount -t TYPE --check
       fuservicemount --unmount MOUNTPOINT [-l]
       fuservicemount --status [MOUNTPOINT] [--json]

Mounts an ext2, ext3 or ext4 image file or block device that nobody has to trust.

  -t TYPE             ext4 (default), ext3 or ext2, also as fuse.TYPE or fuseblk.TYPE
  -o OPTIONS          words separated by commas; fuservicemount(8) lists them all
  -r, -w              read-only, read-write; the same as -o ro, -o rw
  -n                  accepted: there is no mtab to write
  -s                  tolerate unknown option words
  -v                  say which words have no effect
  -f                  stay in the foreground until the unmount
  --check             exit 0 if a service for TYPE is there, 1 if not
  --unmount           unmount; returns when the image is complete and durable
  -l                  with --unmount: detach at once and do not wait
  --status            what is mounted, by which worker, in which mode
  --json              with --status: as a JSON array
  --spawn             start a worker of our own even if a service is there
  --service           use the service only
  --worker PATH       the worker binary to spawn
  --socket-dir DIR    where the services' sockets are
  --timeout SECONDS   for the whole mount or unmount; 30 if not given
  -h, --help          this text
  -V, --version       the version

Options: ro rw remount offset= sizelimit= loop noloop directio nodirectio
  nosuid suid nodev dev allow_suid allow_dev noexec exec sync async dirsync
  noatime relatime strictatime nodiratime nosymfollow fsname= subtype=
  allow_other norecovery errors= commit= acl noacl user_xattr nouser_xattr
  minixdf bsddf

Exit codes: 0 well; 1 usage or permission; 4 internal; 8 interrupted; 32 failed.
)";
}

}  // namespace broker
