#include "worker/volume/orphans.h"

#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {

Result<bool> may_be_orphan(Volume& volume, InodeNumber number) {
  ext2_filsys fs = volume.fs();
  if (number < EXT2_FIRST_INO(fs->super) || number > fs->super->s_inodes_count) return false;
  if (ext2fs_has_feature_orphan_file(fs->super) && number == fs->super->s_orphan_file_inum) return false;
  return volume.allocator().inode_in_use(number);
}

Result<void> Orphans::add(Operation& operation, Inode& inode) {
  if (contains(inode.number)) return {};
  TRY(in_file, file_.add(operation, inode.number));
  if (!in_file) return list_.add(operation, inode);
  inode.raw.i_dtime = 0;
  return volume_.inodes().write(operation, inode);
}

Result<void> Orphans::remove(Operation& operation, Inode& inode) {
  if (!contains(inode.number)) return {};
  TRY(forget(operation, inode));
  return volume_.inodes().write(operation, inode);
}

Result<void> Orphans::forget(Operation& operation, Inode& inode) {
  if (list_.contains(inode.number)) return list_.remove(operation, inode);
  inode.raw.i_dtime = 0;
  return file_.remove(operation, inode.number);
}

Result<void> Orphans::release(InodeNumber inode) { return finish(inode, Whom::unreferenced); }

Result<void> Orphans::finish(InodeNumber number, Whom whom) {
  return volume_.mutate_in_steps([&](Operation& operation) { return step(operation, number, whom); });
}

Result<bool> Orphans::step(Operation& operation, InodeNumber number, Whom whom) {
  if (!contains(number)) return true;
  TRY(inode, volume_.inodes().read(number));
  const bool dying = inode.links() == 0;
  if (whom == Whom::unreferenced && (!dying || volume_.references().lent(number))) return true;

  const bool mapped = inode.is_regular() || inode.is_directory() || (inode.is_symlink() && !inode.is_fast_symlink());
  if (mapped) {
    TRY(empty, volume_.files().free_some(operation, inode, dying ? 0 : inode.size()));
    if (!empty) return false;
  }
  if (!dying) {
    TRY(remove(operation, inode));
    return true;
  }
  TRY(volume_.xattrs().release(operation, inode));
  TRY(forget(operation, inode));
  TRY(volume_.inodes().destroy(operation, inode));
  operation.on_commit([this, number] { volume_.files().forget(number); });
  return true;
}

Result<void> Orphans::load() {
  const bool has_errors = (volume_.fs()->super->s_state & EXT2_ERROR_FS) != 0;
  // inspect() records the damage. A file that cannot be believed is not used.
  (void)volume_.inspect([&] { return file_.load(!has_errors); });
  // As kernel ext4: what a damaged volume calls orphans may be anybody's. e2fsck finds them all the same.
  if (has_errors)
    return volume_.mutate([&](Operation&) -> Result<void> {
      list_.forget();
      return {};
    });
  if (const auto loaded = volume_.inspect([&] { return list_.load(); }); !loaded.ok())
    return volume_.mutate([&](Operation& operation) { return list_.cut(operation); });
  return {};
}

Result<void> Orphans::clean_up() {
  // Writing again after remount,ro: what is in memory is what is on the disk, and who is registered may be in use.
  if (loaded_) return {};
  loaded_ = true;
  TRY(load());
  return release_all();
}

Result<void> Orphans::release_all() {
  Result<void> outcome;
  auto waiting = volume_.inspect([&] { return list_.all(); });
  const auto in_file = volume_.inspect([&] { return file_.all(); });
  waiting.insert(waiting.end(), in_file.begin(), in_file.end());
  for (const InodeNumber number : waiting) {
    // One that cannot be freed stays registered; the others need not.
    if (auto finished = finish(number, Whom::any); !finished.ok() && outcome.ok()) outcome = std::move(finished);
  }
  return outcome;
}

}  // namespace worker::volume
