// Classic BPF, run by hand: what would the filter say of a made-up system call?
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <optional>
#include <span>

namespace testing_support {

/// The verdict (SECCOMP_RET_*) of a seccomp program on a call; nothing if the program is not well-formed.
std::optional<std::uint32_t> evaluate(std::span<const sock_filter> program, const seccomp_data& call);

}  // namespace testing_support
