#include "worker/disk/journal.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "worker/disk/crash_rules.h"
#include "worker/disk/home_writer.h"
#include "worker/disk/journal_replay.h"

namespace worker::disk {
namespace {

using protocol::errno_error;

/// More than this owed to their places, and the next commit takes the blocks home, however large the log is: they are
/// kept in memory until then.
constexpr std::size_t kMostOwedBytes = std::size_t{16} << 20;

/// What a log that holds nothing is set to before its first transaction.
JournalSuperblock prepared(JournalSuperblock super, const JournalNeeds& needs) {
  super.version = 2;
  super.compat &= ~kJournalChecksumV1;
  super.incompat = kJournalRevoke | (needs.wide ? kJournal64Bit : 0) | (needs.checksums ? kJournalChecksumV3 : 0);
  super.checksum_type = needs.checksums ? kJournalCrc32c : 0;
  return super;
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(BlockDevice& device, JournalLog log, JournalSuperblock super,
                                               const JournalNeeds& needs, LoggedBlocks& logged) {
  if (super.start != 0) return errno_error(EUCLEAN, "the journal holds changes");
  std::unique_ptr<Journal> journal{new Journal{device, std::move(log), prepared(super, needs), logged}};
  if (journal->most_blocks() == 0) return errno_error(ENOSPC, "the journal is too small");
  return journal;
}

Journal::Journal(BlockDevice& device, JournalLog log, JournalSuperblock super, LoggedBlocks& logged)
    : device_{device},
      log_{std::move(log)},
      logged_{logged},
      layout_{JournalLayout::of(super)},
      super_{super},
      durable_super_{super},
      // One that the log cannot have seen, not even of a transaction that was cut short.
      tid_{super.sequence + 1},
      head_{super.first} {}

std::size_t Journal::most_blocks() const noexcept {
  const std::uint64_t per_descriptor = layout_.tags_per_descriptor();
  const std::uint64_t described = capacity() * per_descriptor / (per_descriptor + 1);
  // The rest is for revokes.
  return described * 7 / 8;
}

Result<void> Journal::commit(const Batch& batch) {
  if (aborted_) return errno_error(EIO, "the journal was aborted");
  auto outcome = write_transaction(batch);
  if (!outcome.ok()) abort();
  return outcome;
}

Result<void> Journal::write_transaction(const Batch& batch) {
  const auto revoked = rule::revoke ? logged_.within(batch.freed) : std::vector<BlockNumber>{};
  // File data may still wait for a flush.
  if (batch.blocks.empty() && revoked.empty()) return device_.flush();

  const std::uint64_t needed = log_blocks_for(layout_, batch.blocks.size(), revoked.size());
  if (needed > capacity() - used_) TRY(empty());
  if (needed > capacity()) return errno_error(ENOSPC, "the transaction is larger than the log");

  const bool moves_tail =
      used_ > 0 && (used_ + needed > capacity() / 2 || logged_.size() * layout_.block_size > kMostOwedBytes);
  if (moves_tail) TRY(write_owed_home());
  if (!rule::home_writes_after_commit) TRY(write_home(device_, layout_.block_size, batch.blocks));

  if (used_ == 0 && tid_ == 0) ++tid_;  // legal, but as the sequence of a log that starts it makes kernel ext4 wonder
  const auto starts_here = [this] {
    super_.start = head_;
    super_.sequence = tid_;
    return write_journal_superblock(log_, super_);
  };
  // A log that was empty is not looked into before it says where it starts; that it does without the commit block is no
  // harm, so the one flush is for both.
  if (used_ == 0 || (moves_tail && !rule::flush_before_tail_update)) TRY(starts_here());

  TransactionWriter writer{log_, layout_, tid_, {.first = super_.first, .end = super_.end(), .at = head_}};
  TRY(writer.write(batch.blocks, revoked));
  if (rule::flush_before_commit_block) TRY(settle_superblock());
  // What lies before this transaction has come home, durably by the flush above.
  if (moves_tail) TRY(starts_here());
  TRY(writer.commit(next_commit_time()));
  if (rule::flush_after_commit_block) TRY(settle_superblock());

  if (moves_tail) {
    logged_.clear();
    used_ = 0;
  }
  logged_.committed(batch);
  used_ += needed;
  head_ = writer.next();
  ++tid_;
  return {};
}

Result<void> Journal::empty() {
  if (aborted_) return errno_error(EIO, "the journal was aborted");
  auto outcome = [this]() -> Result<void> {
    TRY(write_owed_home());
    if (rule::flush_before_tail_update) TRY(device_.flush());
    super_.start = 0;
    super_.sequence = tid_;
    super_.head = head_;
    TRY(write_journal_superblock(log_, super_));
    return settle_superblock();
  }();
  if (!outcome.ok()) {
    abort();
    return outcome;
  }
  logged_.clear();
  used_ = 0;
  return {};
}

Result<void> Journal::write_owed_home() { return write_home(device_, layout_.block_size, logged_.all()); }

Result<void> Journal::settle_superblock() {
  TRY(device_.flush());
  durable_super_ = super_;
  return {};
}

void Journal::abort() {
  aborted_ = true;
  // The tail may have been moved in the cache of a device that has just failed to flush: only the one before is safe.
  super_ = durable_super_;
  super_.error = EIO;
  if (write_journal_superblock(log_, super_).ok()) (void)device_.flush();
}

CommitTime Journal::next_commit_time() {
  // Recovery takes a time that goes back for the trace of an older journal.
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const CommitTime time{static_cast<std::uint64_t>(seconds.count()),
                        static_cast<std::uint32_t>(std::chrono::nanoseconds{now - seconds}.count())};
  last_commit_ = std::max(last_commit_, time);
  return last_commit_;
}

}  // namespace worker::disk
