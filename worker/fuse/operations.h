// What is served: the table for libfuse, and the handlers of the requests that we decode ourselves.
#pragma once

#include "worker/fuse/libfuse.h"
#include "worker/fuse/requests.h"

namespace worker::fuse {

/// The callbacks for what libfuse decodes. Its user data is the Dispatcher.
const fuse_lowlevel_ops& operations() noexcept;

/// Handlers by theme. Those that take an Incoming serve requests that we decode; the others are libfuse's callbacks.
namespace ops {

// namespace_ops.cpp
void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept;
void forget(fuse_req_t request, fuse_ino_t node, std::uint64_t count) noexcept;
void forget_many(fuse_req_t request, std::size_t count, fuse_forget_data* nodes) noexcept;
void make_node(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) noexcept;
void make_directory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept;
void make_symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) noexcept;
void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) noexcept;
void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept;
void remove_directory(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept;
void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) noexcept;
void read_link(fuse_req_t request, fuse_ino_t node) noexcept;
void create(const Request& request, const Incoming& incoming);

// directory_ops.cpp
void open_directory(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) noexcept;
void sync_directory(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info* file) noexcept;
void read_directory(const Request& request, const Incoming& incoming);
void read_directory_plus(const Request& request, const Incoming& incoming);

// data_ops.cpp
void release(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) noexcept;
void sync_file(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info* file) noexcept;
void allocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, fuse_file_info* file) noexcept;
void seek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info* file) noexcept;
void open(const Request& request, const Incoming& incoming);
void read(const Request& request, const Incoming& incoming);
void write(const Request& request, const Incoming& incoming);

// attribute_ops.cpp
void get_attributes(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) noexcept;
void set_attributes(const Request& request, const Incoming& incoming);
void statx(const Request& request, const Incoming& incoming);

// xattr_ops.cpp
void get_xattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t size) noexcept;
void list_xattrs(fuse_req_t request, fuse_ino_t node, std::size_t size) noexcept;
void remove_xattr(fuse_req_t request, fuse_ino_t node, const char* name) noexcept;
void set_xattr(const Request& request, const Incoming& incoming);

// ioctl_ops.cpp
void control(fuse_req_t request, fuse_ino_t node, unsigned command, void* argument, fuse_file_info* file,
             unsigned flags, const void* in, std::size_t in_size, std::size_t out_size) noexcept;

// statfs_ops.cpp
void volume_usage(fuse_req_t request, fuse_ino_t node) noexcept;
void sync_volume(const Request& request, const Incoming& incoming);

}  // namespace ops
}  // namespace worker::fuse
