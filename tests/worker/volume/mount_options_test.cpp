#include "worker/volume/mount_options.h"

#include <gtest/gtest.h>

namespace worker::volume {
namespace {

MountOptions parse(std::string_view text) {
  auto options = parse_mount_options(text);
  EXPECT_TRUE(options.ok()) << text << ": " << (options.ok() ? "" : options.error().message());
  return options.ok() ? *options : MountOptions{};
}

std::string refusal(std::string_view text) {
  const auto options = parse_mount_options(text);
  return options.ok() ? "accepted" : options.error().detail;
}

TEST(MountOptions, after_sloppy_unknown_words_are_ignored) {
  const auto options = parse_mount_options("sloppy,frobnicate,errors=perhaps,noacl");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->ignored, (std::vector<std::string>{"frobnicate", "errors=perhaps"}));
  EXPECT_FALSE(options->acl);
}

TEST(MountOptions, nothing_gives_the_defaults) {
  for (const char* text : {"", ",", ",,,"}) {
    const auto options = parse(text);
    EXPECT_FALSE(options.read_only);
    EXPECT_TRUE(options.acl);
    EXPECT_EQ(options.commit_seconds, 5U);
    EXPECT_EQ(options.errors, ErrorPolicy::from_superblock);
  }
}

TEST(MountOptions, each_honoured_word_sets_its_field_and_the_last_one_wins) {
  EXPECT_TRUE(parse("ro").read_only);
  EXPECT_FALSE(parse("ro,rw").read_only);
  EXPECT_TRUE(parse("noload").no_recovery);
  EXPECT_TRUE(parse("norecovery,rw").read_only);
  EXPECT_EQ(parse("errors=continue").errors, ErrorPolicy::go_on);
  EXPECT_EQ(parse("errors=panic,errors=remount-ro").errors, ErrorPolicy::remount_read_only);
  EXPECT_EQ(parse("errors=panic").errors, ErrorPolicy::panic);
  EXPECT_EQ(parse("commit=30").commit_seconds, 30U);
  EXPECT_EQ(parse("commit=0").commit_seconds, 5U);
  EXPECT_FALSE(parse("noacl").acl);
  EXPECT_TRUE(parse("noacl,acl").acl);
  EXPECT_FALSE(parse("nouser_xattr").user_xattr);
  EXPECT_TRUE(parse("minixdf").minix_df);
  EXPECT_FALSE(parse("minixdf,bsddf").minix_df);
  EXPECT_EQ(parse("offset=16777216").window_offset, 16777216U);
  EXPECT_EQ(parse("offset=1MiB,sizelimit=2G").window_offset, 1U << 20);
  EXPECT_EQ(parse("offset=1MiB,sizelimit=2G").window_size, 2ULL << 30);
}

TEST(MountOptions, kernel_words_without_meaning_here_are_listed) {
  EXPECT_EQ(parse("data=ordered,barrier,barrier=1,nodelalloc,ro,stripe=8").ignored,
            (std::vector<std::string>{"data=ordered", "barrier", "barrier=1", "nodelalloc", "stripe=8"}));
}

TEST(MountOptions, words_of_mount_and_of_the_kernel_s_mount_pass_silently) {
  const auto options = parse(
      "nosuid,nodev,noexec,noatime,relatime,user=joe,_netdev,nofail,x-systemd.automount,X-a=b,"
      "allow_other,fsname=/dev/sda1,context=\"system_u:object_r:tmp_t:s0:c1,c2\",defaults");
  EXPECT_TRUE(options.ignored.empty());
  EXPECT_FALSE(options.read_only);
}

TEST(MountOptions, an_unknown_word_or_value_is_named) {
  EXPECT_EQ(refusal("ro,frobnicate,acl"), "frobnicate");
  EXPECT_EQ(refusal("rw+"), "rw+");
  EXPECT_EQ(refusal("acl=yes"), "acl=yes");
  EXPECT_EQ(refusal("errors=explode"), "errors=explode");
  EXPECT_EQ(refusal("commit"), "commit");
  for (const char* bad : {"offset=", "offset=x", "offset=-1", "offset=1X", "offset=4k", "offset=0x1000", "offset=1KB",
                          "offset=99999999999999999999", "offset=18446744073709551615K"})
    EXPECT_EQ(refusal(bad), std::string{bad});
  EXPECT_EQ(refusal("commit=99999999999"), "commit=99999999999");
}

}  // namespace
}  // namespace worker::volume
