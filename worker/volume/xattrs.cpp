#include "worker/volume/xattrs.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/acl.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr std::string_view kAccessAcl = "system.posix_acl_access";
constexpr std::string_view kDefaultAcl = "system.posix_acl_default";
constexpr std::string_view kCapability = "security.capability";
constexpr std::string_view kUser = "user.";
constexpr std::array<std::string_view, 3> kPrefixes{kUser, "trusted.", "security."};
constexpr std::size_t kLongestName = 255;  ///< behind the prefix, which is stored as a number
constexpr std::size_t kBlockHeader = 32;   ///< bytes in an attribute block before its first entry

bool is_acl(std::string_view name) { return name == kAccessAcl || name == kDefaultAcl; }

/// All attributes of one inode in the library's hands.
class Attached {
 public:
  static Result<Attached> read(Volume& volume, InodeNumber inode) {
    ext2_xattr_handle* handle = nullptr;
    const errcode_t code = ext2fs_xattrs_open(volume.fs(), inode, &handle);
    if (code == EXT2_ET_MISSING_EA_FEATURE) return Attached{nullptr};
    TRY_EXT2(code);
    Attached attached{handle};
    // As stored: the library's own conversion of ACLs trusts their length.
    unsigned raw = XATTR_HANDLE_FLAG_RAW;
    TRY_EXT2(ext2fs_xattrs_flags(handle, &raw, nullptr));
    TRY_EXT2(ext2fs_xattrs_read(handle));
    return attached;
  }

  Attached(Attached&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  Attached& operator=(Attached&&) = delete;
  ~Attached() {
    if (handle_) ext2fs_xattrs_close(&handle_);
  }

  ext2_xattr_handle* get() const noexcept { return handle_; }  ///< null on a volume without attributes

  Result<std::optional<std::vector<std::byte>>> value(std::string_view name) const {
    if (!handle_) return std::optional<std::vector<std::byte>>{};
    void* bytes = nullptr;
    std::size_t size = 0;
    const errcode_t code = ext2fs_xattr_get(handle_, std::string{name}.c_str(), &bytes, &size);
    if (code == EXT2_ET_EA_KEY_NOT_FOUND) return std::optional<std::vector<std::byte>>{};
    TRY_EXT2(code);
    const auto* first = static_cast<const std::byte*>(bytes);
    std::optional<std::vector<std::byte>> value{std::in_place, first, first + size};
    ext2fs_free_mem(&bytes);
    return value;
  }

 private:
  explicit Attached(ext2_xattr_handle* handle) noexcept : handle_{handle} {}

  ext2_xattr_handle* handle_;
};

void stamp_changed(Inode& inode) { inode.set_changed(Timestamp::now()); }

}  // namespace

Result<void> Xattrs::check_name(std::string_view name) const {
  if (is_acl(name)) {
    if (!volume_.options().acl) return errno_error(EOPNOTSUPP);
    return {};
  }
  const auto prefix = std::find_if(kPrefixes.begin(), kPrefixes.end(),
                                   [&](std::string_view candidate) { return name.starts_with(candidate); });
  if (prefix == kPrefixes.end() || (*prefix == kUser && !volume_.options().user_xattr)) return errno_error(EOPNOTSUPP);
  if (name.size() == prefix->size() || name.find('\0') != std::string_view::npos) return errno_error(EINVAL);
  if (name.size() - prefix->size() > kLongestName) return errno_error(ERANGE);
  return {};
}

Result<std::optional<Xattrs::Value>> Xattrs::stored(InodeNumber inode, std::string_view name) {
  TRY(attached, Attached::read(volume_, inode));
  return attached.value(name);
}

Result<std::vector<std::byte>> Xattrs::get(InodeNumber inode, std::string_view name) {
  TRY(check_name(name));
  return volume_.inspect([&]() -> Result<Value> {
    TRY(node, volume_.inodes().read(inode));
    TRY(value, stored(node.number, name));
    if (!value) return errno_error(ENODATA);
    if (!is_acl(name)) return std::move(*value);
    TRY(acl, Acl::from_volume(*value));
    return acl.to_request();
  });
}

Result<std::string> Xattrs::list(InodeNumber inode) {
  return volume_.inspect([&]() -> Result<std::string> {
    TRY(node, volume_.inodes().read(inode));
    TRY(attached, Attached::read(volume_, node.number));
    std::string names;
    if (!attached.get()) return names;
    struct Walk {
      const Xattrs& xattrs;
      std::string& names;
    } walk{*this, names};
    const auto visit = [](char* name, char*, std::size_t, void* data) noexcept -> int {
      const auto& to = *static_cast<Walk*>(data);
      // What is in no name space of ours is not shown, as it could not be read either.
      if (to.xattrs.check_name(name).ok()) to.names.append(name).push_back('\0');
      return 0;
    };
    TRY_EXT2(ext2fs_xattrs_iterate(attached.get(), visit, &walk));
    return names;
  });
}

Result<void> Xattrs::store(Operation& operation, Inode& inode, std::string_view name,
                           std::span<const std::byte> value) {
  ext2_super_block* super = volume_.fs()->super;
  if (!ext2fs_has_feature_xattr(super)) {
    ext2fs_set_feature_xattr(super);
  }
  TRY(volume_.inodes().write(operation, inode));
  {
    TRY(attached, Attached::read(volume_, inode.number));
    TRY_EXT2(ext2fs_xattr_set(attached.get(), std::string{name}.c_str(), value.data(), value.size()));
  }
  TRY(fresh, volume_.inodes().read(inode.number));
  inode = fresh;
  return drop_empty_block(operation, inode);
}

Result<void> Xattrs::erase(Operation& operation, Inode& inode, std::string_view name) {
  {
    TRY(attached, Attached::read(volume_, inode.number));
    TRY(value, attached.value(name));
    if (!value) return {};
    TRY(volume_.inodes().write(operation, inode));
    TRY_EXT2(ext2fs_xattr_remove(attached.get(), std::string{name}.c_str()));
  }
  TRY(fresh, volume_.inodes().read(inode.number));
  inode = fresh;
  return drop_empty_block(operation, inode);
}

Result<void> Xattrs::drop_empty_block(Operation& operation, Inode& inode) {
  const BlockNumber block = ext2fs_file_acl_block(volume_.fs(), reinterpret_cast<ext2_inode*>(&inode.raw));
  if (block == 0) return {};
  TRY(contents, volume_.cache().read(block));
  std::uint32_t first_entry = 0;
  std::memcpy(&first_entry, contents->data() + kBlockHeader, sizeof first_entry);
  if (first_entry != 0) return {};
  // The library keeps a block that it has emptied.
  TRY(release(operation, inode));
  return volume_.inodes().write(operation, inode);
}

Result<void> Xattrs::set(InodeNumber inode, std::string_view name, std::span<const std::byte> value, SetMode mode,
                         bool clear_set_gid) {
  TRY(check_name(name));
  if (value.size() > XATTR_SIZE_MAX) return errno_error(E2BIG);
  return volume_.mutate([&](Operation& operation) -> Result<void> {
    TRY(node, volume_.inodes().read(inode));
    if (is_acl(name)) {
      TRY(set_acl(operation, node, name, value, clear_set_gid));
    } else {
      if (mode != SetMode::any) {
        TRY(present, stored(inode, name));
        if (present && mode == SetMode::create_only) return errno_error(EEXIST);
        if (!present && mode == SetMode::replace_only) return errno_error(ENODATA);
      }
      TRY(store(operation, node, name, value));
    }
    stamp_changed(node);
    return volume_.inodes().write(operation, node);
  });
}

Result<void> Xattrs::set_acl(Operation& operation, Inode& inode, std::string_view name,
                             std::span<const std::byte> value, bool clear_set_gid) {
  if (inode.is_symlink()) return errno_error(EOPNOTSUPP);
  if (name == kDefaultAcl && !inode.is_directory()) {
    if (!value.empty()) return errno_error(EACCES);
    return {};
  }
  if (value.empty()) return erase(operation, inode, name);
  TRY(acl, Acl::from_request(value));
  if (name == kAccessAcl) {
    std::uint32_t mode = (inode.mode() & ~0777u) | acl.mode_bits();
    if (clear_set_gid) mode &= ~std::uint32_t{S_ISGID};
    inode.raw.i_mode = static_cast<__u16>(mode);
    if (!acl.extended()) {
      TRY(volume_.inodes().write(operation, inode));
      return erase(operation, inode, name);
    }
  }
  return store(operation, inode, name, acl.to_volume());
}

Result<void> Xattrs::remove(InodeNumber inode, std::string_view name) {
  TRY(check_name(name));
  return volume_.mutate([&](Operation& operation) -> Result<void> {
    TRY(node, volume_.inodes().read(inode));
    TRY(present, stored(inode, name));
    if (!present) return errno_error(ENODATA);
    TRY(erase(operation, node, name));
    stamp_changed(node);
    return volume_.inodes().write(operation, node);
  });
}

Result<void> Xattrs::inherit(Operation& operation, const Inode& parent, Inode& inode, std::uint32_t umask) {
  if (inode.is_symlink()) return {};
  std::optional<Value> value;
  if (volume_.options().acl) {
    TRY(found, stored(parent.number, kDefaultAcl));
    value = std::move(found);
  }
  if (!value) {
    inode.raw.i_mode &= static_cast<__u16>(~(umask & 0777));
    return {};
  }
  TRY(acl, Acl::from_volume(*value));
  if (inode.is_directory()) TRY(store(operation, inode, kDefaultAcl, *value));
  acl.restrict_to(inode.mode());
  inode.raw.i_mode = static_cast<__u16>((inode.mode() & ~0777u) | acl.mode_bits());
  if (!acl.extended()) return {};
  return store(operation, inode, kAccessAcl, acl.to_volume());
}

Result<void> Xattrs::follow_mode(Operation& operation, Inode& inode) {
  if (inode.is_symlink()) return {};
  TRY(value, stored(inode.number, kAccessAcl));
  if (!value) return {};
  TRY(acl, Acl::from_volume(*value));
  acl.follow(inode.mode());
  return store(operation, inode, kAccessAcl, acl.to_volume());
}

Result<void> Xattrs::drop_capabilities(Operation& operation, Inode& inode) {
  return erase(operation, inode, kCapability);
}

Result<void> Xattrs::release(Operation&, Inode& inode) {
  auto* fs = volume_.fs();
  auto* raw = reinterpret_cast<ext2_inode*>(&inode.raw);
  const BlockNumber block = ext2fs_file_acl_block(fs, raw);
  if (block == 0) return {};
  TRY_EXT2(ext2fs_free_ext_attr(fs, inode.number, &inode.raw));
  return {};
}

}  // namespace worker::volume
