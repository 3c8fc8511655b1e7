#include "broker/slim_mounts.h"

#include <sys/wait.h>

#include <algorithm>

#include "tests/broker/scratch.h"

namespace broker {
namespace {

TEST(SlimMounts, what_runs_a_program_is_needed_and_nothing_else) {
  const char* program = "/home/me/build/worker/ext4box-worker";

  for (const char* needed :
       {"/", "/usr", "/usr/lib", "/lib64", "/etc", "/nix/store", "/proc", "/dev/shm", "/home", "/home/me"})
    EXPECT_TRUE(needed_to_run(needed, program)) << needed;
  for (const char* other :
       {"/mnt", "/media/stick", "/homework", "/home/you", "/usr2", "/run", "/var", "/boot", "/home/me/build/worker/x"})
    EXPECT_FALSE(needed_to_run(other, program)) << other;
}

using SlimMountsTest = Privileged;

TEST_F(SlimMountsTest, mounts_of_others_go_only_in_the_own_namespace) {
  const std::string point = make_directory("stick");
  ASSERT_EQ(::mount("stick", point.c_str(), "tmpfs", 0, nullptr), 0);
  const auto mounted = [&point] {
    const auto table = read_mount_table();
    return table && std::ranges::any_of(*table, [&](const MountEntry& entry) { return entry.mount_point == point; });
  };
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(3);
    keep_only_mounts_to_run("/usr/bin/true");
    ::_exit(!mounted() && ::access("/usr/bin/true", X_OK) == 0 && ::access("/proc/self/maps", R_OK) == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(mounted());
  ASSERT_EQ(::umount(point.c_str()), 0);
}

}  // namespace
}  // namespace broker
