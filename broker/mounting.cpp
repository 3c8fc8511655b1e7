#include "broker/mounting.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <cstring>

#include "broker/process.h"
#include "protocol/log.h"

namespace broker {

namespace {

using protocol::errno_error, protocol::last_error, protocol::log, protocol::Severity;

/// Spawned workers' ids outside their namespace: a range nobody is given by useradd or newuidmap's defaults.
constexpr std::uint32_t kFirstWorkerId = 0x70000000;
constexpr std::chrono::milliseconds kPollInterval{50};
/// Requests become 1 MiB, FUSE's largest.
constexpr unsigned kReadaheadKib = 1024;

void audit(const std::string& act, const Result<void>& result) {
  log(Severity::notice, "audit: " + act + ": " + (result ? "done" : result.error().message()));
}

Result<UniqueFd> duplicate(const UniqueFd& descriptor) {
  UniqueFd copy{::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 3)};
  if (!copy) return last_error();
  return copy;
}

/// Our worker knows these; any other type is a foreign service's.
bool served_by_our_worker(const MountPlan& plan) {
  return plan.type == "ext4" || plan.type == "ext3" || plan.type == "ext2";
}

}  // namespace

Mounting::~Mounting() {
  if (worker_) {
    ::syscall(SYS_pidfd_send_signal, worker_->process.get(), SIGKILL, nullptr, 0u);
    siginfo_t ended;
    if (worker_->ours) ::waitid(P_PIDFD, static_cast<id_t>(worker_->process.get()), &ended, WEXITED);
  }
  if (probe_) (void)finish_probe(false);
  fuse_device_.reset();  // the last one: the kernel gives up on the mount, and nothing waits for it any more
  if (attached_) {
    for (const auto& left : detach_everywhere(mount_->identity(), MNT_DETACH))
      log(Severity::error, "not detached: " + left);
  }
  mount_.reset();
  if (source_) source_->slot.finish("the mount failed");
}

Result<void> Mounting::open_everything() {
  TRY(where, open_mount_point(plan_));
  if (served_by_our_worker(plan_) && !where.directory) return errno_error(ENOTDIR, "mount point " + where.path);
  where_ = std::move(where);
  TRY(source, broker::open_source(plan_, deadline_, interrupt_));
  source_ = std::move(source);
  if (needs_loop(plan_, *source_)) {
    auto loop = attach_loop_device(*source_, plan_.direct_io);
    audit("loop device for " + protocol::escape(source_->path), loop ? Result<void>{} : Result<void>{loop.error()});
    if (!loop) return loop.error();
    loop_ = std::move(*loop);
  } else if (source_->kind == SourceKind::block_device && plan_.no_loop) {
    TRY(source_->claim());
  }
  // Only faster: a source that cannot be opened so is served through the page cache alone.
  if (auto direct = reopen_direct(loop_ ? loop_->descriptor : source_->descriptor)) direct_ = std::move(*direct);
  fuse_device_ = UniqueFd{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
  if (!fuse_device_) return last_error("/dev/fuse");
  return {};
}

Result<protocol::Channel> Mounting::connect_service() {
  const auto path = socket_path(plan_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return errno_error(ENAMETOOLONG, path);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  // Only root may decide who serves: a socket anybody could have put there is none.
  struct stat file {};
  const auto slash = path.rfind('/');
  for (const auto& name : {path.substr(0, slash), path}) {
    if (::lstat(name.c_str(), &file) != 0) return last_error(name);
    const bool socket = name.size() == path.size();
    if (file.st_uid != 0 || (!socket && (file.st_mode & 022) != 0))
      return errno_error(EPERM, name + " is not root's alone");
    if (socket && !S_ISSOCK(file.st_mode)) return errno_error(ENOTSOCK, name);
  }
  protocol::Channel channel{UniqueFd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}};
  while (::connect(channel.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    // Its backlog may be full.
    if (errno != EAGAIN || std::chrono::steady_clock::now() >= deadline_) return last_error(path);
    if (wait_until_readable(interrupt_, kPollInterval)) return errno_error(EINTR);
  }
  ::fcntl(channel.get(), F_SETFL, 0);
  ucred listener{};
  socklen_t size = sizeof listener;
  if (::getsockopt(channel.get(), SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0) return last_error(path);
  if (listener.uid != 0) return errno_error(EPERM, path + " does not belong to root");
  return channel;
}

Result<protocol::Channel> Mounting::start_worker() {
  if (plan_.way != Way::spawn) {
    auto channel = connect_service();
    const bool absent =
        !channel && (channel.error().code.value() == ENOENT || channel.error().code.value() == ECONNREFUSED);
    if (plan_.way == Way::service || !absent) return channel;
  }
  if (!served_by_our_worker(plan_)) return errno_error(ENODEV, "no service for type " + protocol::escape(plan_.type));
  spawned_ = true;
  const auto uid = kFirstWorkerId + source_->slot.slot();
  auto worker = spawn_worker(plan_, uid);
  audit("worker spawned as uid " + std::to_string(uid), worker ? Result<void>{} : Result<void>{worker.error()});
  if (!worker) return worker.error();
  worker_ = std::move(*worker);
  return protocol::Channel{std::move(worker_->channel)};
}

Grants Mounting::grants() const {
  auto grants = make_grants(plan_, *source_, loop_ ? &*loop_ : nullptr, *where_);
  grants.specification.user = ::getuid();
  grants.specification.group = ::getgid();
  return grants;
}

Result<protocol::Channel> Mounting::reconnect() {
  if (spawned_) return errno_error(EPROTO, "the worker does not speak our protocol");
  return connect_service();
}

Result<void> Mounting::meet_worker(protocol::Packet& packet, std::uint16_t) {
  if (spawned_) return {};
  if (!packet.sender) return errno_error(EPERM, "the worker does not say who it is");
  TRY(met, broker::meet_worker(UniqueFd{}, *packet.sender, std::move(packet.sender_process)));
  worker_ = std::move(met);
  return {};
}

Result<void> Mounting::check_worker() {
  auto contained = check_contained(*worker_, 0);
  audit("worker " + std::to_string(worker_->pid) + " looked at", contained);
  return contained;
}

Result<UniqueFd> Mounting::open_source(std::uint32_t block_size) {
  const auto& given = loop_ ? loop_->descriptor : source_->descriptor;
  const int size = static_cast<int>(block_size);
  if (size != 0 && ::ioctl(given.get(), BLKBSZSET, &size) != 0) return last_error("block size");
  return duplicate(given);
}

Result<UniqueFd> Mounting::open_direct_source() {
  if (!direct_) return errno_error(EOPNOTSUPP);
  return std::move(direct_);
}

Result<UniqueFd> Mounting::open_fuse_device() { return duplicate(fuse_device_); }

Result<void> Mounting::create_mount(MountSpecification& specification) {
  auto made = FuseMount::create(specification, fuse_device_.get());
  audit(std::string{"superblock "} + (specification.block ? "fuseblk" : "fuse"),
        made ? Result<void>{} : Result<void>{made.error()});
  if (!made && specification.block) {
    // A kernel that forbids mounting devices open for writing. Whoever else has a block device mounted would make the
    // same error, so it has to be ours alone before it is served without that claim.
    if (!loop_) {
      if (!source_->claim()) return made.error();
      TRY(claim, duplicate(source_->descriptor));
      claim_ = std::move(claim);
    }
    specification.block = false;
    made = FuseMount::create(specification, fuse_device_.get());
    audit("superblock fuse instead", made ? Result<void>{} : Result<void>{made.error()});
  }
  if (!made) return made.error();
  mount_ = std::move(*made);
  block_ = specification.block;
  // From here on the worker alone holds the connection: when it ends, whoever waits for an answer is let go.
  fuse_device_.reset();
  return {};
}

Result<UniqueFd> Mounting::start_probe() {
  const pid_t child = ::fork();
  if (child < 0) return last_error("fork");
  if (child == 0) {
    // Nothing but the mount: what else we hold must not live for as long as the worker lets this wait.
    ::dup2(mount_->descriptor(), 0);
    ::close_range(1, ~0U, 0);
    struct statfs answer;
    ::_exit(::fstatfs(0, &answer) == 0 ? 0 : 1);
  }
  probe_ = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, child, 0u))};
  if (!probe_) return last_error("pidfd_open");
  return duplicate(probe_);
}

Result<void> Mounting::finish_probe(bool answered) {
  const UniqueFd probe = std::move(probe_);
  if (!answered) {
    ::syscall(SYS_pidfd_send_signal, probe.get(), SIGKILL, nullptr, 0u);
    // A question that the worker has read is waited for even by the dead; only its own end lets them go.
    ::syscall(SYS_pidfd_send_signal, worker_->process.get(), SIGKILL, nullptr, 0u);
  }
  siginfo_t ended{};
  if (::waitid(P_PIDFD, static_cast<id_t>(probe.get()), &ended, WEXITED) != 0) return last_error("waitid");
  if (ended.si_code != CLD_EXITED || ended.si_status != 0)
    return errno_error(EIO, "the worker does not serve the mount");
  return {};
}

Result<void> Mounting::attach(const SessionOutcome& so_far) {
  state_.source = source_->path;
  state_.mount_point = where_->path;
  state_.type = plan_.type;
  state_.read_only = so_far.specification.read_only;
  state_.way = spawned_ ? "spawn" : "service";
  if (!so_far.facts.journal.value.empty()) state_.journal = protocol::escape(so_far.facts.journal.value, 64);
  if (loop_) state_.loop_device = loop_->path;
  state_.block = block_;
  state_.worker_pid = worker_->pid;
  state_.supervisor_pid = ::getpid();
  state_.worker_start_time = process_start_time(worker_->pid);
  state_.identity = mount_->identity();
  state_.range = source_->range;
  state_.worker_uid = worker_->uid;
  // First, so that nobody ever sees the mount and not whose it is.
  TRY(source_->slot.publish(state_));
  auto done = mount_->attach(*where_);
  audit("mount attached to " + protocol::escape(where_->path), done);
  if (!done) return done;
  attached_ = true;
  raise_readahead(mount_->identity(), block_, kReadaheadKib);
  return {};
}

Mounting::Remains Mounting::release() {
  Remains remains{std::move(state_), std::move(source_->slot), std::move(*worker_), std::move(claim_)};
  worker_.reset();
  attached_ = false;
  loop_.reset();
  source_.reset();
  where_.reset();
  direct_.reset();
  fuse_device_.reset();
  mount_.reset();
  return remains;
}

}  // namespace broker
