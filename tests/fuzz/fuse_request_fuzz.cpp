// Requests as no kernel would send them, one after the other, to a small volume in memory. Input: records of one byte
// opcode, one byte node, two bytes length (little-endian) and as many bytes of body; opcode 0 sends the body as a whole
// message.
#include <fcntl.h>

#include <cstdlib>
#include <cstring>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/fuse/dispatcher.h"
#include "worker/volume/volume.h"

namespace {

using worker::fuse::Dispatcher;
using worker::fuse::kMaximumTransfer;

/// Counts replies and looks at each as the kernel does.
class Replies final : public worker::fuse::Transport {
 public:
  worker::fuse::Result<std::size_t> receive(std::span<std::byte>) override { return protocol::errno_error(ENODEV); }
  int send(std::span<const iovec> pieces) noexcept override {
    std::size_t length = 0;
    for (const iovec& piece : pieces) length += piece.iov_len;
    fuse_out_header header;
    if (pieces.empty() || pieces.front().iov_len < sizeof(header)) std::abort();
    std::memcpy(&header, pieces.front().iov_base, sizeof(header));
    if (header.len != length || header.error > 0 || header.error <= -512) std::abort();
    if (header.error != 0 && length != sizeof(header)) std::abort();
    // Every other reply comes too late, so that what it lent has to come back.
    ++count;
    return refuse_some && count % 2 == 0 ? ENOENT : 0;
  }
  std::size_t count = 0;
  bool refuse_some = false;
};

/// What a thread of the server has, once for all inputs.
struct Memory {
  std::vector<std::byte> image;
  std::byte* request = static_cast<std::byte*>(std::aligned_alloc(4096, kMaximumTransfer));
  std::byte* scratch = static_cast<std::byte*>(std::aligned_alloc(4096, kMaximumTransfer));
};

const Memory& memory() {
  static const Memory kept = [] {
    const tests::Image image{"-t ext4 -b 1024 -I 256 -N 64 -O ^has_journal,^resize_inode", "512K"};
    return Memory{tests::FakeDevice::contents_of(image.path())};
  }();
  return kept;
}

/// libfuse wants a descriptor that it may close.
protocol::UniqueFd nobody() { return protocol::UniqueFd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}; }

class Session {
 public:
  Session() : device_{memory().image} {
    volume_ = std::move(worker::volume::Volume::open(device_, {})).value();
    if (!dispatcher_.attach(*volume_, replies_, nobody(), {}).ok()) std::abort();
    fuse_init_in offer{};
    offer.major = FUSE_KERNEL_VERSION;
    offer.minor = worker::fuse::abi::kMinorVersion;
    offer.flags = ~0U;
    play(FUSE_INIT, 0, std::as_bytes(std::span{&offer, 1}));
    if (!dispatcher_.initialised() || !volume_->start_writing().ok()) std::abort();
    replies_.refuse_some = true;
  }
  ~Session() { (void)volume_->close(); }

  void play(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof(header) + body.size());
    header.opcode = opcode;
    header.unique = 2;
    header.nodeid = node;
    std::memcpy(memory().request, &header, sizeof(header));
    std::memcpy(memory().request + sizeof(header), body.data(), body.size());
    const auto* kind = worker::fuse::find_kind(opcode);
    const std::size_t before = replies_.count;
    dispatcher_.dispatch({memory().request, header.len}, {memory().scratch, kMaximumTransfer});
    if (replies_.count - before != (!kind || kind->has_reply ? 1 : 0)) std::abort();
  }
  void play_raw(std::span<const std::byte> message) {
    std::memcpy(memory().request, message.data(), message.size());
    dispatcher_.dispatch({memory().request, message.size()}, {memory().scratch, kMaximumTransfer});
  }

 private:
  tests::FakeDevice device_;
  std::unique_ptr<worker::volume::Volume> volume_;
  Replies replies_;
  Dispatcher dispatcher_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto left = std::as_bytes(std::span{data, size});
  Session session;
  while (left.size() >= 4) {
    const auto at = [&](std::size_t i) { return std::to_integer<std::size_t>(left[i]); };
    const std::size_t length = std::min(at(2) | at(3) << 8, left.size() - 4);
    const auto body = left.subspan(4, length);
    if (at(0) == 0) {
      session.play_raw(body);
    } else {
      session.play(static_cast<std::uint32_t>(at(0)), at(1), body);
    }
    left = left.subspan(4 + length);
  }
  return 0;
}
