#include "worker/worker.h"

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "protocol/errors.h"
#include "protocol/log.h"
#include "worker/disk/file_device.h"

namespace worker {
namespace {

using protocol::errno_error;
using protocol::last_error;
using protocol::log;
using protocol::Severity;

/// Requests that wait for the disk must leave others that do not; more threads than this only cost memory.
unsigned count_serving_threads() {
  const long processors = ::sysconf(_SC_NPROCESSORS_ONLN);
  return static_cast<unsigned>(std::clamp(2 * processors, 4L, 16L));
}

/// Besides those that serve: one commits, one shows other hosts that we are here, one obeys signals.
constexpr unsigned kOtherThreads = 3;

/// Says how far work on the journal is, at most once a second: what is done sooner says nothing.
class JournalProgress {
 public:
  void operator()(std::uint64_t done, std::uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (now - told_ < std::chrono::seconds{1}) return;
    told_ = now;
    log(Severity::notice, "journal: " + std::to_string(done) + " of " + std::to_string(total) + " blocks");
  }

 private:
  std::chrono::steady_clock::time_point told_ = std::chrono::steady_clock::now();
};

}  // namespace

Worker::Worker(bool spawned, ProcessTitle title)
    : spawned_{spawned}, title_{title}, serving_threads_{count_serving_threads()} {}

Result<void> Worker::prepare() {
  ::prctl(PR_SET_NAME, "ext4box-worker", 0, 0, 0);  // fexecve left a descriptor's number
  TRY(control, Control::adopt(spawned_));
  control_.emplace(std::move(control));
  server_.emplace(serving_threads_);
  return {};
}

Result<void> Worker::lock() {
  sandbox::Plan plan;
  plan.own_namespaces = spawned_;
  plan.start_threads = [this] { return threads_.start(serving_threads_ + kOtherThreads); };
  TRY(sealed, sandbox::lock_down(plan));
  sealed_ = sealed;
  return threads_.run([this] { signals_.obey([this](int signal) { obey(signal); }); });
}

Result<void> Worker::probe() {
  TRY(gifts, control_->greet());
  fuse_device_ = std::move(gifts.fuse_device);
  exit_class_ = 1;
  TRY(take_orders(gifts.arguments));
  exit_class_ = 32;
  title_.show(orders_.source);
  TRY(open_volume(*sealed_));
  return tell_about_volume();
}

Result<void> Worker::take_orders(const std::vector<std::string>& arguments) {
  TRY(orders, parse_orders(arguments));
  orders_ = std::move(orders);
  auto options = volume::parse_mount_options(orders_.options);
  if (!options) return errno_error(EINVAL, "option '" + options.error().detail + "'");
  options_ = *std::move(options);
  return {};
}

Result<void> Worker::open_volume(const sandbox::Sealed&) {
  const bool write = !orders_.read_only && !options_.no_recovery;
  TRY(source, control_->open_source(orders_.source, write, !orders_.must_write));
  struct stat status {};
  if (::fstat(source.descriptor.get(), &status) != 0) return last_error("source");
  block_ = S_ISBLK(status.st_mode);
  TRY(device, disk::FileDevice::open(std::move(source.descriptor), options_.window_offset, options_.window_size,
                                     std::move(source.direct)));
  device_ = std::move(device);
  options_.read_only |= device_->read_only();
  const auto tell = [this](const std::string& line) {
    log(Severity::notice, line);
    (void)control_->note(1, line);
  };
  TRY(opened, volume::Volume::open(*device_, options_, {.line = tell, .progress = JournalProgress{}}));
  volume_ = std::move(opened);
  return {};
}

Result<void> Worker::tell_about_volume() {
  protocol::Facts facts;
  facts.block_size = volume_->fs()->blocksize;
  facts.flags = (volume_->read_only() ? protocol::kFactReadOnly : 0) |
                (volume_->has_journal() ? protocol::kFactJournal : 0) |
                (volume_->cleanly_unmounted() ? 0 : protocol::kFactUnclean);
  facts.label.value = volume_->label();
  facts.journal.value = volume_->has_journal() ? "internal" : "none";
  TRY(control_->state_facts(facts));

  for (const std::string& word : options_.ignored) TRY(control_->note(0, "option " + word + " has no effect"));
  for (const std::string& warning : volume_->warnings()) {
    log(Severity::warning, warning);
    TRY(control_->note(1, warning));
  }
  return {};
}

MountRequest Worker::mount_request() const {
  MountRequest request;
  request.block = block_ && (control_->permitted() & protocol::kHelloBlock) != 0;
  request.name = orders_.source;
  request.mount_point = orders_.mount_point;
  request.options = "default_permissions";
  if ((control_->permitted() & protocol::kHelloAllowOther) != 0) request.options += ",allow_other";
  request.table_options = orders_.table_options;
  // Our own broker has kept its caller's flags to itself, and takes the stricter of those and ours.
  request.flags = control_->private_version() ? 0 : orders_.mount_flags;
  if (volume_->read_only()) request.flags |= MS_RDONLY;
  if (request.block && !control_->private_version()) {
    // Our own broker knows from the facts. The default of 512 would cut the device's pages into eight.
    request.options += ",blksize=" + std::to_string(std::min(volume_->fs()->blocksize, 4096U));
  }
  return request;
}

Result<void> Worker::mount() {
  if (auto mounted = control_->mount(mount_request()); !mounted) {
    // It knows its own reason better than the errno it gave us: no refusal in its place.
    if (control_->private_version()) control_.reset();
    return mounted;
  }
  TRY(server_->start(*volume_, std::move(fuse_device_)));
  session_ = true;
  for (unsigned thread = serving_threads_; thread > 0; --thread) {
    TRY(threads_.run([this] { server_->serve(); }));
  }
  if (!server_->wait_initialised()) return errno_error(ENOTCONN, "the kernel ended the session");
  return control_->await_attached();
}

Result<void> Worker::serve() {
  writing_ = true;
  TRY(volume_->start_writing());
  TRY(threads_.run([this] { volume_->run_periodic_commit(stop_commits_.get_token()); }));
  TRY(threads_.run([this] { volume_->run_mount_protection(stop_commits_.get_token()); }));
  // The mount is in place: a broker that has gone meanwhile takes nothing from it.
  if (const auto told = control_->announce_serving(); !told)
    log(Severity::warning, "broker: " + told.error().message());
  outcome_ = server_->wait_closed();
  return {};
}

Result<void> Worker::close() {
  end_threads();
  control_->announce_closed(outcome_ ? 0 : static_cast<std::uint32_t>(Exit::not_durable));
  return outcome_;
}

void Worker::give_up(const Error& error) noexcept {
  const bool broken = error.code.category() == protocol::protocol_category();
  if (control_ && !broken) control_->refuse(exit_class_, error.message());
  // If there is a mount, its end is what ends the session: at once if our broker undoes it.
  if (session_) (void)server_->wait_closed();
  end_threads();
}

/// While a volume is served its users are the kernel's, not ours to send away: what they wrote is made durable,
/// and the one who wants an end unmounts. Before that there is nothing to lose.
void Worker::obey(int signal) noexcept {
  if (!writing_) {
    log(Severity::notice, "ended by signal " + std::to_string(signal) + " before the volume was served");
    ::_exit(static_cast<int>(Exit::interrupted));
  }
  log(Severity::notice, "signal " + std::to_string(signal) + ": syncing; the volume is served until it is unmounted");
  if (const auto synced = volume_->sync(); !synced) log(Severity::error, "sync: " + synced.error().message());
}

void Worker::end_threads() noexcept {
  stop_commits_.request_stop();
  signals_.stop();
  if (server_) server_->cancel();
  threads_.finish();
}

}  // namespace worker
