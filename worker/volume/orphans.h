// Inodes without a name that are still in use, or half freed: the on-disk orphan list.
#pragma once

#include <unordered_map>

#include "worker/volume/inodes.h"

namespace worker::volume {

/// The list that starts at s_last_orphan and runs through i_dtime; a doubly linked copy in memory makes removal cheap. What is
/// on it when a volume is mounted read-write is freed (link count 0) or cut to its size. Under the mutator lock.
class Orphans {
 public:
  explicit Orphans(Volume& volume) : volume_{volume} {}

  /// Puts `inode` on the list and writes it; no effect if it is there.
  Result<void> add(Operation& operation, Inode& inode);
  /// Takes it off and writes it with i_dtime 0.
  Result<void> remove(Operation& operation, Inode& inode);
  bool contains(InodeNumber inode) const;

  /// FORGET brought the count of an inode to 0: frees it if it has no links. In bounded steps, each an operation.
  Result<void> release(InodeNumber inode);

  /// Frees what an earlier mount left on the list. Called once by start_writing().
  Result<void> clean_up();
  /// Frees everything on the list, whatever the kernel still counts: the last thing before a clean close.
  Result<void> release_all();

 private:
  struct Links {
    InodeNumber before = 0, after = 0;
  };
  Volume& volume_;
  std::unordered_map<InodeNumber, Links> links_;
};

}  // namespace worker::volume
