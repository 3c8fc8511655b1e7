#include "worker/disk/home_writer.h"

namespace worker::disk {

Result<void> HomeWriter::commit(const std::vector<FrozenBlock>& blocks) {
  constexpr std::size_t kLongestRun = 1 << 20;
  for (std::size_t i = 0; i < blocks.size();) {
    const FrozenBlock& first = blocks[i];
    std::size_t end = i + 1;
    while (end < blocks.size() && blocks[end].kind == first.kind && blocks[end].number == first.number + (end - i) &&
           (end - i + 1) * block_size_ <= kLongestRun)
      ++end;
    if (end == i + 1) {
      TRY(device_.write(first.number * block_size_, *first.contents));
    } else {
      run_.clear();
      for (std::size_t j = i; j < end; ++j)
        run_.insert(run_.end(), blocks[j].contents->begin(), blocks[j].contents->end());
      TRY(device_.write(first.number * block_size_, run_));
    }
    i = end;
  }
  return device_.flush();
}

}  // namespace worker::disk
