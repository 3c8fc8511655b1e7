// The k-th read, write or flush fails, for every k: writing stops, whoever was promised something was promised the
// truth, and the next mount finds a sound volume.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/crash/faulty_device.h"
#include "tests/crash/oracle.h"
#include "tests/crash/rules.h"
#include "tests/crash/tree_reader.h"
#include "tests/crash/workloads.h"

namespace crash {
namespace {

struct Breakage {
  std::string name;
  FaultyDevice::Fault fault;
};

void PrintTo(const Breakage& breakage, std::ostream* out) { *out << breakage.name; }

using Kind = FaultyDevice::Kind;

const Breakage kBreakages[] = {
    {"one_read_fails", {.kind = Kind::read, .once = true}},
    {"reads_fail_for_ever", {.kind = Kind::read}},
    {"one_write_fails", {.kind = Kind::write, .once = true}},
    {"writes_fail_for_ever", {.kind = Kind::write}},
    {"one_write_is_short", {.kind = Kind::write, .once = true, .half = true}},
    {"the_backing_file_is_full", {.kind = Kind::write, .error = ENOSPC, .half = true}},
    {"one_flush_fails", {.kind = Kind::flush, .once = true}},
    {"flushes_fail_for_ever", {.kind = Kind::flush}},
};

class Faults : public testing::TestWithParam<std::tuple<Layout, Breakage>> {
 protected:
  Faults() : volume_{make_volume(std::get<0>(GetParam()))}, image_{volume_} {}

  /// Some work, and syncs that have to tell the truth about it. True if the mount ended well.
  bool work(FaultyDevice& device, Model& model, Version& promised) {
    rewind_clock();
    Session session{device, nullptr, model};
    session.device_may_fill = std::get<1>(GetParam()).fault.error == ENOSPC;
    if (session.failed().empty()) {
      Mix mix{11};
      for (int i = 0; i < 160; ++i) {
        // Commits often enough that the log turns.
        const Operation operation = i % 2 == 0 ? mix.next(session) : Operation{Operation::Kind::sync};
        const bool broken = session.broken();
        const bool done = session.run(operation);
        if (broken && operation.kind >= Operation::Kind::sync && operation.kind <= Operation::Kind::fsync)
          EXPECT_FALSE(done) << words(operation) << " after a commit that failed";
        if (broken && operation.kind < Operation::Kind::open)
          EXPECT_FALSE(done) << words(operation) << " after a commit that failed";
      }
    }
    const bool closed = session.failed().empty() && session.close();
    for (const int error : session.errors)
      EXPECT_TRUE(error == EIO || error == EROFS || error == ENOSPC || error == ENOTEMPTY || error == ENODATA ||
                  error == EOPNOTSUPP || error == EUCLEAN || error == EINVAL)
          << error;
    promised = session.promised;
    return closed;
  }

  std::vector<std::byte> volume_;
  ScratchImage image_;
};

TEST_P(Faults, at_every_point_end_in_a_defined_state) {
  const auto& [layout, breakage] = GetParam();
  const Tree initial = read_tree(volume_).value();
  std::size_t total = 0;
  {
    Model model{initial};
    FaultyDevice device{image_};
    Version promised = 0;
    EXPECT_TRUE(work(device, model, promised));
    total = device.count(breakage.fault.kind);
    image_.roll_back(0);
  }
  for (std::size_t at = 0; at < total; ++at) {
    Model model{initial};
    FaultyDevice device{image_};
    FaultyDevice::Fault fault = breakage.fault;
    fault.at = at;
    device.set(fault);
    Version promised = 0;
    work(device, model, promised);
    Oracle oracle{image_, model, 0};
    const CrashState state{.bounds = {.durable = promised, .started = model.latest()}};
    const Verdict killed = oracle.judge(state);
    device.lose_power();
    const Verdict cut = oracle.judge(state);
    EXPECT_TRUE(killed.good()) << at << " of " << total << '\n' << killed.text();
    EXPECT_TRUE(cut.good()) << at << " of " << total << ", power lost\n" << cut.text();
    image_.roll_back(0);
    if (HasFailure()) break;
  }
  std::printf("%s, %s: %zu points\n", layout.name.c_str(), breakage.name.c_str(), total);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Faults, testing::Combine(testing::Values(layouts().front(), layouts()[6]), testing::ValuesIn(kBreakages)),
    [](const auto& test) { return std::get<0>(test.param).name + "_" + std::get<1>(test.param).name; });

}  // namespace
}  // namespace crash
