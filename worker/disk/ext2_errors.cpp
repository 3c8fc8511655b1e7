#include "worker/disk/ext2_errors.h"

#include <et/com_err.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <mutex>

namespace worker::disk {
namespace {

struct Meaning {
  errcode_t code;
  int number;
};

/// Codes that say something else than "the volume is damaged", which is what most of them say.
constexpr Meaning kMeanings[] = {
    {EXT2_ET_RO_FILSYS, EROFS},
    {EXT2_ET_FILE_RO, EROFS},
    {EXT2_ET_SHORT_READ, EIO},
    {EXT2_ET_SHORT_WRITE, EIO},
    {EXT2_ET_BLOCK_BITMAP_READ, EIO},
    {EXT2_ET_BLOCK_BITMAP_WRITE, EIO},
    {EXT2_ET_INODE_BITMAP_READ, EIO},
    {EXT2_ET_INODE_BITMAP_WRITE, EIO},
    {EXT2_ET_INODE_TABLE_READ, EIO},
    {EXT2_ET_INODE_TABLE_WRITE, EIO},
    {EXT2_ET_NEXT_INODE_READ, EIO},
    {EXT2_ET_GDESC_READ, EIO},
    {EXT2_ET_GDESC_WRITE, EIO},
    {EXT2_ET_LLSEEK_FAILED, EIO},
    {EXT2_ET_DIR_NO_SPACE, ENOSPC},
    {EXT2_ET_DIR_EXISTS, EEXIST},
    {EXT2_ET_FILE_EXISTS, EEXIST},
    {EXT2_ET_FILE_NOT_FOUND, ENOENT},
    {EXT2_ET_NO_DIRECTORY, ENOTDIR},
    {EXT2_ET_SYMLINK_LOOP, ELOOP},
    {EXT2_ET_BLOCK_ALLOC_FAIL, ENOSPC},
    {EXT2_ET_INODE_ALLOC_FAIL, ENOSPC},
    {EXT2_ET_TOOSMALL, ENOSPC},
    {EXT2_ET_EA_NO_SPACE, ENOSPC},
    {EXT2_ET_EA_KEY_NOT_FOUND, ENODATA},
    {EXT2_ET_FILE_TOO_BIG, EFBIG},
    {EXT2_ET_NO_MEMORY, ENOMEM},
    {EXT2_ET_INVALID_ARGUMENT, EINVAL},
    {EXT2_ET_UNIMPLEMENTED, EOPNOTSUPP},
    {EXT2_ET_OP_NOT_SUPPORTED, EOPNOTSUPP},
    {EXT2_ET_UNSUPP_FEATURE, EOPNOTSUPP},
    {EXT2_ET_RO_UNSUPP_FEATURE, EOPNOTSUPP},
    {EXT2_ET_EXTENT_NO_DOWN, EINVAL},
    {EXT2_ET_EXTENT_NO_UP, EINVAL},
    {EXT2_ET_EXTENT_NO_NEXT, EINVAL},
    {EXT2_ET_EXTENT_NO_PREV, EINVAL},
    {EXT2_ET_EXTENT_NOT_FOUND, EINVAL},
    {EXT2_ET_NO_CURRENT_NODE, EINVAL},
    {EXT2_ET_CANT_INSERT_EXTENT, ENOSPC},
    {EXT2_ET_CANT_SPLIT_EXTENT, ENOSPC},
    {EXT2_ET_EXTENT_NO_SPACE, ENOSPC},
    {EXT2_ET_INLINE_DATA_NO_SPACE, ENOSPC},
};

bool from_library(errcode_t code) noexcept { return code >= EXT2_ET_BASE && code < EXT2_ET_BASE + 256; }

class Ext2Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "ext2fs"; }

  std::string message(int code) const override {
    static std::once_flag tables;
    std::call_once(tables, initialize_ext2_error_table);
    return ::error_message(code);
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    const auto* found = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                     [code](const Meaning& meaning) { return meaning.code == code; });
    return {found != std::end(kMeanings) ? found->number : EUCLEAN, std::generic_category()};
  }
};

}  // namespace

const std::error_category& ext2_category() noexcept {
  static const Ext2Category category;
  return category;
}

std::error_code ext2_code(errcode_t code) noexcept {
  if (from_library(code)) return {static_cast<int>(code), ext2_category()};
  if (code > 0 && code < 4096) return {static_cast<int>(code), std::generic_category()};
  return {EIO, std::generic_category()};
}

protocol::Error ext2_error(errcode_t code, std::string detail) { return {ext2_code(code), std::move(detail)}; }

errcode_t to_errcode(const std::error_code& code) noexcept {
  if (code.category() == ext2_category()) return code.value();
  return error_number(code);
}

int error_number(const std::error_code& code) noexcept {
  if (code.category() == std::generic_category() || code.category() == std::system_category()) return code.value();
  const std::error_condition condition = code.default_error_condition();
  return condition.category() == std::generic_category() ? condition.value() : EIO;
}

bool is_corruption(const std::error_code& code) noexcept { return error_number(code) == EUCLEAN; }

}  // namespace worker::disk
