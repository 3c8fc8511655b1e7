// The broker's end of one mount, from hello to attached.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "broker/asio.h"
#include "broker/policy.h"
#include "protocol/channel.h"
#include "protocol/phase.h"

namespace broker {

/// How a session ended.
struct SessionOutcome {
  int exit_code = 32;  ///< 0: the worker serves
  std::string reason;  ///< one line, foreign bytes escaped
  std::uint16_t version = 0;
  protocol::Facts facts;
  MountSpecification specification;
  std::vector<protocol::Note> notes;
};

/// The acts that a session decides on and that touch the kernel: a seam, so that sessions are tested without mounts.
class MountActions {
 public:
  virtual ~MountActions() = default;
  /// A new connection to the same service, for a worker that answered the hello oddly; an error where there is no
  /// service.
  virtual Result<protocol::Channel> reconnect() = 0;
  /// The worker has spoken first in `packet`, and speaks `version`.
  virtual Result<void> meet_worker(protocol::Packet& packet, std::uint16_t version) = 0;
  /// Looks whether the worker is contained: right before the volume is handed over.
  virtual Result<void> check_worker() = 0;
  /// The descriptor that the worker gets as the source; `block_size` as in BDEV, 0: leave it.
  virtual Result<UniqueFd> open_source(std::uint32_t block_size) = 0;
  /// A second descriptor of the same, which passes the page cache by; an error where there is none.
  virtual Result<UniqueFd> open_direct_source() = 0;
  virtual Result<UniqueFd> open_fuse_device() = 0;
  /// Makes the mount, attached nowhere. Sets `block` to what it became: a kernel that refuses fuseblk gets fuse.
  virtual Result<void> create_mount(MountSpecification& specification) = 0;
  /// Starts a process that asks the mount something, which it can only answer after FUSE_INIT. Its pidfd.
  virtual Result<UniqueFd> start_probe() = 0;
  virtual Result<void> finish_probe(bool answered) = 0;
  virtual Result<void> attach(const SessionOutcome& so_far) = 0;
};

struct SessionLimits {
  std::chrono::milliseconds message{20'000};  ///< the longest silence
  protocol::Deadline overall = protocol::Deadline::max();
};

/// Speaks with one worker. Grants only what `grants` holds; any breach of the protocol ends it without an answer.
class Session {
 public:
  Session(asio::io_context& context, protocol::Channel channel, Grants grants, SessionLimits limits,
          MountActions& actions);

  /// Runs until the worker serves or the mount has failed. The caller undoes what `actions` did after a failure.
  asio::awaitable<SessionOutcome> run();
  /// Ends run() soon, with exit code 8. Once the mount is attached it is too late for that: the worker may have
  /// written, and only an unmount leaves the volume whole.
  void interrupt();
  /// The connection, once run() has ended.
  protocol::Channel take_channel() && { return std::move(channel_); }

 private:
  asio::awaitable<Result<void>> greet(std::uint16_t maximum_version);
  asio::awaitable<Result<void>> converse();
  asio::awaitable<Result<void>> probe();
  asio::awaitable<Result<void>> wait_for(int descriptor, protocol::Deadline deadline);
  asio::awaitable<Result<protocol::Packet>> next_packet();

  Result<void> give_unasked();
  Result<void> handle(const protocol::Packet& packet);
  Result<void> answer(std::uint32_t error, std::string asked);
  Result<void> open(const protocol::OpenFile& asked, bool block);
  Result<void> on(const protocol::HelloReply&);
  Result<void> on(const protocol::OpenFile& asked);
  Result<void> on(const protocol::OpenBlockDevice& asked);
  Result<void> on(const protocol::SetType& asked);
  Result<void> on(const protocol::SetName& asked);
  Result<void> on(const protocol::SetMountPoint& asked);
  Result<void> on(const protocol::SetOptions& asked);
  Result<void> on(const protocol::SetTableOptions& asked);
  Result<void> on(const protocol::DoMount& asked);
  Result<void> on(const protocol::Goodbye& said);
  Result<void> on(const protocol::Facts& said);
  Result<void> on(const protocol::Note& said);
  Result<void> on(const protocol::Refusal& said);
  Result<void> on(const protocol::Ready&);
  Result<void> on(const protocol::Serving&) { return {}; }

  Result<void> attach();
  template <typename Message>
  Result<void> send(const Message& message, int descriptor = -1, std::uint32_t error = 0);
  protocol::Deadline soon() const;
  std::string reason_for(const Error& error) const;

  asio::io_context& context_;
  asio::steady_timer timer_;
  asio::posix::stream_descriptor* waiting_ = nullptr;  ///< what wait_for waits on, for interrupt()
  protocol::Channel channel_;
  Grants grants_;
  SessionLimits limits_;
  MountActions& actions_;
  protocol::PhaseMachine phases_;
  SessionOutcome outcome_;
  std::string refused_;  ///< why the worker's last request was not granted; empty if it was
  bool interrupted_ = false, attached_ = false, source_given_ = false, direct_given_ = false;
};

}  // namespace broker
