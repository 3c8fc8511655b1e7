// An image opened for writing, as the worker does it after the mount is in place.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "tests/support/image.h"
#include "worker/volume/volume.h"

namespace tests {

/// A device whose flushes cost nothing: these tests look at what was written, not at what survives a power cut.
class UnflushedDevice final : public worker::disk::BlockDevice {
 public:
  explicit UnflushedDevice(std::unique_ptr<worker::disk::BlockDevice> inner) : inner_{std::move(inner)} {}
  worker::disk::Result<void> read(worker::disk::ByteOffset offset, std::span<std::byte> into) override {
    return inner_->read(offset, into);
  }
  worker::disk::Result<void> write(worker::disk::ByteOffset offset, std::span<const std::byte> from) override {
    return inner_->write(offset, from);
  }
  worker::disk::Result<void> flush() override { return {}; }
  worker::disk::Result<void> discard(worker::disk::ByteOffset offset, std::uint64_t length) override {
    return inner_->discard(offset, length);
  }
  std::uint64_t size() const noexcept override { return inner_->size(); }
  bool read_only() const noexcept override { return inner_->read_only(); }

 private:
  std::unique_ptr<worker::disk::BlockDevice> inner_;
};

/// Opens, hands out and closes a volume; what goes wrong on the way is a test failure.
class WritableVolume {
 public:
  explicit WritableVolume(const Image& image, const worker::volume::MountOptions& options = {})
      : device_{image.open(options.read_only)} {
    auto opened = worker::volume::Volume::open(device_, options);
    if (!opened.ok()) throw std::runtime_error(opened.error().message());
    volume_ = std::move(opened).value();
    if (const auto started = volume_->start_writing(); !started.ok())
      throw std::runtime_error(started.error().message());
  }

  /// Ends the mount; the image can be looked at afterwards.
  void close() {
    const auto closed = volume_->close();
    EXPECT_TRUE(closed.ok()) << closed.error().message();
    volume_.reset();
  }

  worker::volume::Volume& operator*() { return *volume_; }
  worker::volume::Volume* operator->() { return volume_.get(); }

 private:
  UnflushedDevice device_;
  std::unique_ptr<worker::volume::Volume> volume_;
};

}  // namespace tests
