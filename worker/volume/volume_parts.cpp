// How a volume is put together from its parts, and what a commit and a close ask of them.
#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

// While the parts arrive one by one, each is used as soon as its source is there.
#define HAVE_ALLOCATOR __has_include("allocator.cpp")
#define HAVE_INODES __has_include("inodes.cpp")
#define HAVE_NAMES __has_include("names.cpp")
#define HAVE_FILES __has_include("file_data.cpp")
#define HAVE_XATTRS __has_include("xattrs.cpp")
#define HAVE_ORPHANS __has_include("orphans.cpp")
#define HAVE_REFERENCES __has_include("references.cpp")

namespace worker::volume {

Result<void> Volume::make_parts() {
#if HAVE_REFERENCES
  references_ = std::make_shared<References>();
#endif
#if HAVE_ALLOCATOR
  allocator_ = std::make_shared<Allocator>(*this);
  if (can_write_) TRY(allocator_->install_hooks());
#endif
#if HAVE_INODES
  inodes_ = std::make_shared<Inodes>(*this);
#endif
#if HAVE_ORPHANS
  orphans_ = std::make_shared<Orphans>(*this);
#endif
#if HAVE_XATTRS
  xattrs_ = std::make_shared<Xattrs>(*this);
#endif
#if HAVE_FILES
  files_ = std::make_shared<FileData>(*this);
#endif
#if HAVE_NAMES
  names_ = std::make_shared<Names>(*this);
#endif
  return {};
}

Result<void> Volume::prepare_parts() {
#if HAVE_ALLOCATOR
  return allocator_->prepare_commit();
#else
  return {};
#endif
}

void Volume::parts_committed() {
#if HAVE_ALLOCATOR
  allocator_->commit_done();
#endif
}

bool Volume::commit_could_free_space() {
#if HAVE_ALLOCATOR
  return can_write_ && allocator_->has_pending_frees();
#else
  return false;
#endif
}

std::uint64_t Volume::count_free_blocks() {
#if HAVE_ALLOCATOR
  if (can_write_) return allocator_->free_blocks();
#endif
  return ext2fs_free_blocks_count(fs_->super);
}

Result<void> Volume::clean_up_orphans() {
#if HAVE_ORPHANS && HAVE_FILES && HAVE_ALLOCATOR
  return orphans_->clean_up();
#else
  return {};
#endif
}

Result<void> Volume::release_orphans() {
#if HAVE_ORPHANS && HAVE_FILES && HAVE_ALLOCATOR
  return orphans_->release_all();
#else
  return {};
#endif
}

}  // namespace worker::volume
