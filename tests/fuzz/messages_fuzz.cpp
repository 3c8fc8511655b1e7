// Both ends' decoders: what is accepted is exactly what would be written, and can be described.
#include <cstdlib>

#include "protocol/codec.h"

namespace {

template <typename Set>
void check(const protocol::Result<Set>& decoded, std::span<const std::byte> packet) {
  if (!decoded) return;
  std::visit(
      [&](const auto& message) {
        const auto encoded = protocol::encode(message);
        if (!encoded || !std::equal(encoded->begin(), encoded->end(), packet.begin(), packet.end())) std::abort();
        if (protocol::describe(message).empty()) std::abort();
      },
      *decoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = std::as_bytes(std::span{data, size});
  check(protocol::decode_from_worker(packet), packet);
  check(protocol::decode_from_broker(packet), packet);
  return 0;
}
