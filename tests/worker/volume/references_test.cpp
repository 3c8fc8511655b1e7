#include "worker/volume/references.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace worker::volume {
namespace {

TEST(References, counts_what_is_lent_until_it_is_given_back) {
  References references;
  references.lend(12);
  references.lend(12);
  references.lend(13);
  EXPECT_EQ(references.size(), 2u);
  EXPECT_FALSE(references.give_back(12, 1));
  EXPECT_TRUE(references.lent(12));
  EXPECT_TRUE(references.give_back(12, 1));
  EXPECT_FALSE(references.lent(12));
  EXPECT_TRUE(references.lent(13));
  EXPECT_EQ(references.size(), 1u);
}

TEST(References, never_counts_the_root) {
  References references;
  references.lend(kRootInode);
  EXPECT_EQ(references.size(), 0u);
  EXPECT_FALSE(references.give_back(kRootInode, 1));
}

TEST(References, survives_a_kernel_that_gives_back_too_much) {
  References references;
  references.lend(20);
  EXPECT_TRUE(references.give_back(20, ~std::uint64_t{0}));
  EXPECT_TRUE(references.give_back(20, 1));
  EXPECT_EQ(references.size(), 0u);
}

TEST(References, loses_no_count_among_threads) {
  References references;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) references.lend(static_cast<InodeNumber>(11 + i % 40));
    });
  }
  threads.clear();
  EXPECT_EQ(references.size(), 40u);
  for (InodeNumber inode = 11; inode < 51; ++inode) {
    EXPECT_FALSE(references.give_back(inode, 199));
    EXPECT_TRUE(references.give_back(inode, 1));
  }
}

}  // namespace
}  // namespace worker::volume
