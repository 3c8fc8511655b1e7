// Inodes without a name that are still in use, or half freed: kept on the volume so that a crash does not lose them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/volume/orphan_file.h"
#include "worker/volume/orphan_list.h"

namespace worker::volume {

/// Registers inodes in the orphan file where the volume has one with room, else on the orphan list. Who is registered
/// when a volume is mounted read-write is freed (link count 0) or cut to its size. Under the mutator lock where nothing
/// else is said.
class Orphans {
 public:
  explicit Orphans(Volume& volume) noexcept : volume_{volume}, list_{volume}, file_{volume} {}

  /// Registers `inode` and writes it; no effect if it is registered.
  Result<void> add(Operation& operation, Inode& inode);
  /// Takes it out and writes it with i_dtime 0; no effect if it is not registered.
  Result<void> remove(Operation& operation, Inode& inode);
  bool contains(InodeNumber inode) const { return list_.contains(inode) || file_.contains(inode); }
  /// What i_dtime of an inode on the list has to be, see OrphanList. Nothing for an inode that is not on it.
  std::optional<InodeNumber> next_of(InodeNumber inode) const { return list_.next_of(inode); }
  /// False while the orphan file may hold something that e2fsck or a later mount has to look at.
  bool file_is_empty() const noexcept { return file_.empty(); }

  /// FORGET brought the count of an inode to 0: frees it if it has no links and was not lent again. In bounded steps,
  /// each an operation; takes its own locks.
  Result<void> release(InodeNumber inode);

  /// Frees what an earlier mount left. Called when writing starts; takes its own locks. A chain that does not hold
  /// together is cut where it breaks, an orphan file that does not is left alone, and that is recorded as damage. On a
  /// volume marked as having errors nothing is freed.
  Result<void> clean_up();
  /// Frees everything that is registered, whatever the kernel still counts: the last thing before a clean close. Takes
  /// its own locks.
  Result<void> release_all();

 private:
  enum class Whom : std::uint8_t { unreferenced, any };

  /// Takes `inode` out but does not write it.
  Result<void> forget(Operation& operation, Inode& inode);
  Result<void> load();
  Result<void> finish(InodeNumber number, Whom whom);
  /// One operation's worth of finish(); true when nothing is left to do.
  Result<bool> step(Operation& operation, InodeNumber number, Whom whom);

  Volume& volume_;
  OrphanList list_;
  OrphanFile file_;
  bool loaded_ = false;
};

/// False for numbers that no orphan can have: reserved ones, the orphan file's own, those not in use.
Result<bool> may_be_orphan(Volume& volume, InodeNumber number);

}  // namespace worker::volume
