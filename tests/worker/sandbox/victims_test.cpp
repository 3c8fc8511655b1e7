// Every forbidden deed, tried in the real sandbox.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/sandbox_victims/deeds.h"
#include "tests/worker/sandbox/captive.h"
#include "worker/sandbox/sanitizers.h"

namespace {

using testing_support::Captive;
using testing_support::capture;
using victims::Answer;
using victims::Deed;

class Victims : public testing::TestWithParam<Deed> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to spawn a worker";
  }
};

std::optional<int> errno_in(const std::string& packet) {
  if (packet.size() != sizeof(int)) return std::nullopt;
  int number = 0;
  std::memcpy(&number, packet.data(), sizeof number);
  return number;
}

TEST_P(Victims, reach_the_kernel_before_the_lock) {
  auto captive = capture();
  ASSERT_TRUE(captive) << captive.error().message();
  ASSERT_TRUE(captive->tell("stay " + std::string{GetParam().name}));
  ASSERT_EQ(captive->hear(), "now");
  EXPECT_EQ(errno_in(captive->hear()), GetParam().unlocked);
}

TEST_P(Victims, are_stopped_by_the_lock) {
  const Deed& deed = GetParam();
  if (worker::sandbox::kSanitized &&
      (deed.locked == Answer::refused || deed.name.starts_with("open") || deed.name.starts_with("read"))) {
    GTEST_SKIP() << "sanitizer builds allow their runtime more";
  }
  auto captive = capture();
  ASSERT_TRUE(captive) << captive.error().message();
  ASSERT_TRUE(captive->tell("lock " + std::string{deed.name}));
  ASSERT_EQ(captive->hear(), "now") << captive->log();
  const auto answer = errno_in(captive->hear());
  const auto end = captive->end();
  ASSERT_TRUE(end) << "it neither died nor ended";
  if (deed.locked == Answer::killed) {
    EXPECT_FALSE(answer) << "it lived to tell: " << std::strerror(answer.value_or(0));
    EXPECT_EQ(end->code, CLD_KILLED);
    EXPECT_EQ(end->status, SIGSYS);
  } else {
    EXPECT_EQ(answer, deed.locked_error);
    EXPECT_EQ(end->code, CLD_EXITED);
    EXPECT_EQ(end->status, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Deeds, Victims, testing::ValuesIn(victims::deeds().begin(), victims::deeds().end()),
                         [](const auto& instance) { return std::string{instance.param.name}; });

}  // namespace
