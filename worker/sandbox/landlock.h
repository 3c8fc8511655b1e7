// Landlock: the file-system, network and scope rights a process may give up for ever.
#pragma once

#include <cstdint>

#include "protocol/result.h"

namespace worker::sandbox {

/// What a ruleset handles and therefore, having no rule, denies.
struct LandlockRights {
  std::uint64_t files = 0;    ///< LANDLOCK_ACCESS_FS_*
  std::uint64_t network = 0;  ///< LANDLOCK_ACCESS_NET_*
  std::uint64_t scopes = 0;   ///< LANDLOCK_SCOPE_*
};

/// Every right that the given ABI version has.
LandlockRights all_rights(int abi);

/// The running kernel's ABI version; 0 where Landlock is not built in or not switched on.
int landlock_abi();

/// Denies the calling thread, and those it starts, every right of the running ABI. Descriptors that are already open
/// or are received later keep the rights they were opened with. Does nothing where there is no Landlock: what it denies
/// is denied by the filter as well. Needs no_new_privs.
protocol::Result<void> deny_all_access();

}  // namespace worker::sandbox
