#include "broker/session.h"

#include <fcntl.h>

#include <memory>

#include "protocol/argv_memfd.h"
#include "protocol/log.h"

namespace broker {

namespace {

using protocol::End, protocol::errno_error, protocol::log, protocol::Phase, protocol::protocol_error,
    protocol::Severity, protocol::Tag, protocol::Violation;

/// One wait for readiness. Shared with its timer's handler, which may still be queued when the wait is over.
struct Wait {
  asio::posix::stream_descriptor watched;
  bool late = false;
};

/// Ends that have words of their own: `detail` says all.
const std::error_code kSpoken{ECANCELED, std::generic_category()};
const std::error_code kGaveUp{ECONNABORTED, std::generic_category()};

void audit(const std::string& asked, std::uint32_t error) {
  log(Severity::notice,
      "audit: worker asked " + asked + ": " + (error == 0 ? "granted" : errno_error(int(error)).message()));
}

/// An errno for the wire out of any error.
std::uint32_t wire_error(const Error& error) {
  const bool is_errno =
      error.code.category() == std::generic_category() || error.code.category() == std::system_category();
  return is_errno && error.code.value() > 0 ? std::uint32_t(error.code.value()) : EIO;
}

}  // namespace

Session::Session(asio::io_context& context, protocol::Channel channel, Grants grants, SessionLimits limits,
                 MountActions& actions)
    : context_{context},
      timer_{context},
      channel_{std::move(channel)},
      grants_{std::move(grants)},
      limits_{limits},
      actions_{actions} {
  outcome_.specification = grants_.specification;
}

asio::awaitable<SessionOutcome> Session::run() {
  auto result = co_await greet(protocol::kPrivateVersion);
  if (!result && result.error().code != Violation::deadline && !interrupted_) {
    // Whatever the worker is, it may be one of a later version 1 that answers our offer oddly.
    if (auto again = actions_.reconnect()) {
      channel_ = std::move(*again);
      phases_ = {};
      result = co_await greet(protocol::kVersion1);
    }
  }
  if (result) result = give_unasked();
  if (result) result = co_await converse();
  if (result && phases_.version() == protocol::kVersion1) {
    result = co_await probe();
    if (result) result = attach();
  }
  outcome_.version = phases_.version();
  if (result) {
    outcome_.exit_code = 0;
  } else if (interrupted_) {
    outcome_.exit_code = 8;
    outcome_.reason = "interrupted";
  } else if (outcome_.reason.empty()) {
    outcome_.reason = reason_for(result.error());
  }
  co_return std::move(outcome_);
}

/// A worker that leaves after a refusal does so because of it.
std::string Session::reason_for(const Error& error) const {
  const bool left = error.code == Violation::closed || error.code == kGaveUp;
  if (left && !refused_.empty()) return refused_;
  if (error.code == kSpoken || error.code == kGaveUp) return error.detail;
  const bool broken = error.code.category() == protocol::protocol_category();
  return broken ? "the worker failed: " + error.message() : error.message();
}

void Session::interrupt() {
  if (attached_) return;
  interrupted_ = true;
  if (waiting_ != nullptr) waiting_->cancel();
}

asio::awaitable<Result<void>> Session::greet(std::uint16_t maximum_version) {
  if (auto asked = channel_.ask_for_credentials(); !asked) co_return asked;
  channel_.refuse_descriptors();
  auto said = send(protocol::Hello{protocol::kVersion1, maximum_version, hello_flags(grants_)});
  if (!said) co_return said;
  auto packet = co_await next_packet();
  if (!packet) co_return packet.error();
  auto reply = protocol::decode<protocol::HelloReply>(packet->bytes);
  if (!reply) co_return reply.error();
  if (auto taken = phases_.take(End::worker, Tag::hello_reply); !taken) co_return taken;
  if (reply->version != protocol::kVersion1 && reply->version != maximum_version)
    co_return protocol_error(Violation::version);
  phases_.choose(reply->version);
  co_return actions_.meet_worker(*packet, reply->version);
}

Result<void> Session::give_unasked() {
  TRY(arguments, protocol::make_argument_file(grants_.arguments));
  TRY(send(protocol::File{0, {std::string{protocol::kArgumentsName}}}, arguments.get()));
  TRY(device, actions_.open_fuse_device());
  log(Severity::notice, "audit: worker given " + std::string{protocol::kFuseDeviceName});
  return send(protocol::File{0, {std::string{protocol::kFuseDeviceName}}}, device.get());
}

asio::awaitable<Result<void>> Session::converse() {
  while (true) {
    auto packet = co_await next_packet();
    if (!packet) co_return packet.error();
    const bool was_mounted = phases_.phase() == Phase::mounted;
    if (auto handled = handle(*packet); !handled) co_return handled;
    if (phases_.phase() == Phase::serving) co_return Result<void>{};
    if (phases_.phase() == Phase::ended) co_return was_mounted ? Result<void>{} : Error{kGaveUp, "the worker gave up"};
  }
}

Result<void> Session::handle(const protocol::Packet& packet) {
  // Phase first: a message that may not come now is not even decoded.
  TRY(tag, protocol::tag_of(packet.bytes));
  TRY(phases_.take(End::worker, tag));
  TRY(message, protocol::decode_from_worker(packet.bytes));
  return std::visit([this](const auto& said) { return on(said); }, message);
}

template <typename Message>
Result<void> Session::send(const Message& message, int descriptor, std::uint32_t error) {
  TRY(phases_.take(End::broker, Message::kTag, error));
  return channel_.send(message, soon(), descriptor);
}

Result<void> Session::answer(std::uint32_t error, std::string asked) {
  audit(asked, error);
  if (error == 0) {
    refused_.clear();
  } else if (refused_.empty()) {
    refused_ = "refused to the worker: " + asked + ": " + errno_error(int(error)).message();
  }
  return send(protocol::Reply{error}, -1, error);
}

Result<void> Session::open(const protocol::OpenFile& asked, bool block) {
  auto error = judge_open(grants_, block, asked);
  // Our own worker may have the source a second time: another way to the same bytes, with no more rights.
  const bool direct = source_given_ && !direct_given_ && !block && (asked.open_flags & O_DIRECT) != 0 &&
                      phases_.version() == protocol::kPrivateVersion;
  if (error == 0 && source_given_ && !direct) error = EPERM;
  UniqueFd source;
  if (error == 0) {
    TRY(actions_.check_worker());
    auto opened = direct ? actions_.open_direct_source() : actions_.open_source(block ? asked.block_size : 0);
    if (opened) {
      source = std::move(*opened);
    } else {
      error = wire_error(opened.error());
    }
  }
  audit(describe(asked), error);
  refused_ = error == 0 || direct ? "" : errno_error(int(error), "cannot open").message();
  source_given_ |= error == 0;
  direct_given_ |= direct && error == 0;
  return send(protocol::File{error, asked.path}, source.get(), error);
}

Result<void> Session::on(const protocol::HelloReply&) { return protocol_error(Violation::out_of_phase); }

Result<void> Session::on(const protocol::OpenFile& asked) { return open(asked, false); }

Result<void> Session::on(const protocol::OpenBlockDevice& asked) {
  return open({asked.open_flags, asked.create_mode, asked.request_flags, asked.block_size, asked.path}, true);
}

Result<void> Session::on(const protocol::SetType& asked) {
  const auto error = judge_type(grants_, asked.flags);
  if (error == 0 && asked.flags != 0) {
    outcome_.specification.block = true;
    outcome_.specification.source = grants_.block_source;
  }
  return answer(error, describe(asked));
}

// The name is not used: the mount table shows what the caller named or what we opened.
Result<void> Session::on(const protocol::SetName& asked) { return answer(0, describe(asked)); }

Result<void> Session::on(const protocol::SetMountPoint& asked) {
  return answer(judge_mount_point(grants_, asked), describe(asked));
}

Result<void> Session::on(const protocol::SetOptions& asked) {
  return answer(take_options(grants_, asked.options.value, outcome_.specification), describe(asked));
}

Result<void> Session::on(const protocol::SetTableOptions& asked) {
  return answer(0, "MTAB, kept: " + protocol::escape(keep_table_options(asked.options.value)));
}

Result<void> Session::on(const protocol::DoMount& asked) {
  auto error = take_mount_flags(asked.flags, outcome_.specification);
  if (error == 0) {
    if (auto created = actions_.create_mount(outcome_.specification); !created) {
      error = wire_error(created.error());
      refused_ = created.error().message();
    }
  }
  return answer(error, describe(asked));
}

Result<void> Session::on(const protocol::Goodbye& said) {
  if (said.exit_code == 0) return {};
  return Error{kGaveUp, "the worker gave up with code " + std::to_string(said.exit_code)};
}

Result<void> Session::on(const protocol::Facts& said) {
  if (!take_facts(said, outcome_.specification)) return protocol_error(Violation::malformed, describe(said));
  outcome_.facts = said;
  return {};
}

Result<void> Session::on(const protocol::Note& said) {
  outcome_.notes.push_back({said.level, {protocol::escape_controls(said.text.value)}});
  return {};
}

Result<void> Session::on(const protocol::Refusal& said) {
  outcome_.exit_code = said.exit_class == 1 ? 1 : 32;
  outcome_.reason = protocol::escape_controls(said.reason.value);
  return Error{kSpoken, "refused"};
}

Result<void> Session::on(const protocol::Ready&) {
  TRY(attach());
  return send(protocol::Attached{});
}

Result<void> Session::attach() {
  TRY(actions_.attach(outcome_));
  attached_ = true;
  return {};
}

asio::awaitable<Result<void>> Session::probe() {
  auto process = actions_.start_probe();
  if (!process) co_return process.error();
  const auto answered = co_await wait_for(process->get(), soon());
  auto finished = actions_.finish_probe(answered.ok());
  co_return answered ? std::move(finished) : answered;
}

protocol::Deadline Session::soon() const {
  return std::min(limits_.overall, std::chrono::steady_clock::now() + limits_.message);
}

asio::awaitable<Result<void>> Session::wait_for(int descriptor, protocol::Deadline deadline) {
  if (interrupted_) co_return Error{kSpoken, "interrupted"};
  // Asio wants a descriptor of its own: the channel's lives on.
  const auto wait = std::make_shared<Wait>(Wait{{context_, ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)}});
  timer_.expires_at(deadline);
  timer_.async_wait([wait](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    wait->late = true;
    wait->watched.cancel();
  });
  waiting_ = &wait->watched;
  boost::system::error_code failure;
  do {
    co_await wait->watched.async_wait(asio::posix::stream_descriptor::wait_read,
                                      asio::redirect_error(asio::use_awaitable, failure));
  } while (!failure && !interrupted_ && !wait->late && !readable(descriptor));
  waiting_ = nullptr;
  timer_.cancel();
  if (interrupted_) co_return Error{kSpoken, "interrupted"};
  if (wait->late) co_return protocol_error(Violation::deadline);
  if (failure) co_return errno_error(failure.value(), "waiting for the worker");
  co_return Result<void>{};
}

asio::awaitable<Result<protocol::Packet>> Session::next_packet() {
  const auto deadline = soon();
  if (auto waited = co_await wait_for(channel_.get(), deadline); !waited) co_return waited.error();
  auto packet = channel_.receive(deadline);
  if (packet && packet->descriptor) co_return protocol_error(Violation::extra_descriptor);
  co_return packet;
}

}  // namespace broker
