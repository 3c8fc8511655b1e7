// One atomic change of the volume: the proof that the mutator lock is held and that undo is armed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "worker/disk/block_cache.h"
#include "worker/disk/ext2fs.h"
#include "worker/volume/types.h"

namespace worker::volume {

class Volume;

/// Exists only inside Volume::mutate(), which ends it: commits when the change succeeded, else puts back every block,
/// group descriptor and superblock field that was touched. Functions that change metadata take one by reference.
/// Belongs to one thread. The in-memory superblock is saved as a whole at the start: whatever changes in it is undone
/// and written.
class Operation {
 public:
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  /// Rolls back what neither succeeded nor failed: an exception passes.
  ~Operation();

  Volume& volume() noexcept { return volume_; }

  /// Contents of block `number`, writable until the operation ends. `kind` as in BlockCache.
  Result<std::span<std::byte>> modify(BlockNumber number, disk::BlockKind kind);

  /// A just allocated block, all zeros.
  std::span<std::byte> create(BlockNumber number, disk::BlockKind kind);

  /// The blocks are free now: see BlockCache::forget().
  void forget(BlockNumber first, std::uint64_t count);

  /// To be called before a group's descriptor or bitmap is changed: saves the descriptor for undo and marks it to be
  /// written, with its checksum, at the next commit.
  void touch_group(std::uint32_t group);

  /// How many blocks this operation has changed or freed so far, descriptors and superblock included; at most.
  std::size_t touched_blocks() const noexcept;

  /// For state in memory that follows the disk (caches, counters): `undo` runs if the operation is rolled back, `done`
  /// if it is committed; both under the mutator lock, in reverse and in order respectively.
  void on_roll_back(std::function<void()> undo) { undo_.push_back(std::move(undo)); }
  void on_commit(std::function<void()> done) { done_.push_back(std::move(done)); }

  /// For callbacks that cannot return an error through libext2fs: the operation ends as if its change had returned this
  /// one, whatever it returns. The first call counts.
  void fail(Error error) {
    if (!failure_) failure_ = std::move(error);
  }

 private:
  friend class Volume;
  explicit Operation(Volume& volume);
  /// Dies rather than throw half-way: a killed worker is a case that is provided for, half an operation is not.
  void commit() noexcept;
  void roll_back();

  struct SavedGroup {
    std::uint32_t group;
    std::size_t at;  ///< where its bytes start in descriptors_
  };

  Volume& volume_;
  bool running_ = true;
  ext2_super_block super_;
  std::vector<SavedGroup> groups_;
  std::vector<std::byte> descriptors_;
  std::vector<std::function<void()>> undo_, done_;
  std::optional<Error> failure_;
};

}  // namespace worker::volume
