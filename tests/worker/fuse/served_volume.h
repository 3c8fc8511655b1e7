// A real volume on a fresh image, served by our server to a fake kernel.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_kernel.h"
#include "tests/support/image.h"
#include "worker/fuse/session.h"
#include "worker/volume/volume.h"

namespace tests {

class ServedVolume {
 public:
  struct Wishes {
    std::string make = "-t ext4 -b 4096";
    std::string size = "32M";
    bool read_only = false;
    unsigned threads = 2;
    bool writing = true;  ///< start_writing() before the first request
    worker::volume::MountOptions options = {};
  };

  ServedVolume() : ServedVolume(Wishes{}) {}
  explicit ServedVolume(Wishes wishes);
  /// Hangs up, waits for the close, and expects e2fsck to be silent.
  ~ServedVolume();

  FakeKernel kernel;
  Image image;

  worker::volume::Volume& volume() { return *volume_; }
  worker::fuse::Server& server() { return server_; }
  int closed() const { return closed_; }

  /// Ends the session as an unmount does, and waits until the volume is closed.
  void unmount();

  // Requests that most tests need; they expect success.
  fuse_entry_out lookup(std::uint64_t parent, std::string_view name);
  fuse_entry_out create(std::uint64_t parent, std::string_view name, std::uint32_t mode = 0644, Asker asker = {});
  fuse_entry_out make_directory(std::uint64_t parent, std::string_view name, std::uint32_t mode = 0755);
  void write(std::uint64_t node, std::uint64_t offset, std::string_view bytes, std::uint32_t flags = 0);
  std::string read(std::uint64_t node, std::uint64_t offset, std::uint32_t size);
  fuse_attr attributes(std::uint64_t node);
  void forget(std::uint64_t node, std::uint64_t count = 1);
  int set_flags(std::uint64_t node, std::uint32_t flags);

 private:
  std::unique_ptr<worker::disk::BlockDevice> device_;
  std::unique_ptr<worker::volume::Volume> volume_;
  worker::fuse::Server server_;
  std::atomic<int> closed_ = 0;
  std::vector<std::jthread> threads_;
  bool over_ = false;
};

/// The reply's body with the sizes that a kernel insists on.
template <typename Structure>
Structure exactly(const Reply& reply) {
  EXPECT_EQ(reply.error, 0);
  EXPECT_EQ(reply.body.size(), sizeof(Structure));
  return reply.as<Structure>();
}

inline Body read_request(std::uint64_t offset, std::uint32_t size) {
  fuse_read_in in{};
  in.offset = offset;
  in.size = size;
  return Body{}.add(in);
}

inline Body named(std::string_view name) { return Body{}.text(name); }

}  // namespace tests
