#include "worker/fuse/operations.h"

#include "worker/fuse/dispatcher.h"

namespace worker::fuse {

namespace {

fuse_lowlevel_ops make_operations() noexcept {
  fuse_lowlevel_ops table{};
  table.destroy = [](void* dispatcher) noexcept { static_cast<Dispatcher*>(dispatcher)->destroy(); };

  table.lookup = ops::lookup;
  table.forget = ops::forget;
  table.forget_multi = ops::forget_many;
  table.mknod = ops::make_node;
  table.mkdir = ops::make_directory;
  table.symlink = ops::make_symlink;
  table.link = ops::link;
  table.unlink = ops::unlink;
  table.rmdir = ops::remove_directory;
  table.rename = ops::rename;
  table.readlink = ops::read_link;

  table.opendir = ops::open_directory;
  table.fsyncdir = ops::sync_directory;

  table.release = ops::release;
  table.fsync = ops::sync_file;
  table.fallocate = ops::allocate;
  table.lseek = ops::seek;

  table.getattr = ops::get_attributes;

  table.getxattr = ops::get_xattr;
  table.listxattr = ops::list_xattrs;
  table.removexattr = ops::remove_xattr;

  table.ioctl = ops::control;
  table.statfs = ops::volume_usage;
  return table;
}

}  // namespace

const fuse_lowlevel_ops& operations() noexcept {
  static const fuse_lowlevel_ops table = make_operations();
  return table;
}

}  // namespace worker::fuse
