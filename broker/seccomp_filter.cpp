#include "broker/seccomp_filter.h"

#include <memory>

#include "broker/seccomp_rules.h"

namespace broker {

Result<void> load_supervisor_filter() {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter{::seccomp_init(SCMP_ACT_KILL_PROCESS),
                                                                ::seccomp_release};
  if (!filter) return protocol::errno_error(ENOMEM, "system-call filter");
  for (const Rule& rule : kSupervisorRules) {
    const int failure = ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, rule.call, rule.only ? 1 : 0,
                                                 rule.only ? &*rule.only : nullptr);
    // -EDOM: this architecture has no such call.
    if (failure != 0 && failure != -EDOM) return protocol::errno_error(-failure, rule.why);
  }
  const int failure = ::seccomp_load(filter.get());
  return failure == 0 ? Result<void>{} : protocol::errno_error(-failure, "system-call filter");
}

}  // namespace broker
