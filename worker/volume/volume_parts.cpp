// How a volume is put together from its parts, and what a commit and a close ask of them.
#include "worker/disk/journal.h"
#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"
#include "worker/volume/journal_recovery.h"
#include "worker/volume/mmp.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {

Volume::Volume(disk::BlockDevice& device, const MountOptions& options, std::unique_ptr<JournalRecovery> recovery)
    : recovery_{std::move(recovery)}, device_{device}, options_{options} {}

Volume::~Volume() {
  if (fs_ != nullptr) ext2fs_free(fs_);
}

Result<void> Volume::make_parts() {
  references_ = std::make_unique<References>();
  allocator_ = std::make_unique<Allocator>(*this);
  if (can_write_) TRY(allocator_->install_hooks());
  inodes_ = std::make_unique<Inodes>(*this);
  orphans_ = std::make_unique<Orphans>(*this);
  xattrs_ = std::make_unique<Xattrs>(*this);
  files_ = std::make_unique<FileData>(*this);
  names_ = std::make_unique<Names>(*this);
  return {};
}

Result<void> Volume::prepare_parts() { return allocator_->prepare_commit(); }

std::vector<disk::BlockRun> Volume::freed_in_commit() const { return allocator_->freed_in_commit(); }

void Volume::parts_committed() { allocator_->commit_done(); }

bool Volume::commit_could_free_space() { return can_write_ && allocator_->has_pending_frees(); }

std::uint64_t Volume::count_free_blocks() {
  return can_write_ ? allocator_->free_blocks() : ext2fs_free_blocks_count(fs_->super);
}

std::uint64_t Volume::blocks_kept_for_metadata() { return allocator_->kept_for_metadata(); }

Result<void> Volume::clean_up_orphans() { return orphans_->clean_up(); }

bool Volume::orphans_in_file() { return !orphans_->file_is_empty(); }

Result<void> Volume::release_orphans() { return orphans_->release_all(); }

}  // namespace worker::volume
