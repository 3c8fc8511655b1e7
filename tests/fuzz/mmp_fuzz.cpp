// An MMP block that anybody may have written, and superblock fields that lead to it. Input: eight bytes of s_mmp_block,
// two of the interval, then the block itself.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/support/fake_device.h"
#include "worker/volume/mmp.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kBlock = 1024, kBlocks = 8;
  ext2_super_block super{};
  super.s_first_data_block = 1;
  constexpr std::size_t kFields = sizeof super.s_mmp_block + sizeof super.s_mmp_update_interval;
  if (size < kFields) return 0;
  std::memcpy(&super.s_mmp_block, data, sizeof super.s_mmp_block);
  std::memcpy(&super.s_mmp_update_interval, data + sizeof super.s_mmp_block, sizeof super.s_mmp_update_interval);
  std::vector<std::byte> bytes(kBlock * kBlocks);
  const auto* block = reinterpret_cast<const std::byte*>(data) + kFields;
  for (std::size_t at = kBlock; at < bytes.size(); at += kBlock)
    std::copy_n(block, std::min(size - kFields, kBlock), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  tests::FakeDevice device{std::move(bytes)};
  worker::volume::Mmp mmp{device, super};
  std::uint64_t slept = 0;
  mmp.sleep_with([&slept](std::chrono::seconds time) { slept += static_cast<std::uint64_t>(time.count()); });
  if (mmp.check([](const std::string&) {}).ok() && mmp.claim().ok() && mmp.update().ok()) (void)mmp.release();
  if (slept > 400) __builtin_trap();  // however long the block says that others have to wait
  return 0;
}
