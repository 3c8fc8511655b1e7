// The worker's end of a session, played by Control against a broker that a test drives.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "protocol/errors.h"
#include "tests/worker/hostile_broker.h"
#include "worker/control.h"

namespace testing_support {

using worker::Control;
using worker::Result;
using worker::UniqueFd;

inline constexpr worker::Patience kShort{std::chrono::milliseconds{300}, std::chrono::milliseconds{300}};

class WorkersEnd : public testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/fuse";
  }

  /// Plays both ends: `broker` on a thread, `worker` here.
  template <typename Played>
  auto play(std::function<void(HostileBroker&)> broker, Played worker) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    HostileBroker other{UniqueFd{ends[1]}};
    std::jthread thread{[&] { broker(other); }};
    Control control{protocol::Channel{UniqueFd{ends[0]}}, kShort};
    auto result = worker(control);
    control = Control{protocol::Channel{UniqueFd{}}};
    thread.join();
    return result;
  }

  Result<worker::Gifts> greeted_by(std::function<void(HostileBroker&)> broker) {
    return play(std::move(broker), [](Control& control) { return control.greet(); });
  }

  /// The worker's end after an honest greeting.
  template <typename Played>
  auto after_greeting(std::uint16_t version, std::function<void(HostileBroker&)> broker, Played worker) {
    return play(
        [&](HostileBroker& other) {
          if (other.prepare(version)) broker(other);
        },
        [&](Control& control) {
          const auto gifts = control.greet();
          EXPECT_TRUE(gifts) << gifts.error().message();
          return worker(control);
        });
  }
};

/// The error of a result; none if it has a value.
inline std::error_code code(const auto& result) { return result ? std::error_code{} : result.error().code; }

}  // namespace testing_support
