// Every system call the locked worker may make, each with its reason. Nothing else survives.
//
// The list was measured under a logging filter while the system tests ran, then cut down by hand.
#pragma once

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string_view>

#include "worker/sandbox/sanitizers.h"

namespace worker::sandbox {

/// Stands for the worker's own process id, known only when the filter is built.
inline constexpr std::uint64_t kOwnProcess = ~std::uint64_t{0};

/// An argument the kernel reads as 32 bits: what a caller leaves in the upper half is nobody's business.
constexpr scmp_arg_cmp equals(unsigned index, std::uint64_t value) {
  return {index, SCMP_CMP_MASKED_EQ, 0xffff'ffff, value};
}
/// None of these bits is set.
constexpr scmp_arg_cmp without(unsigned index, std::uint64_t bits) { return {index, SCMP_CMP_MASKED_EQ, bits, 0}; }

/// One permitted system call. `only` and `also` narrow one argument each; without them any arguments pass. Several
/// rules for one call are alternatives.
struct Rule {
  int call;
  std::string_view why;  ///< shown by --print-seccomp
  std::optional<scmp_arg_cmp> only = {};
  std::optional<scmp_arg_cmp> also = {};
};

/// All that the worker may do once it is locked. Anything else kills the process.
inline constexpr Rule kAllowed[] = {
    // Requests and replies on /dev/fuse.
    {SCMP_SYS(read), "next FUSE request"},
    {SCMP_SYS(writev), "FUSE reply; abort messages of libc"},
    {SCMP_SYS(write), "notifications to the kernel; log lines"},
    {SCMP_SYS(poll), "wait for a request or a message"},
    {SCMP_SYS(ppoll), "the same, as some architectures and libraries call it"},

    // The channel to the broker: connected before, can reach nobody else.
    {SCMP_SYS(sendmsg), "message to the broker"},
    {SCMP_SYS(recvmsg), "message and descriptor from the broker"},
    {SCMP_SYS(recvfrom), "size of the broker's next message"},
    {SCMP_SYS(setsockopt), "refuse further descriptors (SO_PASSRIGHTS)", equals(1, SOL_SOCKET), equals(2, 83)},
    {SCMP_SYS(close), "descriptor no longer needed"},

    // The volume: only through descriptors that the broker opened.
    {SCMP_SYS(pread64), "block read"},
    {SCMP_SYS(pwrite64), "block write"},
    {SCMP_SYS(fdatasync), "barrier of a commit"},
    {SCMP_SYS(fadvise64), "read the MMP block as other hosts wrote it", equals(3, POSIX_FADV_DONTNEED)},
    {SCMP_SYS(lseek), "size of the volume's file"},
    {SCMP_SYS(fstat), "kind of a received descriptor"},
    {SCMP_SYS(newfstatat), "the same, as glibc calls it", equals(3, AT_EMPTY_PATH)},
    {SCMP_SYS(fcntl), "access mode of a received descriptor", equals(1, F_GETFL)},
    {SCMP_SYS(fallocate), "discard", equals(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)},

    // Memory, never executable.
    {SCMP_SYS(mmap), "heap and caches; anonymous memory only", without(2, PROT_EXEC), equals(4, 0xffff'ffff)},
    {SCMP_SYS(mprotect), "growth of a thread's heap", without(2, PROT_EXEC)},
    {SCMP_SYS(munmap), "give memory back"},
    {SCMP_SYS(mremap), "grow a large allocation"},
    {SCMP_SYS(madvise), "give memory back", equals(2, MADV_DONTNEED)},
    {SCMP_SYS(brk), "heap"},

    // Threads that exist already: they wait, sleep and end. None can be made.
    {SCMP_SYS(futex), "locks and condition variables"},
    {SCMP_SYS(sched_yield), "contended locks"},
    {SCMP_SYS(clock_nanosleep), "retry after a while"},
    {SCMP_SYS(clock_gettime), "time stamps where the vDSO cannot read the clock"},
    {SCMP_SYS(gettimeofday), "the same"},
    {SCMP_SYS(restart_syscall), "a wait goes on after a stop"},
    {SCMP_SYS(exit), "end of a thread"},
    {SCMP_SYS(exit_group), "end of the worker"},

    // Signals: SIGTERM is waited for, abort() raises one at ourselves.
    {SCMP_SYS(rt_sigprocmask), "pthread_exit, abort"},
    {SCMP_SYS(rt_sigaction), "abort"},
    {SCMP_SYS(rt_sigtimedwait), "wait for SIGTERM"},
    {SCMP_SYS(getpid), "abort"},
    {SCMP_SYS(gettid), "abort"},
    {SCMP_SYS(tgkill), "abort; only at ourselves", equals(0, kOwnProcess)},

    // What libc asks for.
    {SCMP_SYS(sysinfo), "qsort decides whether to allocate"},
};

/// A call that is answered with an errno, because a library tries it and has a way without it.
struct Refusal {
  int call;
  int error;
  std::string_view why;
  std::optional<scmp_arg_cmp> only = {};
};

inline constexpr Refusal kRefused[] = {
    {SCMP_SYS(ioctl), ENOTTY, "stdio asks whether a log is a terminal", equals(1, TCGETS)},
};

/// What the sanitizers' runtimes do beside and in front of a report; in their builds only.
inline constexpr Rule kAllowedForSanitizers[] = {
    {SCMP_SYS(sigaltstack), "a thread's end, a report"},
    {SCMP_SYS(madvise), "shadow memory"},
    {SCMP_SYS(prctl), "names of mappings", equals(0, 0x53564d41)},
    {SCMP_SYS(getrlimit), "extent of the stack"},
    {SCMP_SYS(prlimit64), "extent of the stack"},
    {SCMP_SYS(getuid), "a report"},
    {SCMP_SYS(rt_sigpending), "a report"},
    {SCMP_SYS(set_robust_list), "ThreadSanitizer's threads"},
    {SCMP_SYS(mincore), "is this address mapped"},
    {SCMP_SYS(kill), "abort on error", equals(0, kOwnProcess)},
};

inline constexpr Refusal kRefusedForSanitizers[] = {
    {SCMP_SYS(open), EACCES, "a report looks for symbols"},
    {SCMP_SYS(openat), EACCES, "a report looks for symbols"},
    {SCMP_SYS(readlink), EACCES, "a report looks for symbols"},
    {SCMP_SYS(readlinkat), EACCES, "a report looks for symbols"},
    {SCMP_SYS(stat), EACCES, "a report looks for symbols"},
    {SCMP_SYS(access), EACCES, "a report looks for symbols"},
    {SCMP_SYS(pipe), EACCES, "a report looks for symbols"},
    {SCMP_SYS(pipe2), EACCES, "a report looks for symbols"},
    {SCMP_SYS(personality), EPERM, "start of a report"},
};

}  // namespace worker::sandbox
