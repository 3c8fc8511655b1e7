// Which requests there are, who decodes them, and what a sound one looks like.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "worker/fuse/kernel_abi.h"
#include "worker/fuse/request.h"

namespace worker::fuse {

/// A request as it came, checked: the body has the fixed part and the texts that its opcode calls for.
struct Incoming {
  const fuse_in_header& header;
  std::span<std::byte> body;     ///< all behind the header
  std::span<std::byte> scratch;  ///< page-aligned memory of kMaximumTransfer bytes for the reply
};

enum class Decoder : std::uint8_t {
  library,  ///< libfuse decodes it and calls one of operations()
  ours,     ///< libfuse does not know it, drops fields of it, or would copy its bytes once more
  refused,  ///< ENOSYS, upon which the kernel falls back and does not ask again
};

/// What may follow the fixed part of a body. Texts end with a NUL.
enum class Text : std::uint8_t {
  none,
  name,        ///< of a directory entry: 1 to 255 bytes, no '/', neither "." nor ".."
  lookup,      ///< a name, or "." or ".."
  target,      ///< of a symbolic link
  xattr_name,  ///< 1 to 255 bytes
};

/// One row for each request that a kernel may send.
struct RequestKind {
  std::uint32_t opcode;
  const char* name;
  Decoder decoder;
  std::uint16_t fixed = 0;  ///< bytes of the body before any text or data
  std::array<Text, 2> texts = {Text::none, Text::none};
  bool has_reply = true;
  /// Bytes of data behind the texts, as the fixed part announces them.
  std::size_t (*data_length)(const std::byte* fixed) = nullptr;
  /// Serves it, for Decoder::ours.
  void (*serve)(const Request& request, const Incoming& incoming) = nullptr;
};

std::span<const RequestKind> request_kinds() noexcept;
const RequestKind* find_kind(std::uint32_t opcode) noexcept;

/// 0, or the errno for a request whose body is not what its opcode calls for.
int check_request(const RequestKind& kind, std::span<const std::byte> body) noexcept;

}  // namespace worker::fuse
