#include "worker/volume/journal_recovery.h"

#include <array>
#include <cstddef>
#include <cstring>

#include "protocol/log.h"
#include "worker/disk/journal_replay.h"
#include "worker/volume/file_mapping.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr char kContradiction[] =
    "the journal holds changes, but the superblock denies it (run e2fsck, or mount with ro)";
constexpr char kFastCommits[] =
    "the journal holds fast commits, which cannot be replayed here (let e2fsck or the kernel do it, or mount with "
    "norecovery)";
constexpr char kElsewhere[] = "the journal is on another device, which is not supported (norecovery reads without it)";
constexpr char kNoJournal[] =
    "a journal is said to hold changes, but there is none (run e2fsck, or mount with norecovery)";

/// The record of errors, which the kernel also writes past the journal.
constexpr std::size_t kErrorsBegin = offsetof(ext2_super_block, s_error_count);
constexpr std::size_t kErrorsEnd = offsetof(ext2_super_block, s_mount_opts);

}  // namespace

Result<disk::JournalLog> open_journal_log(Volume& volume) {
  const auto wrong = [](const char* what) { return errno_error(EUCLEAN, std::string{"the journal's inode "} + what); };
  const std::uint32_t block_size = volume.fs()->blocksize;
  TRY(inode, volume.inodes().read(volume.fs()->super->s_journal_inum));
  FileMapping mapping{volume, inode};
  if (!inode.is_regular() || inode.links() == 0 || !mapping.has_blocks()) return wrong("is none");
  const LogicalBlock blocks = inode.size() / block_size;
  if (blocks > disk::kMostLogBlocks) return wrong("is too large");

  std::vector<disk::LogExtent> extents;
  std::array<Run, 64> runs;
  for (LogicalBlock next = 0; next < blocks;) {
    TRY(count, mapping.runs(next, runs));
    for (const Run& run : std::span{runs}.first(count)) {
      if (next >= blocks) break;
      if (run.state != RunState::written || run.logical != next || run.length == 0) return wrong("has a hole");
      const std::uint64_t length = std::min(run.length, blocks - next);
      if (!data_range_valid(*volume.fs()->super, run.physical, length)) return wrong("reaches outside the volume");
      extents.push_back({run.physical, static_cast<std::uint32_t>(length)});
      next += length;
    }
    if (count == 0) return wrong("ends too early");
  }
  return disk::JournalLog::open(volume.device(), block_size, std::move(extents));
}

Result<void> check_log_is_apart(ext2_filsys fs, const disk::JournalLog& log) {
  const blk64_t descriptors = ext2fs_has_feature_meta_bg(fs->super) ? fs->super->s_first_meta_bg : fs->desc_blocks;
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
    blk64_t super = 0, old_descriptors = 0, new_descriptor = 0;
    (void)ext2fs_super_and_bgd_loc2(fs, group, &super, &old_descriptors, &new_descriptor, nullptr);
    const auto meets = [&log](blk64_t first, blk64_t count) { return first != 0 && log.overlaps(first, count); };
    if (meets(super, 1) || meets(old_descriptors, descriptors + fs->super->s_reserved_gdt_blocks) ||
        meets(new_descriptor, 1) || meets(ext2fs_block_bitmap_loc(fs, group), 1) ||
        meets(ext2fs_inode_bitmap_loc(fs, group), 1) ||
        meets(ext2fs_inode_table_loc(fs, group), fs->inode_blocks_per_group))
      return errno_error(EUCLEAN, "the journal lies over metadata of block group " + std::to_string(group));
  }
  return {};
}

JournalRecovery::JournalRecovery(const disk::JournalLog& log, disk::JournalScan scan,
                                 const disk::JournalSuperblock& journal, const ext2_super_block& stale,
                                 disk::Progress progress)
    : view_{log, std::move(scan)}, journal_{journal}, stale_{stale}, progress_{std::move(progress)} {}

Result<std::unique_ptr<JournalRecovery>> JournalRecovery::find(Volume& volume, disk::Progress progress) {
  std::unique_ptr<JournalRecovery> none;
  const ext2_filsys fs = volume.fs();
  const bool write = !volume.options().read_only && !volume.device().read_only();
  const bool flagged = ext2fs_has_feature_journal_needs_recovery(fs->super) != 0;
  if (!volume.has_journal()) {
    if (flagged) return errno_error(EUCLEAN, kNoJournal);
    return none;
  }
  if (fs->super->s_journal_inum == 0) {
    if (flagged || write) return errno_error(EOPNOTSUPP, kElsewhere);
    return none;
  }
  TRY(log, open_journal_log(volume));
  TRY(journal, disk::read_journal_superblock(log));
  // Whether a replay writes home or the next mount writes the log: neither may go over the other.
  const bool empty = !flagged && journal.start == 0 && journal.error == 0;
  if (write || !empty) TRY(check_log_is_apart(fs, log));
  if (empty) return none;

  // The kernel would throw these transactions away, e2fsck asks: whatever is right, it is not for us to choose.
  if (!flagged && journal.start != 0 && write) return errno_error(EUCLEAN, kContradiction);
  TRY(scan, disk::scan_journal(log, journal, ext2fs_blocks_count(fs->super), progress));
  // A view without them would lack files that an fsync has promised.
  if (scan.fast_commits) return errno_error(EOPNOTSUPP, kFastCommits);
  if (scan.transactions > 0)
    protocol::log(protocol::Severity::notice, "the journal holds changes: " + std::to_string(scan.copies.size()) +
                                                  " blocks, transactions: " + std::to_string(scan.transactions));
  return std::unique_ptr<JournalRecovery>{
      new JournalRecovery{log, std::move(scan), journal, *fs->super, std::move(progress)}};
}

void JournalRecovery::carry_over(ext2_super_block& super) const noexcept {
  std::memcpy(reinterpret_cast<std::byte*>(&super) + kErrorsBegin,
              reinterpret_cast<const std::byte*>(&stale_) + kErrorsBegin, kErrorsEnd - kErrorsBegin);
  super.s_state |= stale_.s_state & EXT2_ERROR_FS;
  if (journal_.error != 0) super.s_state |= EXT2_ERROR_FS;
}

Result<void> JournalRecovery::replay() {
  if (replayed_) return {};
  const bool flagged = (stale_.s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER) != 0;
  if (journal_.start != 0) {
    if (!flagged) return errno_error(EUCLEAN, kContradiction);
    TRY(disk::replay_journal(view_.log(), view_.scan(), journal_, progress_));
    protocol::log(protocol::Severity::notice, "the journal has been replayed");
  }
  view_.pass_through();
  replayed_ = true;
  return {};
}

Result<void> JournalRecovery::forget_error() {
  if (journal_.error == 0) return {};
  journal_.error = 0;
  TRY(disk::write_journal_superblock(view_.log(), journal_));
  return view_.flush();
}

}  // namespace worker::volume
