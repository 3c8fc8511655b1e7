// Every read, write and flush of a workload fails once: what is left must be a volume, and what was promised must be
// kept.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

using Kind = tests::FakeDevice::Kind;

/// Does a bit of everything and remembers which files a successful sync() has promised.
class Workload {
 public:
  explicit Workload(Volume& volume) : volume_{volume} {}

  void run() {
    const auto directory = make(kRootInode, "directory", 040755);
    if (directory == 0) return sync();
    for (int i = 0; i < 40; ++i) {
      const std::string name = "a file with a name of some length, number " + std::to_string(i);
      const auto file = make(directory, name, 0100644);
      std::vector<std::byte> data(static_cast<std::size_t>(i) * 401, static_cast<std::byte>(i));
      if (file != 0) note(volume_.files().write(file, 0, data, {}));
      if (i % 8 == 0) sync();
      if (i % 5 == 4) note(volume_.names().unlink(directory, name));
    }
    note(volume_.names().rename(directory, "a file with a name of some length, number 0", kRootInode, "moved", 0));
    const std::vector<std::byte> value(500, std::byte{'v'});
    note(volume_.xattrs().set(directory, "user.name", value, SetMode::any, false));
    note(volume_.names().symlink(kRootInode, "long link", std::string(300, 'l'), {.mode = 0120777}));
    if (const auto inode = make(kRootInode, "cut", 0100644)) {
      note(volume_.files().write(inode, 1 << 20, value, {}));
      note(volume_.files().truncate(inode, 100));
    }
    note(volume_.names().remove_directory(kRootInode, "lost+found"));
    sync();
  }

  std::set<int> errors;      ///< all errno values met
  bool synced_last = false;  ///< the last sync() succeeded

 private:
  template <typename T>
  void note(const Result<T>& outcome) {
    if (!outcome.ok()) errors.insert(disk::error_number(outcome.error().code));
  }
  InodeNumber make(InodeNumber directory, std::string_view name, std::uint32_t mode) {
    if (directory == 0) return 0;
    const auto made = volume_.names().create(directory, name, {.mode = mode});
    note(made);
    if (!made.ok()) return 0;
    volume_.references().give_back(made->inode, 1);
    return made->inode;
  }
  void sync() {
    const auto outcome = volume_.sync();
    note(outcome);
    synced_last = outcome.ok();
  }

  Volume& volume_;
};

class Faults : public ::testing::TestWithParam<std::tuple<std::string, Kind>> {};

TEST_P(Faults, at_any_point_end_in_a_defined_state) {
  const auto& [options, kind] = GetParam();
  const tests::Image image{options, "8M"};
  const auto bytes = tests::FakeDevice::contents_of(image.path());
  std::size_t total = 0;
  {
    tests::FakeDevice device{bytes};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    Workload workload{**volume};
    workload.run();
    EXPECT_EQ(workload.errors, (std::set<int>{}));
    ASSERT_TRUE((*volume)->close().ok());
    total = device.count(kind);
  }
  for (std::size_t k = 0; k < total; ++k) {
    SCOPED_TRACE(k);
    tests::FakeDevice device{bytes};
    device.fail(kind, k, EIO, true);
    auto opened = Volume::open(device, {});
    bool sound = false, failed = false;
    if (opened.ok()) {
      Volume& volume = **opened;
      failed = !volume.start_writing().ok();
      Workload workload{volume};
      workload.run();
      failed = failed || !workload.synced_last;
      // EROFS follows a failed commit; a bitmap that cannot be read makes its group full; and what could not be made is
      // not there later.
      const std::set<int> allowed{EIO, ENOENT, failed ? EROFS : EIO, kind == Kind::read ? ENOSPC : EIO};
      for (const int error : workload.errors) EXPECT_TRUE(allowed.contains(error)) << error;
      const auto writes = device.count(Kind::write);
      sound = volume.close().ok();
      if (failed) {
        EXPECT_FALSE(sound);
        EXPECT_EQ(device.count(Kind::write), writes);
      }
    } else {
      EXPECT_EQ(kind, Kind::read);
      EXPECT_EQ(device.count(Kind::write), 0U);
      EXPECT_EQ(device.bytes(), bytes);
    }
    device.save(image.path());
    // A failed commit may leave damage behind, but none that e2fsck cannot put right.
    if (opened.ok() && !sound) {
      const auto repaired = tests::run("PATH=$PATH:/usr/sbin:/sbin e2fsck -fy '" + image.path() + "'");
      EXPECT_LE(repaired.status, 1) << repaired.output;
    }
    ASSERT_EQ(image.complaints(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Faults,
                         ::testing::Combine(::testing::Values("-t ext4 -b 1024", "-t ext2 -b 1024 -I 128"),
                                            ::testing::Values(Kind::read, Kind::write, Kind::flush)));

}  // namespace
}  // namespace worker::volume
