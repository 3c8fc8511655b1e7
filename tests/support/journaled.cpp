#include "tests/support/journaled.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "tests/support/fake_device.h"
#include "worker/disk/ext2fs.h"

namespace tests {
namespace {

void must(const std::string& command) {
  const Outcome outcome = run(command);
  if (outcome.status == 0) return;
  std::fprintf(stderr, "%s: status %d\n%s\n", command.c_str(), outcome.status, outcome.output.c_str());
  std::abort();
}

ext2_filsys open_library(const Image& image) {
  ext2_filsys fs = nullptr;
  constexpr int kFlags = EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES | EXT2_FLAG_IGNORE_CSUM_ERRORS;
  if (ext2fs_open(image.path().c_str(), kFlags, 0, 0, unix_io_manager, &fs) != 0) std::abort();
  return fs;
}

}  // namespace

void crash_kernel(const Image& image, const std::string& mount_options, const std::string& script) {
  const std::string name = image.path(), point = name + ".mount";
  std::ofstream{name + ".script"} << "set -e\ncd '" << point << "'\n" << script << '\n';
  // What the loop device has been given is at once in the file; the kernel keeps the rest for seconds.
  must("mkdir -p " + point + "; unshare -m --propagation private sh -ec 'mount -t ext4 -o loop," + mount_options + " " +
       name + " " + point + "; sh " + name + ".script; cp --sparse=always " + name + " " + name + ".crashed; umount " +
       point + "'; mv " + name + ".crashed " + name);
}

void write_journal(const Image& image, const std::string& commands) {
  std::ofstream{image.path() + ".commands"} << commands << '\n';
  must("PATH=$PATH:/usr/sbin:/sbin debugfs -w -f " + image.path() + ".commands " + image.path());
}

std::vector<worker::disk::BlockNumber> log_of(const Image& image) {
  const ext2_filsys fs = open_library(image);
  ext2_inode inode{};
  if (ext2fs_read_inode(fs, fs->super->s_journal_inum, &inode) != 0) std::abort();
  std::vector<worker::disk::BlockNumber> blocks(EXT2_I_SIZE(&inode) / fs->blocksize);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blk64_t home = 0;
    if (ext2fs_bmap2(fs, fs->super->s_journal_inum, &inode, nullptr, 0, i, nullptr, &home) != 0) std::abort();
    blocks[i] = home;
  }
  ext2fs_free(fs);
  return blocks;
}

std::vector<worker::disk::BlockNumber> differences(const Image& image, const std::string& a, const std::string& b) {
  const ext2_filsys fs = open_library(image);
  const std::size_t size = fs->blocksize;
  const std::size_t superblock = fs->super->s_first_data_block;
  ext2fs_free(fs);
  const auto log = log_of(image);
  std::set<worker::disk::BlockNumber> ignored{log.begin(), log.end()};
  ignored.insert(superblock);
  const auto left = FakeDevice::contents_of(a), right = FakeDevice::contents_of(b);
  if (left.size() != right.size()) std::abort();
  std::vector<worker::disk::BlockNumber> different;
  for (std::size_t at = 0; at < left.size(); at += size)
    if (!ignored.contains(at / size) && !std::equal(left.begin() + static_cast<std::ptrdiff_t>(at),
                                                    left.begin() + static_cast<std::ptrdiff_t>(at + size),
                                                    right.begin() + static_cast<std::ptrdiff_t>(at)))
      different.push_back(at / size);
  return different;
}

}  // namespace tests
