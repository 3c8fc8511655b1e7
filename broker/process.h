// Other processes, told apart from later ones with the same number.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "protocol/result.h"
#include "protocol/unique_fd.h"

namespace broker {

/// /proc/PID/stat field 22, in clock ticks since boot; 0 if there is no such process.
std::uint64_t process_start_time(pid_t pid);

/// A pidfd, checked to be of the process that started then. ESRCH: that one has ended.
protocol::Result<protocol::UniqueFd> open_process(pid_t pid, std::uint64_t start_time);

/// Waits until a descriptor can be read, a pidfd: until its process has ended. False if it cannot within `timeout`; -1
/// never can.
bool wait_until_readable(int descriptor, std::chrono::milliseconds timeout);

/// How a process ended, as waitpid() says it, for one that need not be our child: from the kernel's record behind the
/// pidfd (Linux 6.15 and newer) or from the process while nobody has reaped it. Nothing if it lives or nobody knows.
std::optional<int> exit_status(int pidfd, pid_t pid);
/// "ended with code 3", "was killed by signal 9".
std::string describe_end(int status);

/// INT and TERM, from now on blocked, as a descriptor that is readable once one has come: they act only where somebody
/// looks, and no step is cut in two.
protocol::Result<protocol::UniqueFd> block_interrupts();

/// Tells a process that works from one that is stuck. Work is processor time, input and output; waiting for a disk
/// counts for a while too, since a large flush is a single wait.
class ProgressWatch {
 public:
  ProgressWatch(pid_t pid, std::chrono::milliseconds patience);

  /// Looks again; call it a few times a second. True once nothing has moved for `patience`, or has only waited for a
  /// disk for ten times that, or has seemed to work for sixty times that: work can be feigned.
  bool stuck();

 private:
  using Clock = std::chrono::steady_clock;

  pid_t pid_;
  std::chrono::milliseconds patience_;
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point moved_ = begun_, idle_since_ = begun_;
  std::string last_;
};

}  // namespace broker
