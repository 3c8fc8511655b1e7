#include "worker/disk/ext2_errors.h"

#include <gtest/gtest.h>

namespace worker::disk {
namespace {

TEST(Ext2Errors, keep_the_library_s_text_and_mean_an_errno) {
  const auto error = ext2_error(EXT2_ET_DIR_CSUM_INVALID, "directory");
  EXPECT_EQ(error.message(), "directory: Directory block checksum does not match directory block");
  EXPECT_EQ(error_number(error.code), EUCLEAN);
  EXPECT_TRUE(is_corruption(error.code));
  EXPECT_EQ(error_number(ext2_code(EXT2_ET_BLOCK_ALLOC_FAIL)), ENOSPC);
  EXPECT_EQ(error_number(ext2_code(EXT2_ET_RO_FILSYS)), EROFS);
  EXPECT_FALSE(is_corruption(ext2_code(EXT2_ET_NO_MEMORY)));
}

TEST(Ext2Errors, pass_an_errno_through_the_library_and_back) {
  for (const int number : {EIO, EUCLEAN, ENOSPC, ENOMEM}) {
    const auto code = ext2_code(to_errcode(protocol::errno_error(number).code));
    EXPECT_EQ(code, std::error_code(number, std::generic_category()));
    EXPECT_EQ(error_number(code), number);
  }
  EXPECT_EQ(to_errcode(ext2_code(EXT2_ET_DIR_CORRUPTED)), EXT2_ET_DIR_CORRUPTED);
}

TEST(Ext2Errors, make_io_errors_of_nonsense) {
  EXPECT_EQ(error_number(ext2_code(-5)), EIO);
  EXPECT_EQ(error_number(ext2_code(123456789)), EIO);
}

}  // namespace
}  // namespace worker::disk
