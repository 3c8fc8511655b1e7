// What /proc tells of a worker: who it is and how it is confined.
#include <dirent.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "broker/text.h"
#include "broker/worker_process.h"

namespace broker {
namespace {

using protocol::errno_error;
using protocol::last_error;

/// The words after "NAME:" in a status text; empty if there is no such line.
std::string_view field(std::string_view status, std::string_view name) {
  for (std::size_t start = 0; start < status.size();) {
    const std::size_t end = std::min(status.find('\n', start), status.size());
    std::string_view line = status.substr(start, end - start);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') {
      line.remove_prefix(name.size() + 1);
      const std::size_t first = line.find_first_not_of(" \t");
      return first == std::string_view::npos ? std::string_view{} : line.substr(first);
    }
    start = end + 1;
  }
  return {};
}

/// The number that a field begins with.
std::optional<std::uint64_t> number(std::string_view text, int base = 10) {
  return parse_number<std::uint64_t>(text.substr(0, text.find_first_of(" \t")), base);
}

/// Filters as the status says; kernels before 5.9 do not count them.
unsigned filters_in(std::string_view status) {
  if (const auto counted = number(field(status, "Seccomp_filters"))) return static_cast<unsigned>(*counted);
  return number(field(status, "Seccomp")) == 2U ? 1 : 0;
}

/// True if all four ids of a Uid line are there and none is root's.
bool nobody_is_root(std::string_view ids) {
  int seen = 0;
  for (; !ids.empty(); ++seen) {
    const auto id = number(ids);
    if (!id || *id == 0) return false;
    const std::size_t gap = ids.find_first_of(" \t");
    ids = gap == std::string_view::npos ? std::string_view{} : ids.substr(gap + 1);
  }
  return seen == 4;
}

Error uncontained(std::string reason) {
  return errno_error(EPERM, "the worker is not contained: " + std::move(reason));
}

Result<std::string> read_status(const std::string& directory) {
  std::string text = read_small_file(directory + "/status");
  if (text.empty()) return errno_error(ESRCH, "cannot look at the worker");
  return text;
}

/// Whether the process behind the pidfd still runs: only then was the number in a /proc path surely its own.
bool alive(const WorkerProcess& worker) {
  pollfd ended{worker.process.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

/// Hands the status text of every thread to `look`; stops at the first error.
template <typename Look>
Result<void> each_thread(const WorkerProcess& worker, Look look) {
  const std::string tasks = "/proc/" + std::to_string(worker.pid) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(tasks.c_str()), ::closedir};
  if (!directory) return last_error("cannot look at the worker");
  unsigned seen = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    TRY(status, read_status(tasks + "/" + entry->d_name));
    TRY(look(status));
    ++seen;
  }
  if (seen == 0 || !alive(worker)) return errno_error(ESRCH, "the worker has ended");
  return {};
}

}  // namespace

Result<void> judge_status(std::string_view status, unsigned filters_before) {
  if (!nobody_is_root(field(status, "Uid"))) return uncontained("it runs as root");
  for (const auto* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    if (number(field(status, set), 16) != 0U) return uncontained(std::string{set} + " is not empty");
  }
  if (number(field(status, "NoNewPrivs")) != 1U) return uncontained("NoNewPrivs is not set");
  if (number(field(status, "Seccomp")) != 2U) return uncontained("it has no system-call filter");
  if (filters_in(status) <= filters_before) return uncontained("it has not added its own system-call filter");
  return {};
}

Result<unsigned> count_filters(const WorkerProcess& worker) {
  unsigned fewest = ~0U;
  TRY(each_thread(worker, [&](std::string_view status) -> Result<void> {
    fewest = std::min(fewest, filters_in(status));
    return {};
  }));
  return fewest;
}

Result<void> check_contained(const WorkerProcess& worker, unsigned filters_before) {
  return each_thread(worker, [&](std::string_view status) { return judge_status(status, filters_before); });
}

Result<WorkerProcess> meet_worker(UniqueFd channel, const ucred& credentials, UniqueFd process) {
  if (credentials.pid <= 0) return errno_error(ESRCH, "the worker is in a foreign pid namespace");
  if (!process) process.reset(static_cast<int>(::syscall(SYS_pidfd_open, credentials.pid, 0U)));
  if (!process) return last_error("cannot hold on to the worker");
  WorkerProcess worker{std::move(process), std::move(channel), UniqueFd{}, credentials.pid, credentials.uid, false};

  // The number may have been given to another process before the pidfd was made: look again through it.
  TRY(status, read_status("/proc/" + std::to_string(worker.pid)));
  if (number(field(status, "Uid")) != credentials.uid || !alive(worker)) {
    return errno_error(ESRCH, "the worker has ended");
  }
  return worker;
}

}  // namespace broker
