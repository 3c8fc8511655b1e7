// Starting the worker: everything between clone3 and fexecve is in here.
#include "broker/worker_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "broker/install_paths.h"

namespace broker {
namespace {

using protocol::errno_error;
using protocol::last_error;

/// All but the mount namespace, which the worker makes itself once its libraries are mapped
/// (worker/sandbox/empty_root.cpp).
constexpr std::uint64_t kNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

/// How long a started binary may take to reach its main(): the loader only, so this is generous.
constexpr int kExecDeadlineMs = 10'000;

struct Pair {
  UniqueFd ours, theirs;
};

Result<Pair> packet_pair(const char* what) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return last_error(what);
  return Pair{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

Result<Pair> log_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return last_error("cannot make the worker's log pipe");
  return Pair{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

/// What the child needs to know. Plain numbers: nothing in the child may allocate or lock.
struct Inheritance {
  int channel, log, binary, gate;
};

/// Ends the child. The system call itself, in a function that is not marked as one that never returns: in front of
/// those AddressSanitizer looks for a thread's stack that this process does not have.
void quit() noexcept {
  while (true) ::syscall(SYS_exit_group, 127);
}

/// Tells the parent through the gate which errno ended the attempt. The gate closes by itself on a successful exec.
void give_up(int gate) noexcept {
  const int number = errno;
  (void)!::send(gate, &number, sizeof number, MSG_NOSIGNAL);
  quit();
}

/// Signals as a fresh program expects them. `nohup` and the like may have left some ignored.
void default_signals() noexcept {
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &plain, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// Leaves exactly: 0 to 2 the log, 3 the channel, 4 the binary and 5 the gate, both closing on exec.
bool arrange_descriptors(const Inheritance& given) noexcept {
  // First out of the way of the low numbers, where any of them may lie by chance.
  const int channel = ::fcntl(given.channel, F_DUPFD, 10);
  const int log = ::fcntl(given.log, F_DUPFD, 10);
  const int binary = ::fcntl(given.binary, F_DUPFD, 10);
  const int gate = ::fcntl(given.gate, F_DUPFD, 10);
  if (channel < 0 || log < 0 || binary < 0 || gate < 0) return false;
  for (int standard = 0; standard <= 2; ++standard)
    if (::dup2(log, standard) < 0) return false;
  return ::dup2(channel, 3) >= 0 && ::dup3(binary, 4, O_CLOEXEC) >= 0 && ::dup3(gate, 5, O_CLOEXEC) >= 0 &&
         ::syscall(SYS_close_range, 6U, ~0U, 0U) == 0;
}

/// The child; does not return. Only async-signal-safe calls, since it is a copy of a process that may have had other
/// threads.
void become_worker(const Inheritance& given, int parents_gate) noexcept {
  ::close(parents_gate);  // else the parent's death would not end the wait below
  char go = 0;
  if (::recv(given.gate, &go, 1, 0) != 1) quit();

  // Until here the ids were those of our parent, which the new user namespace does not know.
  if (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0) give_up(given.gate);
  if (::setsid() < 0) give_up(given.gate);
  default_signals();
  ::umask(0777);  // a worker makes no files
  if (!arrange_descriptors(given)) give_up(given.gate);

  char name[] = "ext4box-worker", how[] = "--spawned";
  char fds[] = "LISTEN_FDS=1", pid[] = "LISTEN_PID=1";  // it is process 1 of its pid namespace
  char* arguments[] = {name, how, nullptr};
  char* environment[] = {fds, pid, nullptr};
  ::fexecve(4, arguments, environment);
  give_up(5);
}

/// Takes this thread's supplementary groups away for a while: a child keeps those it was born with, and once
/// its namespace denies setgroups(2) nobody can take them away any more.
class WithoutGroups {
 public:
  WithoutGroups() {
    const int count = ::getgroups(0, nullptr);
    groups_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (count < 0 || ::getgroups(count, groups_.data()) != count) {
      failed_ = true;
    } else if (!groups_.empty()) {
      // The system call itself: glibc's wrapper would change every thread.
      failed_ = ::syscall(SYS_setgroups, std::size_t{0}, nullptr) != 0;
      changed_ = !failed_;
    }
  }
  WithoutGroups(const WithoutGroups&) = delete;
  WithoutGroups& operator=(const WithoutGroups&) = delete;
  ~WithoutGroups() {
    if (changed_ && ::syscall(SYS_setgroups, groups_.size(), groups_.data()) != 0) std::abort();
  }
  bool failed() const noexcept { return failed_; }

 private:
  std::vector<gid_t> groups_;
  bool failed_ = false, changed_ = false;
};

/// Blocks every signal of this thread, so that no handler of ours runs in the child.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;
  ~WithoutSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

Result<void> write_proc_file(pid_t pid, const char* name, const std::string& text) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return last_error("cannot write the worker's " + std::string{name});
  }
  return {};
}

/// The child waits for its gate, so the number in `pid` cannot have been reused.
Result<void> map_ids(pid_t pid, std::uint32_t uid) {
  const std::string map = "0 " + std::to_string(uid) + " 1\n";
  TRY(write_proc_file(pid, "setgroups", "deny"));
  TRY(write_proc_file(pid, "uid_map", map));
  return write_proc_file(pid, "gid_map", map);
}

/// Lets the child go and waits until it runs the binary or says why it cannot.
Result<void> open_gate(const UniqueFd& gate) {
  const char go = 1;
  if (::send(gate.get(), &go, 1, MSG_NOSIGNAL) != 1) return last_error("the worker's process ended at once");
  pollfd waiting{gate.get(), POLLIN, 0};
  int ready;
  do ready = ::poll(&waiting, 1, kExecDeadlineMs);
  while (ready < 0 && errno == EINTR);
  if (ready == 0) return errno_error(ETIMEDOUT, "the worker does not start");
  int number = 0;
  const ssize_t length = ::recv(gate.get(), &number, sizeof number, 0);
  if (length == 0) return {};
  return errno_error(length == sizeof number ? number : EIO, "cannot execute the worker");
}

void kill_and_reap(const WorkerProcess& worker) noexcept {
  ::syscall(SYS_pidfd_send_signal, worker.process.get(), SIGKILL, nullptr, 0U);
  siginfo_t ignored;
  while (::waitid(P_PIDFD, static_cast<id_t>(worker.process.get()), &ignored, WEXITED) != 0 && errno == EINTR) {
  }
}

Result<UniqueFd> open_program(int directory, const char* path) {
  UniqueFd file{::openat(directory, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  if (!file) return last_error();
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return last_error();
  if (!S_ISREG(status.st_mode)) return errno_error(EACCES);
  return file;
}

}  // namespace

Result<WorkerProcess> spawn_worker(const MountPlan& plan, std::uint32_t uid) {
  if (uid == 0) return errno_error(EINVAL, "a worker cannot be root");
  TRY(binary, open_worker_binary(plan));
  TRY(channel, packet_pair("cannot make the worker's channel"));
  TRY(log, log_pipe());
  TRY(gate, packet_pair("cannot start the worker"));
  const Inheritance given{channel.theirs.get(), log.theirs.get(), binary.get(), gate.theirs.get()};

  int process = -1;
  clone_args arguments{};
  arguments.flags = kNamespaces | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&process);
  arguments.exit_signal = SIGCHLD;
  pid_t pid;
  {
    const WithoutGroups no_groups;
    if (no_groups.failed()) return last_error("cannot start the worker without supplementary groups");
    const WithoutSignals no_signals;
    pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0) become_worker(given, gate.ours.get());
    if (pid < 0) return last_error("cannot make the worker's namespaces");
  }
  WorkerProcess worker{UniqueFd{process}, std::move(channel.ours), std::move(log.ours), pid, uid, true};
  gate.theirs.reset();

  auto started = map_ids(pid, uid);
  if (started) started = open_gate(gate.ours);
  if (!started) {
    kill_and_reap(worker);
    return std::move(started).error();
  }
  return worker;
}

Result<UniqueFd> open_worker_binary(const MountPlan& plan) {
  if (!plan.worker_path.empty()) {
    auto chosen = open_program(AT_FDCWD, plan.worker_path.c_str());
    if (!chosen) return errno_error(chosen.error().code.value(), "cannot open the worker " + plan.worker_path);
    return chosen;
  }
  // Beside us only where the folders are those of a build tree: an installed broker must not look into its neighbours.
  std::error_code failure;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (!failure && self.parent_path().filename() == "broker") {
    const auto beside = self.parent_path().parent_path() / "worker" / "ext4box-worker";
    if (auto built = open_program(AT_FDCWD, beside.c_str())) return built;
  }
  auto installed = open_program(AT_FDCWD, kInstalledWorker);
  if (!installed) {
    return errno_error(installed.error().code.value(), "cannot open the worker " + std::string{kInstalledWorker});
  }
  return installed;
}

}  // namespace broker
