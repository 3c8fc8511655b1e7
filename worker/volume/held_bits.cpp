#include "worker/volume/held_bits.h"

namespace worker::volume {

std::span<const std::byte> HeldBits::mask(std::uint32_t group) const {
  const auto found = masks_.find(group);
  return found == masks_.end() ? std::span<const std::byte>{} : std::span<const std::byte>{found->second.bits};
}

void HeldBits::hold(std::uint32_t group, BitRun run) {
  Mask& mask = masks_[group];
  if (mask.bits.empty()) mask.bits.resize(block_size_);
  set_bits(mask.bits, run);
  mask.count += run.count;
}

void HeldBits::let_go(std::uint32_t group, BitRun run) {
  const auto found = masks_.find(group);
  if (found == masks_.end()) return;
  clear_bits(found->second.bits, run);
  found->second.count -= run.count;
  if (found->second.count == 0) masks_.erase(found);
}

bool HeldBits::holds(std::uint32_t group, BitRun run) const {
  const auto found = masks_.find(group);
  return found != masks_.end() && all_set(found->second.bits, run);
}

}  // namespace worker::volume
