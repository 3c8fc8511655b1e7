#include "protocol/codec.h"

#include <gtest/gtest.h>

#include "tests/support/bytes.h"
#include "tests/support/messages.h"

namespace {

using namespace protocol;
using support::sample;

template <typename Message>
class Codec : public testing::Test {};

using Messages =
    testing::Types<Hello, HelloReply, File, Reply, OpenFile, OpenBlockDevice, SetType, SetName, SetMountPoint,
                   SetOptions, SetTableOptions, DoMount, Goodbye, Facts, Note, Refusal, Ready, Attached, Serving>;
TYPED_TEST_SUITE(Codec, Messages);

TYPED_TEST(Codec, accepts_exactly_what_it_wrote) {
  const auto sent = sample<TypeParam>();
  const auto encoded = encode(sent);
  ASSERT_TRUE(encoded.ok());

  const auto received = decode<TypeParam>(*encoded);
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(*received, sent);
  EXPECT_EQ(*encode(*received), *encoded);
}

TYPED_TEST(Codec, refuses_every_truncation_and_every_longer_packet) {
  const auto encoded = *encode(sample<TypeParam>());
  for (std::size_t length = 0; length < encoded.size(); ++length)
    EXPECT_FALSE(decode<TypeParam>(std::span{encoded}.first(length)).ok()) << "cut to " << length;
  for (const auto extra : {std::byte{0}, std::byte{'x'}}) {
    auto longer = encoded;
    longer.push_back(extra);
    EXPECT_FALSE(decode<TypeParam>(longer).ok()) << "one byte too many";
  }
}

TYPED_TEST(Codec, refuses_every_other_tag) {
  auto encoded = *encode(sample<TypeParam>());
  for (std::size_t i = 0; i < 4; ++i) {
    auto changed = encoded;
    changed[i] ^= std::byte{0x20};
    EXPECT_FALSE(decode<TypeParam>(changed).ok());
  }
}

TYPED_TEST(Codec, survives_every_changed_byte) {
  const auto encoded = *encode(sample<TypeParam>());
  for (std::size_t i = 4; i < encoded.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = encoded;
      changed[i] ^= static_cast<std::byte>(1 << bit);
      // Either it is refused, or it means exactly these bytes.
      const auto received = decode<TypeParam>(changed);
      EXPECT_TRUE(!received || *encode(*received) == changed);
    }
  }
}

TYPED_TEST(Codec, describes_itself_in_one_printable_line) {
  for (const char c : describe(sample<TypeParam>())) {
    EXPECT_GE(c, ' ');
    EXPECT_LT(static_cast<unsigned char>(c), 0x7f);
  }
}

TEST(Wire, layouts_are_libfuses) {
  using support::bytes;
  EXPECT_EQ(*encode(Hello{1, 1, 3}), bytes("53414654 0001 0001 00000003"));
  EXPECT_EQ(*encode(HelloReply{1, {}}), bytes("4c415354 0001 0000"));
  EXPECT_EQ(*encode(File{0, {"argv"}}), bytes("46494c45 00000000 'argv' 00"));
  EXPECT_EQ(*encode(OpenFile{0x82, 0x1a4, 1, 0, {"/x"}}),
            bytes("4f50454e 00000082 000001a4 00000001 00000000 '/x' 00"));
  EXPECT_EQ(*encode(OpenBlockDevice{2, 0, 0, 512, {"/x"}}),
            bytes("42444556 00000002 00000000 00000000 00000200 '/x' 00"));
  EXPECT_EQ(*encode(SetMountPoint{0x4000, 0, {"/mnt"}}), bytes("4d4e5450 4000 0000 '/mnt' 00"));
  EXPECT_EQ(*encode(DoMount{6}), bytes("444f4954 00000006"));
  EXPECT_EQ(*encode(Reply{22}), bytes("5245504c 00000016"));
  EXPECT_EQ(*encode(Facts{1024, 2, {"l"}, {""}}), bytes("46414354 00000400 00000002 'l' 00 00"));
}

TEST(Wire, padding_that_must_be_zero_is) {
  EXPECT_FALSE(decode<HelloReply>(support::bytes("4c415354 0001 0001")).ok());
}

TEST(Wire, texts_keep_their_limits_in_both_directions) {
  EXPECT_FALSE(encode(SetMountPoint{0, 0, {std::string(kMaximumPath + 1, 'a')}}).ok());
  EXPECT_TRUE(encode(SetMountPoint{0, 0, {std::string(kMaximumPath, 'a')}}).ok());
  EXPECT_FALSE(encode(SetMountPoint{0, 0, {""}}).ok());
  EXPECT_FALSE(encode(SetMountPoint{0, 0, {std::string("a\0b", 3)}}).ok());
  EXPECT_FALSE(decode<SetName>(support::bytes("4e414d45 00")).ok()) << "empty";
  EXPECT_FALSE(decode<SetName>(support::bytes("4e414d45 'abc'")).ok()) << "no NUL";
  EXPECT_FALSE(decode<SetName>(support::bytes("4e414d45 'abc' 00 'def' 00")).ok()) << "more behind the NUL";
  auto longest = support::bytes("4d4e5450 4000 0000");
  longest.resize(longest.size() + kMaximumPath + 1, std::byte{'a'});
  longest.push_back(std::byte{0});
  EXPECT_FALSE(decode<SetMountPoint>(longest).ok());
}

TEST(Wire, what_is_broken_stays_broken) {
  const auto packet = support::bytes("01 00000002 00000003");
  Reader reader{packet};
  EXPECT_EQ(reader.text(5, 10), "");  // too short a text
  EXPECT_EQ(reader.unsigned32(), 0u);
  EXPECT_TRUE(reader.broken());
  EXPECT_FALSE(reader.finished());
  Writer writer;
  writer.text("too long", 0, 3);
  writer.unsigned32(1);
  EXPECT_TRUE(writer.broken());
  EXPECT_TRUE(std::move(writer).take().empty());
}

TEST(Messages, are_told_apart_by_tag_and_end) {
  support::each_sample<FromWorker>([](const auto& message) {
    const auto received = decode_from_worker(*encode(message));
    ASSERT_TRUE(received.ok());
    EXPECT_TRUE(std::holds_alternative<std::decay_t<decltype(message)>>(*received));
    EXPECT_FALSE(decode_from_broker(*encode(message)).ok());
  });
  support::each_sample<FromBroker>([](const auto& message) {
    EXPECT_TRUE(decode_from_broker(*encode(message)).ok());
    EXPECT_FALSE(decode_from_worker(*encode(message)).ok());
  });
  EXPECT_EQ(decode_from_worker(support::bytes("554d4e54 00000000")).error().code, Violation::unknown_message) << "UMNT";
  EXPECT_EQ(decode_from_worker(support::bytes("4f5045")).error().code, Violation::malformed);
  EXPECT_FALSE(decode_from_worker({}).ok());
}

}  // namespace
