#include "worker/volume/journal_recovery.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/fake_device.h"
#include "tests/support/log_writer.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/disk/journal_replay.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"

namespace worker::volume::testing {
namespace {

using tests::FakeDevice;
using tests::Image;

const MountOptions kReadOnly{.read_only = true};
const MountOptions kNoRecovery{.read_only = true, .no_recovery = true};

constexpr char kWork[] =
    "mkdir d; for i in $(seq 120); do mkdir d/$i; done; sync d\n"
    "rm -r d; mkdir e; for i in $(seq 40); do echo $i > e/$i; done; sync e/*\n"
    "ln -s \"$(printf '\\300\\073\\071\\230%090d' 0)\" e/link; rm e/1*; sync e; touch e/lost";

/// As kernel ext4 leaves it when the power fails.
struct CrashedImage : Image {
  explicit CrashedImage(const std::string& options = "-b 1024") : Image{"-t ext4 -N 1024 " + options, "24M"} {
    tests::crash_kernel(*this, "data=ordered", kWork);
  }
};

/// All that can be seen of a volume: of each path what it is, with contents.
std::map<std::string, std::string> everything(Volume& volume, InodeNumber inode = kRootInode,
                                              const std::string& path = "") {
  std::map<std::string, std::string> found;
  std::vector<Names::Visited> entries;
  std::vector<std::string> names;
  const auto read = volume.names().read_directory(inode, 0, false, [&](const Names::Visited& entry) {
    if (entry.name == "." || entry.name == "..") return true;
    entries.push_back(entry);
    names.emplace_back(entry.name);
    return true;
  });
  EXPECT_TRUE(read.ok()) << path << ": " << read.error().message();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string place = path + "/" + names[i];
    const auto attributes = volume.inodes().attributes(entries[i].inode);
    EXPECT_TRUE(attributes.ok()) << place;
    std::string what = std::to_string(attributes->mode) + " " + std::to_string(attributes->links) + " " +
                       std::to_string(attributes->modified.seconds) + " ";
    if (S_ISDIR(attributes->mode)) {
      found.merge(everything(volume, entries[i].inode, place));
    } else if (S_ISLNK(attributes->mode)) {
      const auto target = volume.names().read_link(entries[i].inode);
      EXPECT_TRUE(target.ok()) << place;
      what += *target;
    } else {
      Bytes bytes(attributes->size);
      EXPECT_TRUE(volume.files().read(entries[i].inode, 0, bytes).ok()) << place;
      what.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    found[place] = what;
  }
  return found;
}

std::unique_ptr<Volume> open(disk::BlockDevice& device, const MountOptions& options) {
  auto opened = Volume::open(device, options);
  EXPECT_TRUE(opened.ok()) << opened.error().message();
  return opened.ok() ? std::move(*opened) : nullptr;
}

std::string refusal(disk::BlockDevice& device, const MountOptions& options = {}) {
  const auto opened = Volume::open(device, options);
  return opened.ok() ? "opened" : opened.error().message();
}

disk::JournalSuperblock journal_of(disk::BlockDevice& device) {
  const auto volume = open(device, kNoRecovery);
  const auto log = open_journal_log(*volume);
  EXPECT_TRUE(log.ok());
  Bytes block(log->block_size());
  EXPECT_TRUE(log->read(0, block).ok());
  return *disk::JournalSuperblock::decode(block);
}

void change_journal(const Image& image, const std::function<void(disk::JournalSuperblock&)>& change) {
  const auto device = image.open();
  const auto volume = open(*device, kNoRecovery);
  const auto log = open_journal_log(*volume);
  disk::JournalSuperblock super = journal_of(*device);
  change(super);
  ASSERT_TRUE(disk::write_journal_superblock(*log, super).ok());
}

bool needs_recovery(const Image& image) {
  return image.header("Filesystem features").find("needs_recovery") != std::string::npos;
}

class CrashedVolume : public ::testing::TestWithParam<std::array<const char*, 2>> {};

TEST_P(CrashedVolume, is_shown_as_the_replay_leaves_it_without_a_byte_written_and_then_replayed) {
  const CrashedImage image{GetParam()[1]};
  const std::string before = image.sha256();
  std::map<std::string, std::string> seen;
  SpaceUsage space;
  {
    // Several at once, on devices that could be written and that could not.
    const auto writable = image.open(), other = image.open(true);
    const auto one = open(*writable, kReadOnly), two = open(*other, {.read_only = true});
    EXPECT_TRUE(one->start_writing().ok());
    EXPECT_TRUE(one->warnings().empty()) << one->warnings()[0];
    EXPECT_FALSE(one->cleanly_unmounted());
    seen = everything(*one);
    EXPECT_EQ(everything(*two), seen);
    space = one->space();
    EXPECT_TRUE(one->close().ok());
  }
  EXPECT_TRUE(seen.contains("/e/20"));
  EXPECT_TRUE(seen.contains("/e/link"));
  EXPECT_FALSE(seen.contains("/e/10"));
  EXPECT_FALSE(seen.contains("/d"));
  EXPECT_FALSE(seen.contains("/e/lost"));
  EXPECT_EQ(image.sha256(), before);
  ASSERT_TRUE(needs_recovery(image));

  {
    const auto device = image.open();
    const auto volume = open(*device, {});
    EXPECT_EQ(everything(*volume), seen);
    EXPECT_EQ(image.sha256(), before) << "opening alone writes nothing";
    ASSERT_TRUE(volume->start_writing().ok());
    EXPECT_EQ(everything(*volume), seen);
    EXPECT_EQ(volume->space().free_blocks, space.free_blocks);
    EXPECT_EQ(volume->space().free_inodes, space.free_inodes);
    EXPECT_TRUE(needs_recovery(image)) << "as long as it may be written";
    EXPECT_EQ(journal_of(*device).start, 0U);
    ASSERT_TRUE(volume->names().create(kRootInode, "new", {.mode = S_IFREG | 0644}).ok());
    EXPECT_TRUE(volume->close().ok());
  }
  EXPECT_EQ(image.complaints(), "");
  const auto device = image.open(true);
  const auto again = open(*device, kReadOnly);
  auto now = everything(*again);
  EXPECT_EQ(now.erase("/new"), 1U);
  EXPECT_EQ(now, seen);
}

TEST_P(CrashedVolume, looks_as_the_kernel_shows_it) {
  const CrashedImage image{GetParam()[1]};
  const std::string copy = image.path() + ".kernel";
  std::filesystem::copy_file(image.path(), copy);
  const auto device = image.open();
  { Mounted{*device}; }
  const auto listing = [&](const std::string& name) {
    const std::string point = image.path() + ".mount";
    const auto outcome = tests::run("mkdir -p " + point + "; unshare -m --propagation private sh -ec 'mount -o loop " +
                                    name + " " + point + "; cd " + point +
                                    "; stat -f -c \"%a %f %b %d\" .; find . -printf \"%p %y %n %s %T@ %l\\n\" | sort; "
                                    "find . -type f | sort | xargs md5sum; cd /; umount " +
                                    point + "'");
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return outcome.output;
  };
  EXPECT_EQ(listing(image.path()), listing(copy));
}

INSTANTIATE_TEST_SUITE_P(Layouts, CrashedVolume,
                         ::testing::Values(std::array{"v3_1k", "-b 1024"}, std::array{"v3_4k", "-b 4096"},
                                           std::array{"plain_1k", "-b 1024 -O ^metadata_csum,^64bit"},
                                           std::array{"indirect_journal", "-b 1024 -O ^extent,^metadata_csum,^64bit"}),
                         [](const auto& made) { return std::string{made.param[0]}; });

TEST(JournalRecovery, norecovery_shows_what_lies_there) {
  const CrashedImage image;
  const std::string before = image.sha256();
  const auto device = image.open();
  {
    const auto volume = open(*device, kNoRecovery);
    EXPECT_TRUE(volume->start_writing().ok());
    EXPECT_FALSE(volume->names().lookup(kRootInode, "e").ok());
    EXPECT_EQ(failure(volume->become_writable()), EROFS);
  }
  EXPECT_EQ(image.sha256(), before);
}

TEST(JournalRecovery, a_volume_mounted_read_only_is_replayed_when_it_becomes_writable) {
  const CrashedImage image;
  const auto device = image.open();
  const auto volume = open(*device, kReadOnly);
  ASSERT_TRUE(volume->start_writing().ok());
  const auto seen = everything(*volume);
  ASSERT_TRUE(volume->become_writable().ok());
  EXPECT_EQ(everything(*volume), seen);
  EXPECT_EQ(journal_of(*device).start, 0U);
  EXPECT_TRUE(volume->close().ok());
  EXPECT_EQ(image.complaints(), "");
}

TEST(JournalRecovery, cut_off_at_any_write_the_next_one_sees_the_same_and_no_state_on_the_way_is_a_trap) {
  const CrashedImage image;
  const Bytes before = FakeDevice::contents_of(image.path());
  FakeDevice device{before};
  device.keep_bytes = true;
  std::map<std::string, std::string> seen;
  {
    const auto volume = open(device, {});
    EXPECT_EQ(device.count(FakeDevice::Kind::write) + device.count(FakeDevice::Kind::flush), 0U);
    ASSERT_TRUE(volume->start_writing().ok());
    seen = everything(*volume);
  }
  const auto records = device.records();
  FakeDevice cut{before};
  std::size_t states = 0;
  for (const auto& record : records) {
    if (record.kind == FakeDevice::Kind::write) ASSERT_TRUE(cut.write(record.offset, record.bytes).ok());
    const bool flag = (cut.bytes()[1024 + 0x60] & std::byte{4}) != std::byte{0};
    EXPECT_TRUE(flag || journal_of(cut).start == 0) << "the kernel throws such a journal away";
    FakeDevice state{cut.bytes()};
    const auto volume = open(state, {});
    ASSERT_NE(volume, nullptr);
    EXPECT_EQ(everything(*volume), seen);
    ASSERT_TRUE(volume->start_writing().ok());
    EXPECT_EQ(everything(*volume), seen);
    ASSERT_TRUE(volume->close().ok());
    if (++states % 8 != 0 && &record != &records.back()) continue;
    state.save(image.path());
    EXPECT_EQ(image.complaints(), "") << "state " << states;
  }
  EXPECT_GT(states, 10U);
}

TEST(JournalRecovery, a_failure_on_the_way_is_told_and_can_be_tried_again) {
  const CrashedImage image;
  FakeDevice device{FakeDevice::contents_of(image.path())};
  for (const auto kind : {FakeDevice::Kind::write, FakeDevice::Kind::flush}) {
    const auto volume = open(device, {});
    device.fail(kind, 0);
    EXPECT_EQ(failure(volume->start_writing()), EIO);
    device.heal();
  }
  { Mounted{device}; }
  device.save(image.path());
  EXPECT_EQ(image.complaints(), "");
}

TEST(JournalRecovery, a_flag_without_changes_is_cleared) {
  const Image image;
  image.debugfs("feature needs_recovery");
  const auto device = image.open();
  EXPECT_EQ(refusal(*device, kReadOnly), "opened");
  EXPECT_TRUE(needs_recovery(image));
  { Mounted{*device}; }
  EXPECT_FALSE(needs_recovery(image));
  EXPECT_EQ(image.complaints(), "");
}

TEST(JournalRecovery, changes_that_the_superblock_denies_are_shown_but_not_written) {
  const CrashedImage image;
  image.debugfs("feature -needs_recovery");
  const std::string before = image.sha256();
  const auto device = image.open();
  const std::string advice =
      "the journal holds changes, but the superblock denies it (run e2fsck, or mount with ro): Structure needs "
      "cleaning";
  EXPECT_EQ(refusal(*device), advice);
  const auto volume = open(*device, kReadOnly);
  ASSERT_TRUE(volume->start_writing().ok());
  EXPECT_TRUE(everything(*volume).contains("/e/20"));
  EXPECT_EQ(volume->become_writable().error().message(), advice);
  EXPECT_EQ(image.sha256(), before);
}

TEST(JournalRecovery, fast_commits_are_refused_and_left_alone) {
  const Image image{"-t ext4 -O fast_commit -b 4096 -J size=8", "64M"};
  tests::crash_kernel(image, "data=ordered", "mkdir d; sync d; echo 1 > d/a; sync d/a; echo 2 > d/b; sync d/b");
  const std::string before = image.sha256();
  for (const bool read_only : {false, true}) {
    const auto device = image.open(read_only);
    MountOptions options;
    options.read_only = read_only;
    EXPECT_EQ(refusal(*device, options),
              "the journal holds fast commits, which cannot be replayed here (let e2fsck or the kernel do it, or mount "
              "with norecovery): Operation not supported");
    EXPECT_EQ(refusal(*device, kNoRecovery), "opened");
  }
  EXPECT_EQ(image.sha256(), before);
}

TEST(JournalRecovery, a_fast_commit_area_without_records_is_given_up) {
  const Image image{"-t ext4 -O fast_commit -b 4096 -J size=8", "64M"};
  tests::crash_kernel(image, "data=ordered", "mkdir d; sync d");
  const auto device = image.open();
  ASSERT_TRUE(journal_of(*device).has(disk::kJournalFastCommit));
  {
    Mounted mounted{*device};
    EXPECT_TRUE(everything(*mounted).contains("/d"));
  }
  EXPECT_FALSE(journal_of(*device).has(disk::kJournalFastCommit));
  EXPECT_EQ(image.complaints(), "");
}

TEST(JournalRecovery, a_journal_on_another_device_keeps_a_volume_from_being_written) {
  const Image image;
  image.debugfs("ssv journal_inum 0");
  const auto device = image.open();
  const std::string elsewhere =
      "the journal is on another device, which is not supported (norecovery reads without it): Operation not supported";
  EXPECT_EQ(refusal(*device), elsewhere);
  EXPECT_EQ(refusal(*device, kReadOnly), "opened");
  image.debugfs("feature needs_recovery");
  EXPECT_EQ(refusal(*device, kReadOnly), elsewhere);
  EXPECT_EQ(refusal(*device, kNoRecovery), "opened");
}

TEST(JournalRecovery, an_abort_that_the_journal_remembers_becomes_an_error_of_the_volume) {
  for (const bool dirty : {false, true}) {
    const Image image{"-t ext4 -b 1024", "16M"};
    if (dirty) tests::crash_kernel(image, "data=ordered", "mkdir e; sync e");
    change_journal(image, [](auto& super) { super.error = static_cast<std::uint32_t>(-5); });
    const std::string before = image.sha256();
    const auto device = image.open();
    {
      const auto volume = open(*device, kReadOnly);
      EXPECT_EQ(volume->warnings(), std::vector<std::string>{"errors were found on the volume before; run e2fsck"});
    }
    EXPECT_EQ(image.sha256(), before);
    { Mounted{*device}; }
    EXPECT_EQ(image.header("Filesystem state"), "clean with errors");
    EXPECT_EQ(journal_of(*device).error, 0U);
  }
}

TEST(JournalRecovery, errors_recorded_past_the_journal_survive_the_replay) {
  const CrashedImage image;
  image.debugfs("ssv error_count 3");
  image.debugfs("ssv last_error_func somewhere");
  image.debugfs("ssv last_error_time 20240101");
  image.debugfs("ssv state 3");
  const auto device = image.open();
  { Mounted{*device}; }
  EXPECT_EQ(image.header("FS Error count"), "3");
  EXPECT_EQ(image.header("Last error function"), "somewhere");
  EXPECT_EQ(image.header("Filesystem state"), "clean with errors");
}

TEST(JournalRecovery, damage_is_refused_before_a_byte_is_written) {
  const CrashedImage image;
  const Bytes sound = FakeDevice::contents_of(image.path());
  FakeDevice first{sound};
  const auto spoilt = [&](disk::LogBlock block, std::size_t offset) {
    FakeDevice device{sound};
    const auto volume = open(device, kNoRecovery);
    const auto same = open_journal_log(*volume);
    Bytes bytes(same->block_size());
    EXPECT_TRUE(same->read(block, bytes).ok());
    bytes[offset] ^= std::byte{0x10};
    EXPECT_TRUE(same->write(block, bytes).ok());
    device.forget_records();
    const std::string why = refusal(device);
    EXPECT_TRUE(device.records().empty());
    EXPECT_EQ(refusal(device, kReadOnly), why);
    EXPECT_EQ(refusal(device, kNoRecovery), "opened");
    return why;
  };
  EXPECT_EQ(spoilt(0, 0), "the journal's superblock is damaged: Structure needs cleaning");
  EXPECT_EQ(spoilt(0, 0x30), "the journal's superblock has a wrong checksum: Structure needs cleaning");
  const auto super = journal_of(first);
  EXPECT_EQ(spoilt(super.start, 100), "transaction 2 of the journal is damaged: Structure needs cleaning");
  EXPECT_NE(spoilt(super.start + 1, 100).find("is damaged: Structure needs cleaning"), std::string::npos);
}

TEST(JournalRecovery, an_inode_that_is_no_journal_is_refused) {
  const auto outcome = [](const std::string& command) {
    const CrashedImage image{"-b 1024 -O ^metadata_csum"};
    image.debugfs(command);
    const auto device = image.open();
    const std::string why = refusal(*device);
    EXPECT_EQ(refusal(*device, kNoRecovery), "opened") << command;
    return why;
  };
  EXPECT_EQ(outcome("sif <8> mode 040755"), "the journal's inode is none: Structure needs cleaning");
  EXPECT_EQ(outcome("sif <8> links_count 0"), "the journal's inode is none: Structure needs cleaning");
  EXPECT_EQ(outcome("sif <8> size 0x7fffffffff"), "the journal's inode is too large: Structure needs cleaning");
  EXPECT_EQ(outcome("sif <8> size 0x400000"), "the journal's inode has a hole: Structure needs cleaning");
  EXPECT_EQ(outcome("sif <8> size 1024"), "the journal has a length beyond its file's end: Structure needs cleaning");
}

TEST(JournalRecovery, a_log_over_metadata_is_refused) {
  for (const char* options : {"-b 1024", "-b 1024 -O meta_bg,^resize_inode", "-b 1024 -O ^flex_bg"}) {
    const Image image{std::string{"-t ext4 "} + options, "24M"};
    const auto device = image.open();
    const auto volume = open(*device, kReadOnly);
    const ext2_filsys fs = volume->fs();
    const auto outcome = [&](BlockNumber home, std::uint32_t count) {
      const auto log = disk::JournalLog::open(*device, 1024, {{home, count}});
      EXPECT_TRUE(log.ok());
      return check_log_is_apart(fs, *log).ok();
    };
    EXPECT_TRUE(check_log_is_apart(fs, *open_journal_log(*volume)).ok());
    EXPECT_FALSE(outcome(1, 1)) << "superblock";
    EXPECT_FALSE(outcome(2, 1)) << "descriptors";
    EXPECT_FALSE(outcome(8193, 1)) << "backup of the superblock";
    EXPECT_FALSE(outcome(ext2fs_block_bitmap_loc(fs, 1), 1));
    EXPECT_FALSE(outcome(ext2fs_inode_bitmap_loc(fs, 2), 1));
    EXPECT_FALSE(outcome(ext2fs_inode_table_loc(fs, 1) + 3, 1));
    EXPECT_FALSE(outcome(5000, 5000));
    EXPECT_TRUE(outcome(24000, 20));
  }
}

TEST(JournalRecovery, progress_is_told_while_looking_and_while_replaying) {
  const CrashedImage image;
  const auto device = image.open();
  std::uint64_t calls = 0, last = 0, all = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    ++calls;
    last = done;
    all = total;
  };
  const auto opened = Volume::open(*device, {}, {.progress = progress});
  ASSERT_TRUE(opened.ok());
  EXPECT_GT(calls, 0U);
  EXPECT_EQ(last, all);
  calls = last = 0;
  ASSERT_TRUE((*opened)->start_writing().ok());
  EXPECT_GT(calls, 0U);
  EXPECT_EQ(last, all);
}

}  // namespace
}  // namespace worker::volume::testing
