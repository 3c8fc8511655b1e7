// One atomic change of the volume: the proof that the mutator lock is held and that undo is armed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "worker/disk/block_cache.h"
#include "worker/volume/types.h"

namespace worker::volume {

class Volume;

/// Exists only inside Volume::mutate(), which ends it: commits when the change succeeded, else puts back every block, group
/// descriptor and superblock field that was touched. Functions that change metadata take one by reference.
class Operation {
 public:
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  Volume& volume() noexcept { return volume_; }

  /// Contents of block `number`, writable until the operation ends. `kind` as in BlockCache.
  Result<std::span<std::byte>> modify(BlockNumber number, disk::BlockKind kind);

  /// A just allocated block, all zeros.
  std::span<std::byte> create(BlockNumber number, disk::BlockKind kind);

  /// To be called before a group's descriptor or bitmap, or the in-memory superblock, is changed: saves it for undo and marks it
  /// to be written at the next commit.
  void touch_group(std::uint32_t group);
  void touch_superblock();

  /// For state in memory that follows the disk (caches, counters): `undo` runs if the operation is rolled back, `done` if it
  /// is committed; both under the mutator lock, in reverse and in order respectively.
  void on_roll_back(std::function<void()> undo);
  void on_commit(std::function<void()> done);

 private:
  friend class Volume;
  explicit Operation(Volume& volume);
  Volume& volume_;
};

}  // namespace worker::volume
