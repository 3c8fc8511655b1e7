// What a captured worker might try, one small deed each.
#pragma once

#include <span>
#include <string_view>

namespace victims {

/// How the sandbox answers a deed.
enum class Answer {
  killed,   ///< SIGSYS, the whole process
  refused,  ///< an errno, and the process goes on
  allowed,
};

struct Deed {
  std::string_view name;
  /// Does it and returns 0 or the errno. Harmless where no filter stops it: it touches nothing outside the worker's own
  /// namespaces, and most deeds use arguments the kernel refuses once it looks at them.
  int (*commit)();
  /// What `commit` returns in the worker's namespaces before the lock: proof that it reaches the kernel and
  /// that it is the lock that stops it.
  int unlocked;
  Answer locked = Answer::killed;
  int locked_error = 0;  ///< of Answer::refused
};

std::span<const Deed> deeds();

}  // namespace victims
