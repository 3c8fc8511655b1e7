// A mount namespace without the file systems that a worker must not keep alive.
#pragma once

#include <string_view>

namespace broker {

/// Detaches, in a mount namespace of the caller's own, every mount that running `program` does not need: all but the
/// root, the places of libraries and kernel file systems, and what `program` lies on. Best effort.
///
/// A namespace made with a user namespace gets copies of all mounts, locked together. The worker detaches them as one
/// tree, but its own binary and libraries keep that tree, and with it every copy, until it ends: whatever was mounted
/// on the machine when a worker started would stay in use after its umount.
void keep_only_mounts_to_run(std::string_view program);

/// Whether a mount at `mount_point` is needed; for tests.
bool needed_to_run(std::string_view mount_point, std::string_view program);

}  // namespace broker
