// What fuservicemount does besides mounting: each action prints its own line on failure and returns the exit code.
#pragma once

#include <string>
#include <string_view>

#include "broker/options.h"

namespace broker {

/// --check: 0 if a service listens for the type and the caller may connect, else 1. Prints nothing.
int run_check(const MountPlan& plan);

/// Whether anybody can serve the plan's type: our own worker knows ext2, ext3 and ext4, a service whatever it is for.
bool has_worker(const MountPlan& plan);

/// --status: what is mounted here, or just what is mounted on the plan's mount point.
int run_status(const MountPlan& plan);

/// --unmount and the umount.* links: returns when the worker has closed the volume and ended, which makes the image
/// complete and durable; at once with `lazy`. A worker that stops working on it for plan.timeout is killed, which is a
/// failure.
int run_unmount(const MountPlan& plan);

/// remount,ro and remount,rw, and the mount attributes that were said.
int run_remount(const MountPlan& plan);

/// fail() with what mount(8)'s codes say: 1 for a lack of permission, else 32.
int fail_as_mount(const MountPlan& plan, const Error& error);

/// `text` as a JSON string with its quotes. Bytes that are not UTF-8 appear as the code points of the same number.
std::string json_string(std::string_view text);

}  // namespace broker
