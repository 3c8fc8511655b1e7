#include "worker/fuse/init.h"

#include <gtest/gtest.h>

#include <set>

#include "worker/fuse/requests.h"

namespace worker::fuse {
namespace {

fuse_init_in offer(std::uint64_t flags, std::uint32_t minor = 45) {
  fuse_init_in in{};
  in.major = FUSE_KERNEL_VERSION;
  in.minor = minor;
  in.max_readahead = 131072;
  in.flags = static_cast<std::uint32_t>(flags);
  in.flags2 = static_cast<std::uint32_t>(flags >> 32);
  return in;
}

TEST(Init, takes_nothing_that_was_not_offered) {
  EXPECT_EQ(negotiate(offer(0), {}).flags, 0U);
  EXPECT_EQ(negotiate(offer(FUSE_WRITEBACK_CACHE), {}).flags, std::uint64_t{FUSE_WRITEBACK_CACHE});
}

TEST(Init, takes_exactly_the_table_out_of_every_bit) {
  std::uint64_t known = 0;
  for (const Feature& feature : features()) known |= feature.bit;
  EXPECT_EQ(negotiate(offer(~std::uint64_t{0}), {}).flags, known);
}

TEST(Init, reads_upper_bits_only_where_the_kernel_says_they_are_there) {
  EXPECT_EQ(negotiate(offer(~std::uint64_t{0} & ~std::uint64_t{FUSE_INIT_EXT}), {}).flags >> 32, 0U);
}

TEST(Init, leaves_acls_to_nobody_without_them) {
  EXPECT_FALSE(negotiate(offer(~std::uint64_t{0}), {.acl = false}).has(FUSE_POSIX_ACL));
  EXPECT_TRUE(negotiate(offer(~std::uint64_t{0}), {.acl = true}).has(FUSE_POSIX_ACL));
}

TEST(Init, a_bit_that_libfuse_does_not_know_changes_only_requests_that_we_decode) {
  std::set<std::uint64_t> seen;
  for (const Feature& feature : features()) {
    EXPECT_TRUE(seen.insert(feature.bit).second) << feature.why;
    EXPECT_FALSE(feature.why.empty());
    for (const std::uint32_t opcode : feature.changed_for_us) {
      ASSERT_NE(find_kind(opcode), nullptr) << feature.why;
      EXPECT_EQ(find_kind(opcode)->decoder, Decoder::ours) << feature.why << ": " << find_kind(opcode)->name;
    }
    for (const std::uint32_t opcode : feature.changed_for_library) {
      ASSERT_NE(find_kind(opcode), nullptr) << feature.why;
      EXPECT_EQ(find_kind(opcode)->decoder, Decoder::library) << feature.why << ": " << find_kind(opcode)->name;
    }
  }
}

TEST(Init, never_takes_what_would_break_us) {
  const auto agreed = negotiate(offer(~std::uint64_t{0}), {});
  constexpr std::uint64_t kAllowIdmap = 1ULL << 40, kOverIoUring = 1ULL << 41;
  for (const std::uint64_t bit :
       {std::uint64_t{FUSE_POSIX_LOCKS}, std::uint64_t{FUSE_FLOCK_LOCKS}, std::uint64_t{FUSE_AUTO_INVAL_DATA},
        std::uint64_t{FUSE_SUBMOUNTS}, std::uint64_t{FUSE_NO_OPEN_SUPPORT}, std::uint64_t{FUSE_MAP_ALIGNMENT},
        std::uint64_t{FUSE_SECURITY_CTX}, kAllowIdmap, kOverIoUring}) {
    EXPECT_FALSE(agreed.has(bit)) << bit;
  }
}

TEST(Init, encodes_one_mebibyte_requests_and_nanoseconds) {
  const auto out = encode_init(negotiate(offer(~std::uint64_t{0}), {}));
  EXPECT_EQ(out.major, 7U);
  EXPECT_EQ(out.max_write, 1U << 20);
  EXPECT_EQ(out.max_pages * static_cast<unsigned>(::getpagesize()), 1U << 20);
  EXPECT_EQ(out.time_gran, 1U);
  EXPECT_EQ(out.max_readahead, 131072U);
  EXPECT_LT(out.congestion_threshold, out.max_background);
  EXPECT_EQ(out.minor, 45U);
  EXPECT_EQ(encode_init(negotiate(offer(0, 38), {})).minor, 38U);
  EXPECT_EQ(encode_init(negotiate(offer(0), {})).max_pages, 0U);
}

}  // namespace
}  // namespace worker::fuse
