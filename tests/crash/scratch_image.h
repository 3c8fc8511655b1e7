// The bytes of a volume that many states are laid over: changed in place, in a file that other programs see, and put
// back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "protocol/unique_fd.h"
#include "worker/disk/block_device.h"

namespace crash {

using worker::disk::ByteOffset;
using worker::disk::Result;

/// A file in memory, mapped. Writes through this object can be undone, so that a state costs what it changes and not
/// what the volume is long.
class ScratchImage {
 public:
  explicit ScratchImage(std::span<const std::byte> contents);
  ~ScratchImage();
  ScratchImage(const ScratchImage&) = delete;
  ScratchImage& operator=(const ScratchImage&) = delete;

  /// For other programs, as long as the object lives.
  std::string path() const;
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  void write(ByteOffset offset, std::span<const std::byte> from);

  /// A point to which roll_back() leads. What was written before the last keep() cannot be undone.
  std::size_t mark() const noexcept { return undo_.size(); }
  void roll_back(std::size_t mark);
  void keep() { undo_.clear(), saved_.clear(); }

  /// Of the whole contents; costs what was changed since the last call.
  std::uint64_t hash();

  /// Makes this file equal to `other`, whoever changed it: another program may have.
  void become(const ScratchImage& other);

 private:
  struct Undo {
    ByteOffset offset;
    std::size_t length;  ///< its old bytes are the last ones of saved_
  };
  static constexpr std::size_t kChunk = 1024;
  void touch(ByteOffset offset, std::size_t length);

  protocol::UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<Undo> undo_;
  std::vector<std::byte> saved_;
  std::vector<std::uint64_t> hashes_;  ///< of each chunk
  std::vector<bool> stale_;            ///< chunks whose hash is not up to date
  std::vector<std::size_t> touched_;
  std::uint64_t hash_ = 0;
};

/// A scratch image as a device to mount.
class ScratchDevice final : public worker::disk::BlockDevice {
 public:
  explicit ScratchDevice(ScratchImage& image, bool read_only = false) : image_{image}, read_only_{read_only} {}
  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  Result<void> flush() override { return {}; }
  Result<void> discard(ByteOffset, std::uint64_t) override { return {}; }
  std::uint64_t size() const noexcept override { return image_.bytes().size(); }
  bool read_only() const noexcept override { return read_only_; }

 private:
  ScratchImage& image_;
  bool read_only_;
};

}  // namespace crash
