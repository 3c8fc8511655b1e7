#include "worker/sandbox/seccomp_filter.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "tests/worker/sandbox/bpf_evaluator.h"
#include "worker/sandbox/seccomp_rules.h"

namespace {

using namespace worker::sandbox;

constexpr pid_t kSelf = 4711;

class Filter : public testing::Test {
 protected:
  void SetUp() override {
    auto filter = SeccompFilter::build(kSelf);
    ASSERT_TRUE(filter) << filter.error().message();
    auto program = filter->export_program();
    ASSERT_TRUE(program) << program.error().message();
    program_ = *std::move(program);
    ASSERT_FALSE(program_.empty());
  }

  std::uint32_t verdict(int call, std::initializer_list<std::uint64_t> arguments = {},
                        std::uint32_t architecture = AUDIT_ARCH_X86_64) const {
    seccomp_data data{};
    data.nr = call;
    data.arch = architecture;
    std::copy(arguments.begin(), arguments.end(), data.args);
    const auto verdict = testing_support::evaluate(program_, data);
    EXPECT_TRUE(verdict) << "malformed program";
    return verdict.value_or(0);
  }

  std::vector<sock_filter> program_;
};

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW, kKill = SECCOMP_RET_KILL_PROCESS;

struct Case {
  const char* what;
  int call;
  std::initializer_list<std::uint64_t> arguments;
  std::uint32_t verdict;
};

TEST_F(Filter, judges_made_up_calls_as_the_table_says) {
  constexpr std::uint64_t kHigh = 0x1'0000'0000, kNoFile = ~std::uint64_t{0};
  const Case cases[] = {
      {"read", SYS_read, {5, 0, 4096}, kAllow},
      {"pwrite", SYS_pwrite64, {5, 0, 4096, 0}, kAllow},
      {"data map", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, kNoFile}, kAllow},
      {"data map, as some call it", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 0xffff'ffff}, kAllow},
      {"map of a file", SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, 4}, kKill},
      {"executable map", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, kNoFile}, kKill},
      {"executable only", SYS_mmap, {0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, kNoFile}, kKill},
      {"executable, other bits high", SYS_mmap, {0, 4096, PROT_EXEC | kHigh, 0, kNoFile}, kKill},
      {"data protection", SYS_mprotect, {0, 4096, PROT_NONE}, kAllow},
      {"executable protection", SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}, kKill},
      {"discard on a device", SYS_ioctl, {5, BLKDISCARD}, kKill},
      {"secure discard", SYS_ioctl, {5, BLKSECDISCARD}, kKill},
      {"push a character", SYS_ioctl, {0, TIOCSTI}, kKill},
      {"push a character, dirty upper half", SYS_ioctl, {0, TIOCSTI | kHigh}, kKill},
      {"is it a terminal", SYS_ioctl, {0, TCGETS}, SECCOMP_RET_ERRNO | ENOTTY},
      {"punch", SYS_fallocate, {5, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}, kAllow},
      {"punch, dirty upper half", SYS_fallocate, {5, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE | kHigh}, kAllow},
      {"grow", SYS_fallocate, {5, 0}, kKill},
      {"collapse", SYS_fallocate, {5, FALLOC_FL_COLLAPSE_RANGE}, kKill},
      {"flags", SYS_fcntl, {5, F_GETFL}, kAllow},
      {"set flags", SYS_fcntl, {5, F_SETFL, O_DIRECT}, kKill},
      {"stat a descriptor", SYS_newfstatat, {5, 0, 0, AT_EMPTY_PATH}, kAllow},
      {"stat a path", SYS_newfstatat, {5, 0, 0, 0}, kKill},
      {"no more descriptors", SYS_setsockopt, {3, SOL_SOCKET, 83}, kAllow},
      {"other option", SYS_setsockopt, {3, SOL_SOCKET, SO_SNDBUF}, kKill},
      {"other level", SYS_setsockopt, {3, 6, 83}, kKill},
      {"signal ourselves", SYS_tgkill, {kSelf, kSelf, 6}, kAllow},
      {"signal another", SYS_tgkill, {kSelf + 1, kSelf, 6}, kKill},
      {"kill", SYS_kill, {1, 9}, kKill},
      {"give memory back", SYS_madvise, {0, 4096, MADV_DONTNEED}, kAllow},
      {"merge memory", SYS_madvise, {0, 4096, MADV_MERGEABLE}, kSanitized ? kAllow : kKill},
      {"title", SYS_prctl, {PR_SET_NAME}, kKill},
      {"dumpable", SYS_prctl, {PR_SET_DUMPABLE, 1}, kKill},
      {"thread", SYS_clone, {CLONE_VM | CLONE_THREAD | CLONE_SIGHAND}, kKill},
      {"clone3", SYS_clone3, {0, 0}, kKill},
      {"x32 read", static_cast<int>(0x4000'0000 + SYS_read), {5}, kKill},
      {"number -1", -1, {}, kKill},
  };
  for (const Case& a : cases) EXPECT_EQ(verdict(a.call, a.arguments), a.verdict) << a.what;
}

TEST_F(Filter, kills_every_call_that_no_row_names) {
  std::set<int> named;
  for (const Rule& rule : kAllowed) named.insert(rule.call);
  for (const Refusal& refusal : kRefused) named.insert(refusal.call);
  if (kSanitized) {
    for (const Rule& rule : kAllowedForSanitizers) named.insert(rule.call);
    for (const Refusal& refusal : kRefusedForSanitizers) named.insert(refusal.call);
  }
  for (int call = 0; call < 1024; ++call) {
    if (named.contains(call)) continue;
    EXPECT_EQ(verdict(call), kKill) << call;
  }
}

TEST_F(Filter, kills_calls_of_every_other_architecture) {
  constexpr std::uint32_t kOthers[] = {AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, 0};
  for (const std::uint32_t architecture : kOthers) {
    EXPECT_EQ(verdict(SYS_read, {5}, architecture), kKill) << architecture;
  }
}

TEST_F(Filter, never_lets_these_pass_whatever_their_arguments) {
  for (const int call : {SYS_execve,  SYS_execveat,     SYS_fork,    SYS_vfork,          SYS_clone,
                         SYS_clone3,  SYS_ptrace,       SYS_socket,  SYS_connect,        SYS_mount,
                         SYS_unshare, SYS_setns,        SYS_setuid,  SYS_io_uring_setup, SYS_bpf,
                         SYS_keyctl,  SYS_memfd_create, SYS_openat2, SYS_pidfd_getfd,    SYS_process_vm_writev}) {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
      EXPECT_EQ(verdict(call, {value, value, value, value, value, value}), kKill) << call;
    }
  }
}

TEST(Rules, all_have_a_reason) {
  for (const Rule& rule : kAllowed) EXPECT_GT(rule.why.size(), 3U) << rule.call;
  for (const Refusal& refusal : kRefused) EXPECT_GT(refusal.why.size(), 3U) << refusal.call;
}

TEST(Rules, print_one_line_each_and_what_happens_otherwise) {
  const std::string text = describe_rules();
  EXPECT_NE(text.find("allow    pread64 "), text.npos);
  EXPECT_NE(text.find("mmap arg2 without 0x4"), text.npos);
  EXPECT_NE(text.find("tgkill arg0=self"), text.npos);
  EXPECT_NE(text.find("setsockopt arg1=0x1 arg2=0x53"), text.npos);
  EXPECT_NE(text.find("ENOTTY   ioctl arg1=0x5401"), text.npos);
  EXPECT_NE(text.find("kill     (everything else)"), text.npos);
  EXPECT_EQ(text.find("not on this architecture"), text.npos);
}

TEST(Evaluator, refuses_programs_that_are_not_well_formed) {
  const seccomp_data call{};
  EXPECT_FALSE(testing_support::evaluate({}, call));
  const sock_filter beyond[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)};
  EXPECT_FALSE(testing_support::evaluate(beyond, call));
  const sock_filter away[] = {BPF_JUMP(BPF_JMP | BPF_JA, 5, 0, 0), BPF_STMT(BPF_RET | BPF_K, 0)};
  EXPECT_FALSE(testing_support::evaluate(away, call));
}

}  // namespace
