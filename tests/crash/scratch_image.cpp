#include "tests/crash/scratch_image.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace crash {
namespace {

std::uint64_t mix(std::uint64_t value) noexcept {
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93;
  return value ^ value >> 32;
}

std::uint64_t hash_of(const std::byte* chunk, std::size_t size, std::uint64_t seed) noexcept {
  std::uint64_t hash = mix(seed + 1);
  for (std::size_t at = 0; at < size; at += sizeof hash) {
    std::uint64_t word = 0;
    std::memcpy(&word, chunk + at, sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return mix(hash);
}

/// Aborts: without its files no test can go on.
void must(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::abort();
}

}  // namespace

ScratchImage::ScratchImage(std::span<const std::byte> contents) : size_{contents.size()} {
  fd_ = protocol::UniqueFd{::memfd_create("volume", MFD_CLOEXEC)};
  must(static_cast<bool>(fd_), "memfd_create");
  must(::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0, "ftruncate");
  void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  must(mapped != MAP_FAILED, "mmap");
  data_ = static_cast<std::byte*>(mapped);
  std::memcpy(data_, contents.data(), size_);
  hashes_.resize((size_ + kChunk - 1) / kChunk);
  stale_.resize(hashes_.size());
  touch(0, size_);
}

ScratchImage::~ScratchImage() { ::munmap(data_, size_); }

std::string ScratchImage::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
}

void ScratchImage::touch(ByteOffset offset, std::size_t length) {
  if (length == 0) return;
  for (std::size_t chunk = offset / kChunk; chunk <= (offset + length - 1) / kChunk; ++chunk) {
    if (stale_[chunk]) continue;
    stale_[chunk] = true;
    touched_.push_back(chunk);
  }
}

void ScratchImage::write(ByteOffset offset, std::span<const std::byte> from) {
  undo_.push_back({offset, from.size()});
  saved_.insert(saved_.end(), data_ + offset, data_ + offset + from.size());
  std::memcpy(data_ + offset, from.data(), from.size());
  touch(offset, from.size());
}

void ScratchImage::roll_back(std::size_t mark) {
  while (undo_.size() > mark) {
    const Undo& undo = undo_.back();
    std::memcpy(data_ + undo.offset, saved_.data() + saved_.size() - undo.length, undo.length);
    saved_.resize(saved_.size() - undo.length);
    touch(undo.offset, undo.length);
    undo_.pop_back();
  }
}

std::uint64_t ScratchImage::hash() {
  for (const std::size_t chunk : touched_) {
    const std::size_t at = chunk * kChunk;
    hash_ ^= hashes_[chunk];
    hashes_[chunk] = hash_of(data_ + at, std::min(kChunk, size_ - at) / 8 * 8, chunk);
    hash_ ^= hashes_[chunk];
    stale_[chunk] = false;
  }
  touched_.clear();
  return hash_;
}

void ScratchImage::become(const ScratchImage& other) {
  constexpr std::size_t kPiece = 4096;
  for (std::size_t at = 0; at < size_; at += kPiece) {
    const std::size_t length = std::min(kPiece, size_ - at);
    if (std::memcmp(data_ + at, other.data_ + at, length) == 0) continue;
    std::memcpy(data_ + at, other.data_ + at, length);
    touch(at, length);
  }
  keep();
}

Result<void> ScratchDevice::read(ByteOffset offset, std::span<std::byte> into) {
  if (offset > size() || into.size() > size() - offset) return protocol::errno_error(EIO, "read behind the end");
  std::memcpy(into.data(), image_.bytes().data() + offset, into.size());
  return {};
}

Result<void> ScratchDevice::write(ByteOffset offset, std::span<const std::byte> from) {
  if (read_only_) return protocol::errno_error(EROFS);
  if (offset > size() || from.size() > size() - offset) return protocol::errno_error(EIO, "write behind the end");
  image_.write(offset, from);
  return {};
}

}  // namespace crash
