#include "broker/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>
#include <vector>

#include "broker/text.h"

namespace broker {
namespace {

/// Fields of a stat file from the third on: the second is the program's name, which may contain anything.
std::vector<std::string> stat_fields(const std::string& path) {
  const std::string text = read_small_file(path);
  std::vector<std::string> fields;
  const auto name_end = text.rfind(')');
  if (name_end == text.npos) return fields;
  for (std::size_t at = name_end + 2; at < text.size();) {
    const auto end = std::min(text.find_first_of(" \n", at), text.size());
    fields.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

constexpr std::size_t kState = 0, kUserTime = 11, kSystemTime = 12, kStartTime = 19,
                      kExitCode = 49;  // man proc's numbers less 3

/// Since Linux 6.13, the exit code since 6.15; Debian 12's headers have neither. Source: kernel uapi, linux/pidfd.h.
struct PidfdInfo {
  std::uint64_t mask = 0, cgroup = 0;
  std::uint32_t pid = 0, thread_group = 0, parent = 0, ids[8] = {};
  std::int32_t exit_code = 0;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long kPidfdGetInfo = _IOWR(0xff, 11, PidfdInfo);
constexpr std::uint64_t kPidfdInfoExit = 1 << 3;

std::string process_folder(pid_t pid) { return "/proc/" + std::to_string(pid); }

bool waits_for_disk(pid_t pid) {
  std::error_code none;
  for (const auto& thread : std::filesystem::directory_iterator{process_folder(pid) + "/task", none}) {
    const auto fields = stat_fields(thread.path() / "stat");
    if (!fields.empty() && fields[kState] == "D") return true;
  }
  return false;
}

}  // namespace

std::uint64_t process_start_time(pid_t pid) {
  const auto fields = pid > 0 ? stat_fields(process_folder(pid) + "/stat") : std::vector<std::string>{};
  if (fields.size() <= kStartTime || fields[kState] == "Z" || fields[kState] == "X") return 0;
  return parse_number<std::uint64_t>(fields[kStartTime]).value_or(0);
}

protocol::Result<protocol::UniqueFd> open_process(pid_t pid, std::uint64_t start_time) {
  protocol::UniqueFd process{pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1};
  // The descriptor first: what is compared afterwards can no longer change under it.
  if (!process || start_time == 0 || process_start_time(pid) != start_time) return protocol::errno_error(ESRCH);
  return process;
}

bool wait_until_readable(int descriptor, std::chrono::milliseconds timeout) {
  pollfd wait{descriptor, POLLIN, 0};
  return ::poll(&wait, 1, static_cast<int>(timeout.count())) == 1;
}

std::optional<int> exit_status(int pidfd, pid_t pid) {
  PidfdInfo info{.mask = kPidfdInfoExit};
  if (::ioctl(pidfd, kPidfdGetInfo, &info) == 0 && (info.mask & kPidfdInfoExit)) return info.exit_code;
  const auto fields = stat_fields(process_folder(pid) + "/stat");
  // Looked at before it is known that the number was still its own.
  if (fields.size() <= kExitCode || fields[kState] != "Z" ||
      ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) != 0)
    return std::nullopt;
  return parse_number<int>(fields[kExitCode]);
}

std::string describe_end(int status) {
  return WIFEXITED(status) ? "ended with code " + std::to_string(WEXITSTATUS(status))
                           : "was killed by signal " + std::to_string(WTERMSIG(status));
}

protocol::Result<protocol::UniqueFd> block_interrupts() {
  sigset_t interrupts;
  ::sigemptyset(&interrupts);
  for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&interrupts, number);
  if (::sigprocmask(SIG_BLOCK, &interrupts, nullptr) != 0) return protocol::last_error("sigprocmask");
  protocol::UniqueFd descriptor{::signalfd(-1, &interrupts, SFD_CLOEXEC)};
  if (!descriptor) return protocol::last_error("signalfd");
  return descriptor;
}

ProgressWatch::ProgressWatch(pid_t pid, std::chrono::milliseconds patience) : pid_{pid}, patience_{patience} {}

bool ProgressWatch::stuck() {
  const auto fields = stat_fields(process_folder(pid_) + "/stat");
  std::string now = read_small_file(process_folder(pid_) + "/io");
  if (fields.size() > kSystemTime) now += fields[kUserTime] + " " + fields[kSystemTime];
  const auto time = Clock::now();
  if (now != last_) {
    last_ = std::move(now);
    moved_ = idle_since_ = time;
  } else if (waits_for_disk(pid_)) {
    idle_since_ = time;
  }
  return time - idle_since_ >= patience_ || time - moved_ >= 10 * patience_ || time - begun_ >= 60 * patience_;
}

}  // namespace broker
