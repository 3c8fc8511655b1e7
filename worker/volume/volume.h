// One ext4 volume: owns its parts, its lock and its life from open to close.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "worker/disk/block_cache.h"
#include "worker/disk/committer.h"
#include "worker/disk/ext2fs.h"
#include "worker/volume/features.h"
#include "worker/volume/mount_options.h"
#include "worker/volume/operation.h"
#include "worker/volume/types.h"

namespace worker::volume {

class Allocator;
class FileData;
class Inodes;
class Names;
class References;
class Orphans;
class Superblock;
class Xattrs;

/// A mounted volume.
///
/// Lock order, outermost first; whoever holds one may take only those below it:
///   1. a file's mapping lock      (FileData: serialises changes of one file's block mapping)
///   2. commit lock                (Volume: one commit at a time)
///   3. mutator lock               (Volume: libext2fs, bitmaps, every change of metadata)
///   4. caches' own short locks    (BlockCache, ExtentCache, References), leaves: nothing is taken under them
/// Reads and overwrites of file data whose extents are cached take only leaves.
class Volume {
 public:
  /// Opens and checks; writes nothing. Errors are one line for people: what cannot be served and why.
  static Result<std::unique_ptr<Volume>> open(disk::BlockDevice& device, const MountOptions& options);
  ~Volume();

  /// The mount is in place: from here on the volume may be written. Marks it as in use, durably, before anything else is
  /// written; frees orphans; starts the periodic commit. Does nothing but open the gate on a read-only volume.
  Result<void> start_writing();

  /// Commits, marks the volume clean, flushes. Everything is durable on success. Mutations fail with EROFS afterwards.
  Result<void> close();

  /// remount,ro: as close(), but reads go on. remount,rw: fails with EROFS without a writable device or features.
  Result<void> become_read_only();
  Result<void> become_writable();

  /// On return all operations committed and all data written before the call are durable. Callers share commits.
  Result<void> sync();

  /// Runs `change` as one atomic operation under the mutator lock: on an error nothing of it remains, neither in memory nor
  /// later on the disk. Waits until start_writing() was called. On ENOSPC with freed blocks still waiting for a commit, commits
  /// and tries once more, so `change` must not keep results of a failed try.
  /// EROFS on a read-only volume. A corrupt structure is recorded and follows `errors=`.
  template <typename Change>
  auto mutate(Change change) -> decltype(change(std::declval<Operation&>()));

  /// Runs `look` under the mutator lock without the right to change anything: for whatever calls libext2fs.
  template <typename Look>
  auto inspect(Look look) -> decltype(look());

  SpaceUsage space() const;
  bool read_only() const noexcept;

  ext2_filsys fs() noexcept { return fs_; }
  disk::BlockDevice& device() noexcept { return device_; }
  disk::BlockCache& cache() noexcept { return *cache_; }
  const MountOptions& options() const noexcept { return options_; }
  Allocator& allocator() noexcept { return *allocator_; }
  FileData& files() noexcept { return *files_; }
  Inodes& inodes() noexcept { return *inodes_; }
  Names& names() noexcept { return *names_; }
  Orphans& orphans() noexcept { return *orphans_; }
  References& references() noexcept { return *references_; }
  Xattrs& xattrs() noexcept { return *xattrs_; }

 private:
  // (the volume-core author fills this in)
};

}  // namespace worker::volume
