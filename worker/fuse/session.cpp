#include "worker/fuse/session.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <new>

#include "protocol/log.h"
#include "worker/fuse/answer.h"
#include "worker/volume/volume.h"

namespace worker::fuse {

class Server::Buffers {
 public:
  Buffers()
      : page_{static_cast<std::size_t>(::getpagesize())},
        memory_{allocate(page_ + kMaximumTransfer + page_)},
        scratch_{allocate(kMaximumTransfer)} {}

  /// Where a request goes. The data of a WRITE then starts on a page boundary, so that a device can be given it as it
  /// is.
  std::span<std::byte> request() const noexcept {
    const std::size_t before_data = page_ - sizeof(fuse_in_header) - sizeof(fuse_write_in);
    return {memory_.get() + before_data, page_ + kMaximumTransfer + page_ - before_data};
  }
  std::span<std::byte> scratch() const noexcept { return {scratch_.get(), kMaximumTransfer}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  Memory allocate(std::size_t size) const {
    Memory memory{static_cast<std::byte*>(std::aligned_alloc(page_, size))};
    if (!memory) throw std::bad_alloc{};
    return memory;
  }

  std::size_t page_;
  Memory memory_, scratch_;
};

Server::Server(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) buffers_.push_back(std::make_unique<Buffers>());
}

Server::~Server() = default;

Result<void> Server::start(volume::Volume& volume, protocol::UniqueFd device, ServerEvents events) {
  const std::lock_guard lock{mutex_};
  if (phase_ != Phase::waiting) return errno_error(ECANCELED, "the server was stopped");
  transport_.emplace(device.get());
  volume_ = &volume;
  events_ = std::move(events);
  Dispatcher::Hooks hooks{.initialised =
                              [this] {
                                {
                                  const std::lock_guard guard{mutex_};
                                  initialised_ = true;
                                }
                                changed_.notify_all();
                                if (events_.initialised) events_.initialised();
                              },
                          .destroyed = [this] { close_volume(); }};
  TRY(dispatcher_.attach(volume, *transport_, std::move(device), std::move(hooks)));
  phase_ = Phase::running;
  changed_.notify_all();
  return {};
}

void Server::cancel() {
  const std::lock_guard lock{mutex_};
  if (phase_ == Phase::waiting) phase_ = Phase::cancelled;
  changed_.notify_all();
}

Server::Buffers* Server::enter() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return phase_ != Phase::waiting; });
  if (phase_ == Phase::cancelled || over_ || entered_ == buffers_.size()) return nullptr;
  ++serving_;
  return buffers_[entered_++].get();
}

/// How long requests under way may take once nobody waits for them. Some might never end: changes wait for
/// start_writing().
constexpr std::chrono::seconds kLastRequests{5};

void Server::leave(bool session_over) {
  bool closes = false;
  {
    std::unique_lock lock{mutex_};
    closes = session_over && !over_;
    over_ |= session_over;
    changed_.notify_all();
    if (closes) changed_.wait_for(lock, kLastRequests, [&] { return serving_ == 1; });
    closes |= --serving_ == 0;
    over_ |= closes;
  }
  changed_.notify_all();
  if (closes) close_volume();
}

void Server::serve() noexcept {
  Buffers* buffers = enter();
  if (!buffers) return;
  leave(loop(*buffers));
}

bool Server::loop(Buffers& buffers) noexcept {
  for (;;) {
    const auto received = transport_->receive(buffers.request());
    if (!received.ok()) {
      const bool over = errno_of(received.error()) == ENODEV;
      if (!over) {
        protocol::log(protocol::Severity::error, "a serving thread gives up: " + received.error().message());
      }
      return over;
    }
    dispatcher_.dispatch(buffers.request().first(received.value()), buffers.scratch());
  }
}

void Server::close_volume() noexcept {
  {
    const std::lock_guard lock{mutex_};
    if (closing_) return;
    closing_ = true;
  }
  auto outcome = attempt([&] { return volume_->close(); });
  if (!outcome.ok()) {
    protocol::log(protocol::Severity::error, "closing the volume failed: " + outcome.error().message());
  }
  {
    const std::lock_guard lock{mutex_};
    closed_ = outcome;
  }
  changed_.notify_all();
  if (events_.closed) events_.closed(outcome);
}

bool Server::wait_initialised() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return initialised_ || over_ || phase_ == Phase::cancelled; });
  return initialised_;
}

Result<void> Server::wait_closed() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return closed_.has_value(); });
  return *closed_;
}

}  // namespace worker::fuse
