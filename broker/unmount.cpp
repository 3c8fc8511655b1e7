#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <thread>

#include "broker/actions.h"
#include "broker/process.h"
#include "broker/state_file.h"

namespace broker {
namespace {

using protocol::errno_error;
using std::chrono::milliseconds;

constexpr milliseconds kLook{20};
/// How long a worker that was killed may take to end, and an ended mount's supervisor to say how it went.
constexpr milliseconds kAfterwards{2000};

/// What stands at the mount point, learnt without a request to the file system there.
struct Target {
  MountEntry entry;
  MountIdentity identity;
  std::optional<OpenState> state;
  UniqueFd worker;  ///< pidfd
};

Result<Target> find_target(const MountPlan& plan) {
  TRY(where, open_mount_point(plan));
  TRY(found, identify_mount(where.descriptor.get()));
  Target target;
  target.identity = found;
  TRY(table, read_mount_table());
  // The last one is on top of what was mounted there before.
  for (const MountEntry& entry : table)
    if (entry.device == found.device && entry.mount_point == where.path) target.entry = entry;
  if (target.entry.type.empty()) return errno_error(EINVAL, "not mounted");
  if (!target.entry.type.starts_with("fuse")) return errno_error(EINVAL, "not mounted by ext4box");
  target.identity.source = target.entry.source;
  target.state = find_state(target.identity);
  if (target.state)
    if (auto worker = open_process(target.state->state.worker_pid, target.state->state.worker_start_time))
      target.worker = std::move(*worker);
  return target;
}

/// umount2 in a process of its own: on fuseblk it waits for the worker, and that wait must not be ours.
class UnmountCall {
 public:
  UnmountCall(const MountEntry& entry, int flags) : child_{::fork()} {
    if (child_ == 0) {
      const auto done = detach(entry, flags);
      ::_exit(done ? 0 : done.error().code.value());
    }
    if (child_ < 0) result_ = errno;
  }
  UnmountCall(const UnmountCall&) = delete;

  /// The errno it ended with, nothing while it waits.
  std::optional<int> result() {
    int status = 0;
    if (!result_ && ::waitpid(child_, &status, WNOHANG) == child_)
      result_ = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return result_;
  }

 private:
  pid_t child_;
  std::optional<int> result_;
};

/// Waits for the kernel and the worker, each as long as the worker gets on. True if it had to be given up.
bool wait_until_closed(const Target& target, UnmountCall& call, milliseconds patience) {
  ProgressWatch watch{target.state->state.worker_pid, patience};
  while (!call.result() || !wait_until_readable(target.worker.get(), milliseconds{0})) {
    if (call.result().value_or(0) != 0) return false;
    if (watch.stuck()) return true;
    // Held elsewhere, it is not being closed at all, and waiting for its end would be wrong.
    const MountState& state = target.state->state;
    if (call.result() && superblock_exists(state.identity, state.block)) return false;
    std::this_thread::sleep_for(kLook);
  }
  return false;
}

constexpr const char* kUnseen = "unmounted, but nobody saw how its worker ended; check the volume with e2fsck";

Error reason(std::string text) { return Error{{}, std::move(text)}; }

/// How the supervisor saw the end; without one, how the kernel did. Who knows neither does not know the volume whole.
Result<void> outcome(const Target& target) {
  const MountState& state = target.state->state;
  const auto deadline = std::chrono::steady_clock::now() + kAfterwards;
  do {
    const bool supervised = target.state->supervised();
    if (const auto said = target.state->outcome()) {
      if (said->empty()) return {};
      return reason(*said);
    }
    const auto status = supervised ? std::nullopt : exit_status(target.worker.get(), state.worker_pid);
    if (status && WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return {};
    if (status) return reason("the worker " + describe_end(*status) + "; check the volume with e2fsck");
    std::this_thread::sleep_for(kLook);
  } while (std::chrono::steady_clock::now() < deadline);
  return reason(kUnseen);
}

Result<void> finish(const MountPlan& plan, const Target& target, UnmountCall& call) {
  const std::string worker = "worker " + std::to_string(target.state->state.worker_pid);
  if (wait_until_closed(target, call, plan.timeout)) {
    ::syscall(SYS_pidfd_send_signal, target.worker.get(), SIGKILL, nullptr, 0);
    const bool ended = wait_until_readable(target.worker.get(), kAfterwards);
    return reason(worker + " made no progress for " + std::to_string(plan.timeout.count()) + " s and was killed" +
                  (ended ? "" : ", but does not end") + "; check the volume with e2fsck");
  }
  if (const int failure = call.result().value_or(0)) return errno_error(failure, "cannot unmount");
  if (wait_until_readable(target.worker.get(), milliseconds{0})) return outcome(target);
  // umount(8) may well mean just this one of several mounts.
  if (plan.program != "fuservicemount") return {};
  const auto others = mounts_of(target.identity);
  return reason("unmounted here, but still in use " +
                (others.empty() ? "in another mount namespace" : "on " + others.front().mount_point) + "; " + worker +
                " goes on");
}

Result<void> unmount(const MountPlan& plan) {
  TRY(target, find_target(plan));
  const int flags = (plan.lazy ? MNT_DETACH : 0) | (plan.force ? MNT_FORCE : 0);
  UnmountCall call{target.entry, flags};
  if (target.state && target.worker && !plan.lazy) return finish(plan, target, call);
  // Nobody to wait for: only the call itself, and with -l not even that once the mount is out of sight.
  const auto deadline = std::chrono::steady_clock::now() + plan.timeout;
  while (!call.result() && !(plan.lazy && mounts_of(target.identity).empty())) {
    if (std::chrono::steady_clock::now() >= deadline) return errno_error(ETIMEDOUT, "cannot unmount");
    std::this_thread::sleep_for(kLook);
  }
  if (const int failure = call.result().value_or(0)) return errno_error(failure, "cannot unmount");
  // What could be written had a worker, which has ended before us; -l promises nothing.
  if (!plan.lazy && !target.entry.read_only()) return reason(kUnseen);
  return {};
}

}  // namespace

int fail_as_mount(const MountPlan& plan, const Error& error) {
  const bool forbidden = error.code == std::errc::operation_not_permitted || error.code == std::errc::permission_denied;
  return fail(plan, plan.mount_point, error, forbidden ? 1 : 32);
}

int run_unmount(const MountPlan& plan) {
  auto done = unmount(plan);
  if (!done && plan.read_only_if_busy && done.error().code.value() == EBUSY) {
    MountPlan read_only = plan;
    read_only.action = Action::remount;
    read_only.writing = Writing::read_only;
    warn(plan, plan.mount_point, "busy, so it is only made read-only");
    return run_remount(read_only);
  }
  if (!done) return fail_as_mount(plan, done.error());
  if (plan.verbose) warn(plan, plan.mount_point, "unmounted");
  return 0;
}

}  // namespace broker
