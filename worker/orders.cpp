#include "worker/orders.h"

#include <sys/mount.h>

#include <string_view>

namespace worker {
namespace {

using protocol::errno_error;

/// Words that are about the kernel's mount, not about the volume. Our own broker keeps them to itself; libfuse's helper
/// passes everything and leaves them to the server.
struct FlagWord {
  std::string_view word;
  std::uint32_t set, clear;
};
constexpr FlagWord kFlagWords[] = {
    {"ro", MS_RDONLY, 0},           {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},       {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},         {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},       {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},     {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},       {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME}, {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME}, {"strictatime", MS_STRICTATIME, 0},
};

void append(std::string& list, std::string_view word) {
  if (!list.empty()) list += ',';
  list += word;
}

void take_words(std::string_view list, Orders& orders) {
  while (!list.empty()) {
    const auto end = std::min(list.find(','), list.size());
    const std::string_view word = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    if (word.empty()) continue;
    append(orders.options, word);
    if (word.starts_with("x-")) append(orders.table_options, word);
    if (word == "rw") orders.must_write = true;
    if (word == "ro") orders.must_write = false;
    for (const FlagWord& known : kFlagWords) {
      if (word == known.word) orders.mount_flags = (orders.mount_flags & ~known.clear) | known.set;
    }
  }
}

Error wrong(std::string what) { return errno_error(EINVAL, std::move(what)); }

}  // namespace

Result<Orders> parse_orders(std::span<const std::string> arguments) {
  if (arguments.empty()) return wrong("no arguments");
  Orders orders;
  orders.type = arguments.front();
  orders.mount_flags = MS_NOSUID | MS_NODEV;
  unsigned paths = 0;
  for (std::size_t at = 1; at < arguments.size(); ++at) {
    const std::string_view argument = arguments[at];
    if (argument == "-o") {
      if (++at == arguments.size()) return wrong("-o without options");
      take_words(arguments[at], orders);
    } else if (argument == "-r") {
      take_words("ro", orders);
    } else if (argument == "-w") {
      take_words("rw", orders);
    } else if (argument.starts_with("-o")) {
      take_words(argument.substr(2), orders);
    } else if (argument.size() > 1 && argument.starts_with('-')) {
      if (argument.find_first_not_of("nsvf", 1) != argument.npos) return wrong("option " + arguments[at]);
    } else if (paths++ == 0) {
      orders.source = argument;
    } else {
      orders.mount_point = argument;
    }
  }
  if (paths != 2) return wrong("a source and a mount point are needed");
  orders.read_only = (orders.mount_flags & MS_RDONLY) != 0;
  return orders;
}

}  // namespace worker
