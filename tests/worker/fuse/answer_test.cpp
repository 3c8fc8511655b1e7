#include "worker/fuse/answer.h"

#include <gtest/gtest.h>

#include "protocol/errors.h"
#include "worker/disk/ext2_errors.h"
#include "worker/disk/ext2fs.h"

namespace worker::fuse {
namespace {

TEST(Answer, an_errno_stays_itself) {
  EXPECT_EQ(errno_of(errno_error(ENOENT)), ENOENT);
  EXPECT_EQ(errno_of(errno_error(EUCLEAN)), EUCLEAN);
  EXPECT_EQ(errno_of({std::error_code{EROFS, std::system_category()}}), EROFS);
}

TEST(Answer, no_number_reaches_the_kernel_that_it_would_refuse) {
  for (const int number : {0, -1, 512, 1000, INT32_MAX, INT32_MIN})
    EXPECT_EQ(errno_of(errno_error(number)), EIO) << number;
}

TEST(Answer, errors_of_libext2fs_mean_something) {
  EXPECT_EQ(errno_of(disk::ext2_error(EXT2_ET_BLOCK_ALLOC_FAIL)), ENOSPC);
  EXPECT_EQ(errno_of(disk::ext2_error(EXT2_ET_NO_MEMORY)), ENOMEM);
  EXPECT_EQ(errno_of(disk::ext2_error(EXT2_ET_DIR_CORRUPTED)), EUCLEAN);
}

TEST(Answer, what_has_no_errno_is_an_input_output_error) {
  EXPECT_EQ(errno_of(protocol::protocol_error(protocol::Violation::malformed)), EIO);
}

TEST(Answer, want_of_memory_is_an_error_like_others) {
  const auto result = attempt([]() -> Result<int> { throw std::bad_alloc{}; });
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(errno_of(result.error()), ENOMEM);
}

}  // namespace
}  // namespace worker::fuse
