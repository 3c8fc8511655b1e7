#include "worker/volume/orphans.h"

#include <algorithm>
#include <string>
#include <vector>

#include "worker/disk/crash_rules.h"
#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {

InodeNumber Orphans::head() const { return volume_.fs()->super->s_last_orphan; }

void Orphans::set_head(InodeNumber inode) {
  if (disk::rule::orphan_protection) volume_.fs()->super->s_last_orphan = inode;
}

std::optional<InodeNumber> Orphans::next_of(InodeNumber inode) const {
  const auto found = links_.find(inode);
  if (found == links_.end()) return std::nullopt;
  return found->second.after;
}

Result<void> Orphans::add(Operation& operation, Inode& inode) {
  if (contains(inode.number)) return {};
  const InodeNumber number = inode.number;
  const InodeNumber next = head();
  links_[number] = {.before = 0, .after = next};
  if (next != 0) links_[next].before = number;
  operation.on_roll_back([this, number, next] {
    links_.erase(number);
    if (next != 0) links_[next].before = 0;
  });
  set_head(number);
  inode.raw.i_dtime = next;
  return volume_.inodes().write(operation, inode);
}

Result<void> Orphans::remove(Operation& operation, Inode& inode) {
  if (!contains(inode.number)) return {};
  TRY(unlink(operation, inode));
  return volume_.inodes().write(operation, inode);
}

Result<void> Orphans::unlink(Operation& operation, Inode& inode) {
  const InodeNumber number = inode.number;
  const Links old = links_.at(number);
  const auto join = [this](InodeNumber before, InodeNumber after, InodeNumber left, InodeNumber right) {
    if (before != 0) links_[before].after = right;
    if (after != 0) links_[after].before = left;
  };
  links_.erase(number);
  join(old.before, old.after, old.before, old.after);
  operation.on_roll_back([this, number, old, join] {
    links_[number] = old;
    join(old.before, old.after, number, number);
  });
  inode.raw.i_dtime = 0;
  if (old.before == 0) {
    set_head(old.after);
    return {};
  }
  TRY(neighbour, volume_.inodes().read(old.before));
  return volume_.inodes().write(operation, neighbour);  // which takes i_dtime from the list in memory
}

Result<void> Orphans::release(InodeNumber inode) { return finish(inode, Whom::unreferenced); }

Result<void> Orphans::finish(InodeNumber number, Whom whom) {
  for (bool done = false; !done;) {
    TRY(step_done, volume_.mutate([&](Operation& operation) { return step(operation, number, whom); }));
    done = step_done;
  }
  return {};
}

Result<bool> Orphans::step(Operation& operation, InodeNumber number, Whom whom) {
  if (!contains(number)) return true;
  TRY(inode, volume_.inodes().read(number));
  const bool dying = inode.links() == 0;
  if (whom == Whom::unreferenced && (!dying || volume_.references().lent(number))) return true;

  const bool mapped = inode.is_regular() || inode.is_directory() || (inode.is_symlink() && !inode.is_fast_symlink());
  if (mapped) {
    TRY(empty, volume_.files().free_some(operation, inode, dying ? 0 : inode.size()));
    if (!empty) return false;
  }
  if (!dying) {
    TRY(remove(operation, inode));
    return true;
  }
  TRY(volume_.xattrs().release(operation, inode));
  TRY(unlink(operation, inode));
  TRY(volume_.inodes().destroy(operation, inode));
  operation.on_commit([this, number] { volume_.files().forget(number); });
  return true;
}

Result<bool> Orphans::believable(InodeNumber number) {
  ext2_filsys fs = volume_.fs();
  if (number < EXT2_FIRST_INO(fs->super) || number > fs->super->s_inodes_count) return false;
  TRY(in_use, volume_.allocator().inode_in_use(number));
  return in_use && !contains(number);
}

Result<void> Orphans::load() {
  InodeNumber before = 0;
  for (InodeNumber number = head(); number != 0;) {
    const auto broken = [&] {
      const std::string where = before == 0 ? "its head" : "inode " + std::to_string(before);
      return errno_error(EUCLEAN, "orphan list behind " + where);
    };
    const auto good = believable(number);
    if (!good.ok() || !*good) return broken();
    const auto inode = volume_.inodes().read(number);
    if (!inode.ok()) return broken();
    links_[number] = {.before = before, .after = 0};
    if (before != 0) links_[before].after = number;
    before = number;
    number = inode->raw.i_dtime;
  }
  return {};
}

Result<void> Orphans::forget_list(Operation&) {
  links_.clear();
  set_head(0);
  return {};
}

Result<void> Orphans::clean_up() {
  // Writing again after remount,ro: the list in memory is the one on the disk, and who is on it may be in use.
  if (head() == 0 || !links_.empty()) return {};
  const bool has_errors = (volume_.fs()->super->s_state & EXT2_ERROR_FS) != 0;
  // As kernel ext4: what a damaged volume calls orphans may be anybody's. e2fsck finds them all the same.
  if (has_errors) return volume_.mutate([&](Operation& operation) { return forget_list(operation); });

  if (const auto loaded = volume_.inspect([&] { return load(); }); !loaded.ok()) {
    // inspect() has recorded the damage. What was read up to it is good; the rest is cut off.
    TRY(volume_.mutate([&](Operation& operation) -> Result<void> {
      const auto last = std::ranges::find_if(links_, [](const auto& entry) { return entry.second.after == 0; });
      if (last == links_.end()) return forget_list(operation);
      TRY(inode, volume_.inodes().read(last->first));
      return volume_.inodes().write(operation, inode);
    }));
  }
  return release_all();
}

Result<void> Orphans::release_all() {
  Result<void> outcome;
  std::vector<InodeNumber> waiting;
  volume_.inspect([&] {
    for (const auto& [number, links] : links_) waiting.push_back(number);
  });
  for (const InodeNumber number : waiting) {
    // One that cannot be freed stays on the list; the others need not.
    if (auto finished = finish(number, Whom::any); !finished.ok() && outcome.ok()) outcome = std::move(finished);
  }
  return outcome;
}

}  // namespace worker::volume
