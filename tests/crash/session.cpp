#include "tests/crash/session.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/xattrs.h"

namespace crash {

using Kind = Operation::Kind;
using worker::volume::Volume;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span{text}); }

}  // namespace

Session::Session(worker::disk::BlockDevice& device, Recorder* recorder, Model& model)
    : recorder_{recorder}, model_{model}, completed_{model.latest()} {
  auto opened = Volume::open(device, {});
  if (!opened.ok()) {
    note(opened);
    failed_ = opened.error().message();
    return;
  }
  volume_ = std::move(opened).value();
  const auto started = volume_->start_writing();
  if (!note(started)) failed_ = started.error().message();
}

template <typename T>
bool Session::note(const protocol::Result<T>& outcome) {
  if (!outcome.ok()) errors.insert(worker::disk::error_number(outcome.error().code));
  return outcome.ok();
}

bool Session::run(const Operation& operation) {
  if (operation.kind >= Kind::sync) return make_durable(operation);
  if (operation.kind == Kind::open || operation.kind == Kind::close) return open_or_close(operation);
  if (recorder_ != nullptr) recorder_->mark(Event::Kind::started, model_.latest() + 1);
  const Outcome outcome = change(operation);
  const bool in_place = operation.kind >= Kind::write && operation.kind <= Kind::allocate_keep;
  if (outcome.ok)
    model_.apply(operation, outcome.inode, outcome.written);
  else if (in_place && (errors.contains(EIO) || (device_may_fill && errors.contains(ENOSPC))))
    model_.lose_track_of(model_.find(operation.path));
  completed_ = model_.latest();
  return outcome.ok;
}

bool Session::sync_beside() {
  const Version version = completed_;
  if (!volume_->sync().ok()) return false;
  if (recorder_ != nullptr) recorder_->mark(Event::Kind::durable, version);
  return true;
}

bool Session::make_durable(const Operation& operation) {
  const Version version = model_.latest();
  if (operation.kind == Kind::sync) {
    if (!note(volume_->sync())) return !(broken_ = true);
  } else {
    const InodeNumber inode = model_.find(operation.path);
    const bool data_only = operation.kind == Kind::fdatasync;
    const auto synced = volume_->files().sync(inode, data_only);
    if (!note(synced)) return !(broken_ = broken_ || !data_only);
    if (data_only) {
      if (recorder_ != nullptr) recorder_->mark(Event::Kind::data_durable, version, inode);
      return true;
    }
  }
  promised = version;
  if (recorder_ != nullptr) recorder_->mark(Event::Kind::durable, version);
  return true;
}

bool Session::close() {
  const Version version = model_.latest();
  if (!note(volume_->close())) return false;
  promised = version;
  if (recorder_ != nullptr) recorder_->mark(Event::Kind::durable, version);
  return true;
}

bool Session::open_or_close(const Operation& operation) {
  auto& references = volume_->references();
  if (operation.kind == Kind::open) {
    const InodeNumber inode = model_.find(operation.path);
    if (inode == 0 || open_.contains(operation.path)) return false;
    references.lend(inode);
    open_[operation.path] = inode;
    return true;
  }
  const auto found = open_.find(operation.path);
  if (found == open_.end()) return false;
  const InodeNumber inode = found->second;
  open_.erase(found);
  return !references.give_back(inode, 1) || note(volume_->orphans().release(inode));
}

Session::Outcome Session::make(const Operation& operation) {
  const auto [directory, name] = split(operation.path);
  const InodeNumber parent = model_.find(directory);
  auto& names = volume_->names();
  const auto made = [&]() -> protocol::Result<worker::volume::Attributes> {
    switch (operation.kind) {
      case Kind::create:
        return names.create(parent, name, {.mode = S_IFREG | 0644});
      case Kind::make_dir:
        return names.create(parent, name, {.mode = S_IFDIR | 0755});
      case Kind::make_node:
        return names.create(parent, name,
                            {.mode = (operation.length == 0 ? S_IFIFO : S_IFCHR) | 0600u,
                             .device = static_cast<std::uint32_t>(operation.length)});
      case Kind::symlink:
        return names.symlink(parent, name, pattern(operation.length, operation.seed), {.mode = S_IFLNK | 0777});
      default:
        return names.link(model_.find(operation.path), model_.parent(operation.other), split(operation.other).second);
    }
  }();
  if (!note(made)) return {};
  (void)volume_->references().give_back(made->inode, 1);
  return {.ok = true, .inode = made->inode};
}

Session::Outcome Session::change(const Operation& operation) {
  if (operation.kind <= Kind::link) return make(operation);
  if (operation.kind <= Kind::exchange) return change_names(operation);
  const InodeNumber inode = model_.find(operation.path);
  if (operation.kind <= Kind::allocate_keep) return change_data(operation, inode);
  auto& xattrs = volume_->xattrs();
  const auto number = static_cast<std::uint32_t>(operation.length);
  switch (operation.kind) {
    case Kind::change_mode:
      return {.ok = note(volume_->inodes().change(inode, {.mode = number}))};
    case Kind::change_owner:
      return {.ok = note(volume_->inodes().change(inode, {.uid = number, .gid = number}))};
    case Kind::set_xattr: {
      const std::string value = pattern(operation.length, operation.seed);
      return {.ok = note(xattrs.set(inode, operation.other, bytes_of(value), worker::volume::SetMode::any, false))};
    }
    case Kind::remove_xattr:
      return {.ok = note(xattrs.remove(inode, operation.other))};
    default: {
      const std::string value = acl_value(AclForm::request);
      return {.ok = note(
                  xattrs.set(inode, "system.posix_acl_access", bytes_of(value), worker::volume::SetMode::any, false))};
    }
  }
}

Session::Outcome Session::change_names(const Operation& operation) {
  auto& names = volume_->names();
  const InodeNumber parent = model_.parent(operation.path);
  const std::string name = split(operation.path).second;
  if (operation.kind == Kind::unlink) return {.ok = note(names.unlink(parent, name))};
  if (operation.kind == Kind::remove_dir) return {.ok = note(names.remove_directory(parent, name))};
  const unsigned flags = operation.kind == Kind::exchange ? RENAME_EXCHANGE : 0;
  return {.ok = note(names.rename(parent, name, model_.parent(operation.other), split(operation.other).second, flags))};
}

Session::Outcome Session::change_data(const Operation& operation, InodeNumber inode) {
  auto& files = volume_->files();
  const auto allocate = [&](int mode) -> Outcome {
    return {.ok = note(files.allocate(inode, mode, operation.offset, operation.length))};
  };
  switch (operation.kind) {
    case Kind::write: {
      const std::string data = pattern(operation.length, operation.seed);
      const auto written = files.write(inode, operation.offset, bytes_of(data), {});
      return {.ok = note(written), .written = written.ok() ? *written : 0};
    }
    case Kind::truncate:
      return {.ok = note(files.truncate(inode, operation.offset))};
    case Kind::punch:
      return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    case Kind::zero_range:
      return allocate(FALLOC_FL_ZERO_RANGE);
    case Kind::allocate:
      return allocate(0);
    default:
      return allocate(FALLOC_FL_KEEP_SIZE);
  }
}

}  // namespace crash
