#include "protocol/argv_memfd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "protocol/errors.h"
#include "tests/support/bytes.h"

namespace {

using namespace protocol;
using support::bytes;
using Arguments = std::vector<std::string>;

const Arguments kArguments{"ext4", "/var/disk.img", "/mnt", "-o", "ro,errors=remount-ro"};

TEST(ArgumentFile, is_read_as_it_was_made) {
  const auto file = make_argument_file(kArguments);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*read_argument_file(file->get()), kArguments);
  EXPECT_EQ(*read_argument_file(file->get()), kArguments) << "reading moves nothing";
}

TEST(ArgumentFile, cannot_be_changed) {
  const auto file = make_argument_file(kArguments);
  EXPECT_EQ(::fcntl(file->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  const int seals = ::fcntl(file->get(), F_GET_SEALS);
  EXPECT_EQ(seals & (F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK),
            F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
  const UniqueFd writable{::open(("/proc/self/fd/" + std::to_string(file->get())).c_str(), O_RDWR | O_CLOEXEC)};
  EXPECT_TRUE(!writable || ::pwrite(writable.get(), "x", 1, 0) < 0);
}

TEST(ArgumentFile, libfuses_helper_leaves_a_hole_in_the_table) {
  // Captured: five arguments of a helper that was called with seven.
  const auto file = bytes(
      "41524753 00000005 00000040 00000006 00000046 00000004 0000004a 00000005 0000004f 00000003 00000052 0000000b"
      "00000000 00000000 00000000 00000000"
      "'ptest' 00 'img' 00 '/mnt' 00 '-o' 00 'ro,foo=bar' 00");
  EXPECT_EQ(*decode_arguments(file), (Arguments{"ptest", "img", "/mnt", "-o", "ro,foo=bar"}));
}

TEST(ArgumentFile, refuses_what_it_would_not_write) {
  EXPECT_FALSE(encode_arguments({}).ok());
  EXPECT_FALSE(encode_arguments(Arguments{std::string("a\0b", 3)}).ok());
  EXPECT_FALSE(encode_arguments(Arguments{std::string(kMaximumArguments, 'a')}).ok());
  EXPECT_TRUE(encode_arguments(Arguments{std::string(kMaximumArguments - 17, 'a')}).ok());
}

TEST(ArgumentFile, refuses_every_truncation) {
  const auto file = *encode_arguments(kArguments);
  for (std::size_t length = 0; length < file.size(); ++length)
    EXPECT_FALSE(decode_arguments(std::span{file}.first(length)).ok()) << length;
}

TEST(ArgumentFile, refuses_lies) {
  EXPECT_FALSE(decode_arguments(bytes("41524754 00000001 00000010 00000002 'a' 00")).ok()) << "other magic";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000000")).ok()) << "no argument";
  EXPECT_FALSE(decode_arguments(bytes("41524753 ffffffff 00000010 00000002 'a' 00")).ok()) << "more than fit";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000001 ffffffff 00000002 'a' 00")).ok()) << "position outside";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000001 00000010 ffffffff 'a' 00")).ok()) << "length outside";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000001 00000010 00000000 'a' 00")).ok()) << "no room for a NUL";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000001 00000010 00000001 'a' 00")).ok()) << "NUL outside";
  EXPECT_FALSE(decode_arguments(bytes("41524753 00000001 00000010 00000003 'a' 00 00")).ok()) << "NUL inside";
  EXPECT_TRUE(decode_arguments(bytes("41524753 00000001 00000010 00000002 'a' 00")).ok());
}

TEST(ArgumentFile, overlapping_strings_cannot_multiply_its_size) {
  std::vector<std::byte> file = bytes("41524753 00001000");
  for (int i = 0; i < 0x1000; ++i) {
    const auto entry = bytes("00008008 00010000");
    file.insert(file.end(), entry.begin(), entry.end());
  }
  file.resize(file.size() + 0xffff, std::byte{'a'});
  file.push_back(std::byte{0});
  EXPECT_FALSE(decode_arguments(file).ok());
}

TEST(ArgumentFile, refuses_files_that_lie_about_themselves) {
  const UniqueFd empty{::memfd_create("x", MFD_CLOEXEC)};
  EXPECT_FALSE(read_argument_file(empty.get()).ok());
  ASSERT_EQ(::ftruncate(empty.get(), kMaximumArguments + 1), 0);
  EXPECT_FALSE(read_argument_file(empty.get()).ok()) << "too large";
  const UniqueFd device{::open("/dev/zero", O_RDONLY | O_CLOEXEC)};
  EXPECT_FALSE(read_argument_file(device.get()).ok()) << "endless";
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reading{ends[0]}, writing{ends[1]};
  EXPECT_FALSE(read_argument_file(reading.get()).ok()) << "a pipe would block";
  EXPECT_FALSE(read_argument_file(-1).ok());
}

}  // namespace
