// The whole server below a real kernel: what programs do to files, then e2fsck.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "protocol/mount_ioctl.h"
#include "protocol/unique_fd.h"
#include "tests/worker/fuse/served_mount.h"
#include "worker/fuse/kernel_abi.h"

namespace tests {
namespace {

using protocol::UniqueFd;

class Mount : public testing::Test {
 protected:
  void SetUp() override {
    if (!ServedMount::possible()) GTEST_SKIP() << "needs root and /dev/fuse";
  }
};

UniqueFd open_file(const std::string& path, int flags, mode_t mode = 0644) {
  UniqueFd fd{::open(path.c_str(), flags | O_CLOEXEC, mode)};
  EXPECT_TRUE(fd) << path << ": " << std::strerror(errno);
  return fd;
}

void write_file(const std::string& path, const std::string& content) {
  const auto fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  EXPECT_EQ(::write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()))
      << std::strerror(errno);
}

std::string read_file(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path << ": " << std::strerror(errno);
  return status;
}

std::string pattern(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
  return bytes;
}

TEST_F(Mount, files_come_back_as_they_were_written) {
  ServedMount mount;
  const std::string small = "hello", large = pattern(20 << 20, 1);
  write_file(mount.path("small"), small);
  write_file(mount.path("large"), large);
  ServedMount::drop_caches();
  EXPECT_EQ(read_file(mount.path("small")), small);
  EXPECT_TRUE(read_file(mount.path("large")) == large);
  EXPECT_EQ(status_of(mount.path("large")).st_size, 20 << 20);
  EXPECT_EQ(status_of(mount.path("")).st_ino, 2U);
  EXPECT_GE(status_of(mount.path("large")).st_blocks, (20 << 20) / 512);
}

TEST_F(Mount, the_kernel_s_own_driver_agrees) {
  ServedMount mount;
  const std::string content = pattern(3 << 20, 2);
  std::filesystem::create_directories(mount.path("a/b/c"));
  write_file(mount.path("a/b/c/file"), content);
  ASSERT_EQ(::symlink("../file", mount.path("a/link").c_str()), 0);
  mount.unmount();
  mount.wait_for_server();
  const auto there = mount.image().directory() / "kernel";
  std::filesystem::create_directory(there);
  ASSERT_EQ(run("mount -o loop,ro " + mount.image().path() + " " + there.string()).status, 0);
  EXPECT_TRUE(read_file((there / "a/b/c/file").string()) == content);
  EXPECT_EQ(std::filesystem::read_symlink(there / "a/link"), "../file");
  ASSERT_EQ(::umount2(there.c_str(), 0), 0);
}

TEST_F(Mount, a_mapping_writes_through) {
  ServedMount mount;
  const std::string path = mount.path("mapped");
  write_file(path, std::string(1 << 20, 'a'));
  {
    const auto fd = open_file(path, O_RDWR);
    auto* memory = static_cast<char*>(::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
    ASSERT_NE(memory, MAP_FAILED);
    for (std::size_t at = 0; at < 1 << 20; at += 4096) memory[at] = 'b';
    EXPECT_EQ(::msync(memory, 1 << 20, MS_SYNC), 0);
    ::munmap(memory, 1 << 20);
  }
  ServedMount::drop_caches();
  const std::string content = read_file(path);
  EXPECT_EQ(content.substr(0, 2), "ba");
  EXPECT_EQ(std::count(content.begin(), content.end(), 'b'), 256);
}

TEST_F(Mount, five_thousand_names) {
  ServedMount mount;
  const std::string folder = mount.path("many");
  ASSERT_EQ(::mkdir(folder.c_str(), 0755), 0);
  std::set<std::string> wanted;
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "a name with some length, number " + std::to_string(i);
    write_file(folder + "/" + name, "");
    wanted.insert(name);
  }
  for (const bool cold : {false, true}) {
    if (cold) ServedMount::drop_caches();
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator{folder}) {
      EXPECT_TRUE(found.insert(entry.path().filename()).second);
      EXPECT_TRUE(entry.is_regular_file());
    }
    EXPECT_EQ(found, wanted);
  }
  // Taking names away while going through them loses none.
  std::size_t removed = 0;
  for (const auto& entry : std::filesystem::directory_iterator{folder}) removed += ::unlink(entry.path().c_str()) == 0;
  EXPECT_EQ(removed, 5000U);
  EXPECT_EQ(::rmdir(folder.c_str()), 0);
}

TEST_F(Mount, renames_replace_and_exchange) {
  ServedMount mount;
  write_file(mount.path("one"), "1");
  write_file(mount.path("two"), "2");
  ASSERT_EQ(::renameat2(AT_FDCWD, mount.path("one").c_str(), AT_FDCWD, mount.path("two").c_str(), RENAME_EXCHANGE), 0);
  EXPECT_EQ(read_file(mount.path("one")), "2");
  EXPECT_EQ(::renameat2(AT_FDCWD, mount.path("one").c_str(), AT_FDCWD, mount.path("two").c_str(), RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
  const auto open = open_file(mount.path("two"), O_RDONLY);
  ASSERT_EQ(::rename(mount.path("one").c_str(), mount.path("two").c_str()), 0);
  EXPECT_EQ(read_file(mount.path("two")), "2");
  char byte = 0;
  EXPECT_EQ(::pread(open.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, '1');
  std::filesystem::create_directories(mount.path("from/inner"));
  std::filesystem::create_directory(mount.path("to"));
  ASSERT_EQ(::rename(mount.path("from/inner").c_str(), mount.path("to/inner").c_str()), 0);
  EXPECT_EQ(status_of(mount.path("from")).st_nlink, 2U);
  EXPECT_EQ(status_of(mount.path("to")).st_nlink, 3U);
}

TEST_F(Mount, unlinked_files_live_while_open) {
  ServedMount mount;
  const auto fd = open_file(mount.path("gone"), O_RDWR | O_CREAT);
  ASSERT_EQ(::unlink(mount.path("gone").c_str()), 0);
  const std::string content = pattern(5 << 20, 3);
  EXPECT_EQ(::pwrite(fd.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
  EXPECT_EQ(::fsync(fd.get()), 0);
  ServedMount::drop_caches();
  std::string back(content.size(), '\0');
  EXPECT_EQ(::pread(fd.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
  EXPECT_TRUE(back == content);
  struct stat status {};
  EXPECT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0U);
}

TEST_F(Mount, what_is_unlinked_is_freed) {
  ServedMount mount;
  const auto free_blocks = [&] {
    struct statvfs usage {};
    ::statvfs(mount.path("").c_str(), &usage);
    return usage.f_bfree;
  };
  ASSERT_EQ(::mkdir(mount.path("folder").c_str(), 0755), 0);
  const auto before = free_blocks();
  for (int round = 0; round < 3; ++round) {
    write_file(mount.path("folder/large"), std::string(8 << 20, 'x'));
    ::sync();
    const auto fd = open_file(mount.path("folder/large"), O_RDONLY);
    ASSERT_EQ(::fsync(fd.get()), 0);
    EXPECT_LE(free_blocks() + 2000, before);
    ASSERT_EQ(::unlink(mount.path("folder/large").c_str()), 0);
  }
  ::usleep(100'000);  // the kernel forgets in the background
  EXPECT_GE(free_blocks() + 10, before);
}

TEST_F(Mount, extended_attributes_and_acls) {
  ServedMount mount;
  const std::string path = mount.path("file");
  write_file(path, "x");
  EXPECT_EQ(::setxattr(path.c_str(), "user.colour", "blue", 4, 0), 0);
  EXPECT_EQ(::setxattr(path.c_str(), "trusted.secret", "t", 1, 0), 0);
  EXPECT_EQ(::setxattr(path.c_str(), "user.colour", "red", 3, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  char value[100];
  EXPECT_EQ(::getxattr(path.c_str(), "user.colour", value, sizeof(value)), 4);
  EXPECT_EQ(::getxattr(path.c_str(), "user.colour", value, 2), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(::getxattr(path.c_str(), "user.none", value, sizeof(value)), -1);
  EXPECT_EQ(errno, ENODATA);
  EXPECT_GT(::listxattr(path.c_str(), value, sizeof(value)), 10);
  EXPECT_EQ(::removexattr(path.c_str(), "user.colour"), 0);
}

TEST_F(Mount, preallocation_and_holes) {
  ServedMount mount;
  auto fd = open_file(mount.path("file"), O_RDWR | O_CREAT);
  EXPECT_EQ(::fallocate(fd.get(), 0, 0, 4 << 20), 0);
  const std::string bytes(1 << 20, 'y');
  EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), 1 << 20);
  EXPECT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
  fd.reset();
  fd = open_file(mount.path("file"), O_RDONLY);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 4096);
  EXPECT_EQ(::lseek(fd.get(), 4096, SEEK_DATA), 12288);
  char around[3];
  EXPECT_EQ(::pread(fd.get(), around, 3, 4095), 3);
  EXPECT_EQ(std::string_view(around, 3), std::string_view("y\0\0", 3));
  fd = open_file(mount.path("file"), O_RDWR);
  EXPECT_EQ(::ftruncate(fd.get(), 10), 0);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), 10);
}

TEST_F(Mount, data_that_only_the_kernel_knows_is_no_hole) {
  ServedMount mount;
  const auto fd = open_file(mount.path("file"), O_RDWR | O_CREAT);
  ASSERT_EQ(::ftruncate(fd.get(), 10 << 20), 0);
  ASSERT_EQ(::pwrite(fd.get(), "data", 4, 5 << 20), 4);
  EXPECT_LE(::lseek(fd.get(), 0, SEEK_DATA), 5 << 20);
  EXPECT_GT(::lseek(fd.get(), 5 << 20, SEEK_HOLE), 5 << 20);
}

TEST_F(Mount, a_sparse_file_beyond_four_gibibytes) {
  ServedMount mount;
  const auto fd = open_file(mount.path("sparse"), O_RDWR | O_CREAT);
  const off_t far = (5LL << 30) + 17;
  EXPECT_EQ(::pwrite(fd.get(), "end", 3, far), 3);
  ASSERT_EQ(::fsync(fd.get()), 0);
  ServedMount::drop_caches();
  char back[4] = {};
  EXPECT_EQ(::pread(fd.get(), back, 3, far), 3);
  EXPECT_STREQ(back, "end");
  EXPECT_EQ(status_of(mount.path("sparse")).st_size, far + 3);
  EXPECT_LT(status_of(mount.path("sparse")).st_blocks, 100);
}

TEST_F(Mount, direct_and_appending_writes) {
  ServedMount mount;
  const std::string path = mount.path("file");
  auto* memory = static_cast<char*>(std::aligned_alloc(4096, 2 << 20));
  std::memset(memory, 'd', 2 << 20);
  {
    const auto fd = open_file(path, O_RDWR | O_CREAT | O_DIRECT);
    EXPECT_EQ(::pwrite(fd.get(), memory, 2 << 20, 0), 2 << 20);
    std::memset(memory, 0, 2 << 20);
    EXPECT_EQ(::pread(fd.get(), memory, 2 << 20, 0), 2 << 20);
    EXPECT_EQ(memory[0], 'd');
    EXPECT_EQ(memory[(2 << 20) - 1], 'd');
  }
  std::free(memory);
  const auto one = open_file(path, O_WRONLY | O_APPEND), two = open_file(path, O_WRONLY | O_APPEND);
  EXPECT_EQ(::write(one.get(), "1", 1), 1);
  EXPECT_EQ(::write(two.get(), "2", 1), 1);
  EXPECT_EQ(read_file(path).substr(2 << 20), "12");
}

TEST_F(Mount, times_survive_and_birth_is_told) {
  ServedMount mount;
  const std::string path = mount.path("file");
  write_file(path, "x");
  const timespec times[] = {{-5, 7}, {5'000'000'000, 999'999'999}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  ServedMount::drop_caches();
  EXPECT_EQ(status_of(path).st_atim.tv_sec, -5);
  EXPECT_EQ(status_of(path).st_mtim.tv_sec, 5'000'000'000);
  EXPECT_EQ(status_of(path).st_mtim.tv_nsec, 999'999'999);
  struct ::statx extended {};
  ASSERT_EQ(::syscall(SYS_statx, AT_FDCWD, path.c_str(), 0, STATX_ALL, &extended), 0);
  if (mount.served(worker::fuse::abi::kStatx) > 0) {
    EXPECT_TRUE(extended.stx_mask & STATX_BTIME);
  }
}

TEST_F(Mount, flags_and_what_they_forbid) {
  ServedMount mount;
  const std::string path = mount.path("file");
  write_file(path, "x");
  const auto fd = open_file(path, O_RDONLY);
  int flags = 0;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags), 0);
  flags |= FS_IMMUTABLE_FL;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0) << std::strerror(errno);
  EXPECT_EQ(::open(path.c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::unlink(path.c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::chmod(path.c_str(), 0600), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::truncate(path.c_str(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  flags &= ~FS_IMMUTABLE_FL;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0);
  EXPECT_EQ(::unlink(path.c_str()), 0);
}

TEST_F(Mount, sharing_a_name_and_crossing_users) {
  ServedMount mount;
  write_file(mount.path("mine"), "x");
  ASSERT_EQ(::chmod(mount.path("mine").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(mount.path("").c_str(), 01777), 0);
  ASSERT_EQ(::chmod(mount.image().directory().c_str(), 0755), 0);
  const Outcome other =
      run("setpriv --reuid 12345 --regid 12345 --clear-groups sh -c 'cd / && cat " + mount.path("mine") +
          "; echo hi > " + mount.path("theirs") + "; rm -f " + mount.path("mine") + "'");
  EXPECT_NE(other.output.find("ermission denied"), other.output.npos) << other.output;
  EXPECT_EQ(status_of(mount.path("theirs")).st_uid, 12345U);
  EXPECT_EQ(status_of(mount.path("mine")).st_size, 1);
}

TEST_F(Mount, writing_and_giving_away_take_privileges) {
  ServedMount mount;
  ASSERT_EQ(::chmod(mount.image().directory().c_str(), 0755), 0);
  for (const char* deed : {"echo more >> ", ": > ", "truncate -s 1 "}) {
    const std::string path = mount.path("program");
    write_file(path, "#!/bin/true");
    ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
    ASSERT_EQ(::chmod(path.c_str(), 06777), 0);
    const Outcome done =
        run("setpriv --reuid 12346 --regid 12346 --clear-groups sh -c 'cd / && " + (deed + path) + "'");
    EXPECT_EQ(done.status, 0) << done.output;
    EXPECT_EQ(status_of(path).st_mode & 07777U, 0777U) << deed;
    ServedMount::drop_caches();
    EXPECT_EQ(status_of(path).st_mode & 07777U, 0777U) << deed;
    ASSERT_EQ(::chmod(path.c_str(), 06777), 0);
    ASSERT_EQ(::chown(path.c_str(), 1, 1), 0);
    EXPECT_EQ(status_of(path).st_mode & 07777U, 0777U) << "chown";
  }
}

TEST_F(Mount, acls_are_inherited_and_enforced) {
  if (run("command -v setfacl").status != 0) GTEST_SKIP() << "needs setfacl";
  ServedMount mount;
  ASSERT_EQ(::chmod(mount.image().directory().c_str(), 0755), 0);
  const std::string folder = mount.path("folder");
  ASSERT_EQ(run("umask 077; mkdir " + folder + " && setfacl -m u:12345:rwx,d:u:12345:rw- " + folder + " && echo x > " +
                folder + "/file")
                .status,
            0);
  const auto as_user = [](const std::string& command) {
    return run("setpriv --reuid 12345 --regid 12345 --clear-groups sh -c 'cd / && " + command + "'").status;
  };
  EXPECT_EQ(as_user("cat " + folder + "/file"), 0);
  EXPECT_EQ(as_user("echo y > " + folder + "/file"), 0);
  EXPECT_NE(run("getfacl -c " + folder + "/file").output.find("user:12345:rw-"), std::string::npos);
  ASSERT_EQ(run("setfacl -x u:12345 " + folder + "/file").status, 0);
  EXPECT_NE(as_user("cat " + folder + "/file"), 0);
  ASSERT_EQ(::chmod((folder + "/file").c_str(), 0), 0);
}

TEST_F(Mount, file_handles_outlive_the_kernel_s_memory) {
  ServedMount mount;
  write_file(mount.path("file"), "content");
  struct {
    file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
  } handle{};
  handle.head.handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  ASSERT_EQ(::name_to_handle_at(AT_FDCWD, mount.path("file").c_str(), &handle.head, &mount_id, 0), 0)
      << std::strerror(errno);
  ServedMount::drop_caches();
  const auto root = open_file(mount.path(""), O_RDONLY | O_DIRECTORY);
  {
    const UniqueFd again{::open_by_handle_at(root.get(), &handle.head, O_RDONLY)};
    ASSERT_TRUE(again) << std::strerror(errno);
    char content[10] = {};
    EXPECT_EQ(::read(again.get(), content, sizeof(content)), 7);
  }
  ASSERT_EQ(::unlink(mount.path("file").c_str()), 0);
  ServedMount::drop_caches();
  EXPECT_EQ(::open_by_handle_at(root.get(), &handle.head, O_RDONLY), -1);
  EXPECT_EQ(errno, ESTALE);
}

TEST_F(Mount, copies_and_nameless_files_fall_back) {
  ServedMount mount;
  const std::string content = pattern(3 << 20, 6);
  write_file(mount.path("from"), content);
  ASSERT_EQ(run("cp --sparse=always " + mount.path("from") + " " + mount.path("to")).status, 0);
  EXPECT_TRUE(read_file(mount.path("to")) == content);
  const auto from = open_file(mount.path("from"), O_RDONLY), to = open_file(mount.path("copy"), O_WRONLY | O_CREAT);
  EXPECT_EQ(::copy_file_range(from.get(), nullptr, to.get(), nullptr, 3 << 20, 0), 3 << 20);
  EXPECT_TRUE(read_file(mount.path("copy")) == content);
  EXPECT_EQ(::open(mount.path("").c_str(), O_TMPFILE | O_RDWR, 0600), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
}

TEST_F(Mount, a_full_volume_says_so_and_recovers) {
  ServedMount mount{{.size = "16M"}};
  const auto fd = open_file(mount.path("large"), O_WRONLY | O_CREAT);
  const std::string piece(1 << 20, 'x');
  int error = 0;
  for (int i = 0; i < 64 && !error; ++i) {
    if (::write(fd.get(), piece.data(), piece.size()) < 0 || ::fsync(fd.get()) != 0) error = errno;
  }
  EXPECT_EQ(error, ENOSPC);
  ASSERT_EQ(::unlink(mount.path("large").c_str()), 0);
  write_file(mount.path("small"), "still works");
  EXPECT_EQ(read_file(mount.path("small")), "still works");
}

TEST_F(Mount, a_block_device_is_closed_when_umount_returns) {
  ServedMount mount{{.block_device = true}};
  write_file(mount.path("file"), pattern(1 << 20, 4));
  UniqueFd root = open_file(mount.path(""), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(::syncfs(root.get()), 0);
  EXPECT_GE(mount.served(FUSE_SYNCFS), 0U);
  root.reset();
  mount.unmount();
  EXPECT_EQ(mount.image().header("Filesystem state"), "clean");
}

TEST_F(Mount, going_read_only_and_back) {
  ServedMount mount;
  write_file(mount.path("file"), "x");
  const auto root = open_file(mount.path(""), O_RDONLY | O_DIRECTORY);
  const auto set_mode = [&](protocol::MountMode mode) {
    auto value = static_cast<std::uint32_t>(mode);
    return ::ioctl(root.get(), protocol::kSetMountMode, &value);
  };
  ASSERT_EQ(::mount("", mount.path("").c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0) << std::strerror(errno);
  ASSERT_EQ(set_mode(protocol::MountMode::read_only), 0) << std::strerror(errno);
  EXPECT_EQ(mount.image().header("Filesystem state"), "clean");
  EXPECT_EQ(::mkdir(mount.path("no").c_str(), 0755), -1);
  EXPECT_EQ(read_file(mount.path("file")), "x");
  ASSERT_EQ(set_mode(protocol::MountMode::writable), 0) << std::strerror(errno);
  ASSERT_EQ(::mount("", mount.path("").c_str(), nullptr, MS_REMOUNT, nullptr), 0);
  EXPECT_EQ(::mkdir(mount.path("yes").c_str(), 0755), 0);
}

TEST_F(Mount, unpacking_stays_near_the_floor) {
  ServedMount mount{{.size = "512M"}};
  // 60 folders of 40 files with owners, modes and times of their own, as tar restores them.
  const auto source = mount.image().directory() / "source";
  for (int folder = 0; folder < 60; ++folder) {
    const auto at = source / ("folder" + std::to_string(folder));
    std::filesystem::create_directories(at);
    for (int file = 0; file < 40; ++file) write_file((at / ("file" + std::to_string(file))).string(), pattern(6000, 5));
  }
  ASSERT_EQ(run("chown -R 1000:1000 " + source.string() + " && tar -C " + source.string() + " -cf " + source.string() +
                ".tar .")
                .status,
            0);
  const std::uint64_t before = mount.served();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run("tar -C " + mount.path("") + " -xf " + source.string() + ".tar && sync -f " + mount.path("")).status,
            0);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double entries = 60 * 41 + 1;
  const double each = static_cast<double>(mount.served() - before) / entries;
  std::string kinds;
  for (std::uint32_t opcode = 1; opcode < 64; ++opcode) {
    if (const auto count = mount.served(opcode)) kinds += " " + std::to_string(opcode) + ":" + std::to_string(count);
  }
  RecordProperty("requests_per_entry", std::to_string(each));
  std::printf("%.1f requests an entry, %.0f entries a second:%s\n", each, entries / seconds.count(), kinds.c_str());
  EXPECT_LE(each, 11.0) << kinds;
}

TEST_F(Mount, many_processes_at_once) {
  ServedMount mount;
  const Outcome outcome = run("cd " + mount.path("") +
                              " && for p in 1 2 3 4; do ( mkdir d$p; for i in $(seq 150); do echo $p$i > d$p/f$i; mv "
                              "d$p/f$i d$p/g$i; ln d$p/g$i d$p/h$i; "
                              "[ $((i % 3)) = 0 ] && rm d$p/g$i; done ) & done; wait; ls d1 | wc -l; cat d4/h150");
  EXPECT_EQ(outcome.output, "250\n4150\n");
}

}  // namespace
}  // namespace tests
