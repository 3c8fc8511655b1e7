// One mount being served: its threads' loop, from FUSE_INIT to the one close of the volume.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "protocol/unique_fd.h"
#include "worker/fuse/dispatcher.h"
#include "worker/fuse/transport.h"

namespace worker::fuse {

/// Called on one of the serving threads; they must not throw and should not take long.
struct ServerEvents {
  /// FUSE_INIT was answered: the mount works once it is attached.
  std::function<void()> initialised;
  /// The session is over and the volume is closed; `outcome` is what Volume::close() said. Once.
  std::function<void(const Result<void>& outcome)> closed;
};

/// Serves one volume over one FUSE descriptor. Starts no thread: threads made before the process was locked call
/// serve().
class Server {
 public:
  /// Allocates all that `threads` serving threads need. Before the process is locked.
  explicit Server(unsigned threads);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Lets the threads in serve() begin. `volume` has to outlive them. Once.
  Result<void> start(volume::Volume& volume, protocol::UniqueFd device, ServerEvents events = {});

  /// There will be no start(): sends the threads in serve() home. Afterwards start() fails.
  void cancel();

  /// Waits for start(), serves requests until the session is over, and returns. To be called by up to `threads`
  /// threads, once each. When the session is over, the first to notice waits for the others, though not for ever, and
  /// closes the volume, unless FUSE_DESTROY had it closed.
  void serve() noexcept;

  /// Waits until FUSE_INIT was answered; false when the session ended before that.
  bool wait_initialised();

  /// Waits until the volume is closed, and says how that went. To be called after start().
  Result<void> wait_closed();

  /// How many requests of this opcode came so far.
  std::uint64_t served(std::uint32_t opcode) const noexcept { return dispatcher_.served(opcode); }
  const Negotiated& negotiated() const noexcept { return dispatcher_.negotiated(); }

 private:
  /// What one thread works with: a request and a reply, each of the largest size, page-aligned.
  class Buffers;

  enum class Phase : std::uint8_t { waiting, running, cancelled };

  /// The buffers of the calling thread; none when there is nothing to serve.
  Buffers* enter();
  void leave(bool session_over);
  /// True when the session is over, false when this thread alone cannot go on.
  bool loop(Buffers& buffers) noexcept;
  void close_volume() noexcept;

  std::mutex mutex_;  ///< guards what follows up to closed_
  std::condition_variable changed_;
  Phase phase_ = Phase::waiting;
  std::size_t entered_ = 0;  ///< threads that came into serve()
  std::size_t serving_ = 0;  ///< and have not left
  bool initialised_ = false;
  bool over_ = false;     ///< no further request will come
  bool closing_ = false;  ///< somebody closes the volume, or has
  std::optional<Result<void>> closed_;

  std::vector<std::unique_ptr<Buffers>> buffers_;
  Dispatcher dispatcher_;
  std::optional<DescriptorTransport> transport_;
  volume::Volume* volume_ = nullptr;
  ServerEvents events_;
};

}  // namespace worker::fuse
