#include "worker/fuse/dispatcher.h"

#include <cerrno>
#include <cstring>

#include "protocol/log.h"
#include "worker/fuse/answer.h"
#include "worker/fuse/operations.h"

namespace worker::fuse {

namespace {

/// libfuse prints every error but ENOENT itself; for us all mean the same, that the kernel did not take the reply.
ssize_t send_for_library(int, iovec* pieces, int count, void* dispatcher) noexcept {
  const auto number = static_cast<Dispatcher*>(dispatcher)->send_for_library({pieces, static_cast<std::size_t>(count)});
  if (number == 0) return 0;
  errno = ENOENT;
  return -1;
}

/// libfuse insists on having it, but requests come through our own loop.
ssize_t never_read(int, void*, std::size_t, void*) noexcept {
  errno = ENODEV;
  return -1;
}

}  // namespace

Dispatcher::Dispatcher() {
  char program[] = "ext4box-worker";
  char* words[] = {program, nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(1, words);
  session_.reset(fuse_session_new(&arguments, &operations(), sizeof(fuse_lowlevel_ops), this));
  fuse_opt_free_args(&arguments);
  if (!session_) throw std::bad_alloc{};
}

Dispatcher::~Dispatcher() {
  // libfuse makes up for a DESTROY that never came; by now nobody waits for it.
  hooks_ = {};
  session_.reset();
}

Result<void> Dispatcher::attach(volume::Volume& volume, Transport& transport, protocol::UniqueFd device, Hooks hooks) {
  fuse_custom_io io{};
  io.writev = fuse::send_for_library;
  io.read = never_read;
  if (fuse_session_custom_io(session_.get(), &io, device.get()) != 0) {
    return errno_error(EINVAL, "libfuse does not take the FUSE descriptor");
  }
  (void)device.release();
  volume_ = &volume;
  transport_ = &transport;
  hooks_ = std::move(hooks);
  return {};
}

void Dispatcher::reply_error(const fuse_in_header& header, int number) noexcept {
  Request{*this, header}.reply_error(number);
}

void Dispatcher::dispatch(std::span<std::byte> request, std::span<std::byte> scratch) noexcept {
  if (request.size() < sizeof(fuse_in_header)) return;  // nobody to answer
  const auto& header = *reinterpret_cast<const fuse_in_header*>(request.data());
  const RequestKind* kind = find_kind(header.opcode);
  if (!kind) return reply_error(header, ENOSYS);
  served_[header.opcode].fetch_add(1, std::memory_order_relaxed);

  const auto refuse = [&](int number) {
    if (kind->has_reply) reply_error(header, number);
  };
  if (header.len != request.size()) return refuse(EIO);
  const bool initialising = header.opcode == FUSE_INIT;
  if (phase_.load(std::memory_order_acquire) != (initialising ? Phase::fresh : Phase::serving)) return refuse(EIO);
  if (kind->decoder == Decoder::refused) return refuse(ENOSYS);
  if (header.total_extlen != 0) return refuse(EINVAL);  // belongs to features that we never take
  const auto body = request.subspan(sizeof(header));
  if (const int wrong = check_request(*kind, body)) return refuse(wrong);

  if (initialising) return initialise(header, body);
  if (kind->decoder == Decoder::ours) {
    kind->serve(Request{*this, header}, Incoming{.header = header, .body = body, .scratch = scratch});
    return;
  }
  fuse_buf buffer{};
  buffer.mem = request.data();
  buffer.size = request.size();
  fuse_session_process_buf(session_.get(), &buffer);
}

void Dispatcher::initialise(const fuse_in_header& header, std::span<const std::byte> body) noexcept {
  fuse_init_in offer{};
  std::memcpy(&offer, body.data(), std::min(body.size(), sizeof(offer)));
  if (offer.major > FUSE_KERNEL_VERSION) {
    // The kernel asks again with our major version.
    fuse_init_out ours{};
    ours.major = FUSE_KERNEL_VERSION;
    ours.minor = abi::kMinorVersion;
    Request{*this, header}.reply_structure(ours);
    return;
  }
  if (offer.major < FUSE_KERNEL_VERSION || offer.minor < abi::kOldestMinorVersion) {
    protocol::log(protocol::Severity::error, "this kernel's FUSE protocol is too old");
    return reply_error(header, EPROTO);
  }
  negotiated_ =
      negotiate(offer, InitOptions{.acl = volume_->options().acl, .time_granularity = volume_->time_granularity()});

  // libfuse gets to see only what was agreed on, so that it cannot want more; its reply is replaced on its way out.
  struct {
    fuse_in_header header;
    fuse_init_in offer;
  } shown{header, offer};
  shown.header.len = sizeof(shown);
  shown.offer.minor = negotiated_.minor;
  shown.offer.flags = static_cast<std::uint32_t>(negotiated_.flags) & ~std::uint32_t{FUSE_INIT_EXT};
  shown.offer.flags2 = 0;
  fuse_buf buffer{};
  buffer.mem = &shown;
  buffer.size = sizeof(shown);
  rewriting_init_ = true;
  fuse_session_process_buf(session_.get(), &buffer);
}

int Dispatcher::send_for_library(std::span<const iovec> pieces) noexcept {
  if (!rewriting_init_) return transport_->send(pieces);
  rewriting_init_ = false;
  fuse_out_header header;
  std::memcpy(&header, pieces.front().iov_base, sizeof(header));
  if (header.error != 0) return transport_->send(pieces);

  fuse_init_out out = encode_init(negotiated_);
  header.len = sizeof(header) + sizeof(out);
  const iovec ours[] = {{&header, sizeof(header)}, {&out, sizeof(out)}};
  // Other threads may have the next request before send() returns.
  phase_.store(Phase::serving, std::memory_order_release);
  const int failed = transport_->send(ours);
  if (!failed && hooks_.initialised) hooks_.initialised();
  return failed;
}

void Dispatcher::destroy() noexcept {
  phase_.store(Phase::destroyed, std::memory_order_release);
  if (hooks_.destroyed) hooks_.destroyed();
}

std::uint64_t Dispatcher::served(std::uint32_t opcode) const noexcept {
  return opcode < served_.size() ? served_[opcode].load(std::memory_order_relaxed) : 0;
}

}  // namespace worker::fuse
