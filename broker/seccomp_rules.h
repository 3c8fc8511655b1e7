// Every system call the supervisor may make, each with its reason. Nothing else survives.
#pragma once

#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <optional>

namespace broker {

/// One permitted system call. `only` narrows one argument; without it any arguments pass.
struct Rule {
  int call;
  const char* why;
  std::optional<scmp_arg_cmp> only = {};
};

constexpr scmp_arg_cmp without(unsigned index, std::uint64_t bits) { return {index, SCMP_CMP_MASKED_EQ, bits, 0}; }
constexpr scmp_arg_cmp equals(unsigned index, std::uint64_t value) {
  return {index, SCMP_CMP_MASKED_EQ, 0xffff'ffff, value};
}

inline constexpr Rule kSupervisorRules[] = {
    // Waiting: Asio's reactor.
    {SCMP_SYS(epoll_wait), "wait for the worker, the mount table, the channel, signals"},
    {SCMP_SYS(epoll_pwait), "the same on architectures without epoll_wait"},
    {SCMP_SYS(epoll_ctl), "watch one more or one fewer"},
    {SCMP_SYS(timerfd_settime), "deadlines"},
    {SCMP_SYS(poll), "is there more to read"},
    {SCMP_SYS(ppoll), "the same on architectures without poll"},
    {SCMP_SYS(rt_sigaction), "signals"},
    {SCMP_SYS(rt_sigprocmask), "signals"},
    {SCMP_SYS(rt_sigreturn), "signals"},
    {SCMP_SYS(restart_syscall), "after a stop and continue"},

    // Looking: mount table, the worker's /proc entry, state files.
    {SCMP_SYS(openat), "mount table, /proc, mount points (O_PATH), never for writing",
     without(2, O_ACCMODE | O_CREAT | O_TRUNC)},
    {SCMP_SYS(close), "what was opened"},
    {SCMP_SYS(read), "mount table, /proc, the worker's log, eventfd, timerfd"},
    {SCMP_SYS(lseek), "mount table from its start"},
    {SCMP_SYS(fstat), "libc's own reading"},
    {SCMP_SYS(newfstatat), "the same"},
    {SCMP_SYS(statx), "which mount is it"},
    {SCMP_SYS(getdents64), "the worker's threads"},
    {SCMP_SYS(faccessat), "does the superblock exist"},
    {SCMP_SYS(faccessat2), "the same"},
    {SCMP_SYS(access), "the same, where the architecture has it"},
    {SCMP_SYS(readlinkat), "/proc/self/fd"},
    {SCMP_SYS(fcntl), "duplicate a descriptor, non-blocking reads, locks of state files"},
    {SCMP_SYS(flock), "locks of state files"},
    {SCMP_SYS(ioctl), "Asio: non-blocking mode", equals(1, 0x5421)},                       // FIONBIO
    {SCMP_SYS(ioctl), "how a worker that is not our child ended", equals(1, 0xc040ff0b)},  // PIDFD_GET_INFO
    {SCMP_SYS(recvfrom), "size of the worker's next message"},
    {SCMP_SYS(recvmsg), "the worker's goodbye"},

    // Acting.
    {SCMP_SYS(umount2), "take the mount away"},
    {SCMP_SYS(pidfd_send_signal), "kill a worker that is stuck"},
    {SCMP_SYS(pidfd_open), "watch our own child"},
    {SCMP_SYS(waitid), "reap the worker and our own child"},
    {SCMP_SYS(clone), "fork for an unmount that may block", without(0, CLONE_VM | CLONE_NEWNS | CLONE_NEWUSER)},
    {SCMP_SYS(set_robust_list), "libc after fork"},
    {SCMP_SYS(rseq), "libc after fork"},
    {SCMP_SYS(write), "state file, log, eventfd, the front process"},
    {SCMP_SYS(pwrite64), "state file"},
    {SCMP_SYS(fdatasync), "state file"},
    {SCMP_SYS(fsync), "state file"},
    {SCMP_SYS(unlinkat), "state file"},
    {SCMP_SYS(unlink), "state file, where the architecture has it"},

    // syslog(3): libc connects again when the daemon was restarted.
    {SCMP_SYS(socket), "syslog", equals(0, AF_UNIX)},
    {SCMP_SYS(connect), "syslog"},
    {SCMP_SYS(sendto), "syslog"},

    // Memory and time; never executable memory.
    {SCMP_SYS(brk), "heap"},
    {SCMP_SYS(mmap), "heap", without(2, PROT_EXEC)},
    {SCMP_SYS(mprotect), "heap", without(2, PROT_EXEC)},
    {SCMP_SYS(munmap), "heap"},
    {SCMP_SYS(mremap), "heap"},
    {SCMP_SYS(madvise), "heap"},
    {SCMP_SYS(futex), "libc's locks"},
    {SCMP_SYS(clock_gettime), "deadlines, where the vDSO cannot"},
    {SCMP_SYS(getpid), "syslog, abort"},
    {SCMP_SYS(gettid), "abort"},
    {SCMP_SYS(tgkill), "abort"},
    {SCMP_SYS(getrandom), "libc's heap"},
    {SCMP_SYS(exit), "the end"},
    {SCMP_SYS(exit_group), "the end"},
};

}  // namespace broker
