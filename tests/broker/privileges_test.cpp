#include "broker/privileges.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "broker/mount_table.h"
#include "broker/seccomp_rules.h"

namespace broker {
namespace {

/// What became of a process that enters `stage` and then does `deed`: its wait status.
int after(Stage stage, const std::function<int()>& deed) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_DUMPABLE, 0);  // no core files of those that are killed
    for (const Stage each : {Stage::open, Stage::mount, Stage::supervise}) {
      if (each > stage) break;
      if (!enter_stage(each)) ::_exit(99);
    }
    ::_exit(deed());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

bool has(int capability) { return capng_have_capability(CAPNG_EFFECTIVE, unsigned(capability)) != 0; }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

class Privileges : public testing::Test {
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (kSanitized) GTEST_SKIP() << "a sanitizer makes system calls of its own, which the filter kills";
  }
};

TEST_F(Privileges, shrink_with_every_stage) {
  const auto capabilities = [](std::initializer_list<int> wanted, std::initializer_list<int> unwanted) {
    return [=] {
      capng_get_caps_process();
      for (const int capability : wanted)
        if (!has(capability)) return 1;
      for (const int capability : unwanted)
        if (has(capability)) return 2;
      return 0;
    };
  };
  EXPECT_EQ(after(Stage::open, capabilities({CAP_SYS_ADMIN, CAP_SETUID, CAP_DAC_OVERRIDE},
                                            {CAP_SYS_MODULE, CAP_NET_ADMIN, CAP_SYS_RAWIO})),
            0);
  EXPECT_EQ(after(Stage::mount, capabilities({CAP_SYS_ADMIN, CAP_KILL}, {CAP_SETUID, CAP_SETGID, CAP_DAC_OVERRIDE})),
            0);
  EXPECT_EQ(after(Stage::supervise,
                  [] {
                    const auto status = read_small_file("/proc/self/status");
                    const auto line = [&](const char* text) { return status.find(text) != status.npos; };
                    // SYS_ADMIN (21), SYS_PTRACE (19), KILL (5), DAC_READ_SEARCH (2).
                    return line("CapEff:\t0000000000280024") && line("CapPrm:\t0000000000280024") &&
                                   line("CapInh:\t0000000000000000") && line("CapAmb:\t0000000000000000") &&
                                   line("NoNewPrivs:\t1") && line("Seccomp:\t2")
                               ? 0
                               : 1;
                  }),
            0);
}

TEST_F(Privileges, a_supervisor_that_does_anything_else_is_killed) {
  const std::function<int()> deeds[] = {
      [] { return ::execl("/bin/true", "true", nullptr); },
      [] { return ::socket(AF_INET, SOCK_STREAM, 0); },
      [] { return ::mkdir("/var/tmp/never", 0700); },
      [] { return ::mount("none", "/var/tmp", "tmpfs", 0, nullptr); },
      [] { return int(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); },
      [] { return ::setuid(1); },
      [] { return ::chmod("/var/tmp", 0777); },
      [] { return ::unshare(CLONE_NEWNS); },
      [] { return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; },
      [] { return ::kill(1, 0); },
      [] { return ::prctl(PR_SET_KEEPCAPS, 1); },
  };
  int number = 0;
  for (const auto& deed : deeds) {
    const int status = after(Stage::supervise, deed);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << "deed " << number << ", status " << status;
    ++number;
  }
}

TEST_F(Privileges, what_the_supervisor_has_to_do_still_works) {
  EXPECT_EQ(after(Stage::supervise,
                  [] {
                    if (!read_mount_table()) return 1;
                    const pid_t child = ::fork();
                    if (child == 0) ::_exit(7);
                    siginfo_t ended{};
                    if (::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED) != 0 || ended.si_status != 7)
                      return 2;
                    pollfd none{-1, POLLIN, 0};
                    return ::poll(&none, 1, 1);
                  }),
            0);
}

TEST(SupervisorRules, every_one_has_a_reason_and_stands_once) {
  for (const auto& rule : kSupervisorRules) {
    EXPECT_GT(std::string_view{rule.why}.size(), 3u);
    EXPECT_EQ(std::count_if(std::begin(kSupervisorRules), std::end(kSupervisorRules),
                            [&](const Rule& other) {
                              const bool another = rule.only && other.only && rule.only->datum_b != other.only->datum_b;
                              return other.call == rule.call && !another;
                            }),
              1)
        << rule.why;
  }
}

}  // namespace
}  // namespace broker
