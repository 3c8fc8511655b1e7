#include "worker/disk/transaction_writer.h"

#include <algorithm>
#include <cstring>

namespace worker::disk {
namespace {

constexpr std::size_t kLongestWrite = 1 << 20;

constexpr std::uint64_t rounded_up(std::uint64_t count, std::uint64_t per_block) noexcept {
  return (count + per_block - 1) / per_block;
}

}  // namespace

std::uint64_t log_blocks_for(const JournalLayout& layout, std::uint64_t blocks, std::uint64_t revokes) noexcept {
  return rounded_up(revokes, layout.revokes_per_block()) + rounded_up(blocks, layout.tags_per_descriptor()) + blocks +
         1;
}

TransactionWriter::TransactionWriter(const JournalLog& log, const JournalLayout& layout, TransactionId tid,
                                     const Place& place)
    : log_{log},
      layout_{layout},
      tid_{tid},
      first_{place.first},
      end_{place.end},
      next_{place.at},
      waiting_at_{place.at} {}

Result<void> TransactionWriter::write(std::span<const FrozenBlock> blocks, std::span<const BlockNumber> revoked) {
  TRY(write_revokes(revoked));
  TRY(write_described(blocks));
  return put_out();
}

Result<void> TransactionWriter::commit(CommitTime time) {
  TRY(block, append());
  encode_commit(layout_, tid_, time, 0, block);
  return put_out();
}

Result<void> TransactionWriter::write_revokes(std::span<const BlockNumber> revoked) {
  while (!revoked.empty()) {
    const std::size_t count = std::min<std::size_t>(revoked.size(), layout_.revokes_per_block());
    TRY(block, append());
    encode_revoke(layout_, tid_, revoked.first(count), block);
    revoked = revoked.subspan(count);
  }
  return {};
}

Result<void> TransactionWriter::write_described(std::span<const FrozenBlock> blocks) {
  std::vector<BlockTag> tags;
  std::vector<std::byte> escaped(layout_.block_size);
  const auto escaped_copy = [&](const FrozenBlock& block) -> std::span<const std::byte> {
    std::memcpy(escaped.data(), block.contents->data(), escaped.size());
    escape(escaped);
    return escaped;
  };
  while (!blocks.empty()) {
    const auto described = blocks.first(std::min<std::size_t>(blocks.size(), layout_.tags_per_descriptor()));
    tags.clear();
    for (const FrozenBlock& block : described) {
      const bool escapes = needs_escape(*block.contents);
      const std::span<const std::byte> copy = escapes ? escaped_copy(block) : std::span{*block.contents};
      tags.push_back({.block = block.number,
                      .flags = escapes ? kTagEscaped : 0,
                      .checksum = tag_checksum(layout_, tid_, copy)});
    }
    TRY(descriptor, append());
    encode_descriptor(layout_, tid_, tags, descriptor);
    for (const FrozenBlock& block : described) {
      TRY(copy, append());
      std::memcpy(copy.data(), block.contents->data(), copy.size());
      if (needs_escape(copy)) escape(copy);
    }
    blocks = blocks.subspan(described.size());
  }
  return {};
}

Result<std::span<std::byte>> TransactionWriter::append() {
  const bool wrapped = !waiting_.empty() && next_ == first_;
  if (wrapped || waiting_.size() + layout_.block_size > kLongestWrite) TRY(put_out());
  waiting_.resize(waiting_.size() + layout_.block_size);
  if (++next_ == end_) next_ = first_;
  return std::span{waiting_}.last(layout_.block_size);
}

Result<void> TransactionWriter::put_out() {
  if (!waiting_.empty()) TRY(log_.write(waiting_at_, waiting_));
  waiting_.clear();
  waiting_at_ = next_;
  return {};
}

}  // namespace worker::disk
