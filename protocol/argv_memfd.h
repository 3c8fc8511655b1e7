// The command line as it travels to the worker: a sealed memory file.
//
// Layout, all big-endian: u32 "ARGS", u32 count, then per argument u32 position (from the start of the file) and u32
// length (with its NUL), then the strings. Argument 0 is the file system's type, not a program name.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "protocol/result.h"
#include "protocol/unique_fd.h"

namespace protocol {

/// The largest such file, bytes.
inline constexpr std::size_t kMaximumArguments = 1u << 20;

/// A memory file with these arguments, open for reading only and sealed against every change.
Result<UniqueFd> make_argument_file(std::span<const std::string> arguments);

/// The contents of such a file.
Result<std::vector<std::byte>> encode_arguments(std::span<const std::string> arguments);

/// Reads a file that anybody may have made: copied once into our own memory, then judged, so that nobody changes it in
/// between.
Result<std::vector<std::string>> read_argument_file(int descriptor);

/// The judging alone. At least one argument, every string inside the file and ended by its NUL, all of them together
/// not longer than the file (so overlapping strings cannot multiply its size).
Result<std::vector<std::string>> decode_arguments(std::span<const std::byte> file);

}  // namespace protocol
