#include "worker/disk/journal_log.h"

#include <algorithm>

namespace worker::disk {
namespace {

/// Calls `transfer(offset on the volume, bytes)` for each consecutive part.
template <typename Bytes, typename Transfer>
Result<void> for_each_part(const std::vector<JournalLog::Piece>& pieces, std::uint32_t block_size, LogBlock at,
                           Bytes bytes, Transfer transfer) {
  while (!bytes.empty()) {
    const auto piece = std::find_if(pieces.begin(), pieces.end(), [at](const JournalLog::Piece& one) {
      return at >= one.first && at - one.first < one.count;
    });
    if (piece == pieces.end()) return protocol::errno_error(EUCLEAN, "journal: block outside the log");
    const LogBlock inside = at - piece->first;
    const auto part =
        bytes.first(std::min<std::uint64_t>(bytes.size(), std::uint64_t{piece->count - inside} * block_size));
    TRY(transfer((piece->home + inside) * block_size, part));
    bytes = bytes.subspan(part.size());
    at += static_cast<LogBlock>(part.size() / block_size);
  }
  return {};
}

}  // namespace

Result<void> JournalLog::read(LogBlock at, std::span<std::byte> into) const {
  return for_each_part(pieces_, block_size_, at, into,
                       [this](ByteOffset offset, std::span<std::byte> part) { return device_->read(offset, part); });
}

Result<void> JournalLog::write(LogBlock at, std::span<const std::byte> from) const {
  return for_each_part(pieces_, block_size_, at, from, [this](ByteOffset offset, std::span<const std::byte> part) {
    return device_->write(offset, part);
  });
}

}  // namespace worker::disk
