#include "worker/volume/directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/directory_fixture.h"
#include "tests/worker/volume/mounted.h"
#include "worker/volume/directory_index.h"
#include "worker/volume/index_format.h"
#include "worker/volume/mapped_blocks.h"

namespace worker::volume {
namespace {

using tests::error_of;
using tests::Image;
using tests::LaidOut;
using tests::Layout;
using tests::listing;
using tests::Mounted;
using tests::new_directory;
using tests::new_file;

std::string random_name(std::mt19937& random) {
  const std::size_t length = random() % 8 == 0 ? 1 + random() % 255 : 4 + random() % 24;
  std::string name(length, 'x');
  for (char& c : name) {
    do c = static_cast<char>(random() % 256);
    while (c == '/' || c == '\0');
  }
  return name;
}

class DirectoryModel : public testing::TestWithParam<Layout> {};

TEST_P(DirectoryModel, agrees_with_a_map_through_random_changes) {
  const LaidOut image{GetParam()};
  std::mt19937 random{42};
  std::map<std::string, InodeNumber> model;
  InodeNumber directory = 0;
  {
    Mounted volume{image};
    const auto made = volume.names().create(kRootInode, "d", new_directory());
    ASSERT_TRUE(made.ok()) << made.error().message();
    directory = made->inode;
    std::vector<InodeNumber> files;
    for (int i = 0; i < 3; ++i) {
      const auto file = volume.names().create(kRootInode, "file" + std::to_string(i), new_file());
      ASSERT_TRUE(file.ok()) << file.error().message();
      files.push_back(file->inode);
    }
    const bool linear = GetParam().mke2fs.find("^dir_index") != std::string::npos;
    const int rounds = linear ? 2500 : GetParam().name.starts_with("plain") ? 20000 : 8000;
    for (int round = 0; round < rounds; ++round) {
      const bool remove = !model.empty() && random() % 10 < (round / 2000 % 3 == 2 ? 7U : 2U);
      if (remove) {
        auto victim = model.lower_bound(random_name(random));
        if (victim == model.end()) victim = model.begin();
        const auto gone = volume.names().unlink(directory, victim->first);
        ASSERT_TRUE(gone.ok()) << gone.error().message();
        model.erase(victim);
      } else {
        const std::string name = random_name(random);
        const InodeNumber file = files[random() % files.size()];
        const auto linked = volume.names().link(file, directory, name);
        ASSERT_EQ(error_of(linked), model.contains(name) ? EEXIST : 0);
        model.emplace(name, file);
      }
      if (random() % 16 == 0) {
        const std::string name = random_name(random);
        EXPECT_EQ(error_of(volume.names().lookup(directory, name)), model.contains(name) ? 0 : ENOENT);
      }
    }
    for (const auto& [name, inode] : model) {
      const auto found = volume.names().lookup(directory, name);
      ASSERT_TRUE(found.ok()) << found.error().message();
      ASSERT_EQ(found->inode, inode);
    }
    EXPECT_EQ(listing(*volume, directory), model);
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  Mounted again{image};
  EXPECT_EQ(listing(*again, directory, 7), model);
  EXPECT_TRUE(again.close());
}

/// Goes through a directory a few entries at a time, and lets `change` loose on it between the steps.
template <typename Change>
std::map<std::string, int> listing_amid_changes(Volume& volume, InodeNumber directory, std::size_t step,
                                                Change change) {
  std::map<std::string, int> seen;
  std::uint64_t cookie = 0;
  for (bool more = true; more;) {
    std::size_t taken = 0;
    more = false;
    const auto read = volume.names().read_directory(directory, cookie, false, [&](const auto& entry) {
      if (taken++ == step) {
        more = true;
        return false;
      }
      cookie = entry.next_cookie;
      ++seen[std::string(entry.name)];
      return true;
    });
    EXPECT_TRUE(read.ok()) << read.error().message();
    if (!read.ok()) break;
    change(seen);
  }
  return seen;
}

TEST_P(DirectoryModel, lists_each_name_that_stays_once_amid_changes) {
  const LaidOut image{GetParam()};
  const bool linear = GetParam().mke2fs.find("^dir_index") != std::string::npos;
  Mounted volume{image};
  std::mt19937 random{7};
  for (const int staying : {5, linear ? 300 : 1500}) {
    const InodeNumber directory =
        volume.names().create(kRootInode, "d" + std::to_string(staying), new_directory())->inode;
    const InodeNumber file = volume.names().create(kRootInode, "f" + std::to_string(staying), new_file())->inode;
    for (int i = 0; i < staying; ++i)
      ASSERT_TRUE(volume.names().link(file, directory, "stays" + std::to_string(i)).ok());
    int made = 0, most = linear ? 500 : 2000;
    std::vector<std::string> passing;
    const auto seen = listing_amid_changes(*volume, directory, staying == 5 ? 1 : 23, [&](const auto&) {
      for (int i = 0; i < 40; ++i) {
        if (made < most && random() % 3 != 0) {
          passing.push_back("passing" + std::to_string(made++) + std::string(random() % 100, 'p'));
          ASSERT_TRUE(volume.names().link(file, directory, passing.back()).ok());
        } else if (!passing.empty()) {
          std::swap(passing.back(), passing[random() % passing.size()]);
          ASSERT_TRUE(volume.names().unlink(directory, passing.back()).ok());
          passing.pop_back();
        }
      }
    });
    for (int i = 0; i < staying; ++i)
      ASSERT_TRUE(seen.contains("stays" + std::to_string(i)) && seen.at("stays" + std::to_string(i)) == 1) << i;
    for (const auto& [name, times] : seen) ASSERT_EQ(times, 1) << name;
  }
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(DirectoryModel, removing_what_is_listed_while_listing_leaves_nothing) {
  const LaidOut image{GetParam()};
  const int names = GetParam().name == "plain_4k" ? 20000 : 2000;
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
  for (int i = 0; i < names; ++i) ASSERT_TRUE(volume.names().link(file, directory, "n" + std::to_string(i)).ok());
  std::size_t removed = 0;
  listing_amid_changes(*volume, directory, 100, [&](auto& seen) {
    for (const auto& [name, times] : seen) {
      if (name == "." || name == "..") continue;
      ASSERT_TRUE(volume.names().unlink(directory, name).ok()) << name;
      ++removed;
    }
    seen.clear();
  });
  EXPECT_EQ(removed, static_cast<std::size_t>(names));
  EXPECT_TRUE(volume.names().remove_directory(kRootInode, "d").ok());
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

INSTANTIATE_TEST_SUITE_P(Layouts, DirectoryModel,
                         testing::Values(Layout{"plain_1k", "-t ext4 -b 1024"}, Layout{"plain_4k", "-t ext4 -b 4096"},
                                         Layout{"no_checksums", "-t ext4 -b 4096 -O ^metadata_csum"},
                                         Layout{"no_checksums_1k", "-t ext4 -b 1024 -O ^metadata_csum,^64bit"},
                                         Layout{"large_1k", "-t ext4 -b 1024 -O large_dir"},
                                         Layout{"blocks_of_64k", "-t ext4 -b 65536", "256M"},
                                         Layout{"linear", "-t ext4 -b 1024 -O ^dir_index"},
                                         Layout{"linear_no_checksums", "-t ext4 -b 4096 -O ^dir_index,^metadata_csum"},
                                         Layout{"indirect", "-t ext3 -b 1024"}, Layout{"second", "-t ext2 -b 4096"},
                                         Layout{"no_types", "-t ext2 -b 1024 -O ^filetype"},
                                         Layout{"legacy", "-t ext4 -b 1024", "64M", "legacy"},
                                         Layout{"tea", "-t ext4 -b 1024", "64M", "tea"},
                                         Layout{"half_md4_unsigned", "-t ext4 -b 1024", "64M", "half_md4", true},
                                         Layout{"legacy_unsigned", "-t ext4 -b 1024", "64M", "legacy", true},
                                         Layout{"tea_unsigned", "-t ext4 -b 1024", "64M", "tea", true}),
                         [](const auto& layout) { return layout.param.name; });

std::string numbered(int i) { return "name-" + std::to_string(1000000 + i) + ".txt"; }

/// Where the blocks of a directory lie.
std::vector<BlockNumber> blocks_of(Volume& volume, InodeNumber directory) {
  std::vector<BlockNumber> blocks;
  const auto found = volume.inspect([&]() -> Result<void> {
    TRY(inode, volume.inodes().read(directory));
    MappedBlocks mapped{volume, inode};
    for (LogicalBlock block = 0; block < mapped.count(); ++block) {
      TRY(physical, mapped.locate(block));
      blocks.push_back(physical);
    }
    return {};
  });
  EXPECT_TRUE(found.ok());
  return blocks;
}

TEST(Directory, a_name_among_100_000_costs_the_blocks_on_its_way) {
  constexpr int kNames = 100'000;
  // Inode, mapping, two blocks of the index and a leaf; a change may need a second leaf or inode and a bitmap.
  constexpr std::size_t kMostReads = 8;
  const Image image{"-t ext4 -b 4096 -N 4096", "64M"};
  std::vector<std::byte> bytes = tests::FakeDevice::contents_of(image.path());
  InodeNumber directory = 0, file = 0;
  {
    tests::FakeDevice device{bytes};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    Names& names = (*volume)->names();
    directory = names.create(kRootInode, "d", new_directory())->inode;
    file = names.create(kRootInode, "file", new_file())->inode;
    const InodeNumber other = names.create(kRootInode, "other", new_file())->inode;
    for (int i = 0; i < kNames; ++i) ASSERT_TRUE(names.link(i % 2 ? file : other, directory, numbered(i)).ok()) << i;
    EXPECT_GT(blocks_of(**volume, directory).size(), 800U);
    ASSERT_TRUE((*volume)->close().ok());
    bytes = device.bytes();
  }
  std::size_t entries = 0;
  const auto visit = [&](const auto&) { return ++entries < 100; };
  const std::vector<std::pair<const char*, std::function<bool(Names&)>>> uses = {
      {"found", [&](Names& names) { return names.lookup(directory, numbered(77'777)).ok(); }},
      {"missing", [&](Names& names) { return error_of(names.lookup(directory, "nowhere")) == ENOENT; }},
      {"dot", [&](Names& names) { return names.lookup(directory, "..").ok(); }},
      {"added", [&](Names& names) { return names.link(file, directory, "added").ok(); }},
      {"made", [&](Names& names) { return names.create(directory, "made", new_file()).ok(); }},
      {"removed", [&](Names& names) { return names.unlink(directory, numbered(4'321)).ok(); }},
      {"renamed", [&](Names& names) { return names.rename(directory, numbered(5), directory, "renamed", 0).ok(); }},
      {"listed", [&](Names& names) { return names.read_directory(directory, 0, false, visit).ok(); }},
      {"listed on", [&](Names& names) { return names.read_directory(directory, 1ULL << 62, false, visit).ok(); }},
  };
  for (const auto& [what, use] : uses) {
    tests::FakeDevice device{bytes};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    const std::size_t before = device.count(tests::FakeDevice::Kind::read);
    EXPECT_TRUE(use((*volume)->names())) << what;
    const std::size_t reads = device.count(tests::FakeDevice::Kind::read) - before;
    EXPECT_LE(reads, kMostReads) << what;
    RecordProperty(std::string{"reads_"} + what, static_cast<int>(reads));
    ASSERT_TRUE((*volume)->close().ok());
    device.save(image.path());
    EXPECT_EQ(image.complaints(), "") << what;
  }
}

/// Ends of names that begin with 200 times 'a' and which the legacy hash cannot tell apart, found by search.
constexpr const char* kColliding[] = {"kdjhaVs", "codjaw@", "vqsma:]", "mwoeb1P", "mzhlc3U", "kobvc=F", "qnszcKj",
                                      "uhshd[s", "mnghem[", "xjwofkk", "mjtvfNf", "rfpcg12", "xazphA?", "slshiD:"};

TEST(Directory, names_of_one_hash_span_leaves_and_are_all_found_and_listed_once) {
  const Image image{"-t ext4 -b 1024"};
  image.debugfs("set_super_value def_hash_version legacy");
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
  std::map<std::string, InodeNumber> model;
  const auto add = [&](const std::string& name) {
    ASSERT_TRUE(volume.names().link(file, directory, name).ok());
    model.emplace(name, file);
  };
  for (int i = 0; i < 60; ++i) add(std::string(200, 'b') + std::to_string(i));
  for (const char* const end : kColliding) add(std::string(200, 'a') + end);
  for (int i = 60; i < 200; ++i) add(std::string(200, 'b') + std::to_string(i));
  ASSERT_EQ(NameHasher(*volume->fs()->super, EXT2_HASH_LEGACY)(std::string(200, 'a') + kColliding[0]).major,
            0x2468ACF0U);
  for (const auto& [name, inode] : model) ASSERT_TRUE(volume.names().lookup(directory, name).ok()) << name;
  for (const std::size_t step : {1, 2, 3, 7, 1000}) EXPECT_EQ(listing(*volume, directory, step), model) << step;

  // Half of them go while the others are listed one by one.
  std::size_t removed = 0;
  const auto seen = listing_amid_changes(*volume, directory, 1, [&](const auto& so_far) {
    if (removed >= std::size(kColliding) || !so_far.contains(std::string(200, 'a') + kColliding[removed])) return;
    ASSERT_TRUE(volume.names().unlink(directory, std::string(200, 'a') + kColliding[removed]).ok());
    removed += 2;
  });
  for (const auto& [name, inode] : model) EXPECT_EQ(seen.at(name), 1) << name;
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

/// Names go in until the index is full: with 1 KiB blocks that takes some ten thousand long ones.
std::size_t fill(Mounted& volume, InodeNumber directory, InodeNumber file, std::size_t most) {
  const std::string tail(240, 't');
  for (std::size_t i = 0; i < most; ++i) {
    const auto linked = volume.names().link(file, directory, std::to_string(i) + tail);
    if (linked.ok()) continue;
    EXPECT_EQ(error_of(linked), ENOSPC);
    EXPECT_EQ(error_of(volume.names().lookup(directory, std::to_string(i) + tail)), ENOENT);
    return i;
  }
  return most;
}

TEST(Directory, a_full_index_takes_no_more_names) {
  const Image image{"-t ext4 -b 1024 -O ^large_dir", "64M"};
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
  const std::size_t taken = fill(volume, directory, file, 60000);
  EXPECT_GT(taken, 15000U);
  EXPECT_LT(taken, 60000U);
  EXPECT_EQ(listing(*volume, directory).size(), taken);
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

TEST(Directory, a_large_directory_grows_a_third_level) {
  const Image image{"-t ext4 -b 1024 -O large_dir", "64M"};
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
  EXPECT_EQ(fill(volume, directory, file, 45000), 45000U);
  EXPECT_EQ(listing(*volume, directory, 1000).size(), 45000U);
  for (int i = 0; i < 45000; i += 3)
    ASSERT_TRUE(volume.names().unlink(directory, std::to_string(i) + std::string(240, 't')).ok());
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

/// Bytes of a directory's blocks that a malicious or broken image may hold in place of the right ones.
class Spoiler {
 public:
  Spoiler(std::vector<std::byte>& image, std::vector<BlockNumber> blocks, std::size_t block_size, unsigned seed)
      : image_{image}, blocks_{std::move(blocks)}, block_size_{block_size}, random_{seed} {}

  void spoil() {
    for (auto flips = 1 + random_() % 12; flips > 0; --flips) {
      const std::size_t base = blocks_[random_() % blocks_.size()] * block_size_;
      // Headers, counts and limits stand at the start of a block.
      const std::size_t at = random_() % 2 == 0 ? random_() % 64 : random_() % block_size_;
      image_[base + at] = random_() % 2 == 0 ? std::byte(random_()) : kNasty[random_() % std::size(kNasty)];
    }
  }

 private:
  static constexpr std::byte kNasty[] = {std::byte{0}, std::byte{1}, std::byte{4}, std::byte{0x7F}, std::byte{0xFF}};
  std::vector<std::byte>& image_;
  std::vector<BlockNumber> blocks_;
  std::size_t block_size_;
  std::mt19937 random_;
};

/// Everything that looks at or changes a directory; whatever it answers, it must answer.
void use_everything(Names& names, InodeNumber directory, InodeNumber file, unsigned seed) {
  std::mt19937 random{seed};
  const auto visit_all = [&](bool with_attributes) {
    std::uint64_t visits = 0;
    (void)names.read_directory(directory, 0, with_attributes, [&](const auto&) { return ++visits < 100000; });
    EXPECT_LT(visits, 100000U);
  };
  visit_all(true);
  for (int i = 0; i < 30; ++i) {
    const std::string name = numbered(static_cast<int>(random() % 400));
    (void)names.lookup(directory, name);
    (void)names.link(file, directory, "new" + name + std::string(random() % 100, 'n'));
    (void)names.unlink(directory, name);
    (void)names.rename(directory, numbered(static_cast<int>(random() % 400)), directory, "moved" + name, 0);
    (void)names.read_directory(directory, std::uint64_t{random()} << 31 | random(), false,
                               [](const auto&) { return false; });
  }
  (void)names.lookup(directory, "..");
  (void)names.create(directory, "sub", new_directory());
  visit_all(false);
  (void)names.remove_directory(kRootInode, "d");
}

void survive_spoiling(const Image& image, std::size_t block_size, int name_count, unsigned seeds) {
  std::vector<BlockNumber> blocks;
  InodeNumber directory = 0, file = 0;
  {
    Mounted volume{image};
    directory = volume.names().create(kRootInode, "d", new_directory())->inode;
    file = volume.names().create(kRootInode, "file", new_file())->inode;
    for (int i = 0; i < name_count; ++i) ASSERT_TRUE(volume.names().link(file, directory, numbered(i)).ok());
    blocks = blocks_of(*volume, directory);
    ASSERT_TRUE(volume.close());
  }
  const std::vector<std::byte> sound = tests::FakeDevice::contents_of(image.path());
  testing::internal::CaptureStderr();
  for (unsigned seed = 0; seed < seeds; ++seed) {
    std::vector<std::byte> bytes = sound;
    Spoiler{bytes, blocks, block_size, seed}.spoil();
    tests::FakeDevice device{std::move(bytes)};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    use_everything((*volume)->names(), directory, file, seed);
    (void)(*volume)->close();
  }
  (void)testing::internal::GetCapturedStderr();
}

TEST(Directory, survives_any_bytes_in_an_indexed_directory) {
  survive_spoiling(Image{"-t ext4 -b 1024 -N 64 -O ^metadata_csum,^has_journal", "1M"}, 1024, 400, 400);
}

TEST(Directory, survives_any_bytes_in_a_directory_of_one_block) {
  survive_spoiling(Image{"-t ext4 -b 1024 -N 64 -O ^metadata_csum,^has_journal", "1M"}, 1024, 20, 200);
}

TEST(Directory, survives_any_bytes_in_a_linear_directory) {
  survive_spoiling(Image{"-t ext4 -b 1024 -N 64 -O ^metadata_csum,^has_journal,^dir_index", "1M"}, 1024, 400, 200);
}

TEST(Directory, a_root_around_the_tail_of_the_leaf_that_it_was_is_a_root) {
  const Image image{"-t ext4 -b 1024 -O metadata_csum"};
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  const InodeNumber other = volume.names().create(kRootInode, "other", new_directory())->inode;
  const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(volume.names().link(file, directory, numbered(i)).ok());
  // As the kernel leaves it: the start of the old tail lies where the root's checksum has four reserved bytes.
  const auto marked = volume->mutate([&](Operation& operation) -> Result<void> {
    TRY(inode, volume->inodes().read(directory));
    DirectoryBlocks blocks{*volume, inode};
    TRY(root, blocks.modify(operation, 0));
    store16(root, 1024 - 8, DirectoryFormat::kTail);
    root[1024 - 5] = std::byte{0xDE};
    seal_index(blocks.format(), root, kRootPairs);
    EXPECT_TRUE(has_tail(blocks.format(), root));
    return {};
  });
  ASSERT_TRUE(marked.ok());
  EXPECT_EQ(listing(*volume, directory).size(), 200U);
  EXPECT_EQ(volume.names().lookup(directory, "..")->inode, kRootInode);
  ASSERT_TRUE(volume.names().rename(kRootInode, "d", other, "d", 0).ok());
  EXPECT_EQ(error_of(volume.names().remove_directory(other, "d")), ENOTEMPTY);
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

TEST(Directory, a_wrong_byte_under_a_checksum_is_never_believed) {
  const Image image{"-t ext4 -b 1024 -N 64 -O metadata_csum,^has_journal", "1M"};
  std::vector<BlockNumber> blocks;
  InodeNumber directory = 0;
  {
    Mounted volume{image};
    directory = volume.names().create(kRootInode, "d", new_directory())->inode;
    const InodeNumber file = volume.names().create(kRootInode, "file", new_file())->inode;
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(volume.names().link(file, directory, numbered(i)).ok());
    blocks = blocks_of(*volume, directory);
    ASSERT_TRUE(volume.close());
  }
  testing::internal::CaptureStderr();
  for (const BlockNumber block : blocks) {
    std::vector<std::byte> bytes = tests::FakeDevice::contents_of(image.path());
    bytes[block * 1024 + 16] ^= std::byte{1};
    tests::FakeDevice device{std::move(bytes)};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    EXPECT_EQ(error_of((*volume)->names().read_directory(directory, 0, false, [](const auto&) { return true; })),
              EUCLEAN);
  }
  (void)testing::internal::GetCapturedStderr();
}

}  // namespace
}  // namespace worker::volume
