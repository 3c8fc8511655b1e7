#include "broker/mount_point.h"

#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "tests/broker/scratch.h"

namespace broker {
namespace {

class MountPointTest : public Privileged {
 protected:
  static MountPoint opened(const std::string& path) {
    MountPlan plan;
    plan.mount_point = path;
    auto where = open_mount_point(plan);
    EXPECT_TRUE(where.ok()) << (where.ok() ? "" : where.error().message());
    return where.ok() ? std::move(*where) : MountPoint{};
  }
  static MountSpecification specification(const std::string& source) {
    MountSpecification wanted;
    wanted.source = source;
    wanted.subtype = "tiny";
    wanted.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    return wanted;
  }
  static MountEntry entry_at(const std::string& path) {
    const auto table = read_mount_table();
    MountEntry last;
    for (const MountEntry& entry : *table)
      if (entry.mount_point == path) last = entry;
    return last;
  }
};

TEST_F(MountPointTest, is_resolved_once_to_its_canonical_path) {
  const std::string point = make_directory("mnt");
  std::filesystem::create_symlink("mnt", path("link"));

  EXPECT_EQ(opened(path("link")).path, point);
  EXPECT_TRUE(opened(point).directory);
  EXPECT_FALSE(opened(make_image("file")).directory);
  MountPlan plan;
  plan.mount_point = path("missing");
  EXPECT_EQ(open_mount_point(plan).error().code.value(), ENOENT);
  plan.mount_point = "/proc/self/cwd/x";
  EXPECT_EQ(open_mount_point(plan).error().code.value(), ELOOP) << "a magic link";
  plan.mount_point = "/dev/null";
  EXPECT_EQ(open_mount_point(plan).error().code.value(), ENOTDIR);
}

TEST_F(MountPointTest, a_mount_is_what_was_asked_for) {
  TinyServer server;
  const std::string point = make_directory("with space");
  const MountPoint where = opened(point);
  MountSpecification wanted = specification("/images/a b.img");
  wanted.read_only = true;
  wanted.attributes |= MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
  auto mount = FuseMount::create(wanted, server.device());
  ASSERT_TRUE(mount.ok()) << mount.error().message();

  EXPECT_NE(mount->identity().device, 0U);
  EXPECT_NE(mount->identity().unique_id, 0U);
  EXPECT_TRUE(mounts_of(mount->identity()).empty()) << "attached nowhere yet";
  ASSERT_TRUE(mount->attach(where).ok());
  const MountEntry entry = entry_at(point);
  EXPECT_EQ(entry.type, "fuse.tiny");
  EXPECT_EQ(entry.source, "/images/a b.img");
  EXPECT_EQ(entry.device, mount->identity().device);
  EXPECT_TRUE(entry.read_only());
  for (const char* word : {"nosuid", "nodev", "noexec", "noatime"})
    EXPECT_NE(entry.options.find(word), std::string::npos) << entry.options;
  EXPECT_NE(entry.super_options.find("allow_other"), std::string::npos) << entry.super_options;
  EXPECT_NE(entry.super_options.find("default_permissions"), std::string::npos);
  EXPECT_TRUE(*is_mounted(mount->identity()));
  EXPECT_TRUE(superblock_exists(mount->identity(), false));

  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  EXPECT_FALSE(*is_mounted(mount->identity()));
  EXPECT_TRUE(eventually([&] { return !superblock_exists(mount->identity(), false); }));
}

TEST_F(MountPointTest, the_next_superblock_with_the_same_number_is_another) {
  TinyServer server, next;
  std::optional<FuseMount> first;
  if (auto made = FuseMount::create(specification("x"), server.device()); made) first = std::move(*made);
  ASSERT_TRUE(first);
  const MountIdentity gone = first->identity();
  EXPECT_NE(gone.backing, 0U);
  EXPECT_TRUE(superblock_exists(gone, false));
  first.reset();
  const auto second = FuseMount::create(specification("x"), next.device());
  ASSERT_TRUE(second.ok());

  EXPECT_FALSE(superblock_exists(gone, false));
  MountIdentity reused = gone;
  reused.device = second->identity().device;
  EXPECT_FALSE(superblock_exists(reused, false));
  EXPECT_TRUE(superblock_exists(second->identity(), false));
}

TEST_F(MountPointTest, a_raw_umount_succeeds_because_nothing_of_ours_is_left_open) {
  TinyServer server;
  const std::string point = make_directory("mnt");
  auto mount = FuseMount::create(specification("x"), server.device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());

  EXPECT_EQ(::umount2(point.c_str(), 0), 0) << std::strerror(errno);
}

TEST_F(MountPointTest, a_refusal_carries_the_kernels_words) {
  const UniqueFd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  auto mount = FuseMount::create(specification("x"), null.get());
  ASSERT_FALSE(mount.ok());

  TinyServer server;
  MountSpecification wanted = specification("/dev/null");
  wanted.block = true;
  mount = FuseMount::create(wanted, server.device());
  ASSERT_FALSE(mount.ok());
  EXPECT_NE(mount.error().detail.find("/dev/null: Can't lookup blockdev"), std::string::npos)
      << mount.error().message();
  wanted = specification("x");
  wanted.subtype = std::string(300, 'x');
  EXPECT_FALSE(FuseMount::create(wanted, server.device()).ok());
}

TEST_F(MountPointTest, fuseblk_claims_the_device_and_its_umount_waits_for_the_server) {
  const std::string image = make_image("disk.img"), point = make_directory("mnt");
  auto source = open_now(plan(image));
  ASSERT_TRUE(source.ok());
  auto loop = attach_loop_device(*source, true);
  ASSERT_TRUE(loop.ok());
  std::atomic<bool> destroyed = false;
  TinyServer server{[&destroyed] {
    std::this_thread::sleep_for(std::chrono::milliseconds{150});
    destroyed = true;
  }};
  MountSpecification wanted = specification(loop->path);
  wanted.block = true;
  wanted.block_size = 4096;
  auto mount = FuseMount::create(wanted, server.device());
  ASSERT_TRUE(mount.ok()) << mount.error().message();
  EXPECT_EQ(mount->identity().device, loop->device);
  const UniqueFd claim{::open(loop->path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)};
  EXPECT_EQ(claim.get(), -1);
  ASSERT_TRUE(mount->attach(opened(point)).ok());
  EXPECT_EQ(entry_at(point).type, "fuseblk.tiny");
  // Answered after INIT; before that the kernel would not say DESTROY.
  std::error_code ignored;
  EXPECT_FALSE(std::filesystem::exists(point + "/file", ignored));
  raise_readahead(mount->identity(), true, 1024);
  const std::string bdi =
      "/sys/class/bdi/" + std::to_string(::major(loop->device)) + ":" + std::to_string(::minor(loop->device));
  EXPECT_EQ(read_small_file(bdi + "-fuseblk/read_ahead_kb"), "1024\n");
  EXPECT_NE(read_small_file(bdi + "/read_ahead_kb"), "1024\n") << "the loop device's own is left alone";
  raise_readahead(mount->identity(), true, 64);
  EXPECT_EQ(read_small_file(bdi + "-fuseblk/read_ahead_kb"), "1024\n") << "never lowered";

  ASSERT_EQ(::umount2(point.c_str(), 0), 0);
  EXPECT_TRUE(destroyed);
  loop->descriptor.reset();
  EXPECT_TRUE(eventually([&] { return loops_over(image) == 0; }));
}

TEST_F(MountPointTest, a_dead_mount_is_detached_wherever_it_is_bound) {
  const std::string point = make_directory("mnt"), other = make_directory("other"), third = make_directory("third");
  auto server = std::make_unique<TinyServer>();
  auto mount = FuseMount::create(specification("x"), server->device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());
  ASSERT_EQ(::mount(point.c_str(), other.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount(point.c_str(), third.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::umount(point.c_str()), 0) << "only the copies are left";
  server.reset();
  struct statvfs unused {};
  ASSERT_EQ(::statvfs(other.c_str(), &unused), -1);
  ASSERT_EQ(errno, ENOTCONN);

  EXPECT_EQ(mounts_of(mount->identity()).size(), 2U);
  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  EXPECT_TRUE(mounts_of(mount->identity()).empty());
}

TEST_F(MountPointTest, looking_at_a_mount_asks_its_server_nothing) {
  const std::string point = make_directory("mnt");
  TinyServer server;
  auto mount = FuseMount::create(specification("x"), server.device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());
  const int before = server.requests();

  const MountPoint where = opened(point);
  const auto identity = identify_mount(where.descriptor.get());
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity->device, mount->identity().device);
  EXPECT_EQ(identity->unique_id, mount->identity().unique_id);
  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  EXPECT_EQ(server.requests(), before);
}

TEST_F(MountPointTest, what_covers_a_dead_mount_is_left_alone) {
  const std::string point = make_directory("mnt");
  auto server = std::make_unique<TinyServer>();
  auto mount = FuseMount::create(specification("x"), server->device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());
  server.reset();
  ASSERT_EQ(::mount("cover", point.c_str(), "tmpfs", 0, nullptr), 0);

  const auto left = detach_everywhere(mount->identity());
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0], point + ": covered by another mount: Device or resource busy");
  EXPECT_EQ(entry_at(point).type, "tmpfs");
  ASSERT_EQ(::umount(point.c_str()), 0);
  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  EXPECT_EQ(entry_at(point).type, "");
}

TEST_F(MountPointTest, without_detaching_only_a_mount_in_use_stays) {
  const std::string point = make_directory("mnt");
  TinyServer server;
  auto mount = FuseMount::create(specification("x"), server.device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());
  {
    const MountPoint user = opened(point);
    EXPECT_EQ(detach_everywhere(mount->identity(), 0), std::vector<std::string>{point + ": Device or resource busy"});
  }
  EXPECT_TRUE(detach_everywhere(mount->identity(), 0).empty());
  EXPECT_FALSE(*is_mounted(mount->identity()));
}

TEST_F(MountPointTest, mounts_of_others_are_not_ours) {
  const std::string point = make_directory("mnt"), other = make_directory("other");
  TinyServer server, stranger;
  auto mount = FuseMount::create(specification("x"), server.device());
  auto foreign = FuseMount::create(specification("x"), stranger.device());
  ASSERT_TRUE(mount.ok() && mount->attach(opened(point)).ok());
  ASSERT_TRUE(foreign.ok() && foreign->attach(opened(other)).ok());

  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  EXPECT_EQ(mounts_of(foreign->identity()).size(), 1U);
  // The number of a superblock that is gone may come back with another source.
  MountIdentity stale = foreign->identity();
  stale.source = "y";
  EXPECT_TRUE(detach_everywhere(stale).empty());
  EXPECT_EQ(mounts_of(foreign->identity()).size(), 1U);
  EXPECT_TRUE(detach_everywhere(foreign->identity()).empty());
}

TEST_F(MountPointTest, a_mount_is_taken_away_only_if_its_path_still_leads_to_it) {
  for (const char* name : {"ours/mnt", "theirs/mnt"}) {
    std::filesystem::create_directories(path(name));
    ASSERT_EQ(::mount("x", path(name).c_str(), "tmpfs", 0, nullptr), 0);
  }
  const MountEntry ours = entry_at(path("ours/mnt"));
  for (const int flags : {0, int{MNT_DETACH}}) {
    ASSERT_EQ(::renameat2(AT_FDCWD, path("ours").c_str(), AT_FDCWD, path("theirs").c_str(), RENAME_EXCHANGE), 0);
    EXPECT_FALSE(detach(ours, flags)) << "that is theirs";
    ASSERT_EQ(::renameat2(AT_FDCWD, path("ours").c_str(), AT_FDCWD, path("theirs").c_str(), RENAME_EXCHANGE), 0);
  }
  EXPECT_TRUE(detach(ours, 0));
  EXPECT_NE(entry_at(path("theirs/mnt")).id, 0U);
  ASSERT_EQ(::umount(path("theirs/mnt").c_str()), 0);
}

TEST_F(MountPointTest, a_path_that_changes_all_the_time_never_makes_it_take_another_mount) {
  for (const char* name : {"ours/mnt", "theirs/mnt"}) std::filesystem::create_directories(path(name));
  ASSERT_EQ(::mount("theirs", path("theirs/mnt").c_str(), "tmpfs", 0, nullptr), 0);
  const std::string a = path("ours"), b = path("theirs");
  std::atomic<bool> stop = false;
  std::atomic<unsigned> exchanges = 0;
  int taken = 0;
  for (int turn = 0; turn < 200; ++turn) {
    ASSERT_EQ(::mount("ours", path("ours/mnt").c_str(), "tmpfs", 0, nullptr), 0);
    const MountEntry ours = entry_at(path("ours/mnt"));
    ASSERT_EQ(ours.source, "ours");
    stop = false;
    std::thread changer{[&] {
      for (; !stop || exchanges % 2; ++exchanges) ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
    }};
    bool gone = false;
    for (int attempt = 0; attempt < 20 && !gone; ++attempt) gone = detach(ours, 0).ok();
    stop = true;
    changer.join();
    ASSERT_EQ(entry_at(path("theirs/mnt")).source, "theirs") << "turn " << turn;
    taken += gone;
    if (!gone) ASSERT_TRUE(detach(ours, 0));
  }
  EXPECT_GT(taken, 0);
  ASSERT_EQ(::umount(path("theirs/mnt").c_str()), 0);
}

}  // namespace
}  // namespace broker
