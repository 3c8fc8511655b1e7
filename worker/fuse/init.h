// FUSE_INIT: what the kernel offers, what we take, and which requests each choice changes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "worker/fuse/kernel_abi.h"

namespace worker::fuse {

/// The largest READ and WRITE, bytes, and with it the payload part of every buffer.
inline constexpr std::uint32_t kMaximumTransfer = 1U << 20;

/// One bit of FUSE_INIT that we take whenever the kernel offers it.
struct Feature {
  std::uint64_t bit;
  std::string_view why;
  /// Requests or replies whose layout or meaning the bit changes in ways that libfuse 3.14 does not know: every one of
  /// them has to be decoded by us (requests.h), or the bit must not be taken.
  std::span<const std::uint32_t> changed_for_us = {};
  /// The same for changes that libfuse knows and passes on to its callbacks.
  std::span<const std::uint32_t> changed_for_library = {};
};

/// All that we ever take.
std::span<const Feature> features() noexcept;

/// What a session agreed on.
struct Negotiated {
  std::uint64_t flags = 0;  ///< FUSE_INIT bits; those above 31 travel in flags2
  std::uint32_t minor = 0;  ///< protocol 7.minor
  std::uint32_t max_readahead = 0;
  std::uint32_t time_granularity = 1;  ///< nanoseconds

  bool has(std::uint64_t bit) const noexcept { return (flags & bit) != 0; }
};

struct InitOptions {
  bool acl = true;                     ///< POSIX ACLs are on: the kernel shall enforce them
  std::uint32_t time_granularity = 1;  ///< nanoseconds; the kernel rounds the times that it keeps itself
};

/// The features out of the kernel's offer. Pure.
Negotiated negotiate(const fuse_init_in& offer, const InitOptions& options) noexcept;

fuse_init_out encode_init(const Negotiated& agreed) noexcept;

}  // namespace worker::fuse
