#include <signal.h>
#include <sys/wait.h>

#include <chrono>

#include "broker/actions.h"
#include "broker/process.h"
#include "broker/state_file.h"
#include "tests/broker/scratch.h"

namespace broker {
namespace {

/// A mount whose worker is a process, as in life.
class UnmountTest : public Privileged {
 protected:
  /// `serve` runs in the worker with the FUSE device; the worker ends when it returns.
  void mount(bool block, const std::function<void(TinyServer&)>& serve, const std::function<void()>& on_destroy = {}) {
    point_ = make_directory("mnt");
    std::string shown = "/images/disk.img";
    LoopDevice loop;
    if (block) {
      auto source = open_now(plan(make_image("disk.img")));
      ASSERT_TRUE(source.ok());
      auto attached = attach_loop_device(*source, true);
      ASSERT_TRUE(attached.ok());
      loop = std::move(*attached);
      shown = loop.path;
    }
    UniqueFd device{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
    MountSpecification wanted;
    wanted.block = block;
    wanted.source = shown;
    wanted.subtype = "ext4";
    auto mount = FuseMount::create(wanted, device.get());
    ASSERT_TRUE(mount.ok()) << mount.error().message();
    worker_ = ::fork();
    if (worker_ == 0) {
      // No descriptor on the mount may stay behind: it would keep the superblock alive.
      { const FuseMount closed = std::move(*mount); }
      TinyServer server{std::move(device), on_destroy};
      serve(server);
      ::_exit(0);
    }
    device.reset();
    MountPlan where;
    where.mount_point = point_;
    ASSERT_TRUE(mount->attach(*open_mount_point(where)).ok());
    // Answered only once the worker has come so far as to have nothing open that it should not.
    struct stat unused {};
    ASSERT_EQ(::stat(point_.c_str(), &unused), -1);
    ASSERT_EQ(errno, ENOSYS);
    state_.source = shown;
    state_.mount_point = point_;
    state_.type = "ext4";
    state_.block = block;
    state_.worker_pid = worker_;
    state_.worker_start_time = process_start_time(worker_);
    state_.identity = mount->identity();
    auto file = StateFile::claim();
    ASSERT_TRUE(file.ok() && file->publish(state_).ok());
    file_.emplace(std::move(*file));
    if (!supervised_) file_.reset();
    supervisor_ = std::thread{[this] {
      int status = 0;
      siginfo_t ended{};
      if (reaped_) {
        ::waitpid(worker_, &status, 0);
      } else {
        ::waitid(P_PID, static_cast<id_t>(worker_), &ended, WEXITED | WNOWAIT);
      }
      if (supervised_) file_->finish(status == 0 ? "" : "the worker was killed");
      file_.reset();
    }};
  }
  void TearDown() override {
    if (worker_ > 0) {
      ::kill(worker_, SIGKILL);
      supervisor_.join();
      if (!reaped_) ::waitpid(worker_, nullptr, 0);
      detach_everywhere(state_.identity);
    }
    Privileged::TearDown();
  }
  int unmount(const std::function<void(MountPlan&)>& change = {}) {
    MountPlan plan;
    plan.action = Action::unmount;
    plan.mount_point = point_;
    if (change) change(plan);
    ::testing::internal::CaptureStderr();
    const int code = run_unmount(plan);
    error_ = ::testing::internal::GetCapturedStderr();
    return code;
  }
  static void until_unmounted(TinyServer& server) { server.wait(); }

  std::string point_, error_;
  pid_t worker_ = 0;
  bool supervised_ = true, reaped_ = true;
  MountState state_;
  std::optional<StateFile> file_;
  std::thread supervisor_;
};

TEST_F(UnmountTest, returns_when_the_worker_of_a_plain_mount_has_ended) {
  mount(false, [](TinyServer& server) {
    server.wait();
    ::usleep(300'000);
  });
  const auto process = open_process(worker_, state_.worker_start_time);
  ASSERT_TRUE(process.ok());

  EXPECT_EQ(unmount(), 0) << error_;
  EXPECT_EQ(error_, "");
  EXPECT_TRUE(wait_until_readable(process->get(), std::chrono::milliseconds{0}));
  EXPECT_FALSE(*is_mounted(state_.identity));
}

TEST_F(UnmountTest, returns_when_the_worker_of_a_block_mount_has_ended) {
  mount(true, until_unmounted, [] { ::usleep(300'000); });

  EXPECT_EQ(unmount(), 0) << error_;
  EXPECT_EQ(error_, "");
  EXPECT_TRUE(eventually([this] { return loops_over(path("disk.img")) == 0; }));
}

TEST_F(UnmountTest, a_busy_mount_stays) {
  mount(false, until_unmounted);
  const UniqueFd open{::open(point_.c_str(), O_PATH | O_CLOEXEC)};

  EXPECT_EQ(unmount(), 32);
  EXPECT_EQ(error_, "fuservicemount: " + point_ + ": cannot unmount: Device or resource busy\n");
  EXPECT_TRUE(*is_mounted(state_.identity));
  EXPECT_EQ(unmount([](MountPlan& plan) { plan.lazy = true; }), 0) << error_;
  EXPECT_FALSE(*is_mounted(state_.identity));
}

TEST_F(UnmountTest, a_worker_that_stops_working_is_killed_after_the_deadline) {
  for (const bool block : {false, true}) {
    mount(block, until_unmounted);
    ::kill(worker_, SIGSTOP);
    const auto start = std::chrono::steady_clock::now();

    EXPECT_EQ(unmount([](MountPlan& plan) { plan.timeout = std::chrono::seconds{1}; }), 32);
    EXPECT_EQ(error_, "fuservicemount: " + point_ + ": worker " + std::to_string(worker_) +
                          " made no progress for 1 s and was killed; check the volume with e2fsck\n");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{4});
    ::kill(worker_, SIGKILL);
    supervisor_.join();
    EXPECT_FALSE(*is_mounted(state_.identity));
    worker_ = 0;
  }
}

TEST_F(UnmountTest, a_worker_that_still_works_is_given_time) {
  mount(false, [](TinyServer& server) {
    server.wait();
    for (int i = 0; i < 20; ++i) {
      (void)!::write(STDOUT_FILENO, "", 0);
      ::usleep(100'000);
    }
  });

  EXPECT_EQ(unmount([](MountPlan& plan) { plan.timeout = std::chrono::seconds{1}; }), 0) << error_;
}

TEST_F(UnmountTest, a_worker_that_ended_badly_is_a_failure) {
  mount(false, [](TinyServer& server) {
    server.wait();
    ::_exit(1);
  });

  EXPECT_EQ(unmount(), 32);
  EXPECT_EQ(error_, "fuservicemount: " + point_ + ": the worker was killed\n");
}

/// Nobody tells the file how the worker ended, as after the supervisor's death; its parent goes on to reap it or not.
class UnsupervisedUnmountTest : public UnmountTest, public ::testing::WithParamInterface<bool> {
 protected:
  void mount_unsupervised(const std::function<void(TinyServer&)>& serve) {
    supervised_ = false;
    reaped_ = GetParam();
    mount(false, serve);
  }
};
INSTANTIATE_TEST_SUITE_P(Reaped, UnsupervisedUnmountTest, ::testing::Bool());

TEST_P(UnsupervisedUnmountTest, the_kernel_knows_of_a_good_end) {
  mount_unsupervised(until_unmounted);
  EXPECT_EQ(unmount(), 0) << error_;
}

TEST_P(UnsupervisedUnmountTest, a_bad_end_is_a_failure) {
  mount_unsupervised([](TinyServer& server) {
    server.wait();
    ::_exit(32);
  });
  EXPECT_EQ(unmount(), 32);
  EXPECT_NE(error_.find("the worker ended with code 32; check the volume"), std::string::npos) << error_;
}

TEST_P(UnsupervisedUnmountTest, a_violent_end_is_a_failure) {
  mount_unsupervised([](TinyServer& server) {
    server.wait();
    ::raise(SIGKILL);
  });
  EXPECT_EQ(unmount(), 32);
  EXPECT_NE(error_.find("the worker was killed by signal 9; check the volume"), std::string::npos) << error_;
}

TEST_F(UnmountTest, an_end_that_nobody_saw_is_a_failure) {
  mount(false, until_unmounted);
  ::kill(worker_, SIGKILL);
  supervisor_.join();
  supervisor_ = std::thread{[] {}};
  ASSERT_TRUE(*is_mounted(state_.identity));

  EXPECT_EQ(unmount(), 32);
  EXPECT_EQ(error_, "fuservicemount: " + point_ +
                        ": unmounted, but nobody saw how its worker ended; check the volume with e2fsck\n");
  EXPECT_FALSE(*is_mounted(state_.identity));
}

TEST_F(UnmountTest, one_of_several_mounts_of_a_superblock_does_not_end_the_worker) {
  mount(false, until_unmounted);
  const std::string other = make_directory("other");
  ASSERT_EQ(::mount(point_.c_str(), other.c_str(), nullptr, MS_BIND, nullptr), 0);

  EXPECT_EQ(unmount(), 32);
  EXPECT_NE(error_.find("still in use on " + other), std::string::npos) << error_;
  point_ = other;
  EXPECT_EQ(unmount(), 0) << error_;
}

TEST_F(UnmountTest, what_is_not_ours_is_left_alone) {
  point_ = make_directory("plain");
  EXPECT_EQ(unmount(), 32);
  EXPECT_EQ(error_, "fuservicemount: " + point_ + ": not mounted: Invalid argument\n");
  ASSERT_EQ(::mount("x", point_.c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_EQ(unmount(), 32);
  EXPECT_EQ(error_, "fuservicemount: " + point_ + ": not mounted by ext4box: Invalid argument\n");
  ASSERT_EQ(::umount(point_.c_str()), 0);
}

}  // namespace
}  // namespace broker
