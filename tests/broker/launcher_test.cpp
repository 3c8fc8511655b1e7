#include "broker/launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

namespace broker {
namespace {

using namespace std::chrono_literals;
using protocol::UniqueFd;

/// launch() leaves signals blocked in its process, which here goes on.
class Launcher : public ::testing::Test {
 protected:
  Launcher() { ::sigprocmask(SIG_BLOCK, nullptr, &before_); }
  ~Launcher() override { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

TEST_F(Launcher, passes_on_the_code_that_the_broker_reports) {
  for (const int code : {0, 1, 4, 8, 32}) EXPECT_EQ(launch(false, [=](Report& report) { report.mounted(code); }), code);
}

TEST_F(Launcher, a_broker_that_dies_without_a_word_is_an_internal_failure) {
  EXPECT_EQ(launch(false, [](Report&) { ::raise(SIGKILL); }), 4);
  EXPECT_EQ(launch(false, [](Report&) {}), 4);
}

TEST_F(Launcher, a_failure_is_reported_only_once_the_broker_has_gone) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(launch(false,
                   [](Report& report) {
                     report.mounted(32);
                     std::this_thread::sleep_for(100ms);
                   }),
            32);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 100ms);
}

TEST_F(Launcher, returns_at_success_unless_in_the_foreground) {
  const auto broker = [](Report& report) {
    report.mounted(0);
    std::this_thread::sleep_for(200ms);
    report.ended(32);
  };
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(launch(false, broker), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 150ms);
  EXPECT_EQ(launch(true, broker), 32);
}

TEST_F(Launcher, signals_to_the_caller_reach_the_broker_as_term) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    // In a process of its own, which the signal is meant for.
    const pid_t caller = ::fork();
    if (caller == 0) {
      ::_exit(launch(false, [](Report& report) {
        sigset_t awaited;
        ::sigemptyset(&awaited);
        ::sigaddset(&awaited, SIGTERM);
        ::sigprocmask(SIG_BLOCK, &awaited, nullptr);
        ::kill(::getppid(), 0);
        int told = 0;
        ::sigwait(&awaited, &told);
        report.mounted(told == SIGTERM ? 8 : 1);
      }));
    }
    std::this_thread::sleep_for(100ms);
    ::kill(caller, number);
    int status = 0;
    ::waitpid(caller, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 8) << number;
  }
}

TEST_F(Launcher, a_signal_that_came_too_late_counts_if_the_broker_ends_because_of_it) {
  for (const bool ends : {true, false}) {
    const pid_t caller = ::fork();
    if (caller == 0) {
      ::_exit(launch(false, [=](Report& report) {
        sigset_t awaited;
        ::sigemptyset(&awaited);
        ::sigaddset(&awaited, SIGTERM);
        int told = 0;
        ::sigwait(&awaited, &told);
        report.mounted(0);
        // The mount is in use: its supervisor stays, longer than the caller waits for it.
        if (!ends) std::this_thread::sleep_for(3s);
      }));
    }
    std::this_thread::sleep_for(100ms);
    ::kill(caller, SIGINT);
    int status = 0;
    ::waitpid(caller, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), ends ? 8 : 0);
  }
}

TEST_F(Launcher, the_broker_starts_with_interrupts_blocked) {
  EXPECT_EQ(launch(false,
                   [](Report& report) {
                     sigset_t now;
                     ::sigprocmask(SIG_BLOCK, nullptr, &now);
                     const bool blocked = ::sigismember(&now, SIGINT) && ::sigismember(&now, SIGTERM);
                     report.mounted(blocked && !::sigismember(&now, SIGQUIT) ? 1 : 4);
                   }),
            1);
}

TEST_F(Launcher, no_signal_ends_the_caller_once_the_outcome_is_known) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    const pid_t caller = ::fork();
    if (caller == 0) {
      const int code = launch(false, [](Report& report) { report.mounted(0); });
      ::raise(number);  // a death by signal says that there is no mount
      ::_exit(code);
    }
    int status = -1;
    ::waitpid(caller, &status, 0);
    EXPECT_EQ(status, 0) << number;
  }
}

TEST_F(Launcher, the_broker_has_a_session_of_its_own_and_keeps_nothing_of_the_callers) {
  const UniqueFd inherited{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reading{ends[0]}, writing{ends[1]};
  EXPECT_EQ(launch(false,
                   [&](Report& report) {
                     const bool own = ::getsid(0) == ::getpid();
                     report.leave_caller();
                     const bool closed = ::fcntl(inherited.get(), F_GETFD) < 0 && ::fcntl(writing.get(), F_GETFD) < 0;
                     report.mounted(own && closed ? 0 : 1);  // too late to arrive
                     ::_exit(own && closed ? 0 : 1);
                   }),
            4);
  writing.reset();
  char nothing;
  EXPECT_EQ(::read(reading.get(), &nothing, 1), 0) << "somebody still holds the pipe";
}

}  // namespace
}  // namespace broker
