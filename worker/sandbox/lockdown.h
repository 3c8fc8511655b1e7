// The worker's first act: giving up everything it will not need, in the order in which that is possible.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "protocol/result.h"

namespace worker::sandbox {

using protocol::Error;
using protocol::Result;

/// What the one who locks down must say.
struct Plan {
  /// True for a worker that the broker spawned into namespaces of its own: it empties its root and may drop
  /// what only a namespace's root holds. For a service this is the unit's business; all else is done just the same.
  bool own_namespaces = false;

  /// Starts every thread the process will ever have; called last before the filter, which allows no more. They
  /// inherit what was given up before.
  std::function<Result<void>()> start_threads = [] { return Result<void>{}; };
};

/// Proof that lock_down() came to its end. Whatever touches foreign bytes asks for one.
class Sealed {
 private:
  Sealed() = default;
  friend Result<Sealed> lock_down(const Plan& plan);
};

/// Runs once, on the only thread, before a byte of the volume is read. Keeps descriptors 0 to 3. The process ignores
/// SIGXFSZ and SIGPIPE afterwards. On an error the process is half-locked and must exit; the detail names the step.
Result<Sealed> lock_down(const Plan& plan);

/// The names of all steps in order, for --help, logs and tests.
std::span<const std::string_view> step_names();

}  // namespace worker::sandbox
