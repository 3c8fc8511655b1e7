// The signals a worker obeys, all on one thread of its own.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>

namespace worker {

/// SIGTERM, SIGINT and SIGHUP, waited for instead of handled.
class Signals {
 public:
  /// Blocks them in this thread and those it starts; before any thread exists.
  Signals();

  /// Calls `act` for each that comes, until stop(). To be run by one thread.
  void obey(const std::function<void(int signal)>& act) noexcept;
  /// Ends obey(), if it runs or when it begins.
  void stop() noexcept;

 private:
  std::atomic<pid_t> thread_{0};  ///< that runs obey(); 0: none, -1: none may
};

}  // namespace worker
