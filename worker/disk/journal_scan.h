// What a log holds: the committed transactions, and of each block the copy that counts.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "worker/disk/journal_format.h"
#include "worker/disk/journal_log.h"

namespace worker::disk {

/// Told now and then, in blocks, by work that takes as long as a log is large.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// A block of the log that holds new contents of a block of the volume.
struct LoggedCopy {
  BlockNumber block;  ///< at home
  LogBlock at;
  TransactionId tid;
  std::uint32_t checksum;  ///< as in the tag
  bool escaped;
};
static_assert(sizeof(LoggedCopy) == 24);  // one for each block that a log can hold

struct JournalScan {
  JournalLayout layout;
  std::vector<LoggedCopy> copies;  ///< of each block the newest that no revoke made void; ordered by block
  std::uint32_t transactions = 0;  ///< committed ones
  /// For the next transaction: none that may still be found anywhere in the log has or will have it.
  TransactionId next_tid = 1;
  LogBlock head = 0;          ///< behind the last committed transaction
  bool fast_commits = false;  ///< there are records of fast commits, which go on from where the transactions end
};

/// Reads the log from where its superblock says that it begins, or nothing if it says that it is empty. A transaction
/// without a commit block ends it, as whatever else cannot belong to it. Everything that counts is checked here, so
/// that a replay can begin to write: EUCLEAN where a committed transaction is damaged, or names a block that is not
/// one of the volume's `volume_blocks` or is one of the log's own. `super` has passed check(). Memory is bounded by
/// the number of log blocks that hold copies, time by the length of the log.
Result<JournalScan> scan_journal(const JournalLog& log, const JournalSuperblock& super, BlockNumber volume_blocks,
                                 const Progress& progress = {});

/// The contents that a copy stands for, as they are to lie at home. `into` is one block. EUCLEAN if its checksum is
/// wrong.
Result<void> read_copy(const JournalLog& log, const JournalLayout& layout, const LoggedCopy& copy,
                       std::span<std::byte> into);

}  // namespace worker::disk
