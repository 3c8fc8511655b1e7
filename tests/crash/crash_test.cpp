// Every operation by itself, and mixes of them, on every layout: whatever a crash leaves of them is a volume from which
// nothing promised is missing.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/crash/trial.h"

namespace crash {
namespace {

/// How many states one layout's mixes have to come to. Further seeds are drawn until they do.
constexpr std::size_t kStatesOfMixes = 900;
constexpr std::size_t kOperations = 220;

class CrashStatesOf : public testing::TestWithParam<Layout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, CrashStatesOf, testing::ValuesIn(layouts()),
                         [](const auto& test) { return test.param.name; });

void report(const std::string& what, const Outcome& outcome) {
  std::printf("%s: %zu states, %zu bad (e2fsck %zu, contents %zu, replay %zu, recovery %zu)\n", what.c_str(),
              outcome.states, outcome.bad, outcome.fsck_bad, outcome.contents_bad, outcome.replay_bad,
              outcome.recovery_bad);
  EXPECT_EQ(outcome.bad, 0u) << what << '\n' << outcome.first;
}

TEST_P(CrashStatesOf, every_operation_are_sound) {
  Outcome sum;
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    const Outcome outcome =
        run({.layout = GetParam(), .before = list_of(one.before), .work = list_of(one.operations), .kernel_every = 40});
    EXPECT_EQ(outcome.bad, 0u) << one.name << ": " << outcome.first;
    sum += outcome;
  }
  report(GetParam().name + ", single operations", sum);
}

TEST_P(CrashStatesOf, mixes_are_sound) {
  Outcome sum;
  for (std::uint32_t seed = 1; sum.states < kStatesOfMixes && sum.bad == 0; ++seed) {
    SCOPED_TRACE(seed);
    sum += run({.layout = GetParam(),
                .work = mix_of(seed, kOperations),
                .how = {.epochs = 0.08, .subsets = 3, .each = 6, .seed = seed},
                .kernel_every = 100});
  }
  report(GetParam().name + ", mixes", sum);
}

TEST_P(CrashStatesOf, recoveries_are_sound) {
  Outcome sum;
  for (std::uint32_t seed = 1; seed <= 2; ++seed) {
    SCOPED_TRACE(seed);
    sum += run({.layout = GetParam(),
                .before = mix_of(100 + seed, 160),
                .crashed_before = true,
                .work = list_of({}),
                .how = {.each = 16, .seed = seed},
                .kernel_every = 50});
  }
  report(GetParam().name + ", recoveries", sum);
}

}  // namespace
}  // namespace crash
