// POSIX access control lists: their two encodings, and how they and the mode bits depend on each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/volume/types.h"

namespace worker::volume {

/// An access or default ACL that obeys POSIX 1003.1e: one entry each for owner, group and others, named users and
/// groups behind their kind, a mask if there are named ones.
class Acl {
 public:
  enum class Tag : std::uint16_t {
    owner = 0x01,
    user = 0x02,
    owning_group = 0x04,
    group = 0x08,
    mask = 0x10,
    other = 0x20
  };

  struct Entry {
    Tag tag;
    std::uint16_t permissions;  ///< 07: read, write, execute
    std::uint32_t id;           ///< of a named user or group; else of no meaning
  };

  /// The form of getxattr(2), version 2: 8 bytes an entry. EINVAL for anything malformed.
  static Result<Acl> from_request(std::span<const std::byte> value);
  /// The form on the volume, version 1: entries without a name take 4 bytes. EUCLEAN for anything malformed.
  static Result<Acl> from_volume(std::span<const std::byte> value);

  std::vector<std::byte> to_request() const;
  std::vector<std::byte> to_volume() const;

  const std::vector<Entry>& entries() const noexcept { return entries_; }

  /// True if it says more than mode bits can.
  bool extended() const noexcept;
  /// The mode bits (0777) that stand for it; the group's are the mask's if there is one.
  std::uint32_t mode_bits() const noexcept;

  /// For a new file whose creator asked for `mode`: takes from the list what was not asked for.
  void restrict_to(std::uint32_t mode) noexcept;
  /// chmod(2): the list afterwards has mode_bits() equal to the permission bits of `mode`.
  void follow(std::uint32_t mode) noexcept;

 private:
  explicit Acl(std::vector<Entry> entries) noexcept : entries_{std::move(entries)} {}
  static bool valid(const std::vector<Entry>& entries) noexcept;
  Entry* find(Tag tag) noexcept;
  const Entry* find(Tag tag) const noexcept { return const_cast<Acl*>(this)->find(tag); }
  /// The entry that the group bits of the mode stand for.
  Entry& group_class() noexcept;

  std::vector<Entry> entries_;
};

}  // namespace worker::volume
