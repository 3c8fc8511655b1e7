// A SEQPACKET connection that carries packets with at most one descriptor each.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "protocol/codec.h"
#include "protocol/result.h"
#include "protocol/unique_fd.h"

namespace protocol {

using Deadline = std::chrono::steady_clock::time_point;

/// What one recvmsg brought.
struct Packet {
  std::vector<std::byte> bytes;
  UniqueFd descriptor;               ///< close-on-exec
  std::optional<ucred> sender = {};  ///< only after ask_for_credentials()
  UniqueFd sender_process = {};      ///< pidfd, likewise, where the kernel has it
};

/// One end of a connection. Never throws for what the peer does; never blocks beyond a deadline. Not thread-safe.
class Channel {
 public:
  explicit Channel(UniqueFd socket) noexcept : socket_{std::move(socket)} {}

  int get() const noexcept { return socket_.get(); }

  /// One packet, with `descriptor` if it is not negative. The descriptor stays the caller's.
  Result<void> send_bytes(std::span<const std::byte> bytes, int descriptor, Deadline deadline);
  /// The next packet. All descriptors that came are owned before anything is judged; more than one, truncation, more
  /// than kMaximumPacket bytes, an empty packet and the peer's end are errors.
  Result<Packet> receive(Deadline deadline);

  template <typename Message>
  Result<void> send(const Message& message, Deadline deadline, int descriptor = -1) {
    TRY(bytes, encode(message));
    return send_bytes(bytes, descriptor, deadline);
  }

  /// From now on packets say which process sent them. Only for the broker's end: a version 1 server takes no other
  /// control data.
  Result<void> ask_for_credentials();
  /// Descriptors that the peer sends from now on are refused at the sender. Older kernels do not know this; then
  /// nothing happens.
  void refuse_descriptors() noexcept;

 private:
  Result<void> wait(short events, Deadline deadline);

  UniqueFd socket_;
};

/// Two connected ends, both close-on-exec: the first for the broker.
Result<std::pair<Channel, Channel>> make_channel_pair();

/// Milliseconds until the deadline, at least 0, for poll(2).
int milliseconds_until(Deadline deadline) noexcept;

}  // namespace protocol
