#include "worker/sandbox/lockdown.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "worker/sandbox/empty_root.h"
#include "worker/sandbox/landlock.h"
#include "worker/sandbox/sanitizers.h"
#include "worker/sandbox/seccomp_filter.h"

// Newer than Debian 12's headers.
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

namespace worker::sandbox {
namespace {

using protocol::errno_error;
using protocol::last_error;

constexpr rlim_t kAddressSpace = rlim_t{2} << 30;
/// The channel, three standard ones, the volume, /dev/fuse and some clones of it.
constexpr rlim_t kDescriptors = 64;
/// Each of glibc's arenas reserves up to 64 MiB of the address space above.
constexpr int kArenas = 4;
/// Smaller pieces than this come from the heap: buffers of a request's size would otherwise be mapped anew each time.
constexpr int kLargestOnHeap = 4 << 20;

Result<void> close_other_descriptors(const Plan&) {
  if (::syscall(SYS_close_range, 4U, ~0U, 0U) != 0) return last_error();
  return {};
}

Result<void> empty_the_root(const Plan& plan) { return plan.own_namespaces ? enter_empty_root() : Result<void>{}; }

/// Failures that would come as a deadly signal shall come as an errno: EFBIG, EPIPE.
Result<void> ignore_write_signals(const Plan&) {
  if (::signal(SIGXFSZ, SIG_IGN) == SIG_ERR || ::signal(SIGPIPE, SIG_IGN) == SIG_ERR) return last_error();
  return {};
}

Result<void> limit(decltype(RLIMIT_AS) resource, rlim_t most) {
  const rlimit both{most, most};
  if (::setrlimit(resource, &both) != 0) return last_error();
  return {};
}

/// The file size stays what it was: the volume's image is written through it. Its soft limit is no use to anybody.
Result<void> set_limits(const Plan&) {
  ::mallopt(M_ARENA_MAX, kArenas);
  ::mallopt(M_MMAP_THRESHOLD, kLargestOnHeap);
  // Before glibc gives memory of an arena back it opens a file under /proc, which would be our end.
  ::mallopt(M_TRIM_THRESHOLD, -1);
  if (!kSanitized) TRY(limit(RLIMIT_AS, kAddressSpace));
  TRY(limit(RLIMIT_CORE, 0));  // a core would hold the contents of files
  TRY(limit(RLIMIT_NOFILE, kDescriptors));
  TRY(limit(RLIMIT_MEMLOCK, 0));
  TRY(limit(RLIMIT_MSGQUEUE, 0));
  TRY(limit(RLIMIT_RTPRIO, 0));
  rlimit size{};
  if (::getrlimit(RLIMIT_FSIZE, &size) != 0) return last_error();
  size.rlim_cur = size.rlim_max;
  if (::setrlimit(RLIMIT_FSIZE, &size) != 0) return last_error();
  return {};
}

Result<void> refuse_new_privileges(const Plan&) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return last_error();
  return {};
}

Result<void> deny_by_landlock(const Plan&) { return deny_all_access(); }

/// No way back to capabilities by being uid 0. Only somebody with CAP_SETPCAP can say so; a service that was
/// given none has none to lose either, which the next step checks.
Result<void> lock_securebits(const Plan& plan) {
  constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (::prctl(PR_SET_SECUREBITS, kBits, 0, 0, 0) == 0) return {};
  return errno == EPERM && !plan.own_namespaces ? Result<void>{} : last_error();
}

Result<void> drop_capabilities(const Plan&) {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return last_error("ambient set");
  for (int capability = 0;; ++capability) {
    const int held = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (held < 0) break;  // EINVAL: beyond the last one this kernel knows
    if (held > 0 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return last_error("bounding set");
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return last_error();
  return {};
}

/// Nobody of the same uid may attach to us or read our memory through /proc.
Result<void> forbid_inspection(const Plan&) {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return last_error();
  return {};
}

/// What the filter says of PROT_EXEC, said once more by the memory manager itself, where the kernel (6.3) can.
Result<void> refuse_executable_memory(const Plan&) {
  if (::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0 || errno == EINVAL) return {};
  return last_error();
}

Result<void> start_threads(const Plan& plan) { return plan.start_threads(); }

Result<void> allow_no_process(const Plan&) { return limit(RLIMIT_NPROC, 0); }

Result<void> load_filter(const Plan&) {
  TRY(filter, SeccompFilter::build(::getpid()));
  return filter.load();
}

struct Step {
  std::string_view name;
  Result<void> (*run)(const Plan&);
};

/// Order matters. Capabilities, Landlock and no_new_privs belong to threads, so the threads come after them; the filter
/// comes last because the steps above need calls that it forbids.
constexpr Step kSteps[] = {
    {"close every descriptor but the channel and the log", close_other_descriptors},
    {"empty the root directory", empty_the_root},
    {"take failed writes as errors, not as signals", ignore_write_signals},
    {"limit memory, descriptors and core size", set_limits},
    {"refuse new privileges for ever", refuse_new_privileges},
    {"deny every right Landlock knows", deny_by_landlock},
    {"lock the securebits", lock_securebits},
    {"empty all five capability sets", drop_capabilities},
    {"forbid inspection by others", forbid_inspection},
    {"refuse executable memory", refuse_executable_memory},
    {"start all threads", start_threads},
    {"allow no further process", allow_no_process},
    {"install the system-call filter on every thread", load_filter},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kSteps)> names;
  for (std::size_t index = 0; index < names.size(); ++index) names[index] = kSteps[index].name;
  return names;
}();

}  // namespace

Result<Sealed> lock_down(const Plan& plan) {
  for (const Step& step : kSteps) {
    if (auto done = step.run(plan); !done) {
      Error error = std::move(done).error();
      error.detail = error.detail.empty() ? std::string{step.name} : std::string{step.name} + ": " + error.detail;
      return error;
    }
  }
  return Sealed{};
}

std::span<const std::string_view> step_names() { return kNames; }

}  // namespace worker::sandbox
