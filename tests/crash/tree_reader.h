// Reads a volume into a Tree with libext2fs and nothing of ours: the second opinion on what is in an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/result.h"
#include "tests/crash/tree.h"

namespace crash {

/// Everything that can be reached from the root. Fails where libext2fs does, checksums included.
protocol::Result<Tree> read_tree(std::span<const std::byte> volume);

/// The blocks of the journal, in its order; empty without one.
std::vector<std::uint64_t> journal_blocks(std::span<const std::byte> volume);

}  // namespace crash
