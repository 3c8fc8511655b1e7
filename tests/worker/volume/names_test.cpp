#include "worker/volume/names.h"

#include <gtest/gtest.h>
#include <linux/fs.h>

#include <optional>

#include "tests/worker/volume/mounted.h"

namespace worker::volume {
namespace {

using tests::error_of;
using tests::Image;
using tests::listing;
using tests::Mounted;
using tests::new_directory;
using tests::new_file;

/// A small volume, proven sound at the end of every test.
class NamesTest : public testing::Test {
 protected:
  void TearDown() override {
    ASSERT_TRUE(volume_.close());
    EXPECT_EQ(image_.complaints(), "");
  }

  Names& names() { return volume_.names(); }
  InodeNumber make(InodeNumber parent, std::string_view name, const NewInode& wanted) {
    const auto made = names().create(parent, name, wanted);
    EXPECT_TRUE(made.ok()) << name << ": " << made.error().message();
    return made.ok() ? made->inode : 0;
  }
  InodeNumber file(InodeNumber parent, std::string_view name) { return make(parent, name, new_file()); }
  InodeNumber directory(InodeNumber parent, std::string_view name) { return make(parent, name, new_directory()); }
  std::optional<Attributes> look(InodeNumber parent, std::string_view name) {
    const auto found = names().lookup(parent, name);
    return found.ok() ? std::optional{*found} : std::nullopt;
  }
  InodeNumber parent_of(InodeNumber child) { return look(child, "..")->inode; }
  Attributes attributes(InodeNumber inode) {
    return *volume_->inspect([&] { return volume_->inodes().attributes(inode); });
  }
  std::uint32_t links(InodeNumber inode) { return attributes(inode).links; }
  bool exists(InodeNumber inode) {
    return volume_->inspect([&] { return volume_->inodes().read(inode); }).ok();
  }
  void forget(InodeNumber inode) {
    while (volume_->references().lent(inode)) (void)volume_->references().give_back(inode, 1);
    EXPECT_TRUE(volume_->orphans().release(inode).ok());
  }
  void set_flags(InodeNumber inode, std::uint32_t flags) {
    ASSERT_TRUE(volume_
                    ->mutate([&](Operation& operation) -> Result<void> {
                      TRY(raw, volume_->inodes().read(inode));
                      constexpr std::uint32_t kBoth = EXT2_IMMUTABLE_FL | EXT2_APPEND_FL;
                      raw.raw.i_flags = (raw.raw.i_flags & ~kBoth) | flags;
                      return volume_->inodes().write(operation, raw);
                    })
                    .ok());
  }

  const Image image_{"-t ext4 -b 1024 -I 256", "16M"};
  Mounted volume_{image_};
};

TEST_F(NamesTest, a_new_file_has_one_link_and_is_found) {
  const auto made = names().create(kRootInode, "a", new_file(S_IFREG | 0640));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->mode, S_IFREG | 0640U);
  EXPECT_EQ(made->links, 1U);
  EXPECT_EQ(look(kRootInode, "a")->inode, made->inode);
  EXPECT_EQ(error_of(names().create(kRootInode, "a", new_file())), EEXIST);
  EXPECT_EQ(error_of(names().lookup(kRootInode, "b")), ENOENT);
  EXPECT_EQ(error_of(names().lookup(made->inode, "b")), ENOTDIR);
}

TEST_F(NamesTest, refuses_names_that_no_directory_can_hold) {
  const std::string longest(255, 'n');
  EXPECT_EQ(error_of(names().create(kRootInode, std::string(256, 'n'), new_file())), ENAMETOOLONG);
  EXPECT_EQ(error_of(names().create(kRootInode, "", new_file())), ENOENT);
  EXPECT_EQ(error_of(names().create(kRootInode, "a/b", new_file())), EINVAL);
  EXPECT_EQ(error_of(names().create(kRootInode, std::string_view{"a\0b", 3}, new_file())), EINVAL);
  EXPECT_EQ(error_of(names().unlink(kRootInode, ".")), EINVAL);
  EXPECT_EQ(error_of(names().remove_directory(kRootInode, "..")), EINVAL);
  file(kRootInode, longest);
  EXPECT_TRUE(look(kRootInode, longest));
}

TEST_F(NamesTest, every_byte_value_can_be_in_a_name) {
  for (int c = 1; c < 256; ++c) {
    if (c == '/') continue;
    const std::string name{'n', static_cast<char>(c)};
    const InodeNumber made = file(kRootInode, name);
    EXPECT_EQ(look(kRootInode, name)->inode, made);
  }
  EXPECT_EQ(listing(*volume_, kRootInode).size(), 254U + 1);  // and lost+found
}

TEST_F(NamesTest, every_kind_of_inode_can_be_made_but_a_symbolic_link) {
  for (const std::uint32_t kind : {S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK}) {
    NewInode wanted = new_file(kind | 0600);
    wanted.device = 0x0103;
    const auto made = names().create(kRootInode, "k" + std::to_string(kind), wanted);
    ASSERT_TRUE(made.ok()) << made.error().message();
    EXPECT_EQ(made->mode & S_IFMT, kind);
    if (kind == S_IFCHR || kind == S_IFBLK) {
      EXPECT_EQ(made->device, 0x0103U);
    }
  }
  EXPECT_EQ(error_of(names().create(kRootInode, "l", new_file(S_IFLNK | 0777))), EINVAL);
}

TEST_F(NamesTest, subdirectories_count_as_links_of_their_parent) {
  const std::uint32_t before = links(kRootInode);
  const InodeNumber made = directory(kRootInode, "d");
  EXPECT_EQ(links(made), 2U);
  EXPECT_EQ(links(kRootInode), before + 1);
  EXPECT_EQ(parent_of(made), kRootInode);
  EXPECT_EQ(look(made, ".")->inode, made);
  EXPECT_EQ(error_of(names().unlink(kRootInode, "d")), EISDIR);
  EXPECT_EQ(error_of(names().remove_directory(kRootInode, "e")), ENOENT);
  file(made, "f");
  EXPECT_EQ(error_of(names().remove_directory(kRootInode, "d")), ENOTEMPTY);
  EXPECT_EQ(error_of(names().remove_directory(made, "f")), ENOTDIR);
  EXPECT_TRUE(names().unlink(made, "f").ok());
  EXPECT_TRUE(names().remove_directory(kRootInode, "d").ok());
  EXPECT_EQ(links(kRootInode), before);
  EXPECT_FALSE(look(kRootInode, "d"));
}

TEST_F(NamesTest, a_removed_directory_takes_no_more_names) {
  const InodeNumber made = directory(kRootInode, "d");
  ASSERT_TRUE(names().remove_directory(kRootInode, "d").ok());
  ASSERT_TRUE(exists(made)) << "the kernel still knows it";
  EXPECT_EQ(error_of(names().create(made, "f", new_file())), ENOENT);
  EXPECT_EQ(error_of(names().read_directory(made, 0, false, [](const auto&) { return true; })), ENOENT);
  forget(made);
  EXPECT_FALSE(exists(made));
}

TEST_F(NamesTest, an_unlinked_file_lives_until_the_kernel_forgets_it) {
  const InodeNumber made = file(kRootInode, "a");
  ASSERT_TRUE(names().unlink(kRootInode, "a").ok());
  EXPECT_TRUE(exists(made));
  EXPECT_EQ(links(made), 0U);
  EXPECT_TRUE(volume_->inspect([&] { return volume_->orphans().contains(made); }));
  forget(made);
  EXPECT_FALSE(exists(made));
}

TEST_F(NamesTest, an_unlinked_file_that_nobody_knows_goes_at_once) {
  const InodeNumber made = file(kRootInode, "a");
  while (volume_->references().lent(made)) (void)volume_->references().give_back(made, 1);
  ASSERT_TRUE(names().unlink(kRootInode, "a").ok());
  EXPECT_FALSE(exists(made));
}

TEST_F(NamesTest, hard_links_share_an_inode) {
  const InodeNumber made = file(kRootInode, "a");
  const InodeNumber d = directory(kRootInode, "d");
  const auto linked = names().link(made, d, "b");
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(linked->links, 2U);
  EXPECT_EQ(look(d, "b")->inode, made);
  EXPECT_EQ(error_of(names().link(made, d, "b")), EEXIST);
  EXPECT_EQ(error_of(names().link(d, kRootInode, "e")), EPERM);
  ASSERT_TRUE(names().unlink(kRootInode, "a").ok());
  EXPECT_EQ(links(made), 1U);
  ASSERT_TRUE(names().unlink(d, "b").ok());
  EXPECT_EQ(error_of(names().link(made, d, "c")), ENOENT) << "no names, no new names";
}

TEST_F(NamesTest, no_file_has_more_than_65000_links) {
  const InodeNumber made = file(kRootInode, "a");
  ASSERT_TRUE(volume_
                  ->mutate([&](Operation& operation) -> Result<void> {
                    TRY(raw, volume_->inodes().read(made));
                    raw.raw.i_links_count = 65000;
                    return volume_->inodes().write(operation, raw);
                  })
                  .ok());
  EXPECT_EQ(error_of(names().link(made, kRootInode, "b")), EMLINK);
  ASSERT_TRUE(volume_
                  ->mutate([&](Operation& operation) -> Result<void> {
                    TRY(raw, volume_->inodes().read(made));
                    raw.raw.i_links_count = 1;
                    return volume_->inodes().write(operation, raw);
                  })
                  .ok());
}

TEST_F(NamesTest, an_indexed_directory_stops_counting_at_65000_subdirectories) {
  const InodeNumber plain = directory(kRootInode, "plain");
  const InodeNumber indexed = directory(kRootInode, "indexed");
  for (int i = 0; i < 100; ++i) file(indexed, "some file to fill blocks " + std::to_string(i));
  const auto set_links = [&](InodeNumber inode, std::uint16_t count) {
    ASSERT_TRUE(volume_
                    ->mutate([&](Operation& operation) -> Result<void> {
                      TRY(raw, volume_->inodes().read(inode));
                      raw.raw.i_links_count = count;
                      return volume_->inodes().write(operation, raw);
                    })
                    .ok());
  };
  set_links(plain, 64999);
  set_links(indexed, 64999);
  directory(plain, "a");
  directory(indexed, "a");
  EXPECT_EQ(links(indexed), 65000U);
  EXPECT_EQ(error_of(names().create(plain, "b", new_directory())), EMLINK);
  EXPECT_EQ(error_of(names().create(plain, "file", new_file())), 0);
  const InodeNumber elsewhere = directory(kRootInode, "elsewhere");
  EXPECT_EQ(error_of(names().rename(kRootInode, "elsewhere", plain, "b", 0)), EMLINK);
  directory(indexed, "b");
  EXPECT_EQ(links(indexed), 1U);
  directory(indexed, "c");
  ASSERT_TRUE(names().rename(kRootInode, "elsewhere", indexed, "e", 0).ok());
  EXPECT_EQ(parent_of(elsewhere), indexed);
  EXPECT_EQ(links(indexed), 1U);
  ASSERT_TRUE(names().remove_directory(indexed, "b").ok());
  EXPECT_EQ(links(indexed), 1U);
  set_links(plain, 3);
  set_links(indexed, 5);
}

TEST_F(NamesTest, symbolic_links_of_every_length_come_back) {
  for (const std::size_t length : {1, 58, 59, 60, 61, 500, 1023}) {
    const std::string target(length, 't');
    const std::string name = "l" + std::to_string(length);
    const auto made = names().symlink(kRootInode, name, target, {});
    ASSERT_TRUE(made.ok()) << length << ": " << made.error().message();
    EXPECT_EQ(made->mode, S_IFLNK | 0777U);
    EXPECT_EQ(made->size, length);
    EXPECT_EQ(made->blocks, length < 60 ? 0U : 2U);
    const auto read = names().read_link(made->inode);
    ASSERT_TRUE(read.ok()) << read.error().message();
    EXPECT_EQ(*read, target);
  }
  EXPECT_EQ(error_of(names().symlink(kRootInode, "l", std::string(1024, 't'), {})), ENAMETOOLONG);
  EXPECT_EQ(error_of(names().symlink(kRootInode, "l", "", {})), ENOENT);
  EXPECT_EQ(error_of(names().read_link(kRootInode)), EINVAL);
  for (const std::size_t length : {59, 500}) EXPECT_TRUE(names().unlink(kRootInode, "l" + std::to_string(length)).ok());
}

TEST_F(NamesTest, immutable_and_append_only_directories_and_files_keep_their_names) {
  const InodeNumber d = directory(kRootInode, "d");
  const InodeNumber f = file(d, "f");
  file(d, "g");
  set_flags(d, EXT2_IMMUTABLE_FL);
  EXPECT_EQ(error_of(names().create(d, "h", new_file())), EPERM);
  EXPECT_EQ(error_of(names().unlink(d, "f")), EPERM);
  EXPECT_EQ(error_of(names().rename(d, "f", kRootInode, "f", 0)), EPERM);
  set_flags(d, EXT2_APPEND_FL);
  EXPECT_EQ(error_of(names().create(d, "h", new_file())), 0);
  EXPECT_EQ(error_of(names().unlink(d, "f")), EPERM);
  EXPECT_EQ(error_of(names().rename(d, "f", d, "x", 0)), EPERM);
  set_flags(d, 0);
  for (const std::uint32_t flag : {EXT2_IMMUTABLE_FL, EXT2_APPEND_FL}) {
    set_flags(f, flag);
    EXPECT_EQ(error_of(names().unlink(d, "f")), EPERM);
    EXPECT_EQ(error_of(names().link(f, d, "x")), EPERM);
    EXPECT_EQ(error_of(names().rename(d, "f", d, "x", 0)), EPERM);
    EXPECT_EQ(error_of(names().rename(d, "g", d, "f", 0)), EPERM);
  }
  set_flags(f, 0);
}

TEST_F(NamesTest, changes_set_the_times_of_the_directory_and_of_the_inode) {
  const InodeNumber d = directory(kRootInode, "d");
  const InodeNumber f = file(d, "f");
  const auto age = [&](InodeNumber inode) {
    ASSERT_TRUE(volume_
                    ->mutate([&](Operation& operation) -> Result<void> {
                      TRY(raw, volume_->inodes().read(inode));
                      raw.set_modified({1000, 0});
                      raw.set_changed({1000, 0});
                      return volume_->inodes().write(operation, raw);
                    })
                    .ok());
  };
  const auto aged = [&](InodeNumber inode) { return attributes(inode).changed.seconds == 1000; };
  const auto names_aged = [&](InodeNumber inode) { return attributes(inode).modified.seconds == 1000; };
  age(d), age(f);
  ASSERT_TRUE(names().link(f, d, "g").ok());
  EXPECT_TRUE(!aged(f) && names_aged(f) && !aged(d) && !names_aged(d));
  age(d), age(f);
  ASSERT_TRUE(names().unlink(d, "g").ok());
  EXPECT_TRUE(!aged(f) && names_aged(f) && !aged(d) && !names_aged(d));
  age(d), age(f), age(kRootInode);
  ASSERT_TRUE(names().rename(d, "f", kRootInode, "f", 0).ok());
  EXPECT_TRUE(!aged(f) && names_aged(f) && !aged(d) && !names_aged(d) && !aged(kRootInode));
}

TEST_F(NamesTest, rename_moves_a_name_within_a_directory_and_to_another) {
  const InodeNumber d = directory(kRootInode, "d");
  const InodeNumber f = file(kRootInode, "f");
  ASSERT_TRUE(names().rename(kRootInode, "f", kRootInode, "g", 0).ok());
  EXPECT_FALSE(look(kRootInode, "f"));
  EXPECT_EQ(look(kRootInode, "g")->inode, f);
  ASSERT_TRUE(names().rename(kRootInode, "g", d, "h", 0).ok());
  EXPECT_FALSE(look(kRootInode, "g"));
  EXPECT_EQ(look(d, "h")->inode, f);
  EXPECT_EQ(links(f), 1U);
  EXPECT_EQ(error_of(names().rename(d, "x", d, "y", 0)), ENOENT);
}

TEST_F(NamesTest, rename_of_a_directory_moves_its_parent_link) {
  const InodeNumber a = directory(kRootInode, "a");
  const InodeNumber b = directory(kRootInode, "b");
  const InodeNumber moved = directory(a, "m");
  ASSERT_TRUE(names().rename(a, "m", b, "n", 0).ok());
  EXPECT_EQ(parent_of(moved), b);
  EXPECT_EQ(links(a), 2U);
  EXPECT_EQ(links(b), 3U);
}

/// What rename says for each kind of source over each kind of target, and that nothing changed when it fails.
TEST_F(NamesTest, rename_over_something_follows_the_matrix) {
  enum Kind { kFile, kEmpty, kFull };
  const int expected[3][3] = {{0, EISDIR, EISDIR}, {ENOTDIR, 0, ENOTEMPTY}, {ENOTDIR, 0, ENOTEMPTY}};
  int round = 0;
  const auto put = [&](Kind kind, InodeNumber parent, const std::string& name) {
    if (kind == kFile) return file(parent, name);
    const InodeNumber made = directory(parent, name);
    if (kind == kFull) file(made, "inside");
    return made;
  };
  for (const bool same_parent : {true, false}) {
    for (const Kind from : {kFile, kEmpty, kFull}) {
      for (const Kind to : {kFile, kEmpty, kFull}) {
        const std::string base = std::to_string(round++);
        const InodeNumber left = directory(kRootInode, base + "left");
        const InodeNumber right = same_parent ? left : directory(kRootInode, base + "right");
        const InodeNumber source = put(from, left, "s");
        const InodeNumber target = put(to, right, "t");
        const int error = error_of(names().rename(left, "s", right, "t", 0));
        EXPECT_EQ(error, expected[from][to]) << from << " over " << to;
        EXPECT_EQ(look(right, "t")->inode, error == 0 ? source : target);
        EXPECT_EQ(look(left, "s").has_value(), error != 0);
        if (error == 0) {
          EXPECT_EQ(links(target), 0U);
          forget(target);
          EXPECT_FALSE(exists(target));
        }
        EXPECT_EQ(error_of(names().rename(right, "t", right, "t", 0)), 0) << "onto itself";
      }
    }
  }
}

TEST_F(NamesTest, rename_onto_another_link_of_the_same_file_does_nothing) {
  const InodeNumber f = file(kRootInode, "a");
  ASSERT_TRUE(names().link(f, kRootInode, "b").ok());
  EXPECT_TRUE(names().rename(kRootInode, "a", kRootInode, "b", 0).ok());
  EXPECT_TRUE(look(kRootInode, "a") && look(kRootInode, "b"));
  EXPECT_EQ(links(f), 2U);
}

TEST_F(NamesTest, rename_with_noreplace_keeps_what_is_there) {
  const InodeNumber a = file(kRootInode, "a");
  const InodeNumber b = file(kRootInode, "b");
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", kRootInode, "b", RENAME_NOREPLACE)), EEXIST);
  EXPECT_EQ(look(kRootInode, "b")->inode, b);
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", kRootInode, "c", RENAME_NOREPLACE)), 0);
  EXPECT_EQ(look(kRootInode, "c")->inode, a);
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", kRootInode, "d", RENAME_WHITEOUT)), EINVAL);
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", kRootInode, "d", RENAME_NOREPLACE | RENAME_EXCHANGE)), EINVAL);
}

TEST_F(NamesTest, rename_can_exchange_anything) {
  const InodeNumber left = directory(kRootInode, "left");
  const InodeNumber right = directory(kRootInode, "right");
  const InodeNumber f = file(left, "f");
  const InodeNumber d = directory(right, "d");
  file(d, "inside");
  ASSERT_TRUE(names().rename(left, "f", right, "d", RENAME_EXCHANGE).ok());
  EXPECT_EQ(look(left, "f")->inode, d);
  EXPECT_EQ(look(right, "d")->inode, f);
  EXPECT_EQ(parent_of(d), left);
  EXPECT_EQ(links(left), 3U);
  EXPECT_EQ(links(right), 2U);
  const InodeNumber e = directory(right, "e");
  ASSERT_TRUE(names().rename(left, "f", right, "e", RENAME_EXCHANGE).ok());
  EXPECT_EQ(parent_of(d), right);
  EXPECT_EQ(parent_of(e), left);
  EXPECT_EQ(links(left), 3U);
  EXPECT_EQ(links(right), 3U);
  ASSERT_TRUE(names().rename(right, "e", right, "d", RENAME_EXCHANGE).ok());
  EXPECT_EQ(look(right, "d")->inode, d);
  EXPECT_EQ(error_of(names().rename(right, "d", right, "nothing", RENAME_EXCHANGE)), ENOENT);
}

TEST_F(NamesTest, no_directory_moves_below_itself) {
  const InodeNumber a = directory(kRootInode, "a");
  const InodeNumber b = directory(a, "b");
  const InodeNumber c = directory(b, "c");
  file(c, "f");
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", a, "x", 0)), EINVAL);
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", c, "x", 0)), EINVAL);
  EXPECT_EQ(error_of(names().rename(kRootInode, "a", c, "f", RENAME_EXCHANGE)), EINVAL);
  EXPECT_EQ(error_of(names().rename(b, "c", kRootInode, "a", RENAME_EXCHANGE)), EINVAL);
  EXPECT_EQ(error_of(names().rename(b, "c", kRootInode, "x", 0)), 0);
}

TEST_F(NamesTest, a_failed_change_leaves_no_trace) {
  const InodeNumber d = directory(kRootInode, "d");
  // Fill the volume with directories until one cannot be made.
  int made = 0;
  for (int error = 0; error == 0; ++made) {
    error = error_of(names().create(d, "sub" + std::to_string(made), new_directory()));
    if (error != 0) {
      EXPECT_EQ(error, ENOSPC);
    }
  }
  EXPECT_GT(made, 100);
  EXPECT_EQ(listing(*volume_, d).size(), static_cast<std::size_t>(made - 1));
  EXPECT_EQ(links(d), static_cast<std::uint32_t>(made + 1));
}

TEST_F(NamesTest, reading_with_attributes_lends_what_it_shows) {
  const InodeNumber d = directory(kRootInode, "d");
  const InodeNumber f = file(d, "f");
  const InodeNumber g = directory(d, "g");
  for (const InodeNumber inode : {f, g}) (void)volume_->references().give_back(inode, 1);
  int seen = 0;
  std::uint64_t cookie = 0;
  ASSERT_TRUE(names()
                  .read_directory(d, 0, true,
                                  [&](const Names::Visited& entry) {
                                    if (entry.name == "." || entry.name == "..") {
                                      EXPECT_EQ(entry.attributes, nullptr);
                                      EXPECT_EQ(entry.type, std::uint32_t{S_IFDIR});
                                      EXPECT_EQ(seen, entry.name == "." ? 0 : 1);
                                    } else {
                                      EXPECT_TRUE(volume_->references().lent(entry.inode));
                                      EXPECT_EQ(entry.attributes->inode, entry.inode);
                                      EXPECT_EQ(entry.attributes->mode & S_IFMT, entry.type);
                                      if (seen == 3) return false;
                                    }
                                    ++seen;
                                    cookie = entry.next_cookie;
                                    return true;
                                  })
                  .ok());
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(volume_->references().lent(f) + volume_->references().lent(g), 1) << "the refused one was taken back";
  seen = 0;
  ASSERT_TRUE(names().read_directory(d, cookie, true, [&](const Names::Visited&) { return ++seen > 0; }).ok());
  EXPECT_EQ(seen, 1);
}

TEST_F(NamesTest, an_entry_that_points_nowhere_good_is_an_error_and_not_a_file) {
  const InodeNumber d = directory(kRootInode, "d");
  file(d, "good");
  const InodeNumber dead = file(kRootInode, "dead");
  ASSERT_TRUE(names().unlink(kRootInode, "dead").ok());
  forget(dead);
  const auto add = [&](const char* name, InodeNumber inode) {
    return volume_->mutate([&](Operation& operation) -> Result<void> {
      TRY(raw, volume_->inodes().read(d));
      return Directory(*volume_, raw).insert(operation, name, inode, EXT2_FT_REG_FILE);
    });
  };
  ASSERT_TRUE(add("journal", 8).ok());
  ASSERT_TRUE(add("root", kRootInode).ok());
  ASSERT_TRUE(add("dead", dead).ok());
  for (const char* name : {"journal", "root", "dead"}) {
    EXPECT_EQ(error_of(names().lookup(d, name)), EUCLEAN) << name;
    EXPECT_EQ(error_of(names().unlink(d, name)), EUCLEAN) << name;
    EXPECT_EQ(error_of(names().rename(d, name, d, "x", 0)), EUCLEAN) << name;
  }
  std::size_t without = 0;
  ASSERT_TRUE(names()
                  .read_directory(d, 0, true,
                                  [&](const auto& entry) {
                                    without += entry.attributes == nullptr;
                                    return true;
                                  })
                  .ok());
  EXPECT_EQ(without, 5U) << "with . and ..";
  for (const char* name : {"journal", "root", "dead"}) {
    ASSERT_TRUE(volume_
                    ->mutate([&](Operation& operation) -> Result<void> {
                      TRY(raw, volume_->inodes().read(d));
                      return Directory(*volume_, raw).remove(operation, name);
                    })
                    .ok());
  }
}

}  // namespace
}  // namespace worker::volume
