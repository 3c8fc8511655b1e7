#include "worker/disk/home_writer.h"

namespace worker::disk {

Result<void> write_home(BlockDevice& device, std::uint32_t block_size, std::span<const FrozenBlock> blocks) {
  constexpr std::size_t kLongestRun = 1 << 20;
  std::vector<std::byte> run;
  for (std::size_t i = 0; i < blocks.size();) {
    const FrozenBlock& first = blocks[i];
    std::size_t end = i + 1;
    while (end < blocks.size() && blocks[end].kind == first.kind && blocks[end].number == first.number + (end - i) &&
           (end - i + 1) * block_size <= kLongestRun)
      ++end;
    if (end == i + 1) {
      TRY(device.write(first.number * block_size, *first.contents));
    } else {
      run.clear();
      for (std::size_t j = i; j < end; ++j)
        run.insert(run.end(), blocks[j].contents->begin(), blocks[j].contents->end());
      TRY(device.write(first.number * block_size, run));
    }
    i = end;
  }
  return {};
}

Result<void> HomeWriter::commit(const Batch& batch) {
  TRY(write_home(device_, block_size_, batch.blocks));
  return device_.flush();
}

}  // namespace worker::disk
