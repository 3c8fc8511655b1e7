// The argument file: whatever is accepted can be written again and says the same.
#include <cstdlib>

#include "protocol/argv_memfd.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto arguments = protocol::decode_arguments(std::as_bytes(std::span{data, size}));
  if (!arguments) return 0;
  const auto encoded = protocol::encode_arguments(*arguments);
  if (!encoded || *protocol::decode_arguments(*encoded) != *arguments) std::abort();
  return 0;
}
