#include "worker/title.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

/// A process's first memory, as the kernel lays it out: arguments, then environment.
struct Memory {
  char bytes[64] = "program\0--spawned\0A=1\0BB=22";
  char* arguments[3] = {bytes, bytes + 8, nullptr};
  char* environment[3] = {bytes + 18, bytes + 22, nullptr};
  static constexpr std::size_t kUsed = 28;
};

class Title : public testing::Test {
 protected:
  void SetUp() override {
    before_ = ::environ;
    ::environ = memory_.environment;
  }
  void TearDown() override { ::environ = before_; }
  Memory memory_;
  char** before_ = nullptr;
};

TEST_F(Title, fills_the_room_and_not_a_byte_more) {
  std::memset(memory_.bytes + Memory::kUsed, '#', sizeof memory_.bytes - Memory::kUsed);
  worker::ProcessTitle title{2, memory_.arguments};
  title.show("/a/very/long/source");
  EXPECT_STREQ(memory_.bytes, "ext4box-worker: /a/very/lon");
  EXPECT_EQ(memory_.bytes[Memory::kUsed], '#');
}

TEST_F(Title, shows_control_bytes_as_question_marks) {
  worker::ProcessTitle title{2, memory_.arguments};
  title.show("a\nb\x7f");
  EXPECT_STREQ(memory_.bytes, "ext4box-worker: a?b?");
}

TEST_F(Title, leaves_no_environment_that_could_be_read_as_one) {
  worker::ProcessTitle title{2, memory_.arguments};
  title.show("BB=33");
  EXPECT_EQ(std::getenv("BB"), nullptr);
}

TEST_F(Title, shows_nothing_where_there_is_no_room) {
  char small[] = "x";
  char* arguments[] = {small, nullptr};
  worker::ProcessTitle title{1, arguments};
  title.show("source");
  EXPECT_STREQ(small, "x");
  worker::ProcessTitle none{0, nullptr};
  none.show("source");
}

}  // namespace
