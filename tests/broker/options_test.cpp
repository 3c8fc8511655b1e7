#include "broker/options.h"

#include <gtest/gtest.h>
#include <linux/mount.h>

#include <algorithm>

#include "broker/mount_words.h"

namespace broker {
namespace {

using Arguments = std::vector<const char*>;

constexpr std::uint64_t kSafe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

MountPlan parsed(Arguments arguments, bool root = true) {
  auto plan = parse_command_line(arguments, root);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().detail);
  return plan.ok() ? *plan : MountPlan{};
}

std::string refused(Arguments arguments) {
  auto plan = parse_command_line(arguments, true);
  EXPECT_FALSE(plan.ok());
  const std::string line = plan.ok() ? "" : plan.error().detail;
  EXPECT_EQ(line.find('\n'), line.npos);
  return line;
}

MountPlan with_options(const char* options) { return parsed({"fuservicemount", "disk.img", "/mnt", "-o", options}); }

TEST(Options, a_plain_mount_has_the_safe_defaults) {
  const MountPlan plan = parsed({"/usr/sbin/fuservicemount", "disk.img", "/mnt"});

  EXPECT_EQ(plan.action, Action::mount);
  EXPECT_EQ(plan.program, "fuservicemount");
  EXPECT_EQ(plan.source, "disk.img");
  EXPECT_EQ(plan.mount_point, "/mnt");
  EXPECT_EQ(plan.type, "ext4");
  EXPECT_EQ(plan.way, Way::automatic);
  EXPECT_EQ(plan.writing, Writing::unsaid);
  EXPECT_EQ(plan.mount_attributes, kSafe);
  EXPECT_TRUE(plan.allow_other);
  EXPECT_EQ(plan.timeout, std::chrono::seconds{30});
  EXPECT_EQ(worker_option_list(plan, false, nullptr), "");
}

// The lines people have in scripts today; what is not ours goes to the worker as it is.
TEST(Options, real_command_lines_are_understood) {
  struct Case {
    Arguments line;
    Writing writing;
    std::uint64_t offset;
    std::string worker;
  };
  const Case cases[] = {
      {{"fuservicemount", "-o", "rw,fakeroot", "IMG", "MNT"}, Writing::read_write, 0, "fakeroot"},
      {{"fuservicemount", "IMG", "MNT", "-o", "fakeroot"}, Writing::unsaid, 0, "fakeroot"},
      {{"fuservicemount", "-o", "uid=1", "-o", "gid=2", "-o", "fakeroot", "IMG", "MNT"},
       Writing::unsaid,
       0,
       "uid=1,gid=2,fakeroot"},
      {{"fuservicemount", "-o", "auto_unmount", "IMG", "MNT"}, Writing::unsaid, 0, ""},
      {{"fuservicemount", "-o", "rw,offset=16777216", "IMG", "MNT"}, Writing::read_write, 16777216, ""},
      {{"fuservicemount", "-o", "ro,fakeroot,offset=1048576", "FILE", "MNT"}, Writing::read_only, 1048576, "fakeroot"},
      {{"fuservicemount", "-o", "ro,allow_other,fakeroot", "EVIDENCE", "MNT"}, Writing::read_only, 0, "fakeroot"},
      {{"fuservicemount", "-f", "-o", "allow_other,ro,fakeroot", "/proc/self/fd/3", "MNT"},
       Writing::read_only,
       0,
       "fakeroot"},
      {{"fuservicemount", "-r", "IMG", "MNT"}, Writing::read_only, 0, ""},
      {{"fuservicemount", "-o", "norecovery", "IMG", "MNT"}, Writing::read_only, 0, "norecovery"},
      {{"fuservicemount", "IMG", "MNT", "-o", "errors=remount-ro,commit=30,data=ordered"},
       Writing::unsaid,
       0,
       "errors=remount-ro,commit=30,data=ordered"},
      {{"mount.fuse.ext4", "IMG", "MNT", "-o", "rw"}, Writing::unsaid, 0, ""},
      {{"mount.fuse.ext4", "IMG", "MNT", "-s", "-v", "-o", "ro,noatime"}, Writing::read_only, 0, ""},
  };
  for (const Case& one : cases) {
    const MountPlan plan = parsed(one.line);
    EXPECT_EQ(plan.writing, one.writing);
    EXPECT_EQ(plan.window.offset, one.offset);
    MountPlan quiet = plan;
    quiet.sloppy = false;
    EXPECT_EQ(worker_option_list(quiet, false, nullptr), one.worker);
    EXPECT_EQ(plan.action, Action::mount);
  }
}

TEST(Options, types_lose_one_prefix) {
  EXPECT_EQ(parsed({"fuservicemount", "-t", "fuse.ext3", "a", "b"}).type, "ext3");
  EXPECT_EQ(parsed({"fuservicemount", "-tfuseblk.ext2", "a", "b"}).type, "ext2");
  EXPECT_EQ(parsed({"fuservicemount", "-t", "fuse.fuseblk.x", "a", "b"}).type, "fuseblk.x");
  EXPECT_EQ(parsed({"/sbin/mount.fuseblk.ext3", "a", "b"}).type, "ext3");
  EXPECT_EQ(parsed({"/sbin/mount.fuseblk.ext3", "a", "b", "-t", "fuse.ext2"}).type, "ext2");
  EXPECT_EQ(refused({"fuservicemount", "-t", "fuse.../../x", "a", "b"}), "-t: 'fuse.../../x' is no file system type");
  EXPECT_EQ(refused({"fuservicemount", "-t", "", "a", "b"}), "-t: '' is no file system type");
}

TEST(Options, sizes_take_suffixes_and_hexadecimal) {
  const std::pair<const char*, std::uint64_t> good[] = {
      {"offset=0", 0},           {"offset=4096", 4096},   {"offset=4K", 4096},
      {"offset=4k", 4096},       {"offset=3M", 3 << 20},  {"offset=2G", 2ULL << 30},
      {"offset=0x1000", 0x1000}, {"offset=\"512\"", 512}, {"offset=9223372036854775807", INT64_MAX},
  };
  for (const auto& [word, value] : good) EXPECT_EQ(with_options(word).window.offset, value) << word;
  EXPECT_EQ(with_options("sizelimit=1M").window.length, 1 << 20);
  for (const char* word :
       {"offset=", "offset=x", "offset=-1", "offset=+1", "offset= 1", "offset=1Q", "offset=0x", "offset=0x1K",
        "offset=9223372036854775808", "offset=8589934592G", "sizelimit=18446744073709551616"}) {
    const std::string line = refused({"fuservicemount", "disk.img", "/mnt", "-o", word});
    EXPECT_EQ(line, "disk.img: '" + std::string{word} + "': not a number of bytes");
  }
  EXPECT_EQ(refused({"fuservicemount", "disk.img", "/mnt", "-o", "offset"}), "disk.img: 'offset' needs a value");
  EXPECT_EQ(refused({"fuservicemount", "disk.img", "/mnt", "-o", "ro=1"}), "disk.img: 'ro=1' takes no value");
}

TEST(Options, the_window_reaches_the_worker_only_when_no_loop_device_carries_it) {
  const MountPlan plan = with_options("acl,offset=4096,sizelimit=8192");

  EXPECT_EQ(worker_option_list(plan, false, nullptr), "acl");
  EXPECT_EQ(worker_option_list(plan, true, &plan.window), "ro,acl,offset=4096,sizelimit=8192");
}

TEST(Options, commas_inside_double_quotes_do_not_separate) {
  const MountPlan plan = with_options("fsname=\"a,b\",one=\"x,y\",,two");

  EXPECT_EQ(plan.fsname, "a,b");
  EXPECT_EQ(plan.worker_options, (std::vector<std::string>{"one=\"x,y\"", "two"}));
  EXPECT_EQ(refused({"fuservicemount", "a", "b", "-o", "x=\"y,z"}), "a: a double quote is not closed");
}

TEST(Options, only_real_root_may_ask_for_suid_and_dev) {
  const Arguments line{"fuservicemount", "a", "b", "-o", "suid,dev,noexec"};

  EXPECT_EQ(parsed(line, true).mount_attributes, MOUNT_ATTR_NOEXEC);
  EXPECT_EQ(parsed(line, false).mount_attributes, kSafe | MOUNT_ATTR_NOEXEC);
  EXPECT_FALSE(parsed({"fuservicemount", "a", "b"}, false).allow_other);
}

TEST(Options, access_time_words_take_each_other_back) {
  EXPECT_EQ(with_options("noatime").mount_attributes, kSafe | MOUNT_ATTR_NOATIME);
  EXPECT_EQ(with_options("noatime,strictatime").mount_attributes, kSafe | MOUNT_ATTR_STRICTATIME);
  EXPECT_EQ(with_options("noatime,relatime").mount_attributes, kSafe);
  EXPECT_EQ(with_options("noatime,nodiratime").mount_attributes, kSafe | MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME);
  EXPECT_EQ(with_options("relatime").attributes_said, static_cast<std::uint64_t>(MOUNT_ATTR__ATIME));
}

TEST(Options, words_of_fstab_mean_nothing_to_a_mount) {
  const MountPlan plan = with_options("defaults,noauto,nofail,_netdev,x-systemd.automount,X-mount.mkdir=755,comment=x");

  EXPECT_TRUE(plan.worker_options.empty());
  EXPECT_TRUE(plan.notes.empty());
  EXPECT_EQ(plan.mount_attributes, kSafe);
}

TEST(Options, user_implies_noexec_only_when_said_to_us) {
  EXPECT_EQ(with_options("user,suid").mount_attributes, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  EXPECT_EQ(parsed({"mount.fuse.ext4", "a", "b", "-o", "rw,user"}).mount_attributes, kSafe);
  EXPECT_EQ(with_options("user=alice").mount_attributes, kSafe);
}

TEST(Options, words_without_effect_are_noted) {
  const MountPlan plan = with_options("kernel_cache,max_read=4096,lazytime");

  EXPECT_EQ(plan.notes.size(), 3U);
  EXPECT_EQ(plan.notes[0].substr(0, 13), "kernel_cache:");
  EXPECT_TRUE(plan.worker_options.empty());
}

TEST(Options, dangerous_words_are_refused_by_name) {
  for (const char* word : {"fd=3", "rootmode=40000", "allow_root", "setuid=me", "drop_privileges", "lockfile=/x"}) {
    const std::string line = refused({"fuservicemount", "a", "b", "-o", word});
    EXPECT_EQ(line.find("a: '" + std::string{word} + "' is refused: "), 0U) << line;
  }
}

TEST(Options, remount_comes_with_the_words_of_mount) {
  const MountPlan plan =
      parsed({"mount.fuseblk.ext4", "/dev/loop0", "/mnt", "-o",
              "ro,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,user=me,nofail,remount"});

  EXPECT_EQ(plan.action, Action::remount);
  EXPECT_EQ(plan.writing, Writing::read_only);
  EXPECT_EQ(plan.mount_point, "/mnt");
  EXPECT_EQ(plan.attributes_said, kSafe | MOUNT_ATTR__ATIME);
  EXPECT_TRUE(plan.worker_options.empty());
  EXPECT_EQ(parsed({"mount.fuse.ext4", "a", "/mnt", "-o", "rw,remount"}).writing, Writing::read_write);
  EXPECT_EQ(parsed({"fuservicemount", "/mnt", "-o", "remount,rw"}).mount_point, "/mnt");
}

TEST(Options, letters_mean_what_the_link_says) {
  EXPECT_TRUE(parsed({"fuservicemount", "-f", "a", "b"}).foreground);
  EXPECT_TRUE(parsed({"mount.fuse.ext4", "a", "b", "-f"}).fake);
  const MountPlan plan = parsed({"umount.fuse.ext4", "/mnt", "-flnrv"});
  EXPECT_EQ(plan.action, Action::unmount);
  EXPECT_EQ(plan.program, "umount.fuse.ext4");
  EXPECT_TRUE(plan.force && plan.lazy && plan.read_only_if_busy && plan.verbose);
  EXPECT_EQ(refused({"mount.fuse.ext4", "a", "b", "-N", "7"}).substr(0, 4), "-N: ");
  EXPECT_EQ(refused({"umount.fuseblk.ext4", "b", "-N7"}).substr(0, 4), "-N: ");
}

TEST(Options, every_action_has_its_switches) {
  EXPECT_EQ(parsed({"fuservicemount", "-t", "ext4", "--check"}).action, Action::check);
  EXPECT_EQ(parsed({"fuservicemount", "--unmount", "/mnt"}).action, Action::unmount);
  EXPECT_EQ(parsed({"fuservicemount", "--status"}).action, Action::status);
  EXPECT_TRUE(parsed({"fuservicemount", "--status", "/mnt", "--json"}).json);
  EXPECT_EQ(parsed({"fuservicemount", "--help"}).action, Action::help);
  EXPECT_EQ(parsed({"fuservicemount", "-V"}).action, Action::version);
  const MountPlan plan =
      parsed({"fuservicemount", "--spawn", "--worker=/w", "--socket-dir", "/s", "--timeout=5", "a", "b"});
  EXPECT_EQ(plan.way, Way::spawn);
  EXPECT_EQ(plan.worker_path, "/w");
  EXPECT_EQ(socket_path(plan), "/s/ext4");
  EXPECT_EQ(plan.timeout, std::chrono::seconds{5});
  EXPECT_EQ(parsed({"fuservicemount", "--", "-a", "-b"}).source, "-a");
}

TEST(Options, what_is_not_understood_is_named) {
  const std::pair<Arguments, std::string> cases[] = {
      {{"fuservicemount", "--frobnicate", "a", "b"}, "--frobnicate: unknown switch"},
      {{"fuservicemount", "--", "--help"}, "expected SOURCE and MOUNTPOINT; --help shows how"},
      {{"fuservicemount", "--=x", "a", "b"}, "--: unknown switch"},
      {{"fuservicemount", "-q", "a", "b"}, "-q: unknown switch"},
      {{"fuservicemount", "-rq", "a", "b"}, "-q: unknown switch"},
      {{"fuservicemount", "a", "b", "-o"}, "-o: needs a value"},
      {{"fuservicemount", "a", "b", "--timeout"}, "--timeout: needs a value"},
      {{"fuservicemount", "a", "b", "--timeout=0"}, "--timeout: '0' is not a number of seconds from 1 to 86400"},
      {{"fuservicemount", "a", "b", "--timeout=1x"}, "--timeout: '1x' is not a number of seconds from 1 to 86400"},
      {{"fuservicemount", "a", "b", "--spawn=yes"}, "--spawn: takes no value"},
      {{"fuservicemount", "a", "b", "--worker="}, "--worker: an empty value makes no sense here"},
      {{"fuservicemount", "a"}, "expected SOURCE and MOUNTPOINT; --help shows how"},
      {{"fuservicemount", "a", "b", "c"}, "'c': one argument too many"},
      {{"fuservicemount", "", "b"}, "an empty SOURCE or MOUNTPOINT"},
      {{"fuservicemount", "--unmount"}, "expected one MOUNTPOINT; --help shows how"},
      {{"fuservicemount", "--status", "--unmount", "b"}, "--unmount: only one action at a time"},
      {{"fuservicemount", "a", "b", "--json"}, "--json: only with --status"},
      {{"fuservicemount", "a", "b", "-l"}, "-l: only with --unmount"},
      {{"fuservicemount", "--status", "-o", "ro"}, "-o: only with SOURCE and MOUNTPOINT"},
      {{"fuservicemount"}, "expected SOURCE and MOUNTPOINT; --help shows how"},
  };
  for (const auto& [line, expected] : cases) EXPECT_EQ(refused(line), expected);
}

TEST(Options, no_word_is_listed_twice_and_every_wildcard_comes_after_what_it_would_hide) {
  const auto words = mount_words();
  for (const MountWord& word : words) {
    for (std::string_view rest = word.names; !rest.empty();) {
      const auto name = next_name(rest).text;
      EXPECT_EQ(find_mount_word(name)->word, &word) << name;
    }
    const bool explains = word.effect == Effect::no_effect || word.effect == Effect::refused;
    EXPECT_TRUE(!explains || !word.words().empty()) << word.names;
  }
}

}  // namespace
}  // namespace broker
