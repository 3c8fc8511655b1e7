#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/worker/fuse/served_volume.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"

namespace tests {
namespace {

class NamespaceOps : public testing::Test {
 protected:
  NamespaceOps() { kernel.initialise(); }
  int error(std::uint32_t opcode, std::uint64_t node, const Body& body) { return kernel.ask(opcode, node, body).error; }
  bool lent(std::uint64_t node) { return served.volume().references().lent(static_cast<std::uint32_t>(node)); }
  bool orphaned(std::uint64_t node) {
    return served.volume().inspect(
        [&] { return served.volume().orphans().contains(static_cast<std::uint32_t>(node)); });
  }
  /// FORGET has no reply; whatever is asked afterwards by one asker comes later only with one thread.
  ServedVolume served{{.threads = 1}};
  FakeKernel& kernel = served.kernel;
};

TEST_F(NamespaceOps, lookup_finds_and_remembers_what_is_missing) {
  const auto found = served.lookup(1, "lost+found");
  EXPECT_EQ(found.nodeid, 11U);
  EXPECT_EQ(found.attr.ino, 11U);
  EXPECT_TRUE(S_ISDIR(found.attr.mode));
  EXPECT_GT(found.entry_valid, 1'000'000U);
  const auto missing = served.lookup(1, "no such name");
  EXPECT_EQ(missing.nodeid, 0U);
  EXPECT_GT(missing.entry_valid, 1'000'000U);
}

TEST_F(NamespaceOps, lookup_of_dot_serves_file_handles_of_anything) {
  const auto file = served.create(1, "file");
  EXPECT_EQ(served.lookup(file.nodeid, ".").nodeid, file.nodeid);
  EXPECT_EQ(served.lookup(file.nodeid, ".").generation, file.generation);
  EXPECT_EQ(served.lookup(1, ".").nodeid, 1U);
  const auto folder = served.make_directory(1, "folder");
  EXPECT_EQ(served.lookup(folder.nodeid, "..").nodeid, 1U);
  EXPECT_EQ(error(FUSE_LOOKUP, 5000, named(".")), ESTALE);
  EXPECT_EQ(error(FUSE_LOOKUP, 1 << 30, named(".")), ESTALE);
}

TEST_F(NamespaceOps, each_reply_lends_one_reference) {
  const auto file = served.create(1, "file");
  EXPECT_TRUE(lent(file.nodeid));
  served.lookup(1, "file");
  served.forget(file.nodeid, 1);
  served.attributes(1);
  EXPECT_TRUE(lent(file.nodeid));
  kernel.send(
      FUSE_BATCH_FORGET, 0,
      Body{}.add(fuse_batch_forget_in{2, 0}).add(fuse_forget_one{file.nodeid, 1}).add(fuse_forget_one{77, 1}).bytes());
  served.attributes(1);
  EXPECT_FALSE(lent(file.nodeid));
}

TEST_F(NamespaceOps, an_unlinked_file_lives_until_it_is_forgotten) {
  const auto file = served.create(1, "file");
  served.write(file.nodeid, 0, "still here");
  EXPECT_EQ(error(FUSE_UNLINK, 1, named("file")), 0);
  EXPECT_EQ(served.attributes(file.nodeid).nlink, 0U);
  EXPECT_EQ(served.read(file.nodeid, 0, 100), "still here");
  served.write(file.nodeid, 10, "!");
  EXPECT_TRUE(orphaned(file.nodeid));
  served.forget(file.nodeid);
  served.attributes(1);
  EXPECT_FALSE(orphaned(file.nodeid));
  EXPECT_EQ(error(FUSE_GETATTR, file.nodeid, Body{}.add(fuse_getattr_in{})), ESTALE);
}

TEST_F(NamespaceOps, what_is_never_forgotten_is_freed_at_the_end) {
  const auto file = served.create(1, "file");
  served.write(file.nodeid, 0, std::string(100'000, 'x'));
  EXPECT_EQ(error(FUSE_UNLINK, 1, named("file")), 0);
}

TEST_F(NamespaceOps, create_applies_owner_mode_and_umask) {
  fuse_create_in in{};
  in.flags = O_RDWR | O_CREAT;
  in.mode = S_IFREG | 0666;
  in.umask = 027;
  const Reply reply = kernel.ask(FUSE_CREATE, 1, Body{}.add(in).text("file"), {1234, 70000});
  ASSERT_EQ(reply.error, 0);
  const auto entry = reply.as<fuse_entry_out>();
  EXPECT_EQ(entry.attr.mode, S_IFREG | 0640U);
  EXPECT_EQ(entry.attr.uid, 1234U);
  EXPECT_EQ(entry.attr.gid, 70000U);
  EXPECT_EQ(entry.attr.nlink, 1U);
  EXPECT_TRUE(reply.as<fuse_open_out>(sizeof(fuse_entry_out)).open_flags & FOPEN_KEEP_CACHE);
}

TEST_F(NamespaceOps, create_opens_what_is_there_unless_it_must_not) {
  const auto file = served.create(1, "file");
  served.write(file.nodeid, 0, "content");
  EXPECT_EQ(served.create(1, "file").nodeid, file.nodeid);
  EXPECT_EQ(served.attributes(file.nodeid).size, 7U);

  fuse_create_in in{};
  in.mode = S_IFREG | 0644;
  in.flags = O_WRONLY | O_CREAT | O_TRUNC;
  EXPECT_EQ(kernel.ask(FUSE_CREATE, 1, Body{}.add(in).text("file")).error, 0);
  EXPECT_EQ(served.attributes(file.nodeid).size, 0U);
  in.flags = O_RDWR | O_CREAT | O_EXCL;
  EXPECT_EQ(kernel.ask(FUSE_CREATE, 1, Body{}.add(in).text("file")).error, EEXIST);
  in.flags = O_RDONLY | O_CREAT;
  EXPECT_EQ(kernel.ask(FUSE_CREATE, 1, Body{}.add(in).text("lost+found")).error, EEXIST);
  EXPECT_FALSE(lent(11));
}

TEST_F(NamespaceOps, nodes_of_every_kind) {
  const std::pair<std::string, std::uint32_t> kinds[] = {
      {"fifo", S_IFIFO}, {"socket", S_IFSOCK}, {"char", S_IFCHR}, {"block", S_IFBLK}, {"plain", S_IFREG}};
  for (const auto& [name, type] : kinds) {
    const fuse_mknod_in in{type | 0666, 0x00100305, 022, 0};
    const auto entry = exactly<fuse_entry_out>(kernel.ask(FUSE_MKNOD, 1, Body{}.add(in).text(name)));
    EXPECT_EQ(entry.attr.mode, type | 0644) << name;
    EXPECT_EQ(entry.attr.rdev, S_ISCHR(type) || S_ISBLK(type) ? 0x00100305U : 0U) << name;
  }
  EXPECT_EQ(error(FUSE_MKNOD, 1, Body{}.add(fuse_mknod_in{S_IFDIR | 0755, 0, 0, 0}).text("x")), EINVAL);
}

TEST_F(NamespaceOps, directories_count_and_go) {
  const auto folder = served.make_directory(1, "folder");
  EXPECT_EQ(folder.attr.nlink, 2U);
  EXPECT_EQ(folder.attr.mode, S_IFDIR | 0755U);
  served.make_directory(folder.nodeid, "inner");
  EXPECT_EQ(served.attributes(folder.nodeid).nlink, 3U);
  EXPECT_EQ(error(FUSE_RMDIR, 1, named("folder")), ENOTEMPTY);
  EXPECT_EQ(error(FUSE_UNLINK, 1, named("folder")), EISDIR);
  EXPECT_EQ(error(FUSE_RMDIR, folder.nodeid, named("inner")), 0);
  EXPECT_EQ(error(FUSE_RMDIR, 1, named("folder")), 0);
  EXPECT_EQ(served.lookup(1, "folder").nodeid, 0U);
}

TEST_F(NamespaceOps, symbolic_links_short_and_long) {
  for (const std::size_t length :
       {std::size_t{1}, std::size_t{59}, std::size_t{60}, std::size_t{1000}, std::size_t{4095}}) {
    const std::string target(length, 't'), name = "link" + std::to_string(length);
    const auto entry = exactly<fuse_entry_out>(kernel.ask(FUSE_SYMLINK, 1, Body{}.text(name).text(target)));
    EXPECT_EQ(entry.attr.mode, S_IFLNK | 0777U);
    EXPECT_EQ(entry.attr.size, length);
    EXPECT_EQ(kernel.ask(FUSE_READLINK, entry.nodeid).text(), target);
  }
  EXPECT_EQ(kernel.ask(FUSE_READLINK, 1).error, EINVAL);
}

TEST_F(NamespaceOps, hard_links) {
  const auto file = served.create(1, "one");
  const auto again =
      exactly<fuse_entry_out>(kernel.ask(FUSE_LINK, 1, Body{}.add(fuse_link_in{file.nodeid}).text("two")));
  EXPECT_EQ(again.nodeid, file.nodeid);
  EXPECT_EQ(again.attr.nlink, 2U);
  EXPECT_EQ(error(FUSE_LINK, 1, Body{}.add(fuse_link_in{file.nodeid}).text("two")), EEXIST);
  EXPECT_EQ(error(FUSE_LINK, 1, Body{}.add(fuse_link_in{1}).text("three")), EPERM);
}

TEST_F(NamespaceOps, renames_with_and_without_flags) {
  served.create(1, "one");
  const auto two = served.create(1, "two");
  EXPECT_EQ(error(FUSE_RENAME2, 1, Body{}.add(fuse_rename2_in{1, RENAME_NOREPLACE, 0}).text("one").text("two")),
            EEXIST);
  EXPECT_EQ(error(FUSE_RENAME2, 1, Body{}.add(fuse_rename2_in{1, RENAME_EXCHANGE, 0}).text("one").text("two")), 0);
  EXPECT_EQ(served.lookup(1, "one").nodeid, two.nodeid);
  EXPECT_EQ(error(FUSE_RENAME, 1, Body{}.add(fuse_rename_in{1}).text("one").text("two")), 0);
  EXPECT_EQ(served.lookup(1, "one").nodeid, 0U);
  EXPECT_EQ(served.lookup(1, "two").nodeid, two.nodeid);
  EXPECT_EQ(error(FUSE_RENAME2, 1, Body{}.add(fuse_rename2_in{1, 1U << 30, 0}).text("two").text("x")), EINVAL);
  EXPECT_EQ(error(FUSE_RENAME, 1, Body{}.add(fuse_rename_in{1}).text("none").text("x")), ENOENT);
}

TEST_F(NamespaceOps, node_numbers_that_nobody_was_given_are_stale) {
  for (const std::uint64_t node : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    EXPECT_EQ(error(FUSE_LOOKUP, node, named("x")), ESTALE) << node;
    EXPECT_EQ(error(FUSE_GETATTR, node, Body{}.add(fuse_getattr_in{})), ESTALE) << node;
    EXPECT_EQ(error(FUSE_READ, node, read_request(0, 10)), ESTALE) << node;
    served.forget(node);
  }
}

}  // namespace
}  // namespace tests
