#include <gtest/gtest.h>

#include <map>

#include "tests/worker/fuse/served_volume.h"
#include "worker/volume/references.h"

namespace tests {
namespace {

struct Listed {
  std::uint64_t ino, off;
  std::uint32_t type;
  fuse_entry_out entry;
};

class DirectoryOps : public testing::Test {
 protected:
  DirectoryOps() { kernel.initialise(); }

  /// Takes a reply apart as the kernel does; false at the end of the directory.
  bool page(std::uint32_t opcode, std::uint64_t node, std::uint64_t& offset, std::uint32_t size,
            std::map<std::string, Listed>& all) {
    const Reply reply = kernel.ask(opcode, node, read_request(offset, size));
    EXPECT_EQ(reply.error, 0);
    EXPECT_LE(reply.body.size(), size);
    const std::size_t before = opcode == FUSE_READDIRPLUS ? sizeof(fuse_entry_out) : 0;
    for (std::size_t at = 0; at < reply.body.size();) {
      Listed listed{};
      if (before) listed.entry = reply.as<fuse_entry_out>(at);
      struct {
        std::uint64_t ino, off;
        std::uint32_t namelen, type;
      } head = reply.as<decltype(head)>(at + before);
      const std::size_t length = FUSE_DIRENT_ALIGN(before + FUSE_NAME_OFFSET + head.namelen);
      EXPECT_LE(at + length, reply.body.size());
      const std::string name{reply.text().substr(at + before + FUSE_NAME_OFFSET, head.namelen)};
      EXPECT_FALSE(name.empty());
      listed.ino = head.ino;
      listed.off = offset = head.off;
      listed.type = head.type;
      EXPECT_LT(head.off, 1ULL << 63);
      EXPECT_TRUE(all.emplace(name, listed).second) << name << " twice";
      at += length;
    }
    return !reply.body.empty();
  }

  std::map<std::string, Listed> list(std::uint32_t opcode, std::uint64_t node, std::uint32_t size) {
    std::map<std::string, Listed> all;
    for (std::uint64_t offset = 0; page(opcode, node, offset, size, all);) {
    }
    return all;
  }

  ServedVolume served{{.threads = 1}};
  FakeKernel& kernel = served.kernel;
};

TEST_F(DirectoryOps, lists_every_name_once_whatever_the_size_of_the_pages) {
  const auto folder = served.make_directory(1, "folder");
  for (int i = 0; i < 300; ++i) served.create(folder.nodeid, "name number " + std::to_string(i));
  for (const std::uint32_t size : {512U, 4096U, 131072U}) {
    for (const std::uint32_t opcode : {std::uint32_t{FUSE_READDIR}, std::uint32_t{FUSE_READDIRPLUS}}) {
      const auto all = list(opcode, folder.nodeid, size);
      EXPECT_EQ(all.size(), 302U) << size;
      EXPECT_TRUE(all.contains("name number 299"));
      EXPECT_TRUE(all.contains(".."));
    }
  }
}

TEST_F(DirectoryOps, types_and_numbers_are_those_of_stat) {
  const auto folder = served.make_directory(1, "folder");
  const auto file = served.create(folder.nodeid, "file");
  const auto all = list(FUSE_READDIR, folder.nodeid, 4096);
  EXPECT_EQ(all.at("file").ino, file.attr.ino);
  EXPECT_EQ(all.at("file").type, S_IFREG >> 12U);
  EXPECT_EQ(all.at("..").ino, 2U);
  EXPECT_EQ(all.at("..").type, S_IFDIR >> 12U);
}

TEST_F(DirectoryOps, readdirplus_lends_what_it_names_and_nothing_else) {
  const auto folder = served.make_directory(1, "folder");
  const auto file = served.create(folder.nodeid, "file");
  served.forget(file.nodeid);
  served.attributes(1);
  auto& references = served.volume().references();
  const auto number = static_cast<std::uint32_t>(file.nodeid);
  EXPECT_FALSE(references.lent(number));

  list(FUSE_READDIR, folder.nodeid, 4096);
  EXPECT_FALSE(references.lent(number));
  const std::size_t before = references.size();
  const auto all = list(FUSE_READDIRPLUS, folder.nodeid, 4096);
  EXPECT_TRUE(references.lent(number));
  EXPECT_EQ(references.size(), before + 1);
  EXPECT_EQ(all.at("file").entry.nodeid, file.nodeid);
  EXPECT_EQ(all.at("file").entry.attr.mode, file.attr.mode);
  EXPECT_EQ(all.at(".").entry.nodeid, 0U);
  EXPECT_EQ(all.at("..").entry.nodeid, 0U);
}

TEST_F(DirectoryOps, entries_that_did_not_fit_are_not_lent) {
  const auto folder = served.make_directory(1, "folder");
  std::vector<std::uint64_t> nodes;
  for (int i = 0; i < 20; ++i) nodes.push_back(served.create(folder.nodeid, "file" + std::to_string(i)).nodeid);
  for (const auto node : nodes) served.forget(node);
  served.attributes(1);
  std::map<std::string, Listed> first;
  std::uint64_t offset = 0;
  page(FUSE_READDIRPLUS, folder.nodeid, offset, 1024, first);
  std::size_t named = 0, lent = 0;
  for (const auto& [name, listed] : first) named += listed.entry.nodeid != 0;
  for (const auto node : nodes) lent += served.volume().references().lent(static_cast<std::uint32_t>(node));
  EXPECT_GT(named, 0U);
  EXPECT_EQ(lent, named);
}

TEST_F(DirectoryOps, a_page_too_small_for_any_name_is_empty) {
  const Reply reply = kernel.ask(FUSE_READDIR, 1, read_request(0, 8));
  EXPECT_EQ(reply.error, 0);
  EXPECT_TRUE(reply.body.empty());
}

TEST_F(DirectoryOps, wild_cookies_and_wrong_nodes_do_no_harm) {
  for (const std::uint64_t cookie : {std::uint64_t{1}, std::uint64_t{12345}, std::uint64_t{1} << 32,
                                     (std::uint64_t{1} << 63) - 1, ~std::uint64_t{0}}) {
    kernel.ask(FUSE_READDIR, 1, read_request(cookie, 4096));
    kernel.ask(FUSE_READDIRPLUS, 1, read_request(cookie, 4096));
  }
  const auto file = served.create(1, "file");
  EXPECT_EQ(kernel.ask(FUSE_READDIR, file.nodeid, read_request(0, 4096)).error, ENOTDIR);
}

TEST_F(DirectoryOps, a_directory_is_synced_with_the_volume) {
  served.create(1, "file");
  EXPECT_EQ(kernel.ask(FUSE_FSYNCDIR, 1, Body{}.add(fuse_fsync_in{})).error, 0);
  EXPECT_EQ(kernel.ask(FUSE_SYNCFS, 1, Body{}.add(fuse_syncfs_in{})).error, 0);
}

}  // namespace
}  // namespace tests
