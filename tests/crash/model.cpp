#include "tests/crash/model.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>

namespace crash {

using Kind = Operation::Kind;

std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

InodeNumber Model::find(const std::string& path) const {
  InodeNumber inode = worker::volume::kRootInode;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const Node* directory = node(inode);
    const auto found = directory->entries.find(path.substr(at, end - at));
    if (found == directory->entries.end()) return 0;
    inode = found->second;
    at = end + 1;
  }
  return inode;
}

InodeNumber Model::parent(const std::string& path) const { return find(split(path).first); }

const Node* Model::node(InodeNumber inode) const {
  const auto& nodes = versions_.back().tree.nodes;
  const auto found = nodes.find(inode);
  return found == nodes.end() ? nullptr : found->second.get();
}

std::vector<std::string> Model::paths(std::uint32_t type) const {
  std::vector<std::string> found;
  const std::function<void(InodeNumber, const std::string&)> walk = [&](InodeNumber inode, const std::string& path) {
    const Node& at = *node(inode);
    if ((at.mode & S_IFMT) == type && !path.empty()) found.push_back(path);
    for (const auto& [name, child] : at.entries) walk(child, path.empty() ? name : path + '/' + name);
  };
  walk(worker::volume::kRootInode, "");
  std::erase(found, "lost+found");
  return found;
}

Node& Model::change(Tree& tree, InodeNumber inode) {
  auto copy = std::make_shared<Node>(*tree.nodes.at(inode));
  Node& node = *copy;
  tree.nodes[inode] = std::move(copy);
  return node;
}

void Model::drop_link(Tree& tree, InodeNumber inode) {
  if (--change(tree, inode).links == 0) tree.nodes.erase(inode);
}

void Model::add_name(Tree& tree, const std::string& path, InodeNumber inode) {
  change(tree, parent(path)).entries[split(path).second] = inode;
}

void Model::remove_name(Tree& tree, const std::string& path) {
  change(tree, parent(path)).entries.erase(split(path).second);
}

void Model::apply(const Operation& operation, InodeNumber made, std::uint64_t written) {
  VersionState next{.tree = versions_.back().tree};
  Tree& tree = next.tree;
  const auto is_directory = [&](InodeNumber inode) { return S_ISDIR(node(inode)->mode); };
  switch (operation.kind) {
    case Kind::link:
      add_name(tree, operation.other, made);
      ++change(tree, made).links;
      break;
    case Kind::unlink: {
      const InodeNumber inode = find(operation.path);
      remove_name(tree, operation.path);
      drop_link(tree, inode);
      break;
    }
    case Kind::remove_dir: {
      const InodeNumber inode = find(operation.path);
      remove_name(tree, operation.path);
      tree.nodes.erase(inode);
      --change(tree, parent(operation.path)).links;
      break;
    }
    case Kind::rename: {
      const InodeNumber inode = find(operation.path), replaced = find(operation.other);
      if (replaced == inode) break;  // two names of one file: both stay
      remove_name(tree, operation.path);
      add_name(tree, operation.other, inode);
      if (is_directory(inode)) {
        --change(tree, parent(operation.path)).links;
        if (replaced == 0) ++change(tree, parent(operation.other)).links;
      }
      if (replaced != 0 && is_directory(replaced))
        tree.nodes.erase(replaced);
      else if (replaced != 0)
        drop_link(tree, replaced);
      break;
    }
    case Kind::exchange: {
      const InodeNumber left = find(operation.path), right = find(operation.other);
      add_name(tree, operation.path, right);
      add_name(tree, operation.other, left);
      const auto moved = [&](int links, const std::string& path) {
        change(tree, parent(path)).links += static_cast<std::uint32_t>(links);
      };
      if (is_directory(left) != is_directory(right)) {
        moved(is_directory(left) ? -1 : 1, operation.path);
        moved(is_directory(left) ? 1 : -1, operation.other);
      }
      break;
    }
    case Kind::write:
    case Kind::truncate:
    case Kind::punch:
    case Kind::zero_range:
    case Kind::allocate:
      change_data(next, operation, written);
      break;
    default:
      change_inode(tree, operation, made);
  }
  versions_.push_back(std::move(next));
}

void Model::lose_track_of(InodeNumber inode) {
  VersionState next{.tree = versions_.back().tree, .inode = inode, .last = UINT64_MAX};
  change(next.tree, inode).known = false;
  versions_.push_back(std::move(next));
}

void Model::change_data(VersionState& next, const Operation& operation, std::uint64_t written) {
  next.inode = find(operation.path);
  Node& node = change(next.tree, next.inode);
  const std::uint64_t old_size = node.size, first = operation.offset;
  std::uint64_t last = first + operation.length;
  const auto grow = [&](std::uint64_t size) { node.data.resize(node.size = std::max(node.size, size), '\0'); };
  if (operation.kind == Kind::write) {
    last = first + written;
    grow(last);
    node.data.replace(first, written, pattern(operation.length, operation.seed), 0, written);
    next.first = std::min(first, old_size);
  } else if (operation.kind == Kind::truncate) {
    node.data.resize(node.size = first, '\0');
    next.first = std::min(first, old_size);
    last = std::max(first, old_size);
  } else {
    if (operation.kind != Kind::punch) grow(last);
    last = std::min(last, node.size);
    if (operation.kind != Kind::allocate && last > first)
      std::fill(node.data.begin() + static_cast<std::ptrdiff_t>(first),
                node.data.begin() + static_cast<std::ptrdiff_t>(last), '\0');
    next.first = operation.kind == Kind::allocate ? old_size : first;
  }
  next.last = last;
}

void Model::change_inode(Tree& tree, const Operation& operation, InodeNumber made) {
  const auto add = [&](Node node) {
    tree.nodes[made] = std::make_shared<Node>(std::move(node));
    add_name(tree, operation.path, made);
  };
  switch (operation.kind) {
    case Kind::create:
      return add({.mode = S_IFREG | 0644, .links = 1});
    case Kind::make_dir:
      add({.mode = S_IFDIR | 0755, .links = 2});
      ++change(tree, parent(operation.path)).links;
      return;
    case Kind::make_node:
      return add({.mode = (operation.length == 0 ? S_IFIFO : S_IFCHR) | 0600u,
                  .links = 1,
                  .device = static_cast<std::uint32_t>(operation.length)});
    case Kind::symlink:
      return add({.mode = S_IFLNK | 0777,
                  .links = 1,
                  .size = operation.length,
                  .data = pattern(operation.length, operation.seed)});
    case Kind::change_mode: {
      Node& node = change(tree, find(operation.path));
      node.mode = (node.mode & S_IFMT) | static_cast<std::uint32_t>(operation.length);
      if (const auto acl = node.xattrs.find("system.posix_acl_access"); acl != node.xattrs.end())
        acl->second = acl_value(AclForm::stored, node.mode);
      return;
    }
    case Kind::change_owner: {
      Node& node = change(tree, find(operation.path));
      node.uid = node.gid = static_cast<std::uint32_t>(operation.length);
      return;
    }
    case Kind::set_xattr:
      change(tree, find(operation.path)).xattrs[operation.other] = pattern(operation.length, operation.seed);
      return;
    case Kind::remove_xattr:
      change(tree, find(operation.path)).xattrs.erase(operation.other);
      return;
    case Kind::set_acl: {
      Node& node = change(tree, find(operation.path));
      node.xattrs["system.posix_acl_access"] = acl_value(AclForm::stored);
      node.mode = (node.mode & ~0777u) | kAclMode;
      return;
    }
    default:
      return;  // changes nothing that a tree shows
  }
}

std::string Model::complaint(const Tree& found, const Bounds& bounds) const {
  std::string first;
  // An operation that failed was started, too, but leads nowhere.
  for (Version version = std::min(bounds.started, latest()) + 1; version-- > bounds.durable;) {
    std::string why = found.differs_from(tree(version), true);
    if (why.empty()) why = data_complaint(found, version, bounds);
    if (why.empty()) return "";
    first += "\n  not version " + std::to_string(version) + ": " + why;
  }
  return "no version from " + std::to_string(bounds.durable) + " to " + std::to_string(bounds.started) + first;
}

bool Model::byte_allowed(InodeNumber inode, std::uint64_t at, char byte, Version from, Version to) const {
  for (Version version = from + 1; version <= std::min(to, latest()); ++version) {
    const VersionState& state = versions_[version];
    if (state.inode != inode || at < state.first || at >= state.last) continue;
    const auto node = state.tree.nodes.find(inode);
    if (node == state.tree.nodes.end()) continue;
    if (!node->second->known || byte == (at < node->second->size ? node->second->data[at] : '\0')) return true;
  }
  return false;
}

std::string Model::data_complaint(const Tree& found, Version version, const Bounds& bounds) const {
  for (const auto& [inode, node] : found.nodes) {
    const Node* expected = tree(version).nodes.at(inode).get();
    Version lower = bounds.durable;
    if (const auto synced = bounds.data.find(inode); synced != bounds.data.end() && synced->second > version) {
      // The contents are newer than the rest, and that is a promise.
      const auto& nodes = tree(synced->second).nodes;
      if (const auto newer = nodes.find(inode); newer != nodes.end()) expected = newer->second.get();
      lower = synced->second;
      if (expected->size != node->size)
        return "inode " + std::to_string(inode) + ": size is not what fdatasync promised";
    } else if (synced != bounds.data.end()) {
      lower = std::max(lower, synced->second);
    }
    if (!expected->known || expected->data == node->data) continue;
    for (std::size_t at = 0; at < node->data.size(); ++at)
      if (node->data[at] != expected->data[at] && !byte_allowed(inode, at, node->data[at], lower, bounds.started))
        return "inode " + std::to_string(inode) + ": data at byte " + std::to_string(at);
  }
  return "";
}

}  // namespace crash
