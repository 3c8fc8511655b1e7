// A victim program, spawned exactly as the broker spawns a worker.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>

#include "broker/worker_process.h"

namespace testing_support {

inline constexpr std::uint32_t kVictimUid = 0x7000'4321;

/// How a captive ended.
struct End {
  int code = 0;    ///< CLD_EXITED or CLD_KILLED
  int status = 0;  ///< exit status or signal
};

/// Kills and reaps its process when it goes.
class Captive {
 public:
  explicit Captive(broker::WorkerProcess process) : process_{std::move(process)} {}
  Captive(Captive&&) = default;
  Captive& operator=(Captive&&) = delete;
  ~Captive() {
    if (!process_.process) return;
    ::syscall(SYS_pidfd_send_signal, process_.process.get(), SIGKILL, nullptr, 0U);
    (void)end();
  }

  const broker::WorkerProcess& process() const { return process_; }

  bool tell(std::string_view order) {
    return ::send(process_.channel.get(), order.data(), order.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(order.size());
  }
  /// The next packet; empty at its end or after ten seconds.
  std::string hear() {
    pollfd waiting{process_.channel.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 10'000) != 1) return {};
    char text[64];
    const ssize_t length = ::recv(process_.channel.get(), text, sizeof text, 0);
    return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : std::string{};
  }
  /// The broker's end of the channel; tell() and hear() have none afterwards.
  broker::UniqueFd take_channel() { return std::move(process_.channel); }
  void signal(int number) { ::syscall(SYS_pidfd_send_signal, process_.process.get(), number, nullptr, 0U); }

  /// Waits at most ten seconds for its end.
  std::optional<End> end() {
    pollfd waiting{process_.process.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 10'000) != 1) return std::nullopt;
    siginfo_t how{};
    if (::waitid(P_PIDFD, static_cast<id_t>(process_.process.get()), &how, WEXITED) != 0) return std::nullopt;
    process_.process.reset();
    return End{how.si_code, how.si_status};
  }
  /// All it said on standard error until its end.
  std::string log() {
    std::string all;
    char text[512];
    for (ssize_t length; (length = ::read(process_.log.get(), text, sizeof text)) > 0;)
      all.append(text, static_cast<std::size_t>(length));
    return all;
  }

 private:
  broker::WorkerProcess process_;
};

inline broker::Result<Captive> capture(std::uint32_t uid = kVictimUid, const char* program = EXT4BOX_VICTIM) {
  broker::MountPlan plan;
  plan.worker_path = program;
  TRY(process, broker::spawn_worker(plan, uid));
  return Captive{std::move(process)};
}

}  // namespace testing_support
