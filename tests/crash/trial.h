// One recording and all that a crash could have made of it.
#pragma once

#include <functional>
#include <string>

#include "tests/crash/oracle.h"
#include "tests/crash/session.h"
#include "tests/crash/workloads.h"

namespace crash {

/// What the states of a recording came to.
struct Outcome {
  std::size_t states = 0, bad = 0;
  std::size_t fsck_bad = 0, contents_bad = 0, replay_bad = 0, recovery_bad = 0;
  std::string first;  ///< the first bad state in words

  Outcome& operator+=(const Outcome& other);
};

struct Trial {
  const Layout& layout;
  std::function<void(Session&)> before = {};  ///< done before the recording begins
  bool crashed_before = false;                ///< and not closed: the recording begins with a recovery
  /// What is recorded, between start_writing() and close().
  std::function<void(Session&)> work;
  Thoroughness how = {};
  std::size_t kernel_every = 0;  ///< as Oracle's
  std::size_t most_bad = 1;      ///< the walk ends after so many bad states
};

/// Records the trial's work with the rules as they are set, judges its states with all rules in force.
Outcome run(const Trial& trial);

/// Runs a list, and the sync behind it.
std::function<void(Session&)> list_of(const std::vector<Operation>& operations);
/// So many draws from a mix.
std::function<void(Session&)> mix_of(std::uint32_t seed, std::size_t count);
/// The same, while another thread syncs all the time: operations run on while commits are under way.
std::function<void(Session&)> mix_beside_syncs(std::uint32_t seed, std::size_t count);

}  // namespace crash
