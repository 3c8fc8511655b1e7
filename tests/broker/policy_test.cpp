#include "broker/policy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace {

using namespace broker;

struct Case {
  MountPlan plan;
  Source source;
  MountPoint where;

  explicit Case(SourceKind kind) {
    plan.source = "given.img";
    plan.mount_point = "given";
    plan.allow_other = true;
    plan.mount_attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    plan.worker_options = {"errors=continue"};
    source.kind = kind;
    source.path = kind == SourceKind::block_device ? "/dev/vdb" : "/canonical/given.img";
    where.path = "/canonical/given";
  }
  Grants grants(const LoopDevice* loop = nullptr) const { return make_grants(plan, source, loop, where); }
};

TEST(Policy, an_image_written_to_travels_over_a_loop_device) {
  Case image{SourceKind::image_file};
  EXPECT_TRUE(needs_loop(image.plan, image.source));
  image.source.read_only = true;
  EXPECT_FALSE(needs_loop(image.plan, image.source));
  image.source.read_only = false;
  image.plan.no_loop = true;
  EXPECT_FALSE(needs_loop(image.plan, image.source));

  Case device{SourceKind::block_device};
  EXPECT_FALSE(needs_loop(device.plan, device.source));
  device.source.whole = false;
  EXPECT_TRUE(needs_loop(device.plan, device.source)) << "a window needs one";
}

TEST(Policy, block_mounts_are_offered_where_there_is_a_block_device_to_write) {
  Case image{SourceKind::image_file};
  LoopDevice loop;
  loop.path = "/dev/loop3";
  const auto looped = image.grants(&loop);
  EXPECT_TRUE(looped.block);
  EXPECT_EQ(looped.block_source, "/dev/loop3");
  EXPECT_EQ(hello_flags(looped), protocol::kHelloAllowOther | protocol::kHelloBlock);
  EXPECT_FALSE(image.grants().block);
  EXPECT_FALSE(image.grants().source_is_block);

  Case device{SourceKind::block_device};
  EXPECT_TRUE(device.grants().block);
  EXPECT_EQ(device.grants().block_source, "/dev/vdb");
  device.plan.no_loop = true;
  EXPECT_FALSE(device.grants().block);
  EXPECT_TRUE(device.grants().source_is_block);
  device.plan.no_loop = false;
  device.source.read_only = true;
  EXPECT_FALSE(device.grants().block);
}

TEST(Policy, the_worker_gets_its_own_words_and_the_window_only_if_nobody_else_applies_it) {
  Case image{SourceKind::image_file};
  image.source.whole = false;
  image.source.window = {1024, 4096};
  EXPECT_EQ(image.grants().arguments, (std::vector<std::string>{"ext4", "given.img", "given", "-o",
                                                                "errors=continue,offset=1024,sizelimit=4096"}));
  LoopDevice loop;
  EXPECT_EQ(image.grants(&loop).arguments.back(), "errors=continue");
  image.plan.worker_options.clear();
  EXPECT_EQ(image.grants(&loop).arguments.size(), 3u) << "nothing to say, no -o";
}

TEST(Policy, the_mount_table_shows_what_the_caller_named_or_what_was_opened) {
  Case image{SourceKind::image_file};
  EXPECT_EQ(image.grants().specification.source, "/canonical/given.img");
  EXPECT_EQ(image.grants().specification.subtype, "ext4");
  image.plan.fsname = "backup";
  image.plan.subtype = "ext2";
  EXPECT_EQ(image.grants().specification.source, "backup");
  EXPECT_EQ(image.grants().specification.subtype, "ext2");
}

TEST(Policy, mount_flags_follow_the_allow_list_bit_by_bit) {
  const std::uint32_t allowed = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_DIRSYNC |
                                MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME | MS_NOSYMFOLLOW;
  for (unsigned bit = 0; bit < 32; ++bit) {
    MountSpecification specification;
    const auto flag = 1u << bit;
    EXPECT_EQ(take_mount_flags(flag, specification), (allowed & flag) != 0 ? 0 : EPERM) << std::hex << flag;
  }
}

TEST(Policy, the_stricter_of_caller_and_worker_holds) {
  struct {
    std::uint64_t caller;
    std::uint32_t worker;
    std::uint64_t result;
  } const cases[] = {
      {0, 0, 0},
      {MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV},
      {0, MS_NOSUID | MS_NODEV, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOSYMFOLLOW, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW},
      {MOUNT_ATTR_RDONLY, 0, MOUNT_ATTR_RDONLY},
      {0, MS_RDONLY, MOUNT_ATTR_RDONLY},
      {MOUNT_ATTR_NOATIME, MS_STRICTATIME, MOUNT_ATTR_NOATIME},
      {MOUNT_ATTR_STRICTATIME, MS_NOATIME, MOUNT_ATTR_NOATIME},
      {0, MS_STRICTATIME, 0},
      {MOUNT_ATTR_STRICTATIME, MS_RELATIME, MOUNT_ATTR_STRICTATIME},
  };
  for (const auto& test : cases) {
    MountSpecification specification;
    specification.attributes = test.caller;
    EXPECT_EQ(take_mount_flags(test.worker, specification), 0u);
    EXPECT_EQ(specification.attributes, test.result) << std::hex << test.caller << " " << test.worker;
  }
}

TEST(Policy, options_follow_a_table) {
  Case image{SourceKind::image_file};
  LoopDevice loop;
  const auto grants = image.grants(&loop);
  struct {
    const char* list;
    std::uint32_t error;
  } const cases[] = {
      {"default_permissions", 0},
      {"default_permissions=1", EINVAL},
      {"allow_other", 0},
      {"max_read=4096", 0},
      {"max_read", EINVAL},
      {"max_read=", EINVAL},
      {"max_read=-1", EINVAL},
      {"max_read=4294967296", EINVAL},
      {"blksize=512", 0},
      {"blksize=65536", 0},
      {"blksize=256", EINVAL},
      {"blksize=131072", EINVAL},
      {"blksize=1000", EINVAL},
      {"fd=3", 0},
      {"rootmode=40000", 0},
      {"user_id=0,group_id=0", 0},
      {"subtype=\"a,b\"", 0},
      {"source=/etc/shadow", 0},
      {"", 0},
      {",,", 0},
      {"context=x", EINVAL},
      {"max_read=\"8192\"", 0},
      {"allow_other ", EINVAL},
      {"a,b", EINVAL},
      {"subtype=\"a,frob", 0},
  };
  for (const auto& test : cases) {
    MountSpecification specification;
    specification.block = true;
    EXPECT_EQ(take_options(grants, test.list, specification), test.error) << test.list;
    EXPECT_TRUE(specification.default_permissions);
    EXPECT_TRUE(specification.source.empty()) << "never the worker's";
  }
}

TEST(Policy, refused_options_change_nothing) {
  MountSpecification specification;
  EXPECT_EQ(take_options({}, "max_read=4096,unknown", specification), std::uint32_t{EINVAL});
  EXPECT_EQ(specification.max_read, 0u);
  EXPECT_EQ(take_options({}, "blksize=512", specification), std::uint32_t{EINVAL}) << "of block mounts only";
}

TEST(Policy, allow_other_is_the_callers_to_give) {
  Case image{SourceKind::image_file};
  image.plan.allow_other = false;
  MountSpecification specification;
  EXPECT_EQ(take_options(image.grants(), "allow_other", specification), std::uint32_t{EPERM});
  EXPECT_FALSE(image.grants().specification.allow_other);
  EXPECT_EQ(hello_flags(image.grants()), 0u);
}

TEST(Policy, files_are_not_directories) {
  Case image{SourceKind::image_file};
  image.where.directory = false;
  const auto grants = image.grants();
  EXPECT_EQ(judge_mount_point(grants, {S_IFDIR, 0, {"given"}}), std::uint32_t{ENOTDIR});
  EXPECT_EQ(judge_mount_point(grants, {S_IFREG, 0, {"given"}}), 0u);
  EXPECT_EQ(judge_mount_point(grants, {0, 0, {"given"}}), 0u);
  EXPECT_EQ(judge_mount_point(grants, {S_IFREG, 0, {"/canonical/given"}}), std::uint32_t{EINVAL}) << "byte for byte";
  EXPECT_FALSE(grants.specification.root_is_directory);
}

TEST(Policy, of_the_mount_tables_words_only_x_ones_are_kept) {
  EXPECT_EQ(keep_table_options("user=eve,x-systemd.automount,helper=fuse,x-a=\"b,c\",uhelper=x"),
            "x-systemd.automount,x-a=\"b,c\"");
  EXPECT_EQ(keep_table_options(""), "");
}

TEST(Policy, facts_have_to_be_possible) {
  MountSpecification specification;
  EXPECT_TRUE(take_facts({65536, 7, {}, {}}, specification));
  EXPECT_EQ(specification.block_size, 4096u);
  for (const std::uint32_t size : {0u, 512u, 1000u, 131072u})
    EXPECT_FALSE(take_facts({size, 0, {}, {}}, specification));
  EXPECT_FALSE(take_facts({1024, 8, {}, {}}, specification));
}

}  // namespace
