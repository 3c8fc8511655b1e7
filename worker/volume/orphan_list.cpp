#include "worker/volume/orphan_list.h"

#include <algorithm>
#include <string>

#include "worker/disk/crash_rules.h"
#include "worker/volume/orphans.h"
#include "worker/volume/volume.h"

namespace worker::volume {

InodeNumber OrphanList::head() const { return volume_.fs()->super->s_last_orphan; }

void OrphanList::set_head(InodeNumber inode) {
  if (disk::rule::orphan_protection) volume_.fs()->super->s_last_orphan = inode;
}

std::optional<InodeNumber> OrphanList::next_of(InodeNumber inode) const {
  const auto found = links_.find(inode);
  if (found == links_.end()) return std::nullopt;
  return found->second.after;
}

std::vector<InodeNumber> OrphanList::all() const {
  std::vector<InodeNumber> numbers;
  numbers.reserve(links_.size());
  for (const auto& [number, links] : links_) numbers.push_back(number);
  return numbers;
}

Result<void> OrphanList::add(Operation& operation, Inode& inode) {
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

void OrphanList::join(InodeNumber before, InodeNumber after, InodeNumber left, InodeNumber right) {
  if (before != 0) links_[before].after = right;
  if (after != 0) links_[after].before = left;
}

Result<void> OrphanList::remove(Operation& operation, Inode& inode) {
  const InodeNumber number = inode.number;
  const Links old = links_.at(number);
  links_.erase(number);
  join(old.before, old.after, old.before, old.after);
  operation.on_roll_back([this, number, old] {
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

Result<void> OrphanList::load() {
  InodeNumber before = 0;
  for (InodeNumber number = head(); number != 0;) {
    const auto broken = [&] {
      const std::string where = before == 0 ? "its head" : "inode " + std::to_string(before);
      return errno_error(EUCLEAN, "orphan list behind " + where);
    };
    const auto good = may_be_orphan(volume_, number);
    if (!good.ok() || !*good || volume_.orphans().contains(number)) return broken();
    const auto inode = volume_.inodes().read(number);
    if (!inode.ok()) return broken();
    links_[number] = {.before = before, .after = 0};
    if (before != 0) links_[before].after = number;
    before = number;
    number = inode->raw.i_dtime;
  }
  return {};
}

Result<void> OrphanList::cut(Operation& operation) {
  const auto last = std::ranges::find_if(links_, [](const auto& entry) { return entry.second.after == 0; });
  if (last == links_.end()) {
    forget();
    return {};
  }
  TRY(inode, volume_.inodes().read(last->first));
  return volume_.inodes().write(operation, inode);
}

void OrphanList::forget() {
  links_.clear();
  set_head(0);
}

}  // namespace worker::volume
