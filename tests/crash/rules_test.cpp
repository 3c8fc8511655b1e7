// The enumerator can fail: with any one rule off it finds states in which something is lost.
#include "tests/crash/rules.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/crash/trial.h"

namespace crash {
namespace {

using Kind = Operation::Kind;

/// The volume on which the rules are tested: checksums in the log would give some of them away sooner.
const Layout& layout() { return layouts().front(); }

/// Frees directory blocks and writes file data over them while the log still holds them: what revokes are for. The log
/// is short enough to turn several times.
void reuse_directories(Session& session) {
  for (std::uint32_t turn = 0; turn < 12; ++turn) {
    const std::string n = std::to_string(turn);
    session.run({Kind::make_dir, "d" + n});
    session.run({Kind::create, "d" + n + "/x"});
    session.run({Kind::sync});
    session.run({Kind::unlink, "d" + n + "/x"});
    session.run({Kind::remove_dir, "d" + n});
    session.run({Kind::sync});
    session.run({Kind::create, "f" + n});
    session.run({.kind = Kind::write, .path = "f" + n, .length = 40'000, .seed = turn});
    session.run({Kind::fsync, "f" + n});
    if (turn % 3 == 2) session.run({Kind::unlink, "f" + std::to_string(turn - 1)});
  }
}

/// Keeps files without names, and syncs before they go.
void leave_orphans(Session& session) {
  for (std::uint32_t turn = 0; turn < 4; ++turn) {
    const std::string name = "f" + std::to_string(turn);
    session.run({Kind::create, name});
    session.run({.kind = Kind::write, .path = name, .length = 30'000, .seed = turn});
    session.run({Kind::open, name});
    session.run({Kind::unlink, name});
    session.run({Kind::sync});
    if (turn % 2 == 0) session.run({Kind::close, name});
    session.run({Kind::sync});
  }
}

/// All that the rules are about, often enough that the log turns.
Outcome try_everything(std::size_t most_bad) {
  Outcome sum;
  for (const auto& work :
       std::vector<std::function<void(Session&)>>{reuse_directories, leave_orphans, mix_of(3, 500), mix_of(4, 500)}) {
    sum += run({.layout = layout(), .work = work, .how = {.epochs = 0.15, .each = 8, .seed = 5}, .most_bad = most_bad});
    if (sum.bad >= most_bad) break;
  }
  return sum;
}

class EachRule : public testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(Rules, EachRule, testing::Range(std::size_t{0}, rules().size()),
                         [](const auto& test) { return rules()[test.param].name; });

TEST_P(EachRule, is_needed) {
  const Rule& rule = rules()[GetParam()];
  const Without off{rule};
  const Outcome outcome = try_everything(3);
  std::printf("without %s: %zu states, %zu bad (e2fsck %zu, contents %zu, replay %zu, recovery %zu)\n%s",
              rule.name.c_str(), outcome.states, outcome.bad, outcome.fsck_bad, outcome.contents_bad,
              outcome.replay_bad, outcome.recovery_bad, outcome.first.c_str());
  EXPECT_GT(outcome.bad, 0u) << "nothing was lost without " << rule.name;
}

TEST(AllTheRules, are_enough) {
  const Outcome outcome = try_everything(1);
  EXPECT_EQ(outcome.bad, 0u) << outcome.first;
  std::printf("with all rules: %zu states\n", outcome.states);
}

}  // namespace
}  // namespace crash
