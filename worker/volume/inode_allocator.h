// Taking and freeing inodes, and where new ones go.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/volume/group_bitmaps.h"
#include "worker/volume/held_bits.h"

namespace worker::volume {

/// The inode half of Allocator. Files go near their directory; directories near theirs while that part of the volume is
/// not much fuller than the rest; directories of the root to those with the fewest. Under the mutator lock.
class InodeAllocator {
 public:
  InodeAllocator(Volume& volume, GroupBitmaps& bitmaps);

  Result<InodeNumber> allocate(Operation& operation, InodeNumber parent, bool directory);
  Result<void> free(Operation& operation, InodeNumber inode, bool directory);
  Result<bool> in_use(InodeNumber inode);

  void prepare_commit();
  void commit_done();
  bool has_pending_frees() const noexcept { return !freed_.empty() || !committing_.empty(); }

 private:
  struct Room {
    std::uint64_t inodes = 0, blocks = 0;  ///< free
    std::uint64_t directories = 0;
  };
  Room room_in(std::uint32_t flex) const;
  /// What is not much worse than the average flex group: short of it by no more than a quarter of what one holds.
  Room decent_room() const;
  std::uint32_t flex_groups() const noexcept;
  std::uint32_t group_for_directory(InodeNumber parent);
  std::uint32_t quietest_flex();
  std::uint32_t flex_near(std::uint32_t start) const;

  /// An inode of this group; nothing if it has none that can be used.
  Result<std::optional<InodeNumber>> take_from(Operation& operation, std::uint32_t group, bool directory);
  Result<void> take(Operation& operation, std::uint32_t group, std::uint32_t index, bool directory);
  Result<void> clear_table(Operation& operation, std::uint32_t group, std::uint32_t from, std::uint32_t to);

  Volume& volume_;
  GroupBitmaps& bitmaps_;
  std::uint32_t last_flex_ = 0;  ///< where the last directory of the root went

  // A name that is still on the disk must not find another file behind its number.
  struct Place {
    std::uint32_t group, index;
  };
  HeldBits held_;
  std::vector<Place> freed_;       ///< since the last prepare_commit(): held
  std::vector<Place> committing_;  ///< before it, but not yet durable: held
};

}  // namespace worker::volume
