// A log whose bytes anybody may have chosen: scanned, seen through, replayed. Input: one byte for the layout, then
// records of five bytes that change what a sound log has: its block (0: the superblock), the offset in it
// (little-endian), the new value, and in the last byte whether the block's checksum is then made right again, so that
// damage gets behind it.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/support/fake_device.h"
#include "tests/support/log_writer.h"
#include "worker/disk/big_endian.h"
#include "worker/disk/crc32c.h"
#include "worker/disk/journal_replay.h"
#include "worker/disk/replayed_device.h"

namespace {

using namespace worker::disk;
using Block = std::vector<std::byte>;

constexpr std::uint32_t kSize = 1024;
constexpr BlockNumber kVolumeBlocks = 1400;
constexpr std::uint32_t kLogBlocks = 1200;
constexpr std::size_t kRecord = 5;

void must(bool holds) {
  if (!holds) std::abort();
}

JournalLog open_log(BlockDevice& device) {
  auto log = JournalLog::open(device, kSize, {{100, 1000}, {1150, kLogBlocks - 1000}});
  must(log.ok());
  return *std::move(log);
}

JournalSuperblock first_super(std::uint8_t shape) {
  JournalSuperblock super;
  super.block_size = kSize;
  super.length = kLogBlocks;
  super.first = 1;
  super.start = kLogBlocks - 8;
  super.sequence = 0xFFFFFFFE;
  super.fast_commit_blocks = 100;
  switch (shape & 3) {
    case 1:
      super.compat = kJournalChecksumV1;
      break;
    case 2:
      super.incompat = kJournalChecksumV2;
      break;
    case 3:
      super.incompat = kJournalChecksumV3;
      break;
    default:
      break;
  }
  if (super.has_block_checksums()) super.checksum_type = kJournalCrc32c;
  if ((shape & 4) != 0) super.incompat |= kJournal64Bit;
  if ((shape & 8) != 0) super.incompat |= kJournalAsyncCommit;
  if ((shape & 16) != 0) super.incompat |= kJournalFastCommit;
  super.start = super.end() - 8;
  return super;
}

/// Three transactions with everything in them, round the end of the log and of the numbers.
void write_log(BlockDevice& device, const JournalSuperblock& super) {
  tests::LogWriter writer{open_log(device), super};
  const auto filled = [](int byte) { return Block(kSize, static_cast<std::byte>(byte)); };
  Block magic(kSize);
  encode_revoke(writer.layout, 1, {}, magic);
  writer.transaction({{10, filled(1)}, {11, magic}, {12, filled(1)}});
  writer.transaction({{10, filled(2)}, {20, filled(2)}}, {12, 13});
  writer.write({{12, filled(3)}});
  writer.revoke({20});
  writer.commit();
  writer.write({{30, filled(4)}});
  writer.publish();
}

/// What a block's own checksum says is made true; copies and foreign blocks have none.
void seal(const JournalLayout& layout, std::span<std::byte> block) {
  const auto header = decode_header(block);
  if (!header || !layout.block_checksums()) return;
  // Where the checksum lies, and what it begins with; it covers all of the block with itself zero.
  std::size_t place = block.size() - 4;
  std::uint32_t seed = layout.seed;
  if (header->type == JournalBlockType::superblock1 || header->type == JournalBlockType::superblock2)
    place = 0xFC, seed = ~0U;
  else if (header->type == JournalBlockType::commit)
    place = 16;
  store(block, place, Be32{0});
  store(block, place, Be32{crc32c(seed, block)});
}

void check(const tests::FakeDevice& original, const JournalSuperblock& super) {
  tests::FakeDevice device{original.bytes()};
  const JournalLog log = open_log(device);
  auto scan = scan_journal(log, super, kVolumeBlocks);
  must(device.records().empty());
  if (!scan.ok()) return;
  must(scan->head < kLogBlocks && scan->next_tid != 0);
  for (std::size_t i = 0; i < scan->copies.size(); ++i) {
    must(scan->copies[i].block < kVolumeBlocks && !log.holds(scan->copies[i].block));
    must(i == 0 || scan->copies[i - 1].block < scan->copies[i].block);
  }
  ReplayedDevice view{log, *scan};
  Block seen(device.size());
  must(view.read(0, seen).ok());
  must(device.records().empty());

  JournalSuperblock after = super;
  must(replay_journal(log, *scan, after).ok());
  must(after.start == 0);
  const auto same = [&](std::size_t from, std::size_t to) {
    return std::memcmp(seen.data() + from, device.bytes().data() + from, to - from) == 0;
  };
  must(same(0, 100 * kSize) && same(101 * kSize, device.size()));
  Block block(kSize);
  must(log.read(0, block).ok());
  must(JournalSuperblock::decode(block).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  tests::FakeDevice device{kVolumeBlocks * kSize};
  const JournalSuperblock first = first_super(data[0]);
  write_log(device, first);
  const JournalLog log = open_log(device);
  const JournalLayout layout = JournalLayout::of(first);
  for (std::size_t at = 1; at + kRecord <= size; at += kRecord) {
    // The log in use lies round its end: those blocks are the ones that small numbers name.
    const std::uint32_t number = data[at] % 32;
    const LogBlock block = number == 0 ? 0 : number <= 8 ? first.end() - 9 + number : number - 8;
    Block bytes(kSize);
    must(log.read(block, bytes).ok());
    bytes[(data[at + 1] | data[at + 2] << 8) % kSize] = std::byte{data[at + 3]};
    if ((data[at + 4] & 1) != 0) seal(layout, bytes);
    must(log.write(block, bytes).ok());
  }
  device.forget_records();
  Block block(kSize);
  must(log.read(0, block).ok());
  const auto super = JournalSuperblock::decode(block);
  if (super.ok() && super->check(kSize, kLogBlocks).ok()) check(device, *super);
  return 0;
}
