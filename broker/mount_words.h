// The words of -o that the broker understands itself, as a table.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace broker {

/// What a word does. Words not in the table are the worker's to judge.
enum class Effect : std::uint8_t {
  read_only,
  read_write,
  no_recovery,  ///< read-only, and the worker has to know too
  remount,
  set,    ///< `bits` are set in the mount's attributes
  clear,  ///< `bits` are cleared
  offset,
  size_limit,
  loop,
  no_loop,
  direct_io,
  buffered_io,
  fsname,
  subtype,
  synchronous,
  asynchronous,
  directory_sync,
  allow_other,
  replace,      ///< stands for the words in `text`
  implied,      ///< the same, but only if said to us directly: mount(8) spells out what these imply
  bookkeeping,  ///< of mount(8) and fstab; means nothing to a mount
  no_effect,    ///< accepted, listed with -v: `text` says why nothing changes
  refused,      ///< `text` says why
};

/// Whether a word is followed by "=VALUE".
enum class Takes : std::uint8_t { nothing, value, either };

struct MountWord {
  std::string_view name;  ///< a final '*' matches the rest
  Effect effect;
  Takes takes = Takes::nothing;
  std::uint64_t bits = 0;
  std::string_view text = {};
};

std::span<const MountWord> mount_words();

/// The entry for the name in front of '=', or null.
const MountWord* find_mount_word(std::string_view name);

}  // namespace broker
