#include "worker/disk/journal_replay.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/support/fake_device.h"
#include "tests/support/log_writer.h"
#include "worker/disk/replayed_device.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;
using tests::Image;
using tests::LogWriter;
using Block = std::vector<std::byte>;

std::uint32_t block_size_of(const Image& image) {
  return static_cast<std::uint32_t>(std::stoul(image.header("Block size")));
}

JournalLog open_log(BlockDevice& device, const Image& image) {
  std::vector<LogExtent> extents;
  for (const BlockNumber block : tests::log_of(image)) extents.push_back({block, 1});
  auto log = JournalLog::open(device, block_size_of(image), extents);
  EXPECT_TRUE(log.ok());
  return *log;
}

JournalSuperblock super_of(const JournalLog& log) {
  Block block(log.block_size());
  EXPECT_TRUE(log.read(0, block).ok());
  const auto super = JournalSuperblock::decode(block);
  EXPECT_TRUE(super.ok());
  return *super;
}

/// Replays an image's journal on a device that holds it; `image` only says where the log lies.
Result<void> replay(BlockDevice& device, const Image& image) {
  const JournalLog log = open_log(device, image);
  JournalSuperblock super = super_of(log);
  TRY(super.check(log.block_size(), log.blocks()));
  TRY(scan, scan_journal(log, super, device.size() / log.block_size()));
  return replay_journal(log, scan, super);
}

/// What others make of the same image, beside it in files of these names.
struct Others {
  std::string e2fsck, kernel;
};
Others replay_by_others(const Image& image, bool kernel_too = true) {
  const Others others{image.path() + ".e2fsck", image.path() + ".kernel"};
  std::filesystem::copy_file(image.path(), others.e2fsck);
  // Never with -f: that would be a whole check, and hide what replay did.
  const auto checked = tests::run("PATH=$PATH:/usr/sbin e2fsck -p -E journal_only " + others.e2fsck);
  EXPECT_LE(checked.status, 1) << checked.output;
  if (!kernel_too) return others;
  std::filesystem::copy_file(image.path(), others.kernel);
  // The replay is done when the kernel has mounted; what unmounting then writes is no part of it.
  const std::string point = image.path() + ".mount";
  const auto mounted = tests::run(
      "mkdir " + point + "; unshare -m --propagation private sh -ec '" + "device=$(losetup -f --show " + others.kernel +
      "); trap \"losetup -d $device\" EXIT; " + "mount -t ext4 -o ro $device " + point + "; cp " + others.kernel + " " +
      others.kernel + ".mounted; umount " + point + "'; mv " + others.kernel + ".mounted " + others.kernel);
  EXPECT_EQ(mounted.status, 0) << mounted.output;
  return others;
}

/// Replays on a copy and holds the result against the others'; the copy's bytes.
Block compare(const Image& image, bool kernel_too = true) {
  FakeDevice device{FakeDevice::contents_of(image.path())};
  const auto replayed = replay(device, image);
  EXPECT_TRUE(replayed.ok()) << replayed.error().message();
  const std::string ours = image.path() + ".ours";
  device.save(ours);
  const Others others = replay_by_others(image, kernel_too);
  using Blocks = std::vector<BlockNumber>;
  EXPECT_EQ(tests::differences(image, ours, others.e2fsck), Blocks{});
  if (kernel_too) EXPECT_EQ(tests::differences(image, ours, others.kernel), Blocks{});
  EXPECT_NE(tests::differences(image, ours, image.path()), Blocks{}) << "there was nothing to replay";
  return device.bytes();
}

constexpr char kWork[] =
    "mkdir d; for i in $(seq 120); do mkdir d/$i; ln -s $(printf %090d 0) d/l$i; done; sync d\n"
    "rm -r d; mkdir e; for i in $(seq 40); do echo $i > e/$i; done; sync e\n"
    "ln -s \"$(printf '\\300\\073\\071\\230%090d' 0)\" e/link; rm e/1*; sync e; touch e/lost";

class KernelImage : public ::testing::TestWithParam<std::array<const char*, 3>> {};

TEST_P(KernelImage, is_replayed_as_e2fsck_and_the_kernel_replay_it) {
  const Image image{std::string{"-t ext4 -N 1024 "} + GetParam()[1], "24M"};
  tests::crash_kernel(image, GetParam()[2], kWork);
  compare(image);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, KernelImage,
    ::testing::Values(std::array{"v3_1k", "-b 1024", "data=ordered"}, std::array{"v3_4k", "-b 4096", "data=ordered"},
                      std::array{"v3_32bit", "-b 1024 -O ^64bit", "data=ordered"},
                      std::array{"plain_4k", "-b 4096 -O ^metadata_csum", "data=ordered"},
                      std::array{"plain_32bit", "-b 1024 -O ^metadata_csum,^64bit", "data=ordered"},
                      std::array{"v1", "-b 1024 -O ^metadata_csum", "journal_checksum"},
                      std::array{"asynchronous", "-b 1024 -O ^metadata_csum", "journal_async_commit,data=writeback"},
                      std::array{"with_data", "-b 1024", "data=journal"}),
    [](const auto& made) { return std::string{made.param[0]}; });

/// An image with one file, among whose blocks a test may choose: what is written there breaks no structure.
class WrittenLog {
 public:
  explicit WrittenLog(const std::string& features, std::uint32_t compat, std::uint32_t incompat, TransactionId tid)
      : image{"-t ext4 " + features + " -d " + source(), "24M"},
        device{FakeDevice::contents_of(image.path())},
        writer{open_log(device, image), super(compat, incompat, tid)} {
    const auto listed = tests::run("PATH=$PATH:/usr/sbin debugfs -R 'blocks /file' " + image.path() + " 2>/dev/null");
    std::istringstream numbers{listed.output};
    for (BlockNumber number; numbers >> number;) blocks.push_back(number);
    EXPECT_GE(blocks.size(), 300U);
  }

  LogWriter::Write put(std::size_t index, int byte) const {
    return {blocks[index], Block(writer.layout.block_size, static_cast<std::byte>(byte))};
  }
  /// The image as it is after a crash.
  void finish() {
    writer.publish();
    device.save(image.path());
    image.debugfs("feature needs_recovery");
  }

  static std::string source() {
    static const tests::TemporaryDirectory folder;
    std::ofstream{folder.path() / "file"} << std::string(300 * 4096, 'f');
    return folder.path().string();
  }
  JournalSuperblock super(std::uint32_t compat, std::uint32_t incompat, TransactionId tid) {
    JournalSuperblock super = super_of(open_log(device, image));
    super.compat = compat;
    super.incompat = incompat;
    super.checksum_type = super.has_block_checksums() ? kJournalCrc32c : 0;
    super.sequence = tid;
    super.start = super.length - 40;
    return super;
  }

  Image image;
  FakeDevice device;
  LogWriter writer;
  std::vector<BlockNumber> blocks;
};

struct Shape {
  const char* name;
  const char* features;
  std::uint32_t compat, incompat;
};

class WrittenImage : public ::testing::TestWithParam<Shape> {};

/// The one test in which others read what the codec writes in layouts that no kernel makes any more.
TEST_P(WrittenImage, is_replayed_as_e2fsck_and_the_kernel_replay_it) {
  const Shape& shape = GetParam();
  WrittenLog log{shape.features, shape.compat, shape.incompat | kJournalRevoke, 0xFFFFFFFD};
  std::vector<LogWriter::Write> many;
  for (std::size_t i = 0; i < 280; ++i) many.push_back(log.put(i, 1));
  log.writer.transaction(many);
  log.writer.transaction({log.put(1, 2), log.put(2, 2), log.put(3, 2)}, {log.blocks[0], log.blocks[1]});
  Block magic(log.writer.layout.block_size, std::byte{3});
  encode_revoke(log.writer.layout, 1, {}, magic);
  log.writer.transaction({{log.blocks[4], magic}, log.put(2, 3)}, {log.blocks[5]});
  log.writer.transaction({log.put(0, 4)});
  log.writer.write({log.put(6, 5)});
  log.finish();
  const Block bytes = compare(log.image);
  const auto at = [&](std::size_t index) { return bytes[(log.blocks[index] + 1) * log.writer.layout.block_size - 1]; };
  const auto byte = [](int value) { return static_cast<std::byte>(value); };
  EXPECT_EQ(at(0), byte(4));
  EXPECT_EQ(at(1), byte('f')) << "in one transaction the revoke wins";
  EXPECT_EQ(at(2), byte(3));
  EXPECT_EQ(at(3), byte(2));
  EXPECT_EQ(bytes[log.blocks[4] * log.writer.layout.block_size], byte(0xC0));
  EXPECT_EQ(at(5), byte('f'));
  EXPECT_EQ(at(6), byte(1));
}

INSTANTIATE_TEST_SUITE_P(Layouts, WrittenImage,
                         ::testing::Values(Shape{"plain_4k", "-b 4096 -O ^metadata_csum,^64bit", 0, 0},
                                           Shape{"plain_64bit_1k", "-b 1024 -O ^metadata_csum", 0, kJournal64Bit},
                                           Shape{"v1_1k", "-b 1024 -O ^metadata_csum", kJournalChecksumV1,
                                                 kJournal64Bit},
                                           Shape{"v2_4k", "-b 4096 -O ^64bit", 0, kJournalChecksumV2},
                                           Shape{"v2_64bit_1k", "-b 1024", 0, kJournalChecksumV2 | kJournal64Bit},
                                           Shape{"v3_1k", "-b 1024 -O ^64bit", 0, kJournalChecksumV3},
                                           Shape{"v3_64bit_4k", "-b 4096", 0, kJournalChecksumV3 | kJournal64Bit}),
                         [](const auto& made) { return std::string{made.param.name}; });

TEST(JournalReplay, leaves_an_empty_log_that_no_transaction_of_before_can_continue) {
  WrittenLog log{"-b 1024 -J size=2", 0, kJournalChecksumV3 | kJournal64Bit | kJournalFastCommit, 77};
  log.writer.super.start = log.writer.at = 3;
  log.writer.transaction({log.put(0, 1)});
  log.writer.write({log.put(0, 2)});
  log.finish();
  FakeDevice device{FakeDevice::contents_of(log.image.path())};
  ASSERT_TRUE(replay(device, log.image).ok());
  const JournalSuperblock after = super_of(open_log(device, log.image));
  EXPECT_EQ(after.start, 0U);
  EXPECT_EQ(after.sequence, 79U);
  EXPECT_EQ(after.head, 6U);
  EXPECT_FALSE(after.has(kJournalFastCommit));
}

TEST(JournalReplay, interrupted_at_any_write_it_can_be_done_again) {
  const Image image{"-t ext4 -b 1024 -N 256", "8M"};
  tests::crash_kernel(image, "data=ordered",
                      "mkdir a; for i in $(seq 30); do echo $i > a/$i; done; sync a; rm a/1*; sync a");
  const Block before = FakeDevice::contents_of(image.path());
  FakeDevice whole{before};
  whole.keep_bytes = true;
  ASSERT_TRUE(replay(whole, image).ok());
  const auto records = whole.records();
  ASSERT_GT(records.size(), 4U);

  FakeDevice cut{before};
  std::size_t flushes = 0;
  for (const auto& record : records) {
    FakeDevice again{cut.bytes()};
    ASSERT_TRUE(replay(again, image).ok());
    const auto outside = [&](const Block& bytes) {
      const std::string name = image.path() + ".cut";
      FakeDevice{bytes}.save(name);
      whole.save(image.path() + ".whole");
      return tests::differences(image, name, image.path() + ".whole");
    };
    EXPECT_EQ(outside(again.bytes()), std::vector<BlockNumber>{});
    EXPECT_EQ(super_of(open_log(again, image)).start, 0U);
    if (record.kind == FakeDevice::Kind::flush)
      ++flushes;
    else
      ASSERT_TRUE(cut.write(record.offset, record.bytes).ok());
  }
  EXPECT_EQ(flushes, 2U);
  // Homes, a flush, the superblock alone, a flush.
  EXPECT_EQ(records.back().kind, FakeDevice::Kind::flush);
  EXPECT_EQ(records[records.size() - 2].offset, tests::log_of(image)[0] * 1024);
  EXPECT_EQ(records[records.size() - 3].kind, FakeDevice::Kind::flush);
}

TEST(JournalReplay, a_failed_write_or_flush_leaves_the_log_as_it_was) {
  WrittenLog log{"-b 1024", 0, kJournalChecksumV3 | kJournal64Bit, 77};
  log.writer.transaction({log.put(0, 1), log.put(100, 1)});
  log.finish();
  for (const auto kind : {FakeDevice::Kind::write, FakeDevice::Kind::flush}) {
    FakeDevice device{FakeDevice::contents_of(log.image.path())};
    device.fail(kind, 0);
    EXPECT_EQ(replay(device, log.image).error().code, std::errc(EIO));
    EXPECT_NE(super_of(open_log(device, log.image)).start, 0U);
    device.heal();
    EXPECT_TRUE(replay(device, log.image).ok());
  }
}

TEST(JournalReplay, tells_how_far_it_is) {
  WrittenLog log{"-b 1024", 0, kJournalChecksumV3 | kJournal64Bit, 77};
  std::vector<LogWriter::Write> many;
  for (std::size_t i = 0; i < 50; ++i) many.push_back(log.put(2 * i, 1));
  log.writer.transaction(many);
  log.writer.publish();
  std::vector<std::uint64_t> told;
  const Progress progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 50U);
    told.push_back(done);
  };
  JournalSuperblock super = super_of(log.writer.log);
  const auto scan = scan_journal(log.writer.log, super, log.device.size() / 1024, progress);
  ASSERT_TRUE(scan.ok());
  EXPECT_EQ(told.back(), 50U);
  told.clear();
  ASSERT_TRUE(replay_journal(log.writer.log, *scan, super, progress).ok());
  EXPECT_GT(told.size(), 1U);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 50U);
}

TEST(ReplayedDevice, reads_as_after_the_replay_at_any_place_and_length_and_writes_nothing) {
  const Image image{"-t ext4 -b 1024 -N 256", "8M"};
  tests::crash_kernel(image, "data=ordered",
                      "mkdir a; for i in $(seq 30); do echo $i > a/$i; done; sync a; rm a/1*; sync a");
  FakeDevice replayed{FakeDevice::contents_of(image.path())};
  ASSERT_TRUE(replay(replayed, image).ok());

  FakeDevice device{FakeDevice::contents_of(image.path())};
  const JournalLog log = open_log(device, image);
  auto scan = scan_journal(log, super_of(log), device.size() / 1024);
  ASSERT_TRUE(scan.ok());
  ASSERT_FALSE(scan->copies.empty());
  const BlockNumber logged = scan->copies[0].block;
  ReplayedDevice view{log, *scan};
  EXPECT_EQ(view.size(), device.size());
  const ByteOffset superblock = tests::log_of(image)[0] * 1024;  // the one block that a replay changes besides
  for (const std::uint64_t length : {1024ULL, 4096ULL, 777ULL, 70000ULL})
    for (ByteOffset at = 0; at < view.size(); at += length) {
      Block got(std::min<std::uint64_t>(length, view.size() - at));
      ASSERT_TRUE(view.read(at, got).ok());
      for (std::size_t i = 0; i < got.size(); ++i)
        if (at + i < superblock || at + i >= superblock + 1024)
          ASSERT_EQ(got[i], replayed.bytes()[at + i]) << "at " << at + i;
    }
  EXPECT_EQ(view.write(0, Block(1024)).error().code, std::errc(EROFS));
  EXPECT_EQ(view.discard(0, 1024).error().code, std::errc(EROFS));
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 0U);

  view.pass_through();
  EXPECT_TRUE(view.scan().copies.empty());
  ASSERT_TRUE(view.write(logged * 1024, Block(1024, std::byte{9})).ok());
  EXPECT_EQ(device.bytes()[logged * 1024], std::byte{9});
  Block back(1024);
  ASSERT_TRUE(view.read(logged * 1024, back).ok());
  EXPECT_EQ(back, Block(1024, std::byte{9}));
}

TEST(ReplayedDevice, threads_that_read_see_no_difference_when_it_is_replayed_and_the_log_used_anew) {
  WrittenLog log{"-b 1024", 0, kJournal64Bit, 77};
  std::vector<LogWriter::Write> many;
  for (std::size_t i = 0; i < 200; ++i) many.push_back(log.put(i, 1));
  log.writer.transaction(many);
  log.writer.publish();
  JournalSuperblock super = super_of(log.writer.log);
  auto scan = scan_journal(log.writer.log, super, log.device.size() / 1024);
  ASSERT_TRUE(scan.ok());
  ReplayedDevice view{log.writer.log, *scan};

  std::atomic<bool> stop = false;
  std::atomic<unsigned> wrong = 0, reads = 0;
  std::vector<std::thread> readers;
  for (unsigned number = 0; number < 4; ++number)
    readers.emplace_back([&, number] {
      Block block(1024);
      for (std::size_t i = number; !stop; i = (i + 7) % 200, ++reads) {
        const bool good = view.read(log.blocks[i] * 1024, block).ok() && block == Block(1024, std::byte{1});
        if (!good) ++wrong;
      }
    });
  while (reads < 200) std::this_thread::yield();
  ASSERT_TRUE(replay_journal(log.writer.log, view.scan(), super).ok());
  view.pass_through();
  for (LogBlock at = 1; at < super.length; ++at)
    ASSERT_TRUE(log.writer.log.write(at, Block(1024, std::byte{0xDD})).ok());
  const unsigned before = reads;
  while (reads < before + 200) std::this_thread::yield();
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0U);
}

TEST(ReplayedDevice, a_copy_that_changes_after_the_scan_is_not_believed) {
  WrittenLog log{"-b 1024", 0, kJournalChecksumV3 | kJournal64Bit, 77};
  const LogBlock copy = log.writer.at + 1;
  log.writer.transaction({log.put(0, 1)});
  auto scan = scan_journal(log.writer.log, log.writer.super, log.device.size() / 1024);
  ASSERT_TRUE(scan.ok());
  ReplayedDevice view{log.writer.log, *scan};
  Block block(1024);
  EXPECT_TRUE(view.read(log.blocks[0] * 1024, block).ok());
  ASSERT_TRUE(log.writer.log.write(copy, Block(1024, std::byte{2})).ok());
  EXPECT_EQ(view.read(log.blocks[0] * 1024, block).error().code, std::errc(EUCLEAN));
}

}  // namespace
}  // namespace worker::disk
