// What the recorded volumes are made of and what is done to them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tests/crash/session.h"

namespace crash {

/// A way to make a small volume.
struct Layout {
  std::string name;     ///< as a test's name
  std::string options;  ///< for mke2fs
  std::string size = "8M";
};

/// Every layout that is worked on; each has a small log where it has one.
const std::vector<Layout>& layouts();

/// The contents of a new volume with this layout. Same bytes every time. Aborts where mke2fs fails.
std::vector<std::byte> make_volume(const Layout& layout);
std::uint32_t block_size(std::span<const std::byte> volume);

/// An operation by itself: what it needs, made durable before, and then the operation and its sync.
struct Case {
  std::string name;
  std::vector<Operation> before, operations;
};
const std::vector<Case>& cases();

/// A file that mixes leave alone.
inline const std::string kBallast = "ballast";

/// Draws operations that can succeed in the session as it stands.
class Mix {
 public:
  explicit Mix(std::uint32_t seed) : random_{seed}, seed_{seed} {}

  /// A change, a sync of some kind, or both in one draw out of a few.
  Operation next(const Session& session);

 private:
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  std::string fresh(const Model& model);
  std::string any_of(const std::vector<std::string>& paths) {
    return paths[below(static_cast<std::uint32_t>(paths.size()))];
  }
  Operation on_names(const Model& model, const std::vector<std::string>& files);
  Operation on_file(const Session& session, const std::string& path);
  Operation on_directories(const Model& model);

  std::mt19937 random_;
  std::uint32_t seed_;
  std::uint32_t serial_ = 0;
};

}  // namespace crash
