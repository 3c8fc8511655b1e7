// Which states a crash may leave on a device that was told these writes and flushes: an enumeration.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "tests/crash/model.h"
#include "tests/crash/recorder.h"
#include "tests/crash/scratch_image.h"

namespace crash {

/// One state, laid over the scratch image while the visitor runs.
struct CrashState {
  std::size_t epoch = 0;  ///< flushes before it
  std::string what = {};  ///< which of the epoch's writes are there
  Bounds bounds = {};
  bool torn = false;  ///< a write is there in part
};

/// How much of what is possible is tried.
struct Thoroughness {
  double epochs = 1;        ///< which part of the epochs; those that write to `always` are tried anyway
  std::size_t subsets = 4;  ///< random ones, for each epoch
  std::size_t each = 48;    ///< all-but-one and one-alone states, for each epoch, chosen at random if there are more
  std::uint32_t seed = 1;
};

/// Walks a recording. For each flush epoch and its n writes: every prefix, every all-but-one, every single write alone,
/// random subsets, and the last write torn at each sector. States that were seen before, with the same bounds, are left
/// out.
class CrashStates {
 public:
  /// Returns false to end the walk.
  using Visit = std::function<bool(const CrashState&)>;

  /// `image` has to hold what the recording began with. `important` says of a device offset that epochs which write
  /// there are never skipped.
  CrashStates(const std::vector<Event>& events, ScratchImage& image, Thoroughness how,
              std::function<bool(ByteOffset)> important);

  /// The number of distinct states visited.
  std::size_t walk(const Visit& visit);

 private:
  struct Epoch {
    std::vector<const Event*> writes;
    std::vector<Bounds> before;  ///< of a crash just before each write; one more for the end
    bool important = false;
  };
  bool walk_epoch(const Epoch& epoch, std::size_t number, const Visit& visit);
  bool visit_prefixes(const Epoch& epoch, CrashState& state, const Visit& visit);
  bool visit_subsets(const Epoch& epoch, CrashState& state, const Visit& visit);
  bool visit_torn(const Epoch& epoch, CrashState& state, const Visit& visit);
  bool offer(const CrashState& state, const Visit& visit);
  void lay(const Event& write) { image_.write(write.offset, write.bytes); }
  std::vector<std::size_t> some_of(std::size_t count);

  const std::vector<Event>& events_;
  ScratchImage& image_;
  Thoroughness how_;
  std::function<bool(ByteOffset)> important_;
  std::mt19937 random_;
  std::unordered_set<std::uint64_t> seen_;
};

}  // namespace crash
