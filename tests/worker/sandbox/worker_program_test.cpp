// The worker program itself, spawned and locked, with a test as its broker and unattached mounts.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <chrono>
#include <functional>
#include <thread>

#include "broker/mount_point.h"
#include "protocol/codec.h"
#include "tests/support/image.h"
#include "tests/worker/hostile_broker.h"
#include "tests/worker/sandbox/captive.h"

namespace {

using broker::UniqueFd;
using testing_support::Captive;
using testing_support::HostileBroker;

constexpr int kDone = 0, kNotConfined = 3, kRefused = 4, kInterrupted = 8;

/// One worker and what its broker holds.
class Session {
 public:
  explicit Session(Captive captive) : worker{std::move(captive)}, broker{worker.take_channel()} {}

  Captive worker;
  HostileBroker broker;
  UniqueFd fuse_device{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
  std::optional<broker::FuseMount> mount;

  bool greet(const std::vector<std::string>& arguments, std::uint16_t version = protocol::kPrivateVersion,
             std::uint32_t flags = protocol::kHelloAllowOther) {
    version_ = version;
    return broker.greet(version, flags) && broker.give_arguments(arguments) &&
           broker.say(protocol::File{0, {"fusedev"}}, {fuse_device.get()});
  }
  /// Answers OPEN with the image.
  bool give_source(const std::string& path, int flags = O_RDWR) {
    const std::string asked = broker.hear();
    const UniqueFd source{::open(path.c_str(), flags | O_CLOEXEC)};
    const bool given = asked.starts_with("OPEN") && broker.say(protocol::File{0, {path}}, {source.get()});
    // Our own worker would like to have it with O_DIRECT too, and can do without.
    if (version_ != protocol::kPrivateVersion) return given;
    return given && broker.hear().starts_with("OPEN") && broker.say(protocol::File{EOPNOTSUPP, {path}});
  }
  /// Hears one packet, which has to have this tag, and answers a request with success.
  bool grant(std::string_view tag) {
    last = broker.hear();
    if (!last.starts_with(tag)) return false;
    const bool told = tag == "FACT" || tag == "NOTE" || tag == "REDY" || tag == "SERV" || tag == "BYEE";
    return told || broker.say(protocol::Reply{0});
  }
  /// TYPE to DOIT; the mount is made, and attached nowhere.
  bool grant_mount(bool read_only = false) {
    for (const char* tag : {"TYPE", "NAME", "MNTP", "OPTS"})
      if (!grant(tag)) return false;
    last = broker.hear();
    if (!last.starts_with("DOIT")) return false;
    ::broker::MountSpecification specification;
    specification.source = "test";
    specification.subtype = "ext4";
    specification.read_only = read_only;
    auto made = ::broker::FuseMount::create(specification, fuse_device.get());
    if (!made) return false;
    mount.emplace(*std::move(made));
    fuse_device.reset();
    return broker.say(protocol::Reply{0});
  }
  bool serve(const std::string& path) {
    return greet({"ext4", path, "/mnt"}) && give_source(path) && grant("FACT") && grant_mount() && grant("REDY") &&
           broker.say(protocol::Attached{}) && grant("SERV");
  }
  /// Its exit status, or 128 and the signal.
  int status() {
    const auto end = worker.end();
    if (!end) return -1;
    return end->code == CLD_EXITED ? end->status : 128 + end->status;
  }

  std::string last;  ///< the last packet that was heard

 private:
  std::uint16_t version_ = 0;
};

class WorkerProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs root and /dev/fuse";
  }

  static std::unique_ptr<Session> start() {
    auto captive = testing_support::capture(testing_support::kVictimUid, EXT4BOX_WORKER);
    EXPECT_TRUE(captive) << captive.error().message();
    return captive ? std::make_unique<Session>(*std::move(captive)) : nullptr;
  }
};

TEST_F(WorkerProgram, is_contained_before_it_asks_for_the_volume) {
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", "/image", "/mnt"}));
  ASSERT_TRUE(session->broker.hear().starts_with("OPEN"));
  const auto contained = broker::check_contained(session->worker.process(), 0);
  EXPECT_TRUE(contained) << contained.error().message();
}

TEST_F(WorkerProgram, serves_a_volume_and_leaves_it_clean) {
  const tests::Image image;
  const auto session = start();
  ASSERT_TRUE(session->serve(image.path())) << session->last << session->worker.log();
  {
    const UniqueFd file{::openat(session->mount->descriptor(), "file", O_CREAT | O_RDWR, 0644)};
    ASSERT_TRUE(file) << std::strerror(errno);
    EXPECT_EQ(::write(file.get(), "hello", 5), 5);
    EXPECT_EQ(::fsync(file.get()), 0);
  }
  session->mount.reset();
  EXPECT_EQ(session->broker.hear(), std::string("BYEE\0\0\0\0", 8));
  EXPECT_EQ(session->status(), kDone) << session->worker.log();
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(image.header("Filesystem state"), "clean");
}

TEST_F(WorkerProgram, serves_libfuses_helper_in_version_1) {
  const tests::Image image;
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", image.path(), "/mnt", "-o", "rw,suid,dev"}, protocol::kVersion1));
  ASSERT_TRUE(session->give_source(image.path()));
  ASSERT_TRUE(session->grant_mount()) << session->last << session->worker.log();
  EXPECT_EQ(session->last, std::string("DOIT\0\0\0\0", 8));
  EXPECT_EQ(session->broker.hear(), std::string("BYEE\0\0\0\0", 8));
  session->broker.hang_up();
  EXPECT_EQ(::mkdirat(session->mount->descriptor(), "directory", 0755), 0) << std::strerror(errno);
  session->mount.reset();
  EXPECT_EQ(session->status(), kDone) << session->worker.log();
  EXPECT_EQ(image.complaints(), "");
}

TEST_F(WorkerProgram, writes_nothing_before_it_is_attached) {
  const tests::Image image;
  const std::string before = image.sha256();
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", image.path(), "/mnt"}));
  ASSERT_TRUE(session->give_source(image.path()));
  ASSERT_TRUE(session->grant("FACT") && session->grant_mount() && session->grant("REDY"));
  EXPECT_EQ(image.sha256(), before);
  // The broker goes, and with it the mount.
  session->mount.reset();
  session->broker.hang_up();
  EXPECT_EQ(session->status(), kRefused);
  EXPECT_EQ(image.sha256(), before);
}

TEST_F(WorkerProgram, reads_without_writing_a_byte) {
  const tests::Image image;
  const std::string before = image.sha256();
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", image.path(), "/mnt", "-o", "ro"}));
  ASSERT_TRUE(session->give_source(image.path(), O_RDONLY));
  ASSERT_TRUE(session->grant("FACT") && session->grant_mount(true));
  EXPECT_EQ(session->last, std::string("DOIT\0\0\0\1", 8));
  ASSERT_TRUE(session->grant("REDY") && session->broker.say(protocol::Attached{}) && session->grant("SERV"));
  struct stat status {};
  EXPECT_EQ(::fstatat(session->mount->descriptor(), "lost+found", &status, 0), 0);
  session->mount.reset();
  EXPECT_EQ(session->status(), kDone);
  EXPECT_EQ(image.sha256(), before);
}

TEST_F(WorkerProgram, goes_on_serving_when_its_broker_has_gone) {
  const tests::Image image;
  const auto session = start();
  ASSERT_TRUE(session->serve(image.path()));
  session->broker.hang_up();
  EXPECT_EQ(::mkdirat(session->mount->descriptor(), "directory", 0755), 0);
  session->mount.reset();
  EXPECT_EQ(session->status(), kDone);
  EXPECT_EQ(image.complaints(), "");
}

TEST_F(WorkerProgram, gives_its_reason_for_a_volume_it_cannot_serve) {
  const tests::TemporaryDirectory directory;
  const std::string path = (directory.path() / "image").string();
  ASSERT_EQ(tests::run("head -c 4M /dev/urandom > " + path).status, 0);
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", path, "/mnt"}));
  ASSERT_TRUE(session->give_source(path));
  const std::string said = session->broker.hear();
  EXPECT_TRUE(said.starts_with(std::string("REFU\0\0\0\40", 8))) << said;
  EXPECT_GT(said.size(), 12U);
  EXPECT_EQ(session->status(), kRefused);
}

TEST_F(WorkerProgram, names_an_option_it_does_not_know) {
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", "/image", "/mnt", "-o", "acl,frobnicate=7"}));
  const std::string said = session->broker.hear();
  EXPECT_TRUE(said.starts_with(std::string("REFU\0\0\0\1", 8))) << said;
  EXPECT_NE(said.find("frobnicate"), said.npos) << said;
  EXPECT_EQ(session->status(), kRefused);
}

TEST_F(WorkerProgram, ends_when_its_broker_misbehaves_or_goes) {
  const auto after = [](std::function<void(HostileBroker&)> deed) {
    const auto session = start();
    deed(session->broker);
    session->broker.hang_up();
    return session->status();
  };
  EXPECT_EQ(after([](HostileBroker&) {}), kRefused);
  EXPECT_EQ(after([](HostileBroker& broker) { broker.send("garbage"); }), kRefused);
  EXPECT_EQ(after([](HostileBroker& broker) { broker.greet(); }), kRefused);
  EXPECT_EQ(after([](HostileBroker& broker) { broker.prepare(); }), kRefused);
}

/// The worker as a service unit starts it: an unprivileged id, no capabilities in reach, no namespaces of its own.
broker::Result<Captive> start_service(uid_t uid, bool empty_bounding_set) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return protocol::last_error();
  UniqueFd ours{ends[0]}, theirs{ends[1]};
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (int capability = 0; empty_bounding_set && ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
      ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    ::dup2(theirs.get(), 3);
    if (theirs.get() == 3) ::fcntl(3, F_SETFD, 0);
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    if (::setresgid(uid, uid, uid) == 0 && ::setgroups(0, nullptr) == 0 && ::setresuid(uid, uid, uid) == 0)
      ::execl(EXT4BOX_WORKER, EXT4BOX_WORKER, nullptr);
    ::_exit(127);
  }
  UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
  return Captive{broker::WorkerProcess{std::move(process), std::move(ours), UniqueFd{}, pid, uid, true}};
}

TEST_F(WorkerProgram, confines_itself_as_a_service_just_the_same) {
  const tests::Image image;
  auto service = start_service(testing_support::kVictimUid, true);
  ASSERT_TRUE(service) << service.error().message();
  Session session{*std::move(service)};
  ASSERT_TRUE(session.greet({"ext4", image.path(), "/mnt"}));
  ASSERT_TRUE(session.give_source(image.path()));
  const auto contained = broker::check_contained(session.worker.process(), 0);
  EXPECT_TRUE(contained) << contained.error().message();
  ASSERT_TRUE(session.grant("FACT") && session.grant_mount() && session.grant("REDY"));
  ASSERT_TRUE(session.broker.say(protocol::Attached{}) && session.grant("SERV"));
  EXPECT_EQ(::mkdirat(session.mount->descriptor(), "directory", 0755), 0) << std::strerror(errno);
  session.mount.reset();
  EXPECT_EQ(session.status(), kDone);
  EXPECT_EQ(image.complaints(), "");
}

TEST_F(WorkerProgram, does_not_start_where_capabilities_stay_in_reach) {
  auto service = start_service(testing_support::kVictimUid, false);
  ASSERT_TRUE(service) << service.error().message();
  Session session{*std::move(service)};
  EXPECT_EQ(session.status(), kNotConfined);
}

TEST_F(WorkerProgram, is_ended_by_a_signal_only_before_it_serves) {
  const tests::Image image{"-t ext4 -O ^has_journal"};
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    const auto session = start();
    ASSERT_TRUE(session->greet({"ext4", image.path(), "/mnt"}));
    ASSERT_TRUE(session->broker.hear().starts_with("OPEN"));
    session->worker.signal(signal);
    EXPECT_EQ(session->status(), kInterrupted) << signal;
  }
  const auto session = start();
  ASSERT_TRUE(session->serve(image.path()));
  ASSERT_EQ(::mkdirat(session->mount->descriptor(), "directory", 0755), 0);
  session->worker.signal(SIGTERM);
  // What was done before the signal becomes durable although nobody asked for it and no time has passed.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{3};
  std::string listing;
  while (listing.find("directory") == listing.npos && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    listing = tests::run("debugfs -R 'ls /' " + image.path()).output;
  }
  EXPECT_NE(listing.find("directory"), listing.npos);
  EXPECT_EQ(::mkdirat(session->mount->descriptor(), "another", 0755), 0) << "it serves on";
  session->mount.reset();
  EXPECT_EQ(session->status(), kDone);
  EXPECT_EQ(image.complaints(), "");
}

TEST_F(WorkerProgram, shows_its_source_as_its_title) {
  const tests::Image image;
  const auto session = start();
  ASSERT_TRUE(session->greet({"ext4", image.path(), "/mnt"}));
  ASSERT_TRUE(session->broker.hear().starts_with("OPEN"));
  const std::string process = "/proc/" + std::to_string(session->worker.process().pid);
  const std::string title = tests::run("tr '\\0' '\\n' < " + process + "/cmdline").output;
  EXPECT_TRUE(("ext4box-worker: " + image.path()).starts_with(title.substr(0, title.find('\n')))) << title;
  EXPECT_GT(title.size(), 20U);
  EXPECT_EQ(tests::run("cat " + process + "/comm").output, "ext4box-worker\n");
}

}  // namespace
