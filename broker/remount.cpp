#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "broker/actions.h"
#include "broker/state_file.h"
#include "protocol/mount_ioctl.h"

namespace broker {
namespace {

using protocol::last_error;
using protocol::MountMode;

/// Whether the kernel lets writes through at all, for every mount of the superblock.
Result<void> reconfigure(int mount, bool read_only) {
  const UniqueFd context{::fspick(mount, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC)};
  if (!context) return last_error("cannot reconfigure it");
  if (::fsconfig(context.get(), FSCONFIG_SET_FLAG, read_only ? "ro" : "rw", nullptr, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0)
    return last_error(read_only ? "cannot become read-only" : "cannot become writable");
  return {};
}

Result<void> set_attributes(int mount, std::uint64_t set, std::uint64_t clear) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  if ((set | clear) != 0 && ::mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return last_error("cannot change the mount's attributes");
  return {};
}

Result<void> tell_worker(const MountPoint& where, MountMode mode) {
  const UniqueFd root{::open(descriptor_path(where.descriptor.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  auto value = static_cast<std::uint32_t>(mode);
  if (root && ::ioctl(root.get(), protocol::kSetMountMode, &value) == 0) return {};
  if (errno == EROFS)
    return last_error("cannot become writable, since its source was opened read-only; unmount it and mount it again");
  return last_error("the worker refused");
}

/// No write may arrive at a worker that has marked the volume clean, so each way has its order.
Result<void> change_mode(const MountPoint& where, Writing writing) {
  if (writing == Writing::unsaid) return {};
  const bool read_only = writing == Writing::read_only;
  const int mount = where.descriptor.get();
  if (read_only) {
    TRY(reconfigure(mount, true));
    return tell_worker(where, MountMode::read_only);
  }
  TRY(tell_worker(where, MountMode::writable));
  TRY(reconfigure(mount, false));
  return set_attributes(mount, 0, MOUNT_ATTR_RDONLY);
}

Result<void> remount(const MountPlan& plan) {
  TRY(where, open_mount_point(plan));
  TRY(identity, identify_mount(where.descriptor.get()));
  bool ours = false;
  for (const MountState& state : living_mounts()) ours = ours || state.identity.device == identity.device;
  if (!ours) return protocol::errno_error(EINVAL, "not mounted by ext4box");
  TRY(change_mode(where, plan.writing));
  const std::uint64_t said = plan.attributes_said;
  // The kernel wants the access time field named as a whole, whatever it is to become.
  return set_attributes(where.descriptor.get(), plan.mount_attributes & said,
                        (said & MOUNT_ATTR__ATIME) | (~plan.mount_attributes & said));
}

}  // namespace

int run_remount(const MountPlan& plan) {
  if (plan.verbose) {
    for (const std::string& note : plan.notes) warn(plan, plan.mount_point, note);
    for (const std::string& word : plan.worker_options)
      warn(plan, plan.mount_point, word + ": keeps its value until the next mount");
  }
  if (plan.fake) return 0;
  if (auto done = remount(plan); !done) return fail_as_mount(plan, done.error());
  return 0;
}

}  // namespace broker
