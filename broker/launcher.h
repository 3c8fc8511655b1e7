// Two processes out of one: the front one, which the caller waits for, and the broker, which stays.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "protocol/unique_fd.h"

namespace broker {

/// The broker's way to tell the front process how it went.
class Report {
 public:
  /// `inherited`: the descriptors that the caller's process was born with.
  Report(protocol::UniqueFd pipe, std::vector<int> inherited) noexcept
      : pipe_{std::move(pipe)}, inherited_{std::move(inherited)} {}
  /// The mount has succeeded (0) or failed. Unless the front process stays in the foreground it ends with this.
  void mounted(int exit_code) noexcept;
  /// The mount has ended; of interest only in the foreground.
  void ended(int exit_code) noexcept;
  /// Lets go of the caller's terminal and descriptors, so that nobody who waits for their end waits for the supervisor.
  void leave_caller() noexcept;

 private:
  protocol::UniqueFd pipe_;
  std::vector<int> inherited_;
};

/// Runs `broker` in a process of its own session, which outlives logout and signals to the caller's process group. INT,
/// TERM, HUP and QUIT sent to the caller's process reach it as TERM, and it starts with INT and TERM blocked. Returns
/// the exit code: the one reported, 4 if the broker ended without a word, or 8 if a signal came too late to be a
/// failure and the broker has ended because of it. For a process that ends with this: the four signals stay blocked, so
/// that none that comes later makes a success look like a death.
int launch(bool foreground, const std::function<void(Report&)>& broker);

}  // namespace broker
