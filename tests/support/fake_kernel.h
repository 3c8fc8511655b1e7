// Plays the kernel's side of FUSE over a socket pair, byte by byte, without mercy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/unique_fd.h"
#include "worker/fuse/kernel_abi.h"

namespace tests {

/// The bytes behind a request's header, built piece by piece.
class Body {
 public:
  template <typename Structure>
  Body& add(const Structure& structure) {
    const auto bytes = std::as_bytes(std::span{&structure, 1});
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  /// With its NUL.
  Body& text(std::string_view words) {
    raw(words);
    bytes_.push_back(std::byte{0});
    return *this;
  }
  Body& raw(std::string_view bytes) {
    const auto data = std::as_bytes(std::span{bytes});
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    return *this;
  }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::vector<std::byte>& edit() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// A reply whose header was right.
struct Reply {
  int error = 0;  ///< positive errno; 0: success
  std::vector<std::byte> body;

  /// The body as a structure; zeros for what is missing.
  template <typename Structure>
  Structure as(std::size_t offset = 0) const {
    Structure structure{};
    if (body.size() >= offset + sizeof(structure)) std::memcpy(&structure, body.data() + offset, sizeof(structure));
    return structure;
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(body.data()), body.size()}; }
};

/// Who asks.
struct Asker {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

/// Sends requests and checks each reply's header. Throws std::runtime_error on a reply that a kernel would refuse, on
/// silence, and when the server has gone.
class FakeKernel {
 public:
  FakeKernel();

  /// The other end, for the server. Once.
  [[nodiscard]] protocol::UniqueFd server_end() { return std::move(server_); }

  /// FUSE_INIT with these bits on offer; remembers what was agreed.
  fuse_init_out initialise(std::uint64_t offered = ~std::uint64_t{0}, std::uint32_t minor = 45);

  Reply ask(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body = {}, Asker asker = {});
  Reply ask(std::uint32_t opcode, std::uint64_t node, const Body& body, Asker asker = {}) {
    return ask(opcode, node, body.bytes(), asker);
  }

  /// Without waiting for the reply; returns its unique number.
  std::uint64_t send(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body, Asker asker = {});
  /// The reply to whatever was sent; its unique number in `unique`.
  Reply receive(std::uint64_t& unique);
  /// True if nothing arrives for a moment.
  bool silent();

  /// Any bytes as a message.
  void send_raw(std::span<const std::byte> message);

  /// As an unmount: the server reads end of file.
  void hang_up() { kernel_.reset(); }

 private:
  protocol::UniqueFd kernel_, server_;
  std::uint64_t next_unique_ = 2;  ///< the kernel counts in steps of two
  std::vector<std::byte> buffer_;
};

}  // namespace tests
