// Whether this is a sanitizer's build, whose runtime needs more address space and more system calls.
#pragma once

namespace worker::sandbox {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace worker::sandbox
