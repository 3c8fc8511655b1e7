// fuservicemount: what was asked, and who does it.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "broker/actions.h"
#include "broker/broker.h"
#include "broker/install_paths.h"

namespace {

int print(std::string_view text) { return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 4; }

int mount(const broker::MountPlan& plan) {
  if (plan.fake) return 0;
  if (!broker::has_worker(plan))
    return broker::fail(plan, plan.source, broker::Error{{}, "there is no worker for the type '" + plan.type + "'"}, 1);
  if (::geteuid() != 0) return broker::fail(plan, plan.source, broker::Error{{}, "only root may mount"}, 1);
  return broker::launch(plan.foreground, [&plan](broker::Report& report) { broker::run_broker(plan, report); });
}

}  // namespace

int main(int argc, char** argv) {
  // Closed standard descriptors would be taken by the next files opened, and then written to as if they were a
  // terminal.
  while (true) {
    const int spare = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (spare > 2 || spare < 0) {
      if (spare >= 0) ::close(spare);
      break;
    }
  }
  const auto plan = broker::parse_command_line({argv, static_cast<std::size_t>(argc)}, ::getuid() == 0);
  if (!plan) {
    std::fprintf(stderr, "%s: %s\n", broker::program_name(argc > 0 ? argv[0] : "").c_str(),
                 plan.error().detail.c_str());
    return 1;
  }
  switch (plan->action) {
    case broker::Action::mount:
      return mount(*plan);
    case broker::Action::remount:
      return broker::run_remount(*plan);
    case broker::Action::unmount:
      return broker::run_unmount(*plan);
    case broker::Action::check:
      return broker::run_check(*plan);
    case broker::Action::status:
      return broker::run_status(*plan);
    case broker::Action::help:
      return print(broker::help_text());
    case broker::Action::version:
      return print(std::string{"fuservicemount "} + broker::kVersion + "\n");
  }
  return 4;
}
