// The broker proper: the steps of one mount, in the process that becomes the supervisor.
#pragma once

#include "broker/launcher.h"
#include "broker/options.h"

namespace broker {

/// Mounts, tells `report`, supervises until the mount has ended. Prints its own line on failure.
void run_broker(const MountPlan& plan, Report& report);

}  // namespace broker
