#include <cstdio>

#include "broker/actions.h"
#include "broker/state_file.h"
#include "protocol/log.h"

namespace broker {
namespace {

/// A state and where the mount table shows it now: it may have been moved, bound elsewhere or remounted.
struct Shown {
  const MountState* state;
  MountEntry entry;
};

/// The length of the UTF-8 sequence at the start of `text`; 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80   ? 1
                             : byte(0) < 0xc2 ? 0
                             : byte(0) < 0xe0 ? 2
                             : byte(0) < 0xf0 ? 3
                             : byte(0) < 0xf5 ? 4
                                              : 0;
  if (length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates and what lies above U+10FFFF show in the second byte.
  if (length >= 3) {
    const unsigned pair = byte(0) << 8 | byte(1);
    if (pair < 0xe0a0 || (pair >= 0xeda0 && pair < 0xee00) || (length == 4 && (pair < 0xf090 || pair >= 0xf490)))
      return 0;
  }
  return length;
}

std::string json_object(const Shown& shown) {
  const MountState& state = *shown.state;
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  return "{\"source\": " + json_string(state.source) + ", \"mountpoint\": " + json_string(shown.entry.mount_point) +
         ", \"type\": " + json_string(state.type) + ", \"kernel_type\": " + json_string(shown.entry.type) +
         ", \"read_only\": " + boolean(shown.entry.read_only()) + ", \"mode\": " + json_string(state.mode) +
         ", \"way\": " + json_string(state.way) + ", \"worker_pid\": " + std::to_string(state.worker_pid) +
         ", \"loop_device\": " + (state.loop_device.empty() ? "null" : json_string(state.loop_device)) +
         ", \"journal\": " + json_string(state.journal) + "}";
}

std::string line(const Shown& shown) {
  const MountState& state = *shown.state;
  return state.source + " on " + shown.entry.mount_point + " type " + shown.entry.type + " (" +
         (shown.entry.read_only() ? "ro" : "rw") + ", " + state.mode + ", " + state.way + ", worker " +
         std::to_string(state.worker_pid) + (state.loop_device.empty() ? "" : ", loop " + state.loop_device) +
         ", journal " + state.journal + ")";
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (first == '"' || first == '\\') {
      json += '\\';
      json += text[0];
    } else if (first < 0x20 || first == 0x7f || length == 0) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", first);
      json += escaped;
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length ? length : 1);
  }
  return json + "\"";
}

int run_status(const MountPlan& plan) {
  std::string wanted;
  if (!plan.mount_point.empty()) {
    auto where = open_mount_point(plan);
    if (!where) return fail(plan, plan.mount_point, where.error(), 32);
    wanted = where->path;
  }
  const auto living = living_mounts();
  std::vector<Shown> all;
  for (const MountState& state : living)
    for (MountEntry& entry : mounts_of(state.identity))
      if (wanted.empty() || entry.mount_point == wanted) all.push_back({&state, std::move(entry)});
  if (plan.json) {
    std::string text = "[";
    for (const Shown& shown : all) text += (text.size() > 1 ? ",\n " : "") + json_object(shown);
    std::printf("%s]\n", text.c_str());
  } else {
    for (const Shown& shown : all) std::printf("%s\n", protocol::escape_controls(line(shown), 1 << 14).c_str());
  }
  if (all.empty() && !wanted.empty()) return fail(plan, plan.mount_point, Error{{}, "not mounted by ext4box"}, 32);
  return std::fflush(stdout) == 0 ? 0 : 4;
}

}  // namespace broker
