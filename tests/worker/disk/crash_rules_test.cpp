// The product has no switches: its rules are constants, and true.
#include "worker/disk/crash_rules.h"

namespace worker::disk {

// Of a variable this would not compile.
static_assert(rule::flush_before_commit_block && rule::flush_after_commit_block && rule::revoke && rule::delay_reuse &&
              rule::flush_before_tail_update && rule::home_writes_after_commit && rule::orphan_protection &&
              rule::data_before_metadata);

}  // namespace worker::disk
