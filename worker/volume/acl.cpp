#include "worker/volume/acl.h"

#include <algorithm>
#include <cstring>

#include "worker/disk/ext2fs.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kRequestVersion = 2;
constexpr std::uint32_t kVolumeVersion = 1;
constexpr std::uint32_t kNoId = UINT32_MAX;
constexpr std::uint16_t kAllPermissions = 07;

/// Reads little-endian numbers; what lies behind the end reads as 0 and is noticed.
class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) noexcept : bytes_{bytes} {}

  std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() noexcept { return number(4); }
  bool broken() const noexcept { return broken_; }
  bool at_end() const noexcept { return bytes_.empty(); }

 private:
  std::uint32_t number(std::size_t size) noexcept {
    if (bytes_.size() < size) {
      broken_ = true;
      bytes_ = {};
      return 0;
    }
    std::uint32_t value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(bytes_[i]);
    bytes_ = bytes_.subspan(size);
    return value;
  }

  std::span<const std::byte> bytes_;
  bool broken_ = false;
};

void append(std::vector<std::byte>& bytes, std::uint32_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

bool named(Acl::Tag tag) { return tag == Acl::Tag::user || tag == Acl::Tag::group; }

}  // namespace

Result<Acl> Acl::from_request(std::span<const std::byte> value) {
  Input input{value};
  if (input.u32() != kRequestVersion) return errno_error(EINVAL, "ACL version");
  std::vector<Entry> entries;
  while (!input.at_end()) {
    const auto tag = static_cast<Tag>(input.u16());
    const std::uint16_t permissions = input.u16();
    const std::uint32_t id = input.u32();
    entries.push_back({tag, permissions, named(tag) ? id : kNoId});
  }
  if (input.broken() || !valid(entries)) return errno_error(EINVAL, "ACL");
  return Acl{std::move(entries)};
}

Result<Acl> Acl::from_volume(std::span<const std::byte> value) {
  Input input{value};
  if (input.u32() != kVolumeVersion) return errno_error(EUCLEAN, "ACL version");
  std::vector<Entry> entries;
  while (!input.at_end()) {
    const auto tag = static_cast<Tag>(input.u16());
    const std::uint16_t permissions = input.u16();
    entries.push_back({tag, permissions, named(tag) ? input.u32() : kNoId});
  }
  if (input.broken() || !valid(entries)) return errno_error(EUCLEAN, "ACL");
  return Acl{std::move(entries)};
}

std::vector<std::byte> Acl::to_request() const {
  std::vector<std::byte> bytes;
  append(bytes, kRequestVersion, 4);
  for (const Entry& entry : entries_) {
    append(bytes, static_cast<std::uint32_t>(entry.tag), 2);
    append(bytes, entry.permissions, 2);
    append(bytes, entry.id, 4);
  }
  return bytes;
}

std::vector<std::byte> Acl::to_volume() const {
  std::vector<std::byte> bytes;
  append(bytes, kVolumeVersion, 4);
  for (const Entry& entry : entries_) {
    append(bytes, static_cast<std::uint32_t>(entry.tag), 2);
    append(bytes, entry.permissions, 2);
    if (named(entry.tag)) append(bytes, entry.id, 4);
  }
  return bytes;
}

bool Acl::valid(const std::vector<Entry>& entries) noexcept {
  // The kinds follow each other in the order of their tags; only the named ones repeat.
  bool any_named = false;
  std::uint32_t kinds = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const auto tag = static_cast<std::uint32_t>(entry.tag);
    const bool known = tag != 0 && tag <= 0x20 && (tag & (tag - 1)) == 0;
    if (!known || entry.permissions > kAllPermissions) return false;
    if (i > 0) {
      const auto before = static_cast<std::uint32_t>(entries[i - 1].tag);
      if (before > tag || (before == tag && !named(entry.tag))) return false;
    }
    if (named(entry.tag)) {
      any_named = true;
      if (entry.id == kNoId) return false;
    }
    kinds |= tag;
  }
  constexpr auto kNeeded = static_cast<std::uint32_t>(Tag::owner) | static_cast<std::uint32_t>(Tag::owning_group) |
                           static_cast<std::uint32_t>(Tag::other);
  if ((kinds & kNeeded) != kNeeded) return false;
  return !any_named || kinds & static_cast<std::uint32_t>(Tag::mask);
}

Acl::Entry* Acl::find(Tag tag) noexcept {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [tag](const Entry& entry) { return entry.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

Acl::Entry& Acl::group_class() noexcept {
  Entry* mask = find(Tag::mask);
  return mask ? *mask : *find(Tag::owning_group);
}

bool Acl::extended() const noexcept {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return named(entry.tag) || entry.tag == Tag::mask; });
}

std::uint32_t Acl::mode_bits() const noexcept {
  const std::uint32_t group = const_cast<Acl*>(this)->group_class().permissions;
  return std::uint32_t{find(Tag::owner)->permissions} << 6 | group << 3 | find(Tag::other)->permissions;
}

void Acl::restrict_to(std::uint32_t mode) noexcept {
  find(Tag::owner)->permissions &= static_cast<std::uint16_t>(mode >> 6 & kAllPermissions);
  group_class().permissions &= static_cast<std::uint16_t>(mode >> 3 & kAllPermissions);
  find(Tag::other)->permissions &= static_cast<std::uint16_t>(mode & kAllPermissions);
}

void Acl::follow(std::uint32_t mode) noexcept {
  find(Tag::owner)->permissions = static_cast<std::uint16_t>(mode >> 6 & kAllPermissions);
  group_class().permissions = static_cast<std::uint16_t>(mode >> 3 & kAllPermissions);
  find(Tag::other)->permissions = static_cast<std::uint16_t>(mode & kAllPermissions);
}

}  // namespace worker::volume
