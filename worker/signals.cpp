#include "worker/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace worker {
namespace {

/// Wakes obey() to look whether it should end.
constexpr int kWake = SIGUSR1;

sigset_t obeyed() noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, kWake}) ::sigaddset(&set, signal);
  return set;
}

}  // namespace

Signals::Signals() {
  const sigset_t set = obeyed();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void Signals::obey(const std::function<void(int)>& act) noexcept {
  pid_t none = 0;
  if (!thread_.compare_exchange_strong(none, static_cast<pid_t>(::syscall(SYS_gettid)))) return;
  const sigset_t set = obeyed();
  while (thread_ > 0) {
    const int signal = ::sigwaitinfo(&set, nullptr);
    if (signal > 0 && signal != kWake) act(signal);
  }
}

void Signals::stop() noexcept {
  const pid_t thread = thread_.exchange(-1);
  if (thread > 0) ::syscall(SYS_tgkill, ::getpid(), thread, kWake);
}

}  // namespace worker
