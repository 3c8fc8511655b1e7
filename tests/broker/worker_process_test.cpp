#include "broker/worker_process.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/worker/sandbox/captive.h"

namespace {

using broker::MountPlan;
using broker::UniqueFd;
using testing_support::Captive;
using testing_support::capture;
using testing_support::kVictimUid;

// The judgement alone.

const std::string kContained =
    "Name:\tworker\nUid:\t7\t7\t7\t7\nGid:\t0\t0\t0\t0\n"
    "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
    "CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

std::string with(std::string_view line, std::string_view instead) {
  std::string status = kContained;
  const auto start = status.find(line);
  EXPECT_NE(start, status.npos);
  return status.replace(start, status.find('\n', start) - start + 1, instead);
}

TEST(JudgeStatus, takes_a_contained_worker) {
  EXPECT_TRUE(broker::judge_status(kContained, 0));
  EXPECT_TRUE(broker::judge_status(kContained, 2));
  EXPECT_FALSE(broker::judge_status(kContained, 3));
}

TEST(JudgeStatus, refuses_root_in_any_of_the_four_ids) {
  for (const char* ids :
       {"0\t7\t7\t7", "7\t0\t7\t7", "7\t7\t0\t7", "7\t7\t7\t0", "7\t7\t7", "7", "", "x", "7\t7\t7\t7\t0"})
    EXPECT_FALSE(broker::judge_status(with("Uid:", std::string{"Uid:\t"} + ids + "\n"), 0)) << ids;
}

TEST(JudgeStatus, refuses_any_capability_in_any_set) {
  for (const char* set : {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"}) {
    EXPECT_FALSE(broker::judge_status(with(set, std::string{set} + "\t0000000000000001\n"), 0)) << set;
    EXPECT_FALSE(broker::judge_status(with(set, std::string{set} + "\t8000000000000000\n"), 0)) << set;
    EXPECT_FALSE(broker::judge_status(with(set, std::string{set} + "\t\n"), 0)) << set;
    EXPECT_FALSE(broker::judge_status(with(set, ""), 0)) << set << " is not there";
  }
}

TEST(JudgeStatus, refuses_missing_or_weak_filters) {
  EXPECT_FALSE(broker::judge_status(with("NoNewPrivs:", "NoNewPrivs:\t0\n"), 0));
  EXPECT_FALSE(broker::judge_status(with("NoNewPrivs:", ""), 0));
  EXPECT_FALSE(broker::judge_status(with("Seccomp:", "Seccomp:\t0\n"), 0));
  EXPECT_FALSE(broker::judge_status(with("Seccomp:", "Seccomp:\t1\n"), 0));
  EXPECT_FALSE(broker::judge_status(with("Seccomp:", ""), 0));
  EXPECT_FALSE(broker::judge_status(with("Seccomp_filters:", "Seccomp_filters:\t0\n"), 0));
  EXPECT_FALSE(broker::judge_status("", 0));
}

TEST(JudgeStatus, takes_only_the_lines_of_their_own_name) {
  // A process may name itself: the name line is escaped by the kernel, but must not be looked into either.
  EXPECT_FALSE(broker::judge_status("Name:\tUid:\t7\t7\t7\t7\n" + with("Uid:", ""), 0));
}

// The real thing.

class Spawning : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to spawn a worker";
  }
};

std::string link(pid_t pid, const std::string& name) {
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/" + name);
}

std::string status_line(pid_t pid, const std::string& name) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return line.substr(name.size());
  return {};
}

TEST_F(Spawning, gives_the_worker_namespaces_of_its_own) {
  auto captive = capture();
  ASSERT_TRUE(captive) << captive.error().message();
  const pid_t pid = captive->process().pid;
  // The mount namespace it makes itself: lockdown_test.cpp.
  for (const char* space : {"ns/user", "ns/pid", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup"})
    EXPECT_NE(link(pid, space), link(::getpid(), space)) << space;
}

TEST_F(Spawning, gives_it_one_unprivileged_id_and_nothing_else) {
  auto captive = capture(kVictimUid);
  ASSERT_TRUE(captive) << captive.error().message();
  const pid_t pid = captive->process().pid;
  const std::string id = std::to_string(kVictimUid), four = "\t" + id + "\t" + id + "\t" + id + "\t" + id;
  EXPECT_EQ(status_line(pid, "Uid:"), four);
  EXPECT_EQ(status_line(pid, "Gid:"), four);
  EXPECT_EQ(status_line(pid, "Groups:"), "\t ");
  std::ifstream map{"/proc/" + std::to_string(pid) + "/uid_map"}, groups{"/proc/" + std::to_string(pid) + "/setgroups"};
  std::uint32_t inside = 1, outside = 0, count = 0;
  map >> inside >> outside >> count;
  EXPECT_EQ(inside, 0U);
  EXPECT_EQ(outside, kVictimUid);
  EXPECT_EQ(count, 1U);
  std::string allowed;
  groups >> allowed;
  EXPECT_EQ(allowed, "deny");
}

TEST_F(Spawning, leaves_our_own_groups_and_signals_as_they_were) {
  const gid_t mine[] = {4, 24};
  gid_t before[64];
  const int count = ::getgroups(64, before);
  ASSERT_EQ(::setgroups(2, mine), 0);
  sigset_t mask_before{}, mask_after{};
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_before);
  auto captive = capture();
  ASSERT_TRUE(captive);
  EXPECT_EQ(status_line(captive->process().pid, "Groups:"), "\t ") << "the worker keeps none of them";
  gid_t after[64];
  ASSERT_EQ(::getgroups(64, after), 2);
  EXPECT_EQ(after[1], 24U);
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_after);
  EXPECT_EQ(std::memcmp(&mask_before, &mask_after, sizeof mask_before), 0);
  ASSERT_EQ(::setgroups(static_cast<std::size_t>(count), before), 0);
}

TEST_F(Spawning, hands_down_only_the_log_and_the_channel_whatever_we_hold) {
  const UniqueFd leak{::open("/", O_RDONLY | O_DIRECTORY)};  // not close-on-exec on purpose
  const UniqueFd high{::fcntl(leak.get(), F_DUPFD, 700)};
  auto captive = capture();
  ASSERT_TRUE(captive);
  const std::string directory = "/proc/" + std::to_string(captive->process().pid) + "/fd";
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{directory}) {
    ++count;
    EXPECT_LE(std::stoi(entry.path().filename()), 3);
  }
  EXPECT_EQ(count, 4U);
}

TEST_F(Spawning, starts_it_with_default_signals_and_a_session_of_its_own) {
  struct sigaction ignored {
  }, before{};
  ignored.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGHUP, &ignored, &before), 0);
  auto captive = capture();
  ::sigaction(SIGHUP, &before, nullptr);
  ASSERT_TRUE(captive);
  const pid_t pid = captive->process().pid;
  for (const char* set : {"SigBlk:", "SigIgn:"}) EXPECT_EQ(status_line(pid, set), "\t0000000000000000") << set;
  EXPECT_EQ(::getsid(pid), pid);
  EXPECT_EQ(::getpgid(pid), pid);
}

TEST_F(Spawning, passes_no_environment_but_the_socket) {
  ASSERT_EQ(::setenv("EXT4BOX_SECRET", "1", 1), 0);
  auto captive = capture();
  ::unsetenv("EXT4BOX_SECRET");
  ASSERT_TRUE(captive);
  std::ifstream file{"/proc/" + std::to_string(captive->process().pid) + "/environ"};
  const std::string environment{std::istreambuf_iterator<char>{file}, {}};
  EXPECT_EQ(environment, std::string("LISTEN_FDS=1\0LISTEN_PID=1\0", 26));
}

TEST_F(Spawning, makes_a_worker_that_survives_its_makers_death_and_process_group) {
  // We become the one who inherits orphans, so that it can be reaped here.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t maker = ::fork();
  if (maker == 0) {
    ::setpgid(0, 0);
    auto captive = capture();
    const pid_t pid = captive ? captive->process().pid : 0;
    (void)!::write(ends[1], &pid, sizeof pid);
    ::pause();
  }
  pid_t worker = 0;
  ASSERT_EQ(::read(ends[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_GT(worker, 0);
  // A worker ends when its channel does unless it serves; stopped, it cannot, and so shows whether a signal came.
  ::kill(worker, SIGSTOP);
  ASSERT_EQ(::kill(-maker, SIGKILL), 0);
  ASSERT_EQ(::waitpid(maker, nullptr, 0), maker);
  EXPECT_EQ(::kill(worker, 0), 0) << "it died with its maker";
  siginfo_t how{};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(worker), &how, WEXITED | WNOHANG), 0);
  EXPECT_EQ(how.si_pid, 0);
  ::kill(worker, SIGKILL);
  EXPECT_EQ(::waitpid(worker, nullptr, 0), worker);
  ::close(ends[0]), ::close(ends[1]);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_F(Spawning, says_why_a_binary_cannot_run_and_leaves_no_process) {
  MountPlan plan;
  const auto error = [&](const char* path) {
    plan.worker_path = path;
    const auto worker = broker::spawn_worker(plan, kVictimUid);
    return worker ? std::error_code{} : worker.error().code;
  };
  EXPECT_EQ(error("/nowhere/at/all"), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error("/etc/passwd"), std::errc::permission_denied) << "not executable";
  EXPECT_EQ(error("/etc"), std::errc::permission_denied) << "a directory";
  EXPECT_EQ(error("/dev/zero"), std::errc::permission_denied) << "a device";
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(Spawning, makes_no_worker_that_is_root) {
  MountPlan plan;
  plan.worker_path = EXT4BOX_VICTIM;
  EXPECT_FALSE(broker::spawn_worker(plan, 0));
}

TEST_F(Spawning, calls_a_worker_that_has_not_locked_itself_uncontained) {
  auto captive = capture();
  ASSERT_TRUE(captive);
  const auto contained = broker::check_contained(captive->process(), 0);
  ASSERT_FALSE(contained);
  EXPECT_EQ(contained.error().code, std::errc::operation_not_permitted);
  EXPECT_EQ(broker::count_filters(captive->process()).value(), 0U);
}

TEST_F(Spawning, knows_a_service_by_its_credentials_and_notices_one_that_has_gone) {
  auto captive = capture();
  ASSERT_TRUE(captive);
  const ucred known{captive->process().pid, kVictimUid, kVictimUid};
  const auto met = broker::meet_worker(UniqueFd{}, known);
  ASSERT_TRUE(met) << met.error().message();
  EXPECT_FALSE(met->ours);
  EXPECT_TRUE(met->process);
  EXPECT_FALSE(broker::meet_worker(UniqueFd{}, ucred{known.pid, kVictimUid + 1, 0})) << "another uid";
  EXPECT_FALSE(broker::meet_worker(UniqueFd{}, ucred{0, kVictimUid, 0})) << "a process we cannot see";

  ASSERT_TRUE(captive->tell("stay wait"));
  ASSERT_EQ(captive->hear(), "now");
  ASSERT_TRUE(captive->tell("end"));
  ASSERT_TRUE(captive->end());
  EXPECT_FALSE(broker::meet_worker(UniqueFd{}, known));
  EXPECT_FALSE(broker::check_contained(*met, 0));
}

}  // namespace
