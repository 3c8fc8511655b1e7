#include "worker/fuse/transport.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "protocol/unique_fd.h"

namespace worker::fuse {
namespace {

class TransportTest : public testing::Test {
 protected:
  TransportTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel.reset(ends[0]);
    server.reset(ends[1]);
    ::signal(SIGPIPE, SIG_IGN);
  }
  protocol::UniqueFd kernel, server;
  std::vector<std::byte> buffer = std::vector<std::byte>(100);
};

TEST_F(TransportTest, keeps_messages_apart) {
  DescriptorTransport transport{server.get()};
  ASSERT_EQ(::send(kernel.get(), "abc", 3, 0), 3);
  ASSERT_EQ(::send(kernel.get(), "de", 2, 0), 2);
  EXPECT_EQ(transport.receive(buffer).value(), 3U);
  EXPECT_EQ(transport.receive(buffer).value(), 2U);
}

TEST_F(TransportTest, sends_pieces_as_one_message) {
  DescriptorTransport transport{server.get()};
  char one[] = "one", two[] = "two";
  const iovec pieces[] = {{one, 3}, {two, 3}};
  EXPECT_EQ(transport.send(pieces), 0);
  char got[10] = {};
  EXPECT_EQ(::recv(kernel.get(), got, sizeof(got), 0), 6);
  EXPECT_STREQ(got, "onetwo");
}

TEST_F(TransportTest, says_when_the_session_is_over) {
  DescriptorTransport transport{server.get()};
  kernel.reset();
  const auto got = transport.receive(buffer);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code.value(), ENODEV);
  char one[] = "one";
  const iovec piece{one, 3};
  EXPECT_EQ(transport.send({&piece, 1}), EPIPE);
}

TEST_F(TransportTest, waits_on_a_descriptor_that_does_not_block) {
  ASSERT_EQ(::fcntl(server.get(), F_SETFL, O_NONBLOCK), 0);
  DescriptorTransport transport{server.get()};
  std::jthread later{[&] {
    ::usleep(20'000);
    ::send(kernel.get(), "abc", 3, 0);
  }};
  EXPECT_EQ(transport.receive(buffer).value(), 3U);
}

TEST_F(TransportTest, other_errors_are_told) {
  DescriptorTransport transport{-1};
  const auto got = transport.receive(buffer);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code.value(), EBADF);
}

}  // namespace
}  // namespace worker::fuse
