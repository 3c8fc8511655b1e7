#include "broker/state_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "broker/process.h"

namespace broker {
namespace {

using protocol::last_error;

constexpr unsigned kMostSlots = 4096;
constexpr std::size_t kLargestState = 64 << 10;
constexpr std::string_view kOutcome = "outcome=";

/// The one list of what is stored: encoder and decoder walk it.
void each_field(auto& state, auto&& visit) {
  visit("source", state.source);
  visit("mount_point", state.mount_point);
  visit("type", state.type);
  visit("read_only", state.read_only);
  visit("mode", state.mode);
  visit("way", state.way);
  visit("journal", state.journal);
  visit("loop_device", state.loop_device);
  visit("block", state.block);
  visit("worker_pid", state.worker_pid);
  visit("worker_start_time", state.worker_start_time);
  visit("supervisor_pid", state.supervisor_pid);
  visit("worker_uid", state.worker_uid);
  visit("mount_device", state.identity.device);
  visit("mount_id", state.identity.unique_id);
  visit("mount_source", state.identity.source);
  visit("mount_backing", state.identity.backing);
  visit("range_device", state.range.device);
  visit("range_inode", state.range.inode);
  visit("range_offset", state.range.window.offset);
  visit("range_length", state.range.window.length);
}

std::string escape_value(const std::string& text) {
  std::string line;
  for (const char c : text) line += c == '\\' ? "\\\\" : c == '\n' ? "\\n" : std::string{c};
  return line;
}

std::string unescape_value(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 1 < text.size();
    if (escaped) ++i;
    plain += escaped && text[i] == 'n' ? '\n' : text[i];
  }
  return plain;
}

bool read_value(std::string_view text, std::string& value) {
  value = unescape_value(text);
  return true;
}
bool read_value(std::string_view text, bool& value) {
  value = text == "1";
  return text == "1" || text == "0";
}
template <typename Number>
bool read_value(std::string_view text, Number& value) {
  const auto number = parse_number<Number>(text);
  value = number.value_or(0);
  return number.has_value();
}

std::string slot_path(unsigned slot) { return state_directory() + "/" + std::to_string(slot) + ".mount"; }
std::string lock_path() { return state_directory() + "/slots"; }

struct flock slot_lock(unsigned slot) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot;
  lock.l_len = 1;
  return lock;
}

std::string contents(int file) {
  std::string text(kLargestState, '\0');
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

/// A state file that only root can have written, whose worker lives or whose broker is still at it.
std::optional<OpenState> read_state(const std::filesystem::path& path) {
  OpenState found;
  if (path.extension() != ".mount" || !read_value(path.stem().native(), found.slot)) return std::nullopt;
  found.file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat owner {};
  if (!found.file || ::fstat(found.file.get(), &owner) != 0 || owner.st_uid != 0 || (owner.st_mode & 022) != 0)
    return std::nullopt;
  auto state = decode_state(contents(found.file.get()));
  if (!state) return std::nullopt;
  found.state = std::move(*state);
  const pid_t worker = found.state.worker_pid;
  const std::uint64_t started = found.state.worker_start_time;
  const bool believed = worker == 0 ? found.supervised() : started != 0 && process_start_time(worker) == started;
  if (!believed) return std::nullopt;
  return found;
}

std::vector<OpenState> read_states() {
  std::vector<OpenState> states;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator{state_directory(), none})
    if (auto state = read_state(entry.path())) states.push_back(std::move(*state));
  std::sort(states.begin(), states.end(), [](const OpenState& a, const OpenState& b) { return a.slot < b.slot; });
  return states;
}

}  // namespace

std::string state_directory() {
  // secure_getenv: a caller of a program with raised privileges has no say here.
  const char* moved = ::secure_getenv("EXT4BOX_RUN_DIR");
  return moved && *moved ? moved : "/run/ext4box";
}

Result<StateFile> StateFile::claim() {
  if (::mkdir(state_directory().c_str(), 0755) != 0 && errno != EEXIST) return last_error(state_directory());
  StateFile state;
  state.lock_.reset(::open(lock_path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!state.lock_) return last_error(lock_path());
  for (; state.slot_ < kMostSlots; ++state.slot_) {
    struct flock lock = slot_lock(state.slot_);
    if (::fcntl(state.lock_.get(), F_OFD_SETLK, &lock) == 0) {
      // The mount of a supervisor that was killed may go on; then its slot, and so its worker's uid, is still in use.
      if (const auto left = read_state(slot_path(state.slot_)); left && left->state.worker_pid != 0) {
        lock.l_type = F_UNLCK;
        ::fcntl(state.lock_.get(), F_OFD_SETLK, &lock);
        continue;
      }
      ::unlink(slot_path(state.slot_).c_str());
      return state;
    }
    if (errno != EAGAIN && errno != EACCES) return last_error(lock_path());
  }
  return protocol::errno_error(EUSERS, "too many mounts");
}

Result<UniqueFd> StateFile::gate(std::chrono::steady_clock::time_point deadline, int interrupt) {
  UniqueFd gate{::open(lock_path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (!gate) return last_error(lock_path());
  struct flock lock = slot_lock(kMostSlots);
  while (::fcntl(gate.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return last_error(lock_path());
    if (std::chrono::steady_clock::now() >= deadline)
      return protocol::errno_error(EBUSY, "in use: another mount is being made");
    if (wait_until_readable(interrupt, std::chrono::milliseconds{2})) return protocol::errno_error(EINTR);
  }
  return gate;
}

Result<void> StateFile::publish(const MountState& state) {
  const std::string text = encode_state(state), path = slot_path(slot_), fresh = path + ".new";
  ::unlink(fresh.c_str());
  UniqueFd file{::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644)};
  if (!file || ::fchmod(file.get(), 0644) != 0) return last_error(fresh);
  if (text.size() >= kLargestState) return protocol::errno_error(ENAMETOOLONG, fresh);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return last_error(fresh);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return last_error(path);
  file_ = std::move(file);
  return {};
}

void StateFile::finish(const std::string& outcome) {
  if (!file_) return;
  const std::string line = std::string{kOutcome} + escape_value(outcome) + "\n";
  (void)!::write(file_.get(), line.data(), line.size());
  ::unlink(slot_path(slot_).c_str());
  file_.reset();
}

std::optional<std::string> OpenState::outcome() const {
  const std::string text = contents(file.get());
  const auto at = text.rfind("\n" + std::string{kOutcome});
  if (at == text.npos || text.back() != '\n') return std::nullopt;
  return unescape_value(
      std::string_view{text}.substr(at + 1 + kOutcome.size(), text.size() - at - 2 - kOutcome.size()));
}

bool OpenState::supervised() const {
  const UniqueFd locks{::open(lock_path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  struct flock lock = slot_lock(slot);
  return locks && ::fcntl(locks.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

std::vector<MountState> living_mounts(Visibility visibility) {
  std::vector<MountState> living;
  for (OpenState& open : read_states())
    if (visibility == Visibility::anywhere || !mounts_of(open.state.identity).empty())
      living.push_back(std::move(open.state));
  return living;
}

std::optional<OpenState> find_state(const MountIdentity& identity) {
  for (OpenState& open : read_states())
    if (open.state.identity.device == identity.device && open.state.identity.source == identity.source &&
        (open.state.identity.backing == 0 || superblock_exists(open.state.identity, open.state.block)))
      return std::move(open);
  return std::nullopt;
}

std::string encode_state(const MountState& state) {
  std::string text;
  each_field(state, [&text](const char* name, const auto& value) {
    text += std::string{name} + "=";
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
      text += escape_value(value);
    } else {
      text += std::to_string(value);
    }
    text += "\n";
  });
  return text;
}

std::optional<MountState> decode_state(std::string_view text) {
  std::map<std::string_view, std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto equals = text.substr(0, end).find('=');
    if (end == text.npos || equals == text.npos) return std::nullopt;
    lines[text.substr(0, equals)] = text.substr(equals + 1, end - equals - 1);
    text.remove_prefix(end + 1);
  }
  MountState state;
  bool sound = true;
  each_field(state, [&](const char* name, auto& value) {
    const auto line = lines.find(name);
    sound = sound && line != lines.end() && read_value(line->second, value);
  });
  if (!sound) return std::nullopt;
  return state;
}

}  // namespace broker
