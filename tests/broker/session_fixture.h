// A hostile worker and a kernel that is played: what tests of Session have in common.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstring>
#include <functional>
#include <thread>

#include "broker/session.h"
#include "protocol/argv_memfd.h"
#include "protocol/errors.h"
#include "tests/support/bytes.h"
#include "tests/support/descriptors.h"

namespace session_fixture {

using namespace broker;
using namespace protocol;
using namespace std::chrono_literals;
using support::bytes;

inline Deadline soon() { return std::chrono::steady_clock::now() + 5s; }
inline UniqueFd open_null() { return UniqueFd{::open("/dev/null", O_RDWR | O_CLOEXEC)}; }

/// Notes what the session did; fails where told to.
class FakeActions final : public MountActions {
 public:
  Result<Channel> reconnect() override {
    note("reconnect");
    if (!second) return errno_error(EPROTO);
    return std::move(*second);
  }
  Result<void> meet_worker(Packet& packet, std::uint16_t version) override {
    note("meet " + std::to_string(version));
    sender = packet.sender;
    return {};
  }
  Result<void> check_worker() override {
    note("check");
    return contained ? Result<void>{} : errno_error(EPERM, "the worker is not contained");
  }
  Result<UniqueFd> open_source(std::uint32_t block_size) override {
    note("source " + std::to_string(block_size));
    if (source_error != 0) return errno_error(source_error);
    return open_null();
  }
  Result<UniqueFd> open_direct_source() override {
    note("direct");
    return open_null();
  }
  Result<UniqueFd> open_fuse_device() override { return open_null(); }
  Result<void> create_mount(MountSpecification& specification) override {
    note("create");
    created = specification;
    if (create_error != 0) return errno_error(create_error, "cannot create the file system");
    return {};
  }
  Result<UniqueFd> start_probe() override {
    note("probe");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return last_error();
    probe_writer.reset(ends[1]);
    if (probe_answers) probe_writer.reset();
    return UniqueFd{ends[0]};
  }
  Result<void> finish_probe(bool answered) override {
    note(answered ? "answered" : "not answered");
    probe_writer.reset();
    return {};
  }
  Result<void> attach(const SessionOutcome&) override {
    note("attach");
    return attach_error == 0 ? Result<void>{} : errno_error(attach_error, "cannot attach");
  }

  void note(const std::string& act) { acts.append(acts.empty() ? "" : ", ").append(act); }

  std::string acts;
  std::optional<ucred> sender;
  std::optional<Channel> second;
  std::optional<MountSpecification> created;
  UniqueFd probe_writer;
  bool contained = true, probe_answers = true;
  int source_error = 0, create_error = 0, attach_error = 0;
};

/// A worker's end, driven by a test.
struct FakeWorker {
  Channel channel;

  template <typename Message>
  void say(const Message& message, int descriptor = -1) {
    (void)channel.send(message, soon(), descriptor);
  }
  void say_raw(std::span<const std::byte> packet) { (void)channel.send_bytes(packet, -1, soon()); }
  /// The broker's next packet; an empty one if it has hung up.
  Packet hear() {
    auto packet = channel.receive(soon());
    return packet ? std::move(*packet) : Packet{};
  }
  bool hung_up() { return channel.receive(soon()).error().code == Violation::closed; }
  /// The broker's answer to a request; ~0 if it hung up instead.
  template <typename Message>
  std::uint32_t ask(const Message& message) {
    say(message);
    const auto packet = hear();
    if (const auto reply = decode<Reply>(packet.bytes)) return reply->error;
    if (const auto file = decode<File>(packet.bytes)) {
      EXPECT_EQ(bool(packet.descriptor), file->error == 0);
      return file->error;
    }
    return ~0u;
  }
  void greet(std::uint16_t version) {
    hear();
    say(HelloReply{version, {}});
    arguments = hear();
    fuse_device = hear();
  }
  std::uint32_t open(std::uint32_t flags = O_RDWR, const char* path = "disk.img") {
    return ask(OpenFile{flags, 0, 0, 0, {path}});
  }
  /// Everything up to DOIT's answer, as a good worker would.
  void mount(std::uint16_t version) {
    greet(version);
    EXPECT_EQ(open(), 0u);
    prepare(version);
    EXPECT_EQ(ask(DoMount{}), 0u);
  }
  void prepare(std::uint16_t version) {
    if (version == kPrivateVersion) say(Facts{4096, kFactJournal, {"label"}, {"internal"}});
    EXPECT_EQ(ask(SetType{kTypeBlock}), 0u);
    EXPECT_EQ(ask(SetName{{"anything"}}), 0u);
    EXPECT_EQ(ask(SetMountPoint{S_IFDIR, 0, {"/mnt"}}), 0u);
  }
  void serve() {
    say(Ready{});
    EXPECT_TRUE(decode<Attached>(hear().bytes).ok());
    say(Serving{});
  }

  Packet arguments{}, fuse_device{};
};

inline Grants sample_grants() {
  Grants grants;
  grants.arguments = {"ext4", "disk.img", "/mnt", "-o", "errors=remount-ro"};
  grants.source = "disk.img";
  grants.mount_point = "/mnt";
  grants.source_is_block = true;
  grants.block = true;
  grants.block_source = "/dev/loop7";
  grants.specification.source = "/var/disk.img";
  grants.specification.subtype = "ext4";
  grants.specification.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  return grants;
}

class SessionTest : public testing::Test {
 protected:
  using Script = std::function<void(FakeWorker&)>;

  /// Plays `script` against a session; `then` on the second connection, if the session wants one.
  SessionOutcome run(const Script& script, const Script& then = {}) {
    const auto before = support::open_descriptors();
    SessionOutcome outcome;
    {
      auto pair = *make_channel_pair();
      FakeWorker worker{std::move(pair.second)};
      std::optional<FakeWorker> second;
      if (then) {
        auto again = *make_channel_pair();
        actions.second.emplace(std::move(again.first));
        second.emplace(FakeWorker{std::move(again.second)});
      }
      asio::io_context context{1};
      std::optional<Session> session;
      session.emplace(context, std::move(pair.first), grants, limits, actions);
      if (interrupt_after != 0ms) {
        timer.emplace(context, interrupt_after);
        timer->async_wait([&](const boost::system::error_code&) { session->interrupt(); });
      }
      std::thread thread{[&] {
        script(worker);
        if (then) then(*second);
        worker.channel = Channel{UniqueFd{}};
      }};
      asio::co_spawn(context, session->run(), [&](std::exception_ptr thrown, SessionOutcome ended) {
        EXPECT_FALSE(thrown);
        outcome = std::move(ended);
        session.reset();  // hangs up
      });
      context.run();
      thread.join();
      timer.reset();
      actions.second.reset();
    }
    EXPECT_EQ(support::open_descriptors(), before) << "a descriptor leaked";
    return outcome;
  }

  /// A session in which the worker does something that ends it, without an answer and without success.
  void expect_ended(const Script& script, const char* reason, int exit_code = 32) {
    actions = FakeActions{};
    const auto outcome = run([&](FakeWorker& worker) {
      script(worker);
      EXPECT_TRUE(worker.hung_up()) << "an answer came";
    });
    EXPECT_EQ(outcome.exit_code, exit_code);
    EXPECT_NE(outcome.reason.find(reason), std::string::npos) << outcome.reason;
  }
  static Script opened(std::uint16_t version, const Script& rest) {
    return [=](FakeWorker& worker) {
      worker.greet(version);
      EXPECT_EQ(worker.open(), 0u);
      rest(worker);
    };
  }

  Grants grants = sample_grants();
  SessionLimits limits{5s, std::chrono::steady_clock::now() + 20s};
  FakeActions actions;
  std::chrono::milliseconds interrupt_after{0};
  std::optional<asio::steady_timer> timer;
};

}  // namespace session_fixture
