// Multiple mount protection: a block that says who has the volume mounted, so that two hosts that share a disk do not
// both write to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "worker/disk/block_device.h"
#include "worker/disk/ext2fs.h"

namespace worker::volume {

using disk::Error;
using disk::Result;

/// Owns the MMP block of a volume with that feature: struct mmp_struct, little-endian, at the start of block
/// s_mmp_block. Whoever has the volume mounted read-write puts another sequence number there every few seconds; who
/// wants it looks whether it changes. The block never passes through the cache or a journal. Any thread.
/// Source: kernel Documentation/filesystems/ext4/mmp.rst.
class Mmp {
 public:
  /// What the user is to know, and lets time pass; both are tests' to replace.
  using Tell = std::function<void(const std::string&)>;
  using Sleep = std::function<void(std::chrono::seconds)>;

  /// Copies what it needs of `super`.
  Mmp(disk::BlockDevice& device, const ext2_super_block& super);

  /// Looks whether anybody has the volume: at once if the last one left it in order, else by watching the block for
  /// wait_seconds(), which `tell` is told before and every few seconds. Writes nothing. EBUSY, with the reason, if the
  /// volume is in use or being checked; EUCLEAN if the block makes no sense.
  Result<void> check(const Tell& tell);

  /// Takes the volume: writes our number, durably, and if check() had to wait, waits again a little. check()s first if
  /// that was not done.
  /// EBUSY if somebody came in between.
  Result<void> claim();

  /// Writes the next number if the block still has our last one. EBUSY if not: nothing more may be written to the
  /// volume. An error of the device counts only when the others have a right to think that we are gone; before that it
  /// is logged.
  Result<void> update();

  /// Says that the volume is free again, unless somebody else has it now or nobody claimed it.
  Result<void> release();

  std::chrono::seconds update_interval() const noexcept { return std::chrono::seconds{update_seconds_}; }
  void sleep_with(Sleep sleep) { sleep_ = std::move(sleep); }

 private:
  Result<mmp_struct> read();
  Result<void> write(std::uint32_t sequence);
  Result<void> refresh();
  std::uint32_t checksum(const mmp_struct& block) const noexcept;
  std::uint32_t wait_seconds(const mmp_struct& block) const noexcept;
  Error in_use(const mmp_struct& block) const;

  disk::BlockDevice& device_;
  std::uint32_t block_size_;
  disk::ByteOffset place_;
  bool summed_;
  std::uint32_t seed_;
  std::uint16_t update_seconds_;
  Sleep sleep_;

  std::mutex mutex_;               ///< guards the following; held during I/O, not while waiting
  std::vector<std::byte> buffer_;  ///< the block
  bool checked_ = false, owned_ = false, complained_ = false;
  std::uint32_t sequence_ = 0;  ///< the one that must be there
  std::uint32_t waited_ = 0;    ///< seconds
  std::chrono::steady_clock::time_point written_;
};

}  // namespace worker::volume
