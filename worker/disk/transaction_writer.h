// How one transaction gets into the log: revoke blocks, descriptors with their copies, and last its commit block.
#pragma once

#include <span>
#include <vector>

#include "worker/disk/committer.h"
#include "worker/disk/journal_format.h"
#include "worker/disk/journal_log.h"

namespace worker::disk {

/// So many blocks of the log does a transaction take, its commit block included.
std::uint64_t log_blocks_for(const JournalLayout& layout, std::uint64_t blocks, std::uint64_t revokes) noexcept;

/// Writes one transaction. Nothing is flushed: between write() and commit(), and behind commit(), that is the caller's.
class TransactionWriter {
 public:
  /// Starts at log block `at`; positions wrap from `end` to `first`.
  struct Place {
    LogBlock first, end, at;
  };
  TransactionWriter(const JournalLog& log, const JournalLayout& layout, TransactionId tid, const Place& place);

  /// All but the commit block. `revoked` are blocks whose older copies in the log do not count any more.
  Result<void> write(std::span<const FrozenBlock> blocks, std::span<const BlockNumber> revoked);

  Result<void> commit(CommitTime time);

  /// Where the next transaction begins.
  LogBlock next() const noexcept { return next_; }

 private:
  Result<void> write_revokes(std::span<const BlockNumber> revoked);
  Result<void> write_described(std::span<const FrozenBlock> blocks);
  /// A block of the transaction, zeroed, to be filled before the next call.
  Result<std::span<std::byte>> append();
  Result<void> put_out();

  const JournalLog& log_;
  const JournalLayout& layout_;
  TransactionId tid_;
  LogBlock first_, end_;
  LogBlock next_;                   ///< where the next appended block goes
  LogBlock waiting_at_;             ///< where the blocks in waiting_ go
  std::vector<std::byte> waiting_;  ///< consecutive blocks, for one write
};

}  // namespace worker::disk
