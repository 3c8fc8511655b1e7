#include <gtest/gtest.h>
#include <linux/fs.h>

#include "protocol/mount_ioctl.h"
#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

class IoctlOps : public testing::Test {
 protected:
  template <typename Argument>
  Reply control(std::uint64_t node, unsigned long command, const Argument& argument, Asker asker = {}) {
    fuse_ioctl_in in{};
    in.cmd = static_cast<std::uint32_t>(command);
    in.flags = node == 1 ? FUSE_IOCTL_DIR : 0;
    in.in_size = sizeof(argument);
    return kernel.ask(FUSE_IOCTL, node, Body{}.add(in).add(argument), asker);
  }
  Reply query(std::uint64_t node, unsigned long command, std::uint32_t room) {
    fuse_ioctl_in in{};
    in.cmd = static_cast<std::uint32_t>(command);
    in.out_size = room;
    return kernel.ask(FUSE_IOCTL, node, Body{}.add(in));
  }
  std::uint32_t flags(std::uint64_t node) {
    const Reply reply = query(node, FS_IOC_GETFLAGS, 4);
    EXPECT_EQ(reply.body.size(), sizeof(fuse_ioctl_out) + 4);
    return reply.as<std::uint32_t>(sizeof(fuse_ioctl_out));
  }
  ServedVolume served;
  FakeKernel& kernel = served.kernel;
  fuse_init_out agreed = kernel.initialise();
  std::uint64_t file = served.create(1, "file").nodeid;
};

TEST_F(IoctlOps, flags_are_read_and_set) {
  const std::uint32_t before = flags(file);
  EXPECT_EQ(control(file, FS_IOC_SETFLAGS, before | FS_NODUMP_FL).error, 0);
  EXPECT_EQ(flags(file), before | FS_NODUMP_FL);
  EXPECT_EQ(query(file, FS_IOC_GETFLAGS, 3).error, EINVAL);
  EXPECT_EQ(control(file, FS_IOC_SETFLAGS, std::uint8_t{0}).error, EINVAL);
}

TEST_F(IoctlOps, flags_have_other_names_too) {
  fsxattr extended{};
  extended.fsx_xflags = FS_XFLAG_NOATIME | FS_XFLAG_APPEND;
  EXPECT_EQ(control(file, FS_IOC_FSSETXATTR, extended).error, 0);
  EXPECT_EQ(flags(file) & (FS_NOATIME_FL | FS_APPEND_FL), static_cast<unsigned>(FS_NOATIME_FL | FS_APPEND_FL));
  const Reply reply = query(file, FS_IOC_FSGETXATTR, sizeof(fsxattr));
  EXPECT_EQ(reply.as<fsxattr>(sizeof(fuse_ioctl_out)).fsx_xflags,
            static_cast<unsigned>(FS_XFLAG_NOATIME | FS_XFLAG_APPEND));
  extended.fsx_xflags = 0;
  EXPECT_EQ(control(file, FS_IOC_FSSETXATTR, extended).error, 0);
  EXPECT_EQ(flags(file) & (FS_NOATIME_FL | FS_APPEND_FL), 0U);
  extended.fsx_projid = 5;
  EXPECT_EQ(control(file, FS_IOC_FSSETXATTR, extended).error, EOPNOTSUPP);
  extended = {};
  extended.fsx_xflags = FS_XFLAG_REALTIME;
  EXPECT_EQ(control(file, FS_IOC_FSSETXATTR, extended).error, EOPNOTSUPP);
}

TEST_F(IoctlOps, the_version_is_the_generation) {
  const Reply reply = query(file, FS_IOC_GETVERSION, 8);
  EXPECT_EQ(reply.as<std::uint32_t>(sizeof(fuse_ioctl_out)), served.lookup(1, "file").generation);
}

TEST_F(IoctlOps, unknown_ones_are_not_for_us) {
  EXPECT_EQ(query(file, 0x1234, 100).error, ENOTTY);
  EXPECT_EQ(query(file, FITRIM, 100).error, ENOTTY);
}

TEST_F(IoctlOps, going_read_only_is_for_root_on_the_root) {
  const auto read_only = static_cast<std::uint32_t>(protocol::MountMode::read_only);
  const auto writable = static_cast<std::uint32_t>(protocol::MountMode::writable);
  EXPECT_EQ(control(1, protocol::kSetMountMode, read_only, {1000, 1000}).error, EPERM);
  EXPECT_EQ(control(file, protocol::kSetMountMode, read_only).error, ENOTTY);
  EXPECT_EQ(control(1, protocol::kSetMountMode, std::uint32_t{7}).error, EINVAL);
  EXPECT_EQ(control(1, protocol::kSetMountMode, std::uint16_t{1}).error, EINVAL);

  EXPECT_EQ(control(1, protocol::kSetMountMode, read_only).error, 0);
  EXPECT_EQ(served.image.header("Filesystem state"), "clean");
  EXPECT_EQ(served.image.complaints(), "");
  EXPECT_EQ(kernel.ask(FUSE_MKDIR, 1, Body{}.add(fuse_mkdir_in{0755, 0}).text("x")).error, EROFS);
  EXPECT_EQ(control(1, protocol::kSetMountMode, writable).error, 0);
  served.make_directory(1, "x");
}

TEST_F(IoctlOps, the_volume_tells_its_numbers) {
  const auto out = exactly<fuse_statfs_out>(kernel.ask(FUSE_STATFS, 1)).st;
  EXPECT_EQ(out.bsize, out.frsize);
  EXPECT_GT(out.blocks, out.bfree);
  EXPECT_GE(out.bfree, out.bavail);
  EXPECT_GT(out.files, out.ffree);
  EXPECT_EQ(out.namelen, 255U);
}

}  // namespace
}  // namespace tests
