#include "worker/volume/types.h"

#include <ctime>

namespace worker::volume {

Timestamp Timestamp::now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &time);
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

}  // namespace worker::volume
