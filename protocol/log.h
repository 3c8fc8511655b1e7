// Log lines: one per event, with a severity, foreign bytes escaped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace protocol {

/// syslog's numbers.
enum class Severity { critical = 2, error = 3, warning = 4, notice = 5, information = 6, debug = 7 };

/// Where lines go. Called with one line without a newline; must not throw and may be called from any thread.
using LogSink = void (*)(Severity severity, std::string_view line) noexcept;

/// "<N>line" and a newline to standard error, in one write; systemd's journal and our supervisor read the number.
void log_to_standard_error(Severity severity, std::string_view line) noexcept;

/// Sends all later lines to `sink`; the default is log_to_standard_error. Set it before there are threads.
void set_log_sink(LogSink sink) noexcept;

/// One event. Control bytes in `line` are escaped, so that it stays one line whatever it quotes.
void log(Severity severity, std::string_view line) noexcept;

/// Takes "<N>" off the front of a line that log_to_standard_error wrote; a line without it is information.
Severity split_severity(std::string_view& line) noexcept;

/// Printable ASCII stays, a backslash is doubled, every other byte becomes \xNN. What would exceed `limit` bytes of
/// output is cut off, and an ellipsis says so.
std::string escape(std::string_view bytes, std::size_t limit = 1024);

/// The same, but bytes above 0x7f stay: for texts to people that quote file names in their own language.
std::string escape_controls(std::string_view bytes, std::size_t limit = 1024);

}  // namespace protocol
