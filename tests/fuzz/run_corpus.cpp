// Feeds every file of the folders named on the command line to a fuzz target, so that each corpus is also a test
// and any compiler can build it. With -Dfuzz=true (clang) libFuzzer's own main takes this one's place.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void feed(const std::vector<char>& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& file : std::filesystem::recursive_directory_iterator{argv[i]}) {
      if (!file.is_regular_file()) continue;
      std::ifstream stream{file.path(), std::ios::binary};
      std::vector<char> input{std::istreambuf_iterator<char>{stream}, {}};
      feed(input);
      // The neighbours of a good input find more than the input itself: all its beginnings, and each bit changed.
      const std::size_t searched = std::min<std::size_t>(input.size(), 512);
      for (std::size_t length = 0; length < searched; ++length)
        feed({input.begin(), input.begin() + static_cast<std::ptrdiff_t>(length)});
      for (std::size_t bit = 0; bit < searched * 8; ++bit) {
        input[bit / 8] = static_cast<char>(input[bit / 8] ^ (1 << bit % 8));
        feed(input);
        input[bit / 8] = static_cast<char>(input[bit / 8] ^ (1 << bit % 8));
      }
      ++inputs;
    }
  }
  std::printf("%zu inputs\n", inputs);
  return inputs > 0 ? 0 : 1;
}
