// The one place that puts attributes of inodes into replies.
#pragma once

#include <cstdint>

#include "worker/fuse/kernel_abi.h"
#include "worker/volume/types.h"

namespace worker::fuse {

using volume::InodeNumber;

/// Seconds for which the kernel may believe names and attributes: nobody else writes the volume, so as good as for
/// ever. Larger figures would overflow where the kernel counts in signed seconds.
inline constexpr std::uint64_t kForever = UINT32_MAX;

/// Node ids are inode numbers, but FUSE calls the root 1.
constexpr std::uint64_t node_id(InodeNumber inode) noexcept {
  return inode == volume::kRootInode ? FUSE_ROOT_ID : inode;
}
/// ESTALE for an id that node_id() never gives.
volume::Result<InodeNumber> inode_number(std::uint64_t node);

fuse_attr encode_attributes(const volume::Attributes& attributes) noexcept;
fuse_attr_out encode_attributes_reply(const volume::Attributes& attributes) noexcept;
fuse_entry_out encode_entry(const volume::Attributes& attributes) noexcept;
/// "There is no such name", to be remembered like a name.
fuse_entry_out encode_missing_entry() noexcept;
abi::StatxOut encode_statx(const volume::Attributes& attributes) noexcept;

}  // namespace worker::fuse
