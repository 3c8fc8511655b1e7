#include "worker/volume/mmp.h"

#include <endian.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "protocol/log.h"
#include "worker/disk/crc32c.h"

namespace worker::volume {
namespace {

using protocol::errno_error;

constexpr std::uint32_t kMagic = EXT4_MMP_MAGIC;
/// Seconds. A holder updates at least twice in the time that others watch.
constexpr std::uint32_t kLeastCheck = 5;
constexpr std::uint32_t kMostCheck = 300;
/// The broker is not to take us for dead, and takes no great number of lines.
constexpr std::uint32_t kTellEvery = 15;
static_assert(sizeof(mmp_struct) == 1024);

std::uint32_t random_sequence() {
  // Different from what another host picks at the same moment; nobody has to be unable to guess it.
  std::minstd_rand random{static_cast<unsigned>(std::chrono::steady_clock::now().time_since_epoch().count() ^
                                                std::chrono::system_clock::now().time_since_epoch().count())};
  random.discard(3);
  return 1 + static_cast<std::uint32_t>((std::uint64_t{random()} << 31 ^ random()) % EXT4_MMP_SEQ_MAX);
}

template <std::size_t size>
std::string text_of(const __u8 (&field)[size]) {
  const auto* start = reinterpret_cast<const char*>(field);
  return {start, strnlen(start, size)};
}

template <std::size_t size>
void put_text(__u8 (&field)[size], std::string_view text) {
  std::memset(field, 0, size);
  std::memcpy(field, text.data(), std::min(size, text.size()));
}

std::uint32_t checksum_seed(const ext2_super_block& super) {
  if ((super.s_feature_incompat & EXT4_FEATURE_INCOMPAT_CSUM_SEED) != 0) return super.s_checksum_seed;
  return disk::crc32c(~0U, std::as_bytes(std::span{super.s_uuid}));
}

/// How long the holder of a block that is updated every so many seconds may be silent.
std::uint32_t check_seconds(std::uint32_t update_seconds) {
  return std::clamp(2 * update_seconds, kLeastCheck, kMostCheck);
}

}  // namespace

Mmp::Mmp(disk::BlockDevice& device, const ext2_super_block& super)
    : device_{device},
      block_size_{static_cast<std::uint32_t>(EXT2_MIN_BLOCK_SIZE) << super.s_log_block_size},
      place_{super.s_mmp_block * block_size_},
      summed_{(super.s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM) != 0},
      seed_{checksum_seed(super)},
      update_seconds_{std::clamp<std::uint16_t>(super.s_mmp_update_interval, 1, EXT4_MMP_MAX_UPDATE_INTERVAL)},
      sleep_{[](std::chrono::seconds time) { std::this_thread::sleep_for(time); }},
      buffer_(block_size_) {
  // A block outside the volume, or over the superblock, is caught as what it is: not an MMP block.
  const std::uint64_t blocks = device.size() / block_size_;
  if (super.s_mmp_block <= super.s_first_data_block || super.s_mmp_block >= blocks) place_ = 0;
}

std::uint32_t Mmp::checksum(const mmp_struct& block) const noexcept {
  const auto bytes = std::as_bytes(std::span{&block, 1});
  return disk::crc32c(seed_, bytes.first(offsetof(mmp_struct, mmp_checksum)));
}

Result<mmp_struct> Mmp::read() {
  if (place_ == 0) return errno_error(EUCLEAN, "MMP block outside the volume");
  TRY(device_.read_past_cache(place_, buffer_));
  mmp_struct block{};
  std::memcpy(&block, buffer_.data(), sizeof block);
  const bool sound = le32toh(block.mmp_magic) == kMagic && (!summed_ || le32toh(block.mmp_checksum) == checksum(block));
  if (!sound) return errno_error(EUCLEAN, "MMP block");
  return block;
}

Result<void> Mmp::write(std::uint32_t sequence) {
  mmp_struct block{};
  std::memcpy(&block, buffer_.data(), sizeof block);
  block.mmp_seq = htole32(sequence);
  block.mmp_time = htole64(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()));
  // The sandbox has no name but its own: what a person looks for is the program.
  put_text(block.mmp_nodename, "ext4box");
  put_text(block.mmp_bdevname, {});
  block.mmp_check_interval = htole16(static_cast<std::uint16_t>(check_seconds(update_seconds_)));
  if (summed_) block.mmp_checksum = htole32(checksum(block));
  std::memcpy(buffer_.data(), &block, sizeof block);
  TRY(device_.write(place_, buffer_));
  return device_.flush();
}

std::uint32_t Mmp::wait_seconds(const mmp_struct& block) const noexcept {
  const std::uint32_t check =
      std::max<std::uint32_t>({update_seconds_, le16toh(block.mmp_check_interval), kLeastCheck});
  return std::min({2 * check + 1, check + 60, kMostCheck + 60});
}

Error Mmp::in_use(const mmp_struct& block) const {
  const std::string device = text_of(block.mmp_bdevname);
  return errno_error(EBUSY, "multiple mount protection: the volume is in use by " + text_of(block.mmp_nodename) +
                                (device.empty() ? "" : " as " + device));
}

Result<void> Mmp::check(const Tell& tell) {
  const std::lock_guard lock{mutex_};
  TRY(first, read());
  sequence_ = le32toh(first.mmp_seq);
  if (sequence_ == EXT4_MMP_SEQ_FSCK)
    return errno_error(EBUSY,
                       "multiple mount protection: e2fsck is at work, or was interrupted (tune2fs -f -E clear_mmp)");
  waited_ = sequence_ == EXT4_MMP_SEQ_CLEAN ? 0 : wait_seconds(first);
  for (std::uint32_t second = 0; second < waited_; ++second) {
    if (tell && second % kTellEvery == 0)
      tell("multiple mount protection: " + text_of(first.mmp_nodename) + " did not unmount the volume; watching for " +
           std::to_string(waited_ - second) + " s whether it uses it");
    sleep_(std::chrono::seconds{1});
    TRY(now, read());
    if (le32toh(now.mmp_seq) != sequence_) return in_use(now);
  }
  checked_ = true;
  return {};
}

Result<void> Mmp::claim() {
  if (!checked_) TRY(check({}));
  const std::lock_guard lock{mutex_};
  checked_ = false;  // what was seen is true for once
  TRY(before, read());
  if (le32toh(before.mmp_seq) != sequence_) return in_use(before);
  sequence_ = random_sequence();
  TRY(write(sequence_));
  // Another one that watched as we did may have written at the same time: the last number to arrive wins. It looked
  // just before it wrote, so that this cannot be long ago.
  if (waited_ > 0) sleep_(std::chrono::seconds{kLeastCheck});
  TRY(after, read());
  if (le32toh(after.mmp_seq) != sequence_) return in_use(after);
  owned_ = true;
  complained_ = false;
  written_ = std::chrono::steady_clock::now();
  return {};
}

Result<void> Mmp::refresh() {
  TRY(block, read());
  if (le32toh(block.mmp_seq) != sequence_) return in_use(block);
  const std::uint32_t next = sequence_ >= EXT4_MMP_SEQ_MAX ? 1 : sequence_ + 1;
  TRY(write(next));
  sequence_ = next;
  return {};
}

Result<void> Mmp::update() {
  const std::lock_guard lock{mutex_};
  if (!owned_) return {};
  auto outcome = refresh();
  const auto now = std::chrono::steady_clock::now();
  if (outcome.ok()) {
    written_ = now;
    return outcome;
  }
  const bool foreign = outcome.error().code == std::errc::device_or_resource_busy;
  if (foreign || now - written_ >= std::chrono::seconds{check_seconds(update_seconds_)}) {
    owned_ = false;
    return outcome;
  }
  if (!complained_) protocol::log(protocol::Severity::warning, "MMP block: " + outcome.error().message());
  complained_ = true;
  return {};
}

Result<void> Mmp::release() {
  const std::lock_guard lock{mutex_};
  if (!owned_) return {};
  owned_ = false;
  TRY(block, read());
  if (le32toh(block.mmp_seq) != sequence_) return in_use(block);
  return write(EXT4_MMP_SEQ_CLEAN);
}

}  // namespace worker::volume
