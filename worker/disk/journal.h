// The journal of a volume that is mounted read-write: what becomes durable when, and when its log is used again.
#pragma once

#include <cstdint>

#include "worker/disk/journal_log.h"
#include "worker/disk/journal_superblock.h"
#include "worker/disk/logged_blocks.h"
#include "worker/disk/transaction_writer.h"

namespace worker::disk {

/// What the volume asks of its journal's layout.
struct JournalNeeds {
  bool wide = false;       ///< block numbers above 2^32
  bool checksums = false;  ///< metadata_csum
};

/// Writes each batch as one JBD2 transaction, in ordered mode: file data was written before the batch was made, so the
/// first of the commit's two flushes covers it. Blocks go home later, all at once, when half of the log is used or much
/// is owed; the commit that does so moves the tail of the log to itself. All under the caller's one-commit-at-a-time
/// rule, so a home write can never come in late: the blocks that a batch frees are given out again only after its
/// commit, which runs after every home write before it has returned.
class Journal final : public Committer {
 public:
  /// The log is empty (replayed, or left so): `super.start` is 0. Writes nothing. `log` and `super` as found; `logged`
  /// is filled by the commits. ENOSPC for a log in which no transaction has room.
  static Result<std::unique_ptr<Journal>> open(BlockDevice& device, JournalLog log, JournalSuperblock super,
                                               const JournalNeeds& needs, LoggedBlocks& logged);

  Result<void> commit(const Batch& batch) override;
  std::size_t most_blocks() const noexcept override;

  /// Writes home what is owed. On success that is durable and the log says that it is empty.
  Result<void> empty();
  bool is_empty() const noexcept { return used_ == 0; }

 private:
  Journal(BlockDevice& device, JournalLog log, JournalSuperblock super, LoggedBlocks& logged);

  Result<void> write_transaction(const Batch& batch);
  Result<void> write_owed_home();
  Result<void> settle_superblock();
  /// Leaves a mark in the journal superblock for the next mount, as far as that still goes.
  void abort();
  CommitTime next_commit_time();
  std::uint64_t capacity() const noexcept { return super_.end() - super_.first - 1; }

  BlockDevice& device_;
  JournalLog log_;
  LoggedBlocks& logged_;
  JournalLayout layout_;
  JournalSuperblock super_;          ///< as written last
  JournalSuperblock durable_super_;  ///< as it lies on the medium for certain
  TransactionId tid_;                ///< of the next transaction
  LogBlock head_;                    ///< where it begins
  std::uint64_t used_ = 0;           ///< log blocks from the tail to the head
  CommitTime last_commit_{};
  bool aborted_ = false;
};

}  // namespace worker::disk
