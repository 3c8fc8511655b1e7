// Writes logs of any shape, sound or not, without asking whether they make sense.
#pragma once

#include <cstdlib>
#include <vector>

#include "tests/support/image.h"
#include "tests/support/journaled.h"
#include "worker/disk/journal_format.h"
#include "worker/disk/journal_log.h"

namespace tests {

/// Appends transactions at `at`, wrapping as the superblock says. Aborts the test program where the device fails.
class LogWriter {
 public:
  struct Write {
    worker::disk::BlockNumber block;
    std::vector<std::byte> contents;
  };

  LogWriter(const worker::disk::JournalLog& place, const worker::disk::JournalSuperblock& start)
      : log{place},
        super{start},
        layout{worker::disk::JournalLayout::of(start)},
        at{start.start},
        tid{start.sequence} {}

  /// The next block of the log.
  void put(std::span<const std::byte> block) {
    if (!log.write(at, block).ok()) std::abort();
    at = at + 1 < super.end() ? at + 1 : super.first;
  }

  void revoke(const std::vector<worker::disk::BlockNumber>& blocks) {
    std::vector<std::byte> block(layout.block_size);
    encode_revoke(layout, tid, blocks, block);
    put(block);
  }

  /// Descriptors, each with the copies that it names behind it. `spoilt`: of the first copy a byte is changed after
  /// its checksum was made.
  void write(const std::vector<Write>& writes, bool spoilt = false) {
    const std::size_t most = layout.tags_per_descriptor();
    for (std::size_t first = 0; first < writes.size(); first += most) {
      const std::size_t count = std::min(most, writes.size() - first);
      std::vector<worker::disk::BlockTag> tags;
      std::vector<std::vector<std::byte>> copies;
      for (std::size_t i = first; i < first + count; ++i) {
        auto copy = writes[i].contents;
        const bool escaped = worker::disk::needs_escape(copy);
        if (escaped) worker::disk::escape(copy);
        tags.push_back({.block = writes[i].block,
                        .flags = escaped ? worker::disk::kTagEscaped : 0,
                        .checksum = tag_checksum(layout, tid, copy)});
        copies.push_back(std::move(copy));
      }
      std::vector<std::byte> descriptor(layout.block_size);
      encode_descriptor(layout, tid, tags, descriptor);
      sum(descriptor);
      put(descriptor);
      for (auto& copy : copies) {
        sum(copy);
        if (spoilt) copy[100] ^= std::byte{1};
        spoilt = false;
        put(copy);
      }
    }
  }

  std::vector<std::byte> commit_block() const {
    std::vector<std::byte> block(layout.block_size);
    encode_commit(layout, tid, {.seconds = seconds, .nanoseconds = 1}, v1, block);
    return block;
  }
  void commit() {
    put(commit_block());
    ++tid;
    v1 = ~0U;
  }
  void transaction(const std::vector<Write>& writes, const std::vector<worker::disk::BlockNumber>& revoked = {}) {
    if (!revoked.empty()) revoke(revoked);
    write(writes);
    commit();
  }

  /// Makes the log known: the superblock as given, with every field that was changed in `super` since.
  void publish() const {
    std::vector<std::byte> block(layout.block_size);
    if (!log.read(0, block).ok()) std::abort();
    super.encode(block);
    if (!log.write(0, block).ok()) std::abort();
  }

  worker::disk::JournalLog log;
  worker::disk::JournalSuperblock super;
  worker::disk::JournalLayout layout;
  worker::disk::LogBlock at;
  worker::disk::TransactionId tid;
  std::uint64_t seconds = 1'700'000'000;
  std::uint32_t v1 = ~0U;

 private:
  void sum(std::span<const std::byte> block) { v1 = worker::disk::journal_crc32(v1, block); }
};

}  // namespace tests
