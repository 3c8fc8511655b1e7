#include "broker/loop_device.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <memory>

namespace broker {
namespace {

using protocol::last_error;

/// How often others may take the free number away before something else must be wrong.
constexpr int kMostRaces = 200;

struct Attempt {
  UniqueFd device;
  int error = 0;
};

Attempt configure(const std::string& path, const Source& source, bool direct_io) {
  Attempt attempt;
  attempt.device.reset(::open(path.c_str(), (source.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
  loop_config config{};
  config.fd = static_cast<__u32>(source.descriptor.get());
  config.block_size = 512;
  config.info.lo_offset = source.window.offset;
  config.info.lo_sizelimit = source.window.length;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (source.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  if (direct_io) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  if (!attempt.device || ::ioctl(attempt.device.get(), LOOP_CONFIGURE, &config) != 0) attempt.error = errno;
  return attempt;
}

bool lost_race(int error) { return error == EBUSY || error == ENXIO || error == ENOENT || error == ENODEV; }

}  // namespace

Result<LoopDevice> attach_loop_device(const Source& source, bool direct_io) {
  const UniqueFd control{::open("/dev/loop-control", O_RDWR | O_CLOEXEC)};
  if (!control) return last_error("/dev/loop-control");
  int error = EBUSY;
  for (int race = 0; race < kMostRaces; ++race) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return last_error("no free loop device");
    LoopDevice loop;
    loop.path = "/dev/loop" + std::to_string(number);
    Attempt attempt = configure(loop.path, source, direct_io);
    // Some file systems can not do direct I/O, or not in units of 512 bytes.
    if (attempt.error == EINVAL && direct_io) attempt = configure(loop.path, source, false);
    error = attempt.error;
    if (error == 0) {
      struct stat found {};
      ::fstat(attempt.device.get(), &found);
      loop.device = found.st_rdev;
      loop.descriptor = std::move(attempt.device);
      return loop;
    }
    if (!lost_race(error)) return protocol::errno_error(error, "cannot set up " + loop.path);
    const timespec pause{0, (race % 8 + 1) * 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return protocol::errno_error(error, "cannot set up a loop device");
}

std::vector<ForeignLoop> foreign_loops(const Source& source) {
  std::vector<ForeignLoop> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir("/sys/block"),
                                                      [](DIR* open) { return ::closedir(open); }};
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    const std::string path = std::string{"/dev/"} + entry->d_name;
    // A loop device in use has this folder; opening one that is not in use could keep it from being removed.
    const std::string bound = std::string{"/sys/block/"} + entry->d_name + "/loop";
    if (::access(bound.c_str(), F_OK) != 0) continue;
    const auto status = loop_status(path);
    struct stat node {};
    if (!status || ::stat(path.c_str(), &node) != 0 ||
        std::find(source.through.begin(), source.through.end(), node.st_rdev) != source.through.end() ||
        !loop_range(*status, block_device_size(node.st_rdev)).overlaps(source.range))
      continue;
    const UniqueFd probe{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_EXCL | O_CLOEXEC)};
    found.push_back({path, (status->lo_flags & LO_FLAGS_READ_ONLY) != 0, !probe && errno == EBUSY});
  }
  return found;
}

}  // namespace broker
