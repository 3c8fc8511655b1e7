// What the files have to be after each operation of a workload, and which states a crash may leave.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/crash/operation.h"
#include "tests/crash/recorder.h"
#include "tests/crash/tree.h"

namespace crash {

/// Between which versions the files must be after a crash at some moment.
struct Bounds {
  Version durable = 0;                       ///< at least this one
  Version started = 0;                       ///< at most this one
  std::map<InodeNumber, Version> data = {};  ///< fdatasync: contents at least of this one
  bool operator==(const Bounds&) const = default;
};

/// A tree in memory that carries operations out as POSIX says, and remembers every version.
class Model {
 public:
  explicit Model(Tree initial) { versions_.push_back({.tree = std::move(initial)}); }

  Version latest() const noexcept { return versions_.size() - 1; }
  const Tree& tree(Version version) const { return versions_[version].tree; }

  /// 0 if there is no such path in the latest version.
  InodeNumber find(const std::string& path) const;
  /// The directory that a path's last name is in.
  InodeNumber parent(const std::string& path) const;
  const Node* node(InodeNumber inode) const;
  /// Paths of all inodes with this type (S_IF* bits), in the latest version; every name of an inode is one.
  std::vector<std::string> paths(std::uint32_t type) const;

  /// The latest version and what `operation` makes of it become the next version. `made` is the inode number that a
  /// new inode got, `written` how many bytes a write wrote. Only for operations that have succeeded.
  void apply(const Operation& operation, InodeNumber made, std::uint64_t written);
  /// A change of this file's contents failed in the middle: from the next version on nobody knows its size and bytes.
  void lose_track_of(InodeNumber inode);

  /// Empty if `found` is what some version in `bounds` says, else why it is not. Bytes that operations of the range
  /// wrote over in place may be old or new.
  std::string complaint(const Tree& found, const Bounds& bounds) const;

 private:
  struct VersionState {
    Tree tree;
    /// Bytes of one inode that the operation may have changed in place, before or without its metadata.
    InodeNumber inode = 0;
    std::uint64_t first = 0, last = 0;
  };

  Node& change(Tree& tree, InodeNumber inode);
  void drop_link(Tree& tree, InodeNumber inode);
  void add_name(Tree& tree, const std::string& path, InodeNumber inode);
  void remove_name(Tree& tree, const std::string& path);
  void change_data(VersionState& next, const Operation& operation, std::uint64_t written);
  void change_inode(Tree& tree, const Operation& operation, InodeNumber made);
  std::string data_complaint(const Tree& found, Version version, const Bounds& bounds) const;
  bool byte_allowed(InodeNumber inode, std::uint64_t at, char byte, Version from, Version to) const;

  std::vector<VersionState> versions_;
};

/// The directory and the last name of a path.
std::pair<std::string, std::string> split(const std::string& path);

}  // namespace crash
