// What a volume did to its device, in order: the writes and flushes that reached it, and what was promised between
// them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "worker/disk/block_device.h"
#include "worker/volume/types.h"

namespace crash {

using worker::disk::ByteOffset;
using worker::disk::Result;
using worker::volume::InodeNumber;

/// A state of the files that the workload's author knows: 0 before the first operation, k after the k-th.
using Version = std::size_t;

/// One thing that happened. Which fields count follows from the kind.
struct Event {
  enum class Kind : std::uint8_t {
    write,         ///< `bytes` at `offset`
    flush,         ///< returned: every write among the first `called_at` events is durable
    started,       ///< the operation that leads to `version` begins
    durable,       ///< a sync or fsync that began when `version` was complete has returned
    data_durable,  ///< an fdatasync of `inode` that began when `version` was complete has returned
  };
  Kind kind;
  ByteOffset offset = 0;
  std::vector<std::byte> bytes = {};
  Version version = 0;
  InodeNumber inode = 0;
  std::size_t called_at = 0;
};

/// A volume in memory that keeps every write. A write of several blocks is kept as one event a block: a disk may take
/// them in any order. Any thread.
class Recorder final : public worker::disk::BlockDevice {
 public:
  Recorder(std::vector<std::byte> contents, std::uint32_t block_size)
      : bytes_{std::move(contents)}, block_size_{block_size} {}

  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  Result<void> flush() override;
  /// Kept as a write of bytes that mean nothing: contents are undefined afterwards.
  Result<void> discard(ByteOffset offset, std::uint64_t length) override;
  std::uint64_t size() const noexcept override { return bytes_.size(); }
  bool read_only() const noexcept override { return false; }

  /// Flushes take a moment from now on, so that other threads write meanwhile.
  void flush_slowly() { slow_ = true; }

  void mark(Event::Kind kind, Version version, InodeNumber inode = 0);

  const std::vector<Event>& events() const noexcept { return events_; }
  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  bool inside(ByteOffset offset, std::uint64_t length) const noexcept {
    return offset <= bytes_.size() && length <= bytes_.size() - offset;
  }

  std::mutex mutex_;
  std::vector<std::byte> bytes_;
  std::uint32_t block_size_;
  std::atomic<bool> slow_ = false;
  std::vector<Event> events_;
};

}  // namespace crash
