#include "broker/slim_mounts.h"

#include <sys/mount.h>

#include <algorithm>

#include "broker/mount_table.h"

namespace broker {
namespace {

/// Where the dynamic loader looks, also on distributions that keep everything in a store, and what the C library reads.
constexpr std::string_view kPlaces[] = {"/usr", "/lib", "/lib32", "/lib64", "/libx32", "/etc",
                                        "/nix", "/gnu", "/proc",  "/sys",   "/dev"};

bool at_or_below(std::string_view path, std::string_view folder) {
  return folder == "/" || (path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/'));
}

}  // namespace

bool needed_to_run(std::string_view mount_point, std::string_view program) {
  return at_or_below(program, mount_point) || std::ranges::any_of(kPlaces, [mount_point](std::string_view place) {
           return at_or_below(mount_point, place) || at_or_below(place, mount_point);
         });
}

void keep_only_mounts_to_run(std::string_view program) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
  const auto table = read_mount_table();
  if (!table) return;
  for (const MountEntry& entry : *table)
    if (!needed_to_run(entry.mount_point, program)) ::umount2(entry.mount_point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

}  // namespace broker
