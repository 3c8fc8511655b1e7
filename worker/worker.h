// One worker's life, a function per phase.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>

#include "worker/control.h"
#include "worker/disk/block_device.h"
#include "worker/fuse/session.h"
#include "worker/orders.h"
#include "worker/sandbox/lockdown.h"
#include "worker/sandbox/parked_threads.h"
#include "worker/signals.h"
#include "worker/title.h"
#include "worker/volume/volume.h"

namespace worker {

/// The worker's exit status.
enum class Exit : int {
  done = 0,          ///< the volume was closed, complete and durable
  not_started = 1,   ///< wrong usage, or nobody passed a socket
  not_confined = 3,  ///< some step of the lock-down failed: nothing foreign was read
  refused = 4,       ///< the volume could not be served, or the broker broke off; nothing was written
  interrupted = 8,   ///< a signal came before the volume was served; nothing was written
  not_durable = 32,  ///< closing the volume failed
};

class Worker {
 public:
  Worker(bool spawned, ProcessTitle title);

  // The phases, in their order. After an error only give_up() may follow.
  Result<void> prepare();  ///< fresh: the channel, memory and signals; nothing foreign is read
  Result<void> lock();     ///< locked: from here on the sandbox is closed
  Result<void> probe();    ///< probing: opens the volume, writes nothing
  Result<void> mount();    ///< mounting: has the broker mount it, answers FUSE_INIT; writes nothing
  Result<void> serve();    ///< serving: until it is unmounted
  Result<void> close();    ///< closing: says how the volume was left

  /// Tells the broker why, and sees a session that has begun to its end.
  void give_up(const Error& error) noexcept;

 private:
  Result<void> take_orders(const std::vector<std::string>& arguments);
  Result<void> open_volume(const sandbox::Sealed& sealed);
  Result<void> tell_about_volume();
  MountRequest mount_request() const;
  void obey(int signal) noexcept;
  void end_threads() noexcept;

  bool spawned_;
  ProcessTitle title_;
  unsigned serving_threads_;
  Signals signals_;
  std::optional<Control> control_;
  std::optional<sandbox::Sealed> sealed_;

  Orders orders_;
  volume::MountOptions options_;
  std::uint32_t exit_class_ = 32;  ///< mount(8)'s, of a refusal now
  bool block_ = false;             ///< the source is a block device
  UniqueFd fuse_device_;
  std::unique_ptr<disk::BlockDevice> device_;
  std::unique_ptr<volume::Volume> volume_;
  std::optional<fuse::Server> server_;
  std::atomic<bool> writing_{false};  ///< the volume may be written: a signal must not end us
  bool session_ = false;              ///< server_ was started
  Result<void> outcome_;              ///< of closing the volume

  std::stop_source stop_commits_;
  sandbox::ParkedThreads threads_;  ///< last: ended before what they use
};

}  // namespace worker
