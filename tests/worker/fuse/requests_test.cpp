#include "worker/fuse/requests.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

#include "tests/support/fake_kernel.h"

namespace worker::fuse {
namespace {

using tests::Body;

int check(std::uint32_t opcode, const Body& body) { return check_request(*find_kind(opcode), body.bytes()); }

TEST(Requests, every_row_is_complete) {
  std::set<std::uint32_t> seen;
  for (const RequestKind& kind : request_kinds()) {
    EXPECT_TRUE(seen.insert(kind.opcode).second) << kind.name;
    EXPECT_EQ(find_kind(kind.opcode), &kind);
    const bool serves = kind.serve != nullptr;
    EXPECT_EQ(serves, kind.decoder == Decoder::ours && kind.opcode != FUSE_INIT) << kind.name;
  }
  EXPECT_EQ(find_kind(0), nullptr);
  EXPECT_EQ(find_kind(63), nullptr);
  EXPECT_EQ(find_kind(4096), nullptr);
  EXPECT_EQ(find_kind(~0U), nullptr);
}

TEST(Requests, every_opcode_of_the_system_header_has_a_row) {
  for (std::uint32_t opcode = FUSE_LOOKUP; opcode <= FUSE_TMPFILE; ++opcode) {
    if (opcode == 7 || opcode == 19) continue;  // never given out
    EXPECT_NE(find_kind(opcode), nullptr) << opcode;
  }
}

TEST(Requests, a_body_cut_anywhere_in_its_fixed_part_is_refused) {
  for (const RequestKind& kind : request_kinds()) {
    const std::vector<std::byte> zeros(kind.fixed);
    for (std::size_t length = 0; length < kind.fixed; ++length) {
      EXPECT_NE(check_request(kind, std::span{zeros}.first(length)), 0) << kind.name << " cut to " << length;
    }
  }
}

TEST(Requests, names_end_inside_the_request) {
  EXPECT_EQ(check(FUSE_LOOKUP, Body{}.text("name")), 0);
  EXPECT_EQ(check(FUSE_LOOKUP, Body{}.raw("name")), EINVAL);
  EXPECT_EQ(check(FUSE_LOOKUP, Body{}), EINVAL);
  EXPECT_EQ(check(FUSE_RENAME, Body{}.add(fuse_rename_in{1}).text("one").raw("two")), EINVAL);
  EXPECT_EQ(check(FUSE_RENAME, Body{}.add(fuse_rename_in{1}).text("one")), EINVAL);
  EXPECT_EQ(check(FUSE_RENAME, Body{}.add(fuse_rename_in{1}).text("one").text("two")), 0);
}

TEST(Requests, names_are_names) {
  for (const std::string name : {"", "a/b", "/", ".", ".."})
    EXPECT_EQ(check(FUSE_UNLINK, Body{}.text(name)), EINVAL) << name;
  for (const std::string name : {".", "..", "...", "\xff\x01"})
    EXPECT_EQ(check(FUSE_LOOKUP, Body{}.text(name)), 0) << name;
  EXPECT_EQ(check(FUSE_LOOKUP, Body{}.text(std::string(255, 'x'))), 0);
  EXPECT_EQ(check(FUSE_LOOKUP, Body{}.text(std::string(256, 'x'))), ENAMETOOLONG);
  EXPECT_EQ(check(FUSE_REMOVEXATTR, Body{}.text(std::string(256, 'x'))), ERANGE);
  EXPECT_EQ(check(FUSE_SYMLINK, Body{}.text("name").text("../any/where")), 0);
  EXPECT_EQ(check(FUSE_SYMLINK, Body{}.text("name").text("")), EINVAL);
}

TEST(Requests, data_is_as_long_as_announced) {
  fuse_write_in write{};
  write.size = 4;
  EXPECT_EQ(check(FUSE_WRITE, Body{}.add(write).raw("abcd")), 0);
  EXPECT_EQ(check(FUSE_WRITE, Body{}.add(write).raw("abc")), EINVAL);
  write.size = ~0U;
  EXPECT_EQ(check(FUSE_WRITE, Body{}.add(write).raw("abc")), EINVAL);
  EXPECT_EQ(check(FUSE_BATCH_FORGET, Body{}.add(fuse_batch_forget_in{1, 0}).add(fuse_forget_one{1, 1})), 0);
  EXPECT_EQ(check(FUSE_BATCH_FORGET, Body{}.add(fuse_batch_forget_in{~0U, 0}).add(fuse_forget_one{1, 1})), EINVAL);
  fuse_ioctl_in control{};
  control.in_size = 9;
  EXPECT_EQ(check(FUSE_IOCTL, Body{}.add(control).raw("12345678")), EINVAL);
}

}  // namespace
}  // namespace worker::fuse
