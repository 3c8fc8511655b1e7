// libext2fs's error codes as std::error_code, and what they mean to the kernel.
#pragma once

#include <system_error>

#include "protocol/result.h"
#include "worker/disk/ext2fs.h"

namespace worker::disk {

/// The category of EXT2_ET_* codes. Its default conditions are errno values (corruption: EUCLEAN).
const std::error_category& ext2_category() noexcept;

/// What a libext2fs call returned, which is an EXT2_ET_* code or a plain errno. Not for 0.
std::error_code ext2_code(errcode_t code) noexcept;
protocol::Error ext2_error(errcode_t code, std::string detail = {});

/// The other way: an error as a callback hands it to libext2fs.
errcode_t to_errcode(const std::error_code& code) noexcept;

/// The errno that a code means; EIO for what has none.
int error_number(const std::error_code& code) noexcept;

/// True when the code says that what is stored on the volume is wrong, rather than that a request was or that I/O
/// failed.
bool is_corruption(const std::error_code& code) noexcept;

}  // namespace worker::disk

/// Returns from the enclosing function, which yields a Result, if a libext2fs call failed.
#define TRY_EXT2(...) \
  if (const errcode_t ext2_failed = (__VA_ARGS__); ext2_failed != 0) return ::worker::disk::ext2_error(ext2_failed)
