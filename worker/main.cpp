// The unprivileged process that serves one ext4 volume.
#include <cstdio>
#include <string_view>

#include "protocol/log.h"
#include "worker/sandbox/seccomp_filter.h"
#include "worker/worker.h"

namespace {

using protocol::log;
using protocol::Result;
using protocol::Severity;
using worker::Exit;
using worker::Worker;

constexpr char kHelp[] =
    "Usage: ext4box-worker [--spawned]\n"
    "\n"
    "Serves one ext2, ext3 or ext4 volume over FUSE. Not started by hand: systemd or fuservicemount starts it\n"
    "with the connected socket of one mount as descriptor 3 (LISTEN_FDS=1).\n"
    "\n"
    "  --spawned        empty the root directory too: the namespaces were made for this process alone\n"
    "  --print-seccomp  print every system call that is allowed once locked, with its reason, and end\n"
    "  --help           print this text and end\n"
    "  --version        print the version and end\n"
    "\n"
    "Exit status:\n"
    "  0   the volume was closed, complete and durable\n"
    "  1   wrong usage, or no socket was passed\n"
    "  3   the process could not be confined; nothing foreign was read\n"
    "  4   the volume could not be served, or the broker broke off; nothing was written\n"
    "  8   a signal came before the volume was served; nothing was written\n"
    "  32  the volume could not be closed; it needs e2fsck\n"
    "\n"
    "Signals: before the volume is served SIGTERM, SIGINT and SIGHUP end the worker; afterwards they make all that\n"
    "was written durable, and the volume is served until it is unmounted.\n";

/// A worker's life. What each phase may do is decided by those before it.
struct Phase {
  const char* name;
  Result<void> (Worker::*run)();
  Exit failure;
};
constexpr Phase kPhases[] = {
    {"fresh", &Worker::prepare, Exit::not_started},  // nothing foreign is read
    {"locked", &Worker::lock, Exit::not_confined},   // from here on the sandbox is closed
    {"probing", &Worker::probe, Exit::refused},      // the volume is read, nothing is written
    {"mounting", &Worker::mount, Exit::refused},     // FUSE_INIT is answered, nothing is written
    {"serving", &Worker::serve, Exit::refused},      // until it is unmounted
    {"closing", &Worker::close, Exit::not_durable},  // says how the volume was left
};

Exit live(Worker& worker) {
  for (const Phase& phase : kPhases) {
    if (const auto done = (worker.*phase.run)(); !done) {
      log(Severity::error, std::string{phase.name} + ": " + done.error().message());
      worker.give_up(done.error());
      return phase.failure;
    }
  }
  return Exit::done;
}

int print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
// Looking for leaks at the end stops all threads with ptrace, which the filter forbids.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
#endif

int main(int argc, char** argv) {
  const std::string_view option = argc == 2 ? argv[1] : "";
  if (option == "--help") return print(kHelp);
  if (option == "--version") return print("ext4box-worker " EXT4BOX_VERSION "\n");
  if (option == "--print-seccomp") return print(worker::sandbox::describe_rules());
  const bool spawned = option == "--spawned";
  if (argc > 2 || (argc == 2 && !spawned)) {
    std::fputs("ext4box-worker: wrong usage; see --help\n", stderr);
    return static_cast<int>(Exit::not_started);
  }
  Worker worker{spawned, worker::ProcessTitle{argc, argv}};
  return static_cast<int>(live(worker));
}
