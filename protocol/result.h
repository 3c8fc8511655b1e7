// How expected failures travel: Result<T>, Error, TRY.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace protocol {

/// Why something failed. `code` says what (errno, libext2fs or protocol category); `detail`, often empty, says what with,
/// in words that fit into one line: "detail: code's message".
struct Error {
  std::error_code code;
  std::string detail = {};

  /// One line without a newline, for people.
  std::string message() const { return detail.empty() ? code.message() : detail + ": " + code.message(); }
};

/// An errno as an Error; `detail` as in Error.
inline Error errno_error(int number, std::string detail = {}) {
  return Error{std::error_code{number, std::generic_category()}, std::move(detail)};
}

/// The calling thread's errno as an Error.
inline Error last_error(std::string detail = {}) { return errno_error(errno, std::move(detail)); }

/// A value or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_{std::in_place_index<0>, std::move(value)} {}
  Result(Error error) : held_{std::in_place_index<1>, std::move(error)} {}

  bool ok() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & { return std::get<0>(held_); }
  const T& value() const& { return std::get<0>(held_); }
  T&& value() && { return std::get<0>(std::move(held_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  const Error& error() const& { return std::get<1>(held_); }
  Error&& error() && { return std::get<1>(std::move(held_)); }

 private:
  std::variant<T, Error> held_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_{std::move(error)} {}

  bool ok() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return ok(); }
  void value() const noexcept {}
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace protocol

// TRY(expression): returns the error of a Result from the enclosing function, else goes on.
// TRY(name, expression): the same, and binds the value to a new variable `name`.
#define EXT4BOX_TRY_PICK(a, b, macro, ...) macro
#define EXT4BOX_TRY_ONLY(expression) \
  if (auto try_result = (expression); !try_result.ok()) return std::move(try_result).error()
#define EXT4BOX_TRY_BIND(name, expression)                              \
  auto name##_or_error = (expression);                                  \
  if (!name##_or_error.ok()) return std::move(name##_or_error).error(); \
  auto name = std::move(name##_or_error).value()
#define TRY(...) EXT4BOX_TRY_PICK(__VA_ARGS__, EXT4BOX_TRY_BIND, EXT4BOX_TRY_ONLY, )(__VA_ARGS__)
