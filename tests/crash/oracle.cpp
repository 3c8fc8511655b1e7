#include "tests/crash/oracle.h"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/crash/programs.h"
#include "tests/crash/tree_reader.h"
#include "worker/disk/ext2fs.h"
#include "worker/disk/journal_replay.h"
#include "worker/volume/volume.h"

namespace crash {
namespace {

using worker::volume::Volume;

ext2_super_block superblock(std::span<const std::byte> volume) {
  ext2_super_block super{};
  std::memcpy(&super, volume.data() + SUPERBLOCK_OFFSET, sizeof super);
  return super;
}

namespace disk = worker::disk;

/// Puts what the journal holds in place, as a mount does before anything else. Nothing without a dirty journal.
protocol::Result<void> replay_by_us(ScratchImage& image, std::uint32_t block_size) {
  if ((superblock(image.bytes()).s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER) == 0) return {};
  std::vector<disk::LogExtent> extents;
  for (const std::uint64_t block : journal_blocks(image.bytes())) extents.push_back({block, 1});
  ScratchDevice device{image};
  TRY(log, disk::JournalLog::open(device, block_size, std::move(extents)));
  std::vector<std::byte> first(block_size);
  TRY(log.read(0, first));
  TRY(super, disk::JournalSuperblock::decode(first));
  TRY(super.check(block_size, log.blocks()));
  TRY(scan, disk::scan_journal(log, super, image.bytes().size() / block_size));
  return disk::replay_journal(log, scan, super);
}

}  // namespace

std::string Verdict::text() const {
  std::string all;
  for (const auto& [name, what] :
       {std::pair{"recovery: ", &recovery}, {"e2fsck -fn: ", &fsck}, {"contents: ", &contents}, {"replay: ", &replay}})
    if (!what->empty()) all += name + *what + '\n';
  return all;
}

Oracle::Oracle(ScratchImage& image, const Model& model, std::size_t kernel_every)
    : image_{image},
      other_{image.bytes()},
      model_{model},
      kernel_every_{can_mount_by_kernel() ? kernel_every : 0},
      block_size_{1024u << superblock(image.bytes()).s_log_block_size} {
  for (const std::uint64_t block : journal_blocks(image.bytes())) journal_.insert(block);
}

std::string Oracle::recover() {
  ScratchDevice device{image_};
  auto opened = Volume::open(device, {});
  if (!opened.ok()) return "open: " + opened.error().message();
  Volume& volume = **opened;
  if (volume.read_only()) return "read-only: " + volume.read_only_reason();
  if (const auto started = volume.start_writing(); !started.ok()) return "start: " + started.error().message();
  if (const auto closed = volume.close(); !closed.ok()) return "close: " + closed.error().message();
  return "";
}

bool Oracle::has_orphans() const {
  const ext2_super_block super = superblock(image_.bytes());
  return super.s_last_orphan != 0 || (super.s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT) != 0;
}

std::string Oracle::first_difference() {
  const auto left = image_.bytes(), right = other_.bytes();
  const std::uint64_t super_block = SUPERBLOCK_OFFSET / block_size_;
  for (std::uint64_t block = 0; (block + 1) * block_size_ <= left.size(); ++block) {
    if (std::memcmp(left.data() + block * block_size_, right.data() + block * block_size_, block_size_) == 0) continue;
    if (block == super_block || journal_.contains(block)) continue;
    return "block " + std::to_string(block) + " differs";
  }
  return "";
}

std::string Oracle::compare_replays(bool by_kernel) {
  other_.become(image_);
  std::string theirs = replay_by_fsck(other_.path());
  if (!theirs.empty()) return "e2fsck: " + theirs;
  const std::size_t start = image_.mark();
  const auto replayed = replay_by_us(image_, block_size_);
  // Others free orphans at once, each in its own order.
  const bool comparable = !has_orphans();
  std::string complaint;
  if (!replayed.ok())
    complaint = replayed.error().message();
  else if (comparable && !(theirs = first_difference()).empty())
    complaint = "e2fsck against us: " + theirs;
  if (complaint.empty() && by_kernel) complaint = compare_with_kernel(start, comparable);
  image_.roll_back(start);
  return complaint;
}

std::string Oracle::compare_with_kernel(std::size_t state, bool comparable) {
  const std::vector<std::byte> ours{image_.bytes().begin(), image_.bytes().end()};
  image_.roll_back(state);
  other_.become(image_);
  if (std::string failed = mount_by_kernel(other_.path()); !failed.empty()) return "the kernel: " + failed;
  if (std::string bad = fsck_complaint(other_.path()); !bad.empty()) return "after the kernel: " + bad;
  if (!comparable) return "";
  image_.write(0, ours);
  const std::string difference = first_difference();
  return difference.empty() ? "" : "the kernel against us: " + difference;
}

Verdict Oracle::judge(const CrashState& state) {
  Verdict verdict;
  const std::uint64_t identity = image_.hash();
  const std::size_t start = image_.mark();
  verdict.recovery = recover();
  verdict.fsck = fsck_complaint(image_.path());
  const auto found = read_tree(image_.bytes());
  verdict.contents = found.ok() ? model_.complaint(*found, state.bounds) : found.error().message();
  image_.roll_back(start);
  // Of a torn commit block each may make what it likes: nobody was promised anything.
  if (!state.torn) verdict.replay = compare_replays(kernel_every_ != 0 && identity % kernel_every_ == 0);
  if (!verdict.good()) keep(identity);
  return verdict;
}

void Oracle::keep(std::uint64_t identity) const {
  const char* directory = std::getenv("EXT4BOX_CRASH_KEEP");
  if (directory == nullptr) return;
  std::ofstream file{std::string{directory} + "/state-" + std::to_string(identity) + ".img", std::ios::binary};
  file.write(reinterpret_cast<const char*>(image_.bytes().data()), static_cast<std::streamsize>(image_.bytes().size()));
}

}  // namespace crash
