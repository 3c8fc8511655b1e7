// rename(2): moving, replacing, exchanging.
#include <linux/fs.h>

#include <optional>

#include "worker/volume/names.h"
#include "worker/volume/names_support.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// The kernel has checked, on its own tree, that no directory moves below itself; this many steps catch what it cannot
/// see.
constexpr int kDeepestCheck = 1024;

/// One name of the two, the directory it is or shall be in, and what it names.
struct Side {
  Directory& directory;
  Inode& parent;
  std::string_view name;
  std::optional<Inode> child = {};
};

class Rename {
 public:
  Rename(Operation& operation, Side from, Side to)
      : operation_{operation}, volume_{operation.volume()}, from_{std::move(from)}, to_{std::move(to)} {}

  /// The number of an inode that lost its last name, or 0.
  Result<InodeNumber> run(unsigned flags) {
    TRY(find(from_));
    if (!from_.child) return errno_error(ENOENT);
    TRY(check_removable(from_.parent, *from_.child));
    TRY(find(to_));
    const bool exchange = (flags & RENAME_EXCHANGE) != 0;
    if (to_.child && (flags & RENAME_NOREPLACE) != 0) return errno_error(EEXIST);
    if (!to_.child && exchange) return errno_error(ENOENT);
    if (to_.child && to_.child->number == from_.child->number) return InodeNumber{0};
    if (to_.child) TRY(check_removable(to_.parent, *to_.child));
    if (exchange) {
      TRY(swap());
      return InodeNumber{0};
    }
    return move();
  }

 private:
  bool same_parent() const { return &from_.parent == &to_.parent; }

  Result<void> find(Side& side) {
    TRY(entry, find_if_there(side.directory, side.name));
    if (!entry) return {};
    TRY(child, inode_of(volume_, *entry));
    side.child = child;
    return {};
  }

  Result<InodeNumber> move() {
    Inode& moved = *from_.child;
    const bool is_directory = moved.is_directory();
    TRY(check_replacement());
    if (is_directory && !same_parent()) {
      TRY(check_not_below(to_.parent, moved.number));
      if (!to_.child) TRY(check_room_for_subdirectory(volume_, to_.parent, to_.directory.indexed()));
    }
    const std::uint8_t type = entry_type(moved.mode());
    if (to_.child) {
      TRY(to_.directory.replace(operation_, to_.name, moved.number, type));
    } else {
      TRY(to_.directory.insert(operation_, to_.name, moved.number, type));
    }
    TRY(from_.directory.remove(operation_, from_.name));

    if (is_directory) {
      if (!same_parent()) TRY(set_parent(moved, to_.parent.number));
      discount_subdirectory(from_.parent);
      if (!to_.child) count_subdirectory(to_.parent, to_.directory.indexed());
    }
    TRY(write(moved));
    if (to_.child) TRY(drop_link(operation_, *to_.child, now_));
    TRY(write_parents());
    return to_.child && to_.child->links() == 0 ? to_.child->number : InodeNumber{0};
  }

  Result<void> check_replacement() {
    if (!to_.child) return {};
    if (!from_.child->is_directory()) {
      if (to_.child->is_directory()) return errno_error(EISDIR);
      return {};
    }
    if (!to_.child->is_directory()) return errno_error(ENOTDIR);
    TRY(empty, Directory(volume_, *to_.child).empty());
    if (!empty) return errno_error(ENOTEMPTY);
    return {};
  }

  Result<void> swap() {
    Inode& first = *from_.child;
    Inode& second = *to_.child;
    if (!same_parent()) {
      TRY(check_exchange(first, to_, !second.is_directory()));
      TRY(check_exchange(second, from_, !first.is_directory()));
    }
    TRY(from_.directory.replace(operation_, from_.name, second.number, entry_type(second.mode())));
    TRY(to_.directory.replace(operation_, to_.name, first.number, entry_type(first.mode())));
    if (!same_parent()) {
      TRY(move_parent_link(first, from_, to_));
      TRY(move_parent_link(second, to_, from_));
    }
    TRY(write(first));
    TRY(write(second));
    return write_parents();
  }

  Result<void> check_exchange(const Inode& child, const Side& destination, bool one_more) {
    if (!child.is_directory()) return {};
    TRY(check_not_below(destination.parent, child.number));
    if (one_more) TRY(check_room_for_subdirectory(volume_, destination.parent, destination.directory.indexed()));
    return {};
  }

  Result<void> move_parent_link(Inode& child, Side& origin, Side& destination) {
    if (!child.is_directory()) return {};
    TRY(set_parent(child, destination.parent.number));
    // One that leaves and one that comes cancel out; counting "many" twice would not.
    if (from_.child->is_directory() && to_.child->is_directory()) return {};
    discount_subdirectory(origin.parent);
    count_subdirectory(destination.parent, destination.directory.indexed());
    return {};
  }

  Result<void> set_parent(Inode& child, InodeNumber parent) {
    const auto replaced = Directory(volume_, child).replace(operation_, "..", parent, EXT2_FT_DIR);
    if (!replaced.ok() && replaced.error().code == std::errc::no_such_file_or_directory)
      return errno_error(EUCLEAN, "directory inode " + std::to_string(child.number) + ": no \"..\"");
    return replaced;
  }

  /// EINVAL if `directory` is `above` or lies below it.
  Result<void> check_not_below(const Inode& directory, InodeNumber above) {
    InodeNumber number = directory.number;
    for (int step = 0; step < kDeepestCheck && number != kRootInode; ++step) {
      if (number == above) return errno_error(EINVAL);
      TRY(inode, volume_.inodes().read(number));
      Directory names{volume_, inode};
      TRY(parent, find_if_there(names, ".."));
      if (!parent) return errno_error(EUCLEAN, "directory inode " + std::to_string(number) + ": no \"..\"");
      number = parent->inode;
    }
    return {};
  }

  Result<void> write(Inode& inode) {
    inode.set_changed(now_);
    return volume_.inodes().write(operation_, inode);
  }

  Result<void> write_parents() {
    TRY(write_changed(operation_, from_.parent, now_));
    if (!same_parent()) TRY(write_changed(operation_, to_.parent, now_));
    return {};
  }

  Operation& operation_;
  Volume& volume_;
  Side from_, to_;
  const Timestamp now_ = Timestamp::now();
};

}  // namespace

Result<void> Names::rename(InodeNumber from, std::string_view name, InodeNumber to, std::string_view new_name,
                           unsigned flags) {
  if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) return errno_error(EINVAL);
  TRY(check_changeable_name(name));
  TRY(check_changeable_name(new_name));
  TRY(dead, volume_.mutate([&](Operation& operation) -> Result<InodeNumber> {
    TRY(source, changeable_directory(volume_, from));
    Directory source_names{volume_, source};
    const Side from_side{source_names, source, name};
    if (from == to) return Rename(operation, from_side, {source_names, source, new_name}).run(flags);
    TRY(target, changeable_directory(volume_, to));
    Directory target_names{volume_, target};
    return Rename(operation, from_side, {target_names, target, new_name}).run(flags);
  }));
  release_if_unused(volume_, dead);
  return {};
}

}  // namespace worker::volume
