// The words of -o that the broker understands itself, as a table.
#pragma once

#include <optional>
#include <variant>

#include "broker/options.h"

namespace broker {

/// What a word does. Words not in the table are the worker's to judge.
enum class Effect : std::uint8_t {
  read_only,
  read_write,
  no_recovery,  ///< read-only, and the worker has to know too
  remount,
  set,          ///< bits are set in the mount's attributes
  clear,        ///< bits are cleared
  bytes,        ///< its value is a number of bytes, for a member of the window
  yes,          ///< a member of the plan becomes true
  no,           ///< or false
  text,         ///< its value becomes a member of the plan
  replace,      ///< stands for other words
  implied,      ///< the same, but only if said to us directly: mount(8) spells out what these imply
  bookkeeping,  ///< of mount(8) and fstab; means nothing to a mount
  no_effect,    ///< accepted, listed with -v: why nothing changes
  refused,      ///< why
};

/// Whether a word is followed by "=VALUE".
enum class Takes : std::uint8_t { nothing, value, either };

/// Words that all have one effect.
struct MountWord {
  std::string_view names;  ///< separated by spaces. A final = takes a value, ? may take one, * matches the rest
  Effect effect;
  /// What the effect acts on: attribute bits, a member, or words of explanation.
  std::variant<std::monostate, std::uint64_t, std::uint64_t Window::*, bool MountPlan::*, std::string MountPlan::*,
               std::string_view>
      object = {};

  /// The object as words; empty if it is none.
  std::string_view words() const {
    const auto* text = std::get_if<std::string_view>(&object);
    return text ? *text : std::string_view{};
  }
};

std::span<const MountWord> mount_words();

struct WordName {
  std::string_view text;  ///< a final '*' matches the rest
  Takes takes = Takes::nothing;
};
/// Takes the first name off a list.
WordName next_name(std::string_view& names);

struct FoundWord {
  const MountWord* word;
  Takes takes;
};
/// The entry for the name in front of '='.
std::optional<FoundWord> find_mount_word(std::string_view name);

}  // namespace broker
