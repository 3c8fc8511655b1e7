#include <sys/socket.h>
#include <sys/un.h>

#include "broker/actions.h"
#include "broker/process.h"
#include "broker/state_file.h"
#include "tests/broker/scratch.h"

namespace broker {
namespace {

TEST(Json, strings_are_valid_whatever_a_path_contains) {
  EXPECT_EQ(json_string("plain"), "\"plain\"");
  EXPECT_EQ(json_string("a\"b\\c\n\x7f"), "\"a\\\"b\\\\c\\u000a\\u007f\"");
  EXPECT_EQ(json_string("é€𝄞"), "\"é€𝄞\"");
  EXPECT_EQ(json_string("\xff\xc3"), "\"\\u00ff\\u00c3\"");
  EXPECT_EQ(json_string("\xc0\xaf"), "\"\\u00c0\\u00af\"") << "overlong";
  EXPECT_EQ(json_string("\xed\xa0\x80"), "\"\\u00ed\\u00a0\\u0080\"") << "a surrogate";
  EXPECT_EQ(json_string("\xf4\x90\x80\x80"), "\"\\u00f4\\u0090\\u0080\\u0080\"") << "above U+10FFFF";
  EXPECT_EQ(json_string("\xe2\x82"), "\"\\u00e2\\u0082\"") << "cut off";
}

using StatusTest = Privileged;

TEST_F(StatusTest, shows_what_the_mount_table_confirms) {
  const std::string point = make_directory("mnt"), bound = make_directory("bound");
  TinyServer server;
  MountSpecification wanted;
  wanted.source = "/images/disk.img";
  wanted.subtype = "ext4";
  auto mount = FuseMount::create(wanted, server.device());
  MountPlan where;
  where.mount_point = point;
  ASSERT_TRUE(mount.ok() && mount->attach(*open_mount_point(where)).ok());
  MountState state;
  state.source = "/images/disk.img";
  state.mount_point = point;
  state.type = "ext4";
  state.worker_pid = ::getpid();
  state.worker_start_time = process_start_time(::getpid());
  state.identity = mount->identity();
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok() && file->publish(state).ok());

  MountPlan plan;
  plan.json = true;
  const auto output = [&plan](int expected) {
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(run_status(plan), expected);
    return ::testing::internal::GetCapturedStdout();
  };
  const std::string object = "{\"source\": \"/images/disk.img\", \"mountpoint\": \"" + point +
                             "\", \"type\": \"ext4\", \"kernel_type\": \"fuse.ext4\", \"read_only\": false, \"mode\": "
                             "\"classic\", \"way\": \"spawn\", \"worker_pid\": " +
                             std::to_string(::getpid()) + ", \"loop_device\": null, \"journal\": \"none\"}";
  EXPECT_EQ(output(0), "[" + object + "]\n");
  ASSERT_EQ(::mount(nullptr, point.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  EXPECT_NE(output(0).find("\"read_only\": true"), std::string::npos);
  ASSERT_EQ(::mount(point.c_str(), bound.c_str(), nullptr, MS_BIND, nullptr), 0);
  plan.mount_point = bound;
  EXPECT_NE(output(0).find("\"mountpoint\": \"" + bound + "\""), std::string::npos);
  plan.mount_point = directory_;
  EXPECT_EQ(output(32), "[]\n");
  plan.mount_point = point;
  plan.json = false;
  EXPECT_EQ(output(0), "/images/disk.img on " + point + " type fuse.ext4 (ro, classic, spawn, worker " +
                           std::to_string(::getpid()) + ", journal none)\n");
  EXPECT_TRUE(detach_everywhere(mount->identity()).empty());
  plan.mount_point.clear();
  EXPECT_EQ(output(0), "") << "stale as soon as it is unmounted";
}

TEST_F(StatusTest, check_wants_a_socket) {
  MountPlan plan;
  plan.socket_dir = directory_;
  EXPECT_EQ(run_check(plan), 1);
  make_image("ext4");
  EXPECT_EQ(run_check(plan), 1) << "a file";
  std::filesystem::remove(path("ext4"));
  const UniqueFd listener{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path("ext4").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(run_check(plan), 0);
}

}  // namespace
}  // namespace broker
