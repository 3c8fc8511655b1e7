#include "worker/disk/journal_log.h"

#include <algorithm>

namespace worker::disk {

using protocol::errno_error;

Result<JournalLog> JournalLog::open(BlockDevice& device, std::uint32_t block_size, std::vector<LogExtent> extents) {
  JournalLog log{device, block_size};
  const BlockNumber end = device.size() / block_size;
  for (const LogExtent& extent : extents) {
    if (extent.count == 0) continue;
    if (extent.home >= end || extent.count > end - extent.home)
      return errno_error(EUCLEAN, "the journal lies outside the volume");
    if (extent.count > kMostLogBlocks - log.blocks_) return errno_error(EUCLEAN, "the journal is too large");
    log.pieces_.push_back({log.blocks_, extent.home, extent.count});
    log.blocks_ += extent.count;
  }
  log.by_home_ = log.pieces_;
  std::sort(log.by_home_.begin(), log.by_home_.end(), [](const Piece& a, const Piece& b) { return a.home < b.home; });
  for (std::size_t i = 1; i < log.by_home_.size(); ++i)
    if (log.by_home_[i].home < log.by_home_[i - 1].home + log.by_home_[i - 1].count)
      return errno_error(EUCLEAN, "the journal has one block twice");
  return log;
}

bool JournalLog::overlaps(BlockNumber first, std::uint64_t count) const noexcept {
  // The last piece that begins before the range's end is the only one that can reach into it.
  const auto behind = std::partition_point(by_home_.begin(), by_home_.end(), [&](const Piece& piece) {
    return piece.home < first || piece.home - first < count;
  });
  if (behind == by_home_.begin()) return false;
  const Piece& last = *std::prev(behind);
  return last.home >= first || first - last.home < last.count;
}

template <typename Bytes, typename Transfer>
Result<void> JournalLog::for_each_part(LogBlock first, Bytes bytes, Transfer transfer) const {
  const std::uint64_t count = bytes.size() / block_size_;
  if (first > blocks_ || count > blocks_ - first) return errno_error(EUCLEAN, "beyond the end of the journal");
  auto piece = std::partition_point(pieces_.begin(), pieces_.end(),
                                    [first](const Piece& one) { return one.first + one.count <= first; });
  for (; !bytes.empty(); ++piece) {
    const std::uint32_t skipped = first - piece->first;
    const std::uint64_t length =
        std::min<std::uint64_t>(bytes.size(), std::uint64_t{piece->count - skipped} * block_size_);
    TRY(transfer((piece->home + skipped) * block_size_, bytes.first(length)));
    bytes = bytes.subspan(length);
    first = piece->first + piece->count;
  }
  return {};
}

Result<void> JournalLog::read(LogBlock first, std::span<std::byte> into) const {
  return for_each_part(first, into, [this](ByteOffset at, auto part) { return device_->read(at, part); });
}

Result<void> JournalLog::write(LogBlock first, std::span<const std::byte> from) const {
  return for_each_part(first, from, [this](ByteOffset at, auto part) { return device_->write(at, part); });
}

}  // namespace worker::disk
