#include "broker/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cstdlib>

#include "protocol/log.h"

namespace broker {

namespace {

using protocol::log, protocol::Severity;
using Stream = asio::posix::stream_descriptor;

constexpr unsigned kLinesPerMinute = 200;
constexpr std::size_t kLongestLine = 2048;

UniqueFd mount_connections() {
  const UniqueFd context{::fsopen("fusectl", FSOPEN_CLOEXEC)};
  if (!context || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return {};
  return UniqueFd{::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)};
}

}  // namespace

bool WorkerLog::drain(int pipe) {
  // A worker that never stops talking must not keep us from everything else.
  constexpr int kMostReads = 32;
  char bytes[4096];
  ssize_t count = 0;
  ::fcntl(pipe, F_SETFL, O_NONBLOCK);
  for (int reads = 0; reads < kMostReads && (count = ::read(pipe, bytes, sizeof bytes)) > 0; ++reads) {
    partial_.append(bytes, static_cast<std::size_t>(count));
    for (std::size_t end = 0; (end = partial_.find('\n')) != partial_.npos || partial_.size() > kLongestLine;) {
      end = std::min(end, kLongestLine);
      std::string_view line{partial_.data(), end};
      const auto severity = protocol::split_severity(line);
      const auto now = std::chrono::steady_clock::now();
      if (now - minute_ >= std::chrono::minutes{1}) minute_ = now, lines_ = 0;
      if (++lines_ <= kLinesPerMinute)
        log(severity, "worker " + std::to_string(worker_) + ": " + protocol::escape_controls(line));
      if (lines_ == kLinesPerMinute)
        log(Severity::warning,
            "worker " + std::to_string(worker_) + " says too much; the rest of this minute is dropped");
      partial_.erase(0, std::min(end + 1, partial_.size()));
    }
  }
  return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

Supervisor::Supervisor(asio::io_context& context, Mounting::Remains remains, std::optional<protocol::Channel> channel,
                       int interrupts, std::chrono::milliseconds patience)
    : context_{context},
      remains_{std::move(remains)},
      channel_{std::move(channel)},
      interrupts_{interrupts},
      patience_{patience},
      log_{remains_.state.worker_pid},
      connections_{mount_connections()},
      alarm_{context} {}

asio::awaitable<int> Supervisor::run() {
  asio::co_spawn(context_, watch_worker(), asio::detached);
  asio::co_spawn(context_, watch_mounts(), asio::detached);
  asio::co_spawn(context_, watch_channel(), asio::detached);
  asio::co_spawn(context_, watch_log(), asio::detached);
  asio::co_spawn(context_, watch_interrupts(), asio::detached);
  while (!worker_ended_) {
    kill_if_stuck();
    // While mounted nothing has to be done by the clock.
    if (mounted_) {
      alarm_.expires_at(asio::steady_timer::time_point::max());
    } else {
      alarm_.expires_after(std::min<std::chrono::milliseconds>(patience_ / 4, std::chrono::seconds{1}));
    }
    boost::system::error_code woken;
    co_await alarm_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  const int code = bury();
  context_.stop();
  co_return code;
}

asio::awaitable<void> Supervisor::watch_worker() {
  co_await until_readable(context_, remains_.worker.process.get());
  worker_ended_ = true;
  wake();
}

asio::awaitable<void> Supervisor::watch_mounts() {
  Stream table{context_, ::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)};
  while (true) {
    const auto found = is_mounted(remains_.state.identity);
    if (found && std::exchange(mounted_, *found) != *found) wake();
    boost::system::error_code ignored;
    co_await table.async_wait(Stream::wait_error, asio::redirect_error(asio::use_awaitable, ignored));
  }
}

asio::awaitable<void> Supervisor::watch_channel() {
  if (!channel_) co_return;
  do co_await until_readable(context_, channel_->get());
  while (read_channel());
}

asio::awaitable<void> Supervisor::watch_log() {
  if (!remains_.worker.log) co_return;
  do co_await until_readable(context_, remains_.worker.log.get());
  while (log_.drain(remains_.worker.log.get()));
}

asio::awaitable<void> Supervisor::watch_interrupts() {
  while (true) {
    co_await until_readable(context_, interrupts_);
    signalfd_siginfo told;
    (void)!::read(interrupts_, &told, sizeof told);
    co_await unmount();
  }
}

/// In a child, because taking a fuseblk mount away waits for the worker, and we have to be able to kill that.
asio::awaitable<void> Supervisor::unmount() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(detach_everywhere(remains_.state.identity, 0).empty() ? 0 : 1);
  const UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, child, 0u))};
  if (child < 0 || !process) co_return;
  co_await until_readable(context_, process.get());
  siginfo_t ended{};
  ::waitid(P_PIDFD, static_cast<id_t>(process.get()), &ended, WEXITED);
  if (ended.si_status != 0) log(Severity::error, remains_.state.mount_point + " is in use and stays mounted");
}

/// False once there is nothing more to come.
bool Supervisor::read_channel() {
  auto packet = channel_->receive(std::chrono::steady_clock::now());
  if (!packet) return packet.error().code == protocol::Violation::deadline;
  if (const auto said = protocol::decode<protocol::Goodbye>(packet->bytes)) goodbye_ = said->exit_code;
  return !goodbye_;
}

/// The mount is gone from our namespace: does the worker owe anybody an answer or its end? A superblock that a lazy
/// unmount or another namespace keeps in use, with no request waiting, is fine as it is.
bool Supervisor::owes_something() const {
  const auto& state = remains_.state;
  if (!superblock_exists(state.identity, state.block)) return true;
  // fusectl names a connection by the kernel's own dev_t: 12 bits of major above 20 of minor.
  const auto number =
      std::to_string((gnu_dev_major(state.identity.device) << 20) | gnu_dev_minor(state.identity.device));
  const UniqueFd waiting{::openat(connections_.get(), (number + "/waiting").c_str(), O_RDONLY | O_CLOEXEC)};
  char text[16] = {};
  return waiting && ::read(waiting.get(), text, sizeof text - 1) > 0 && std::atoi(text) > 0;
}

void Supervisor::kill_if_stuck() {
  const auto& state = remains_.state;
  if (mounted_ || !owes_something()) return progress_.reset();
  if (!progress_) progress_.emplace(state.worker_pid, patience_);
  if (killed_ || !progress_->stuck()) return;
  killed_ = true;
  log(Severity::error, "worker " + std::to_string(state.worker_pid) + " of " + protocol::escape_controls(state.source) +
                           " makes no progress though its mount is gone: killed");
  ::syscall(SYS_pidfd_send_signal, remains_.worker.process.get(), SIGKILL, nullptr, 0u);
}

int Supervisor::bury() {
  if (channel_ && !goodbye_) (void)read_channel();
  if (remains_.worker.log) (void)log_.drain(remains_.worker.log.get());
  const int process = remains_.worker.process.get();
  const auto& state = remains_.state;
  const auto status = exit_status(process, state.worker_pid);
  siginfo_t ended{};
  if (remains_.worker.ours) ::waitid(P_PIDFD, static_cast<id_t>(process), &ended, WEXITED);
  const bool abandoned = is_mounted(state.identity).ok() && *is_mounted(state.identity);
  const auto left = detach_everywhere(state.identity, MNT_DETACH);

  std::string outcome;
  if (killed_) {
    outcome = "the worker made no progress and was killed";
  } else if (abandoned || (channel_ ? !goodbye_ : status.value_or(0) != 0)) {
    outcome = "the worker " + (status ? describe_end(*status) : "ended");
  } else if (goodbye_ && *goodbye_ != 0) {
    outcome = "closing the volume failed";
  }
  if (!outcome.empty()) {
    log(Severity::error, protocol::escape_controls(state.source) + " on " +
                             protocol::escape_controls(state.mount_point) + ": " + outcome +
                             (abandoned ? "; detached" : ""));
  }
  for (const auto& mount : left) log(Severity::warning, "left as it is: " + protocol::escape_controls(mount));
  remains_.file.finish(outcome);
  return outcome.empty() ? 0 : 32;
}

}  // namespace broker
