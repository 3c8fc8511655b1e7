// The command line: arguments separated by zero bytes. Whatever it says, an ordinary caller never gets suid or devices,
// a window never reaches beyond the largest file, and a refusal is words.
#include <linux/mount.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "broker/options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> words{""};
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(data[i]);
    }
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const auto plan = broker::parse_command_line(arguments, false);
  if (!plan) {
    if (plan.error().detail.empty()) std::abort();
    return 0;
  }
  constexpr std::uint64_t kSafe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if ((plan->mount_attributes & kSafe) != kSafe) std::abort();
  if (plan->window.offset > kLargest || plan->window.length > kLargest) std::abort();
  if (plan->type.empty() || plan->type.find('/') != plan->type.npos) std::abort();
  (void)broker::worker_option_list(*plan, true, &plan->window);
  (void)broker::socket_path(*plan);
  return 0;
}
