// What stays of the broker while a mount lives: watches, buries, reports. Holds no descriptor on the mount and none of
// the FUSE device, because either would keep the superblock alive; may die without harm to the mount.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "broker/asio.h"
#include "broker/mounting.h"
#include "broker/process.h"
#include "protocol/channel.h"

namespace broker {

/// A worker's standard error, line by line into our log: severity kept, bytes escaped, floods cut off.
class WorkerLog {
 public:
  explicit WorkerLog(pid_t worker) : worker_{worker} {}
  /// Logs all complete lines there are to read now. False once the worker's end is closed.
  bool drain(int pipe);

 private:
  pid_t worker_;
  std::string partial_;
  std::chrono::steady_clock::time_point minute_{};
  unsigned lines_ = 0;
};

class Supervisor {
 public:
  /// `patience`: how long a worker may go without progress once its mount is gone.
  /// `interrupts`: from block_interrupts(); each one that comes, or has come, unmounts.
  Supervisor(asio::io_context& context, Mounting::Remains remains, std::optional<protocol::Channel> channel,
             int interrupts, std::chrono::milliseconds patience = std::chrono::seconds{30});

  /// Until the worker has ended and the mount is gone. 0, or 32 if it did not end well.
  asio::awaitable<int> run();

 private:
  asio::awaitable<void> watch_worker();
  asio::awaitable<void> watch_mounts();
  asio::awaitable<void> watch_channel();
  asio::awaitable<void> watch_log();
  asio::awaitable<void> watch_interrupts();
  asio::awaitable<void> unmount();

  void wake() { alarm_.cancel(); }
  bool read_channel();
  bool owes_something() const;
  void kill_if_stuck();
  int bury();

  asio::io_context& context_;
  Mounting::Remains remains_;
  std::optional<protocol::Channel> channel_;
  const int interrupts_;
  std::chrono::milliseconds patience_;
  WorkerLog log_;
  UniqueFd connections_;  ///< fusectl, mounted for nobody but us: how many requests wait for an answer
  asio::steady_timer alarm_;
  bool mounted_ = true, worker_ended_ = false, killed_ = false;
  std::optional<std::uint32_t> goodbye_;
  std::optional<ProgressWatch> progress_;  ///< while the mount is gone and the worker owes an answer or its end
};

}  // namespace broker
