#include "broker/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "broker/process.h"

namespace broker {

namespace {

using protocol::UniqueFd;
constexpr int kInternalFailure = 4, kInterrupted = 8;
constexpr std::chrono::seconds kLateInterrupt{2};

void write_code(int pipe, int exit_code) noexcept {
  const auto byte = static_cast<std::uint8_t>(exit_code);
  // A front process that is gone needs no answer; SIGPIPE is ignored.
  [[maybe_unused]] const auto written = ::write(pipe, &byte, 1);
}

/// For what no broker has a line on standard error.
int say(const char* reason, int exit_code) {
  std::fprintf(stderr, "fuservicemount: %s\n", reason);
  return exit_code;
}

/// Waits for one code from the broker; relays what the caller is told to do, and says whether there was something.
int next_code(int pipe, int signals, pid_t broker, bool& relayed) {
  pollfd watched[] = {{pipe, POLLIN, 0}, {signals, POLLIN, 0}};
  while (true) {
    if (::poll(watched, 2, -1) < 0) continue;
    if (signalfd_siginfo told; (watched[1].revents & POLLIN) != 0 && ::read(signals, &told, sizeof told) > 0)
      relayed = ::kill(broker, SIGTERM) == 0;
    if (watched[0].revents == 0) continue;
    std::uint8_t code = 0;
    if (::read(pipe, &code, 1) == 1) return code;
    return say("the broker ended without a word", kInternalFailure);
  }
}

}  // namespace

void Report::mounted(int exit_code) noexcept { write_code(pipe_.get(), exit_code); }
void Report::ended(int exit_code) noexcept { write_code(pipe_.get(), exit_code); }

void Report::leave_caller() noexcept {
  const UniqueFd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (int standard = 0; standard <= 2; ++standard) ::dup2(nothing.get(), standard);
  for (const int number : inherited_) ::close(number);
  pipe_.reset();
}

int launch(bool foreground, const std::function<void(Report&)>& broker) {
  std::vector<int> inherited;
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", unreadable})
    inherited.push_back(std::atoi(entry.path().filename().c_str()));
  // Without the one that listed them, whose number will be somebody else's.
  std::erase_if(inherited, [](int number) { return number <= 2 || ::fcntl(number, F_GETFD) < 0; });
  sigset_t told, before;
  ::sigemptyset(&told);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::sigaddset(&told, number);
  ::sigprocmask(SIG_BLOCK, &told, &before);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return kInternalFailure;
  UniqueFd reading{ends[0]}, writing{ends[1]};
  UniqueFd signals{::signalfd(-1, &told, SFD_CLOEXEC)};
  const pid_t child = ::fork();
  if (child < 0) return kInternalFailure;
  if (child == 0) {
    ::setsid();
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&before, number);  // until block_interrupts() looks
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    reading.reset();
    signals.reset();
    Report report{std::move(writing), std::move(inherited)};
    broker(report);
    ::_exit(0);
  }
  writing.reset();
  bool relayed = false;
  int code = next_code(reading.get(), signals.get(), child, relayed);
  if (foreground) {
    if (code == 0) code = next_code(reading.get(), signals.get(), child, relayed);
  } else if (code == 0 && relayed) {
    // It came too late to be a failure, but not for the supervisor, which unmounts unless somebody uses the mount.
    const UniqueFd ending{static_cast<int>(::syscall(SYS_pidfd_open, child, 0U))};
    if (wait_until_readable(ending.get(), kLateInterrupt)) code = say("interrupted", kInterrupted);
  }
  if (code != 0) ::waitpid(child, nullptr, 0);  // everything is undone before the caller goes on
  // The signals stay blocked: one that comes now would end the caller as if the mount had been undone.
  return code;
}

}  // namespace broker
