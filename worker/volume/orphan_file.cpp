#include "worker/volume/orphan_file.h"

#include <endian.h>

#include <cstring>
#include <string>

#include "worker/disk/crash_rules.h"
#include "worker/volume/mapped_blocks.h"
#include "worker/volume/orphans.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// mke2fs makes none longer; what claims to be would only cost memory.
constexpr std::uint64_t kMostBlocks = 512;

constexpr std::size_t kSlotSize = sizeof(std::uint32_t);
static_assert(sizeof(ext4_orphan_block_tail) == 8);

std::uint32_t load_slot(std::span<const std::byte> bytes, std::uint32_t index) {
  std::uint32_t raw = 0;
  std::memcpy(&raw, bytes.data() + index * kSlotSize, kSlotSize);
  return le32toh(raw);
}

Error corrupt(const std::string& what) { return errno_error(EUCLEAN, "orphan file" + what); }

}  // namespace

std::uint32_t OrphanFile::slots_per_block() const noexcept {
  return static_cast<std::uint32_t>(ext2fs_inodes_per_orphan_block(volume_.fs()));
}

std::uint32_t OrphanFile::checksum(const Block& block, std::span<const std::byte> bytes) const noexcept {
  ext2_filsys fs = volume_.fs();
  auto* start = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));  // only summed
  return ext2fs_do_orphan_file_block_csum(fs, fs->super->s_orphan_file_inum, generation_, block.home, start);
}

bool OrphanFile::valid(const Block& block, std::span<const std::byte> bytes) const noexcept {
  ext4_orphan_block_tail tail{};
  std::memcpy(&tail, bytes.data() + bytes.size() - sizeof tail, sizeof tail);
  if (le32toh(tail.ob_magic) != EXT4_ORPHAN_BLOCK_MAGIC) return false;
  const bool summed = ext2fs_has_feature_metadata_csum(volume_.fs()->super) != 0;
  return !summed || le32toh(tail.ob_checksum) == checksum(block, bytes);
}

Result<Inode> OrphanFile::open() {
  const InodeNumber number = volume_.fs()->super->s_orphan_file_inum;
  auto inode = volume_.inodes().read(number);
  if (!inode.ok()) return corrupt("'s inode " + std::to_string(number));
  const std::uint64_t block_size = volume_.cache().block_size();
  const bool sized = inode->size() % block_size == 0 && inode->size() / block_size <= kMostBlocks;
  if (!inode->is_regular() || inode->links() == 0 || !sized) return corrupt("'s inode " + std::to_string(number));
  return inode;
}

Result<void> OrphanFile::load(bool adopt) {
  if (!ext2fs_has_feature_orphan_file(volume_.fs()->super)) return {};
  sound_ = false;
  TRY(inode, open());
  generation_ = inode.raw.i_generation;
  MappedBlocks mapped{volume_, inode};
  const auto outcome = [&]() -> Result<void> {
    for (std::uint32_t index = 0; index < mapped.count(); ++index) {
      TRY(home, mapped.locate(index));
      blocks_.push_back({.home = home});
      TRY(load_block(index, adopt));
    }
    return {};
  }();
  sound_ = outcome.ok();
  if (!sound_) {
    blocks_.clear();
    slots_.clear();
    used_ = 0;
  }
  return outcome;
}

Result<void> OrphanFile::load_block(std::uint32_t index, bool adopt) {
  Block& block = blocks_[index];
  TRY(bytes, volume_.cache().read(block.home));
  if (!valid(block, *bytes)) return corrupt(", block " + std::to_string(index));
  for (std::uint32_t slot = 0; slot < slots_per_block(); ++slot) {
    const InodeNumber number = load_slot(*bytes, slot);
    if (number == 0) continue;
    count(index, 1);
    if (!adopt) continue;
    const auto good = may_be_orphan(volume_, number);
    if (good.ok() && *good && volume_.inodes().read(number).ok() && !volume_.orphans().contains(number))
      slots_[number] = {index, slot};
    else
      volume_.report(corrupt(" holds inode " + std::to_string(number)));
  }
  return {};
}

void OrphanFile::count(std::uint32_t block, int change) noexcept {
  blocks_[block].used += static_cast<std::uint32_t>(change);
  used_ += static_cast<std::uint32_t>(change);
}

Result<void> OrphanFile::store(Operation& operation, Slot slot, InodeNumber inode) {
  const Block& block = blocks_[slot.block];
  TRY(bytes, operation.modify(block.home, disk::BlockKind::inode));
  const std::uint32_t raw = htole32(disk::rule::orphan_protection ? inode : 0);
  std::memcpy(bytes.data() + slot.index * kSlotSize, &raw, kSlotSize);
  if (ext2fs_has_feature_metadata_csum(volume_.fs()->super)) {
    ext4_orphan_block_tail tail{.ob_magic = htole32(EXT4_ORPHAN_BLOCK_MAGIC),
                                .ob_checksum = htole32(checksum(block, bytes))};
    std::memcpy(bytes.data() + bytes.size() - sizeof tail, &tail, sizeof tail);
  }
  return {};
}

Result<bool> OrphanFile::add(Operation& operation, InodeNumber inode) {
  const std::uint32_t room = slots_per_block();
  for (std::size_t step = 0; step < blocks_.size() && blocks_[current_].used == room; ++step)
    current_ = (current_ + 1) % static_cast<std::uint32_t>(blocks_.size());
  if (blocks_.empty() || blocks_[current_].used == room) return false;

  TRY(bytes, operation.modify(blocks_[current_].home, disk::BlockKind::inode));
  Slot slot{.block = current_};
  while (slot.index < room && load_slot(bytes, slot.index) != 0) ++slot.index;
  if (slot.index == room) return corrupt(", block " + std::to_string(current_));
  TRY(store(operation, slot, inode));
  slots_[inode] = slot;
  count(slot.block, 1);
  operation.on_roll_back([this, inode, slot] {
    slots_.erase(inode);
    count(slot.block, -1);
  });
  return true;
}

Result<void> OrphanFile::remove(Operation& operation, InodeNumber inode) {
  const Slot slot = slots_.at(inode);
  TRY(store(operation, slot, 0));
  slots_.erase(inode);
  count(slot.block, -1);
  operation.on_roll_back([this, inode, slot] {
    slots_[inode] = slot;
    count(slot.block, 1);
  });
  return {};
}

std::vector<InodeNumber> OrphanFile::all() const {
  std::vector<InodeNumber> numbers;
  numbers.reserve(slots_.size());
  for (const auto& [number, slot] : slots_) numbers.push_back(number);
  return numbers;
}

}  // namespace worker::volume
