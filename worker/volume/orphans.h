// Inodes without a name that are still in use, or half freed: the on-disk orphan list.
#pragma once

#include <optional>
#include <unordered_map>

#include "worker/volume/inodes.h"

namespace worker::volume {

/// The list that starts at s_last_orphan and runs through i_dtime; a doubly linked copy in memory makes removal cheap.
/// What is on it when a volume is mounted read-write is freed (link count 0) or cut to its size. Under the mutator lock
/// where nothing else is said.
class Orphans {
 public:
  explicit Orphans(Volume& volume) : volume_{volume} {}

  /// Puts `inode` on the list and writes it; no effect if it is there.
  Result<void> add(Operation& operation, Inode& inode);
  /// Takes it off and writes it with i_dtime 0; no effect if it is not there.
  Result<void> remove(Operation& operation, Inode& inode);
  bool contains(InodeNumber inode) const { return links_.contains(inode); }
  /// What i_dtime of an inode on the list has to be: the next one, 0 for the last. Nothing for an inode that is not on
  /// it.
  std::optional<InodeNumber> next_of(InodeNumber inode) const;

  /// FORGET brought the count of an inode to 0: frees it if it has no links and was not lent again. In bounded steps,
  /// each an operation; takes its own locks.
  Result<void> release(InodeNumber inode);

  /// Frees what an earlier mount left on the list. Called when writing starts; takes its own locks. A chain that
  /// does not hold together is cut where it breaks, and that is recorded as damage. On a volume marked as having errors
  /// nothing is freed.
  Result<void> clean_up();
  /// Frees everything on the list, whatever the kernel still counts: the last thing before a clean close. Takes its own
  /// locks.
  Result<void> release_all();

 private:
  struct Links {
    InodeNumber before = 0, after = 0;  ///< 0: none
  };
  enum class Whom : std::uint8_t { unreferenced, any };

  InodeNumber head() const;
  void set_head(InodeNumber inode);
  /// Changes list and memory but does not write `inode`.
  Result<void> unlink(Operation& operation, Inode& inode);
  Result<void> load();
  Result<bool> believable(InodeNumber number);
  Result<void> forget_list(Operation& operation);
  Result<void> finish(InodeNumber number, Whom whom);
  /// One operation's worth of finish(); true when nothing is left to do.
  Result<bool> step(Operation& operation, InodeNumber number, Whom whom);

  Volume& volume_;
  std::unordered_map<InodeNumber, Links> links_;
};

}  // namespace worker::volume
