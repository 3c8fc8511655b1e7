// The worker as the broker knows it: started or met, checked, watched, killed.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/options.h"
#include "protocol/unique_fd.h"

namespace broker {

using protocol::UniqueFd;

struct WorkerProcess {
  UniqueFd process;  ///< pidfd; readable when it has ended
  UniqueFd channel;  ///< our end of the SEQPACKET pair
  UniqueFd log;   ///< read end of the spawned worker's stderr; none for a service, whose stderr is its unit's business
  pid_t pid = 0;  ///< in our pid namespace
  std::uint32_t uid = 0;
  bool ours = true;  ///< spawned by us, so it can be reaped (waitid(P_PIDFD))
};

/// Starts the worker binary in fresh user, pid, net, ipc, uts and cgroup namespaces (the mount namespace it makes
/// itself, as its first act) and a session of its own, its root mapped to `uid` outside (which must not be 0), with
/// nothing open but its end of the channel (descriptor 3) and the log (standard input, output and error are all the
/// same pipe, so that nothing it receives later can be mistaken for one of them). Returns when the binary runs or could
/// not be executed. Needs CAP_SETUID and CAP_SETGID. The worker does not end with us: whoever wants that kills it.
Result<WorkerProcess> spawn_worker(const MountPlan& plan, std::uint32_t uid);

/// A service's worker, known by the credentials on its first message (SCM_CREDENTIALS) and, where the kernel gives one,
/// by the pidfd that came along (SCM_PIDFD). Fails with ESRCH when the number no longer names a process of that uid.
Result<WorkerProcess> meet_worker(UniqueFd channel, const ucred& credentials, UniqueFd process = {});

/// Where the worker binary is: --worker, else beside us in a build tree, else the installed place. The descriptor
/// is executable by fexecve(3) and closes on exec.
Result<UniqueFd> open_worker_binary(const MountPlan& plan);

/// How many filters every thread of the worker carries at least (Seccomp_filters; older kernels do not say: 0 or 1).
Result<unsigned> count_filters(const WorkerProcess& worker);

/// What /proc says of the worker right before it is handed the volume. A sanity check, not a proof.
/// Fails with EPERM and the reason: uid 0, a capability left, NoNewPrivs not 1, no filter, not more filters than
/// `filters_before`. Looks at every thread. Fails with ESRCH if the worker has ended.
Result<void> check_contained(const WorkerProcess& worker, unsigned filters_before);

/// The judgement of check_contained on the text of one /proc/PID/status, for tests and fuzzing.
Result<void> judge_status(std::string_view status, unsigned filters_before);

}  // namespace broker
