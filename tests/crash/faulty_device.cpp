#include "tests/crash/faulty_device.h"

namespace crash {

bool FaultyDevice::fails(Kind kind) noexcept {
  const std::size_t number = counts_[static_cast<std::size_t>(kind)]++;
  if (!fault_ || fault_->kind != kind) return false;
  return fault_->once ? number == fault_->at : number >= fault_->at;
}

Result<void> FaultyDevice::read(ByteOffset offset, std::span<std::byte> into) {
  if (fails(Kind::read)) return protocol::errno_error(fault_->error, "injected");
  return inner_.read(offset, into);
}

Result<void> FaultyDevice::write(ByteOffset offset, std::span<const std::byte> from) {
  if (!fails(Kind::write)) return inner_.write(offset, from);
  // Not in the middle of a superblock: every ext4 relies on getting it whole.
  if (fault_->half) TRY(inner_.write(offset, from.first(from.size() / 2 / 1024 * 1024)));
  return protocol::errno_error(fault_->error, "injected");
}

Result<void> FaultyDevice::flush() {
  if (fails(Kind::flush)) {
    lose_power();
    return protocol::errno_error(fault_->error, "injected");
  }
  durable_ = image_.mark();
  return {};
}

}  // namespace crash
