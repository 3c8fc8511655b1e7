#include "worker/disk/crc32c.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "worker/disk/ext2fs.h"

namespace worker::disk {
namespace {

std::uint32_t usual(std::span<const std::byte> bytes) { return ~crc32c(~0U, bytes); }

TEST(Crc32c, gives_the_published_values) {
  constexpr std::string_view digits = "123456789";
  EXPECT_EQ(usual(std::as_bytes(std::span{digits})), 0xE3069283U);
  std::vector<std::byte> bytes(32);
  EXPECT_EQ(usual(bytes), 0x8A9136AAU);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
  EXPECT_EQ(usual(bytes), 0x62A8AB43U);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(usual(bytes), 0x46DD794EU);
}

TEST(Crc32c, agrees_with_the_table_and_with_the_library_at_every_length_and_alignment) {
  using Function = __u32 (*)(__u32, const unsigned char*, size_t);
  const auto library = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "ext2fs_crc32c_le"));
  ASSERT_NE(library, nullptr);
  ASSERT_NE(library, &ext2fs_crc32c_le);
  std::mt19937 random{1};
  std::vector<std::byte> bytes(300);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  for (std::size_t from = 0; from < 9; ++from)
    for (std::size_t length = 0; length < 270; ++length) {
      const auto part = std::span{bytes}.subspan(from, length);
      const auto seed = static_cast<std::uint32_t>(random());
      const std::uint32_t expected = library(seed, reinterpret_cast<const unsigned char*>(part.data()), length);
      ASSERT_EQ(crc32c(seed, part), expected);
      ASSERT_EQ(crc32c_by_table(seed, part), expected);
    }
}

TEST(Crc32c, is_what_the_library_itself_calls) {
  EXPECT_EQ(::dlsym(RTLD_DEFAULT, "ext2fs_crc32c_le"), reinterpret_cast<void*>(&ext2fs_crc32c_le));
}

}  // namespace
}  // namespace worker::disk
