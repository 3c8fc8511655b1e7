// The way of one request from its bytes to its handler.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "protocol/unique_fd.h"
#include "worker/fuse/init.h"
#include "worker/fuse/libfuse.h"
#include "worker/fuse/open_writers.h"
#include "worker/fuse/requests.h"
#include "worker/fuse/transport.h"

namespace worker::fuse {

/// Serves the requests of one session, whatever thread brings them.
class Dispatcher {
 public:
  /// Made early: libfuse may ask for things that a locked process must not have.
  Dispatcher();
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  struct Hooks {
    std::function<void()> initialised;  ///< FUSE_INIT was answered, and the kernel took the answer
    std::function<void()> destroyed;    ///< FUSE_DESTROY came; what it waits for has to be done before this returns
  };

  /// Says what to serve. `device` becomes libfuse's, which closes it at the end and uses it for nothing else;
  /// `transport` carries every reply. Once, before the first request.
  Result<void> attach(volume::Volume& volume, Transport& transport, protocol::UniqueFd device, Hooks hooks);

  /// Serves one request. `request` is writable memory aligned for fuse_in_header; `scratch` as in Incoming. Any thread.
  void dispatch(std::span<std::byte> request, std::span<std::byte> scratch) noexcept;

  volume::Volume& volume() const noexcept { return *volume_; }
  Transport& transport() const noexcept { return *transport_; }
  const Negotiated& negotiated() const noexcept { return negotiated_; }
  OpenWriters& writers() noexcept { return writers_; }
  bool initialised() const noexcept { return phase_.load(std::memory_order_acquire) != Phase::fresh; }

  /// How many requests of this kind came so far.
  std::uint64_t served(std::uint32_t opcode) const noexcept;

  /// True while the log has room for one more failed request; a damaged volume could fill it.
  bool may_complain() noexcept { return complaints_.fetch_add(1, std::memory_order_relaxed) < kMaximumComplaints; }

  /// FUSE_DESTROY arrived, in the words of libfuse.
  void destroy() noexcept;
  /// A reply as libfuse wants to send it.
  int send_for_library(std::span<const iovec> pieces) noexcept;

 private:
  enum class Phase : std::uint8_t { fresh, serving, destroyed };
  static constexpr unsigned kMaximumComplaints = 100;
  static constexpr std::size_t kCounters = 64;

  void initialise(const fuse_in_header& header, std::span<const std::byte> body) noexcept;
  void reply_error(const fuse_in_header& header, int number) noexcept;

  struct SessionDeleter {
    void operator()(fuse_session* session) const noexcept { fuse_session_destroy(session); }
  };

  std::unique_ptr<fuse_session, SessionDeleter> session_;
  volume::Volume* volume_ = nullptr;
  Transport* transport_ = nullptr;
  Hooks hooks_;
  Negotiated negotiated_;  ///< written by INIT, which comes alone, before any other request
  OpenWriters writers_;
  std::atomic<Phase> phase_ = Phase::fresh;
  bool rewriting_init_ = false;  ///< INIT's reply is on its way from libfuse to the transport
  std::atomic<unsigned> complaints_ = 0;
  std::array<std::atomic<std::uint64_t>, kCounters> served_{};
};

}  // namespace worker::fuse
