// The supervisor's system-call filter.
#pragma once

#include "broker/options.h"

namespace broker {

/// From now on what is not in seccomp_rules.h kills the process.
Result<void> load_supervisor_filter();

}  // namespace broker
