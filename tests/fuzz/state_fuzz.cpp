// A state file: whatever is accepted can be written again and says the same. Its strings as JSON stay one line of
// printable text.
#include <cstdint>
#include <cstdlib>

#include "broker/actions.h"
#include "broker/state_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  for (const char c : broker::json_string(text))
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  const auto state = broker::decode_state(text);
  if (!state) return 0;
  const auto encoded = broker::encode_state(*state);
  const auto again = broker::decode_state(encoded);
  if (!again || broker::encode_state(*again) != encoded) std::abort();
  return 0;
}
