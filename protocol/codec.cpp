#include "protocol/codec.h"

#include <optional>

namespace protocol {

std::string tag_name(Tag tag) {
  std::string name;
  for (int shift = 24; shift >= 0; shift -= 8)
    name.push_back(static_cast<char>(static_cast<std::uint32_t>(tag) >> shift));
  return escape(name);
}

Result<Tag> tag_of(std::span<const std::byte> packet) {
  Reader reader{packet};
  const auto tag = static_cast<Tag>(reader.unsigned32());
  if (reader.broken()) return protocol_error(Violation::malformed);
  return tag;
}

namespace {

template <typename Set, std::size_t index = 0>
Result<Set> decode_one_of(Tag tag, std::span<const std::byte> packet) {
  if constexpr (index == std::variant_size_v<Set>) {
    return protocol_error(Violation::unknown_message, tag_name(tag));
  } else {
    using Message = std::variant_alternative_t<index, Set>;
    if (tag != Message::kTag) return decode_one_of<Set, index + 1>(tag, packet);
    TRY(message, decode<Message>(packet));
    return Set{std::move(message)};
  }
}

}  // namespace

Result<FromWorker> decode_from_worker(std::span<const std::byte> packet) {
  TRY(tag, tag_of(packet));
  return decode_one_of<FromWorker>(tag, packet);
}

Result<FromBroker> decode_from_broker(std::span<const std::byte> packet) {
  TRY(tag, tag_of(packet));
  return decode_one_of<FromBroker>(tag, packet);
}

}  // namespace protocol
