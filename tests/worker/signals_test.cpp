#include "worker/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace {

TEST(Signals, are_obeyed_one_by_one_until_stopped) {
  worker::Signals signals;
  std::atomic<int> seen = 0, last = 0;
  std::jthread thread{[&] {
    signals.obey([&](int signal) {
      last = signal;
      ++seen;
    });
  }};
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
    const int before = seen;
    ::kill(::getpid(), signal);
    while (seen == before) std::this_thread::yield();
    EXPECT_EQ(last, signal);
  }
  signals.stop();
  thread.join();
  EXPECT_EQ(seen, 3);
}

TEST(Signals, are_not_waited_for_once_stopped) {
  worker::Signals signals;
  signals.stop();
  signals.obey([](int) { FAIL(); });
}

}  // namespace
