#include "tests/crash/operation.h"

#include <array>
#include <random>
#include <string_view>

namespace crash {
namespace {

constexpr std::array<std::string_view, 25> kNames{
    "create",      "mkdir",    "mknod", "symlink",    "link",     "unlink",        "rmdir",    "rename", "exchange",
    "write",       "truncate", "punch", "zero_range", "allocate", "allocate_keep", "chmod",    "chown",  "setxattr",
    "removexattr", "setacl",   "open",  "close",      "sync",     "fsync",         "fdatasync"};

}  // namespace

std::string words(const Operation& operation) {
  std::string text{kNames[static_cast<std::size_t>(operation.kind)]};
  if (!operation.path.empty()) text += ' ' + operation.path;
  if (!operation.other.empty()) text += ' ' + operation.other;
  if (operation.offset != 0 || operation.length != 0)
    text += ' ' + std::to_string(operation.offset) + '+' + std::to_string(operation.length);
  return text;
}

std::string pattern(std::uint64_t length, std::uint32_t seed) {
  std::string bytes(length, '\0');
  std::minstd_rand random{seed + 1};
  // Never zero, so that a byte that was never written can be told from one that was.
  for (char& byte : bytes) byte = static_cast<char>((random() >> 8) | 1);
  return bytes;
}

std::string acl_value(AclForm form, std::uint32_t mode) {
  struct Entry {
    std::uint16_t tag, permissions;
    std::uint32_t id;
  };
  constexpr std::uint32_t kNobody = 0xffffffff;
  const auto three_bits = [mode](int shift) { return static_cast<std::uint16_t>(mode >> shift & 7); };
  const Entry entries[] = {{0x01, three_bits(6), kNobody},
                           {0x02, 5, 1000},
                           {0x04, 4, kNobody},
                           {0x10, three_bits(3), kNobody},
                           {0x20, three_bits(0), kNobody}};
  std::string value;
  const auto put = [&](std::uint32_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) value += static_cast<char>(number >> (8 * i));
  };
  put(form == AclForm::request ? 2 : 1, 4);
  for (const Entry& entry : entries) {
    put(entry.tag, 2);
    put(entry.permissions, 2);
    if (form == AclForm::request || entry.id != kNobody) put(entry.id, 4);
  }
  return value;
}

}  // namespace crash
