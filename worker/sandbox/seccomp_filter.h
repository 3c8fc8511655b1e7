// The table of system calls as a filter: built by libseccomp, loaded, exported, printed.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "protocol/result.h"

namespace worker::sandbox {

/// A finished filter: what seccomp_rules.h allows is allowed, what it refuses is refused, all else kills the process,
/// as do calls of another architecture.
class SeccompFilter {
 public:
  /// `own_process` is the only one that signals may be sent to.
  static protocol::Result<SeccompFilter> build(pid_t own_process);

  /// Puts it on every thread of the process, for ever. Fails if that is not possible for one of them.
  protocol::Result<void> load() const;

  /// The program the kernel will run. For tests.
  protocol::Result<std::vector<sock_filter>> export_program() const;

 private:
  using Context = std::unique_ptr<void, void (*)(void*)>;
  explicit SeccompFilter(Context context) : context_{std::move(context)} {}
  Context context_;
};

/// The tables as text, one call with its condition and reason per line: for --print-seccomp.
std::string describe_rules();

#ifdef EXT4BOX_PRINT_VIOLATIONS
/// Development builds only: a forbidden call is named on standard error before the process ends.
void print_violations();
#endif

}  // namespace worker::sandbox
