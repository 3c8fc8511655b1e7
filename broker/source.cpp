#include "broker/source.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>

#include "broker/loop_device.h"
#include "broker/process.h"

namespace broker {
namespace {

using protocol::errno_error;
using protocol::last_error;

constexpr int kOpenFlags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
constexpr std::chrono::milliseconds kPollInterval{50};

/// The only look at the path. Links into /proc/self/fd are welcome: callers hand over images they have opened that way.
Result<UniqueFd> resolve(const std::string& path) {
  struct open_how how {};
  how.flags = O_PATH | O_CLOEXEC;
  UniqueFd found{static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how))};
  if (!found) return last_error("cannot open it");
  return found;
}

/// For writing only if every write has a chance: the kernel opens read-only block devices for writing all the same.
UniqueFd open_for(const std::string& path, bool read_only) {
  UniqueFd opened{::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | kOpenFlags)};
  int refuses_writes = 0;
  if (opened && !read_only && ::ioctl(opened.get(), BLKROGET, &refuses_writes) == 0 && refuses_writes) {
    opened.reset();
    errno = EROFS;
  }
  return opened;
}

/// Opens for what the plan says, and falls back to reading where it may.
Result<Source> open_resolved(int resolved, Writing writing) {
  struct stat kind {};
  if (::fstat(resolved, &kind) != 0) return last_error();
  if (!S_ISBLK(kind.st_mode) && !S_ISREG(kind.st_mode))
    return errno_error(ENOTBLK, "neither a block device nor an image file");
  Source source;
  source.kind = S_ISBLK(kind.st_mode) ? SourceKind::block_device : SourceKind::image_file;
  source.read_only = writing == Writing::read_only;
  const std::string path = descriptor_path(resolved);
  source.descriptor = open_for(path, source.read_only);
  if (!source.descriptor && writing == Writing::unsaid && (errno == EPERM || errno == EACCES || errno == EROFS)) {
    source.warning = "mounting read-only, because it can not be written: " + last_error().message();
    source.read_only = true;
    source.descriptor = open_for(path, true);
  }
  if (!source.descriptor) return last_error(source.read_only ? "cannot open it" : "cannot open it for writing");
  char canonical[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), canonical, sizeof canonical);
  if (length <= 0) return last_error();
  source.path.assign(canonical, static_cast<std::size_t>(length));
  return source;
}

Result<std::uint64_t> size_of(const Source& source) {
  struct stat found {};
  std::uint64_t size = 0;
  if (source.kind == SourceKind::block_device) {
    if (::ioctl(source.descriptor.get(), BLKGETSIZE64, &size) != 0) return last_error("cannot tell its size");
  } else {
    if (::fstat(source.descriptor.get(), &found) != 0) return last_error("cannot tell its size");
    size = static_cast<std::uint64_t>(found.st_size);
  }
  return size;
}

Result<void> place_window(Source& source, const Window& asked) {
  TRY(size, size_of(source));
  const std::string end = " lies beyond its end at " + std::to_string(size) + " bytes";
  if (size == 0) return errno_error(EINVAL, "it is empty");
  if (asked.offset >= size) return errno_error(EINVAL, "offset=" + std::to_string(asked.offset) + end);
  if (asked.length > size - asked.offset)
    return errno_error(
        EINVAL, "offset=" + std::to_string(asked.offset) + " with sizelimit=" + std::to_string(asked.length) + end);
  source.window = {asked.offset, asked.length ? asked.length : size - asked.offset};
  source.whole = source.window.offset == 0 && source.window.length == size;
  TRY(range, byte_range(source.descriptor.get(), source.window, &source.through));
  source.range = range;
  return {};
}

/// Sets, or with F_UNLCK takes back, the lock on the window. A whole source is locked without an end.
bool set_lock(const Source& source, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(source.window.offset);
  lock.l_len = source.whole ? 0 : static_cast<off_t>(source.window.length);
  return ::fcntl(source.descriptor.get(), F_OFD_SETLK, &lock) == 0;
}

std::string words_of(bool read_only) { return read_only ? "read-only" : "read-write"; }

/// Who uses overlapping bytes in a way that does not go together with ours; "" if nobody does. A claim on the whole
/// device that read-only mounts explain is put into `explained`.
std::string conflicting_user(const Source& source, bool& explained) {
  for (const MountState& state : living_mounts(Visibility::anywhere))
    if (state.range.overlaps(source.range) && !(state.read_only && source.read_only))
      return "in use by the " + words_of(state.read_only) + " mount on " + state.mount_point + " (" +
             (state.worker_pid ? "worker " + std::to_string(state.worker_pid) : "being made") + ")";
  const auto table = read_mount_table();
  dev_t seen = 0;
  for (const MountEntry& entry : table ? *table : std::vector<MountEntry>{}) {
    if (::major(entry.device) == 0 || entry.device == seen) continue;
    seen = entry.device;
    const auto range = byte_range(entry.device);
    if (!range || !range->overlaps(source.range)) continue;
    explained = true;
    if (!entry.read_only() || !source.read_only)
      return "in use: " + entry.source + " is mounted on " + entry.mount_point + " as " + entry.type;
  }
  // A writable loop device that nobody has claimed is left over; it does not keep others from reading.
  for (const ForeignLoop& loop : foreign_loops(source))
    if (!source.read_only || (!loop.read_only && loop.claimed && !explained))
      return "in use by the loop device " + loop.path;
  return {};
}

/// Whether somebody holds the whole block device exclusively: a mount in another namespace, LVM, RAID, swap.
std::string exclusive_holder(const Source& source) {
  const UniqueFd probe{::open(descriptor_path(source.descriptor.get()).c_str(), O_RDONLY | O_EXCL | kOpenFlags)};
  if (probe || errno != EBUSY) return {};
  const std::string holders = "/sys/dev/block/" + std::to_string(::major(source.through.front())) + ":" +
                              std::to_string(::minor(source.through.front())) + "/holders";
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator{holders, none})
    return "in use by the device " + entry.path().filename().string();
  return "in use by another mount or device";
}

/// One attempt at locking; "" or who is in the way.
Result<std::string> occupy(Source& source) {
  const bool locked = set_lock(source, source.read_only ? F_RDLCK : F_WRLCK);
  const int why = errno;
  bool explained = false;
  if (std::string user = conflicting_user(source, explained); !user.empty()) return user;
  if (!locked && (why == EAGAIN || why == EACCES)) return std::string{"in use: another process has locked it"};
  if (!locked && source.warning.empty())
    source.warning =
        "its file system can not lock, so nothing keeps others from writing: " + errno_error(why).message();
  if (source.kind == SourceKind::block_device && source.whole && !(explained && source.read_only))
    return exclusive_holder(source);
  return std::string{};
}

/// Looks and publishes as one step, seen by all brokers. EBUSY names who is in the way.
Result<Source> attempt(int resolved, const MountPlan& plan, StateFile& slot,
                       std::chrono::steady_clock::time_point deadline, int interrupt) {
  TRY(gate, StateFile::gate(deadline, interrupt));
  TRY(source, open_resolved(resolved, plan.writing));
  TRY(place_window(source, plan.window));
  TRY(user, occupy(source));
  if (!user.empty()) return errno_error(EBUSY, user);
  MountState claim;
  claim.source = source.path;
  claim.mount_point = plan.mount_point;
  claim.type = plan.type;
  claim.read_only = source.read_only;
  claim.range = source.range;
  TRY(slot.publish(claim));
  return source;
}

}  // namespace

Result<UniqueFd> reopen_direct(const UniqueFd& descriptor) {
  const int mode = ::fcntl(descriptor.get(), F_GETFL) & O_ACCMODE;
  UniqueFd again{::open(descriptor_path(descriptor.get()).c_str(), mode | kOpenFlags | O_DIRECT)};
  if (!again) return last_error("cannot open it again");
  return again;
}

Result<void> Source::claim() {
  if (kind != SourceKind::block_device || read_only || !whole) return {};
  UniqueFd exclusive{::open(descriptor_path(descriptor.get()).c_str(), O_RDWR | O_EXCL | kOpenFlags)};
  if (!exclusive) return last_error("cannot claim it");
  // Locks of two open file descriptions get in each other's way, so ours moves over; the claim bridges the gap.
  set_lock(*this, F_UNLCK);
  descriptor = std::move(exclusive);
  if (!set_lock(*this, F_WRLCK)) return last_error("another process has locked it");
  return {};
}

Result<Source> open_source(const MountPlan& plan, std::chrono::steady_clock::time_point deadline, int interrupt) {
  TRY(resolved, resolve(plan.source));
  TRY(slot, StateFile::claim());
  for (;;) {
    auto source = attempt(resolved.get(), plan, slot, deadline, interrupt);
    if (source) source->slot = std::move(slot);
    if (source || source.error().code.value() != EBUSY || std::chrono::steady_clock::now() >= deadline) return source;
    if (wait_until_readable(interrupt, kPollInterval)) return errno_error(EINTR);
  }
}

}  // namespace broker
