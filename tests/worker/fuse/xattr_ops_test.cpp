#include <gtest/gtest.h>
#include <linux/xattr.h>

#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

class XattrOps : public testing::Test {
 protected:
  int set(std::string_view name, std::string_view value, std::uint32_t flags = 0) {
    const fuse_setxattr_in in{static_cast<std::uint32_t>(value.size()), flags, 0, 0};
    return kernel.ask(FUSE_SETXATTR, file, Body{}.add(in).text(name).raw(value)).error;
  }
  Reply get(std::string_view name, std::uint32_t size) {
    return kernel.ask(FUSE_GETXATTR, file, Body{}.add(fuse_getxattr_in{size, 0}).text(name));
  }
  Reply list(std::uint32_t size) { return kernel.ask(FUSE_LISTXATTR, file, Body{}.add(fuse_getxattr_in{size, 0})); }
  ServedVolume served;
  FakeKernel& kernel = served.kernel;
  fuse_init_out agreed = kernel.initialise();
  std::uint64_t file = served.create(1, "file").nodeid;
};

TEST_F(XattrOps, a_value_is_measured_then_read) {
  EXPECT_EQ(set("user.colour", "blue"), 0);
  EXPECT_EQ(exactly<fuse_getxattr_out>(get("user.colour", 0)).size, 4U);
  EXPECT_EQ(get("user.colour", 4).text(), "blue");
  EXPECT_EQ(get("user.colour", 100).text(), "blue");
  EXPECT_EQ(get("user.colour", 3).error, ERANGE);
  EXPECT_EQ(get("user.other", 100).error, ENODATA);
}

TEST_F(XattrOps, names_are_listed_with_their_ends) {
  EXPECT_EQ(exactly<fuse_getxattr_out>(list(0)).size, 0U);
  EXPECT_EQ(set("user.a", ""), 0);
  EXPECT_EQ(set("trusted.b", "x"), 0);
  EXPECT_EQ(exactly<fuse_getxattr_out>(list(0)).size, 17U);
  EXPECT_EQ(list(100).body.size(), 17U);
  EXPECT_EQ(list(16).error, ERANGE);
}

TEST_F(XattrOps, create_and_replace) {
  EXPECT_EQ(set("user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(set("user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(set("user.a", "2", XATTR_CREATE), EEXIST);
  EXPECT_EQ(set("user.a", "2", XATTR_REPLACE), 0);
  EXPECT_EQ(set("user.a", "2", XATTR_REPLACE | XATTR_CREATE), EINVAL);
  EXPECT_EQ(set("user.a", "2", 64), EINVAL);
  EXPECT_EQ(get("user.a", 10).text(), "2");
  EXPECT_EQ(kernel.ask(FUSE_REMOVEXATTR, file, named("user.a")).error, 0);
  EXPECT_EQ(kernel.ask(FUSE_REMOVEXATTR, file, named("user.a")).error, ENODATA);
}

TEST_F(XattrOps, what_cannot_be_is_refused) {
  EXPECT_EQ(set("", "x"), EINVAL);
  EXPECT_EQ(set(std::string(256, 'n'), "x"), ERANGE);
  EXPECT_EQ(set("nonsense", "x"), EOPNOTSUPP);
  EXPECT_EQ(set("user.large", std::string(65537, 'x')), E2BIG);
  EXPECT_EQ(set("user.large", std::string(65536, 'x')), ENOSPC);
  const fuse_setxattr_in in{100, 0, 0, 0};
  EXPECT_EQ(kernel.ask(FUSE_SETXATTR, file, Body{}.add(in).text("user.short").raw("x")).error, EINVAL);
  EXPECT_EQ(kernel.ask(FUSE_SETXATTR, file, Body{}.add(in).raw("user.endless")).error, EINVAL);
}

}  // namespace
}  // namespace tests
