// What a spawned and locked process looks like from outside.
#include "worker/sandbox/lockdown.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/worker/sandbox/captive.h"
#include "worker/sandbox/landlock.h"
#include "worker/sandbox/sanitizers.h"

namespace {

using testing_support::Captive;
using testing_support::capture;

class Locked : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to spawn a worker";
    auto captive = capture();
    ASSERT_TRUE(captive) << captive.error().message();
    captive_.emplace(*std::move(captive));
    ASSERT_TRUE(captive_->tell("lock wait"));
    ASSERT_EQ(captive_->hear(), "now") << captive_->log();
    proc_ = "/proc/" + std::to_string(captive_->process().pid);
  }

  std::string read(const std::string& name) const {
    std::ifstream file{proc_ + "/" + name};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  std::optional<Captive> captive_;
  std::string proc_;
};

TEST_F(Locked, is_what_the_broker_calls_contained) {
  const auto contained = broker::check_contained(captive_->process(), 0);
  EXPECT_TRUE(contained) << contained.error().message();
  EXPECT_FALSE(broker::check_contained(captive_->process(), 1)) << "it added one filter, not two";
  EXPECT_EQ(broker::count_filters(captive_->process()).value(), 1U);
}

TEST_F(Locked, has_threads_that_are_all_confined) {
  std::size_t threads = 0;
  for (const auto& task : std::filesystem::directory_iterator{proc_ + "/task"}) {
    ++threads;
    std::ifstream file{task.path() / "status"};
    const std::string status{std::istreambuf_iterator<char>{file}, {}};
    const auto judged = broker::judge_status(status, 0);
    EXPECT_TRUE(judged) << judged.error().message();
  }
  EXPECT_GE(threads, 3U);
}

TEST_F(Locked, has_a_mount_namespace_of_its_own) {
  EXPECT_NE(std::filesystem::read_symlink(proc_ + "/ns/mnt"), std::filesystem::read_symlink("/proc/self/ns/mnt"));
}

TEST_F(Locked, keeps_no_file_system_alive_that_was_mounted_when_it_began) {
  const std::string here = testing::TempDir() + "ext4box-alive-" + std::to_string(::getpid());
  std::filesystem::create_directory(here);
  std::string device;
  // A thread of its own, so that the mount is seen by nobody else.
  std::thread{[&] {
    ASSERT_EQ(::unshare(CLONE_FS | CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(std::system(("truncate -s 1M " + here + "/image && mke2fs -q -F " + here +
                           "/image && losetup -f --show " + here + "/image > " + here + "/device")
                              .c_str()),
              0);
    std::ifstream{here + "/device"} >> device;
    ASSERT_EQ(::mount(device.c_str(), "/mnt", "ext4", 0, nullptr), 0) << std::strerror(errno);
    auto second = capture();
    const bool locked = second && second->tell("lock wait") && second->hear() == "now";
    EXPECT_EQ(::umount2("/mnt", 0), 0) << std::strerror(errno);
    ASSERT_TRUE(locked);
    // The kernel's claim on the device ends with the file system.
    const broker::UniqueFd claim{::open(device.c_str(), O_RDWR | O_EXCL | O_CLOEXEC)};
    EXPECT_TRUE(claim) << std::strerror(errno);
  }}.join();
  if (!device.empty()) EXPECT_EQ(std::system(("losetup -d " + device).c_str()), 0);
  std::filesystem::remove_all(here);
}

TEST_F(Locked, has_an_empty_read_only_root_and_no_other_mount) {
  EXPECT_TRUE(std::filesystem::is_empty(proc_ + "/root/"));
  EXPECT_EQ(std::filesystem::read_symlink(proc_ + "/cwd"), "/");
  const std::string mounts = read("mountinfo");
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  EXPECT_NE(mounts.find(" / / ro,"), mounts.npos) << mounts;
  EXPECT_NE(mounts.find(" tmpfs "), mounts.npos) << mounts;
}

TEST_F(Locked, holds_only_the_log_and_the_channel) {
  std::set<std::string> open;
  for (const auto& descriptor : std::filesystem::directory_iterator{proc_ + "/fd"})
    open.insert(descriptor.path().filename());
  EXPECT_EQ(open, (std::set<std::string>{"0", "1", "2", "3"}));
  EXPECT_TRUE(std::filesystem::read_symlink(proc_ + "/fd/3").string().starts_with("socket:"));
  for (const char* standard : {"/fd/0", "/fd/1", "/fd/2"})
    EXPECT_TRUE(std::filesystem::read_symlink(proc_ + standard).string().starts_with("pipe:"));
}

TEST_F(Locked, is_held_by_limits) {
  const auto hard = [&](int resource) {
    rlimit limit{};
    EXPECT_EQ(::prlimit(captive_->process().pid, static_cast<__rlimit_resource>(resource), nullptr, &limit), 0);
    return limit.rlim_max;
  };
  EXPECT_EQ(hard(RLIMIT_AS), worker::sandbox::kSanitized ? RLIM_INFINITY : rlim_t{2} << 30);
  EXPECT_EQ(hard(RLIMIT_CORE), 0U);
  EXPECT_EQ(hard(RLIMIT_NPROC), 0U);
  EXPECT_EQ(hard(RLIMIT_NOFILE), 64U);
  EXPECT_EQ(hard(RLIMIT_MEMLOCK), 0U);
  rlimit ours{};
  ::getrlimit(RLIMIT_FSIZE, &ours);
  EXPECT_EQ(hard(RLIMIT_FSIZE), ours.rlim_max);
}

TEST_F(Locked, ends_when_its_channel_does) {
  ASSERT_TRUE(captive_->tell("end"));
  const auto end = captive_->end();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->code, CLD_EXITED);
}

TEST(Steps, are_named_and_end_with_the_filter) {
  ASSERT_FALSE(worker::sandbox::step_names().empty());
  for (const auto name : worker::sandbox::step_names()) EXPECT_FALSE(name.empty());
  EXPECT_NE(worker::sandbox::step_names().back().find("filter"), std::string_view::npos);
}

TEST(Landlock, handles_more_with_every_version_and_never_less) {
  using worker::sandbox::all_rights;
  EXPECT_EQ(all_rights(0).files, 0U);
  EXPECT_EQ(all_rights(1).files, 0x1fffU);
  EXPECT_EQ(all_rights(3).files, 0x7fffU);
  EXPECT_EQ(all_rights(3).network, 0U);
  EXPECT_EQ(all_rights(4).network, 3U);
  EXPECT_EQ(all_rights(5).files, 0xffffU);
  EXPECT_EQ(all_rights(5).scopes, 0U);
  EXPECT_EQ(all_rights(6).scopes, 3U);
  EXPECT_EQ(all_rights(99).files, all_rights(6).files);
}

}  // namespace
