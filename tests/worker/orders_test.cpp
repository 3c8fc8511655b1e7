#include "worker/orders.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace {

using worker::Orders;
using worker::parse_orders;

using Arguments = std::vector<std::string>;

TEST(Orders, take_what_our_own_broker_sends) {
  const auto orders = parse_orders(Arguments{"ext4", "disk.img", "/mnt", "-o", "ro,errors=continue"});
  ASSERT_TRUE(orders);
  EXPECT_EQ(orders->type, "ext4");
  EXPECT_EQ(orders->source, "disk.img");
  EXPECT_EQ(orders->mount_point, "/mnt");
  EXPECT_EQ(orders->options, "ro,errors=continue");
  EXPECT_TRUE(orders->read_only);
  EXPECT_FALSE(orders->must_write);
}

TEST(Orders, take_mount_words_in_any_order_and_place) {
  const auto orders =
      parse_orders(Arguments{"ext4", "-n", "-osuid,noexec", "a", "-r", "b", "-o", "dev,x-a=b,rw", "-sv"});
  ASSERT_TRUE(orders);
  EXPECT_EQ(orders->source, "a");
  EXPECT_EQ(orders->mount_point, "b");
  EXPECT_EQ(orders->options, "suid,noexec,ro,dev,x-a=b,rw");
  EXPECT_EQ(orders->mount_flags, std::uint32_t{MS_NOEXEC});
  EXPECT_EQ(orders->table_options, "x-a=b");
  EXPECT_TRUE(orders->must_write);
  EXPECT_FALSE(orders->read_only);
}

TEST(Orders, are_nosuid_and_nodev_unless_told_otherwise) {
  EXPECT_EQ(parse_orders(Arguments{"ext4", "a", "b"})->mount_flags, std::uint32_t{MS_NOSUID | MS_NODEV});
  EXPECT_EQ(parse_orders(Arguments{"ext4", "a", "b", "-o", "dev,suid"})->mount_flags, 0U);
}

TEST(Orders, let_the_last_word_count) {
  EXPECT_FALSE(parse_orders(Arguments{"ext4", "a", "b", "-o", "rw,ro"})->must_write);
  EXPECT_TRUE(parse_orders(Arguments{"ext4", "a", "b", "-o", "rw,ro"})->read_only);
  EXPECT_TRUE(parse_orders(Arguments{"ext4", "a", "b", "-r", "-w"})->must_write);
}

TEST(Orders, pass_over_empty_words) {
  EXPECT_EQ(parse_orders(Arguments{"ext4", "a", "b", "-o", ",,acl,,"})->options, "acl");
  EXPECT_EQ(parse_orders(Arguments{"ext4", "a", "b", "-o", ""})->options, "");
}

TEST(Orders, refuse_what_they_do_not_understand) {
  const Arguments wrong[] = {{},
                             {"ext4"},
                             {"ext4", "a"},
                             {"ext4", "a", "b", "c"},
                             {"ext4", "a", "b", "-o"},
                             {"ext4", "a", "b", "-x"},
                             {"ext4", "a", "b", "--help"}};
  for (const auto& arguments : wrong) {
    const auto orders = parse_orders(arguments);
    ASSERT_FALSE(orders) << testing::PrintToString(arguments);
    EXPECT_EQ(orders.error().code, std::errc::invalid_argument);
  }
}

TEST(Orders, take_names_that_only_begin_or_end_oddly) {
  const auto orders = parse_orders(Arguments{"ext4", "-", "/a b\n"});
  ASSERT_TRUE(orders);
  EXPECT_EQ(orders->source, "-");
  EXPECT_EQ(orders->mount_point, "/a b\n");
}

}  // namespace
