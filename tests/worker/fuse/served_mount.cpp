#include "tests/worker/fuse/served_mount.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

#include "protocol/unique_fd.h"
#include "worker/disk/file_device.h"
#include "worker/fuse/dispatcher.h"
#include "worker/fuse/session.h"
#include "worker/volume/volume.h"

namespace tests {

struct ServedCounts {
  std::atomic<std::uint64_t> by_opcode[64];
};

namespace {

/// glibc 2.36 knows these calls too, but its header and the kernel's exclude each other.
int open_context(const char* type) { return static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC)); }
int configure(int context, unsigned command, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, command, key, value, 0));
}
int make_mount(int context) { return static_cast<int>(::syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0)); }

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error{what + ": " + std::generic_category().message(errno)};
}

constexpr unsigned kThreads = 2;

}  // namespace

bool ServedMount::possible() { return ::geteuid() == 0 && ::access("/dev/fuse", R_OK | W_OK) == 0; }

ServedMount::ServedMount(Wishes wishes)
    : wishes_{std::move(wishes)}, image_{wishes_.make, wishes_.size}, root_{image_.directory() / "mount"} {
  // Once for this process: what it mounts is seen by nobody else, and goes with it.
  static const bool alone = ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  if (!alone) give_up("a mount namespace");
  std::filesystem::create_directory(root_);
  counts_ = static_cast<ServedCounts*>(
      ::mmap(nullptr, sizeof(ServedCounts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (wishes_.block_device) {
    const Outcome made = run("losetup --find --show " + image_.path());
    if (made.status != 0) throw std::runtime_error{"losetup: " + made.output};
    loop_ = made.output.substr(0, made.output.find('\n'));
  }
  const std::string& source = wishes_.block_device ? loop_ : image_.path();
  protocol::UniqueFd volume{::open(source.c_str(), (wishes_.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)};
  protocol::UniqueFd fuse{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
  int ready[2];
  if (!volume || !fuse || ::pipe2(ready, O_CLOEXEC) != 0) give_up("opening");
  protocol::UniqueFd heard{ready[0]}, told{ready[1]};

  server_ = ::fork();
  if (server_ == 0) {
    heard.reset();
    run_server(fuse.release(), volume.release(), told.release());
  }
  told.reset();
  volume.reset();
  attach(fuse.get());
  fuse.reset();
  char done = 0;
  if (::read(heard.get(), &done, 1) != 1) throw std::runtime_error{"the server did not start"};
}

void ServedMount::attach(int fuse) {
  const protocol::UniqueFd context{open_context(wishes_.block_device ? "fuseblk" : "fuse")};
  const auto set = [&](const char* key, const std::string& value) {
    if (configure(context.get(), FSCONFIG_SET_STRING, key, value.c_str()) != 0) give_up(key);
  };
  set("source", wishes_.block_device ? loop_ : image_.path());
  set("fd", std::to_string(fuse));
  set("rootmode", "40000");
  set("user_id", "0");
  set("group_id", "0");
  if (wishes_.block_device) set("blksize", "4096");
  for (const char* flag : {"default_permissions", "allow_other"}) {
    if (configure(context.get(), FSCONFIG_SET_FLAG, flag, nullptr) != 0) give_up(flag);
  }
  if (wishes_.read_only && configure(context.get(), FSCONFIG_SET_FLAG, "ro", nullptr) != 0) give_up("ro");
  if (configure(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) give_up("creating the mount");
  const protocol::UniqueFd mount{make_mount(context.get())};
  if (!mount) give_up("fsmount");
  if (::syscall(SYS_move_mount, mount.get(), "", AT_FDCWD, root_.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    give_up("move_mount");
  mounted_ = true;
}

void ServedMount::run_server(int fuse, int source, int ready) {
  const auto fail = [](const std::string& why) {
    ::dprintf(2, "server: %s\n", why.c_str());
    ::_exit(1);
  };
  worker::fuse::Server server{kThreads};
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back([&] { server.serve(); });

  auto device = worker::disk::FileDevice::open(protocol::UniqueFd{source});
  if (!device.ok()) fail(device.error().message());
  worker::volume::MountOptions options;
  options.read_only = wishes_.read_only;
  auto volume = worker::volume::Volume::open(*device.value(), options);
  if (!volume.ok()) fail(volume.error().message());
  if (const auto started = server.start(*volume.value(), protocol::UniqueFd{fuse}); !started.ok()) {
    fail(started.error().message());
  }
  if (!server.wait_initialised()) fail("no FUSE_INIT");
  if (const auto writing = volume.value()->start_writing(); !writing.ok()) fail(writing.error().message());
  std::jthread commits{[&](std::stop_token stop) { volume.value()->run_periodic_commit(stop); }};
  std::jthread counting{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (std::uint32_t opcode = 1; opcode < 64; ++opcode) counts_->by_opcode[opcode] = server.served(opcode);
      ::usleep(1000);
    }
  }};
  if (::write(ready, "!", 1) != 1) fail("nobody waits");
  const auto closed = server.wait_closed();
  threads.clear();
  ::_exit(closed.ok() ? 0 : 2);
}

std::uint64_t ServedMount::served(std::uint32_t opcode) const {
  ::usleep(5000);  // the server counts in this memory every millisecond
  if (opcode != 0) return counts_->by_opcode[opcode];
  std::uint64_t all = 0;
  for (const auto& count : counts_->by_opcode) all += count;
  return all;
}

void ServedMount::unmount() {
  if (!mounted_) return;
  mounted_ = false;
  if (::umount2(root_.c_str(), 0) != 0) {
    ADD_FAILURE() << "umount: " << std::generic_category().message(errno);
    ::umount2(root_.c_str(), MNT_FORCE | MNT_DETACH);
  }
}

void ServedMount::wait_for_server() {
  if (server_ <= 0) return;
  int status = 0;
  ::waitpid(server_, &status, 0);
  server_ = -1;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the server ended with " << status;
}

ServedMount::~ServedMount() {
  unmount();
  wait_for_server();
  if (!loop_.empty()) run("losetup --detach " + loop_);
  EXPECT_EQ(image_.complaints(), "");
  ::munmap(counts_, sizeof(ServedCounts));
}

void ServedMount::drop_caches() {
  const protocol::UniqueFd file{::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC)};
  if (::write(file.get(), "3", 1) != 1) give_up("drop_caches");
}

}  // namespace tests
