#include "protocol/channel.h"

#include <poll.h>
#include <sys/un.h>

#include <algorithm>
#include <climits>
#include <cstring>

namespace protocol {

namespace {

// Linux's numbers; the libc this is built with may be older than the kernel it meets.
constexpr int kPassProcess = 76;    // SO_PASSPIDFD
constexpr int kPassRights = 83;     // SO_PASSRIGHTS
constexpr int kProcessMessage = 4;  // SCM_PIDFD
/// SCM_MAX_FD: with room for all that a packet can carry, nothing is ever truncated, and all of it gets an owner.
constexpr std::size_t kMaximumDescriptors = 253;
constexpr std::size_t kControlSize = CMSG_SPACE(kMaximumDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred)) +
                                     CMSG_SPACE(sizeof(int)) + CMSG_SPACE(256);

/// Takes ownership of everything in the control data. Returns how many descriptors SCM_RIGHTS brought; the first is
/// kept.
std::size_t own_control_data(msghdr& header, Packet& packet) {
  std::size_t descriptors = 0;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_len < CMSG_LEN(0)) continue;
    const std::size_t size = control->cmsg_len - CMSG_LEN(0);
    if (control->cmsg_type == SCM_RIGHTS) {
      for (std::size_t offset = 0; offset + sizeof(int) <= size; offset += sizeof(int)) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(control) + offset, sizeof number);
        UniqueFd owned{number};
        if (descriptors++ == 0) packet.descriptor = std::move(owned);
      }
    } else if (control->cmsg_type == SCM_CREDENTIALS && size >= sizeof(ucred)) {
      packet.sender.emplace();
      std::memcpy(&*packet.sender, CMSG_DATA(control), sizeof(ucred));
    } else if (control->cmsg_type == kProcessMessage && size >= sizeof(int)) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(control), sizeof number);
      packet.sender_process = UniqueFd{number};
    }
  }
  return descriptors;
}

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

int milliseconds_until(Deadline deadline) noexcept {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, INT_MAX));
}

Result<void> Channel::wait(short events, Deadline deadline) {
  while (true) {
    pollfd watched{socket_.get(), events, 0};
    const int ready = ::poll(&watched, 1, milliseconds_until(deadline));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return last_error("poll");
    if (std::chrono::steady_clock::now() >= deadline) return protocol_error(Violation::deadline);
  }
}

Result<void> Channel::send_bytes(std::span<const std::byte> bytes, int descriptor, Deadline deadline) {
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (descriptor >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  while (::sendmsg(socket_.get(), &header, MSG_EOR | MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EPIPE || errno == ECONNRESET) return protocol_error(Violation::closed);
    if (would_block(errno)) {
      TRY(wait(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return last_error("sendmsg");
    }
  }
  return {};
}

Result<Packet> Channel::receive(Deadline deadline) {
  ssize_t size = 0;
  // A look without taking: the size comes back untruncated, and no descriptor is installed.
  while ((size = ::recv(socket_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT)) < 0) {
    if (errno == ECONNRESET) return protocol_error(Violation::closed);
    if (would_block(errno)) {
      TRY(wait(POLLIN, deadline));
    } else if (errno != EINTR) {
      return last_error("recv");
    }
  }
  if (size == 0) return protocol_error(Violation::closed);
  if (static_cast<std::size_t>(size) > kMaximumPacket) return protocol_error(Violation::oversized);

  Packet packet;
  packet.bytes.resize(static_cast<std::size_t>(size));
  iovec piece{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[kControlSize];
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t received = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (received < 0) return errno == ECONNRESET ? protocol_error(Violation::closed) : last_error("recvmsg");
  const std::size_t descriptors = own_control_data(header, packet);

  if ((header.msg_flags & MSG_CTRUNC) != 0) return protocol_error(Violation::lost_descriptors);
  if ((header.msg_flags & MSG_TRUNC) != 0 || received != size) return protocol_error(Violation::oversized);
  if (descriptors > 1) return protocol_error(Violation::extra_descriptor);
  return packet;
}

Result<void> Channel::ask_for_credentials() {
  const int on = 1;
  if (::setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) return last_error("SO_PASSCRED");
  // Since Linux 6.5; without it the process is known by its number alone.
  (void)::setsockopt(socket_.get(), SOL_SOCKET, kPassProcess, &on, sizeof on);
  return {};
}

void Channel::refuse_descriptors() noexcept {
  const int off = 0;
  (void)::setsockopt(socket_.get(), SOL_SOCKET, kPassRights, &off, sizeof off);
}

Result<std::pair<Channel, Channel>> make_channel_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return last_error("socketpair");
  return std::pair{Channel{UniqueFd{ends[0]}}, Channel{UniqueFd{ends[1]}}};
}

}  // namespace protocol
