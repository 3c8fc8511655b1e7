// The ways a peer can break the protocol, as an error category.
#pragma once

#include <string>
#include <system_error>

#include "protocol/result.h"

namespace protocol {

enum class Violation {
  malformed = 1,    ///< too short, too long, a text without its end, padding that is not zero
  unknown_message,  ///< a tag nobody knows or the other end never sends
  unspeakable,      ///< our own message does not fit the wire
  out_of_phase,     ///< not now
  too_often,        ///< not again
  oversized,        ///< a packet above kMaximumPacket, or one that lost its tail
  missing_descriptor,
  extra_descriptor,
  lost_descriptors,  ///< the kernel could not deliver all control data
  closed,            ///< the peer has gone
  deadline,          ///< the peer was silent for too long
  version,           ///< it chose a version that was not offered
  arguments,         ///< the argument memfd is not what it has to be
  mismatch,          ///< an answer to something that was not asked
};

const std::error_category& protocol_category() noexcept;
inline std::error_code make_error_code(Violation violation) noexcept {
  return {static_cast<int>(violation), protocol_category()};
}
inline Error protocol_error(Violation violation, std::string detail = {}) {
  return Error{make_error_code(violation), std::move(detail)};
}

}  // namespace protocol

template <>
struct std::is_error_code_enum<protocol::Violation> : std::true_type {};
