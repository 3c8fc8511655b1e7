#include "tests/support/fake_kernel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

namespace tests {

namespace {

constexpr int kPatience = 60'000;  // milliseconds: sanitizers on a busy machine
constexpr int kMoment = 100;       // milliseconds
constexpr int kSocketBuffer = 8 << 20;
constexpr std::size_t kLargestReply = (1 << 20) + 4096;

/// A datagram of 1 MiB does not fit into the default buffer, and only root may have a larger one.
void enlarge(int socket) {
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBuffer, sizeof(kSocketBuffer)) != 0) {
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof(kSocketBuffer));
  }
}

bool readable(int socket, int milliseconds) {
  pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, milliseconds) == 1;
}

}  // namespace

FakeKernel::FakeKernel() : buffer_(kLargestReply) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error{"socketpair"};
  kernel_.reset(ends[0]);
  server_.reset(ends[1]);
  enlarge(ends[0]);
  enlarge(ends[1]);
}

fuse_init_out FakeKernel::initialise(std::uint64_t offered, std::uint32_t minor) {
  fuse_init_in offer{};
  offer.major = FUSE_KERNEL_VERSION;
  offer.minor = minor;
  offer.max_readahead = 1 << 20;
  offer.flags = static_cast<std::uint32_t>(offered);
  offer.flags2 = static_cast<std::uint32_t>(offered >> 32);
  const Reply reply = ask(FUSE_INIT, 0, Body{}.add(offer));
  if (reply.error != 0) throw std::runtime_error{"INIT failed: " + std::to_string(reply.error)};
  if (reply.body.size() != sizeof(fuse_init_out)) throw std::runtime_error{"INIT reply has a wrong size"};
  return reply.as<fuse_init_out>();
}

std::uint64_t FakeKernel::send(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body, Asker asker) {
  fuse_in_header header{};
  header.len = static_cast<std::uint32_t>(sizeof(header) + body.size());
  header.opcode = opcode;
  header.unique = next_unique_;
  header.nodeid = node;
  header.uid = asker.uid;
  header.gid = asker.gid;
  header.pid = static_cast<std::uint32_t>(::getpid());
  next_unique_ += 2;
  std::vector<std::byte> message(header.len);
  std::memcpy(message.data(), &header, sizeof(header));
  if (!body.empty()) std::memcpy(message.data() + sizeof(header), body.data(), body.size());
  send_raw(message);
  return header.unique;
}

void FakeKernel::send_raw(std::span<const std::byte> message) {
  if (::send(kernel_.get(), message.data(), message.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(message.size())) {
    throw std::runtime_error{"the server takes no request"};
  }
}

Reply FakeKernel::receive(std::uint64_t& unique) {
  if (!readable(kernel_.get(), kPatience)) throw std::runtime_error{"no reply"};
  const ssize_t length = ::recv(kernel_.get(), buffer_.data(), buffer_.size(), 0);
  if (length <= 0) throw std::runtime_error{"the server has gone"};
  // What the kernel checks before it looks at the body.
  fuse_out_header header{};
  if (static_cast<std::size_t>(length) < sizeof(header)) throw std::runtime_error{"a reply without a header"};
  std::memcpy(&header, buffer_.data(), sizeof(header));
  if (header.len != static_cast<std::uint32_t>(length)) throw std::runtime_error{"a reply with a wrong length"};
  if (header.error > 0 || header.error <= -512) throw std::runtime_error{"a reply with a wild error"};
  if (header.error != 0 && header.len != sizeof(header)) throw std::runtime_error{"an error with a body"};
  unique = header.unique;
  return {-header.error, {buffer_.begin() + sizeof(header), buffer_.begin() + length}};
}

bool FakeKernel::silent() { return !readable(kernel_.get(), kMoment); }

Reply FakeKernel::ask(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body, Asker asker) {
  const std::uint64_t asked = send(opcode, node, body, asker);
  std::uint64_t answered = 0;
  Reply reply = receive(answered);
  if (answered != asked) throw std::runtime_error{"a reply to something else"};
  return reply;
}

}  // namespace tests
