#include "tests/crash/programs.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <vector>

#include "protocol/unique_fd.h"

namespace crash {
namespace {

const std::string kSystemPath = "/usr/sbin:/sbin:/usr/bin:/bin";

/// What programs may see: nothing of ours, so that they behave the same everywhere.
std::vector<std::string> environment() { return {"PATH=" + kSystemPath, "LC_ALL=C"}; }

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> found;
  for (std::string& word : words) found.push_back(word.data());
  found.push_back(nullptr);
  return found;
}

bool is_usual(const std::string& line) {
  return line.empty() || line.starts_with("e2fsck ") || line.starts_with("Pass ") ||
         (line.starts_with("/proc/") && line.ends_with(" blocks") && line.find("non-contiguous") != std::string::npos);
}

}  // namespace

Ended run_program(std::initializer_list<std::string> command) {
  Ended ended;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ended;
  protocol::UniqueFd reading{ends[0]}, writing{ends[1]};
  std::vector<std::string> words{command}, settings = environment();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDERR_FILENO);
  pid_t child = 0;
  const std::string program = "/usr/sbin/" + words.front();
  const bool in_sbin = ::access(program.c_str(), X_OK) == 0;
  const int failed = ::posix_spawnp(&child, in_sbin ? program.c_str() : words.front().c_str(), &actions, nullptr,
                                    pointers(words).data(), pointers(settings).data());
  ::posix_spawn_file_actions_destroy(&actions);
  writing = {};
  if (failed != 0) return ended;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(reading.get(), buffer, sizeof buffer)) > 0;)
    ended.output.append(buffer, static_cast<std::size_t>(got));
  int status = 0;
  if (::waitpid(child, &status, 0) == child)
    ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

std::string fsck_complaint(const std::string& path) {
  const Ended ended = run_program({"e2fsck", "-fn", path});
  std::string unusual;
  std::istringstream lines{ended.output};
  for (std::string line; std::getline(lines, line);)
    if (!is_usual(line)) unusual += "\n  " + line;
  if (ended.status != 0) unusual += "\n  e2fsck ended with status " + std::to_string(ended.status);
  return unusual;
}

std::string replay_by_fsck(const std::string& path) {
  const Ended ended = run_program({"e2fsck", "-p", "-E", "journal_only", path});
  // 1: the journal was replayed.
  if (ended.status == 0 || ended.status == 1) return "";
  return ended.output + "\n  e2fsck -p ended with status " + std::to_string(ended.status);
}

std::string mount_by_kernel(const std::string& path) {
  const std::string script = "mount -t ext4 -o loop,noatime,noinit_itable " + path + " /mnt && umount /mnt";
  const Ended ended = run_program({"unshare", "--mount", "--propagation", "private", "sh", "-c", script});
  if (ended.status == 0) return "";
  return ended.output + "\n  the kernel's mount ended with status " + std::to_string(ended.status);
}

bool can_mount_by_kernel() { return ::geteuid() == 0 && ::access("/dev/loop-control", F_OK) == 0; }

}  // namespace crash
