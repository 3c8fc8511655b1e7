#include "worker/fuse/answer.h"

#include <cerrno>

#include "protocol/log.h"
#include "worker/fuse/dispatcher.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"

namespace worker::fuse {

namespace {

/// The kernel takes -1 to -511 from user space; above are numbers that only kernels may use.
constexpr int kLargestErrno = 511;

/// Errors that say nothing about the request, but something about the volume or this machine.
bool worth_a_line(int number) noexcept { return number == EIO || number == EUCLEAN || number == ENOMEM; }

}  // namespace

int errno_of(const Error& error) noexcept {
  const std::error_condition condition = error.code.default_error_condition();
  const bool has_errno =
      condition.category() == std::generic_category() || condition.category() == std::system_category();
  if (!has_errno || condition.value() <= 0 || condition.value() > kLargestErrno) return EIO;
  return condition.value();
}

void fail(const Request& request, const Error& error) noexcept {
  const int number = errno_of(error);
  if (worth_a_line(number) && request.dispatcher().may_complain()) {
    try {
      protocol::log(protocol::Severity::error, "a request failed: " + error.message());
    } catch (const std::bad_alloc&) {
      protocol::log(protocol::Severity::error, "a request failed for want of memory");
    }
  }
  request.reply_error(number);
}

void give_back(Volume& volume, InodeNumber inode, std::uint64_t count) noexcept {
  if (inode == volume::kRootInode || !volume.references().give_back(inode, count) || volume.read_only()) return;
  const auto released = attempt([&]() -> Result<void> {
    // Most inodes have names: looking at the list is cheaper than reading the inode.
    if (!volume.inspect([&] { return volume.orphans().contains(inode); })) return {};
    return volume.orphans().release(inode);
  });
  // There is nobody to tell. The inode stays on the orphan list and is freed at the unmount or by the next mount.
  if (!released.ok() && errno_of(released.error()) != EROFS) {
    protocol::log(protocol::Severity::warning, "an unlinked file could not be freed yet");
  }
}

namespace {

/// Lends with the reply. False when the kernel does not take it: the reference has come back.
template <typename Structure>
bool lend(const Request& request, InodeNumber inode, const Structure& structure) noexcept {
  Volume& volume = request.volume();
  if (request.reply_structure(structure) == 0) return true;
  give_back(volume, inode, 1);
  return false;
}

}  // namespace

void send(const Request& request, const Entry& entry) noexcept {
  lend(request, entry.attributes.inode, encode_entry(entry.attributes));
}

void send(const Request& request, const std::optional<Entry>& entry) noexcept {
  if (entry) return send(request, *entry);
  request.reply_structure(encode_missing_entry());
}

void send(const Request& request, const Opened& opened) noexcept {
  OpenWriters& writers = request.dispatcher().writers();
  // Counted before the reply: what follows it may come first on another thread.
  writers.opened(opened.inode, opened.flags);
  const fuse_open_out reply{.fh = 0, .open_flags = opened.open_flags, .padding = 0};
  if (request.reply_structure(reply) != 0) writers.released(opened.inode, opened.flags);
}

void send(const Request& request, const OpenedEntry& entry) noexcept {
  const Opened& opened = entry.opened;
  OpenWriters& writers = request.dispatcher().writers();
  writers.opened(opened.inode, opened.flags);
  const struct {
    fuse_entry_out entry;
    fuse_open_out open;
  } reply{encode_entry(entry.attributes), {.fh = 0, .open_flags = opened.open_flags, .padding = 0}};
  static_assert(sizeof(reply) == sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  if (!lend(request, entry.attributes.inode, reply)) writers.released(opened.inode, opened.flags);
}

void send(const Request& request, const volume::Attributes& attributes) noexcept {
  request.reply_structure(encode_attributes_reply(attributes));
}

}  // namespace worker::fuse
