// The broker's capabilities, shed in named stages.
#pragma once

#include "broker/options.h"

namespace broker {

enum class Stage : unsigned char {
  open,       ///< resolves paths, sets up the loop device, starts the worker
  mount,      ///< speaks with the worker, makes and attaches the mount
  supervise,  ///< takes the mount away, kills the worker; no new privileges, own system-call filter
};

/// Keeps only what the stage needs, for good. Lacking some of it to begin with is no error: what needs it will say so.
Result<void> enter_stage(Stage stage);

}  // namespace broker
