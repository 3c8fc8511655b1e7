// A root directory with nothing in it.
#pragma once

#include "protocol/result.h"

namespace worker::sandbox {

/// Makes a mount namespace of its own with an empty read-only tmpfs as root and current directory, and lets go of all
/// that was mounted before. Needs CAP_SYS_ADMIN in its user namespace, and that no other thread exists.
protocol::Result<void> enter_empty_root();

}  // namespace worker::sandbox
