#include "protocol/argv_memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "protocol/errors.h"
#include "protocol/wire.h"

namespace protocol {

namespace {

constexpr std::uint32_t kMagic = 0x41524753;  // "ARGS"
constexpr std::size_t kHeaderSize = 8, kEntrySize = 8;
constexpr unsigned kNoExecuteSeal = 0x0008;  // MFD_NOEXEC_SEAL, Linux 6.3
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

Error malformed(const char* what) { return protocol_error(Violation::arguments, what); }

void append(std::vector<std::byte>& file, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) file.push_back(static_cast<std::byte>(value >> shift & 0xff));
}

Result<void> write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) return last_error("arguments");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::vector<std::byte>> encode_arguments(std::span<const std::string> arguments) {
  std::size_t size = kHeaderSize + kEntrySize * arguments.size();
  std::size_t position = size;
  for (const auto& argument : arguments) {
    if (argument.find('\0') != argument.npos) return malformed("a NUL inside an argument");
    size += argument.size() + 1;
    if (size > kMaximumArguments) return errno_error(E2BIG, "arguments");
  }
  if (arguments.empty()) return malformed("no argument");

  std::vector<std::byte> file;
  file.reserve(size);
  append(file, kMagic);
  append(file, static_cast<std::uint32_t>(arguments.size()));
  for (const auto& argument : arguments) {
    append(file, static_cast<std::uint32_t>(position));
    append(file, static_cast<std::uint32_t>(argument.size() + 1));
    position += argument.size() + 1;
  }
  for (const auto& argument : arguments) {
    const auto bytes = std::as_bytes(std::span{argument.c_str(), argument.size() + 1});
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  return file;
}

Result<UniqueFd> make_argument_file(std::span<const std::string> arguments) {
  TRY(file, encode_arguments(arguments));
  UniqueFd writable{::memfd_create("arguments", MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecuteSeal)};
  if (!writable && errno == EINVAL) writable = UniqueFd{::memfd_create("arguments", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!writable) return last_error("memfd_create");
  TRY(write_all(writable.get(), file));
  if (::fcntl(writable.get(), F_ADD_SEALS, kSeals) != 0) return last_error("sealing the arguments");
  UniqueFd readable{::open(("/proc/self/fd/" + std::to_string(writable.get())).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!readable) return last_error("/proc/self/fd");
  return readable;
}

Result<std::vector<std::string>> read_argument_file(int descriptor) {
  struct stat status;
  if (::fstat(descriptor, &status) != 0) return last_error("arguments");
  if (!S_ISREG(status.st_mode)) return malformed("not a memory file");
  if (status.st_size < 0 || static_cast<std::size_t>(status.st_size) > kMaximumArguments) return malformed("too large");
  std::vector<std::byte> file(static_cast<std::size_t>(status.st_size));
  const ssize_t count = ::pread(descriptor, file.data(), file.size(), 0);
  if (count < 0) return last_error("arguments");
  file.resize(static_cast<std::size_t>(count));
  return decode_arguments(file);
}

Result<std::vector<std::string>> decode_arguments(std::span<const std::byte> file) {
  if (file.size() > kMaximumArguments) return malformed("too large");
  Reader header{file};
  if (header.unsigned32() != kMagic) return malformed("no magic");
  const std::size_t count = header.unsigned32();
  if (header.broken() || count == 0) return malformed("no argument");
  if (count > (file.size() - kHeaderSize) / kEntrySize) return malformed("more arguments than fit");

  std::vector<std::string> arguments;
  arguments.reserve(count);
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t position = header.unsigned32();
    const std::size_t length = header.unsigned32();
    if (position > file.size() || length == 0 || length > file.size() - position) return malformed("outside the file");
    if ((total += length) > file.size()) return malformed("longer than the file");
    Reader text{file.subspan(position, length)};
    arguments.push_back(text.text(0, length - 1));
    // Bytes behind an inner NUL would be seen by one reader and not by another.
    if (!text.finished()) return malformed("not ended by its NUL");
  }
  return arguments;
}

}  // namespace protocol
