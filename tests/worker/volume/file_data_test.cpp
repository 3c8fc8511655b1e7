#include "worker/volume/file_data.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/disk/ext2_errors.h"
#include "worker/volume/allocator.h"

namespace worker::volume {
namespace {

using namespace testing;

/// What a file must read as.
struct Model {
  InodeNumber inode;
  Bytes bytes;

  void write(std::uint64_t offset, const Bytes& data) {
    if (data.empty()) return;
    if (bytes.size() < offset + data.size()) bytes.resize(offset + data.size());
    std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void zero(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t last = std::min<std::uint64_t>(bytes.size(), offset + length);
    if (offset < last)
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(offset), bytes.begin() + static_cast<std::ptrdiff_t>(last),
                std::byte{0});
  }
};

constexpr std::size_t kLargest = 3 << 20;

/// One random deed on the file and on the model.
void act(Mounted& mounted, Model& model, std::mt19937& random, bool extents) {
  const auto below = [&](std::size_t limit) {
    return static_cast<std::size_t>(random() % std::max<std::size_t>(limit, 1));
  };
  const std::size_t offset = random() % 4 ? below(model.bytes.size() + 10000) : below(kLargest);
  const std::size_t length = random() % 3 ? 1 + below(9000) : 1 + below(300000);
  FileData& files = mounted.files();
  const auto expect = [&](const auto& result) {
    if (!result.ok()) throw std::runtime_error{result.error().message()};
  };
  switch (random() % 10) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const Bytes data = pattern(length, static_cast<std::uint32_t>(random()));
      const auto count = files.write(model.inode, offset, data, {.from_page_cache = random() % 2 == 0});
      expect(count);
      ASSERT_EQ(*count, data.size());
      model.write(offset, data);
      break;
    }
    case 4: {
      const std::size_t size = random() % 4 ? offset : 0;
      expect(files.truncate(model.inode, size));
      model.bytes.resize(size);
      break;
    }
    case 5:
      expect(files.allocate(model.inode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
      model.zero(offset, length);
      break;
    case 6: {
      const bool keep = random() % 2;
      const auto result = files.allocate(model.inode, keep ? FALLOC_FL_KEEP_SIZE : 0, offset, length);
      if (!extents) {
        ASSERT_EQ(failure(result), EOPNOTSUPP);
        break;
      }
      expect(result);
      if (!keep && model.bytes.size() < offset + length) model.bytes.resize(offset + length);
      break;
    }
    case 7: {
      if (!extents) break;
      const bool keep = random() % 2;
      expect(files.allocate(model.inode, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), offset, length));
      if (!keep && model.bytes.size() < offset + length) model.bytes.resize(offset + length);
      model.zero(offset, length);
      break;
    }
    case 8: {
      const std::size_t size = model.bytes.size();
      const Bytes read = mounted.read(model.inode, offset, length);
      const std::size_t wanted = offset < size ? std::min(length, size - offset) : 0;
      ASSERT_EQ(read.size(), wanted);
      ASSERT_TRUE(std::equal(read.begin(), read.end(),
                             model.bytes.begin() + static_cast<std::ptrdiff_t>(std::min(offset, size))));
      break;
    }
    default: {
      const auto data = files.seek(model.inode, offset, SEEK_DATA);
      if (offset >= model.bytes.size()) {
        ASSERT_EQ(failure(data), ENXIO);
        break;
      }
      // What is skipped must be zeros.
      const std::size_t end = data.ok() ? *data : model.bytes.size();
      for (std::size_t i = offset; i < end; ++i) ASSERT_EQ(model.bytes[i], std::byte{0}) << i;
      const auto hole = files.seek(model.inode, offset, SEEK_HOLE);
      expect(hole);
      ASSERT_LE(*hole, model.bytes.size());
    }
  }
}

struct Variant {
  const char* name;
  const char* options;
  bool extents;
  bool kernel_mounts = true;
};
void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

class RandomDeeds : public ::testing::TestWithParam<Variant> {};

TEST_P(RandomDeeds, leave_files_equal_to_the_model_for_us_e2fsck_and_the_kernel) {
  const Variant variant = GetParam();
  const FileImage image{variant.options, "48M", 4};
  std::vector<Model> models;
  for (unsigned seed = 1; seed <= 2; ++seed) {
    Mounted mounted{image};
    for (unsigned i = 0; models.size() < 4; ++i) models.push_back({mounted.inode("f" + std::to_string(i)), {}});
    std::mt19937 random{seed};
    for (unsigned step = 0; step < 500; ++step) {
      act(mounted, models[random() % models.size()], random, variant.extents);
      if (HasFatalFailure()) FAIL() << "seed " << seed << " step " << step;
      if (step % 97 == 0) {
        ASSERT_TRUE(mounted->sync().ok());
      }
    }
    for (const Model& model : models) {
      ASSERT_EQ(mounted.read_inode(model.inode).size(), model.bytes.size());
      ASSERT_TRUE(mounted.read(model.inode, 0, model.bytes.size() + 1) == model.bytes) << "inode " << model.inode;
    }
    mounted.close();
    ASSERT_EQ(image.grave_complaints(), "");
  }
  if (!variant.kernel_mounts) return;
  std::vector<std::pair<std::string, Bytes>> expected;
  for (unsigned i = 0; i < 4; ++i) expected.emplace_back("f" + std::to_string(i), models[i].bytes);
  EXPECT_EQ(image.kernel_differs(expected), "");
}

INSTANTIATE_TEST_SUITE_P(
    FileData, RandomDeeds,
    ::testing::Values(Variant{"ext4_4k", "-t ext4 -b 4096", true}, Variant{"ext4_1k", "-t ext4 -b 1024", true},
                      Variant{"ext4_1k_no_checksums", "-t ext4 -b 1024 -O ^metadata_csum,^64bit", true},
                      Variant{"ext4_4k_small_inodes", "-t ext4 -b 4096 -I 128 -O ^has_journal", true},
                      Variant{"ext2_1k", "-t ext2 -b 1024", false}, Variant{"ext2_4k", "-t ext2 -b 4096", false},
                      Variant{"ext3_2k", "-t ext3 -b 2048", false},
                      Variant{"ext4_1k_indirect", "-t ext4 -b 1024 -O ^extents,^64bit", false},
                      Variant{"ext4_64k", "-t ext4 -b 65536 -O ^has_journal", true, false}),
    [](const auto& instance) { return std::string{instance.param.name}; });

TEST(FileData, holds_bytes_behind_four_gibibytes_and_knows_where_data_is) {
  for (const char* options : {"-t ext4 -b 4096", "-t ext4 -b 1024", "-t ext2 -b 4096 -O ^large_file"}) {
    const FileImage image{options, "32M", 1};
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    const std::uint64_t far = (std::uint64_t{5} << 30) + 12345;
    const Bytes bytes = pattern(70000, 1);
    mounted.write(file, far, bytes);
    EXPECT_EQ(mounted.read_inode(file).size(), far + bytes.size());
    EXPECT_EQ(mounted.read(file, far, 100000), bytes);
    const Bytes before = mounted.read(file, far - 20000, 20000);
    EXPECT_EQ(before, Bytes(20000));
    const auto data = mounted.files().seek(file, 0, SEEK_DATA);
    ASSERT_TRUE(data.ok());
    EXPECT_LE(*data, far);
    EXPECT_GT(*data, far - 4096);
    EXPECT_EQ(failure(mounted.files().seek(file, far + bytes.size(), SEEK_DATA)), ENXIO);
    mounted.close();
    EXPECT_EQ(image.complaints(), "") << options;
    Mounted again{image};
    ASSERT_TRUE(again.files().truncate(file, 100).ok());
    EXPECT_EQ(again.read_inode(file).raw.i_blocks, 0u);
    again.close();
    EXPECT_EQ(image.complaints(), "") << options;
  }
}

TEST(FileData, refuses_what_the_mapping_cannot_address) {
  const FileImage ext4{"-t ext4 -b 1024", "16M", 1};
  Mounted mounted{ext4};
  const InodeNumber file = mounted.inode("f0");
  const std::uint64_t limit = std::uint64_t{0xFFFFFFFF} * 1024;
  EXPECT_EQ(failure(mounted.files().truncate(file, limit + 1)), EFBIG);
  ASSERT_TRUE(mounted.files().truncate(file, limit).ok());
  EXPECT_EQ(failure(mounted.files().write(file, limit, pattern(10, 1), {})), EFBIG);
  const auto cut = mounted.files().write(file, limit - 4, pattern(10, 1), {});
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(*cut, 4u);
  EXPECT_EQ(failure(mounted.files().allocate(file, 0, limit, 1)), EFBIG);
  EXPECT_EQ(failure(mounted.files().allocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), EOPNOTSUPP);
  EXPECT_EQ(failure(mounted.files().allocate(file, FALLOC_FL_PUNCH_HOLE, 0, 4096)), EOPNOTSUPP);
  EXPECT_EQ(failure(mounted.files().allocate(file, 0, 0, 0)), EINVAL);
  mounted.close();
  EXPECT_EQ(ext4.complaints(), "");

  const FileImage ext2{"-t ext2 -b 1024", "16M", 1};
  Mounted old{ext2};
  const std::uint64_t pointers = 256,
                      most = (12 + pointers + pointers * pointers + pointers * pointers * pointers) * 1024;
  EXPECT_EQ(failure(old.files().truncate(old.inode("f0"), most + 1)), EFBIG);
  ASSERT_TRUE(old.files().truncate(old.inode("f0"), most).ok());
  old.write(old.inode("f0"), most - 5000, pattern(5000, 3));
  EXPECT_EQ(old.read(old.inode("f0"), most - 5000, 9999), pattern(5000, 3));
  old.close();
  EXPECT_EQ(ext2.complaints(), "");
}

/// Writes every second block, so that nothing can be merged, then fills the gaps, then frees all.
void fragment_and_heal(const char* options, unsigned blocks, std::size_t block_size) {
  const FileImage image{options, "64M", 1};
  Bytes expected(blocks * block_size);
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    for (unsigned i = 0; i < blocks; i += 2) {
      const Bytes data = pattern(block_size, i);
      std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(i * block_size));
      mounted.write(file, i * block_size, data);
    }
    expected.resize((blocks - 1) * block_size);
    EXPECT_TRUE(mounted.read(file, 0, expected.size() + 1) == expected);
    mounted.close();
    ASSERT_EQ(image.grave_complaints(), "") << options;
    ASSERT_EQ(image.kernel_differs({{"f0", expected}}), "");
  }
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  // From the middle outwards, one gap after the other.
  for (unsigned i = blocks / 2 | 1; i < blocks; i += 4) {
    const Bytes data = pattern(block_size, i);
    if ((i + 1) * block_size > expected.size()) expected.resize((i + 1) * block_size);
    std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(i * block_size));
    mounted.write(file, i * block_size, data);
  }
  EXPECT_TRUE(mounted.read(file, 0, expected.size() + 1) == expected);
  ASSERT_TRUE(mounted.files().allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, expected.size() / 3).ok());
  std::fill(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(expected.size() / 3), std::byte{0});
  EXPECT_TRUE(mounted.read(file, 0, expected.size() + 1) == expected);
  ASSERT_TRUE(mounted.files().truncate(file, 0).ok());
  EXPECT_EQ(mounted.read_inode(file).raw.i_blocks, 0u);
  mounted.close();
  EXPECT_EQ(image.grave_complaints(), "") << options;
}

TEST(FileData, grows_and_fells_deep_extent_trees) {
  fragment_and_heal("-t ext4 -b 1024", 3000, 1024);
  fragment_and_heal("-t ext4 -b 4096", 4000, 4096);
}

TEST(FileData, grows_and_fells_trees_of_indirect_blocks) { fragment_and_heal("-t ext2 -b 1024", 3000, 1024); }

TEST(FileData, keeps_few_extents_in_the_inode) {
  const FileImage image{"-t ext4 -b 1024", "64M", 2};
  Mounted mounted{image};
  const InodeNumber first = mounted.inode("f0"), second = mounted.inode("f1");
  for (unsigned i = 0; i < 1000; ++i) {
    mounted.write(first, std::uint64_t{i} * 2048, pattern(1024, i));
    if (i < 40) mounted.write(second, std::uint64_t{i} * 2048, pattern(1024, i));
  }
  ASSERT_TRUE(mounted.files().truncate(first, 3000).ok());
  EXPECT_EQ(mounted.read_inode(first).raw.i_blocks, 4u);
  EXPECT_EQ(mounted.read(first, 0, 1024), pattern(1024, 0));
  const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  ASSERT_TRUE(mounted.files().allocate(second, punch, 2048, 36 * 2048).ok());
  EXPECT_EQ(mounted.read_inode(second).raw.i_blocks, 8u);
  EXPECT_EQ(mounted.read(second, 39 * 2048, 1024), pattern(1024, 39));
  mounted.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(FileData, reads_what_lies_in_the_inode_itself) {
  const FileImage image{"-t ext4 -O inline_data -I 256", "16M", 0};
  const std::string mount = (image.directory() / "mnt").string();
  const auto made =
      tests::run("unshare -m --propagation private sh -c 'mkdir " + mount + " && mount -o loop " + image.path() + " " +
                 mount + " && printf short > " + mount + "/a && seq 1 40 > " + mount + "/b && umount " + mount + "'");
  ASSERT_EQ(made.status, 0) << made.output;
  const auto device = image.open(true);
  MountOptions options;
  options.read_only = true;
  auto volume = Volume::open(*device, options);
  ASSERT_TRUE(volume.ok()) << volume.error().message();
  const auto text = [&](const char* name, std::uint64_t offset) {
    ext2_ino_t file = 0;
    EXPECT_EQ(ext2fs_namei((*volume)->fs(), EXT2_ROOT_INO, EXT2_ROOT_INO, name, &file), 0);
    Bytes bytes(200);
    const auto count = (*volume)->files().read(file, offset, bytes);
    EXPECT_TRUE(count.ok()) << count.error().message();
    return std::string{reinterpret_cast<const char*>(bytes.data()), count.ok() ? *count : 0};
  };
  EXPECT_EQ(text("a", 0), "short");
  EXPECT_EQ(text("a", 2), "ort");
  EXPECT_EQ(text("a", 5), "");
  std::string numbers;
  for (int i = 1; i <= 40; ++i) numbers += std::to_string(i) + "\n";
  EXPECT_EQ(text("b", 0), numbers);
  EXPECT_EQ(text("b", 70), numbers.substr(70));
  EXPECT_EQ(failure((*volume)->files().truncate(12, 0)), EROFS);
}

TEST(FileData, joins_neighbours_into_few_long_extents) {
  const FileImage image{"-t ext4 -b 1024", "128M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  const Bytes piece = pattern(65536, 7);
  for (unsigned i = 0; i < 700; ++i) mounted.write(file, i * piece.size(), piece);
  mounted.close();
  const auto extents = tests::run("debugfs -R 'dump_extents -l f0' " + image.path() + " 2>/dev/null | wc -l");
  EXPECT_LT(std::stoi(extents.output), 20) << extents.output;
  EXPECT_EQ(image.complaints(), "");
}

TEST(FileData, counts_what_fitted_when_space_runs_out) {
  for (const char* options : {"-t ext4 -b 4096 -m 0 -O ^has_journal", "-t ext2 -b 1024 -m 0"}) {
    const FileImage image{options, "8M", 2};
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    const Bytes piece = pattern(1 << 20, 9);
    Bytes expected;
    for (unsigned i = 0; i < 20; ++i) {
      const auto count = mounted.files().write(file, expected.size(), piece, {});
      if (!count.ok()) {
        EXPECT_EQ(failure(count), ENOSPC);
        break;
      }
      expected.insert(expected.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(*count));
      if (*count < piece.size()) break;
    }
    EXPECT_GT(expected.size(), std::size_t{6} << 20);
    EXPECT_EQ(failure(mounted.files().write(mounted.inode("f1"), 0, piece, {})), ENOSPC);
    EXPECT_EQ(mounted.read_inode(mounted.inode("f1")).size(), 0u);
    EXPECT_TRUE(mounted.read(file, 0, expected.size() + 1) == expected);
    // What is freed can be had again at once: the wait for its commit is not the caller's business.
    ASSERT_TRUE(mounted.files().truncate(file, 100).ok());
    expected.resize(100);
    mounted.write(mounted.inode("f1"), 0, piece);
    mounted.close();
    EXPECT_EQ(image.complaints(), "") << options;
    EXPECT_EQ(image.kernel_differs({{"f0", expected}, {"f1", piece}}), "");
  }
}

TEST(FileData, fallocate_without_room_leaves_nothing_behind) {
  const FileImage image{"-t ext4 -b 4096 -m 0 -O ^has_journal", "8M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  EXPECT_EQ(failure(mounted.files().allocate(file, 0, 0, 100 << 20)), ENOSPC);
  EXPECT_EQ(mounted.read_inode(file).raw.i_blocks, 0u);
  ASSERT_TRUE(mounted.files().allocate(file, FALLOC_FL_KEEP_SIZE, 0, 4 << 20).ok());
  EXPECT_EQ(mounted.read_inode(file).size(), 0u);
  EXPECT_EQ(mounted.read_inode(file).raw.i_blocks, 8192u);
  mounted.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(FileData, a_failed_write_to_the_device_leaves_the_old_file) {
  const FileImage image{"-t ext4 -b 4096 -O ^has_journal", "8M", 1};
  Bytes old = pattern(30000, 5);
  {
    Mounted mounted{image};
    mounted.write(mounted.inode("f0"), 0, old);
  }
  for (std::size_t k = 0; k < 4; ++k) {
    tests::FakeDevice device{contents(image)};
    Mounted mounted{device};
    const InodeNumber file = mounted.inode("f0");
    ASSERT_TRUE(mounted->sync().ok());
    const std::uint64_t free = mounted->allocator().free_blocks();
    device.fail(tests::FakeDevice::Kind::write, k, EIO, true);
    const auto written = mounted.files().write(file, 200000, pattern(150001, 6), {});
    device.heal();
    if (!written.ok()) {
      EXPECT_EQ(failure(written), EIO);
      EXPECT_EQ(mounted.read_inode(file).size(), old.size());
      EXPECT_TRUE(mounted.read(file, 0, 500000) == old);
      EXPECT_EQ(mounted->allocator().free_blocks(), free);
    }
    mounted.close();
    const tests::TemporaryDirectory directory;
    const std::string copy = (directory.path() / "copy").string();
    device.save(copy);
    EXPECT_EQ(tests::run("e2fsck -fn " + copy + " >/dev/null 2>&1").status, 0) << k;
  }
}

TEST(FileData, cached_reads_and_overwrites_move_each_run_in_one_request) {
  const FileImage image{"-t ext4 -b 1024 -O ^has_journal", "16M", 1};
  tests::FakeDevice device{contents(image)};
  Mounted mounted{device};
  const InodeNumber file = mounted.inode("f0");
  const Bytes data = pattern(1 << 20, 11);
  mounted.write(file, 0, data);
  using Kind = tests::FakeDevice::Kind;
  ASSERT_EQ(mounted.read(file, 0, data.size()), data);
  const std::size_t reads = device.count(Kind::read), writes = device.count(Kind::write);
  EXPECT_EQ(mounted.read(file, 0, data.size()), data);
  EXPECT_LE(device.count(Kind::read) - reads, 2u);
  ASSERT_TRUE(mounted.files().write(file, 1000, pattern(900000, 12), {.from_page_cache = true}).ok());
  EXPECT_LE(device.count(Kind::write) - writes, 2u);
}

TEST(FileData, fdatasync_of_an_overwrite_writes_no_metadata) {
  const FileImage image{"-t ext4 -b 1024 -O ^has_journal", "16M", 1};
  tests::FakeDevice device{contents(image)};
  Mounted mounted{device};
  const InodeNumber file = mounted.inode("f0");
  mounted.write(file, 0, pattern(100000, 1));
  ASSERT_TRUE(mounted.files().sync(file, true).ok());
  EXPECT_EQ(mounted->cache().dirty_blocks(), 0u);
  ASSERT_TRUE(mounted.files().write(file, 0, pattern(100000, 2), {.from_page_cache = true}).ok());
  device.forget_records();
  ASSERT_TRUE(mounted.files().sync(file, true).ok());
  const auto records = device.records();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kind, tests::FakeDevice::Kind::flush);
}

TEST(FileData, direct_writes_move_the_times) {
  const FileImage image{"-t ext4", "16M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  mounted.write(file, 0, pattern(10000, 1));
  const Timestamp before = mounted.read_inode(file).modified();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  ASSERT_TRUE(mounted.files().write(file, 0, pattern(100, 1), {.from_page_cache = true}).ok());
  EXPECT_EQ(mounted.read_inode(file).modified(), before);
  mounted.write(file, 0, pattern(100, 1));
  EXPECT_GT(mounted.read_inode(file).modified(), before);
  EXPECT_EQ(mounted.read_inode(file).modified(), mounted.read_inode(file).changed());
}

TEST(FileData, four_threads_write_four_files) {
  const FileImage image{"-t ext4", "128M", 4};
  std::vector<std::pair<std::string, Bytes>> expected;
  for (unsigned i = 0; i < 4; ++i) expected.emplace_back("f" + std::to_string(i), pattern(5'000'001, i));
  {
    Mounted mounted{image};
    std::vector<std::jthread> threads;
    for (auto& [name, bytes] : expected) {
      threads.emplace_back([&mounted, inode = mounted.inode(name), &bytes] {
        for (std::size_t done = 0; done < bytes.size(); done += 50'000) {
          const auto part =
              std::span<const std::byte>{bytes}.subspan(done, std::min<std::size_t>(50'000, bytes.size() - done));
          const auto count = mounted.files().write(inode, done, part, {});
          EXPECT_TRUE(count.ok() && *count == part.size());
          if (done % 1'000'000 != 0) continue;
          EXPECT_TRUE(mounted.files().sync(inode, done % 2'000'000 == 0).ok());
        }
      });
    }
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(image.kernel_differs(expected), "");
}

TEST(FileData, four_threads_write_one_file_while_others_read_and_punch) {
  const FileImage image{"-t ext4 -b 1024", "64M", 2};
  Bytes bytes = pattern(4'000'000, 1);
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0"), other = mounted.inode("f1");
    std::atomic<bool> stop{false};
    std::jthread reader{[&] {
      Bytes seen(100'000);
      while (!stop) {
        const auto count = mounted.files().read(file, 1'000'000, seen);
        ASSERT_TRUE(count.ok());
        for (std::size_t i = 0; i < *count; ++i)
          ASSERT_TRUE(seen[i] == bytes[1'000'000 + i] || seen[i] == std::byte{0}) << i;
      }
    }};
    std::jthread puncher{[&] {
      for (unsigned i = 0; !stop; ++i) {
        const auto count = mounted.files().write(other, 0, pattern(300'000, 99), {});
        ASSERT_TRUE(count.ok());
        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        const auto cut =
            i % 2 ? mounted.files().truncate(other, 0) : mounted.files().allocate(other, punch, 1000, 200'000);
        ASSERT_TRUE(cut.ok());
        ASSERT_TRUE(mounted->sync().ok());
      }
    }};
    {
      std::vector<std::jthread> writers;
      for (unsigned part = 0; part < 4; ++part) {
        writers.emplace_back([&, part] {
          constexpr std::size_t kStep = 7'777;
          for (std::size_t at = part * kStep; at < bytes.size(); at += 4 * kStep) {
            const auto piece = std::span<const std::byte>{bytes}.subspan(at, std::min(kStep, bytes.size() - at));
            const auto count = mounted.files().write(file, at, piece, {});
            ASSERT_TRUE(count.ok() && *count == piece.size());
          }
        });
      }
    }
    stop = true;
    reader.join();
    puncher.join();
    EXPECT_TRUE(mounted.read(file, 0, bytes.size() + 1) == bytes);
  }
  EXPECT_EQ(image.grave_complaints(), "");
  EXPECT_EQ(image.kernel_differs({{"f0", bytes}}), "");
}

TEST(FileData, reads_what_the_kernel_wrote) {
  const FileImage image{"-t ext4 -b 1024", "64M", 0};
  const Bytes bytes = pattern(3'000'000, 4);
  const std::string copy = (image.directory() / "copy").string(), mount = (image.directory() / "mnt").string();
  std::ofstream{copy, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                              static_cast<std::streamsize>(bytes.size()));
  const auto made = tests::run("unshare -m --propagation private sh -c 'mkdir " + mount + " && mount -o loop " +
                               image.path() + " " + mount + " && cp " + copy + " " + mount +
                               "/whole && fallocate -l 1M " + mount + "/empty && dd if=" + copy + " of=" + mount +
                               "/sparse bs=3000 seek=777 count=100 status=none && umount " + mount + "'");
  ASSERT_EQ(made.status, 0) << made.output;
  Mounted mounted{image};
  EXPECT_TRUE(mounted.read(mounted.inode("whole"), 0, bytes.size() + 5) == bytes);
  EXPECT_TRUE(mounted.read(mounted.inode("empty"), 0, 2 << 20) == Bytes(1 << 20));
  EXPECT_EQ(failure(mounted.files().seek(mounted.inode("empty"), 0, SEEK_DATA)), ENXIO);
  Bytes sparse(777 * 3000);
  sparse.insert(sparse.end(), bytes.begin(), bytes.begin() + 300'000);
  EXPECT_TRUE(mounted.read(mounted.inode("sparse"), 0, sparse.size() + 1) == sparse);
}

TEST(FileData, corrupt_mappings_are_errors) {
  const FileImage image{"-t ext4 -b 1024 -O ^metadata_csum,^has_journal", "4M", 1};
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    for (unsigned i = 0; i < 40; ++i) mounted.write(file, i * 2048, pattern(1024, i));
  }
  // The root: magic, entries, maximum and depth; its first index entry: first block, node. Out of range, cyclic, too
  // deep, empty.
  for (const char* damage : {"block[4] 0x7fffffff", "block[4] 1", "block[4] 2", "block[0] 0xf30a0001",
                             "block[0] 0x0001f30a", "block[0] 0x0000f30a", "block[1] 0x00090004", "block[1] 0xffff0004",
                             "block[1] 0x00000004", "block[1] 0x00020004"}) {
    const std::string copy = (image.directory() / "damaged").string();
    const std::string command = "debugfs -w -R 'sif f0 " + std::string{damage} + "' " + copy;
    ASSERT_EQ(tests::run("cp " + image.path() + " " + copy + "; " + command).status, 0);
    auto device = disk::FileDevice::open(protocol::UniqueFd{::open(copy.c_str(), O_RDWR | O_CLOEXEC)});
    ASSERT_TRUE(device.ok());
    MountOptions options;
    options.errors = ErrorPolicy::go_on;
    auto volume = Volume::open(**device, options);
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    ext2_ino_t file = 0;
    ASSERT_EQ(ext2fs_namei((*volume)->fs(), EXT2_ROOT_INO, EXT2_ROOT_INO, "f0", &file), 0);
    Bytes bytes(100'000);
    const auto sound = [](int error) { return error == 0 || error == EUCLEAN || error == EIO || error == ENOSPC; };
    FileData& files = (*volume)->files();
    EXPECT_TRUE(sound(failure(files.read(file, 0, bytes)))) << damage;
    EXPECT_TRUE(sound(failure(files.write(file, 50'000, bytes, {})))) << damage;
    EXPECT_TRUE(sound(failure(files.allocate(file, 0, 0, 30'000)))) << damage;
    EXPECT_TRUE(sound(failure(files.allocate(file, FALLOC_FL_ZERO_RANGE, 5'000, 30'000)))) << damage;
    EXPECT_TRUE(sound(failure(files.truncate(file, 10)))) << damage;
    EXPECT_TRUE(sound(failure((*volume)->close())));
  }
}

}  // namespace
}  // namespace worker::volume
