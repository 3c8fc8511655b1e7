#include "worker/sandbox/seccomp_filter.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "protocol/unique_fd.h"
#include "worker/sandbox/seccomp_rules.h"

namespace worker::sandbox {
namespace {

using protocol::errno_error;
using protocol::last_error;
using protocol::Result;
using protocol::UniqueFd;

#ifdef EXT4BOX_PRINT_VIOLATIONS
constexpr std::uint32_t kOtherwise = SCMP_ACT_TRAP;
#else
constexpr std::uint32_t kOtherwise = SCMP_ACT_KILL_PROCESS;
#endif

/// A call with the conditions its row states.
class Entry {
 public:
  Entry(int call, std::uint32_t action) : call_{call}, action_{action} {}

  void add(const std::optional<scmp_arg_cmp>& condition, pid_t own_process) {
    if (!condition) return;
    conditions_[count_] = *condition;
    if (condition->datum_b == kOwnProcess) conditions_[count_].datum_b = static_cast<std::uint32_t>(own_process);
    ++count_;
  }

  Result<void> enter(scmp_filter_ctx context) const {
    const int failure = ::seccomp_rule_add_array(context, action_, call_, count_, conditions_.data());
    // A call that this architecture does not have needs no rule.
    if (failure == 0 || (failure == -EDOM && call_ < 0)) return {};
    return errno_error(-failure, "system call " + std::to_string(call_));
  }

 private:
  int call_;
  std::uint32_t action_;
  std::array<scmp_arg_cmp, 2> conditions_{};
  unsigned count_ = 0;
};

Result<void> enter(scmp_filter_ctx context, const Rule& rule, pid_t own_process) {
  Entry entry{rule.call, SCMP_ACT_ALLOW};
  entry.add(rule.only, own_process);
  entry.add(rule.also, own_process);
  return entry.enter(context);
}

Result<void> enter(scmp_filter_ctx context, const Refusal& refusal, pid_t own_process) {
  Entry entry{refusal.call, SCMP_ACT_ERRNO(static_cast<std::uint32_t>(refusal.error))};
  entry.add(refusal.only, own_process);
  return entry.enter(context);
}

Result<void> set_attributes(scmp_filter_ctx context) {
  const std::pair<scmp_filter_attr, std::uint32_t> attributes[] = {
      {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
      {SCMP_FLTATR_CTL_TSYNC, 1},     // every thread, or an error
      {SCMP_FLTATR_CTL_OPTIMIZE, 2},  // a binary tree: no call waits for the whole list
  };
  for (const auto& [attribute, value] : attributes) {
    if (const int failure = ::seccomp_attr_set(context, attribute, value); failure != 0) {
      return errno_error(-failure, "filter attribute");
    }
  }
  return {};
}

std::string name_of(int call) {
  const std::unique_ptr<char, void (*)(void*)> name{::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call), ::free};
  return name ? name.get() : "(not on this architecture)";
}

std::string describe(const std::optional<scmp_arg_cmp>& condition) {
  if (!condition) return {};
  char text[64];
  const std::string argument = " arg" + std::to_string(condition->arg);
  if (condition->datum_b == kOwnProcess) return argument + "=self";
  const bool forbidden_bits = condition->datum_b == 0 && condition->datum_a != 0xffff'ffff;
  std::snprintf(text, sizeof text, forbidden_bits ? " without 0x%llx" : "=0x%llx",
                static_cast<unsigned long long>(forbidden_bits ? condition->datum_a : condition->datum_b));
  return argument + text;
}

std::string line(std::string_view verdict, const std::string& call, std::string_view why) {
  char text[256];
  std::snprintf(text, sizeof text, "%-8.*s %-34s %.*s\n", static_cast<int>(verdict.size()), verdict.data(),
                call.c_str(), static_cast<int>(why.size()), why.data());
  return text;
}

}  // namespace

Result<SeccompFilter> SeccompFilter::build(pid_t own_process) {
  Context context{::seccomp_init(kOtherwise), ::seccomp_release};
  if (!context) return errno_error(ENOMEM, "filter");
  TRY(set_attributes(context.get()));
  for (const Rule& rule : kAllowed) TRY(enter(context.get(), rule, own_process));
  for (const Refusal& refusal : kRefused) TRY(enter(context.get(), refusal, own_process));
  if (kSanitized) {
    for (const Rule& rule : kAllowedForSanitizers) TRY(enter(context.get(), rule, own_process));
    for (const Refusal& refusal : kRefusedForSanitizers) TRY(enter(context.get(), refusal, own_process));
  }
  return SeccompFilter{std::move(context)};
}

Result<void> SeccompFilter::load() const {
#ifdef EXT4BOX_PRINT_VIOLATIONS
  print_violations();
#endif
  if (const int failure = ::seccomp_load(context_.get()); failure != 0) return errno_error(-failure, "load");
  return {};
}

Result<std::vector<sock_filter>> SeccompFilter::export_program() const {
  const UniqueFd file{::memfd_create("filter", MFD_CLOEXEC)};
  if (!file) return last_error("filter file");
  if (const int failure = ::seccomp_export_bpf(context_.get(), file.get()); failure != 0) {
    return errno_error(-failure, "export");
  }
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<std::size_t>(size) / sizeof(sock_filter));
  if (::pread(file.get(), program.data(), static_cast<std::size_t>(size), 0) != size) return last_error("export");
  return program;
}

std::string describe_rules() {
  std::string text;
  const auto allowed = [&](const Rule& rule) {
    text += line("allow", name_of(rule.call) + describe(rule.only) + describe(rule.also), rule.why);
  };
  const auto refused = [&](const Refusal& refusal) {
    text += line(::strerrorname_np(refusal.error), name_of(refusal.call) + describe(refusal.only), refusal.why);
  };
  for (const Rule& rule : kAllowed) allowed(rule);
  for (const Refusal& refusal : kRefused) refused(refusal);
  if (kSanitized) {
    for (const Rule& rule : kAllowedForSanitizers) allowed(rule);
    for (const Refusal& refusal : kRefusedForSanitizers) refused(refusal);
  }
  return text + line("kill", "(everything else)", "ends the whole process with SIGSYS");
}

#ifdef EXT4BOX_PRINT_VIOLATIONS
namespace {

void name_violation(int, siginfo_t* what, void*) {
  char text[] = "<2>forbidden system call          \n";
  char* digit = text + sizeof text - 3;
  for (int rest = what->si_syscall; rest > 0; rest /= 10) *digit-- = static_cast<char>('0' + rest % 10);
  (void)!::write(2, text, sizeof text - 1);
  ::_exit(128 + SIGSYS);
}

}  // namespace

void print_violations() {
  struct sigaction action {};
  action.sa_sigaction = name_violation;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGSYS, &action, nullptr);
}
#endif

}  // namespace worker::sandbox
