// Puts what a log holds where it belongs.
#pragma once

#include "worker/disk/journal_scan.h"

namespace worker::disk {

/// Writes every copy home, in the volume's order, and flushes; then empties the log: its superblock says so, names the
/// scan's next transaction and head, and no longer has the fast-commit area in use; and flushes. On success `super` is
/// what lies on the device. Until the log says that it is empty it stays whole: interrupted anywhere, the same replay
/// done again ends the same. Homes are on the log's device. The scan must have found no fast commits.
Result<void> replay_journal(const JournalLog& log, const JournalScan& scan, JournalSuperblock& super,
                            const Progress& progress = {});

/// From log block 0. EUCLEAN and EOPNOTSUPP as of decode() and check().
Result<JournalSuperblock> read_journal_superblock(const JournalLog& log);

/// Writes the fields of `super` into log block 0. Not flushed.
Result<void> write_journal_superblock(const JournalLog& log, const JournalSuperblock& super);

}  // namespace worker::disk
