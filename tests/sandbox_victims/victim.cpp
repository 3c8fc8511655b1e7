// Started in place of the worker: locks itself down as the worker does, then tries what it is told to.
//
// On descriptor 3: one packet with "lock" or "stay" and the deed's name, separated by a space; answers "now" before
// the deed and its errno in four bytes after it. The deed "wait" ends with the channel.
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "tests/sandbox_victims/deeds.h"
#include "worker/sandbox/lockdown.h"
#include "worker/sandbox/parked_threads.h"

extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

int main() {
  char text[256];
  const ssize_t length = ::recv(3, text, sizeof text, 0);
  if (length < 5) return 1;
  const std::string_view order{text, static_cast<std::size_t>(length)};
  const std::string_view name = order.substr(5);

  worker::sandbox::ParkedThreads threads;
  if (order.starts_with("lock ")) {
    const worker::sandbox::Plan plan{.own_namespaces = true, .start_threads = [&] { return threads.start(2); }};
    if (const auto sealed = worker::sandbox::lock_down(plan); !sealed) {
      std::fprintf(stderr, "%s\n", sealed.error().message().c_str());
      return 2;
    }
  }
  // What the lock does first; deeds about mounts show nothing without it.
  if (order.starts_with("stay ") && ::unshare(CLONE_NEWNS) != 0) return 5;
  if (::write(3, "now", 3) != 3) return 3;
  if (name == "wait") {
    (void)!::recv(3, text, sizeof text, 0);
    ::_exit(0);
  }
  for (const victims::Deed& deed : victims::deeds()) {
    if (deed.name != name) continue;
    const int outcome = deed.commit();
    (void)!::write(3, &outcome, sizeof outcome);
    ::_exit(0);
  }
  return 4;
}
