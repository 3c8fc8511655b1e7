#include "broker/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <cstdint>

namespace broker {

namespace {

using protocol::UniqueFd;
constexpr int kInternalFailure = 4;

void write_code(int pipe, int exit_code) noexcept {
  const auto byte = static_cast<std::uint8_t>(exit_code);
  // A front process that is gone needs no answer; SIGPIPE is ignored.
  [[maybe_unused]] const auto written = ::write(pipe, &byte, 1);
}

/// Waits for one code from the broker; relays what the caller is told to do. -1: the broker is gone.
int next_code(int pipe, int signals, pid_t broker) {
  pollfd watched[] = {{pipe, POLLIN, 0}, {signals, POLLIN, 0}};
  while (true) {
    if (::poll(watched, 2, -1) < 0) continue;
    if (signalfd_siginfo told; (watched[1].revents & POLLIN) != 0 && ::read(signals, &told, sizeof told) > 0)
      ::kill(broker, SIGTERM);
    if (watched[0].revents == 0) continue;
    std::uint8_t code = 0;
    return ::read(pipe, &code, 1) == 1 ? code : -1;
  }
}

}  // namespace

void Report::mounted(int exit_code) noexcept { write_code(pipe_.get(), exit_code); }
void Report::ended(int exit_code) noexcept { write_code(pipe_.get(), exit_code); }

void Report::leave_caller() noexcept {
  const UniqueFd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (int standard = 0; standard <= 2; ++standard) ::dup2(nothing.get(), standard);
  pipe_.reset();
}

int launch(bool foreground, const std::function<void(Report&)>& broker) {
  sigset_t relayed, before;
  ::sigemptyset(&relayed);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::sigaddset(&relayed, number);
  ::sigprocmask(SIG_BLOCK, &relayed, &before);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return kInternalFailure;
  UniqueFd reading{ends[0]}, writing{ends[1]};
  const UniqueFd signals{::signalfd(-1, &relayed, SFD_CLOEXEC)};
  const pid_t child = ::fork();
  if (child < 0) return kInternalFailure;
  if (child == 0) {
    ::setsid();
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    reading.reset();
    Report report{std::move(writing)};
    broker(report);
    ::_exit(0);
  }
  writing.reset();
  int code = next_code(reading.get(), signals.get(), child);
  if (foreground && code == 0) code = next_code(reading.get(), signals.get(), child);
  if (code != 0) ::waitpid(child, nullptr, 0);  // everything is undone before the caller goes on
  return code < 0 ? kInternalFailure : code;
}

}  // namespace broker
