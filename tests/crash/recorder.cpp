#include "tests/crash/recorder.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace crash {

Result<void> Recorder::read(ByteOffset offset, std::span<std::byte> into) {
  const std::lock_guard lock{mutex_};
  if (!inside(offset, into.size())) return protocol::errno_error(EIO, "read behind the end");
  std::memcpy(into.data(), bytes_.data() + offset, into.size());
  return {};
}

Result<void> Recorder::write(ByteOffset offset, std::span<const std::byte> from) {
  const std::lock_guard lock{mutex_};
  if (!inside(offset, from.size())) return protocol::errno_error(EIO, "write behind the end");
  std::memcpy(bytes_.data() + offset, from.data(), from.size());
  while (!from.empty()) {
    const std::size_t length = std::min<std::uint64_t>(from.size(), block_size_ - offset % block_size_);
    const auto part = from.first(length);
    events_.push_back({.kind = Event::Kind::write, .offset = offset, .bytes = {part.begin(), part.end()}});
    from = from.subspan(length);
    offset += length;
  }
  return {};
}

Result<void> Recorder::flush() {
  std::unique_lock lock{mutex_};
  const std::size_t called_at = events_.size();
  if (slow_) {
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds{300});
    lock.lock();
  }
  events_.push_back({.kind = Event::Kind::flush, .called_at = called_at});
  return {};
}

Result<void> Recorder::discard(ByteOffset offset, std::uint64_t length) {
  return write(offset, std::vector<std::byte>(length, std::byte{0xDB}));
}

void Recorder::mark(Event::Kind kind, Version version, InodeNumber inode) {
  const std::lock_guard lock{mutex_};
  events_.push_back({.kind = kind, .version = version, .inode = inode});
}

}  // namespace crash
