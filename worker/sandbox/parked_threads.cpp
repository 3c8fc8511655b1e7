#include "worker/sandbox/parked_threads.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "worker/sandbox/sanitizers.h"

namespace worker::sandbox {
namespace {

using protocol::errno_error;
using protocol::Result;

/// Enough for libext2fs's recursion; known beforehand, since RLIMIT_STACK may be anything.
constexpr std::size_t kStackBytes = kSanitized ? std::size_t{8} << 20 : std::size_t{1} << 20;

}  // namespace

struct ParkedThreads::State {
  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::deque<std::function<void()>> waiting;
  std::size_t idle = 0;
  bool finishing = false;
  std::vector<pthread_t> threads;  // the owner's own

  void live() noexcept {
    std::unique_lock lock{mutex};
    while (true) {
      ++idle;
      changed.notify_all();
      changed.wait(lock, [&] { return finishing || !waiting.empty(); });
      if (waiting.empty()) return;
      {
        const auto work = std::move(waiting.front());
        waiting.pop_front();
        lock.unlock();
        work();
      }
      lock.lock();
    }
  }
};

ParkedThreads::ParkedThreads() : state_{std::make_unique<State>()} {}
ParkedThreads::~ParkedThreads() { finish(); }

Result<void> ParkedThreads::start(unsigned count) {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  int failure = ::pthread_attr_setstacksize(&attributes, kStackBytes);
  for (unsigned made = 0; made < count && failure == 0; ++made) {
    pthread_t thread;
    const auto live = [](void* state) noexcept -> void* {
      static_cast<State*>(state)->live();
      return nullptr;
    };
    failure = ::pthread_create(&thread, &attributes, live, state_.get());
    if (failure != 0) break;
    state_->threads.push_back(thread);
    // A thread's first steps are made by libc, with calls that the filter will not know.
    std::unique_lock lock{state_->mutex};
    state_->changed.wait(lock, [&] { return state_->idle == state_->threads.size(); });
  }
  ::pthread_attr_destroy(&attributes);
  if (failure != 0) return errno_error(failure, "thread");
  return {};
}

Result<void> ParkedThreads::run(std::function<void()> work) {
  {
    const std::lock_guard lock{state_->mutex};
    if (state_->idle == 0 || state_->finishing) return errno_error(EAGAIN, "no thread is left");
    --state_->idle;
    state_->waiting.push_back(std::move(work));
  }
  state_->changed.notify_all();
  return {};
}

void ParkedThreads::finish() {
  {
    const std::lock_guard lock{state_->mutex};
    state_->finishing = true;
  }
  state_->changed.notify_all();
  for (const pthread_t thread : std::exchange(state_->threads, {})) ::pthread_join(thread, nullptr);
}

}  // namespace worker::sandbox
