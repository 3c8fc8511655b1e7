#include "protocol/phase.h"

#include <gtest/gtest.h>

#include "protocol/errors.h"

namespace {

using namespace protocol;

struct Step {
  End sender;
  Tag tag;
};
constexpr Step from_worker(Tag tag) { return {End::worker, tag}; }
constexpr Step from_broker(Tag tag) { return {End::broker, tag}; }

constexpr Step kOpening[] = {from_broker(Tag::hello), from_worker(Tag::hello_reply), from_broker(Tag::file),
                             from_broker(Tag::file)};
constexpr Step kVersion1Mount[] = {from_worker(Tag::open_file),
                                   from_broker(Tag::file),
                                   from_worker(Tag::set_type),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::set_name),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::set_mount_point),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::set_options),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::set_table_options),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::do_mount),
                                   from_broker(Tag::reply),
                                   from_worker(Tag::goodbye)};
constexpr Step kPrivateMount[] = {
    from_worker(Tag::open_file), from_broker(Tag::file),     from_worker(Tag::note),
    from_worker(Tag::facts),     from_worker(Tag::set_type), from_broker(Tag::reply),
    from_worker(Tag::set_name),  from_broker(Tag::reply),    from_worker(Tag::set_mount_point),
    from_broker(Tag::reply),     from_worker(Tag::do_mount), from_broker(Tag::reply),
    from_worker(Tag::ready),     from_broker(Tag::attached), from_worker(Tag::serving),
    from_worker(Tag::goodbye)};

/// A machine that has walked the opening and then the first `count` of `steps`.
PhaseMachine after(std::uint16_t version, std::span<const Step> steps, std::size_t count) {
  PhaseMachine machine;
  for (const Step& step : kOpening) EXPECT_TRUE(machine.take(step.sender, step.tag).ok());
  machine.choose(version);
  for (const Step& step : steps.first(count))
    EXPECT_TRUE(machine.take(step.sender, step.tag).ok()) << int(machine.phase());
  return machine;
}

TEST(Phase, both_versions_walk_from_hello_to_the_end) {
  EXPECT_EQ(after(kVersion1, kVersion1Mount, std::size(kVersion1Mount)).phase(), Phase::ended);
  EXPECT_EQ(after(kPrivateVersion, kPrivateMount, std::size(kPrivateMount)).phase(), Phase::ended);
}

/// Every message at every point: only what the table has a row for is taken.
TEST(Phase, takes_nothing_without_a_row) {
  const auto check = [](std::uint16_t version, std::span<const Step> steps) {
    for (std::size_t count = 0; count <= steps.size(); ++count) {
      const PhaseMachine reached = after(version, steps, count);
      for (const auto& rule : phase_rules()) {
        for (const End sender : {End::broker, End::worker}) {
          for (const Tag tag : {rule.tag, rule.answer}) {
            PhaseMachine machine = reached;
            bool expected = false;
            if (machine.pending() != nullptr) {
              expected = sender != machine.pending()->sender && tag == machine.pending()->answer;
            } else {
              for (const auto& row : phase_rules())
                expected |= row.tag == tag && row.sender == sender && contains(row.phases, machine.phase()) &&
                            (row.version == Speaks::both ||
                             (row.version == Speaks::private_version) == (version == kPrivateVersion));
            }
            EXPECT_EQ(machine.take(sender, tag).ok(), expected) << int(reached.phase()) << " " << std::hex << int(tag);
          }
        }
      }
    }
  };
  check(kVersion1, kVersion1Mount);
  check(kPrivateVersion, kPrivateMount);
}

TEST(Phase, the_peer_may_not_speak_while_it_is_owed_an_answer) {
  auto machine = after(kVersion1, kVersion1Mount, 1);
  EXPECT_FALSE(machine.take(End::worker, Tag::open_file).ok());
  machine = after(kVersion1, kVersion1Mount, 1);
  EXPECT_FALSE(machine.take(End::broker, Tag::reply).ok()) << "an open is answered by FILE";
}

TEST(Phase, nothing_may_be_opened_after_the_first_other_request) {
  auto machine = after(kVersion1, kVersion1Mount, 4);
  EXPECT_FALSE(machine.take(End::worker, Tag::open_file).ok());
  machine = after(kPrivateVersion, kPrivateMount, 4);
  EXPECT_FALSE(machine.take(End::worker, Tag::open_block_device).ok());
}

TEST(Phase, a_refused_request_may_be_tried_again_but_not_for_ever) {
  auto machine = after(kVersion1, kVersion1Mount, 2);
  for (unsigned i = 0; i < kRetries; ++i) {
    ASSERT_TRUE(machine.take(End::worker, Tag::set_type).ok());
    ASSERT_TRUE(machine.take(End::broker, Tag::reply, EINVAL).ok());
    ASSERT_EQ(machine.phase(), Phase::opening);
  }
  EXPECT_EQ(machine.take(End::worker, Tag::set_type).error().code, Violation::too_often);
}

TEST(Phase, a_granted_request_may_not_be_repeated) {
  auto machine = after(kVersion1, kVersion1Mount, 4);
  EXPECT_EQ(machine.take(End::worker, Tag::set_type).error().code, Violation::out_of_phase);
}

TEST(Phase, notes_are_counted) {
  auto machine = after(kPrivateVersion, kPrivateMount, 2);
  for (unsigned i = 0; i < kNotes; ++i) ASSERT_TRUE(machine.take(End::worker, Tag::note).ok());
  EXPECT_EQ(machine.take(End::worker, Tag::note).error().code, Violation::too_often);
}

TEST(Phase, private_messages_are_unknown_to_version_1) {
  for (const Tag tag : {Tag::facts, Tag::note, Tag::refusal, Tag::ready, Tag::serving})
    for (std::size_t count = 0; count <= std::size(kVersion1Mount); ++count)
      EXPECT_FALSE(after(kVersion1, kVersion1Mount, count).take(End::worker, tag).ok());
}

TEST(Phase, the_worker_may_refuse_before_the_mount_is_attached_and_instead_of_serving) {
  EXPECT_TRUE(after(kPrivateVersion, kPrivateMount, 0).take(End::worker, Tag::refusal).ok());
  EXPECT_TRUE(after(kPrivateVersion, kPrivateMount, 12).take(End::worker, Tag::refusal).ok()) << "in place of READY";
  EXPECT_TRUE(after(kPrivateVersion, kPrivateMount, 14).take(End::worker, Tag::refusal).ok()) << "in place of SERVING";
  EXPECT_FALSE(after(kPrivateVersion, kPrivateMount, 15).take(End::worker, Tag::refusal).ok());
}

}  // namespace
