#include "protocol/log.h"

#include <unistd.h>

#include <atomic>

namespace protocol {

namespace {

std::atomic<LogSink> current_sink{log_to_standard_error};

std::string escape_where(std::string_view bytes, std::size_t limit, bool keep_high) {
  constexpr std::string_view kEllipsis = "...";
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    std::string piece;
    if (byte == '\\') {
      piece = "\\\\";
    } else if ((byte >= 0x20 && byte < 0x7f) || (keep_high && byte >= 0x80)) {
      piece = c;
    } else {
      piece = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
    if (text.size() + piece.size() + kEllipsis.size() > limit) return text.append(kEllipsis);
    text += piece;
  }
  return text;
}

}  // namespace

void log_to_standard_error(Severity severity, std::string_view line) noexcept {
  std::string text = "<";
  text.append(std::to_string(static_cast<int>(severity))).append(">").append(line).append("\n");
  // Nobody is left to tell when even this fails.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

void set_log_sink(LogSink sink) noexcept { current_sink = sink; }

void log(Severity severity, std::string_view line) noexcept {
  std::string text;
  for (const char c : line) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      text.push_back(c);
    } else {
      text += escape({&c, 1});
    }
  }
  current_sink.load()(severity, text);
}

Severity split_severity(std::string_view& line) noexcept {
  if (line.size() < 3 || line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>')
    return Severity::information;
  const int number = line[1] - '0';
  line.remove_prefix(3);
  return number < 2 ? Severity::critical : static_cast<Severity>(number);
}

std::string escape(std::string_view bytes, std::size_t limit) { return escape_where(bytes, limit, false); }
std::string escape_controls(std::string_view bytes, std::size_t limit) { return escape_where(bytes, limit, true); }

}  // namespace protocol
