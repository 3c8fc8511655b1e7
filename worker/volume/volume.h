// One ext4 volume: owns its parts, its lock and its life from open to close.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "worker/disk/block_cache.h"
#include "worker/disk/committer.h"
#include "worker/disk/ext2_errors.h"
#include "worker/disk/ext2fs.h"
#include "worker/disk/home_writer.h"
#include "worker/disk/journal_scan.h"
#include "worker/disk/logged_blocks.h"
#include "worker/volume/features.h"
#include "worker/volume/mount_options.h"
#include "worker/volume/operation.h"
#include "worker/volume/types.h"

namespace worker::disk {
class Journal;
}

namespace worker::volume {

class Allocator;
class FileData;
class Inodes;
class JournalRecovery;
class Mmp;
class Names;
class References;
class Orphans;
class Superblock;
class Xattrs;

/// Who is told what takes long.
struct Listener {
  std::function<void(const std::string&)> line = {};
  disk::Progress progress = {};  ///< while the journal is looked through and replayed
};

/// A mounted volume.
///
/// Lock order, outermost first; whoever holds one may take only those below it:
///   1. a file's mapping lock      (FileData: serialises changes of one file's block mapping)
///   2. commit lock                (Volume: one commit at a time)
///   3. mutator lock               (Volume: libext2fs, bitmaps, every change of metadata)
///   4. caches' own short locks    (BlockCache, ExtentCache, References), leaves: nothing is taken under them
/// Reads and overwrites of file data whose extents are cached take only leaves. The mutator lock is not recursive:
/// neither mutate() nor inspect() nor sync() may be called from inside mutate() or inspect().
class Volume {
 public:
  /// Opens and checks; writes nothing. Errors are one line for people: what cannot be served and why. A volume with
  /// multiple mount protection that is to be written and was not unmounted in order is watched for a while first.
  /// Changes that the journal holds are seen from the start (but not with norecovery), and put in place in
  /// start_writing().
  static Result<std::unique_ptr<Volume>> open(disk::BlockDevice& device, const MountOptions& options,
                                              const Listener& listener = {});
  /// Without close() before, what was not committed is lost and the volume stays marked as in use.
  ~Volume();

  /// The mount is in place: from here on the volume may be written. Replays the journal, marks the volume as in use,
  /// durably, before anything else is written; frees orphans. Does nothing but open the gate on a read-only volume.
  Result<void> start_writing();

  /// Commits, marks the volume clean, flushes. Everything is durable on success. Mutations fail with EROFS afterwards.
  /// A volume that stopped writing after an I/O error gives EIO and stays as it is. Later calls repeat the outcome.
  Result<void> close();

  /// remount,ro: as close(), but reads go on. remount,rw: fails with EROFS without a writable device or features.
  Result<void> become_read_only();
  Result<void> become_writable();

  /// On return all operations committed and all data written before the call are durable. Callers share commits: who
  /// comes while one runs waits for the next, with all others that do. EIO for ever once a commit has failed.
  Result<void> sync();

  /// Commits every commit_seconds, and earlier when much is dirty, until asked to stop. For one thread of the caller's:
  /// the volume makes none, for the sandbox forbids it by then.
  void run_periodic_commit(std::stop_token stop);

  /// Multiple mount protection: keeps the block that shows other hosts that the volume is in use, until asked to stop.
  /// Stops all writing when another one has taken it. For one thread of the caller's; returns at once where the volume
  /// has no such block.
  void run_mount_protection(std::stop_token stop);

  /// Runs `change` as one atomic operation under the mutator lock: on an error nothing of it remains, neither in memory
  /// nor later on the disk. An operation is in one commit as a whole, so it may not dirty more than a quarter of what a
  /// transaction can hold (ENOSPC for one that could never be committed). Waits until start_writing() was called. On
  /// ENOSPC with freed space still waiting for a commit, commits and tries once more, so `change` must not keep results of
  /// a failed try. EROFS on a read-only volume. A corrupt structure is recorded and follows `errors=`.
  template <typename Change>
  auto mutate(Change change) -> decltype(change(std::declval<Operation&>()));

  /// Runs `step` as one operation after the other until one succeeds with true: nothing is left to do. Between them
  /// whoever waits for the mutator lock gets it. For changes without a bound: a StepBudget ends each step, and the
  /// orphan list sees to it that a crash between two steps leaves nothing behind.
  template <typename Step>
  Result<void> mutate_in_steps(Step step);

  /// Runs `look` under the mutator lock without the right to change anything: for whatever calls libext2fs. An error
  /// that it returns in a Result is treated as in mutate().
  template <typename Look>
  auto inspect(Look look) -> decltype(look());

  /// The operation that runs now, null outside of mutate(): for callbacks from libext2fs. Under the mutator lock.
  Operation* running_operation() noexcept { return running_operation_; }

  /// Damage that the caller has worked around: recorded, and treated as `errors=` says, when the running mutate() or
  /// inspect() ends, whether it succeeds or not. Under the mutator lock.
  void report(Error damage) { reports_.push_back(std::move(damage)); }

  /// So many blocks of metadata one operation may touch: longer changes are cut into steps.
  std::size_t most_blocks_per_operation() const noexcept { return most_blocks_per_operation_; }
  /// A small journal asks for short operations. Before start_writing().
  void bound_operations(std::size_t blocks) noexcept { most_blocks_per_operation_ = blocks; }

  SpaceUsage space();
  /// True when mutations fail: mounted so, remounted so, or after an error. While that is being decided, false.
  bool read_only() const noexcept;
  /// Waits, as mutate() does, while start_writing(), a remount or close() decides; EROFS if mutations fail. For what
  /// writes before it mutates. Not from inside mutate() or inspect().
  Result<void> await_writable();
  /// Why a volume that was to be written can only be read, else empty. One line.
  const std::string& read_only_reason() const noexcept { return read_only_reason_; }

  /// What the user should know about the volume as it was found, a line each.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  /// Nanoseconds between two times that inodes of this volume can tell apart.
  std::uint32_t time_granularity() const noexcept {
    return EXT2_INODE_SIZE(fs_->super) > EXT2_GOOD_OLD_INODE_SIZE ? 1 : 1'000'000'000;
  }
  /// Bytes from the superblock, not necessarily UTF-8.
  std::string label() const;
  bool has_journal() const noexcept { return ext2fs_has_feature_journal(fs_->super) != 0; }
  /// False if the last mount was not ended by an unmount, or errors were found then.
  bool cleanly_unmounted() const noexcept { return cleanly_unmounted_; }

  ext2_filsys fs() noexcept { return fs_; }
  disk::BlockDevice& device() noexcept { return device_; }
  disk::BlockCache& cache() noexcept { return *cache_; }
  Superblock& superblock() noexcept { return *superblock_; }
  const MountOptions& options() const noexcept { return options_; }
  Allocator& allocator() noexcept { return *allocator_; }
  FileData& files() noexcept { return *files_; }
  Inodes& inodes() noexcept { return *inodes_; }
  Names& names() noexcept { return *names_; }
  Orphans& orphans() noexcept { return *orphans_; }
  References& references() noexcept { return *references_; }
  Xattrs& xattrs() noexcept { return *xattrs_; }

 private:
  friend class Operation;
  enum class Gate : std::uint8_t {
    probing,    ///< opened to be written, start_writing() not called yet: mutations wait
    starting,   ///< start_writing(), become_writable() and close(): only the thread that runs them may mutate
    open,       ///< everybody may
    read_only,  ///< EROFS
    failed,     ///< a commit failed: EROFS, and EIO from sync()
    closed,     ///< EROFS
  };

  Volume(disk::BlockDevice& device, const MountOptions& options, std::unique_ptr<JournalRecovery> recovery);
  static Result<std::unique_ptr<Volume>> open_on(disk::BlockDevice& device, const MountOptions& options,
                                                 std::unique_ptr<JournalRecovery> recovery,
                                                 const Listener& listener);

  // Opening, in order.
  Result<void> check_sole_use(const ext2_super_block& super, const Listener& listener);
  Result<void> read_geometry(ext2_super_block& super);
  Result<void> open_library();
  void collect_warnings();
  Result<void> make_parts();

  /// The seam to the parts: what a commit asks of them.
  Result<void> prepare_parts();
  std::vector<disk::BlockRun> freed_in_commit() const;
  void parts_committed();
  bool commit_could_free_space();
  std::uint64_t count_free_blocks();
  std::uint64_t blocks_kept_for_metadata();
  Result<void> clean_up_orphans();
  bool orphans_in_file();
  Result<void> release_orphans();

  /// The mutator lock.
  std::unique_lock<std::mutex> enter();
  /// Does not return before somebody who waits for the mutator lock has had it.
  void give_way();
  /// Waits under the mutator lock until this thread may mutate, or says why it may not.
  Result<void> await_gate(std::unique_lock<std::mutex>& lock);
  void set_gate(Gate gate);
  void stop_others();
  Result<void> begin_writing();
  Result<void> open_gate();
  Result<void> end_writing(Gate gate);

  Result<void> commit_once();
  /// The first half of a commit, under the mutator lock.
  Result<disk::Batch> freeze();
  /// Runs `work` while no commit runs and none starts. Without the mutator lock.
  Result<void> between_commits(const std::function<Result<void>()>& work);
  Result<void> commit_through(disk::Committer& committer);
  /// True if a journal makes this volume's operations durable while it is written.
  bool journaled() const noexcept;
  /// From the next commit on all goes through the journal, whose log is empty.
  Result<void> enter_journal();
  /// The log is empty and nothing is owed any more; the next commit goes home.
  Result<void> leave_journal();
  /// Waits, giving the lock away, until the running transaction has room for one more operation.
  Result<void> await_room(std::unique_lock<std::mutex>& lock);
  /// How many blocks a commit would have to take now, those of the running operation included. Under the mutator lock.
  std::size_t blocks_to_commit() const noexcept;
  /// Empties the log when nothing has been committed for a while: the next mount has nothing to replay.
  void rest();
  void stop_writing(const Error& error);
  bool anything_to_commit();

  /// What mutate() and inspect() do with an error, once rolled back, still under the lock. True if the caller is to
  /// sync() after unlocking, so that the record of it reaches the volume.
  bool note_error(const Error& error);
  bool note_reports();
  bool worth_another_try(const Error& error);
  void limit_dirty();

  std::unique_ptr<JournalRecovery> recovery_;  ///< null where there was none to do; may own what device_ is
  disk::BlockDevice& device_;
  MountOptions options_;
  std::uint32_t block_size_ = 0;
  std::string read_only_reason_;
  std::vector<std::string> warnings_;
  bool cleanly_unmounted_ = true;
  bool can_write_ = false;  ///< the device, the features and the journal would allow it
  ErrorPolicy errors_ = ErrorPolicy::go_on;
  std::size_t most_blocks_per_operation_ = 128;

  std::mutex mutator_;
  std::atomic<std::uint32_t> waiting_{0};   ///< for mutator_
  std::atomic<std::uint32_t> admitted_{0};  ///< those who had to wait for it, over all time
  std::condition_variable gate_changed_;    ///< with mutator_
  std::atomic<Gate> gate_{Gate::probing};
  std::thread::id starter_;  ///< the thread that may mutate while the gate is `starting`
  std::uint32_t reported_ = 0;
  std::vector<Error> reports_;  ///< not yet noted
  Operation* running_operation_ = nullptr;

  /// Group commit. Guarded by commit_mutex_, which is held only to look and to change these, not while a commit runs.
  std::mutex commit_mutex_;
  std::condition_variable commit_changed_;
  std::uint64_t commits_started_ = 0, commits_done_ = 0;
  bool commit_running_ = false;
  std::mutex life_;  ///< one of start_writing(), close(), become_...() at a time
  bool closed_ = false, closed_well_ = false;
  bool gave_up_ = false;  ///< errors=remount-ro struck: there is no way back to writing
  bool panic_ = false;    ///< errors=panic struck: the process ends after the next commit

  std::mutex timer_;
  std::condition_variable_any timer_wakes_;  ///< with timer_
  bool much_dirty_ = false;

  disk::LoggedBlocks logged_;
  std::unique_ptr<disk::BlockCache> cache_;
  std::unique_ptr<disk::HomeWriter> home_writer_;
  std::unique_ptr<disk::Journal> journal_;  ///< null on a volume without one, and on one that cannot be written
  /// Which of the two commits now. Changes between commits, under the mutator lock.
  disk::Committer* committer_ = nullptr;
  ext2_filsys fs_ = nullptr;
  std::unique_ptr<Mmp> mmp_;  ///< null without the feature, and on a volume that cannot be written
  std::unique_ptr<Superblock> superblock_;
  std::unique_ptr<Allocator> allocator_;
  std::unique_ptr<References> references_;
  std::unique_ptr<Inodes> inodes_;
  std::unique_ptr<Orphans> orphans_;
  std::unique_ptr<Xattrs> xattrs_;
  std::unique_ptr<FileData> files_;
  std::unique_ptr<Names> names_;
};

template <typename Change>
auto Volume::mutate(Change change) -> decltype(change(std::declval<Operation&>())) {
  for (bool again = true;; again = false) {
    std::unique_lock lock = enter();
    TRY(await_gate(lock));
    TRY(await_room(lock));
    Operation operation{*this};
    auto result = change(operation);
    if (result.ok() && operation.failure_) result = *operation.failure_;
    if (result.ok() && blocks_to_commit() > committer_->most_blocks())
      result = errno_error(ENOSPC, "too large a change for the journal");
    if (result.ok()) {
      operation.commit();
      const bool record = note_reports();
      lock.unlock();
      if (record) (void)sync();
      limit_dirty();
      return result;
    }
    operation.roll_back();
    again = again && worth_another_try(result.error());
    bool record = note_reports();
    if (!again) record |= note_error(result.error());
    lock.unlock();
    if (again || record) {
      if (const auto synced = sync(); again && !synced.ok()) return synced.error();
    }
    if (!again) return result;
  }
}

template <typename Step>
Result<void> Volume::mutate_in_steps(Step step) {
  for (;;) {
    TRY(done, mutate(step));
    if (done) return {};
    give_way();
  }
}

template <typename Look>
auto Volume::inspect(Look look) -> decltype(look()) {
  std::unique_lock lock = enter();
  if constexpr (requires(decltype(look()) result) { result.error(); }) {
    auto result = look();
    bool record = note_reports();
    if (!result.ok()) record |= note_error(result.error());
    lock.unlock();
    if (record) (void)sync();
    return result;
  } else {
    return look();
  }
}

}  // namespace worker::volume
