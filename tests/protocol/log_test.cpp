#include "protocol/log.h"

#include <gtest/gtest.h>

#include <vector>

namespace {

using namespace protocol;

std::vector<std::string> lines;
void remember(Severity severity, std::string_view line) noexcept {
  lines.push_back(std::to_string(static_cast<int>(severity)) + std::string{line});
}

TEST(Log, escapes_whatever_could_make_a_second_line) {
  EXPECT_EQ(escape("a\nb\x1b[31m\\\xff"), "a\\x0ab\\x1b[31m\\\\\\xff");
  EXPECT_EQ(escape_controls("a\n\xc3\xa9"), "a\\x0a\xc3\xa9");
  set_log_sink(remember);
  log(Severity::error, "one\ntwo\r");
  set_log_sink(log_to_standard_error);
  EXPECT_EQ(lines, std::vector<std::string>{"3one\\x0atwo\\x0d"});
}

TEST(Log, cuts_what_is_too_long_and_says_so) {
  EXPECT_EQ(escape(std::string(2000, 'a')).size(), 1024u);
  EXPECT_TRUE(escape(std::string(2000, 'a')).ends_with("..."));
  EXPECT_EQ(escape("abcdef", 6), "abc...");
}

TEST(Log, severities_survive_the_pipe) {
  std::string_view line = "<3>broken";
  EXPECT_EQ(split_severity(line), Severity::error);
  EXPECT_EQ(line, "broken");
  for (std::string_view plain : {"", "<", "<9>x", "x<3>", "<33>"}) {
    const auto before = plain;
    EXPECT_EQ(split_severity(plain), Severity::information);
    EXPECT_EQ(plain, before);
  }
  line = "<0>panic";
  EXPECT_EQ(split_severity(line), Severity::critical);
}

}  // namespace
