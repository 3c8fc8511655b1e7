// How a volume's operations become durable together, and what errors do to it.
#include <cstdlib>
#include <utility>

#include "protocol/log.h"
#include "worker/disk/journal.h"
#include "worker/disk/journal_replay.h"
#include "worker/volume/journal_recovery.h"
#include "worker/volume/mmp.h"
#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// From here on a commit is asked for before its time, and from there on whoever made the last block dirty waits for
/// one.
constexpr std::size_t kMuchDirtyBytes = std::size_t{8} << 20;
constexpr std::size_t kTooMuchDirtyBytes = std::size_t{32} << 20;

/// So many commit periods without a change let the log be emptied.
constexpr unsigned kPeriodsBeforeRest = 6;

/// More than these on one mount say nothing new.
constexpr std::uint32_t kMostReports = 32;

}  // namespace

Result<void> Volume::sync() {
  std::unique_lock lock{commit_mutex_};
  // One that runs already may have frozen before the caller's last operation: only the next one counts.
  const std::uint64_t wanted = commits_started_ + 1;
  while (commits_done_ < wanted) {
    if (commit_running_) {
      commit_changed_.wait(lock);
      continue;
    }
    commit_running_ = true;
    const std::uint64_t number = ++commits_started_;
    lock.unlock();
    (void)commit_once();  // a failure shows in the gate, for all who wait
    lock.lock();
    commits_done_ = number;
    commit_running_ = false;
    commit_changed_.notify_all();
  }
  if (gate_ == Gate::failed) return errno_error(EIO, "writing to the volume failed");
  return {};
}

Result<disk::Batch> Volume::freeze() {
  TRY(prepare_parts());
  TRY(superblock_->write_back());
  return disk::Batch{cache_->freeze(), freed_in_commit()};
}

Result<void> Volume::commit_once() {
  disk::Batch batch;
  {
    const auto lock = enter();
    if (gate_ == Gate::failed || gate_ == Gate::probing || committer_ == nullptr) return {};
    auto taken = freeze();
    if (!taken.ok()) {
      stop_writing(taken.error());
      return std::move(taken).error();
    }
    batch = std::move(taken).value();
  }
  auto outcome = committer_->commit(batch);
  const auto lock = enter();
  cache_->settle(batch.blocks, outcome.ok());
  if (outcome.ok())
    parts_committed();
  else
    stop_writing(outcome.error());
  if (panic_) std::abort();
  return outcome;
}

Result<void> Volume::between_commits(const std::function<Result<void>()>& work) {
  std::unique_lock lock{commit_mutex_};
  commit_changed_.wait(lock, [this] { return !commit_running_; });
  commit_running_ = true;
  lock.unlock();
  auto outcome = work();
  if (!outcome.ok()) {
    const std::lock_guard mutator{mutator_};
    stop_writing(outcome.error());
  }
  lock.lock();
  commit_running_ = false;
  commit_changed_.notify_all();
  return outcome;
}

Result<void> Volume::commit_through(disk::Committer& committer) {
  const std::lock_guard lock{mutator_};
  committer_ = &committer;
  return {};
}

bool Volume::journaled() const noexcept { return can_write_ && has_journal() && fs_->super->s_journal_inum != 0; }

Result<void> Volume::enter_journal() {
  if (!journal_) {
    TRY(log, inspect([this] { return open_journal_log(*this); }));
    TRY(super, disk::read_journal_superblock(log));
    TRY(journal, disk::Journal::open(device_, std::move(log), super,
                                     {.wide = ext2fs_has_feature_64bit(fs_->super) != 0,
                                      .checksums = ext2fs_has_feature_metadata_csum(fs_->super) != 0},
                                     logged_));
    journal_ = std::move(journal);
    bound_operations(std::min(most_blocks_per_operation(), journal_->most_blocks() / 8));
  }
  return between_commits([this] { return commit_through(*journal_); });
}

Result<void> Volume::leave_journal() {
  TRY(journal_->empty());
  return commit_through(*home_writer_);
}

std::size_t Volume::blocks_to_commit() const noexcept {
  return cache_->dirty_blocks() + superblock_->blocks_to_write();
}

Result<void> Volume::await_room(std::unique_lock<std::mutex>& lock) {
  while (blocks_to_commit() > committer_->most_blocks() / 4) {
    lock.unlock();
    TRY(sync());
    lock.lock();
    TRY(await_gate(lock));
  }
  return {};
}

void Volume::rest() {
  if (!journal_) return;
  (void)between_commits([this]() -> Result<void> {
    const bool in_use = committer_ == journal_.get() && gate_ != Gate::failed;
    return in_use && !journal_->is_empty() ? journal_->empty() : Result<void>{};
  });
}

bool Volume::anything_to_commit() {
  const std::lock_guard lock{mutator_};
  return gate_ != Gate::failed && (cache_->dirty_blocks() > 0 || superblock_->changed() || commit_could_free_space());
}

void Volume::run_periodic_commit(std::stop_token stop) {
  const std::chrono::seconds period{options_.commit_seconds};
  unsigned idle_periods = 0;
  std::unique_lock lock{timer_};
  while (!stop.stop_requested()) {
    timer_wakes_.wait_for(lock, stop, period, [this] { return much_dirty_; });
    if (stop.stop_requested()) return;
    much_dirty_ = false;
    lock.unlock();
    if (anything_to_commit()) {
      (void)sync();
      idle_periods = 0;
    } else if (++idle_periods == kPeriodsBeforeRest) {
      rest();
    }
    lock.lock();
  }
}

void Volume::run_mount_protection(std::stop_token stop) {
  if (!mmp_) return;
  std::mutex alone;
  std::condition_variable_any woken;
  std::unique_lock lock{alone};
  while (!stop.stop_requested()) {
    woken.wait_for(lock, stop, mmp_->update_interval(), [] { return false; });
    if (stop.stop_requested()) return;
    if (const auto updated = mmp_->update(); !updated.ok()) {
      const auto mutator = enter();
      stop_writing(updated.error());
      return;
    }
  }
}

void Volume::limit_dirty() {
  const std::size_t bytes = cache_->dirty_blocks() * block_size_;
  if (bytes >= kTooMuchDirtyBytes) (void)sync();
  if (bytes < kMuchDirtyBytes) return;
  const std::lock_guard lock{timer_};
  much_dirty_ = true;
  timer_wakes_.notify_all();
}

bool Volume::worth_another_try(const Error& error) {
  return disk::error_number(error.code) == ENOSPC && commit_could_free_space();
}

void Volume::stop_writing(const Error& error) {
  protocol::log(protocol::Severity::critical,
                "writing to the volume failed, nothing more is written: " + error.message());
  set_gate(Gate::failed);
  if (errors_ == ErrorPolicy::panic) std::abort();
}

bool Volume::note_reports() {
  bool record = false;
  for (const Error& damage : std::exchange(reports_, {})) record |= note_error(damage);
  return record;
}

bool Volume::note_error(const Error& error) {
  if (!disk::is_corruption(error.code)) return false;
  if (++reported_ <= kMostReports) protocol::log(protocol::Severity::error, "damage on the volume: " + error.message());
  if (gate_ != Gate::open && gate_ != Gate::starting) return false;
  superblock_->record_error(error.detail.empty() ? "ext4box" : std::string_view{error.detail}, 0, 0,
                            disk::error_number(error.code));
  if (errors_ == ErrorPolicy::panic) panic_ = true;
  if (errors_ == ErrorPolicy::remount_read_only) {
    gave_up_ = true;
    set_gate(Gate::read_only);
  }
  return reported_ <= kMostReports || panic_;
}

}  // namespace worker::volume
