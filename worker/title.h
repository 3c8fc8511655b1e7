// What ps(1) shows of the worker.
#pragma once

#include <string_view>

namespace worker {

/// The place where the kernel looks for the command line: the strings of argv and, behind them, of the environment.
class ProcessTitle {
 public:
  /// Takes argv's and environ's memory, whose contents must not be needed any more.
  ProcessTitle(int argc, char** argv);

  /// Shows "ext4box-worker: TEXT", cut to the room there is; control bytes become '?'. Needs no system call.
  void show(std::string_view text) noexcept;

 private:
  char* start_;
  char* end_;
};

}  // namespace worker
