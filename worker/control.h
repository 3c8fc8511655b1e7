// The worker's end of the channel to the broker, which it trusts as little as the broker trusts it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "protocol/channel.h"
#include "protocol/phase.h"
#include "protocol/unique_fd.h"

namespace worker {

using protocol::Error;
using protocol::Result;
using protocol::UniqueFd;

/// How long the broker may be silent.
struct Patience {
  std::chrono::milliseconds hello{10'000};    ///< until the first message
  std::chrono::milliseconds message{30'000};  ///< until each later one
};

/// What the broker gives unasked.
struct Gifts {
  std::vector<std::string> arguments;
  UniqueFd fuse_device;
};

/// What the worker asks to be mounted.
struct MountRequest {
  bool block = false;  ///< fuseblk
  std::string name;    ///< what the mount table is to show; the block device for fuseblk
  std::string mount_point;
  std::string options;        ///< the kernel's; empty: none
  std::string table_options;  ///< likewise
  std::uint32_t flags = 0;    ///< MS_*
};

/// The volume: a regular file or a block device.
struct SourceFile {
  UniqueFd descriptor;
  UniqueFd direct;  ///< the same, opened with O_DIRECT as well; none where that cannot be had
};

/// One session, as the phase table has it: each function is one or a few messages, to be called in this order. After an
/// error of the protocol category the session is over and nothing more is said. Not thread-safe.
class Control {
 public:
  /// The socket that systemd or the broker left us: exactly one descriptor, number 3, a connected AF_UNIX SEQPACKET
  /// socket, whose other end is root's. A spawned worker cannot see the other end's uid from its namespace, and has
  /// none but its maker to talk to. Clears the environment's LISTEN_*. ENOENT if nobody started us so.
  static Result<Control> adopt(bool spawned, Patience patience = {});

  explicit Control(protocol::Channel channel, Patience patience = {})
      : channel_{std::move(channel)}, patience_{patience} {}

  /// Hello, our version, and the broker's two gifts. The FUSE device is one, or ENODEV.
  Result<Gifts> greet();
  /// The broker is our own, and told more than version 1 has words for.
  bool private_version() const noexcept { return phases_.version() == protocol::kPrivateVersion; }
  /// kHello* bits.
  std::uint32_t permitted() const noexcept { return permitted_; }

  /// Asks for the volume, read-write if `write`. Where that is refused by EPERM, EACCES or EROFS and `fall_back`, asks
  /// once more to read it. While it is busy asks again. The descriptors are open as asked; afterwards no more can be
  /// sent to us.
  Result<SourceFile> open_source(const std::string& path, bool write, bool fall_back);

  /// To our own broker only; nothing is sent to another.
  Result<void> state_facts(const protocol::Facts& facts);
  Result<void> note(std::uint32_t level, std::string text);

  /// TYPE to DOIT. On success the mount exists, and with a version 1 broker is attached.
  Result<void> mount(const MountRequest& request);

  /// Private version: says that FUSE_INIT was answered, and waits until the mount is attached. Version 1: nothing.
  Result<void> await_attached();
  /// The worker serves: the end of a version 1 session.
  Result<void> announce_serving();
  /// Private version: the volume is closed; `exit_code` 0: complete and durable. Version 1: nothing, all was said.
  void announce_closed(std::uint32_t exit_code) noexcept;

  /// Gives up, for a reason in one line, wherever in the session that may be said. Best effort.
  void refuse(std::uint32_t exit_class, std::string reason) noexcept;

 private:
  template <typename Message>
  Result<void> say(const Message& message);
  template <typename Message>
  Result<std::pair<Message, UniqueFd>> hear(protocol::Deadline deadline);
  template <typename Message>
  Result<void> ask(const Message& message);
  /// The answer to OPEN: the descriptor, or an errno as error.
  Result<UniqueFd> ask_for_file(const std::string& path, int flags);
  Result<UniqueFd> open_direct(const std::string& path, bool write, int buffered);
  Result<UniqueFd> receive_file(std::string_view name);
  protocol::Deadline soon() const { return std::chrono::steady_clock::now() + patience_.message; }

  protocol::Channel channel_;
  Patience patience_;
  protocol::PhaseMachine phases_;
  std::uint32_t permitted_ = 0;
};

}  // namespace worker
