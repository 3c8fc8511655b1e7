#include "protocol/errors.h"

namespace protocol {

namespace {

class ProtocolCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "protocol"; }
  std::string message(int value) const override {
    switch (static_cast<Violation>(value)) {
      case Violation::malformed:
        return "malformed message";
      case Violation::unknown_message:
        return "unknown message";
      case Violation::unspeakable:
        return "does not fit into a message";
      case Violation::out_of_phase:
        return "message out of turn";
      case Violation::too_often:
        return "message repeated too often";
      case Violation::oversized:
        return "oversized message";
      case Violation::missing_descriptor:
        return "a descriptor is missing";
      case Violation::extra_descriptor:
        return "a descriptor nobody asked for";
      case Violation::lost_descriptors:
        return "control data truncated";
      case Violation::closed:
        return "the connection was closed";
      case Violation::deadline:
        return "no answer in time";
      case Violation::version:
        return "no common protocol version";
      case Violation::arguments:
        return "malformed arguments";
      case Violation::mismatch:
        return "an answer to something else";
    }
    return "unknown protocol error";
  }
};

}  // namespace

const std::error_category& protocol_category() noexcept {
  static const ProtocolCategory category;
  return category;
}

}  // namespace protocol
