// What the volumes under test find around them: a clock that ticks by being asked, so that recordings and with them all
// states are the same each time, and nobody who reads the log.
#include <sys/time.h>
#include <time.h>

#include <atomic>

#include "protocol/log.h"
#include "tests/crash/rules.h"

namespace {

[[maybe_unused]] const bool quiet = [] {
  protocol::set_log_sink([](protocol::Severity, std::string_view) noexcept {});
  return true;
}();

std::atomic<long> ticks{0};

timespec now() {
  const long milliseconds = ticks.fetch_add(1);
  return {.tv_sec = 1'700'000'000 + milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1'000'000};
}

}  // namespace

namespace crash {

void rewind_clock() { ticks = 0; }

}  // namespace crash

// In the program itself these take the place of libc's.
extern "C" {
int clock_gettime(clockid_t, timespec* time) {
  *time = now();
  return 0;
}
time_t time(time_t* into) {
  const time_t seconds = now().tv_sec;
  if (into != nullptr) *into = seconds;
  return seconds;
}
}
