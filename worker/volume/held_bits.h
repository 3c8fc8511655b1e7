// Blocks or inodes that look free in a bitmap but must not be given out: promised ones, and freed ones whose commit is
// not durable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "worker/volume/bitmap.h"

namespace worker::volume {

/// One mask per group that has any. Under the mutator lock.
class HeldBits {
 public:
  explicit HeldBits(std::uint32_t block_size) : block_size_{block_size} {}

  /// The mask of a group, empty when nothing in it is held. Valid until the next change.
  std::span<const std::byte> mask(std::uint32_t group) const;

  /// The run must not be held yet, or wholly held, respectively.
  void hold(std::uint32_t group, BitRun run);
  void let_go(std::uint32_t group, BitRun run);
  bool holds(std::uint32_t group, BitRun run) const;

 private:
  struct Mask {
    std::vector<std::byte> bits;
    std::uint32_t count = 0;
  };
  std::uint32_t block_size_;
  std::unordered_map<std::uint32_t, Mask> masks_;
};

}  // namespace worker::volume
