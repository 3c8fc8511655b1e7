// Threads made while threads can still be made.
#pragma once

#include <functional>
#include <memory>

#include "protocol/result.h"

namespace worker::sandbox {

/// Threads that wait for work. They are all there is once the filter forbids clone(2), so everything that wants to run
/// beside others must fit into them. Signals are blocked in them like in the thread that started them.
class ParkedThreads {
 public:
  ParkedThreads();
  ParkedThreads(const ParkedThreads&) = delete;
  ParkedThreads& operator=(const ParkedThreads&) = delete;
  ~ParkedThreads();  ///< as finish()

  /// Makes `count` threads; once, before any work is given. On return they have reached the place where they wait.
  /// Fails with what pthread_create(3) says.
  protocol::Result<void> start(unsigned count);

  /// Gives `work`, which must not throw, to a thread that waits. EAGAIN if all are busy. Callable from any thread.
  protocol::Result<void> run(std::function<void()> work);

  /// Waits until all work has ended and ends the threads; they cannot be made again.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace worker::sandbox
