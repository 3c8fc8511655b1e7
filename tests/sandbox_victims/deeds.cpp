#include "tests/sandbox_victims/deeds.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

namespace victims {
namespace {

/// The errno of a call that answered -1, else 0.
int outcome(long answer) { return answer < 0 ? errno : 0; }

template <typename... Arguments>
int call(long number, Arguments... arguments) {
  return outcome(::syscall(number, arguments...));
}

int open_a_file() { return call(SYS_open, "/", O_RDONLY); }
int open_at() { return call(SYS_openat, AT_FDCWD, "/", O_RDONLY); }
int open_at_2() {
  open_how how{};
  how.flags = O_RDONLY;
  return call(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);
}
int read_proc() { return outcome(::open("/proc/self/status", O_RDONLY)); }
int make_file() { return call(SYS_creat, "/nowhere/at/all", 0600); }
int remove_file() { return call(SYS_unlink, "/nowhere/at/all"); }
int read_link() {
  char text[8];
  return call(SYS_readlink, "/nowhere/at/all", text, sizeof text);
}
int list_directory() {
  char entries[64];
  return call(SYS_getdents64, 0, entries, sizeof entries);
}
int open_by_handle() { return call(SYS_open_by_handle_at, -1, nullptr, O_RDONLY); }

int inet_socket() { return call(SYS_socket, AF_INET, SOCK_STREAM, 0); }
int unix_socket() { return call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }
int socket_pair() {
  int ends[2];
  return call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends);
}
int connect_channel() {
  sockaddr address{};
  address.sa_family = AF_UNSPEC;
  return call(SYS_connect, -1, &address, sizeof address);
}

int execute() {
  char name[] = "/nowhere/at/all";
  char* arguments[] = {name, nullptr};
  return call(SYS_execve, name, arguments, nullptr);
}
int execute_at() { return call(SYS_execveat, -1, "", nullptr, nullptr, AT_EMPTY_PATH); }
int memory_file() { return call(SYS_memfd_create, "program", 0); }
int fork_process() {
  const long child = ::syscall(SYS_fork);
  if (child == 0) ::_exit(0);
  return outcome(child);
}
int clone_process() {
  const long child = ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) ::_exit(0);
  return outcome(child);
}
int clone_namespaces() {
  const long child = ::syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER | CLONE_NEWNS, 0, 0, 0, 0);
  if (child == 0) ::_exit(0);
  return outcome(child);
}
int clone_3() { return call(SYS_clone3, nullptr, 0); }
int make_thread() {
  pthread_t thread;
  const int failure = ::pthread_create(
      &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
  if (failure == 0) ::pthread_join(thread, nullptr);
  return failure;
}

int trace_me() { return call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }
int trace_other() { return call(SYS_ptrace, PTRACE_SEIZE, 0x3fffffff, 0, 0); }
int read_other_memory() {
  char byte;
  iovec local{&byte, 1}, remote{&byte, 1};
  return call(SYS_process_vm_readv, 0x3fffffff, &local, 1L, &remote, 1L, 0L);
}
int kill_other() { return call(SYS_kill, 0x3fffffff, SIGTERM); }
int kill_group() { return call(SYS_kill, 0, 0); }
int kill_others_thread() { return call(SYS_tgkill, 0x3fffffff, 0x3fffffff, SIGTERM); }
int queue_signal() { return call(SYS_rt_sigqueueinfo, 0x3fffffff, SIGTERM, nullptr); }
int pidfd() { return call(SYS_pidfd_open, ::syscall(SYS_getpid), 0); }
int signal_own_thread() { return call(SYS_tgkill, ::syscall(SYS_getpid), ::syscall(SYS_gettid), 0); }

int mount_something() { return call(SYS_mount, "none", "/", "tmpfs", 0, nullptr); }
int open_file_system() { return call(SYS_fsopen, "tmpfs", 0); }
int unmount() { return call(SYS_umount2, "/nowhere/at/all", 0); }
int change_root() { return call(SYS_chroot, "/nowhere/at/all"); }
int pivot() { return call(SYS_pivot_root, "/nowhere/at/all", "/nowhere/at/all"); }
int new_namespaces() { return call(SYS_unshare, CLONE_NEWUSER); }
int new_mount_namespace() { return call(SYS_unshare, CLONE_NEWNS); }
int join_namespace() { return call(SYS_setns, -1, 0); }

int set_user() { return call(SYS_setuid, 0); }
int set_group() { return call(SYS_setgid, 0); }
int set_capabilities() { return call(SYS_capset, nullptr, nullptr); }
int name_host() { return call(SYS_sethostname, "x", 1); }
int raise_limit() {
  rlimit none{};
  return call(SYS_setrlimit, RLIMIT_CORE, &none);
}

int ring() {
  io_uring_params parameters{};
  return call(SYS_io_uring_setup, 1, &parameters);
}
int ring_enter() { return call(SYS_io_uring_enter, -1, 0, 0, 0, nullptr, 0); }
int load_bpf() { return call(SYS_bpf, 0x7fff, nullptr, 0); }
int events() { return call(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }
int keys() { return call(SYS_keyctl, KEYCTL_GET_KEYRING_ID, 0x7fffffff, 0, 0, 0); }
int page_faults() { return call(SYS_userfaultfd, 0x7fffffff); }
int watch_files() { return call(SYS_inotify_init1, 0); }
int more_filters() { return call(SYS_seccomp, 0x7fff, 0, nullptr); }
int allow_dumps() { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }
int swap_on() { return call(SYS_swapon, "/nowhere/at/all", 0); }
int set_clock() { return call(SYS_settimeofday, nullptr, nullptr); }
int terminal_input() {
  char letter = 'x';
  return call(SYS_ioctl, 3, TIOCSTI, &letter);
}
int terminal_input_with_high_bits() {
  char letter = 'x';
  return call(SYS_ioctl, 3, TIOCSTI | 0x1'0000'0000UL, &letter);
}
int device_format() { return call(SYS_ioctl, 3, 0x4004'1234UL, 0); }
int is_terminal() { return ::isatty(3) == 1 ? 0 : errno; }
int allocate_in_file() { return call(SYS_fallocate, 3, 0, 0L, 4096L); }
int set_flags() { return call(SYS_fcntl, 3, F_SETFL, O_NONBLOCK); }
int own_signals_by_io() { return call(SYS_fcntl, 3, F_SETOWN, ::syscall(SYS_getpid)); }
int buffer_size() {
  const int size = 4096;
  return call(SYS_setsockopt, 3, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}
int splice_bytes() { return call(SYS_splice, 3, nullptr, 3, nullptr, 0UL, 0); }

int map_descriptor() { return ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, 3, 0) == MAP_FAILED ? errno : 0; }
int map_executable() {
  return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}
int map_writable_and_executable() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? errno : 0;
}
int protect_executable() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return ::mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0 ? errno : 0;
}
int protect_with_key() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return call(SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1);
}
int all_the_memory() {
  return ::mmap(nullptr, 3UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED ? errno
                                                                                                                 : 0;
}

#ifdef __x86_64__
/// getpid as a 32-bit program asks for it: other numbers, which the filter does not know.
int other_architecture() {
  long answer = 20;
  asm volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
  return answer > 0 ? 0 : static_cast<int>(-answer);
}
/// getpid by the x32 number.
int other_numbers() { return call(0x4000'0000L + SYS_getpid); }
#endif

constexpr Deed kDeeds[] = {
    {"open", open_a_file, 0},
    {"openat", open_at, 0},
    {"openat2", open_at_2, 0},
    {"read_proc", read_proc, 0},
    {"creat", make_file, ENOENT},
    {"unlink", remove_file, ENOENT},
    {"readlink", read_link, ENOENT},
    {"getdents", list_directory, ENOTDIR},
    {"open_by_handle", open_by_handle, EFAULT},
    {"socket_inet", inet_socket, 0},
    {"socket_unix", unix_socket, 0},
    {"socketpair", socket_pair, 0},
    {"connect", connect_channel, EBADF},
    {"exec", execute, ENOENT},
    {"execveat", execute_at, EBADF},
    {"memfd", memory_file, 0},
    {"fork", fork_process, 0},
    {"clone_process", clone_process, 0},
    {"clone_namespaces", clone_namespaces, 0},
    {"clone3", clone_3, EINVAL},
    {"thread", make_thread, 0},
    {"ptrace_me", trace_me, 0},
    {"ptrace_other", trace_other, ESRCH},
    {"process_vm_readv", read_other_memory, ESRCH},
    {"kill_other", kill_other, ESRCH},
    {"kill_group", kill_group, 0},
    {"tgkill_other", kill_others_thread, ESRCH},
    {"sigqueue", queue_signal, EFAULT},
    {"pidfd_open", pidfd, 0},
    {"tgkill_self", signal_own_thread, 0, Answer::allowed},
    {"mount", mount_something, 0},
    {"fsopen", open_file_system, 0},
    {"umount", unmount, ENOENT},
    {"chroot", change_root, ENOENT},
    {"pivot_root", pivot, ENOENT},
    {"unshare_user", new_namespaces, 0},
    {"unshare_mount", new_mount_namespace, 0},
    {"setns", join_namespace, EBADF},
    {"setuid", set_user, 0},
    {"setgid", set_group, 0},
    {"capset", set_capabilities, EFAULT},
    {"sethostname", name_host, 0},
    {"setrlimit", raise_limit, 0},
    {"io_uring_setup", ring, 0},
    {"io_uring_enter", ring_enter, EBADF},
    {"bpf", load_bpf, EINVAL},
    {"perf_event_open", events, EFAULT},
    {"keyctl", keys, ENOKEY},
    {"userfaultfd", page_faults, EINVAL},
    {"inotify", watch_files, 0},
    {"seccomp", more_filters, EINVAL},
    {"dumpable", allow_dumps, 0},
    {"swapon", swap_on, EPERM},
    {"settimeofday", set_clock, EPERM},
    {"tiocsti", terminal_input, ENOTTY},
    {"tiocsti_high_bits", terminal_input_with_high_bits, ENOTTY},
    {"ioctl_unknown", device_format, ENOTTY},
    {"isatty", is_terminal, ENOTTY, Answer::refused, ENOTTY},
    {"fallocate_grow", allocate_in_file, ENODEV},
    {"fcntl_setfl", set_flags, 0},
    {"fcntl_setown", own_signals_by_io, 0},
    {"setsockopt_sndbuf", buffer_size, 0},
    {"splice", splice_bytes, 0},
    {"mmap_descriptor", map_descriptor, ENODEV},
    {"mmap_exec", map_executable, 0},
    {"mmap_write_exec", map_writable_and_executable, 0},
    {"mprotect_exec", protect_executable, 0},
    {"pkey_mprotect", protect_with_key, 0},
    {"memory_bomb", all_the_memory, 0, Answer::refused, ENOMEM},
#ifdef __x86_64__
    {"int80", other_architecture, 0},
    {"x32", other_numbers, ENOSYS},
#endif
};

}  // namespace

std::span<const Deed> deeds() { return kDeeds; }

}  // namespace victims
