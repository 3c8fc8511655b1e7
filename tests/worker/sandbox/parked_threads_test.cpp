#include "worker/sandbox/parked_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

namespace {

using worker::sandbox::ParkedThreads;

TEST(ParkedThreads, run_as_many_works_at_once_as_there_are_threads_and_no_more) {
  ParkedThreads threads;
  ASSERT_TRUE(threads.start(2));
  std::latch both{2}, go{1};
  const auto work = [&] {
    both.count_down();
    go.wait();
  };
  EXPECT_TRUE(threads.run(work));
  EXPECT_TRUE(threads.run(work));
  both.wait();
  const auto third = threads.run([] {});
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code.value(), EAGAIN);
  go.count_down();
}

TEST(ParkedThreads, take_work_again_and_again) {
  ParkedThreads threads;
  ASSERT_TRUE(threads.start(1));
  std::atomic<int> done = 0;
  for (int round = 0; round < 100; ++round) {
    while (!threads.run([&] { ++done; })) std::this_thread::yield();
  }
  threads.finish();
  EXPECT_EQ(done, 100);
}

TEST(ParkedThreads, finish_what_was_given_to_them) {
  std::atomic<bool> done = false;
  {
    ParkedThreads threads;
    ASSERT_TRUE(threads.start(1));
    ASSERT_TRUE(threads.run([&] { done = true; }));
  }
  EXPECT_TRUE(done);
}

TEST(ParkedThreads, refuse_work_when_none_was_started_or_all_have_ended) {
  ParkedThreads threads;
  EXPECT_FALSE(threads.run([] {}));
  ASSERT_TRUE(threads.start(1));
  threads.finish();
  EXPECT_FALSE(threads.run([] {}));
}

}  // namespace
