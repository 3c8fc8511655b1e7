// A volume in memory that counts, records, and fails when told to.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "worker/disk/block_device.h"

namespace tests {

/// Any thread. What was written is readable at once; `records` keeps writes and flushes in the order of their arrival.
class FakeDevice final : public worker::disk::BlockDevice {
 public:
  enum class Kind { read, write, flush, discard };
  struct Record {
    Kind kind;
    worker::disk::ByteOffset offset = 0;
    std::uint64_t length = 0;
    std::vector<std::byte> bytes = {};  ///< of a write, if keep_bytes is set
  };

  explicit FakeDevice(std::size_t size) : bytes_(size) {}
  explicit FakeDevice(std::vector<std::byte> bytes) : bytes_{std::move(bytes)} {}
  /// A copy of a file's contents.
  static std::vector<std::byte> contents_of(const std::string& path) {
    std::vector<std::byte> bytes(std::filesystem::file_size(path));
    std::ifstream{path, std::ios::binary}.read(reinterpret_cast<char*>(bytes.data()),
                                               static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }
  void save(const std::string& path) const {
    std::ofstream file{path, std::ios::binary};
    file.write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
  }

  /// From the k-th call of this kind on (0: the next), counted from now, calls fail with `error`; `once`: only that
  /// one.
  void fail(Kind kind, std::size_t k, int error = EIO, bool once = false) {
    const std::lock_guard lock{mutex_};
    faults_[index(kind)] = Fault{counts_[index(kind)] + k, error, once};
  }
  void heal() {
    const std::lock_guard lock{mutex_};
    for (auto& fault : faults_) fault.reset();
  }
  std::size_t count(Kind kind) const {
    const std::lock_guard lock{mutex_};
    return counts_[index(kind)];
  }
  std::vector<Record> records() const {
    const std::lock_guard lock{mutex_};
    return records_;
  }
  void forget_records() {
    const std::lock_guard lock{mutex_};
    records_.clear();
  }
  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

  bool is_read_only = false;
  bool keep_bytes = false;

  worker::disk::Result<void> read(worker::disk::ByteOffset offset, std::span<std::byte> into) override {
    const std::lock_guard lock{mutex_};
    TRY(enter({Kind::read, offset, into.size()}));
    std::memcpy(into.data(), bytes_.data() + offset, into.size());
    return {};
  }
  worker::disk::Result<void> write(worker::disk::ByteOffset offset, std::span<const std::byte> from) override {
    const std::lock_guard lock{mutex_};
    if (is_read_only) return protocol::errno_error(EROFS);
    TRY(enter({Kind::write, offset, from.size(),
               keep_bytes ? std::vector<std::byte>{from.begin(), from.end()} : std::vector<std::byte>{}}));
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    return {};
  }
  worker::disk::Result<void> flush() override {
    const std::lock_guard lock{mutex_};
    return enter({Kind::flush});
  }
  worker::disk::Result<void> discard(worker::disk::ByteOffset offset, std::uint64_t length) override {
    const std::lock_guard lock{mutex_};
    return enter({Kind::discard, offset, length});
  }
  std::uint64_t size() const noexcept override { return bytes_.size(); }
  bool read_only() const noexcept override { return is_read_only; }

 private:
  struct Fault {
    std::size_t from;
    int error;
    bool once;
  };
  static std::size_t index(Kind kind) noexcept { return static_cast<std::size_t>(kind); }

  worker::disk::Result<void> enter(Record record) {
    const std::size_t kind = index(record.kind);
    const std::size_t number = counts_[kind]++;
    if (record.offset > bytes_.size() || record.length > bytes_.size() - record.offset)
      return protocol::errno_error(EIO, "behind the end");
    if (const auto& fault = faults_[kind]; fault && (fault->once ? number == fault->from : number >= fault->from))
      return protocol::errno_error(fault->error, "injected");
    if (record.kind != Kind::read) records_.push_back(std::move(record));
    return {};
  }

  mutable std::mutex mutex_;
  std::vector<std::byte> bytes_;
  std::vector<Record> records_;
  std::size_t counts_[4] = {};
  std::optional<Fault> faults_[4];
};

}  // namespace tests
