#include "worker/volume/acl.h"

#include <gtest/gtest.h>

#include <random>

#include "worker/disk/ext2_errors.h"

namespace worker::volume {
namespace {

using Tag = Acl::Tag;
using Bytes = std::vector<std::byte>;

struct Wanted {
  unsigned tag, permissions;
  std::uint32_t id = 0xFFFFFFFF;
};

void put(Bytes& bytes, std::uint32_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

Bytes request(const std::vector<Wanted>& entries, std::uint32_t version = 2) {
  Bytes bytes;
  put(bytes, version, 4);
  for (const Wanted& entry : entries) {
    put(bytes, entry.tag, 2);
    put(bytes, entry.permissions, 2);
    put(bytes, entry.id, 4);
  }
  return bytes;
}

const std::vector<Wanted> kMinimal{{1, 6}, {4, 4}, {0x20, 0}};
const std::vector<Wanted> kExtended{{1, 7}, {2, 6, 1000}, {2, 5, 1001}, {4, 5}, {8, 4, 50}, {0x10, 6}, {0x20, 1}};

TEST(Acl, translates_between_its_two_forms_and_back) {
  for (const auto& entries : {kMinimal, kExtended}) {
    const auto acl = Acl::from_request(request(entries));
    ASSERT_TRUE(acl.ok());
    EXPECT_EQ(acl->to_request(), request(entries));
    const Bytes stored = acl->to_volume();
    const auto again = Acl::from_volume(stored);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->to_request(), request(entries));
  }
  // A header of 4, 4 entries without a name of 4, 3 with one of 8.
  EXPECT_EQ(Acl::from_request(request(kExtended))->to_volume().size(), 4u + 4 * 4 + 3 * 8);
}

TEST(Acl, refuses_what_posix_does_not_allow) {
  const std::vector<std::vector<Wanted>> bad{
      {},
      {{1, 6}, {4, 4}},                                            // nobody says what others may
      {{1, 6}, {1, 6}, {4, 4}, {0x20, 0}},                         // two owners
      {{4, 4}, {1, 6}, {0x20, 0}},                                 // out of order
      {{1, 6}, {2, 6, 1000}, {4, 4}, {0x20, 0}},                   // named without a mask
      {{1, 8}, {4, 4}, {0x20, 0}},                                 // no such permission
      {{1, 6}, {2, 6, 0xFFFFFFFF}, {4, 4}, {0x10, 7}, {0x20, 0}},  // no such user
      {{1, 6}, {3, 6, 1000}, {4, 4}, {0x20, 0}},                   // no such kind
      {{1, 6}, {4, 4}, {0x20, 0}, {0x40, 0}},
      {{0, 6}, {1, 6}, {4, 4}, {0x20, 0}},
  };
  for (const auto& entries : bad) EXPECT_FALSE(Acl::from_request(request(entries)).ok());
  EXPECT_FALSE(Acl::from_request(request(kMinimal, 1)).ok());
  EXPECT_FALSE(Acl::from_volume(request(kMinimal, 2)).ok());
}

TEST(Acl, refuses_every_cut_and_survives_every_byte) {
  const Bytes whole = request(kExtended), stored = Acl::from_request(whole)->to_volume();
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(Acl::from_request(std::span{whole}.first(size)).ok()) << size;
  for (std::size_t size = 0; size < stored.size(); ++size)
    EXPECT_FALSE(Acl::from_volume(std::span{stored}.first(size)).ok()) << size;
  std::minstd_rand random{1};
  for (unsigned round = 0; round < 20000; ++round) {
    Bytes spoilt = stored;
    spoilt[random() % spoilt.size()] = static_cast<std::byte>(random());
    if (round % 3 == 0) spoilt.resize(random() % (spoilt.size() + 1));
    const auto acl = Acl::from_volume(spoilt);
    if (!acl.ok()) continue;
    EXPECT_EQ(acl->to_volume(), spoilt);
  }
}

TEST(Acl, stands_for_mode_bits) {
  const auto minimal = Acl::from_request(request(kMinimal)), extended = Acl::from_request(request(kExtended));
  EXPECT_FALSE(minimal->extended());
  EXPECT_EQ(minimal->mode_bits(), 0640u);
  EXPECT_TRUE(extended->extended());
  EXPECT_EQ(extended->mode_bits(), 0761u);
}

TEST(Acl, a_new_file_gets_no_more_than_was_asked_for) {
  auto extended = Acl::from_request(request(kExtended));
  extended->restrict_to(0644);
  EXPECT_EQ(extended->mode_bits(), 0640u);
  // The mask takes the cut; what groups and users are named for stays.
  EXPECT_EQ(extended->entries()[1].permissions, 6);
  EXPECT_EQ(extended->entries()[3].permissions, 5);
  auto minimal = Acl::from_request(request({{1, 7}, {4, 7}, {0x20, 7}}));
  minimal->restrict_to(0751);
  EXPECT_EQ(minimal->mode_bits(), 0751u);
}

TEST(Acl, chmod_changes_owner_mask_and_others) {
  auto acl = Acl::from_request(request(kExtended));
  acl->follow(0417);
  EXPECT_EQ(acl->mode_bits(), 0417u);
  EXPECT_EQ(acl->entries()[3].permissions, 5);
  EXPECT_EQ(acl->entries()[5].permissions, 1);
}

}  // namespace
}  // namespace worker::volume
