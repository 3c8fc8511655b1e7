#include "tests/support/test_image.h"

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace test {

std::string shell(const std::string& command, int* status) {
  FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "re");
  if (!pipe) throw std::runtime_error{"popen"};
  std::string output;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, got);
  const int result = ::pclose(pipe);
  if (status) *status = WIFEXITED(result) ? WEXITSTATUS(result) : 128;
  return output;
}

TestImage::TestImage(const std::string& options, const std::string& size) {
  char name[] = "/var/tmp/ext4box-test-XXXXXX";
  if (!::mkdtemp(name)) throw std::runtime_error{"mkdtemp"};
  folder_ = name;
  int status = 0;
  const std::string output = shell("mke2fs -q -F " + options + " " + path().string() + " " + size, &status);
  if (status != 0) {
    std::filesystem::remove_all(folder_);
    throw std::runtime_error{"mke2fs: " + output};
  }
}

TestImage::~TestImage() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string TestImage::complaints() const {
  int status = 0;
  std::string output = shell("e2fsck -fn " + path().string(), &status);
  return status == 0 ? std::string{} : output;
}

std::string TestImage::debugfs(const std::string& command) const {
  return shell("debugfs -R '" + command + "' " + path().string() + " 2>/dev/null");
}

}  // namespace test
