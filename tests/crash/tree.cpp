#include "tests/crash/tree.h"

#include <algorithm>

namespace crash {
namespace {

std::string numbers(const char* what, std::uint64_t left, std::uint64_t right) {
  return std::string{what} + ' ' + std::to_string(left) + " against " + std::to_string(right);
}

template <typename Map>
std::string first_difference(const Map& left, const Map& right) {
  for (const auto& [name, value] : left)
    if (const auto found = right.find(name); found == right.end() || found->second != value) return name;
  for (const auto& [name, value] : right)
    if (!left.contains(name)) return name;
  return "";
}

}  // namespace

std::string difference(const Node& left, const Node& right, bool but_data) {
  if (left.mode != right.mode) return numbers("mode", left.mode, right.mode);
  if (left.uid != right.uid) return numbers("uid", left.uid, right.uid);
  if (left.gid != right.gid) return numbers("gid", left.gid, right.gid);
  if (left.links != right.links) return numbers("links", left.links, right.links);
  if (left.device != right.device) return numbers("device", left.device, right.device);
  const bool known = left.known && right.known;
  if (known && left.size != right.size) return numbers("size", left.size, right.size);
  if (left.xattrs != right.xattrs) return "attribute " + first_difference(left.xattrs, right.xattrs);
  if (left.entries != right.entries) return "entry " + first_difference(left.entries, right.entries);
  if (but_data || !known || left.data == right.data) return "";
  const auto [at, there] = std::ranges::mismatch(left.data, right.data);
  return "data at byte " + std::to_string(at - left.data.begin());
}

std::string Tree::differs_from(const Tree& other, bool but_data) const {
  for (const auto& [inode, node] : nodes) {
    const auto found = other.nodes.find(inode);
    const std::string where = "inode " + std::to_string(inode) + ": ";
    if (found == other.nodes.end()) return where + "should not be there";
    if (found->second == node) continue;
    if (const std::string what = difference(*node, *found->second, but_data); !what.empty()) return where + what;
  }
  for (const auto& [inode, node] : other.nodes)
    if (!nodes.contains(inode)) return "inode " + std::to_string(inode) + ": is missing";
  return "";
}

}  // namespace crash
