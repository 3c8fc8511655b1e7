// Messages to bytes, to messages, to a line for the log: three walks over the same list of fields.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "protocol/errors.h"
#include "protocol/log.h"
#include "protocol/messages.h"
#include "protocol/result.h"

namespace protocol {

namespace codec {

struct Encode {
  Writer& to;
  void operator()(const char*, std::uint16_t value) { to.unsigned16(value); }
  void operator()(const char*, std::uint32_t value) { to.unsigned32(value); }
  void operator()(const char*, Padding) { to.unsigned16(0); }
  template <std::size_t Maximum, std::size_t Minimum>
  void operator()(const char*, const Text<Maximum, Minimum>& text) {
    to.text(text.value, Minimum, Maximum);
  }
};

struct Decode {
  Reader& from;
  void operator()(const char*, std::uint16_t& value) { value = from.unsigned16(); }
  void operator()(const char*, std::uint32_t& value) { value = from.unsigned32(); }
  void operator()(const char*, Padding) {
    if (from.unsigned16() != 0) from.refuse();
  }
  template <std::size_t Maximum, std::size_t Minimum>
  void operator()(const char*, Text<Maximum, Minimum>& text) {
    text.value = from.text(Minimum, Maximum);
  }
};

struct Describe {
  std::string& line;
  void operator()(const char* name, std::uint32_t value) {
    line.append(" ").append(name).append("=").append(std::to_string(value));
  }
  void operator()(const char*, Padding) {}
  template <std::size_t Maximum, std::size_t Minimum>
  void operator()(const char* name, const Text<Maximum, Minimum>& text) {
    line.append(" ").append(name).append("=\"").append(escape(text.value)).append("\"");
  }
};

}  // namespace codec

/// The four letters of a tag; for one that nobody knows, escaped.
std::string tag_name(Tag tag);
/// The tag a packet starts with.
Result<Tag> tag_of(std::span<const std::byte> packet);

/// Fails only if a text is longer than its limit, shorter, or holds a NUL.
template <typename Message>
Result<std::vector<std::byte>> encode(const Message& message) {
  Writer writer;
  writer.unsigned32(static_cast<std::uint32_t>(Message::kTag));
  Message::fields(message, codec::Encode{writer});
  if (writer.broken()) return protocol_error(Violation::unspeakable, tag_name(Message::kTag));
  return std::move(writer).take();
}

/// Accepts exactly what encode() can produce: nothing missing, nothing more.
template <typename Message>
Result<Message> decode(std::span<const std::byte> packet) {
  Reader reader{packet};
  Message message;
  if (reader.unsigned32() != static_cast<std::uint32_t>(Message::kTag)) reader.refuse();
  Message::fields(message, codec::Decode{reader});
  if (!reader.finished()) return protocol_error(Violation::malformed, tag_name(Message::kTag));
  return message;
}

/// One line: the tag's letters and each field by name.
template <typename Message>
std::string describe(const Message& message) {
  std::string line = tag_name(Message::kTag);
  Message::fields(message, codec::Describe{line});
  return line;
}

/// Decodes a packet into whichever message of one end it is.
Result<FromWorker> decode_from_worker(std::span<const std::byte> packet);
Result<FromBroker> decode_from_broker(std::span<const std::byte> packet);

}  // namespace protocol
