// The worker as the broker knows it: started or met, checked, watched, killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "broker/options.h"
#include "protocol/unique_fd.h"

namespace broker {

using protocol::UniqueFd;

struct WorkerProcess {
  UniqueFd process;  ///< pidfd; readable when it has ended
  UniqueFd channel;  ///< our end of the SEQPACKET pair
  pid_t pid = 0;     ///< in our pid namespace
  std::uint32_t uid = 0;
  bool ours = true;  ///< spawned by us, so it can be reaped
};

/// Starts the worker binary in fresh user, mount, pid, net, ipc, uts and cgroup namespaces, its root mapped to `uid`
/// outside, with nothing open but its end of the channel (descriptor 3) and stderr.
Result<WorkerProcess> spawn_worker(const MountPlan& plan, std::uint32_t uid);

/// Where the worker binary is: --worker, else beside us in a build tree, else the installed place.
Result<UniqueFd> open_worker_binary(const MountPlan& plan);

/// What /proc says of the worker right before it is handed the volume. A sanity check, not a proof.
/// Fails with EPERM and the reason: uid 0, a capability left, NoNewPrivs not 1, fewer filters than `filters_before` + 1.
Result<void> check_contained(const WorkerProcess& worker, unsigned filters_before);

}  // namespace broker
