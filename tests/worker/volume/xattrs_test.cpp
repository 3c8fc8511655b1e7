#include "worker/volume/xattrs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/disk/ext2_errors.h"
#include "worker/volume/acl.h"

namespace worker::volume {
namespace {

using namespace testing;

Bytes text(const std::string& words) {
  const auto* first = reinterpret_cast<const std::byte*>(words.data());
  return {first, first + words.size()};
}

std::string text(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Bytes acl_value(std::initializer_list<std::array<std::uint32_t, 3>> entries) {
  Bytes bytes{std::byte{2}, {}, {}, {}};
  for (const auto& [tag, permissions, id] : entries) {
    for (const auto& [value, size] : {std::pair{tag, 2}, {permissions, 2}, {id, 4}})
      for (int i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  return bytes;
}

/// Runs a command in the image's root, mounted by the kernel's ext4.
tests::Outcome in_kernel(const tests::Image& image, const std::string& command, const std::string& options = "loop") {
  const std::string mount = (image.directory() / "mnt").string();
  return tests::run("unshare -m --propagation private sh -c 'mkdir -p " + mount + " && mount -o " + options + " " +
                    image.path() + " " + mount + " && cd " + mount + " && { " + command +
                    "; }; status=$?; cd / && umount " + mount + "; exit $status' 2>&1");
}

const char* const kVariants[] = {"-t ext4 -b 4096", "-t ext4 -b 1024",
                                 "-t ext4 -b 1024 -I 128 -O ^metadata_csum,^64bit", "-t ext2 -b 1024 -I 512",
                                 "-t ext4 -b 4096 -O ^ext_attr"};

TEST(Xattrs, random_sets_and_removals_agree_with_a_model_e2fsck_and_the_kernel) {
  for (const char* options : kVariants) {
    const FileImage image{options, "16M", 3};
    std::map<std::string, Bytes> model[3];
    {
      Mounted mounted{image};
      Xattrs& xattrs = mounted->xattrs();
      std::mt19937 random{7};
      for (unsigned step = 0; step < 600; ++step) {
        const auto file = static_cast<unsigned>(random() % 3);
        const InodeNumber inode = mounted.inode("f" + std::to_string(file));
        const char* const spaces[] = {"user.", "trusted.", "security."};
        const std::string name =
            spaces[random() % 3] + std::string(1 + random() % 20, static_cast<char>('a' + random() % 3));
        auto& expected = model[file];
        const auto known = expected.find(name);
        if (random() % 4) {
          const Bytes value = pattern(random() % 3 ? random() % 40 : random() % 500, step);
          const auto mode = static_cast<SetMode>(random() % 3);
          const auto set = xattrs.set(inode, name, value, mode, false);
          if (mode == SetMode::create_only && known != expected.end()) {
            EXPECT_EQ(failure(set), EEXIST);
          } else if (mode == SetMode::replace_only && known == expected.end()) {
            EXPECT_EQ(failure(set), ENODATA);
          } else if (set.ok()) {
            expected[name] = value;
          } else {
            ASSERT_EQ(failure(set), ENOSPC) << set.error().message();
          }
        } else {
          EXPECT_EQ(failure(xattrs.remove(inode, name)), known == expected.end() ? ENODATA : 0);
          expected.erase(name);
        }
        for (const auto& [key, value] : expected) {
          const auto got = xattrs.get(inode, key);
          ASSERT_TRUE(got.ok()) << key;
          ASSERT_EQ(*got, value);
        }
        const auto listed = xattrs.list(inode);
        ASSERT_TRUE(listed.ok());
        std::size_t size = 0;
        for (const auto& [key, value] : expected) size += key.size() + 1;
        ASSERT_EQ(listed->size(), size);
      }
    }
    ASSERT_EQ(image.complaints(), "") << options;
    for (unsigned file = 0; file < 3; ++file) {
      for (const auto& [name, value] : model[file]) {
        std::ofstream{image.directory() / "value", std::ios::binary} << text(value);
        const auto outcome = in_kernel(image,
                                       "getfattr --only-values -n " + name + " f" + std::to_string(file) + " | cmp - " +
                                           (image.directory() / "value").string(),
                                       "loop,ro");
        ASSERT_EQ(outcome.status, 0) << options << " " << name << ": " << outcome.output;
        if (name.size() % 4) break;
      }
    }
    // The last one out gives the block back.
    {
      Mounted mounted{image};
      for (unsigned file = 0; file < 3; ++file) {
        const InodeNumber inode = mounted.inode("f" + std::to_string(file));
        for (const auto& [name, value] : model[file]) EXPECT_TRUE(mounted->xattrs().remove(inode, name).ok());
        EXPECT_EQ(mounted.read_inode(inode).raw.i_file_acl, 0u);
        EXPECT_EQ(mounted.read_inode(inode).raw.i_blocks, 0u);
      }
    }
    ASSERT_EQ(image.complaints(), "") << options;
  }
}

TEST(Xattrs, keep_to_the_limits_of_names_and_sizes) {
  const FileImage image{"-t ext4 -b 1024", "16M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  Xattrs& xattrs = mounted->xattrs();
  const auto set = [&](const std::string& name, std::size_t size) {
    return failure(xattrs.set(file, name, pattern(size, 1), SetMode::any, false));
  };
  EXPECT_EQ(set("user." + std::string(255, 'n'), 10), 0);
  EXPECT_EQ(set("user." + std::string(256, 'n'), 10), ERANGE);
  EXPECT_EQ(set("user.", 10), EINVAL);
  EXPECT_EQ(set("system.data", 10), EOPNOTSUPP);
  EXPECT_EQ(set("gnu.author", 10), EOPNOTSUPP);
  EXPECT_EQ(set("nonsense", 10), EOPNOTSUPP);
  EXPECT_EQ(set("user.big", 2000), ENOSPC);
  EXPECT_EQ(set("user.huge", 70000), E2BIG);
  EXPECT_EQ(set("user.empty", 0), 0);
  EXPECT_EQ(xattrs.get(file, "user.empty").value(), Bytes{});
  EXPECT_EQ(failure(xattrs.get(file, "user.other")), ENODATA);
  mounted.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Xattrs, change_ctime_only) {
  const FileImage image{"-t ext4", "16M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  const Inode before = mounted.read_inode(file);
  ASSERT_TRUE(mounted->xattrs().set(file, "user.a", text("b"), SetMode::any, false).ok());
  EXPECT_GT(mounted.read_inode(file).changed(), before.changed());
  EXPECT_EQ(mounted.read_inode(file).modified(), before.modified());
}

TEST(Xattrs, options_hide_name_spaces) {
  const FileImage image{"-t ext4", "16M", 1};
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    ASSERT_TRUE(mounted->xattrs().set(file, "user.a", text("b"), SetMode::any, false).ok());
    ASSERT_TRUE(mounted->xattrs().set(file, "trusted.a", text("b"), SetMode::any, false).ok());
  }
  MountOptions options;
  options.acl = options.user_xattr = false;
  Mounted mounted{image, options};
  const InodeNumber file = mounted.inode("f0");
  EXPECT_EQ(failure(mounted->xattrs().get(file, "user.a")), EOPNOTSUPP);
  EXPECT_EQ(failure(mounted->xattrs().get(file, "system.posix_acl_access")), EOPNOTSUPP);
  EXPECT_EQ(mounted->xattrs().list(file).value(), std::string("trusted.a\0", 10));
}

TEST(Xattrs, a_block_shared_by_two_inodes_is_copied_before_it_changes) {
  // Kernel ext4 shares equal attribute blocks; 128-byte inodes leave it no other place.
  const FileImage image{"-t ext4 -b 1024 -I 128", "16M", 2};
  ASSERT_EQ(in_kernel(image, "setfattr -n user.same -v value f0 && setfattr -n user.same -v value f1").status, 0);
  Mounted mounted{image};
  const InodeNumber f0 = mounted.inode("f0"), f1 = mounted.inode("f1");
  ASSERT_EQ(mounted.read_inode(f0).raw.i_file_acl, mounted.read_inode(f1).raw.i_file_acl);
  ASSERT_TRUE(mounted->xattrs().set(f0, "user.same", text("other"), SetMode::any, false).ok());
  EXPECT_NE(mounted.read_inode(f0).raw.i_file_acl, mounted.read_inode(f1).raw.i_file_acl);
  EXPECT_EQ(text(mounted->xattrs().get(f0, "user.same").value()), "other");
  EXPECT_EQ(text(mounted->xattrs().get(f1, "user.same").value()), "value");
  mounted.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Xattrs, access_lists_pass_between_us_and_the_kernel) {
  const FileImage image{"-t ext4", "16M", 2};
  ASSERT_EQ(in_kernel(image, "chmod 640 f0 && setfacl -m u:1000:rw,g:50:r f0 && chmod 600 f1").status, 0);
  {
    Mounted mounted{image};
    const InodeNumber f0 = mounted.inode("f0"), f1 = mounted.inode("f1");
    const auto acl = Acl::from_request(mounted->xattrs().get(f0, "system.posix_acl_access").value());
    ASSERT_TRUE(acl.ok());
    EXPECT_EQ(acl->entries().size(), 6u);
    EXPECT_EQ(mounted->xattrs().list(f0).value(), std::string("system.posix_acl_access\0", 24));
    const Bytes value = acl_value({{1, 7, 0}, {2, 5, 4711}, {4, 4, 0}, {0x10, 5, 0}, {0x20, 0, 0}});
    ASSERT_TRUE(mounted->xattrs().set(f1, "system.posix_acl_access", value, SetMode::any, true).ok());
    EXPECT_EQ(mounted.read_inode(f1).mode() & 07777, 0750u);
    // What mode bits can say is said by them alone.
    ASSERT_TRUE(
        mounted->xattrs()
            .set(f0, "system.posix_acl_access", acl_value({{1, 6, 0}, {4, 4, 0}, {0x20, 4, 0}}), SetMode::any, false)
            .ok());
    EXPECT_EQ(mounted.read_inode(f0).mode() & 07777, 0644u);
    EXPECT_EQ(mounted->xattrs().list(f0).value(), "");
    EXPECT_EQ(failure(mounted->xattrs().set(f1, "system.posix_acl_default", value, SetMode::any, false)), EACCES);
    EXPECT_EQ(failure(mounted->xattrs().set(f1, "system.posix_acl_access", text("junk"), SetMode::any, false)), EINVAL);
  }
  EXPECT_EQ(image.complaints(), "");
  const auto seen = in_kernel(image, "getfacl -nc f1", "loop,ro");
  EXPECT_EQ(seen.output, "user::rwx\nuser:4711:r-x\ngroup::r--\nmask::r-x\nother::---\n\n");
}

TEST(Xattrs, new_inodes_inherit_as_the_kernel_lets_them) {
  const FileImage image{"-t ext4", "16M", 0};
  ASSERT_EQ(in_kernel(image,
                      "mkdir d plain && setfacl -m d:u:1000:rwx,d:g::rx,d:o::- d && umask 022 && mkdir d/sub plain/sub "
                      "&& : > d/file && : > plain/file")
                .status,
            0);
  Mounted mounted{image};
  for (const std::string parent : {"d", "plain"}) {
    for (const auto& [name, mode] : {std::pair{"/sub", S_IFDIR | 0777}, {"/file", S_IFREG | 0666}}) {
      const InodeNumber model = mounted.inode(parent + name);
      const InodeNumber directory_number = mounted.inode(parent);
      const auto done = mounted->mutate([&](Operation& operation) -> Result<void> {
        TRY(directory, mounted->inodes().read(directory_number));
        TRY(node,
            mounted->inodes().create(operation, directory, {.mode = static_cast<std::uint32_t>(mode), .umask = 022}));
        TRY(mounted->xattrs().inherit(operation, directory, node, 022));
        TRY(mounted->inodes().write(operation, node));
        TRY(expected, mounted->inodes().read(model));
        EXPECT_EQ(node.mode(), expected.mode()) << parent << name;
        EXPECT_EQ(node.raw.i_file_acl != 0, expected.raw.i_file_acl != 0);
        return errno_error(ECANCELED);  // it has no name: nothing of it may stay
      });
      EXPECT_EQ(failure(done), ECANCELED) << done.error().message();
    }
  }
  mounted.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Xattrs, chmod_keeps_the_access_list_in_step) {
  const FileImage image{"-t ext4", "16M", 1};
  ASSERT_EQ(in_kernel(image, "chmod 640 f0 && setfacl -m u:1000:rwx f0").status, 0);
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    ASSERT_TRUE(mounted
                    ->mutate([&](Operation& operation) -> Result<void> {
                      TRY(node, mounted->inodes().read(file));
                      node.raw.i_mode = S_IFREG | 0604;
                      TRY(mounted->xattrs().follow_mode(operation, node));
                      return mounted->inodes().write(operation, node);
                    })
                    .ok());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(in_kernel(image, "getfacl -nc f0", "loop,ro").output,
            "user::rw-\nuser:1000:rwx\t#effective:---\ngroup::r--\t#effective:---\nmask::---\nother::r--\n\n");
}

TEST(Xattrs, writes_that_clear_privileges_drop_capabilities) {
  const FileImage image{"-t ext4", "16M", 1};
  Mounted mounted{image};
  const InodeNumber file = mounted.inode("f0");
  ASSERT_TRUE(mounted->xattrs().set(file, "security.capability", pattern(20, 1), SetMode::any, false).ok());
  ASSERT_TRUE(mounted
                  ->mutate([&](Operation& operation) -> Result<void> {
                    TRY(node, mounted->inodes().read(file));
                    node.raw.i_mode = S_IFREG | 06755;
                    return mounted->inodes().write(operation, node);
                  })
                  .ok());
  ASSERT_TRUE(mounted.files().write(file, 0, pattern(10, 1), {.from_page_cache = false, .kill_privileges = true}).ok());
  EXPECT_EQ(failure(mounted->xattrs().get(file, "security.capability")), ENODATA);
  EXPECT_EQ(mounted.read_inode(file).mode() & 07777, 0755u);
}

TEST(Xattrs, corrupt_blocks_are_errors) {
  const FileImage image{"-t ext4 -b 1024 -I 128 -O ^metadata_csum,^has_journal", "4M", 1};
  BlockNumber block = 0;
  {
    Mounted mounted{image};
    const InodeNumber file = mounted.inode("f0");
    ASSERT_TRUE(mounted->xattrs().set(file, "user.one", pattern(50, 1), SetMode::any, false).ok());
    ASSERT_TRUE(mounted->xattrs().set(file, "user.two", pattern(60, 1), SetMode::any, false).ok());
    ASSERT_TRUE(mounted->xattrs()
                    .set(file, "system.posix_acl_access",
                         acl_value({{1, 7, 0}, {2, 5, 4711}, {4, 4, 0}, {0x10, 5, 0}, {0x20, 0, 0}}), SetMode::any,
                         false)
                    .ok());
    block = mounted.read_inode(file).raw.i_file_acl;
  }
  const auto sound = contents(image);
  std::minstd_rand random{3};
  for (unsigned round = 0; round < 300; ++round) {
    auto bytes = sound;
    for (unsigned i = 0; i <= round % 3; ++i)
      bytes[block * 1024 + (random() % 4 ? random() % 120 : 800 + random() % 224)] =
          static_cast<std::byte>(random() % 2 ? 0xFF : random());
    tests::FakeDevice device{std::move(bytes)};
    MountOptions options;
    options.errors = ErrorPolicy::go_on;
    auto volume = Volume::open(device, options);
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    Xattrs& xattrs = (*volume)->xattrs();
    const InodeNumber file = 12;
    const auto check = [](int error) {
      return error == 0 || error == EUCLEAN || error == EIO || error == ENODATA || error == ENOSPC;
    };
    EXPECT_TRUE(check(failure(xattrs.list(file))));
    for (const char* name : {"user.one", "user.two", "system.posix_acl_access"})
      EXPECT_TRUE(check(failure(xattrs.get(file, name)))) << name;
    EXPECT_TRUE(check(failure(xattrs.set(file, "user.three", pattern(10, 1), SetMode::any, false))));
    EXPECT_TRUE(check(failure(xattrs.remove(file, "user.one"))));
    (void)(*volume)->close();
  }
}

}  // namespace
}  // namespace worker::volume
