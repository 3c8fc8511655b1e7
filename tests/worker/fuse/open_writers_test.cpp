#include "worker/fuse/open_writers.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

namespace worker::fuse {
namespace {

using namespace std::chrono_literals;

TEST(OpenWriters, counts_those_who_may_write) {
  OpenWriters writers;
  EXPECT_TRUE(writers.none(5, 0ms));
  writers.opened(5, O_RDONLY);
  EXPECT_TRUE(writers.none(5, 0ms));
  writers.opened(5, O_WRONLY);
  writers.opened(5, O_RDWR);
  EXPECT_FALSE(writers.none(5, 0ms));
  EXPECT_TRUE(writers.none(6, 0ms));
  EXPECT_TRUE(writers.none(5 + 16, 0ms));
  writers.released(5, O_RDONLY);
  writers.released(5, O_RDWR);
  EXPECT_FALSE(writers.none(5, 0ms));
  writers.released(5, O_WRONLY);
  EXPECT_TRUE(writers.none(5, 0ms));
}

TEST(OpenWriters, a_release_too_many_is_nothing) {
  OpenWriters writers;
  writers.released(5, O_RDWR);
  writers.opened(5, O_RDWR);
  EXPECT_FALSE(writers.none(5, 0ms));
}

TEST(OpenWriters, waits_for_a_release_under_way) {
  OpenWriters writers;
  writers.opened(5, O_RDWR);
  std::jthread later{[&] {
    std::this_thread::sleep_for(5ms);
    writers.released(5, O_RDWR);
  }};
  EXPECT_TRUE(writers.none(5, 60s));
}

}  // namespace
}  // namespace worker::fuse
