#include "worker/disk/journal_scan.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace worker::disk {
namespace {

using protocol::errno_error;

/// The first block of the fast-commit area, if it is in use, begins with a record of this shape; little-endian.
/// Source: kernel fs/ext4/fast_commit.h (struct ext4_fc_tl, struct ext4_fc_head).
struct FastCommitHead {
  std::uint8_t tag[2];
  std::uint8_t length[2];
  std::uint8_t features[4];
  std::uint8_t tid[4];
};
static_assert(sizeof(FastCommitHead) == 12);
constexpr std::uint8_t kHeadTag = 9;

class Scanner {
 public:
  Scanner(const JournalLog& log, const JournalSuperblock& super, BlockNumber volume_blocks, const Progress& progress)
      : log_{log},
        super_{super},
        volume_blocks_{volume_blocks},
        progress_{progress},
        layout_{JournalLayout::of(super)},
        at_{super.start},
        tid_{super.sequence},
        block_(super.block_size) {}

  Result<JournalScan> run() {
    JournalScan scan;
    scan.layout = layout_;
    if (super_.start == 0) {
      scan.next_tid = behind(super_.sequence);
      scan.head = super_.head >= super_.first && super_.head < super_.end() ? super_.head : super_.first;
      return scan;
    }
    head_ = super_.start;
    for (bool more = true; more;) {
      TRY(found, next_block());
      more = found;
    }
    copies_.resize(committed_copies_);
    revokes_.resize(committed_revokes_);
    TRY(newest, resolve());
    scan.copies = std::move(newest);
    scan.transactions = transactions_;
    // The block that did not belong may be one of a transaction that was never committed: its number is used up, too.
    scan.next_tid = behind(tid_);
    scan.head = head_;
    TRY(fast_commits, has_fast_commits());
    scan.fast_commits = fast_commits;
    return scan;
  }

 private:
  struct RevokeBlock {
    LogBlock at;
    TransactionId tid;
  };

  /// 0 as the number of a clean log means trouble to the kernel.
  static TransactionId behind(TransactionId tid) noexcept { return tid + 1 != 0 ? tid + 1 : 1; }

  std::uint32_t ordinal(TransactionId tid) const noexcept { return tid - super_.sequence; }

  /// The place of one more block. Empty when all of the log has been seen: it is not walked twice.
  std::optional<LogBlock> advance() noexcept {
    if (visited_ == super_.end() - super_.first) return std::nullopt;
    ++visited_;
    const LogBlock here = at_;
    at_ = at_ + 1 < super_.end() ? at_ + 1 : super_.first;
    return here;
  }

  /// False at the end of what belongs to the log.
  Result<bool> next_block() {
    const auto here = advance();
    if (!here) return false;
    TRY(log_.read(*here, block_));
    const auto header = decode_header(block_);
    if (!header || header->tid != tid_) return false;
    switch (header->type) {
      case JournalBlockType::descriptor:
        return take_descriptor();
      case JournalBlockType::revoke:
        if (!tail_is_sound(layout_, block_)) suspect_ = true;
        revokes_.push_back({*here, tid_});
        return true;
      case JournalBlockType::commit:
        return take_commit();
      default:
        return false;
    }
  }

  Result<bool> take_descriptor() {
    if (!tail_is_sound(layout_, block_)) suspect_ = true;
    const bool sums = layout_.checksum == JournalChecksum::v1;
    if (sums) v1_ = journal_crc32(v1_, block_);
    for (const BlockTag& tag : decode_descriptor(layout_, block_)) {
      const auto here = advance();
      if (!here) return false;
      copies_.push_back({tag.block, *here, tid_, tag.checksum, (tag.flags & kTagEscaped) != 0});
      if (!sums) continue;
      TRY(log_.read(*here, block_));
      v1_ = journal_crc32(v1_, block_);
    }
    return true;
  }

  /// Blocks left from an earlier use of the log can look like a continuation. What tells them from damage is the time:
  /// within one use it never goes back.
  Result<bool> take_commit() {
    const std::uint64_t time = decode_commit_time(block_).seconds;
    // Only with asynchronous commits can the one block be on the disk before the others; not if one more follows.
    if (excluded_) return damaged(tid_ - 1);
    if (suspect_ || check_commit(layout_, v1_, block_) == CommitCheck::wrong) {
      if (time < last_time_) return false;
      if (suspect_ || !super_.has(kJournalAsyncCommit)) return damaged(tid_);
      excluded_ = true;
    } else {
      committed_copies_ = copies_.size();
      committed_revokes_ = revokes_.size();
      ++transactions_;
      last_time_ = time;
      head_ = at_;
    }
    ++tid_;
    v1_ = ~0U;
    return true;
  }

  static Error damaged(TransactionId tid) {
    return errno_error(EUCLEAN, "transaction " + std::to_string(tid) + " of the journal is damaged");
  }

  /// Leaves out what revokes have made void, checks what is left, and picks the newest copy of each block.
  Result<std::vector<LoggedCopy>> resolve() {
    // Copies stay in the order of the log; this is their order by block, and among those of one block still the log's.
    std::vector<std::uint32_t> order(copies_.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
      return copies_[a].block != copies_[b].block ? copies_[a].block < copies_[b].block : a < b;
    });
    TRY(revoked, count_revoked(order));

    std::vector<bool> counts(copies_.size());
    std::vector<LoggedCopy> newest;
    for (std::size_t i = 0; i < order.size();) {
      const std::size_t first = i;
      const BlockNumber block = copies_[order[first]].block;
      for (; i < order.size() && copies_[order[i]].block == block; ++i)
        counts[order[i]] = ordinal(copies_[order[i]].tid) >= revoked[first];
      if (counts[order[i - 1]]) newest.push_back(copies_[order[i - 1]]);
    }
    TRY(check(counts));
    return newest;
  }

  /// For the first copy of each block, by place in `order`: how many transactions from the log's first on have void
  /// copies of it.
  Result<std::vector<std::uint32_t>> count_revoked(const std::vector<std::uint32_t>& order) {
    std::vector<std::uint32_t> revoked(order.size());
    for (const RevokeBlock& one : revokes_) {
      TRY(log_.read(one.at, block_));
      TRY(numbers, decode_revoke(layout_, block_));
      for (const BlockNumber number : numbers) {
        const auto found = std::partition_point(order.begin(), order.end(),
                                                [&](std::uint32_t i) { return copies_[i].block < number; });
        if (found == order.end() || copies_[*found].block != number) continue;
        std::uint32_t& count = revoked[static_cast<std::size_t>(found - order.begin())];
        count = std::max(count, ordinal(one.tid) + 1);
      }
    }
    return revoked;
  }

  /// Also those that a newer one hides: where one is damaged the log is not to be trusted.
  Result<void> check(const std::vector<bool>& counts) {
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      if (!counts[i]) continue;
      if (copies_[i].block >= volume_blocks_ || log_.holds(copies_[i].block))
        return errno_error(EUCLEAN,
                           "the journal holds block " + std::to_string(copies_[i].block) + ", which cannot be");
      if (layout_.block_checksums()) TRY(read_copy(log_, layout_, copies_[i], block_));
      if (progress_) progress_(i + 1, copies_.size());
    }
    return {};
  }

  Result<bool> has_fast_commits() {
    // The area begins one block behind the log's end.
    if (!super_.has(kJournalFastCommit) || super_.end() + 1 >= super_.length) return false;
    TRY(log_.read(super_.end() + 1, block_));
    FastCommitHead head;
    std::memcpy(&head, block_.data(), sizeof head);
    const std::uint32_t tid = head.tid[0] | head.tid[1] << 8 | head.tid[2] << 16 | std::uint32_t{head.tid[3]} << 24;
    return head.tag[0] == kHeadTag && head.tag[1] == 0 && tid == tid_;
  }

  const JournalLog& log_;
  const JournalSuperblock& super_;
  const BlockNumber volume_blocks_;
  const Progress& progress_;
  const JournalLayout layout_;

  LogBlock at_;        ///< of the next block
  LogBlock head_ = 0;  ///< behind the last commit
  TransactionId tid_;  ///< of the transaction that is being read
  std::uint32_t visited_ = 0;
  std::uint32_t v1_ = ~0U;       ///< over the transaction so far
  bool suspect_ = false;         ///< a checksum in the transaction is wrong
  bool excluded_ = false;        ///< an asynchronous commit was not completed
  std::uint64_t last_time_ = 0;  ///< of the last commit, seconds

  std::vector<std::byte> block_;
  std::vector<LoggedCopy> copies_;    ///< in the log's order
  std::vector<RevokeBlock> revokes_;  ///< in the log's order
  std::size_t committed_copies_ = 0, committed_revokes_ = 0;
  std::uint32_t transactions_ = 0;
};

}  // namespace

Result<JournalScan> scan_journal(const JournalLog& log, const JournalSuperblock& super, BlockNumber volume_blocks,
                                 const Progress& progress) {
  return Scanner{log, super, volume_blocks, progress}.run();
}

Result<void> read_copy(const JournalLog& log, const JournalLayout& layout, const LoggedCopy& copy,
                       std::span<std::byte> into) {
  TRY(log.read(copy.at, into));
  if (layout.block_checksums() && tag_checksum(layout, copy.tid, into) != copy.checksum)
    return errno_error(EUCLEAN, "the journal's copy of block " + std::to_string(copy.block) + " is damaged");
  if (copy.escaped) unescape(into);
  return {};
}

}  // namespace worker::disk
