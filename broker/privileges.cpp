#include "broker/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>

#include <algorithm>

#include "broker/seccomp_filter.h"

namespace broker {

namespace {

struct Need {
  int capability;
  Stage last;  ///< the last stage that has it
  const char* why;
};

constexpr Need kNeeds[] = {
    {CAP_DAC_READ_SEARCH, Stage::supervise,
     "reach source and mount point, and later the mount, in private directories"},
    {CAP_DAC_OVERRIDE, Stage::open, "open an image that belongs to somebody else"},
    {CAP_SYS_ADMIN, Stage::supervise, "loop device, mounting, unmounting"},
    {CAP_SETUID, Stage::open, "map the worker's user namespace"},
    {CAP_SETGID, Stage::open, "map its groups, and start it with none"},
    {CAP_SYS_PTRACE, Stage::supervise, "look at the worker's /proc entry, also under hidepid; its progress"},
    {CAP_KILL, Stage::supervise, "kill the worker, which has another uid"},
    {CAP_SETPCAP, Stage::mount, "shrink the bounding set"},
};

}  // namespace

Result<void> enter_stage(Stage stage) {
  if (capng_get_caps_process() != 0) return protocol::errno_error(EPERM, "cannot read our capabilities");
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    const bool kept = std::any_of(std::begin(kNeeds), std::end(kNeeds), [&](const Need& need) {
      return need.capability == capability && stage <= need.last;
    });
    const auto all = capng_type_t(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET);
    if (!kept) capng_update(CAPNG_DROP, all, unsigned(capability));
    capng_update(CAPNG_DROP, capng_type_t(CAPNG_INHERITABLE | CAPNG_AMBIENT), unsigned(capability));
  }
  // Shrinking the bounding set needs CAP_SETPCAP, which a container may lack; then no_new_privs alone has to do.
  (void)capng_apply(CAPNG_SELECT_BOUNDS);
  if (capng_apply(CAPNG_SELECT_CAPS) != 0) return protocol::errno_error(EPERM, "cannot give up capabilities");
  if (stage != Stage::supervise) return {};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return protocol::last_error("no_new_privs");
  return load_supervisor_filter();
}

}  // namespace broker
