// The metadata blocks of one volume in memory, with undo for one operation at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/disk/block_device.h"

namespace worker::disk {

/// A block of the volume, counted in volume blocks from its start.
using BlockNumber = std::uint64_t;

/// In what order dirty blocks go home when no journal protects them: lower kinds are written first, so that a name
/// never reaches the disk before the inode, nor the inode before the bitmap, that it depends on.
enum class BlockKind : std::uint8_t { allocation, inode, directory, superblock };

/// One version of a block's contents. Never changes while anybody but the running operation can see it.
using Contents = std::shared_ptr<const std::vector<std::byte>>;

class LoggedBlocks;

/// A dirty block as write-back or a journal takes it: a version that no later operation touches.
struct FrozenBlock {
  BlockNumber number;
  BlockKind kind;
  Contents contents;
};

/// Cache of metadata blocks; file data never passes here. Readers may call from any thread. Everything that changes
/// contents belongs to the one running operation and is called by its thread, with the volume's mutator lock held.
/// Every block an operation touches keeps its former version until the operation ends: other threads read that one, and
/// a roll-back leaves no trace.
class BlockCache {
 public:
  /// `capacity` bounds the clean blocks kept; dirty ones and those in use come on top.
  BlockCache(BlockDevice& device, std::uint32_t block_size, std::size_t capacity);
  ~BlockCache();

  std::uint32_t block_size() const noexcept;
  BlockDevice& device() noexcept;
  BlockNumber blocks() const noexcept;  ///< of the device; greater numbers read as EUCLEAN

  /// From now on a block that stands in `logged` is taken from there and not from the device. Before any other thread
  /// uses the cache; `logged` must outlive it.
  void read_through(const LoggedBlocks& logged) noexcept;

  /// The current version, read from the device if need be. The reference stays valid and unchanged for as long as it is
  /// held. The running operation's thread gets a copy of its own version, as it is at that moment.
  Result<Contents> read(BlockNumber number);

  /// The same, but copies a part of the block to the caller's memory.
  Result<void> read_part(BlockNumber number, std::size_t offset, std::span<std::byte> into);

  /// Starts reads of `count` blocks in one device request; a hint, never an error.
  void read_ahead(BlockNumber first, std::uint32_t count);

  void begin_operation();
  void commit_operation();
  void roll_back_operation();
  bool in_operation() const noexcept;
  /// How many blocks the running operation has modified, created or forgotten so far.
  std::size_t operation_blocks() const noexcept;

  /// A writable copy of the current version; the block becomes dirty. Valid until the operation ends: every modify() of
  /// a block in one operation gives the same bytes. Of several kinds given to a dirty block the last in order counts.
  Result<std::span<std::byte>> modify(BlockNumber number, BlockKind kind);

  /// As modify(), but starts from zeros and reads nothing: for a block that was just allocated.
  std::span<std::byte> create(BlockNumber number, BlockKind kind);

  /// The blocks were freed: what is dirty in them is not owed to the device any more. Undone by a roll-back. A version
  /// that a commit has frozen still goes home: the blocks must not carry anything else before that commit has settled.
  void forget(BlockNumber first, std::uint64_t count);

  /// How many blocks the running operation, were it to end now, and its forerunners leave dirty.
  std::size_t dirty_blocks() const noexcept;
  /// How many are kept though they are the same on the device.
  std::size_t clean_blocks() const noexcept;

  /// Takes all dirty blocks, ordered by kind and number, created directory blocks before changed ones, for writing
  /// outside the mutator lock; later operations copy. No operation may be running. Until settle() the blocks stay in
  /// memory.
  std::vector<FrozenBlock> freeze();

  /// Ends a freeze: blocks not changed since are clean again; with `written` false all stay dirty.
  void settle(const std::vector<FrozenBlock>& frozen, bool written);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace worker::disk
