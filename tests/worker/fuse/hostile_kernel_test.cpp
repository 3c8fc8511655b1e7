// Requests that no kernel sends: none of them may stop the server, and each that wants a reply gets one.
#include <gtest/gtest.h>

#include <random>

#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

using worker::fuse::request_kinds;
using worker::fuse::RequestKind;

/// A body whose fixed part is sound, followed by what its texts and data would be.
std::vector<std::byte> plausible(const RequestKind& kind) {
  std::vector<std::byte> body(kind.fixed);
  for (const auto text : kind.texts) {
    if (text == worker::fuse::Text::none) break;
    for (const char letter : std::string_view{"some name"}) body.push_back(std::byte(letter));
    body.push_back(std::byte{0});
  }
  return body;
}

bool ends_the_session(const RequestKind& kind) { return kind.opcode == FUSE_DESTROY || kind.opcode == FUSE_INIT; }

class HostileKernel : public testing::Test {
 protected:
  HostileKernel() { kernel.initialise(); }
  void play(const RequestKind& kind, std::uint64_t node, std::span<const std::byte> body) {
    if (kind.has_reply) {
      kernel.ask(kind.opcode, node, body);
    } else {
      kernel.send(kind.opcode, node, body);
    }
  }
  ServedVolume served;
  FakeKernel& kernel = served.kernel;
};

TEST_F(HostileKernel, every_request_cut_everywhere) {
  for (const RequestKind& kind : request_kinds()) {
    if (ends_the_session(kind)) continue;
    const auto body = plausible(kind);
    for (std::size_t length = 0; length <= body.size(); ++length) play(kind, 1, std::span{body}.first(length));
  }
  EXPECT_EQ(served.attributes(1).ino, 2U);
}

TEST_F(HostileKernel, every_request_full_of_ones) {
  for (const RequestKind& kind : request_kinds()) {
    if (ends_the_session(kind)) continue;
    auto body = plausible(kind);
    for (std::size_t i = 0; i < kind.fixed; ++i) body[i] = std::byte{0xff};
    for (const std::uint64_t node : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{11}, ~std::uint64_t{0}})
      play(kind, node, body);
  }
  EXPECT_EQ(served.attributes(1).ino, 2U);
}

TEST_F(HostileKernel, random_bodies) {
  std::mt19937 random{42};
  for (int round = 0; round < 40; ++round) {
    for (const RequestKind& kind : request_kinds()) {
      if (ends_the_session(kind)) continue;
      auto body = plausible(kind);
      for (auto& byte : body) {
        if (random() % 4 == 0) byte = std::byte(random());
      }
      play(kind, random() % 2 ? 1 : random() % 40, body);
    }
  }
  EXPECT_EQ(served.attributes(1).ino, 2U);
}

TEST_F(HostileKernel, lengths_that_lie) {
  fuse_in_header header{};
  header.opcode = FUSE_GETATTR;
  header.nodeid = 1;
  for (const std::uint32_t length : {0U, 1U, 39U, 41U, 1000U, ~0U}) {
    header.len = length;
    header.unique = 1000 + length;
    kernel.send_raw(std::as_bytes(std::span{&header, 1}));
    std::uint64_t unique = 0;
    EXPECT_EQ(kernel.receive(unique).error, EIO);
    EXPECT_EQ(unique, header.unique);
  }
  kernel.send_raw(std::as_bytes(std::span{&header, 1}).first(39));
  EXPECT_TRUE(kernel.silent());
}

TEST_F(HostileKernel, extensions_that_nobody_agreed_on) {
  fuse_in_header header{};
  header.len = sizeof(header) + 4;
  header.opcode = FUSE_LOOKUP;
  header.unique = 12;
  header.nodeid = 1;
  header.total_extlen = 0xffff;
  kernel.send_raw(Body{}.add(header).text("abc").bytes());
  std::uint64_t unique = 0;
  EXPECT_EQ(kernel.receive(unique).error, EINVAL);
}

TEST_F(HostileKernel, references_given_back_too_often) {
  served.forget(1, ~std::uint64_t{0});
  served.forget(11, 5);
  const auto file = served.create(1, "file");
  served.forget(file.nodeid, 100);
  EXPECT_EQ(served.lookup(1, "file").nodeid, file.nodeid);
}

}  // namespace
}  // namespace tests
