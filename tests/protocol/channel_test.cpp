#include "protocol/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

#include "tests/support/descriptors.h"
#include "tests/support/messages.h"

namespace {

using namespace protocol;
using support::open_descriptors;
using namespace std::chrono_literals;

Deadline soon() { return std::chrono::steady_clock::now() + 2s; }

/// sendmsg with any number of descriptors, as only a hostile peer does.
void send_raw(int socket, std::size_t size, std::span<const int> descriptors, int control_messages = 1) {
  std::vector<char> bytes(size, 'x');
  iovec piece{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[2048] = {};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const auto size_each = descriptors.size_bytes() / static_cast<std::size_t>(control_messages);
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(size_each) * static_cast<std::size_t>(control_messages);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    for (int i = 0; i < control_messages; ++i) {
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(size_each);
      std::memcpy(CMSG_DATA(rights), descriptors.data() + static_cast<std::size_t>(i) * size_each / sizeof(int),
                  size_each);
      rights = CMSG_NXTHDR(&header, rights);
    }
  }
  ASSERT_EQ(::sendmsg(socket, &header, MSG_NOSIGNAL), static_cast<ssize_t>(size)) << std::strerror(errno);
}

class ChannelTest : public testing::Test {
 protected:
  ChannelTest() {
    auto pair = make_channel_pair();
    ours.emplace(std::move(pair->first));
    theirs.emplace(std::move(pair->second));
    before = open_descriptors();
  }
  ~ChannelTest() override { EXPECT_EQ(open_descriptors(), before) << "a descriptor leaked"; }

  std::optional<Channel> ours, theirs;
  std::ptrdiff_t before = 0;
};

TEST_F(ChannelTest, carries_a_message_with_one_descriptor_that_closes_on_exec) {
  {
    UniqueFd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    ASSERT_TRUE(ours->send(File{0, {"argv"}}, soon(), file.get()).ok());
    auto packet = theirs->receive(soon());
    ASSERT_TRUE(packet.ok());
    EXPECT_EQ(decode<File>(packet->bytes)->name.value, "argv");
    ASSERT_TRUE(packet->descriptor);
    EXPECT_NE(packet->descriptor.get(), file.get());
    EXPECT_EQ(::fcntl(packet->descriptor.get(), F_GETFD), FD_CLOEXEC);
  }
}

TEST_F(ChannelTest, a_packet_without_descriptor_brings_none) {
  ASSERT_TRUE(ours->send(Reply{0}, soon()).ok());
  auto packet = theirs->receive(soon());
  ASSERT_TRUE(packet.ok());
  EXPECT_FALSE(packet->descriptor);
  EXPECT_FALSE(packet->sender);
}

TEST_F(ChannelTest, several_descriptors_are_closed_and_refused) {
  const std::array three{0, 1, 2};
  send_raw(theirs->get(), 8, three);
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::extra_descriptor);
}

TEST_F(ChannelTest, as_many_descriptors_as_the_kernel_carries_are_closed_and_refused) {
  const std::vector<int> many(253, 0);
  send_raw(theirs->get(), 8, many);
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::extra_descriptor);
}

TEST_F(ChannelTest, descriptors_in_several_control_messages_are_closed_and_refused) {
  const std::array two{0, 1};
  send_raw(theirs->get(), 8, two, 2);
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::extra_descriptor);
}

TEST_F(ChannelTest, descriptors_nobody_reads_leak_nowhere) {
  const std::array three{0, 1, 2};
  send_raw(theirs->get(), 8, three);
}

TEST_F(ChannelTest, takes_the_largest_packet_and_refuses_one_byte_more) {
  send_raw(theirs->get(), kMaximumPacket, {});
  EXPECT_EQ(ours->receive(soon())->bytes.size(), kMaximumPacket);
  send_raw(theirs->get(), kMaximumPacket + 1, {});
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::oversized);
}

TEST_F(ChannelTest, an_empty_packet_and_the_peers_end_are_the_end) {
  send_raw(theirs->get(), 0, {});
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::closed);
}

TEST(Channel, the_peers_death_is_seen_by_receiver_and_sender) {
  auto pair = make_channel_pair();
  Channel ours = std::move(pair->first);
  { Channel gone = std::move(pair->second); }
  EXPECT_EQ(ours.receive(soon()).error().code, Violation::closed);
  EXPECT_EQ(ours.send(Reply{0}, soon()).error().code, Violation::closed);
}

TEST_F(ChannelTest, silence_ends_at_the_deadline) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(ours->receive(start + 50ms).error().code, Violation::deadline);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
  EXPECT_EQ(ours->receive(start).error().code, Violation::deadline) << "a deadline in the past does not wait";
}

TEST_F(ChannelTest, a_peer_that_does_not_read_ends_at_the_deadline) {
  const std::vector<std::byte> large(60000);
  Result<void> sent{};
  for (int i = 0; i < 100 && sent; ++i) sent = ours->send_bytes(large, -1, std::chrono::steady_clock::now() + 20ms);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, Violation::deadline);
}

TEST_F(ChannelTest, says_who_sent_a_packet_when_asked) {
  ASSERT_TRUE(ours->ask_for_credentials().ok());
  ASSERT_TRUE(theirs->send(Reply{0}, soon()).ok());
  auto packet = ours->receive(soon());
  ASSERT_TRUE(packet->sender);
  EXPECT_EQ(packet->sender->pid, ::getpid());
  EXPECT_EQ(packet->sender->uid, ::getuid());
}

TEST_F(ChannelTest, credentials_do_not_hide_extra_descriptors) {
  ASSERT_TRUE(ours->ask_for_credentials().ok());
  const std::array two{0, 1};
  send_raw(theirs->get(), 8, two);
  EXPECT_EQ(ours->receive(soon()).error().code, Violation::extra_descriptor);
}

TEST_F(ChannelTest, descriptors_are_refused_at_the_sender_where_the_kernel_can) {
  ours->refuse_descriptors();
  const auto sent = theirs->send(Reply{0}, soon(), 0);
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(ours->get(), SOL_SOCKET, 83, &value, &size) == 0) {
    EXPECT_EQ(sent.error().code.value(), EPERM);
  } else {
    EXPECT_TRUE(sent.ok());
  }
}

}  // namespace
