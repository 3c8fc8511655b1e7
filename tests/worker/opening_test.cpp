// How the worker asks for its volume, and what it takes for one.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/image.h"
#include "tests/worker/workers_end.h"

namespace {

using protocol::Violation;
using testing_support::code;
using testing_support::HostileBroker;
using testing_support::memory_file;
using testing_support::WorkersEnd;
using worker::Control;
using worker::Result;
using worker::SourceFile;
using worker::UniqueFd;

/// An answer to an OPEN: an errno, or 0 and the descriptor.
struct Answer {
  std::uint32_t error;
  int descriptor = -1;
};

class Opening : public WorkersEnd {
 protected:
  /// What open_source says when OPENs are answered so; `asked_` has the flags of each.
  Result<SourceFile> open(std::vector<Answer> answers, bool write, bool fall_back, const char* name = "disk.img",
                          std::uint16_t version = 1) {
    asked_.clear();
    return after_greeting(
        version,
        [&, answers](HostileBroker& broker) {
          for (const Answer& answer : answers) {
            const std::string packet = broker.hear();
            if (packet.size() < 8) return;
            asked_.push_back(packet[7]);
            broker.say(protocol::File{answer.error, {name}},
                       answer.descriptor < 0 ? std::vector<int>{} : std::vector<int>{answer.descriptor});
          }
        },
        [&](Control& control) { return control.open_source("disk.img", write, fall_back); });
  }
  std::vector<int> asked_;
};

TEST_F(Opening, falls_back_to_reading_only_where_that_may_be) {
  const UniqueFd file = memory_file("volume");
  const UniqueFd reading{::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY)};
  for (const std::uint32_t error : {EPERM, EACCES, EROFS}) {
    EXPECT_TRUE(open({{error}, {0, reading.get()}}, true, true)) << error;
    EXPECT_EQ(asked_, (std::vector<int>{O_RDWR, O_RDONLY}));
    EXPECT_EQ(code(open({{error}}, true, false)).value(), static_cast<int>(error));
    EXPECT_EQ(code(open({{error}}, false, true)).value(), static_cast<int>(error));
  }
  EXPECT_EQ(code(open({{EIO}}, true, true)), std::errc::io_error);
}

TEST_F(Opening, tries_a_busy_source_again_until_its_patience_ends) {
  const UniqueFd file = memory_file("volume");
  EXPECT_TRUE(open({{EBUSY}, {0, file.get()}}, true, true));
  EXPECT_EQ(asked_.size(), 2U);
  EXPECT_EQ(code(open(std::vector<Answer>(100, {EBUSY}), true, true)), std::errc::device_or_resource_busy);
  EXPECT_LT(asked_.size(), 10U);
}

TEST_F(Opening, takes_only_a_file_or_block_device_open_as_it_asked) {
  const UniqueFd file = memory_file("volume");
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const UniqueFd reading{::open(path.c_str(), O_RDONLY)}, writing{::open(path.c_str(), O_WRONLY)},
      path_only{::open(path.c_str(), O_PATH)}, directory{::open("/", O_RDONLY | O_DIRECTORY)},
      character{::open("/dev/zero", O_RDWR)};
  EXPECT_TRUE(open({{0, reading.get()}}, false, true));
  EXPECT_FALSE(open({{0, reading.get()}}, true, true)) << "it asked to write";
  EXPECT_FALSE(open({{0, writing.get()}}, true, true));
  EXPECT_FALSE(open({{0, writing.get()}}, false, true));
  EXPECT_FALSE(open({{0, path_only.get()}}, false, true));
  EXPECT_FALSE(open({{0, directory.get()}}, false, true));
  EXPECT_FALSE(open({{0, character.get()}}, true, true));
  EXPECT_EQ(code(open({{0, file.get()}}, true, true, "other.img")), Violation::mismatch);
  EXPECT_EQ(code(open({{0}}, true, true)), Violation::missing_descriptor);
  EXPECT_EQ(code(open({{EACCES, file.get()}}, true, true)), Violation::extra_descriptor);
}

TEST_F(Opening, asks_our_own_broker_for_the_direct_way_as_well) {
  const tests::TemporaryDirectory directory;
  const std::string path = directory.path() / "volume", another = directory.path() / "another";
  const auto opened = [](const std::string& name, int flags) {
    return UniqueFd{::open(name.c_str(), flags | O_CREAT | O_CLOEXEC, 0600)};
  };
  const UniqueFd file = opened(path, O_RDWR), direct = opened(path, O_RDWR | O_DIRECT),
                 reading = opened(path, O_RDONLY | O_DIRECT), other = opened(another, O_RDWR | O_DIRECT);
  const auto with = [&](Answer second) {
    return open({{0, file.get()}, second}, true, true, "disk.img", protocol::kPrivateVersion);
  };
  const auto both = with({0, direct.get()});
  ASSERT_TRUE(both) << both.error().message();
  EXPECT_EQ(::fcntl(both->direct.get(), F_GETFL) & (O_ACCMODE | O_DIRECT), O_RDWR | O_DIRECT);

  const auto refused = with({EPERM});
  ASSERT_TRUE(refused) << refused.error().message();
  EXPECT_FALSE(refused->direct);
  EXPECT_TRUE(refused->descriptor);

  EXPECT_FALSE(with({0, file.get()})) << "not direct";
  EXPECT_FALSE(with({0, reading.get()})) << "cannot be written";
  EXPECT_FALSE(with({0, other.get()})) << "another file";
  EXPECT_EQ(code(with({0})), Violation::missing_descriptor);
}

}  // namespace
