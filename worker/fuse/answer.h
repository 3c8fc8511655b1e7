// From a Result to exactly one reply. Errnos for the kernel are made here and nowhere else.
#pragma once

#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "worker/fuse/attributes.h"
#include "worker/fuse/request.h"
#include "worker/volume/volume.h"

namespace worker::fuse {

using protocol::errno_error;
using protocol::Error;
using protocol::Result;
using volume::Volume;

/// What read(2) and its kin shall return, 1 to 4095. Errors without an errno of their own are EIO.
int errno_of(const Error& error) noexcept;

/// Replies with the errno; says in the log what a user cannot see in it: damage, device errors, want of memory.
void fail(const Request& request, const Error& error) noexcept;

/// The kernel returns `count` references of an inode: the inode is freed if it was the last and there is no name left.
void give_back(Volume& volume, InodeNumber inode, std::uint64_t count) noexcept;

/// An inode that the reply lends the kernel one reference of.
struct Entry {
  volume::Attributes attributes;
};

/// An open file: a RELEASE will follow if the kernel takes the reply.
struct Opened {
  InodeNumber inode = 0;
  std::uint32_t flags = 0;       ///< open(2)'s
  std::uint32_t open_flags = 0;  ///< FOPEN_*
};

/// A file made or found by CREATE, and open. Lends one reference as well.
struct OpenedEntry {
  volume::Attributes attributes;
  Opened opened;
};

/// Bytes that outlive the reply.
using Bytes = std::span<const std::byte>;

void send(const Request& request, const Entry& entry) noexcept;
void send(const Request& request,
          const std::optional<Entry>& entry) noexcept;  ///< none: no such name, and the kernel may know
void send(const Request& request, const Opened& opened) noexcept;
void send(const Request& request, const OpenedEntry& entry) noexcept;
void send(const Request& request, const volume::Attributes& attributes) noexcept;
inline void send(const Request& request, const std::string& text) noexcept {
  request.reply(std::as_bytes(std::span{text}));
}
inline void send(const Request& request, Bytes bytes) noexcept { request.reply(bytes); }

/// Structures of the wire travel as they are.
template <typename Structure>
requires std::is_trivially_copyable_v<Structure> && std::has_unique_object_representations_v<Structure>
void send(const Request& request, const Structure& structure) noexcept { request.reply_structure(structure); }

/// Runs `work`; memory that cannot be had is an error like others, since nothing was changed yet.
template <typename Work>
auto attempt(Work&& work) noexcept -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error{std::make_error_code(std::errc::not_enough_memory)};
  }
}

/// Runs `work`, which returns a Result of something that send() takes, or of nothing, and replies.
template <typename Work>
void answer(const Request& request, Work&& work) noexcept {
  const auto result = attempt([&] { return work(request.volume()); });
  if (!result.ok()) return fail(request, result.error());
  if constexpr (std::is_same_v<std::remove_cv_t<decltype(result)>, Result<void>>) {
    request.reply_done();
  } else {
    send(request, result.value());
  }
}

}  // namespace worker::fuse
