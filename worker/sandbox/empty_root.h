// A root directory with nothing in it.
#pragma once

#include "protocol/result.h"

namespace worker::sandbox {

/// Makes an empty read-only tmpfs this mount namespace's root and current directory and lets go of everything that was
/// mounted before. Needs CAP_SYS_ADMIN over the namespace, which must be nobody else's.
protocol::Result<void> enter_empty_root();

}  // namespace worker::sandbox
