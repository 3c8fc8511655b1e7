#include "tests/crash/workloads.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/disk/ext2fs.h"

namespace crash {

using Kind = Operation::Kind;

const std::vector<Layout>& layouts() {
  // 1024 blocks are the smallest log that ext4 takes.
  static const std::vector<Layout> all{
      {"plain_1k", "-t ext4 -b 1024 -O ^metadata_csum,^64bit,^orphan_file -J size=1"},
      {"checksums_1k", "-t ext4 -b 1024 -O metadata_csum,^64bit,^orphan_file -J size=1"},
      {"wide_1k", "-t ext4 -b 1024 -O ^metadata_csum,64bit,^orphan_file -J size=1"},
      {"all_1k", "-t ext4 -b 1024 -O metadata_csum,64bit,^orphan_file -J size=1"},
      {"all_4k", "-t ext4 -b 4096 -O metadata_csum,64bit,^orphan_file -J size=4", "12M"},
      {"plain_4k", "-t ext4 -b 4096 -O ^metadata_csum,^64bit,^orphan_file -J size=4", "12M"},
      {"orphan_file", "-t ext4 -b 1024 -O metadata_csum,64bit,orphan_file -J size=1"},
      {"indirect", "-t ext3 -b 1024 -O ^extent,^orphan_file -J size=1"},
      {"small_inodes", "-t ext4 -b 1024 -I 128 -O ^metadata_csum,^64bit,^orphan_file -J size=1"},
  };
  return all;
}

std::vector<std::byte> make_volume(const Layout& layout) {
  // Everything that mke2fs makes up is said, so that a state can be made again.
  static const std::string kFixed =
      " -N 256 -m 0 -U 8d9f0c1e-3b7a-4f7e-9c55-1d2e3f405162 -E "
      "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed=5a0e7f3c-91d4-4c58-8b1e-6f2a3d4c5b6e ";
  ::setenv("E2FSPROGS_FAKE_TIME", "1700000000", 1);
  const tests::Image image{layout.options + kFixed, layout.size};
  return tests::FakeDevice::contents_of(image.path());
}

std::uint32_t block_size(std::span<const std::byte> volume) {
  ext2_super_block super{};
  std::memcpy(&super, volume.data() + SUPERBLOCK_OFFSET, sizeof super);
  return EXT2_MIN_BLOCK_SIZE << super.s_log_block_size;
}

namespace {

/// A directory with an index: so many long names that they need several blocks.
std::vector<Operation> large_directory() {
  std::vector<Operation> made{{Kind::make_dir, "d"}};
  for (int i = 0; i < 90; ++i) made.push_back({Kind::create, "d/" + std::string(90, 'n') + std::to_string(i)});
  return made;
}

std::vector<Operation> work_in_large_directory() {
  const auto name = [](int i) { return "d/" + std::string(90, 'n') + std::to_string(i); };
  std::vector<Operation> work;
  for (int i = 90; i < 104; ++i) work.push_back({Kind::create, name(i)});
  for (int i = 0; i < 20; i += 2) work.push_back({Kind::unlink, name(i)});
  work.push_back({Kind::rename, name(1), name(200)});
  work.push_back({Kind::rename, name(3), name(5)});
  work.push_back({Kind::rename, name(7), "out"});
  return work;
}

/// A file of many pieces: more than the inode itself can map, and far enough apart for double indirect blocks.
std::vector<Operation> fragmented_file() {
  std::vector<Operation> made{{Kind::create, "f"}};
  for (std::uint32_t i = 0; i < 14; ++i)
    made.push_back({.kind = Kind::write, .path = "f", .offset = i * 24'576, .length = 5000, .seed = i});
  return made;
}

}  // namespace

const std::vector<Case>& cases() {
  static const std::vector<Operation> kFile{{Kind::create, "f"},
                                            {.kind = Kind::write, .path = "f", .length = 9000, .seed = 1}};
  static const std::vector<Operation> kTwo{{Kind::create, "f"},
                                           {.kind = Kind::write, .path = "f", .length = 9000, .seed = 1},
                                           {Kind::create, "g"},
                                           {.kind = Kind::write, .path = "g", .length = 20000, .seed = 2}};
  static const std::vector<Operation> kDirs{{Kind::make_dir, "d"},
                                            {Kind::make_dir, "e"},
                                            {Kind::make_dir, "d/s"},
                                            {Kind::create, "d/f"},
                                            {.kind = Kind::write, .path = "d/f", .length = 3000, .seed = 3}};
  static const std::vector<Operation> kLabelled{
      {Kind::create, "f"},
      {.kind = Kind::set_xattr, .path = "f", .other = "user.small", .length = 20, .seed = 1},
      {.kind = Kind::set_xattr, .path = "f", .other = "user.large", .length = 600, .seed = 2}};
  static const std::vector<Case> all{
      {"create", {}, {{Kind::create, "f"}}},
      {"mkdir", {}, {{Kind::make_dir, "d"}}},
      {"mknod", {}, {{Kind::make_node, "p"}, {.kind = Kind::make_node, .path = "c", .length = 0x0503}}},
      {"symlink_short", {}, {{.kind = Kind::symlink, .path = "l", .length = 30, .seed = 1}}},
      {"symlink_long", {}, {{.kind = Kind::symlink, .path = "l", .length = 300, .seed = 1}}},
      {"link", kFile, {{Kind::link, "f", "second"}}},
      {"unlink", kFile, {{Kind::unlink, "f"}}},
      {"unlink_one_of_two", {{Kind::create, "f"}, {Kind::link, "f", "g"}}, {{Kind::unlink, "f"}}},
      {"unlink_symlink", {{.kind = Kind::symlink, .path = "l", .length = 300, .seed = 1}}, {{Kind::unlink, "l"}}},
      {"rmdir", kDirs, {{Kind::remove_dir, "e"}}},
      {"rename", kTwo, {{Kind::rename, "f", "h"}}},
      {"rename_over_file", kTwo, {{Kind::rename, "f", "g"}}},
      {"rename_over_dir", kDirs, {{Kind::rename, "d", "e"}}},
      {"rename_across", kDirs, {{Kind::rename, "d/f", "e/f"}}},
      {"rename_dir_across", kDirs, {{Kind::rename, "d/s", "e/s"}}},
      {"exchange", kTwo, {{Kind::exchange, "f", "g"}}},
      {"exchange_across", kDirs, {{Kind::exchange, "d/f", "e"}}},
      {"write", {{Kind::create, "f"}}, {{.kind = Kind::write, .path = "f", .length = 20000, .seed = 5}}},
      {"append", kFile, {{.kind = Kind::write, .path = "f", .offset = 9000, .length = 5000, .seed = 5}}},
      {"overwrite", kFile, {{.kind = Kind::write, .path = "f", .offset = 500, .length = 6000, .seed = 5}}},
      {"write_behind_a_hole", kFile, {{.kind = Kind::write, .path = "f", .offset = 90000, .length = 100, .seed = 5}}},
      {"truncate_down", kFile, {{.kind = Kind::truncate, .path = "f", .offset = 1500}}},
      {"truncate_up", kFile, {{.kind = Kind::truncate, .path = "f", .offset = 50000}}},
      {"truncate_to_nothing", kFile, {{.kind = Kind::truncate, .path = "f"}}},
      {"truncate_down_and_up",
       kFile,
       {{.kind = Kind::truncate, .path = "f", .offset = 1500}, {.kind = Kind::truncate, .path = "f", .offset = 8000}}},
      {"punch", kFile, {{.kind = Kind::punch, .path = "f", .offset = 1000, .length = 6000}}},
      {"zero_range", kFile, {{.kind = Kind::zero_range, .path = "f", .offset = 1000, .length = 6000}}},
      {"allocate", kFile, {{.kind = Kind::allocate, .path = "f", .offset = 5000, .length = 30000}}},
      {"allocate_keeping_size", kFile, {{.kind = Kind::allocate_keep, .path = "f", .offset = 5000, .length = 30000}}},
      {"write_into_allocated",
       {{Kind::create, "f"}, {.kind = Kind::allocate, .path = "f", .length = 30000}},
       {{.kind = Kind::write, .path = "f", .offset = 4000, .length = 9000, .seed = 5}}},
      {"chmod", kFile, {{.kind = Kind::change_mode, .path = "f", .length = 0600}}},
      {"chown", kFile, {{.kind = Kind::change_owner, .path = "f", .length = 70000}}},
      {"setxattr_small", kFile, {{.kind = Kind::set_xattr, .path = "f", .other = "user.a", .length = 20, .seed = 5}}},
      {"setxattr_large", kFile, {{.kind = Kind::set_xattr, .path = "f", .other = "user.a", .length = 600, .seed = 5}}},
      {"setxattr_again",
       kLabelled,
       {{.kind = Kind::set_xattr, .path = "f", .other = "user.large", .length = 500, .seed = 5}}},
      {"removexattr_small", kLabelled, {{.kind = Kind::remove_xattr, .path = "f", .other = "user.small"}}},
      {"removexattr_large", kLabelled, {{.kind = Kind::remove_xattr, .path = "f", .other = "user.large"}}},
      {"set_acl", kFile, {{Kind::set_acl, "f"}}},
      {"unlink_with_xattr_block", kLabelled, {{Kind::unlink, "f"}}},
      {"unlink_while_open", kFile, {{Kind::open, "f"}, {Kind::unlink, "f"}, {Kind::sync}, {Kind::close, "f"}}},
      {"replace_by_rename",
       kFile,
       {{Kind::create, "t"},
        {.kind = Kind::write, .path = "t", .length = 7000, .seed = 6},
        {Kind::fsync, "t"},
        {Kind::rename, "t", "f"}}},
      {"reuse_of_freed_blocks",
       kTwo,
       {{Kind::unlink, "g"}, {Kind::create, "h"}, {.kind = Kind::write, .path = "h", .length = 30000, .seed = 7}}},
      {"directory_becomes_file",
       {{Kind::make_dir, "d"}, {Kind::create, "d/x"}},
       {{Kind::unlink, "d/x"},
        {Kind::remove_dir, "d"},
        {Kind::sync},
        {Kind::create, "f"},
        {.kind = Kind::write, .path = "f", .length = 9000, .seed = 8}}},
      {"large_directory", large_directory(), work_in_large_directory()},
      {"directory_gets_an_index", {}, large_directory()},
      {"fragmented_truncate", fragmented_file(), {{.kind = Kind::truncate, .path = "f", .offset = 30'000}}},
      {"fragmented_punch",
       fragmented_file(),
       {{.kind = Kind::punch, .path = "f", .offset = 20'000, .length = 250'000}}},
      {"fragmented_write",
       fragmented_file(),
       {{.kind = Kind::write, .path = "f", .offset = 10'000, .length = 120'000, .seed = 50}}},
      {"fragmented_unlink", fragmented_file(), {{Kind::unlink, "f"}}},
  };
  return all;
}

std::string Mix::fresh(const Model& model) {
  std::vector<std::string> directories = model.paths(S_IFDIR);
  directories.push_back("");
  const std::string directory = any_of(directories);
  // Long names fill directories sooner, so that they get more blocks and an index.
  std::string name = 'n' + std::to_string(++serial_) + std::string(below(4) == 0 ? below(200) : 0, 'x');
  return directory.empty() ? name : directory + '/' + name;
}

Operation Mix::next(const Session& session) {
  const Model& model = session.model();
  std::vector<std::string> files = model.paths(S_IFREG);
  std::erase(files, kBallast);
  const std::uint32_t choice = below(100);
  if (choice < 12) return {Kind::sync};
  if (files.size() < 4 || choice < 26)
    return files.size() < 24 ? Operation{Kind::create, fresh(model)} : Operation{Kind::unlink, any_of(files)};
  if (choice < 50) return on_names(model, files);
  if (choice < 60) return on_directories(model);
  return on_file(session, any_of(files));
}

Operation Mix::on_names(const Model& model, const std::vector<std::string>& files) {
  const std::string path = any_of(files);
  switch (below(8)) {
    case 0:
      return {.kind = Kind::symlink, .path = fresh(model), .length = 1 + below(400), .seed = serial_};
    case 1:
      return {Kind::link, path, fresh(model)};
    case 2:
      return {Kind::rename, path, fresh(model)};
    case 3:
      return {Kind::rename, path, any_of(files)};
    case 4:
      return {Kind::exchange, path, any_of(files)};
    case 5: {
      const std::vector<std::string> links = model.paths(S_IFLNK);
      return {Kind::unlink, links.empty() ? path : any_of(links)};
    }
    case 6:
      return {.kind = Kind::make_node, .path = fresh(model), .length = below(2) == 0 ? 0u : 0x0103u};
    default:
      return {Kind::unlink, path};
  }
}

Operation Mix::on_directories(const Model& model) {
  const std::vector<std::string> directories = model.paths(S_IFDIR);
  if (directories.size() < 3) return {Kind::make_dir, fresh(model)};
  const std::string path = any_of(directories);
  if (below(3) == 0) return {Kind::make_dir, fresh(model)};
  // One that has names in it is refused, which is as good.
  if (below(2) == 0) return {Kind::remove_dir, path};
  const std::string target = fresh(model);
  return target.starts_with(path + '/') ? Operation{Kind::sync} : Operation{Kind::rename, path, target};
}

Operation Mix::on_file(const Session& session, const std::string& path) {
  const std::uint64_t size = session.model().node(session.model().find(path))->size;
  const std::uint64_t place = below(60'000), length = 1 + below(below(4) == 0 ? 40'000 : 6'000);
  const std::string name = "user.k" + std::to_string(below(3));
  switch (below(18)) {
    case 0:
    case 1:
    case 2:
      return {.kind = Kind::write, .path = path, .offset = place, .length = length, .seed = ++serial_ + seed_ * 1000};
    case 3:
    case 4:
      return {.kind = Kind::write, .path = path, .offset = size, .length = length, .seed = ++serial_ + seed_ * 1000};
    case 5:
      return {.kind = Kind::write,
              .path = path,
              .offset = size / 2,
              .length = std::max<std::uint64_t>(1, size / 3),
              .seed = ++serial_ + seed_ * 1000};
    case 6:
      return {.kind = Kind::truncate, .path = path, .offset = below(2) == 0 ? 0 : place};
    case 7:
      return {.kind = Kind::truncate, .path = path, .offset = size / 2};
    case 8:
      return {.kind = Kind::punch, .path = path, .offset = place / 2, .length = length};
    case 9:
      return {.kind = Kind::allocate, .path = path, .offset = place, .length = length};
    case 10:
      return {.kind = Kind::zero_range, .path = path, .offset = place / 2, .length = length};
    case 11:
      return {.kind = Kind::set_xattr,
              .path = path,
              .other = name,
              .length = below(2) == 0 ? below(40) : below(500),
              .seed = ++serial_};
    case 12:
      return {.kind = Kind::remove_xattr, .path = path, .other = name};
    case 13:
      return {.kind = Kind::change_mode, .path = path, .length = below(01000)};
    case 14:
      return {Kind::fsync, path};
    case 15:
      return {Kind::fdatasync, path};
    case 16:
      return below(2) == 0 ? Operation{Kind::set_acl, path}
                           : Operation{.kind = Kind::change_owner, .path = path, .length = below(100'000)};
    default:
      if (const auto& open = session.open_files(); open.size() > below(4))
        return {Kind::close, std::next(open.begin(), below(static_cast<std::uint32_t>(open.size())))->first};
      return {Kind::open, path};
  }
}

}  // namespace crash
