// A scratch image on a device that breaks.
#pragma once

#include <cerrno>
#include <optional>

#include "tests/crash/scratch_image.h"

namespace crash {

/// Passes everything on until the call that is to fail. One thread.
class FaultyDevice final : public worker::disk::BlockDevice {
 public:
  enum class Kind : std::uint8_t { read, write, flush };
  struct Fault {
    Kind kind;
    std::size_t at = 0;  ///< the first call of its kind that fails, from 0
    int error = EIO;
    bool once = false;  ///< later calls succeed
    bool half = false;  ///< a write that fails has written the first half of its bytes
  };

  explicit FaultyDevice(ScratchImage& image) : image_{image}, inner_{image}, durable_{image.mark()} {}

  void set(Fault fault) { fault_ = fault; }
  std::size_t count(Kind kind) const noexcept { return counts_[static_cast<std::size_t>(kind)]; }
  /// Takes back what no flush has made durable.
  void lose_power() { image_.roll_back(durable_); }

  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  /// One that fails has lost what it was to make durable, as the kernel may drop pages that it cannot write.
  Result<void> flush() override;
  Result<void> discard(ByteOffset, std::uint64_t) override { return {}; }
  std::uint64_t size() const noexcept override { return inner_.size(); }
  bool read_only() const noexcept override { return false; }

 private:
  bool fails(Kind kind) noexcept;

  ScratchImage& image_;
  ScratchDevice inner_;
  std::size_t durable_;  ///< mark of the image
  std::optional<Fault> fault_;
  std::size_t counts_[3] = {};
};

}  // namespace crash
