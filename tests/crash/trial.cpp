#include "tests/crash/trial.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/crash/rules.h"
#include "tests/crash/tree_reader.h"

namespace crash {
namespace {

/// What a recording begins with.
struct Start {
  std::vector<std::byte> volume;
  Tree tree;
};

Start prepare(const Trial& trial) {
  std::vector<std::byte> volume = make_volume(trial.layout);
  Tree empty = read_tree(volume).value();
  if (!trial.before) return {std::move(volume), std::move(empty)};
  const AllRules in_force;
  ScratchImage image{volume};
  ScratchDevice device{image};
  Model model{std::move(empty)};
  Session session{device, nullptr, model};
  trial.before(session);
  EXPECT_TRUE(trial.crashed_before ? session.run({Operation::Kind::sync}) : session.close());
  return {{image.bytes().begin(), image.bytes().end()}, model.tree(model.latest())};
}

}  // namespace

Outcome& Outcome::operator+=(const Outcome& other) {
  states += other.states;
  bad += other.bad;
  fsck_bad += other.fsck_bad;
  contents_bad += other.contents_bad;
  replay_bad += other.replay_bad;
  recovery_bad += other.recovery_bad;
  if (first.empty()) first = other.first;
  return *this;
}

Outcome run(const Trial& trial) {
  rewind_clock();
  const auto [volume, tree] = prepare(trial);
  const std::uint32_t block = block_size(volume);
  Recorder recorder{volume, block};
  Model model{tree};
  {
    Session session{recorder, &recorder, model};
    EXPECT_EQ(session.failed(), "");
    if (!session.failed().empty()) return {};
    trial.work(session);
    EXPECT_TRUE(session.close());
  }

  const AllRules in_force;
  Outcome outcome;
  const auto count = [&](const std::string& where, const Verdict& verdict) {
    ++outcome.states;
    if (verdict.good()) return;
    ++outcome.bad;
    outcome.fsck_bad += !verdict.fsck.empty();
    outcome.contents_bad += !verdict.contents.empty();
    outcome.replay_bad += !verdict.replay.empty();
    outcome.recovery_bad += !verdict.recovery.empty();
    if (outcome.first.empty()) outcome.first = trial.layout.name + ", " + where + ":\n" + verdict.text();
  };
  {
    ScratchImage end{recorder.bytes()};
    const Bounds bounds{.durable = model.latest(), .started = model.latest()};
    count("after close()", Oracle{end, model, 0}.judge({.bounds = bounds}));
  }
  ScratchImage image{volume};
  Oracle oracle{image, model, trial.kernel_every};
  const auto journal = journal_blocks(volume);
  // Where the log begins and ends is told by its superblock: the moments around such a write are the interesting ones.
  const auto important = [&](ByteOffset offset) { return !journal.empty() && offset / block == journal.front(); };
  CrashStates states{recorder.events(), image, trial.how, important};
  states.walk([&](const CrashState& state) {
    count("epoch " + std::to_string(state.epoch) + ", " + state.what + ", versions " +
              std::to_string(state.bounds.durable) + " to " + std::to_string(state.bounds.started),
          oracle.judge(state));
    return outcome.bad < trial.most_bad;
  });
  return outcome;
}

std::function<void(Session&)> list_of(const std::vector<Operation>& operations) {
  return [operations](Session& session) {
    for (const Operation& operation : operations) {
      const bool good = session.run(operation);
      // Indirect maps have no unwritten blocks.
      EXPECT_TRUE(good || session.errors == std::set{EOPNOTSUPP}) << words(operation);
    }
    EXPECT_TRUE(session.run({Operation::Kind::sync}));
  };
}

std::function<void(Session&)> mix_of(std::uint32_t seed, std::size_t count) {
  return [seed, count](Session& session) {
    Mix mix{seed};
    for (std::size_t i = 0; i < count; ++i) session.run(mix.next(session));
  };
}

std::function<void(Session&)> mix_beside_syncs(std::uint32_t seed, std::size_t count) {
  return [seed, count](Session& session) {
    session.recorder()->flush_slowly();
    std::jthread syncer{[&](const std::stop_token& stop) {
      while (!stop.stop_requested()) EXPECT_TRUE(session.sync_beside());
    }};
    mix_of(seed, count)(session);
  };
}

}  // namespace crash
