// An image opened for writing, as the worker does it after the mount is in place.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/image.h"
#include "worker/volume/volume.h"

namespace tests {

/// Opens, hands out and closes a volume; what goes wrong on the way is a test failure.
class WritableVolume {
 public:
  explicit WritableVolume(const Image& image, const worker::volume::MountOptions& options = {})
      : device_{image.open(options.read_only)} {
    auto opened = worker::volume::Volume::open(*device_, options);
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
    device_.reset();
  }

  worker::volume::Volume& operator*() { return *volume_; }
  worker::volume::Volume* operator->() { return volume_.get(); }

 private:
  std::unique_ptr<worker::disk::FileDevice> device_;
  std::unique_ptr<worker::volume::Volume> volume_;
};

}  // namespace tests
