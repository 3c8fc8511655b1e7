#include "worker/sandbox/landlock.h"

#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/unique_fd.h"

namespace worker::sandbox {
namespace {

using protocol::last_error;
using protocol::Result;
using protocol::UniqueFd;

/// struct landlock_ruleset_attr as of ABI 6; the headers of Debian 12 know its first field only.
struct RulesetAttributes {
  std::uint64_t files, network, scopes;
};

/// The rights that one ABI version added to those before it. Versions without an entry added none of these kinds.
struct Addition {
  int abi;
  LandlockRights rights;
};
constexpr Addition kAdditions[] = {
    {1, {.files = (1ULL << 13) - 1}},  // execute … make_sym
    {2, {.files = 1ULL << 13}},        // refer
    {3, {.files = 1ULL << 14}},        // truncate
    {4, {.network = 0b11}},            // bind_tcp, connect_tcp
    {5, {.files = 1ULL << 15}},        // ioctl_dev
    {6, {.scopes = 0b11}},             // abstract_unix_socket, signal
};

/// The attribute grew with the ABI, and an older kernel refuses bytes it does not know unless they are zero.
constexpr std::size_t attribute_size(int abi) { return abi >= 6 ? 24 : abi >= 4 ? 16 : 8; }

}  // namespace

LandlockRights all_rights(int abi) {
  LandlockRights all;
  for (const auto& [since, rights] : kAdditions) {
    if (abi < since) break;
    all.files |= rights.files;
    all.network |= rights.network;
    all.scopes |= rights.scopes;
  }
  return all;
}

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Result<void> deny_all_access() {
  const int abi = landlock_abi();
  if (abi == 0) return {};
  const LandlockRights all = all_rights(abi);
  const RulesetAttributes attributes{all.files, all.network, all.scopes};
  const UniqueFd ruleset{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, attribute_size(abi), 0))};
  if (!ruleset) return last_error("Landlock ruleset");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return last_error("Landlock");
  return {};
}

}  // namespace worker::sandbox
