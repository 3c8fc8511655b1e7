// Every operation by itself, and mixes of them, on every layout: whatever a crash leaves of them is a volume from which
// nothing promised is missing.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

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
    const Outcome outcome = run(
        {.layout = GetParam(), .before = list_of(one.before), .work = list_of(one.operations), .kernel_every = 150});
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

/// The states differ from run to run: EXT4BOX_CRASH_KEEP keeps one that fails.
TEST_P(CrashStatesOf, mixes_beside_syncs_are_sound) {
  const Outcome outcome = run({.layout = GetParam(),
                               .work = mix_beside_syncs(40, 200),
                               .how = {.epochs = 0.3, .subsets = 3, .each = 5, .seed = 40},
                               .kernel_every = 100});
  report(GetParam().name + ", mixes beside syncs", outcome);
}

/// Takes all but a little of the space.
void fill(Session& session, bool extents) {
  const auto kind = extents ? Operation::Kind::allocate_keep : Operation::Kind::write;
  session.run({Operation::Kind::create, "slack"});
  session.run({.kind = kind, .path = "slack", .length = 100'000});
  session.run({Operation::Kind::create, kBallast});
  constexpr std::uint64_t kPiece = 30'000;
  std::uint64_t at = 0;
  while (session.run({.kind = kind, .path = kBallast, .offset = at, .length = kPiece})) at += kPiece;
  session.run({Operation::Kind::unlink, "slack"});
}

TEST_P(CrashStatesOf, a_full_volume_are_sound) {
  const auto work = [](Session& session) {
    mix_of(77, 260)(session);
    EXPECT_TRUE(session.errors.contains(ENOSPC)) << "never full";
  };
  const Outcome outcome = run({.layout = GetParam(),
                               .before = [](Session& session) { fill(session, GetParam().name != "indirect"); },
                               .work = work,
                               .how = {.epochs = 0.15, .subsets = 3, .each = 5, .seed = 77},
                               .kernel_every = 100});
  report(GetParam().name + ", full volume", outcome);
}

/// Not the clock of surroundings.cpp.
std::uint64_t seconds_of_the_machine() {
  timespec time{};
  ::syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec);
}

/// For `./check --long`: seeds that nobody has tried, for EXT4BOX_CRASH_MINUTES. A seed that fails is printed, and
/// EXT4BOX_CRASH_SEED begins with it.
TEST(Long, mixes_are_sound) {
  const char* minutes = std::getenv("EXT4BOX_CRASH_MINUTES");
  const char* chosen = std::getenv("EXT4BOX_CRASH_SEED");
  const std::uint64_t end =
      seconds_of_the_machine() + 60 * std::strtoull(minutes != nullptr ? minutes : "1", nullptr, 10);
  auto seed =
      static_cast<std::uint32_t>(chosen != nullptr ? std::strtoul(chosen, nullptr, 10) : seconds_of_the_machine());
  Outcome sum;
  for (; seconds_of_the_machine() < end && sum.bad == 0; ++seed) {
    const Layout& layout = layouts()[seed % layouts().size()];
    std::printf("seed %u: %s\n", seed, layout.name.c_str());
    std::fflush(stdout);
    // Every other one begins with a crash, so that a recovery is part of what may crash.
    const bool crashed = seed % 2 == 0;
    sum += run({.layout = layout,
                .before = mix_of(seed + 1, crashed ? 150 : 20),
                .crashed_before = crashed,
                .work = mix_of(seed, 500),
                .how = {.epochs = 0.3, .subsets = 10, .each = 24, .seed = seed},
                .kernel_every = 50});
  }
  report("long", sum);
}

}  // namespace
}  // namespace crash
