// What remains of the broker, with a worker that does as each test says. Real mounts, no volume.
#include "broker/supervisor.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <mutex>

#include "protocol/log.h"
#include "tests/broker/scratch.h"

namespace broker {
namespace {

using namespace std::chrono_literals;
using protocol::Severity;

std::mutex lines_lock;
std::vector<std::string> lines;  ///< errors and warnings only
void remember(Severity severity, std::string_view line) noexcept {
  const std::lock_guard guard{lines_lock};
  if (severity <= Severity::warning) lines.emplace_back(line);
}

constexpr auto kPatience = 400ms;

class SupervisorTest : public Privileged {
 protected:
  using Worker = std::function<int(TinyServer&, protocol::Channel&)>;

  void SetUp() override {
    Privileged::SetUp();
    if (IsSkipped()) return;
    lines.clear();
    protocol::set_log_sink(remember);
  }
  void TearDown() override {
    protocol::set_log_sink(protocol::log_to_standard_error);
    Privileged::TearDown();
  }

  /// A worker process that serves a mount, then does `worker`, whose result is its exit code; a supervisor for both;
  /// `during` beside them. The supervisor's exit code.
  int supervise(const Worker& worker, const std::function<void()>& during) {
    auto [ours, theirs] = *protocol::make_channel_pair();
    int log_ends[2];
    EXPECT_EQ(::pipe2(log_ends, O_CLOEXEC), 0);
    UniqueFd log_read{log_ends[0]}, log_write{log_ends[1]};
    UniqueFd device{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
    child = ::fork();
    if (child == 0) {
      ::dup2(log_write.get(), STDERR_FILENO);
      ours = protocol::Channel{UniqueFd{}};
      TinyServer server{std::move(device), {}};
      ::_exit(worker(server, theirs));
    }
    theirs = protocol::Channel{UniqueFd{}};
    log_write.reset();

    MountPlan where;
    where.mount_point = point = make_directory("point");
    MountSpecification specification;
    specification.source = "supervised";
    auto mount = FuseMount::create(specification, device.get());
    EXPECT_TRUE(mount.ok()) << mount.error().message();
    device.reset();
    EXPECT_TRUE(mount->attach(*open_mount_point(where)).ok());

    Mounting::Remains remains{.state = {}, .file = *StateFile::claim(), .worker = {}, .claim = {}};
    remains.state.source = "supervised";
    remains.state.mount_point = point;
    remains.state.identity = mount->identity();
    remains.state.worker_pid = child;
    remains.worker.process = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, child, 0u))};
    remains.worker.log = std::move(log_read);
    remains.worker.pid = child;
    identity = mount->identity();

    asio::io_context context{1};
    const auto interrupts = block_interrupts();
    Supervisor supervisor{context, std::move(remains), std::move(ours), interrupts->get(), kPatience};
    int code = -1;
    asio::co_spawn(context, supervisor.run(), [&](std::exception_ptr thrown, int ended) {
      EXPECT_FALSE(thrown);
      code = ended;
    });
    std::thread beside{during};
    context.run();
    beside.join();
    EXPECT_TRUE(mounts_of(identity).empty());
    EXPECT_LT(::waitpid(child, nullptr, WNOHANG), 0) << "not reaped";
    return code;
  }

  /// A worker that says goodbye with `code` when its mount is gone.
  static Worker good(std::uint32_t code) {
    return [code](TinyServer& server, protocol::Channel& channel) {
      server.wait();
      (void)channel.send(protocol::Goodbye{code}, std::chrono::steady_clock::now() + 1s);
      return static_cast<int>(code);
    };
  }
  static int sleep_for_ever(TinyServer&, protocol::Channel&) {
    while (true) ::pause();
  }
  void unmount(int flags = 0) const { EXPECT_EQ(::umount2(point.c_str(), flags), 0) << std::strerror(errno); }
  bool child_lives() const { return ::kill(child, 0) == 0; }

  pid_t child = 0;
  std::string point;
  MountIdentity identity;
};

TEST_F(SupervisorTest, an_orderly_end_is_a_success_without_a_line) {
  EXPECT_EQ(supervise(good(0), [&] { unmount(); }), 0);
  EXPECT_TRUE(lines.empty()) << lines[0];
}

TEST_F(SupervisorTest, a_worker_that_could_not_close_the_volume_is_a_failure) {
  EXPECT_EQ(supervise(good(5), [&] { unmount(); }), 32);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("closing the volume failed"), std::string::npos);
}

TEST_F(SupervisorTest, a_killed_workers_mount_is_detached_within_a_second_and_one_line_says_so) {
  std::chrono::steady_clock::time_point killed;
  EXPECT_EQ(supervise(good(0),
                      [&] {
                        ::kill(child, SIGKILL);
                        killed = std::chrono::steady_clock::now();
                      }),
            32);
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("killed by signal 9"), std::string::npos) << lines[0];
}

TEST_F(SupervisorTest, a_worker_that_leaves_without_goodbye_is_a_failure) {
  EXPECT_EQ(supervise(
                [](TinyServer& server, protocol::Channel&) {
                  server.wait();
                  return 0;
                },
                [&] { unmount(); }),
            32);
  EXPECT_EQ(lines.size(), 1u);
}

TEST_F(SupervisorTest, a_worker_that_does_not_end_after_its_mount_is_killed) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(supervise(sleep_for_ever, [&] { unmount(); }), 32);
  EXPECT_GE(std::chrono::steady_clock::now() - start, kPatience);
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines[0].find("makes no progress"), std::string::npos) << lines[0];
}

TEST_F(SupervisorTest, a_mount_that_a_lazy_unmount_left_in_use_goes_on) {
  EXPECT_EQ(supervise(good(0),
                      [&] {
                        UniqueFd user{::open(point.c_str(), O_PATH | O_CLOEXEC)};
                        unmount(MNT_DETACH);
                        std::this_thread::sleep_for(3 * kPatience);
                        EXPECT_TRUE(child_lives());
                      }),
            0);
}

TEST_F(SupervisorTest, being_told_to_terminate_unmounts) {
  EXPECT_EQ(supervise(good(0),
                      [] {
                        std::this_thread::sleep_for(100ms);
                        ::kill(::getpid(), SIGTERM);
                      }),
            0);
}

TEST_F(SupervisorTest, a_mount_in_use_stays_when_told_to_terminate) {
  EXPECT_EQ(supervise(good(0),
                      [&] {
                        {
                          const UniqueFd user{::open(point.c_str(), O_PATH | O_CLOEXEC)};
                          std::this_thread::sleep_for(100ms);
                          ::kill(::getpid(), SIGTERM);
                          EXPECT_TRUE(eventually([] {
                            const std::lock_guard guard{lines_lock};
                            return !lines.empty();
                          }));
                          EXPECT_FALSE(mounts_of(identity).empty());
                        }
                        unmount();
                      }),
            0);
  EXPECT_NE(lines[0].find("in use"), std::string::npos) << lines[0];
}

TEST_F(SupervisorTest, the_workers_lines_are_escaped_and_a_flood_is_cut_off) {
  EXPECT_EQ(supervise(
                [](TinyServer& server, protocol::Channel& channel) {
                  const std::string line = "<3>bell \a and escape \x1b[2J\n";
                  for (int i = 0; i < 5000; ++i) (void)!::write(STDERR_FILENO, line.data(), line.size());
                  return good(0)(server, channel);
                },
                [&] {
                  std::this_thread::sleep_for(300ms);
                  unmount();
                }),
            0);
  ASSERT_GE(lines.size(), 100u);
  EXPECT_LE(lines.size(), 250u);
  EXPECT_NE(lines[0].find("bell \\x07 and escape \\x1b[2J"), std::string::npos) << lines[0];
  EXPECT_NE(lines.back().find("says too much"), std::string::npos) << lines.back();
}

TEST_F(SupervisorTest, what_the_worker_says_after_the_mount_changes_nothing) {
  EXPECT_EQ(supervise(
                [](TinyServer& server, protocol::Channel& channel) {
                  const auto soon = std::chrono::steady_clock::now() + 1s;
                  (void)channel.send(protocol::DoMount{0}, soon, STDERR_FILENO);
                  (void)channel.send(protocol::OpenFile{2, 0, 0, 0, {"/etc/shadow"}}, soon);
                  (void)channel.send_bytes(std::vector<std::byte>(70000), -1, soon);
                  return good(0)(server, channel);
                },
                [&] {
                  std::this_thread::sleep_for(100ms);
                  unmount();
                }),
            32)
      << "it lost its voice by breaking the protocol";
}

}  // namespace
}  // namespace broker
