#include "worker/title.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace worker {
namespace {

constexpr std::string_view kName = "ext4box-worker: ";

}  // namespace

ProcessTitle::ProcessTitle(int argc, char** argv) : start_{argc > 0 ? argv[0] : nullptr}, end_{start_} {
  const auto extend = [&](char* text) {
    if (text != end_) return false;
    end_ += std::strlen(text) + 1;
    return true;
  };
  for (int index = 0; index < argc && extend(argv[index]); ++index) {
  }
  for (char** variable = ::environ; *variable != nullptr && extend(*variable); ++variable) {
  }
}

void ProcessTitle::show(std::string_view text) noexcept {
  const auto room = static_cast<std::size_t>(end_ - start_);
  // Without a NUL at the arguments' old end the kernel reads on into the environment, up to the first NUL.
  if (room < kName.size() + 2) return;
  ::clearenv();  // getenv(3) must not find what is written there now
  std::fill(start_, end_, '\0');
  std::copy(kName.begin(), kName.end(), start_);
  const auto shown = text.substr(0, room - 1 - kName.size());
  std::transform(shown.begin(), shown.end(), start_ + kName.size(), [](char letter) {
    return static_cast<unsigned char>(letter) < ' ' || letter == '\x7f' ? '?' : letter;
  });
}

}  // namespace worker
