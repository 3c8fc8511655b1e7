// The kernel may withdraw a request while we serve it. What the reply would have lent must not stay lent.
#include "worker/fuse/dispatcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/fake_device.h"
#include "tests/support/fake_kernel.h"
#include "tests/support/image.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"

namespace tests {
namespace {

using worker::fuse::Dispatcher;

/// Takes replies, or is gone.
class Withdrawer final : public worker::fuse::Transport {
 public:
  worker::fuse::Result<std::size_t> receive(std::span<std::byte>) override { return protocol::errno_error(ENODEV); }
  int send(std::span<const iovec>) noexcept override { return gone ? ENOENT : 0; }
  bool gone = false;
};

class LostReplies : public testing::Test {
 protected:
  LostReplies() : image{"-t ext4 -b 4096", "8M"}, device{FakeDevice::contents_of(image.path())} {
    volume = std::move(worker::volume::Volume::open(device, {})).value();
    EXPECT_TRUE(
        dispatcher.attach(*volume, asker, protocol::UniqueFd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}, {}).ok());
    fuse_init_in offer{};
    offer.major = FUSE_KERNEL_VERSION;
    offer.minor = 45;
    offer.flags = ~0U;
    ask(FUSE_INIT, 0, Body{}.add(offer));
    EXPECT_TRUE(volume->start_writing().ok());
  }
  ~LostReplies() override {
    EXPECT_TRUE(volume->close().ok());
    device.save(image.path());
    EXPECT_EQ(image.complaints(), "");
    std::free(memory);
  }
  void ask(std::uint32_t opcode, std::uint64_t node, const Body& body) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof(header) + body.bytes().size());
    header.opcode = opcode;
    header.unique = 2;
    header.nodeid = node;
    std::memcpy(memory, &header, sizeof(header));
    std::ranges::copy(body.bytes(), memory + sizeof(header));
    dispatcher.dispatch({memory, header.len}, {memory + 65536, worker::fuse::kMaximumTransfer});
  }
  std::size_t lent() { return volume->references().size(); }
  Body create(std::string_view name) {
    return Body{}.add(fuse_create_in{O_RDWR | O_CREAT, S_IFREG | 0644, 0, 0}).text(name);
  }

  Image image;
  FakeDevice device;
  std::unique_ptr<worker::volume::Volume> volume;
  Withdrawer asker;
  Dispatcher dispatcher;
  std::byte* memory = static_cast<std::byte*>(std::aligned_alloc(4096, 65536 + worker::fuse::kMaximumTransfer));
};

TEST_F(LostReplies, of_names) {
  ask(FUSE_LOOKUP, 1, Body{}.text("lost+found"));
  EXPECT_EQ(lent(), 1U);
  asker.gone = true;
  ask(FUSE_LOOKUP, 1, Body{}.text("lost+found"));
  ask(FUSE_LOOKUP, 11, Body{}.text("."));
  ask(FUSE_CREATE, 1, create("made"));
  ask(FUSE_MKDIR, 1, Body{}.add(fuse_mkdir_in{0755, 0}).text("folder"));
  ask(FUSE_SYMLINK, 1, Body{}.text("link").text("target"));
  ask(FUSE_LINK, 1, Body{}.add(fuse_link_in{12}).text("again"));
  EXPECT_EQ(lent(), 1U);
}

TEST_F(LostReplies, of_whole_directories) {
  asker.gone = true;
  for (int i = 0; i < 50; ++i) ask(FUSE_CREATE, 1, create("file" + std::to_string(i)));
  fuse_read_in in{};
  in.size = 65536;
  ask(FUSE_READDIRPLUS, 1, Body{}.add(in));
  EXPECT_EQ(lent(), 0U);
  asker.gone = false;
  ask(FUSE_READDIRPLUS, 1, Body{}.add(in));
  EXPECT_EQ(lent(), 51U);
}

TEST_F(LostReplies, of_opening) {
  ask(FUSE_CREATE, 1, create("file"));
  asker.gone = true;
  ask(FUSE_OPEN, 12, Body{}.add(fuse_open_in{O_RDWR, 0}));
  ask(FUSE_CREATE, 1, create("file"));
  asker.gone = false;
  fuse_release_in in{};
  in.flags = O_RDWR;
  ask(FUSE_RELEASE, 12, Body{}.add(in));
  EXPECT_TRUE(dispatcher.writers().none(12, {}));
}

TEST_F(LostReplies, of_unlinking_an_inode_nobody_else_knows) {
  asker.gone = true;
  ask(FUSE_CREATE, 1, create("file"));
  ask(FUSE_UNLINK, 1, Body{}.text("file"));
  EXPECT_EQ(lent(), 0U);
}

}  // namespace
}  // namespace tests
