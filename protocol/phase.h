// Who may say what, when, and how often: the protocol's order as a table.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "protocol/messages.h"
#include "protocol/result.h"

namespace protocol {

/// How far a session has come; both ends walk through the same phases.
enum class Phase : std::uint8_t {
  greeting,     ///< nothing was said
  choosing,     ///< the worker owes its version
  arguments,    ///< the broker owes the argument memfd
  fuse_device,  ///< the broker owes the FUSE device
  opening,      ///< the worker asks for its files
  described,    ///< private: it has said what it opened, and may open no more
  typed,        ///< TYPE was granted; likewise below
  named,
  placed,
  optioned,
  tabled,
  mounted,   ///< version 1: attached; the worker owes its goodbye
  starting,  ///< private: the mount exists unattached; the worker owes READY
  ready,     ///< private: the broker owes ATTACHED
  attached,  ///< private: the worker owes SERVING
  serving,   ///< private: until the worker's goodbye
  ended,
};

/// A set of phases, for rows that hold in several.
using Phases = std::uint32_t;
constexpr Phases operator|(Phase a, Phase b) { return 1u << static_cast<unsigned>(a) | 1u << static_cast<unsigned>(b); }
constexpr Phases operator|(Phases set, Phase phase) { return set | 1u << static_cast<unsigned>(phase); }
constexpr Phases just(Phase phase) { return 1u << static_cast<unsigned>(phase); }
constexpr bool contains(Phases set, Phase phase) { return (set & just(phase)) != 0; }

enum class Speaks : std::uint8_t { version1, private_version, both };

/// One row: a message, who sends it, in which phases, what answers it, and where it leads.
struct PhaseRule {
  Tag tag;
  End sender;
  Speaks version;
  Phases phases;
  Tag answer;      ///< the other end must say this next; the message's own tag: nothing is owed
  Phase next;      ///< after the message, or after its answer if that carries error 0; `stay` keeps the phase
  unsigned limit;  ///< how often a session may see it
};

/// In PhaseRule::next: the phase does not change.
inline constexpr Phase kStay = static_cast<Phase>(0xff);
/// How often a refused request may be tried again. Opens have more room: servers poll a busy device until a deadline.
inline constexpr unsigned kRetries = 8, kOpens = 4096, kNotes = 32;

std::span<const PhaseRule> phase_rules();

/// The state of one session at one end. An error from any function means: end the session, say nothing.
class PhaseMachine {
 public:
  /// A message travels. `error` is what an answer carries.
  Result<void> take(End sender, Tag tag, std::uint32_t error = 0);
  /// The version in force once both have spoken; until then rows of either version hold.
  void choose(std::uint16_t version) noexcept { version_ = version; }

  Phase phase() const noexcept { return phase_; }
  std::uint16_t version() const noexcept { return version_; }
  /// Whose answer is outstanding, if any: the tag of the request.
  const PhaseRule* pending() const noexcept { return pending_; }

 private:
  static constexpr std::size_t kMaximumRules = 32;
  bool speaks(Speaks speaks) const noexcept;

  Phase phase_ = Phase::greeting;
  std::uint16_t version_ = 0;
  const PhaseRule* pending_ = nullptr;
  std::array<unsigned, kMaximumRules> seen_{};
};

}  // namespace protocol
