#include <gtest/gtest.h>
#include <linux/stat.h>

#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

class AttributeOps : public testing::Test {
 protected:
  fuse_attr set(const fuse_setattr_in& in) {
    return exactly<fuse_attr_out>(kernel.ask(FUSE_SETATTR, file, Body{}.add(in))).attr;
  }
  ServedVolume served;
  FakeKernel& kernel = served.kernel;
  fuse_init_out agreed = kernel.initialise();
  std::uint64_t file = served.create(1, "file").nodeid;
};

TEST_F(AttributeOps, only_what_is_valid_changes) {
  fuse_setattr_in in{};
  in.valid = FATTR_UID;
  in.uid = 100'000;
  in.gid = 7;
  in.mode = 0;
  in.size = 99;
  const auto out = set(in);
  EXPECT_EQ(out.uid, 100'000U);
  EXPECT_EQ(out.gid, 0U);
  EXPECT_EQ(out.mode, S_IFREG | 0644U);
  EXPECT_EQ(out.size, 0U);
}

TEST_F(AttributeOps, times_with_nanoseconds_beyond_2038_and_before_1970) {
  fuse_setattr_in in{};
  in.valid = FATTR_ATIME | FATTR_MTIME | FATTR_CTIME;
  in.atime = static_cast<std::uint64_t>(-100);
  in.atimensec = 5;
  in.mtime = 6'000'000'000;
  in.mtimensec = 999'999'999;
  in.ctime = 1'000'000'000;
  const auto out = set(in);
  EXPECT_EQ(static_cast<std::int64_t>(out.atime), -100);
  EXPECT_EQ(out.atimensec, 5U);
  EXPECT_EQ(out.mtime, 6'000'000'000U);
  EXPECT_EQ(out.mtimensec, 999'999'999U);
  EXPECT_EQ(out.ctime, 1'000'000'000U);
  in.mtimensec = 1'000'000'000;
  EXPECT_EQ(kernel.ask(FUSE_SETATTR, file, Body{}.add(in)).error, EINVAL);
}

TEST_F(AttributeOps, now_is_ours_to_say) {
  fuse_setattr_in in{};
  in.valid = FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME | FATTR_MTIME_NOW;
  const auto out = set(in);
  EXPECT_NEAR(static_cast<double>(out.atime), static_cast<double>(::time(nullptr)), 60);
  EXPECT_NEAR(static_cast<double>(out.mtime), static_cast<double>(::time(nullptr)), 60);
}

TEST_F(AttributeOps, size_and_privileges) {
  served.write(file, 0, "12345678");
  fuse_setattr_in in{};
  in.valid = FATTR_MODE;
  in.mode = S_IFREG | 06777;
  EXPECT_EQ(set(in).mode, S_IFREG | 06777U);
  in = {};
  in.valid = FATTR_SIZE | FATTR_KILL_SUIDGID;
  in.size = 4;
  const auto out = set(in);
  EXPECT_EQ(out.size, 4U);
  EXPECT_EQ(out.mode, S_IFREG | 0777U);
  EXPECT_EQ(served.read(file, 0, 100), "1234");
  in.size = ~std::uint64_t{0};
  EXPECT_EQ(kernel.ask(FUSE_SETATTR, file, Body{}.add(in)).error, EFBIG);
}

TEST_F(AttributeOps, statx_tells_the_birth) {
  const auto out = exactly<worker::fuse::abi::StatxOut>(kernel.ask(52, file, Body{}.add(worker::fuse::abi::StatxIn{})));
  EXPECT_TRUE(out.stat.mask & STATX_BTIME);
  EXPECT_NEAR(static_cast<double>(out.stat.btime.seconds), static_cast<double>(::time(nullptr)), 60);
  EXPECT_EQ(out.stat.ino, file);
  EXPECT_EQ(out.stat.mode, S_IFREG | 0644);
}

}  // namespace
}  // namespace tests
