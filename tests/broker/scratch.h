// A directory, image files, a mount namespace and a FUSE server of the smallest kind, for tests that need root.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "broker/loop_device.h"
#include "broker/mount_point.h"
#include "broker/source.h"
#include "protocol/unique_fd.h"

namespace broker {

/// Skips when not root; otherwise the test has a mount namespace and state files of its own.
class Privileged : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    static const bool own =
        ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ASSERT_TRUE(own) << std::strerror(errno);
    char name[] = "/var/tmp/ext4box-broker-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::setenv("EXT4BOX_RUN_DIR", path("run").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("EXT4BOX_RUN_DIR");
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string make_directory(const std::string& name) const {
    std::filesystem::create_directory(path(name));
    return path(name);
  }
  std::string make_image(const std::string& name, off_t size = 1 << 20) const {
    const UniqueFd file{::open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    EXPECT_EQ(::ftruncate(file.get(), size), 0);
    return path(name);
  }
  static MountPlan plan(const std::string& source, Writing writing = Writing::unsaid, Window window = {}) {
    MountPlan plan;
    plan.source = source;
    plan.writing = writing;
    plan.window = window;
    return plan;
  }
  /// Opens without waiting for anybody.
  static Result<Source> open_now(const MountPlan& plan) { return open_source(plan, std::chrono::steady_clock::now()); }

  std::string directory_;
};

/// Waits up to two seconds.
inline bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 200; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

/// Loop devices set up over this file now.
inline int loops_over(const std::string& path) {
  struct stat found {};
  ::stat(path.c_str(), &found);
  int count = 0;
  for (int number = 0; number < 64; ++number) {
    const auto status = loop_status("/dev/loop" + std::to_string(number));
    count += status && status->lo_device == found.st_dev && status->lo_inode == found.st_ino;
  }
  return count;
}

/// Answers FUSE_INIT and DESTROY, everything else with ENOSYS, until the mount is gone or it is told to stop.
class TinyServer {
 public:
  explicit TinyServer(std::function<void()> on_destroy = {})
      : TinyServer{UniqueFd{::open("/dev/fuse", O_RDWR | O_CLOEXEC)}, std::move(on_destroy)} {}
  TinyServer(UniqueFd device, std::function<void()> on_destroy)
      : on_destroy_{std::move(on_destroy)}, device_{std::move(device)} {
    ::fcntl(device_.get(), F_SETFL, O_NONBLOCK);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~TinyServer() { die(); }
  int device() const { return device_.get(); }
  /// Without a word, as a killed worker.
  void die() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    device_.reset();
  }
  /// Until the mount is gone.
  void wait() { thread_.join(); }
  int requests() const { return requests_; }

 private:
  void serve() {
    std::vector<char> buffer(1 << 20);
    while (!stop_) {
      const ssize_t got = ::read(device_.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == ENODEV) return;
      if (got < 0) {  // EPERM: not mounted yet
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
        continue;
      }
      fuse_in_header request;
      std::memcpy(&request, buffer.data(), sizeof request);
      answer(request);
    }
  }
  void answer(const fuse_in_header& request) {
    if (request.opcode == FUSE_DESTROY && on_destroy_) on_destroy_();
    if (request.opcode == FUSE_FORGET || request.opcode == FUSE_BATCH_FORGET) return;
    struct {
      fuse_out_header header;
      fuse_init_out init;
    } reply{};
    reply.header.unique = request.unique;
    reply.header.len = sizeof reply.header;
    if (request.opcode == FUSE_INIT) {
      reply.init.major = FUSE_KERNEL_VERSION;
      reply.init.minor = 31;
      reply.init.max_write = 4096;
      reply.header.len = sizeof reply;
    } else if (request.opcode != FUSE_DESTROY) {
      reply.header.error = -ENOSYS;
      ++requests_;
    }
    (void)!::write(device_.get(), &reply, reply.header.len);
  }

  std::function<void()> on_destroy_;
  UniqueFd device_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> requests_ = 0;
  std::thread thread_;
};

}  // namespace broker
