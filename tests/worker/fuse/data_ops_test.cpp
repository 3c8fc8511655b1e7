#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

class DataOps : public testing::Test {
 protected:
  int open(std::uint64_t node, std::uint32_t flags, std::uint32_t open_flags = 0) {
    return kernel.ask(FUSE_OPEN, node, Body{}.add(fuse_open_in{flags, open_flags})).error;
  }
  int allocate(std::uint64_t node, std::uint64_t offset, std::uint64_t length, std::uint32_t mode) {
    return kernel.ask(FUSE_FALLOCATE, node, Body{}.add(fuse_fallocate_in{0, offset, length, mode, 0})).error;
  }
  void release() {
    fuse_release_in in{};
    in.flags = O_RDWR;
    EXPECT_EQ(kernel.ask(FUSE_RELEASE, file, Body{}.add(in)).error, 0);
  }
  Reply seek(std::uint64_t node, std::uint64_t offset, std::uint32_t whence) {
    return kernel.ask(FUSE_LSEEK, node, Body{}.add(fuse_lseek_in{0, offset, whence, 0}));
  }
  ServedVolume served;
  FakeKernel& kernel = served.kernel;
  fuse_init_out agreed = kernel.initialise();
  std::uint64_t file = served.create(1, "file").nodeid;
};

TEST_F(DataOps, what_is_written_is_read) {
  served.write(file, 0, "hello");
  served.write(file, 10000, "world");
  EXPECT_EQ(served.read(file, 0, 5), "hello");
  EXPECT_EQ(served.read(file, 9998, 100), std::string("\0\0world", 7));
  EXPECT_EQ(served.read(file, 20000, 100), "");
  EXPECT_EQ(served.attributes(file).size, 10005U);
}

TEST_F(DataOps, open_answers_with_a_cache_that_is_kept) {
  const auto out = exactly<fuse_open_out>(kernel.ask(FUSE_OPEN, file, Body{}.add(fuse_open_in{O_RDWR, 0})));
  EXPECT_TRUE(out.open_flags & FOPEN_KEEP_CACHE);
  EXPECT_FALSE(out.open_flags & FOPEN_DIRECT_IO);
  EXPECT_EQ(kernel.ask(FUSE_RELEASE, file, Body{}.add(fuse_release_in{})).error, 0);
}

TEST_F(DataOps, truncating_open_empties_the_file_and_may_take_privileges) {
  served.write(file, 0, "content");
  fuse_setattr_in mode{};
  mode.valid = FATTR_MODE;
  mode.mode = S_IFREG | 06755;
  EXPECT_EQ(kernel.ask(FUSE_SETATTR, file, Body{}.add(mode)).error, 0);
  EXPECT_EQ(open(file, O_WRONLY | O_TRUNC), 0);
  EXPECT_EQ(served.attributes(file).size, 0U);
  EXPECT_EQ(served.attributes(file).mode & 07777U, 06755U);
  EXPECT_EQ(open(file, O_WRONLY | O_TRUNC, FUSE_OPEN_KILL_SUIDGID), 0);
  EXPECT_EQ(served.attributes(file).mode & 07777U, 0755U);
}

TEST_F(DataOps, a_write_may_take_privileges) {
  fuse_setattr_in mode{};
  mode.valid = FATTR_MODE;
  mode.mode = S_IFREG | 06755;
  EXPECT_EQ(kernel.ask(FUSE_SETATTR, file, Body{}.add(mode)).error, 0);
  served.write(file, 0, "x");
  EXPECT_EQ(served.attributes(file).mode & 07777U, 06755U);
  served.write(file, 0, "x", FUSE_WRITE_KILL_SUIDGID);
  EXPECT_EQ(served.attributes(file).mode & 07777U, 0755U);
}

TEST_F(DataOps, immutable_files_open_only_for_reading) {
  ASSERT_EQ(served.set_flags(file, FS_IMMUTABLE_FL | FS_EXTENT_FL), 0);
  EXPECT_EQ(open(file, O_RDONLY), 0);
  EXPECT_EQ(open(file, O_RDWR), EPERM);
  EXPECT_EQ(open(file, O_WRONLY | O_APPEND), EPERM);
  EXPECT_EQ(open(file, O_RDONLY | O_TRUNC), EPERM);
}

TEST_F(DataOps, append_only_files_open_for_appending) {
  ASSERT_EQ(served.set_flags(file, FS_APPEND_FL | FS_EXTENT_FL), 0);
  EXPECT_EQ(open(file, O_RDONLY), 0);
  EXPECT_EQ(open(file, O_WRONLY | O_APPEND), 0);
  EXPECT_EQ(open(file, O_WRONLY), EPERM);
  EXPECT_EQ(open(file, O_WRONLY | O_APPEND | O_TRUNC), EPERM);
}

TEST_F(DataOps, fallocate_and_holes) {
  EXPECT_EQ(allocate(file, 0, 1 << 20, 0), 0);
  EXPECT_EQ(served.attributes(file).size, 1U << 20);
  EXPECT_EQ(allocate(file, 1 << 20, 1 << 20, FALLOC_FL_KEEP_SIZE), 0);
  EXPECT_EQ(served.attributes(file).size, 1U << 20);
  served.write(file, 0, std::string(65536, 'x'));
  EXPECT_EQ(allocate(file, 4096, 8192, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), 0);
  EXPECT_EQ(served.read(file, 4095, 3), std::string("x\0\0", 3));
  release();
  EXPECT_EQ(exactly<fuse_lseek_out>(seek(file, 0, SEEK_HOLE)).offset, 4096U);
  EXPECT_EQ(exactly<fuse_lseek_out>(seek(file, 4096, SEEK_DATA)).offset, 12288U);
  EXPECT_EQ(seek(file, 1 << 21, SEEK_DATA).error, ENXIO);
  EXPECT_EQ(seek(file, 0, SEEK_END).error, EINVAL);
  EXPECT_EQ(allocate(file, 0, 4096, 0x40), EOPNOTSUPP);
  EXPECT_EQ(allocate(file, 0, 0, 0), EINVAL);
  EXPECT_EQ(allocate(file, ~0ULL, 4096, 0), EINVAL);
  EXPECT_EQ(allocate(file, INT64_MAX, 4096, 0), EINVAL);
}

TEST_F(DataOps, holes_are_not_told_while_the_kernel_may_know_better) {
  served.write(file, 0, "x");
  EXPECT_EQ(seek(file, 0, SEEK_DATA).error, ENOSYS);
  release();
  EXPECT_EQ(exactly<fuse_lseek_out>(seek(file, 0, SEEK_DATA)).offset, 0U);
  EXPECT_EQ(open(file, O_RDONLY), 0);
  EXPECT_EQ(exactly<fuse_lseek_out>(seek(file, 0, SEEK_HOLE)).offset, 1U);
}

TEST_F(DataOps, sync_reaches_the_image) {
  served.write(file, 0, "durable");
  EXPECT_EQ(kernel.ask(FUSE_FSYNC, file, Body{}.add(fuse_fsync_in{})).error, 0);
  EXPECT_EQ(kernel.ask(FUSE_FSYNC, file, Body{}.add(fuse_fsync_in{0, FUSE_FSYNC_FDATASYNC, 0})).error, 0);
}

TEST_F(DataOps, reads_larger_than_the_agreed_size_are_cut) {
  served.write(file, 0, "content");
  EXPECT_EQ(served.read(file, 0, ~0U), "content");
}

TEST_F(DataOps, directories_have_no_bytes) {
  EXPECT_NE(kernel.ask(FUSE_READ, 1, read_request(0, 10)).error, 0);
  EXPECT_NE(
      kernel
          .ask(FUSE_WRITE, 1,
               Body{}
                   .add(fuse_write_in{
                       .fh = 0, .offset = 0, .size = 1, .write_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0})
                   .raw("x"))
          .error,
      0);
}

TEST_F(DataOps, offsets_at_the_edge_of_the_world) {
  for (const std::uint64_t offset :
       {std::uint64_t{1} << 44, std::uint64_t{INT64_MAX} - 1, std::uint64_t{INT64_MAX}, ~std::uint64_t{0}}) {
    fuse_write_in in{};
    in.offset = offset;
    in.size = 4;
    EXPECT_EQ(kernel.ask(FUSE_WRITE, file, Body{}.add(in).raw("abcd")).error, EFBIG) << offset;
    EXPECT_EQ(kernel.ask(FUSE_READ, file, read_request(offset, 4096)).body.size(), 0U) << offset;
  }
}

}  // namespace
}  // namespace tests
