// The on-disk orphan list: a chain through the inodes themselves.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "worker/volume/inodes.h"

namespace worker::volume {

/// The list that starts at s_last_orphan and runs through i_dtime; a doubly linked copy in memory makes removal cheap.
/// Under the mutator lock.
class OrphanList {
 public:
  explicit OrphanList(Volume& volume) noexcept : volume_{volume} {}

  /// Puts `inode`, which is not on the list, at its head and writes it.
  Result<void> add(Operation& operation, Inode& inode);
  /// Takes it, which is on the list, off and sets i_dtime 0 in memory: the caller writes it.
  Result<void> remove(Operation& operation, Inode& inode);
  bool contains(InodeNumber inode) const { return links_.contains(inode); }
  /// What i_dtime of an inode on the list has to be: the next one, 0 for the last. Nothing for an inode that is not on
  /// it.
  std::optional<InodeNumber> next_of(InodeNumber inode) const;
  std::vector<InodeNumber> all() const;

  /// Reads the chain that an earlier mount left. EUCLEAN where it does not hold together: what was read up to there is
  /// kept in memory.
  Result<void> load();
  /// After a load() that failed: cuts the chain on the disk where the one in memory ends.
  Result<void> cut(Operation& operation);
  /// Empties the list without a look at who was on it.
  void forget();

 private:
  struct Links {
    InodeNumber before = 0, after = 0;  ///< 0: none
  };

  InodeNumber head() const;
  void set_head(InodeNumber inode);
  void join(InodeNumber before, InodeNumber after, InodeNumber left, InodeNumber right);

  Volume& volume_;
  std::unordered_map<InodeNumber, Links> links_;
};

}  // namespace worker::volume
