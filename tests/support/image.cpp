#include "tests/support/image.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <regex>
#include <sstream>

namespace tests {

Outcome run(const std::string& command) {
  Outcome outcome;
  FILE* pipe = ::popen(("{ " + command + "\n} 2>&1 </dev/null").c_str(), "re");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.output.append(buffer, got);
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

namespace {

std::string must(const std::string& command) {
  Outcome outcome = run(command);
  if (outcome.status == 0) return outcome.output;
  std::fprintf(stderr, "%s: status %d\n%s\n", command.c_str(), outcome.status, outcome.output.c_str());
  std::abort();
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string name = "/var/tmp/ext4box-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Image::Image(const std::string& options, const std::string& size) {
  must("PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F " + options + " '" + path() + "' " + size);
}

std::unique_ptr<worker::disk::FileDevice> Image::open(bool read_only) const {
  protocol::UniqueFd fd{::open(path().c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)};
  auto device = worker::disk::FileDevice::open(std::move(fd));
  if (!device.ok()) std::abort();
  return std::move(device).value();
}

void Image::remove_journal() const {
  must("PATH=$PATH:/usr/sbin:/sbin tune2fs -O ^has_journal '" + path() + "' >/dev/null");
}

void Image::debugfs(const std::string& command) const {
  must("PATH=$PATH:/usr/sbin:/sbin debugfs -w -R '" + command + "' '" + path() + "'");
}

std::string Image::complaints() const {
  const Outcome outcome = run("PATH=$PATH:/usr/sbin:/sbin LC_ALL=C e2fsck -fn '" + path() + "'");
  // Silent means: nothing but the version, the names of the passes and the count at the end.
  static const std::regex kUsual{
      "e2fsck [0-9.]+ .*|Pass [0-9][A-Z]?: .*|[^ ]+: [0-9]+/[0-9]+ files \\([0-9.]+% non-contiguous\\), [0-9]+/[0-9]+ "
      "blocks|"};
  std::string unusual;
  std::istringstream lines{outcome.output};
  for (std::string line; std::getline(lines, line);)
    if (!std::regex_match(line, kUsual)) unusual += line + '\n';
  if (outcome.status != 0) unusual += "e2fsck ended with status " + std::to_string(outcome.status) + '\n';
  return unusual;
}

std::string Image::sha256() const { return must("sha256sum '" + path() + "'").substr(0, 64); }

std::string Image::header(const std::string& name) const {
  std::istringstream lines{must("PATH=$PATH:/usr/sbin:/sbin LC_ALL=C dumpe2fs -h '" + path() + "'")};
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + ":")) continue;
    const std::size_t start = line.find_first_not_of(' ', name.size() + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

}  // namespace tests
