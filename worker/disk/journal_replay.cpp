#include "worker/disk/journal_replay.h"

#include <algorithm>

namespace worker::disk {
namespace {

constexpr std::size_t kLongestRun = 1 << 20;  // bytes of one write

/// Neighbours at home go there in one write.
Result<void> write_home(const JournalLog& log, const JournalScan& scan, const Progress& progress) {
  const std::uint32_t size = log.block_size();
  std::vector<std::byte> run;
  for (std::size_t i = 0; i < scan.copies.size();) {
    const std::size_t first = i;
    run.clear();
    for (; i < scan.copies.size() && scan.copies[i].block == scan.copies[first].block + (i - first) &&
           run.size() + size <= kLongestRun;
         ++i) {
      run.resize(run.size() + size);
      TRY(read_copy(log, scan.layout, scan.copies[i], std::span{run}.last(size)));
    }
    TRY(log.device().write(scan.copies[first].block * size, run));
    if (progress) progress(i, scan.copies.size());
  }
  return log.device().flush();
}

}  // namespace

Result<void> replay_journal(const JournalLog& log, const JournalScan& scan, JournalSuperblock& super,
                            const Progress& progress) {
  TRY(write_home(log, scan, progress));
  JournalSuperblock empty = super;
  empty.start = 0;
  empty.sequence = scan.next_tid;
  empty.head = scan.head < empty.end() ? scan.head : empty.first;
  empty.incompat &= ~kJournalFastCommit;
  TRY(write_journal_superblock(log, empty));
  TRY(log.device().flush());
  super = empty;
  return {};
}

Result<JournalSuperblock> read_journal_superblock(const JournalLog& log) {
  std::vector<std::byte> block(log.block_size());
  TRY(log.read(0, block));
  TRY(super, JournalSuperblock::decode(block));
  TRY(super.check(log.block_size(), log.blocks()));
  return super;
}

Result<void> write_journal_superblock(const JournalLog& log, const JournalSuperblock& super) {
  std::vector<std::byte> block(log.block_size());
  TRY(log.read(0, block));
  super.encode(block);
  return log.write(0, block);
}

}  // namespace worker::disk
