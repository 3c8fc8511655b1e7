// A volume as it will be once its journal is replayed, though nobody has written a byte.
#pragma once

#include <atomic>
#include <shared_mutex>
#include <vector>

#include "worker/disk/journal_scan.h"

namespace worker::disk {

/// Reads of blocks of which the log holds a newer copy give that copy, all others what lies on the device. Until
/// pass_through() writes and discards fail with EROFS: what they wrote would be hidden, or undone by the replay. Any
/// thread.
class ReplayedDevice final : public BlockDevice {
 public:
  /// The scan of that log. The log's device must outlive this one.
  ReplayedDevice(JournalLog log, JournalScan scan);

  const JournalLog& log() const noexcept { return log_; }
  /// Without its copies after pass_through().
  const JournalScan& scan() const noexcept { return scan_; }

  /// The journal has been replayed on the device: from now on everything goes there, and nobody reads the log any more
  /// when this returns.
  void pass_through();

  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  Result<void> flush() override { return device_.flush(); }
  Result<void> discard(ByteOffset offset, std::uint64_t length) override;
  std::uint64_t size() const noexcept override { return device_.size(); }
  bool read_only() const noexcept override { return device_.read_only(); }

 private:
  Result<void> read_replayed(ByteOffset offset, std::span<std::byte> into);

  JournalLog log_;
  BlockDevice& device_;
  std::atomic<bool> passing_ = false;
  std::shared_mutex mutex_;  ///< guards scan_.copies and the log behind them: shared by readers
  JournalScan scan_;
};

}  // namespace worker::disk
