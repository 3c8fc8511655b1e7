#include "worker/disk/io_manager.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "worker/disk/ext2_errors.h"

namespace worker::disk {
namespace {

constexpr std::string_view kPrefix = "block-cache:";

BlockCache* cache_of(io_channel channel) noexcept {
  const bool ours = channel != nullptr && channel->magic == EXT2_ET_MAGIC_IO_CHANNEL &&
                    channel->manager == cache_io_manager() && channel->private_data != nullptr;
  return ours ? static_cast<BlockCache*>(channel->private_data) : nullptr;
}

/// A request in bytes of the volume. The library counts in its current block size, 1024 while it looks for the
/// superblock; a negative count is a number of bytes.
struct Range {
  ByteOffset start = 0;
  std::uint64_t length = 0;
};

Range range_of(io_channel channel, unsigned long long block, int count) noexcept {
  const auto size = static_cast<std::uint64_t>(channel->block_size);
  Range range;
  // A number too great for any volume must not wrap round to one that is inside.
  if (__builtin_mul_overflow(block, size, &range.start)) range.start = ~std::uint64_t{0};
  range.length =
      count < 0 ? static_cast<std::uint64_t>(-static_cast<long long>(count)) : static_cast<std::uint64_t>(count) * size;
  return range;
}

/// Calls piece(number, offset in block, length, offset in request) for each block of the cache that a range meets.
template <typename Piece>
errcode_t for_each_block(BlockCache& cache, Range range, Piece piece) {
  const std::uint64_t size = cache.block_size();
  if (range.start / size > cache.blocks() || range.length > cache.blocks() * size) return EXT2_ET_BAD_BLOCK_NUM;
  for (std::uint64_t done = 0; done < range.length;) {
    const BlockNumber number = (range.start + done) / size;
    const std::uint64_t from = (range.start + done) % size;
    const std::uint64_t length = std::min(size - from, range.length - done);
    if (number >= cache.blocks()) return EXT2_ET_BAD_BLOCK_NUM;
    if (const errcode_t failed = piece(number, from, length, done); failed != 0) return failed;
    done += length;
  }
  return 0;
}

errcode_t read_range(BlockCache& cache, Range range, std::byte* into) {
  const std::uint64_t many = range.length / cache.block_size();
  return for_each_block(cache, range, [&](BlockNumber number, auto from, auto length, auto done) -> errcode_t {
    constexpr std::uint64_t kWindow = 64;
    const std::uint64_t index = done / cache.block_size();
    if (many > 1 && index % kWindow == 0)
      cache.read_ahead(number, static_cast<std::uint32_t>(std::min(kWindow, many - std::min(many, index))));
    const auto outcome = cache.read_part(number, from, {into + done, length});
    if (!outcome.ok()) return to_errcode(outcome.error().code);
    return 0;
  });
}

errcode_t write_range(BlockCache& cache, Range range, const std::byte* from_memory) {
  if (!cache.in_operation()) return EXT2_ET_RO_FILSYS;
  return for_each_block(cache, range, [&](BlockNumber number, auto from, auto length, auto done) -> errcode_t {
    // What the library writes by itself are inodes, extent and attribute blocks; who writes directories says so.
    std::span<std::byte> bytes;
    if (length == cache.block_size()) {
      bytes = cache.create(number, BlockKind::inode);
    } else {
      const auto present = cache.modify(number, BlockKind::inode);
      if (!present.ok()) return to_errcode(present.error().code);
      bytes = *present;
    }
    std::memcpy(bytes.data() + from, from_memory + done, length);
    return 0;
  });
}

/// No exception may cross the library's C frames; what memory exhaustion leaves is a failed call.
template <typename Body>
errcode_t guarded(io_channel channel, Body body) noexcept {
  BlockCache* cache = cache_of(channel);
  if (cache == nullptr) return EXT2_ET_MAGIC_IO_CHANNEL;
  try {
    return body(*cache);
  } catch (const std::bad_alloc&) {
    return EXT2_ET_NO_MEMORY;
  }
}

errcode_t open_channel(const char* name, int, io_channel* opened) noexcept {
  const std::string_view text = name != nullptr ? name : "";
  if (!text.starts_with(kPrefix)) return EXT2_ET_BAD_DEVICE_NAME;
  std::uintptr_t address = 0;
  const auto [end, failed] = std::from_chars(text.data() + kPrefix.size(), text.data() + text.size(), address, 16);
  if (failed != std::errc{} || end != text.data() + text.size()) return EXT2_ET_BAD_DEVICE_NAME;

  auto* channel = static_cast<io_channel>(std::calloc(1, sizeof(struct_io_channel)));
  char* copy = ::strdup(name);
  if (channel == nullptr || copy == nullptr) {
    std::free(channel);
    std::free(copy);
    return EXT2_ET_NO_MEMORY;
  }
  channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel->manager = cache_io_manager();
  channel->name = copy;
  channel->block_size = 1024;
  channel->refcount = 1;
  channel->private_data = reinterpret_cast<void*>(address);
  *opened = channel;
  return 0;
}

errcode_t close_channel(io_channel channel) noexcept {
  if (cache_of(channel) == nullptr) return EXT2_ET_MAGIC_IO_CHANNEL;
  if (--channel->refcount > 0) return 0;
  std::free(channel->name);
  std::free(channel);
  return 0;
}

errcode_t set_block_size(io_channel channel, int size) noexcept {
  if (cache_of(channel) == nullptr) return EXT2_ET_MAGIC_IO_CHANNEL;
  if (size < 1024 || size > 65536 || (size & (size - 1)) != 0) return EXT2_ET_INVALID_ARGUMENT;
  channel->block_size = size;
  return 0;
}

errcode_t read_block64(io_channel channel, unsigned long long block, int count, void* into) noexcept {
  return guarded(channel, [&](BlockCache& cache) {
    return read_range(cache, range_of(channel, block, count), static_cast<std::byte*>(into));
  });
}

errcode_t read_block(io_channel channel, unsigned long block, int count, void* into) noexcept {
  return read_block64(channel, block, count, into);
}

errcode_t write_block64(io_channel channel, unsigned long long block, int count, const void* from) noexcept {
  return guarded(channel, [&](BlockCache& cache) {
    return write_range(cache, range_of(channel, block, count), static_cast<const std::byte*>(from));
  });
}

errcode_t write_block(io_channel channel, unsigned long block, int count, const void* from) noexcept {
  return write_block64(channel, block, count, from);
}

errcode_t write_bytes(io_channel channel, unsigned long offset, int count, const void* from) noexcept {
  if (count < 0) return EXT2_ET_INVALID_ARGUMENT;
  return guarded(channel, [&](BlockCache& cache) {
    return write_range(cache, {offset, static_cast<std::uint64_t>(count)}, static_cast<const std::byte*>(from));
  });
}

errcode_t flush(io_channel) noexcept { return 0; }

errcode_t set_option(io_channel, const char*, const char*) noexcept { return EXT2_ET_INVALID_ARGUMENT; }

errcode_t read_ahead(io_channel channel, unsigned long long block, unsigned long long count) noexcept {
  return guarded(channel, [&](BlockCache& cache) -> errcode_t {
    if (static_cast<std::uint32_t>(channel->block_size) != cache.block_size()) return EXT2_ET_OP_NOT_SUPPORTED;
    cache.read_ahead(block, static_cast<std::uint32_t>(std::min(count, 4096ULL)));
    return 0;
  });
}

}  // namespace

io_manager cache_io_manager() noexcept {
  static struct_io_manager manager = [] {
    struct_io_manager table{};
    table.magic = EXT2_ET_MAGIC_IO_MANAGER;
    table.name = "ext4box block cache";
    table.open = open_channel;
    table.close = close_channel;
    table.set_blksize = set_block_size;
    table.read_blk = read_block;
    table.write_blk = write_block;
    table.flush = flush;
    table.write_byte = write_bytes;
    table.set_option = set_option;
    table.read_blk64 = read_block64;
    table.write_blk64 = write_block64;
    table.cache_readahead = read_ahead;
    return table;
  }();
  return &manager;
}

std::string io_name(BlockCache& cache) {
  char digits[2 * sizeof(std::uintptr_t)];
  const auto end =
      std::to_chars(std::begin(digits), std::end(digits), reinterpret_cast<std::uintptr_t>(&cache), 16).ptr;
  return std::string{kPrefix}.append(std::begin(digits), end);
}

}  // namespace worker::disk
