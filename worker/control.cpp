#include "worker/control.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "protocol/argv_memfd.h"
#include "protocol/codec.h"
#include "protocol/log.h"

namespace worker {
namespace {

using protocol::Deadline;
using protocol::End;
using protocol::errno_error;
using protocol::last_error;
using protocol::Phase;
using protocol::protocol_error;
using protocol::Violation;

constexpr int kFirstPassedDescriptor = 3;
/// Between two requests for a busy volume.
constexpr auto kBusyPause = std::chrono::milliseconds{200};
/// /dev/fuse has had this number since there is FUSE.
const dev_t kFuseDevice = makedev(10, 229);

std::optional<long> environment_number(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  long number = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, failure] = std::from_chars(text, end, number);
  return failure == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

template <typename Value>
Result<Value> socket_option(int socket, int option, const char* what) {
  Value value{};
  socklen_t size = sizeof value;
  if (::getsockopt(socket, SOL_SOCKET, option, &value, &size) != 0) return last_error(what);
  return value;
}

/// What is on descriptor 3 may be anything that whoever started us left there.
Result<void> check_socket(int socket, bool spawned) {
  TRY(domain, socket_option<int>(socket, SO_DOMAIN, "descriptor 3"));
  TRY(type, socket_option<int>(socket, SO_TYPE, "descriptor 3"));
  if (domain != AF_UNIX || type != SOCK_SEQPACKET) return errno_error(EPROTOTYPE, "descriptor 3");
  TRY(room, socket_option<int>(socket, SO_SNDBUF, "send buffer"));
  if (room < protocol::kMinimumSendBuffer) return errno_error(ENOBUFS, "send buffer");
  if (spawned) return {};
  TRY(peer, socket_option<ucred>(socket, SO_PEERCRED, "the broker's credentials"));
  if (peer.uid != 0)
    return errno_error(EACCES, "the other end is not root's but uid " + std::to_string(peer.uid) + "'s");
  return {};
}

Result<void> check_source(int descriptor, bool write) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return last_error("source");
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) return errno_error(ENOTBLK, "source");
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0) return last_error("source");
  const int mode = flags & O_ACCMODE;
  if ((flags & O_PATH) != 0 || mode == O_WRONLY || (write && mode != O_RDWR)) return errno_error(EBADF, "source");
  return {};
}

/// The same file as `buffered`, by the direct way.
Result<void> check_direct(int descriptor, int buffered) {
  struct stat one {
  }, other{};
  if (::fstat(descriptor, &one) != 0 || ::fstat(buffered, &other) != 0) return last_error("source");
  const bool same = one.st_dev == other.st_dev && one.st_ino == other.st_ino && one.st_rdev == other.st_rdev;
  if (!same || (::fcntl(descriptor, F_GETFL) & O_DIRECT) == 0) return errno_error(EBADF, "direct source");
  return {};
}

Result<void> check_fuse_device(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return last_error("FUSE device");
  if (!S_ISCHR(status.st_mode) || status.st_rdev != kFuseDevice) return errno_error(ENODEV, "FUSE device");
  return {};
}

/// An errno that came over the wire.
Error wire_errno(std::uint32_t number, std::string what) {
  constexpr std::uint32_t kLargest = 4095;  // MAX_ERRNO of the kernel
  if (number > kLargest) return protocol_error(Violation::malformed, "errno");
  return errno_error(static_cast<int>(number), std::move(what));
}

/// At most as many bytes as the wire takes, without a NUL.
protocol::Prose prose(std::string text) {
  if (const auto nul = text.find('\0'); nul != text.npos) text.resize(nul);
  if (text.size() > protocol::kMaximumProse) text.resize(protocol::kMaximumProse);
  return {std::move(text)};
}

}  // namespace

Result<Control> Control::adopt(bool spawned, Patience patience) {
  const auto process = environment_number("LISTEN_PID"), count = environment_number("LISTEN_FDS");
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  if (process != ::getpid() || !count) return errno_error(ENOENT, "no socket was passed");
  if (count != 1) return errno_error(E2BIG, "exactly one socket has to be passed");
  TRY(check_socket(kFirstPassedDescriptor, spawned));
  ::fcntl(kFirstPassedDescriptor, F_SETFD, FD_CLOEXEC);
  return Control{protocol::Channel{UniqueFd{kFirstPassedDescriptor}}, patience};
}

template <typename Message>
Result<void> Control::say(const Message& message) {
  TRY(phases_.take(End::worker, Message::kTag));
  return channel_.send(message, soon());
}

template <typename Message>
Result<std::pair<Message, UniqueFd>> Control::hear(Deadline deadline) {
  TRY(packet, channel_.receive(deadline));
  TRY(tag, protocol::tag_of(packet.bytes));
  if (tag != Message::kTag) return protocol_error(Violation::out_of_phase, protocol::tag_name(tag));
  TRY(message, protocol::decode<Message>(packet.bytes));
  std::uint32_t error = 0;
  if constexpr (requires { message.error; }) error = message.error;
  TRY(phases_.take(End::broker, Message::kTag, error));
  const bool wanted = std::is_same_v<Message, protocol::File> && error == 0;
  if (wanted && !packet.descriptor) return protocol_error(Violation::missing_descriptor);
  if (!wanted && packet.descriptor) return protocol_error(Violation::extra_descriptor);
  return std::pair{std::move(message), std::move(packet.descriptor)};
}

template <typename Message>
Result<void> Control::ask(const Message& message) {
  TRY(say(message));
  TRY(answer, hear<protocol::Reply>(soon()));
  if (answer.first.error != 0)
    return wire_errno(answer.first.error, "the broker refused " + protocol::tag_name(Message::kTag));
  return {};
}

Result<UniqueFd> Control::receive_file(std::string_view name) {
  TRY(file, hear<protocol::File>(soon()));
  if (file.first.name.value != name) return protocol_error(Violation::mismatch);
  if (file.first.error != 0) return wire_errno(file.first.error, std::string{name});
  return std::move(file.second);
}

Result<Gifts> Control::greet() {
  TRY(hello, hear<protocol::Hello>(std::chrono::steady_clock::now() + patience_.hello));
  const auto& [minimum, maximum, flags] = hello.first;
  constexpr std::uint32_t kKnown = protocol::kHelloAllowOther | protocol::kHelloBlock;
  if (minimum > maximum || minimum > protocol::kVersion1 || maximum < protocol::kVersion1) {
    return protocol_error(Violation::version);
  }
  if ((flags & ~kKnown) != 0) return protocol_error(Violation::malformed, "hello flags");
  permitted_ = flags;
  // Only our own broker offers exactly this. A later version of libfuse's helper is spoken to in version 1.
  const auto version = maximum == protocol::kPrivateVersion ? maximum : protocol::kVersion1;
  TRY(say(protocol::HelloReply{.version = version}));
  phases_.choose(version);

  TRY(file, receive_file(protocol::kArgumentsName));
  TRY(arguments, protocol::read_argument_file(file.get()));
  TRY(device, receive_file(protocol::kFuseDeviceName));
  TRY(check_fuse_device(device.get()));
  return Gifts{std::move(arguments), std::move(device)};
}

Result<UniqueFd> Control::ask_for_file(const std::string& path, int flags) {
  protocol::OpenFile request;
  request.open_flags = static_cast<std::uint32_t>(flags);
  request.path.value = path;
  TRY(say(request));
  return receive_file(path);
}

/// Only our own broker gives a source twice. That it does not is no reason not to serve.
Result<UniqueFd> Control::open_direct(const std::string& path, bool write, int buffered) {
  if (!private_version()) return UniqueFd{};
  auto file = ask_for_file(path, (write ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (!file) {
    if (file.error().code.category() == std::generic_category()) return UniqueFd{};
    return file;
  }
  TRY(check_source(file->get(), write));
  TRY(check_direct(file->get(), buffered));
  return file;
}

Result<SourceFile> Control::open_source(const std::string& path, bool write, bool fall_back) {
  const Deadline deadline = soon();
  while (true) {
    auto file = ask_for_file(path, write ? O_RDWR : O_RDONLY);
    if (file) {
      TRY(check_source(file->get(), write));
      TRY(direct, open_direct(path, write, file->get()));
      channel_.refuse_descriptors();
      return SourceFile{*std::move(file), std::move(direct)};
    }
    if (file.error().code.category() != std::generic_category()) return std::move(file).error();
    const int number = file.error().code.value();
    if (write && fall_back && (number == EPERM || number == EACCES || number == EROFS)) {
      write = false;
    } else if (number != EBUSY || std::chrono::steady_clock::now() >= deadline) {
      return errno_error(number, "cannot open");
    } else {
      std::this_thread::sleep_for(kBusyPause);
    }
  }
}

Result<void> Control::state_facts(const protocol::Facts& facts) {
  if (!private_version()) return {};
  protocol::Facts bounded = facts;
  bounded.label = prose(std::move(bounded.label.value));
  bounded.journal = prose(std::move(bounded.journal.value));
  return say(bounded);
}

Result<void> Control::note(std::uint32_t level, std::string text) {
  return private_version() ? say(protocol::Note{level, prose(std::move(text))}) : Result<void>{};
}

Result<void> Control::mount(const MountRequest& request) {
  TRY(ask(protocol::SetType{request.block ? protocol::kTypeBlock : 0}));
  TRY(ask(protocol::SetName{{request.name}}));
  TRY(ask(protocol::SetMountPoint{S_IFDIR, 0, {request.mount_point}}));
  if (!request.options.empty()) TRY(ask(protocol::SetOptions{{request.options}}));
  if (!request.table_options.empty()) TRY(ask(protocol::SetTableOptions{{request.table_options}}));
  return ask(protocol::DoMount{request.flags});
}

Result<void> Control::await_attached() {
  if (!private_version()) return {};
  TRY(say(protocol::Ready{}));
  TRY(attached, hear<protocol::Attached>(soon()));
  return {};
}

Result<void> Control::announce_serving() {
  if (private_version()) return say(protocol::Serving{});
  return say(protocol::Goodbye{0});
}

void Control::announce_closed(std::uint32_t exit_code) noexcept {
  if (!private_version()) return;
  // A supervisor that has gone is no fault: the volume is what it is.
  if (const auto said = say(protocol::Goodbye{exit_code}); !said && said.error().code != Violation::closed) {
    protocol::log(protocol::Severity::warning, "goodbye: " + said.error().message());
  }
}

void Control::refuse(std::uint32_t exit_class, std::string reason) noexcept {
  const Phase phase = phases_.phase();
  if (phases_.pending() != nullptr || phase < Phase::opening) return;
  (void)(private_version() ? say(protocol::Refusal{exit_class, prose(std::move(reason))})
                           : say(protocol::Goodbye{exit_class}));
}

}  // namespace worker
