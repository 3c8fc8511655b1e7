// What the parts of FileData share: locks, the cached mapping, small steps on the device. Private to FileData.
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

#include "worker/volume/extent_cache.h"
#include "worker/volume/file_data.h"
#include "worker/volume/volume.h"

namespace worker::volume {

struct FileData::State {
  /// Locks of the files that share a stripe, in this order, both outside every lock of the volume.
  struct Gate {
    /// Guards the file's mapping and size against every other change of them.
    std::mutex mapping;
    /// Held shared while bytes travel to or from blocks that the mapping showed, alone while such blocks are taken
    /// away: a transfer under way must be over before its blocks can become another file's.
    std::shared_mutex transfer;
  };

  struct Look {
    ExtentCache::Facts facts;
    std::size_t runs = 0;  ///< in the caller's array, without gaps from the first block on; at least one
    bool inline_data = false;
  };

  explicit State(Volume& owner) noexcept : volume{owner} {}

  Gate& gate(InodeNumber inode) noexcept { return gates[inode % kGates]; }
  std::uint32_t block_size() const noexcept { return volume.cache().block_size(); }
  LogicalBlock block_of(std::uint64_t byte) const noexcept { return byte / block_size(); }
  LogicalBlock blocks_for(std::uint64_t bytes) const noexcept { return (bytes + block_size() - 1) / block_size(); }

  /// Size and runs from `first` on, from the cache or else from the volume. Takes the mutator lock only for the latter.
  Result<Look> look(InodeNumber inode, LogicalBlock first, LogicalBlock last, std::span<Run> into);

  /// Zeros on the device from byte `first` to before byte `last` of the file, both in one block, if it holds data.
  Result<void> zero_in_block(InodeNumber inode, std::uint64_t first, std::uint64_t last);
  /// Zeros from `byte` to the end of its block.
  Result<void> zero_block_tail(InodeNumber inode, std::uint64_t byte);

  /// What a look at the file tells besides its runs.
  Result<ExtentCache::Facts> facts(InodeNumber inode);
  Result<void> set_size(Operation& operation, Inode& inode, std::uint64_t size);
  /// Modified and changed now.
  static void stamp(Inode& inode) noexcept;

  /// The running operation changes mapping or size of `inode`: fdatasync must commit.
  void note_change(InodeNumber inode) noexcept;

  static constexpr std::size_t kGates = 256;
  static constexpr std::size_t kEpochs = 4096;

  Volume& volume;
  ExtentCache cache;
  std::array<Gate, kGates> gates;
  /// In which epoch an inode with this hash was last changed. Collisions only cost a commit.
  std::array<std::atomic<std::uint64_t>, kEpochs> changed{};
  std::atomic<std::uint64_t> epoch{1};
  std::atomic<std::uint64_t> durable_epoch{0};
};

}  // namespace worker::volume
