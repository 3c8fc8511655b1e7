#include "worker/volume/volume.h"

#include <algorithm>
#include <cstring>

#include "worker/disk/journal.h"
#include "worker/disk/io_manager.h"
#include "worker/volume/journal_recovery.h"
#include "worker/volume/mmp.h"
#include "worker/volume/superblock.h"

namespace worker::volume {
namespace {

constexpr std::size_t kCacheBytes = std::size_t{32} << 20;
constexpr disk::ByteOffset kSuperOffset = 1024;

ErrorPolicy policy(const MountOptions& options, const ext2_super_block& super) {
  if (options.errors != ErrorPolicy::from_superblock) return options.errors;
  if (super.s_errors == EXT2_ERRORS_PANIC) return ErrorPolicy::panic;
  return super.s_errors == EXT2_ERRORS_RO ? ErrorPolicy::remount_read_only : ErrorPolicy::go_on;
}

/// What libext2fs does not ask of a superblock but whoever works with bitmaps and inode numbers relies on.
bool consistent(const ext2_filsys fs) {
  ext2_super_block& super = *fs->super;
  const std::uint32_t bits = fs->blocksize * 8;
  const bool boot_block_apart = fs->blocksize == EXT2_MIN_BLOCK_SIZE && fs->cluster_ratio_bits == 0;
  const bool dynamic = super.s_rev_level != EXT2_GOOD_OLD_REV;
  return super.s_first_data_block == (boot_block_apart ? 1U : 0U) && super.s_clusters_per_group <= bits &&
         super.s_inodes_per_group <= bits && super.s_inodes_count >= EXT2_GOOD_OLD_FIRST_INO &&
         (!dynamic || (super.s_first_ino >= EXT2_GOOD_OLD_FIRST_INO && super.s_first_ino <= super.s_inodes_count)) &&
         ext2fs_r_blocks_count(&super) <= ext2fs_blocks_count(&super) &&
         super.s_reserved_gdt_blocks <= fs->blocksize / 4;
}

}  // namespace

Result<std::unique_ptr<Volume>> Volume::open(disk::BlockDevice& device, const MountOptions& options,
                                             const Listener& listener) {
  TRY(volume, open_on(device, options, nullptr, listener));
  if (options.no_recovery) return volume;
  TRY(recovery, JournalRecovery::find(*volume, listener.progress));
  if (recovery == nullptr) return volume;
  // Whose the volume is was asked once, of the device itself; that stays.
  auto mmp = std::move(volume->mmp_);
  volume.reset();
  disk::BlockDevice& replayed = recovery->device();
  TRY(served, open_on(replayed, options, std::move(recovery), listener));
  served->mmp_ = std::move(mmp);
  return served;
}

Result<std::unique_ptr<Volume>> Volume::open_on(disk::BlockDevice& device, const MountOptions& options,
                                                std::unique_ptr<JournalRecovery> recovery, const Listener& listener) {
  std::unique_ptr<Volume> volume{new Volume{device, options, std::move(recovery)}};
  ext2_super_block super{};
  TRY(volume->read_geometry(super));
  const FeatureVerdict verdict = judge_features(super);
  if (verdict.access == Access::none) return errno_error(EOPNOTSUPP, verdict.reason);
  if (verdict.access == Access::read_only) volume->read_only_reason_ = verdict.reason;

  volume->can_write_ = verdict.access == Access::read_write && !device.read_only() && !options.no_recovery;
  if (options.read_only || !volume->can_write_) volume->gate_ = Gate::read_only;
  if (volume->recovery_ == nullptr) TRY(volume->check_sole_use(super, listener));
  TRY(volume->open_library());
  volume->errors_ = policy(options, *volume->fs_->super);
  volume->collect_warnings();
  TRY(volume->make_parts());
  return volume;
}

Result<void> Volume::read_geometry(ext2_super_block& super) {
  const auto not_ours = [](const char* why) { return errno_error(EINVAL, why); };
  if (device_.size() < kSuperOffset + sizeof super) return not_ours("too small for an ext2, ext3 or ext4 file system");
  TRY(device_.read(kSuperOffset, std::as_writable_bytes(std::span{&super, 1})));
  if (super.s_magic != EXT2_SUPER_MAGIC) return not_ours("no ext2, ext3 or ext4 file system found");
  if (super.s_log_block_size > EXT2_MAX_BLOCK_LOG_SIZE - EXT2_MIN_BLOCK_LOG_SIZE)
    return errno_error(EUCLEAN, "impossible block size");
  block_size_ = EXT2_MIN_BLOCK_SIZE << super.s_log_block_size;

  std::uint64_t blocks = super.s_blocks_count;
  if (super.s_rev_level != EXT2_GOOD_OLD_REV && (super.s_feature_incompat & EXT4_FEATURE_INCOMPAT_64BIT) != 0)
    blocks |= std::uint64_t{super.s_blocks_count_hi} << 32;
  const bool device_holds_none = (super.s_feature_incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV) != 0;
  if (!device_holds_none && blocks > device_.size() / block_size_)
    return errno_error(EUCLEAN, "the file system is larger than what holds it");
  return {};
}

Result<void> Volume::check_sole_use(const ext2_super_block& super, const Listener& listener) {
  if (!can_write_ || (super.s_feature_incompat & EXT4_FEATURE_INCOMPAT_MMP) == 0) return {};
  mmp_ = std::make_unique<Mmp>(device_, super);
  if (gate_ == Gate::read_only) return {};  // others may write meanwhile; who remounts it rw checks
  return mmp_->check(listener.line);
}

Result<void> Volume::open_library() {
  cache_ = std::make_unique<disk::BlockCache>(device_, block_size_, kCacheBytes / block_size_);
  int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | EXT2_FLAG_SOFTSUPP_FEATURES;
  if (can_write_) flags |= EXT2_FLAG_RW;
  const errcode_t failed =
      ext2fs_open2(disk::io_name(*cache_).c_str(), nullptr, flags, 0, 0, disk::cache_io_manager(), &fs_);
  if (failed != 0) {
    fs_ = nullptr;
    return disk::ext2_error(failed, "the superblock cannot be used");
  }
  if (!consistent(fs_)) return errno_error(EUCLEAN, "the superblock's numbers contradict each other");
  superblock_ = std::make_unique<Superblock>(fs_, *cache_);
  if (recovery_ != nullptr) {
    recovery_->carry_over(*fs_->super);
    superblock_->count_free_space();
  }
  // The root's group serves every mount: what is wrong there is better said now.
  TRY(superblock_->check_group(0));
  if (can_write_) home_writer_ = std::make_unique<disk::HomeWriter>(device_, block_size_);
  committer_ = home_writer_.get();
  cache_->read_through(logged_);
  return {};
}

void Volume::collect_warnings() {
  const bool dirty_log = recovery_ != nullptr && recovery_->has_changes();
  cleanly_unmounted_ = superblock_->marked_valid() && !superblock_->has_errors() && !dirty_log;
  if (superblock_->has_errors())
    warnings_.push_back("errors were found on the volume before; run e2fsck");
  else if (!superblock_->marked_valid())
    warnings_.push_back("the volume was not cleanly unmounted; run e2fsck");
  if (!options_.read_only && !read_only_reason_.empty()) warnings_.push_back("mounted read-only: " + read_only_reason_);
}

std::string Volume::label() const { return superblock_->label(); }

SpaceUsage Volume::space() {
  const std::lock_guard lock{mutator_};
  ext2_super_block& super = *fs_->super;
  SpaceUsage usage;
  usage.block_size = block_size_;
  usage.blocks = ext2fs_blocks_count(&super);
  if (!options_.minix_df) usage.blocks -= std::min(usage.blocks, superblock_->overhead());
  usage.free_blocks = count_free_blocks();

  const std::uint64_t kept = ext2fs_r_blocks_count(&super) + blocks_kept_for_metadata();
  usage.available_blocks = usage.free_blocks > kept ? usage.free_blocks - kept : 0;
  usage.inodes = super.s_inodes_count;
  usage.free_inodes = super.s_free_inodes_count;
  std::uint64_t halves[2];
  std::memcpy(halves, super.s_uuid, sizeof halves);
  usage.identity = halves[0] ^ halves[1];
  return usage;
}

void Volume::set_gate(Gate gate) {
  gate_ = gate;
  gate_changed_.notify_all();
}

std::unique_lock<std::mutex> Volume::enter() {
  std::unique_lock lock{mutator_, std::try_to_lock};
  if (lock) return lock;
  ++waiting_;
  lock.lock();
  --waiting_;
  ++admitted_;
  admitted_.notify_all();
  return lock;
}

void Volume::give_way() {
  // A mutex prefers the thread that runs: who takes it again at once keeps others out for as long as it likes.
  const std::uint32_t admitted = admitted_;
  if (waiting_ > 0) admitted_.wait(admitted);
}

Result<void> Volume::await_gate(std::unique_lock<std::mutex>& lock) {
  const auto mine = [this] { return gate_ == Gate::starting && starter_ == std::this_thread::get_id(); };
  gate_changed_.wait(lock, [&] { return (gate_ != Gate::probing && gate_ != Gate::starting) || mine(); });
  if (gate_ == Gate::open || mine()) return {};
  return errno_error(EROFS);
}

bool Volume::read_only() const noexcept {
  const Gate gate = gate_;
  return gate == Gate::read_only || gate == Gate::failed || gate == Gate::closed;
}

Result<void> Volume::await_writable() {
  if (gate_ == Gate::open) return {};
  std::unique_lock lock{mutator_};
  return await_gate(lock);
}

Result<void> Volume::start_writing() {
  const std::lock_guard life{life_};
  if (gate_ != Gate::probing) return {};
  return begin_writing();
}

Result<void> Volume::begin_writing() {
  if (mmp_) {
    if (auto claimed = mmp_->claim(); !claimed.ok()) {
      const std::lock_guard lock{mutator_};
      set_gate(Gate::read_only);  // nobody is to wait for what will not come
      return claimed;
    }
  }
  auto outcome = open_gate();
  if (!outcome.ok()) {
    // Half begun is not begun: whoever waits is told so.
    const std::lock_guard lock{mutator_};
    if (gate_ != Gate::failed) stop_writing(outcome.error());
  }
  return outcome;
}

Result<void> Volume::open_gate() {
  if (recovery_ != nullptr) TRY(recovery_->replay());
  {
    const std::lock_guard lock{mutator_};
    starter_ = std::this_thread::get_id();
    set_gate(Gate::starting);
    superblock_->mark_in_use(journaled());
  }
  // Nothing else may reach the volume before this mark has: a crash must not leave changes on what looks clean, nor a
  // log that nobody looks into.
  TRY(sync());
  if (recovery_ != nullptr) TRY(recovery_->forget_error());
  if (journaled()) TRY(enter_journal());
  // What cannot be freed stays on the list for e2fsck; it is no reason to refuse the mount.
  (void)clean_up_orphans();
  const std::lock_guard lock{mutator_};
  if (gate_ == Gate::starting) set_gate(Gate::open);
  return {};
}

Result<void> Volume::end_writing(Gate gate) {
  TRY(sync());
  if (journal_) TRY(between_commits([this] { return leave_journal(); }));
  {
    const std::lock_guard lock{mutator_};
    if (gate_ != Gate::starting) return errno_error(EROFS, "the volume is not marked clean");
    superblock_->mark_clean(orphans_in_file());
  }
  // A second commit: the mark is true only once everything before it is durable.
  TRY(sync());
  if (mmp_) TRY(mmp_->release());
  const std::lock_guard lock{mutator_};
  if (gate_ == Gate::starting) set_gate(gate);
  return {};
}

void Volume::stop_others() {
  const std::lock_guard lock{mutator_};
  starter_ = std::this_thread::get_id();
  set_gate(Gate::starting);
}

Result<void> Volume::close() {
  const std::lock_guard life{life_};
  if (closed_) return closed_well_ ? Result<void>{} : Result<void>{errno_error(EIO)};
  closed_ = true;
  if (gate_ == Gate::failed) return errno_error(EIO, "writing to the volume failed");
  Result<void> outcome;
  if (gate_ == Gate::open) {
    stop_others();
    (void)release_orphans();
    outcome = end_writing(Gate::closed);
  }
  closed_well_ = outcome.ok();
  const std::lock_guard lock{mutator_};
  if (gate_ != Gate::failed) set_gate(Gate::closed);
  return outcome;
}

Result<void> Volume::become_read_only() {
  const std::lock_guard life{life_};
  if (gate_ == Gate::failed) return errno_error(EIO);
  if (gate_ == Gate::probing) {
    const std::lock_guard lock{mutator_};
    set_gate(Gate::read_only);
  }
  if (gate_ != Gate::open) return {};
  stop_others();
  return end_writing(Gate::read_only);
}

Result<void> Volume::become_writable() {
  const std::lock_guard life{life_};
  if (gate_ == Gate::open || gate_ == Gate::probing) return {};
  if (!can_write_ || gave_up_ || gate_ != Gate::read_only) return errno_error(EROFS, read_only_reason_);
  return begin_writing();
}

}  // namespace worker::volume
