#include <sys/stat.h>
#include <unistd.h>

#include "broker/actions.h"

namespace broker {

int run_check(const MountPlan& plan) {
  const std::string path = socket_path(plan);
  struct stat found {};
  // access, not faccessat with AT_EACCESS: what counts is what the real user may.
  return ::stat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode) && ::access(path.c_str(), W_OK) == 0 ? 0 : 1;
}

}  // namespace broker
