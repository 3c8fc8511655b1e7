// Which blocks of which file lie where, for readers that must not wait for the mutator lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "worker/volume/file_mapping.h"

namespace worker::volume {

/// Sizes and runs of files as the last finished operation left them; bounded. Any thread may look; changes are made
/// under the mutator lock only, so that what is remembered there cannot be overtaken by an operation. A leaf in the
/// lock order.
class ExtentCache {
 public:
  struct Facts {
    std::uint64_t size = 0;   ///< bytes
    std::uint64_t limit = 0;  ///< bytes the file can have at most
    Timestamp modified;
  };
  struct View {
    Facts facts;
    std::size_t runs = 0;  ///< how many were handed out; 0 if nothing is known from the first block on
  };

  /// The known runs from `first` to before `last`, without gaps, as far as they are known and `into` has room.
  /// Nothing if the file is not known at all.
  std::optional<View> find(InodeNumber inode, LogicalBlock first, LogicalBlock last, std::span<Run> into) const;

  /// What was just read from the volume. Needs the mutator lock and no operation in progress.
  void remember(InodeNumber inode, const Facts& facts, std::span<const Run> runs);

  /// What a committed operation changed of a file that may be known: new facts, and runs that take the place of older
  /// ones.
  void update(InodeNumber inode, const Facts& facts, std::span<const Run> runs);

  void drop(InodeNumber inode);

 private:
  struct File {
    Facts facts;
    std::vector<Run> runs;  ///< by logical block, without overlaps
  };
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<InodeNumber, File> files;
    std::size_t runs = 0;  ///< of all files of the shard
  };
  static constexpr std::size_t kShards = 64;
  static constexpr std::size_t kFilesPerShard = 1024;
  static constexpr std::size_t kRunsPerShard = 8192;

  Shard& shard(InodeNumber inode) const { return shards_[inode % kShards]; }
  static void overlay(File& file, const Run& run);
  static void put(Shard& shard, InodeNumber inode, const Facts& facts, std::span<const Run> runs);

  mutable std::array<Shard, kShards> shards_;
};

}  // namespace worker::volume
