// What a volume's journal still holds when the volume is opened: seen at once, put in place before the first write.
#pragma once

#include <memory>

#include "worker/disk/ext2fs.h"
#include "worker/disk/replayed_device.h"
#include "worker/volume/types.h"

namespace worker::volume {

class Volume;

/// The log of a volume with an internal journal, as its inode maps it onto the volume's device. EUCLEAN where the inode
/// is not that of a journal. Under the mutator lock, or while nobody else knows the volume.
Result<disk::JournalLog> open_journal_log(Volume& volume);

/// EUCLEAN if a block of the log is also one of superblocks, descriptors, bitmaps or inode tables. Grows with the
/// number of groups.
Result<void> check_log_is_apart(ext2_filsys fs, const disk::JournalLog& log);

/// A journal that was not left empty. The volume is served from device() from the start, so that what its readers see
/// does not change when the replay is done, if ever: a read-only mount writes nothing.
class JournalRecovery {
 public:
  /// `volume` is as it lies on its device, and is not needed afterwards, though its device is. Null where there is
  /// nothing to recover. Errors, one line each: a damaged journal; what a replay cannot do, or must not when the volume
  /// is to be written. `progress` is told of both this look and the replay. Writes nothing.
  static Result<std::unique_ptr<JournalRecovery>> find(Volume& volume, disk::Progress progress);

  /// The replayed volume.
  disk::BlockDevice& device() noexcept { return view_; }
  /// There are transactions to replay.
  bool has_changes() const noexcept { return view_.scan().transactions > 0; }

  /// What a replay must not bring back or leave out of the superblock in memory: errors recorded past the journal are
  /// kept, the journal's own error is one of the volume's.
  void carry_over(ext2_super_block& super) const noexcept;

  /// Puts everything in place, durably, and empties the log; device() then passes everything through. The superblock
  /// may say from then on that the journal needs no recovery. EUCLEAN where the volume did not say that it does: others
  /// would have thrown the journal away. Does nothing when called again.
  Result<void> replay();
  /// The journal's error is recorded in the volume's superblock, durably: the journal can forget it.
  Result<void> forget_error();

 private:
  JournalRecovery(const disk::JournalLog& log, disk::JournalScan scan, const disk::JournalSuperblock& journal,
                  const ext2_super_block& stale, disk::Progress progress);

  disk::ReplayedDevice view_;
  disk::JournalSuperblock journal_;
  const ext2_super_block stale_;  ///< the volume's, as it lies on the device
  const disk::Progress progress_;
  bool replayed_ = false;
};

}  // namespace worker::volume
