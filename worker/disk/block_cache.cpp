#include "worker/disk/block_cache.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <tuple>
#include <unordered_map>

#include "worker/disk/logged_blocks.h"

namespace worker::disk {
namespace {

using protocol::errno_error;
using Buffer = std::shared_ptr<std::vector<std::byte>>;

/// A place in a ring; a ring's own head is linked to itself when empty.
struct Link {
  Link* before = this;
  Link* after = this;

  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  bool alone() const noexcept { return after == this; }
  void leave() noexcept {
    before->after = after;
    after->before = before;
    before = after = this;
  }
  void enter_behind(Link& head) noexcept {
    before = &head;
    after = head.after;
    head.after->before = this;
    head.after = this;
  }
};

/// One block and its versions. It lies in the ring of clean blocks exactly if nothing keeps it from being evicted.
struct Block : Link {
  BlockNumber number = 0;
  Contents current;    ///< what everybody sees; null before the first read or commit
  Buffer working;      ///< what the running operation makes of it; null if it did not touch the block
  Contents in_flight;  ///< the version taken by freeze() and not yet settled
  BlockKind kind = BlockKind::allocation;
  BlockKind working_kind = BlockKind::allocation;
  bool dirty = false;      ///< `current` is newer than what freeze() took last and than the device
  bool loading = false;    ///< some thread reads it from the device
  bool forgotten = false;  ///< freed by the running operation, or, while loading, by one that ended
  bool touched = false;    ///< on the operation's list
  bool fresh = false;      ///< created since the last freeze, with nothing in it before
  bool working_fresh = false;
  bool counted_clean = false;
};

}  // namespace

struct BlockCache::State {
  State(BlockDevice& its_device, std::uint32_t its_block_size, std::size_t its_capacity)
      : device{its_device},
        block_size{its_block_size},
        limit{its_device.size() / its_block_size},
        capacity{std::max<std::size_t>(its_capacity, 4)} {}

  BlockDevice& device;
  const std::uint32_t block_size;
  const BlockNumber limit;  ///< first number behind the volume
  const std::size_t capacity;
  const LoggedBlocks* logged = nullptr;

  /// Guards everything below and every Block, but not the bytes of `working`: those belong to the operation's thread.
  std::mutex mutex;
  std::condition_variable loaded;
  std::unordered_map<BlockNumber, Block> blocks;
  Link clean, dirty;  ///< newest first
  std::size_t clean_count = 0, dirty_count = 0;
  std::vector<Block*> touched;
  std::atomic<std::thread::id> operator_thread;

  bool owns_operation() const noexcept {
    return operator_thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

  Block& at(BlockNumber number) {
    const auto [found, absent] = blocks.try_emplace(number);
    if (absent) found->second.number = number;  // read by others without the lock from then on
    return found->second;
  }

  void unlist(Block& block) noexcept {
    if (block.counted_clean) --clean_count;
    block.counted_clean = false;
    block.leave();
  }

  /// Puts a block where its state says, at the front; erases it if nothing is left of it.
  void place(Block& block) {
    unlist(block);
    if (block.working || block.touched) return;
    if (block.dirty) return block.enter_behind(dirty);
    if (block.in_flight || block.loading) return;
    if (!block.current) {
      blocks.erase(block.number);
      return;
    }
    block.enter_behind(clean);
    block.counted_clean = true;
    ++clean_count;
    while (clean_count > capacity) {
      Block& oldest = static_cast<Block&>(*clean.before);
      unlist(oldest);
      blocks.erase(oldest.number);
    }
  }

  void set_dirty(Block& block, bool is) noexcept {
    if (block.dirty == is) return;
    block.dirty = is;
    if (is)
      ++dirty_count;
    else
      --dirty_count;
  }

  void touch(Block& block) {
    if (block.touched) return;
    touched.push_back(&block);
    block.touched = true;
    unlist(block);
  }

  /// Makes `current` of a block present, reading it without the lock. Only one thread reads a block; others wait.
  Result<Block*> load(std::unique_lock<std::mutex>& lock, BlockNumber number) {
    if (number >= limit) return errno_error(EUCLEAN, "block " + std::to_string(number) + " lies outside the volume");
    for (;;) {
      Block& block = at(number);
      if (block.current) return &block;
      if (!block.loading) break;
      loaded.wait(lock);
    }
    Block& block = at(number);  // stays where it is: a loading block is not erased
    block.loading = true;
    lock.unlock();
    auto contents = fetch(number);
    lock.lock();
    if (!contents.ok()) return finish_load(block, nullptr, std::move(contents).error());
    return finish_load(block, std::move(contents).value(), {});
  }

  Result<Contents> fetch(BlockNumber number) {
    if (logged != nullptr) {
      if (Contents newest = logged->find(number)) return newest;
    }
    auto buffer = std::make_shared<std::vector<std::byte>>(block_size);
    TRY(device.read(number * block_size, *buffer));
    return Contents{std::move(buffer)};
  }

  Result<Block*> finish_load(Block& block, Contents contents, Result<void> outcome) {
    block.loading = false;
    // A block created and committed meanwhile has a newer version; one that was freed is not worth keeping.
    if (!block.current && contents && !block.forgotten) block.current = std::move(contents);
    if (!block.touched) block.forgotten = false;
    loaded.notify_all();
    if (block.current) {
      if (!block.dirty) place(block);
      return &block;
    }
    const BlockNumber number = block.number;
    place(block);
    if (!outcome.ok()) return std::move(outcome).error();
    return errno_error(ESTALE, "block " + std::to_string(number) + " was freed while it was read");
  }
};

BlockCache::BlockCache(BlockDevice& device, std::uint32_t block_size, std::size_t capacity)
    : state_{std::make_unique<State>(device, block_size, capacity)} {}
BlockCache::~BlockCache() = default;

std::uint32_t BlockCache::block_size() const noexcept { return state_->block_size; }
BlockDevice& BlockCache::device() noexcept { return state_->device; }
BlockNumber BlockCache::blocks() const noexcept { return state_->limit; }
void BlockCache::read_through(const LoggedBlocks& logged) noexcept { state_->logged = &logged; }

Result<Contents> BlockCache::read(BlockNumber number) {
  std::unique_lock lock{state_->mutex};
  if (auto found = state_->blocks.find(number); found != state_->blocks.end()) {
    Block& block = found->second;
    if (block.working && state_->owns_operation())
      return std::make_shared<const std::vector<std::byte>>(*block.working);
    if (block.current) {
      if (block.counted_clean) state_->place(block);  // used just now: last to be evicted
      return block.current;
    }
  }
  TRY(block, state_->load(lock, number));
  // load() may have evicted others, never the block it returns: it is the newest.
  return block->current;
}

Result<void> BlockCache::read_part(BlockNumber number, std::size_t offset, std::span<std::byte> into) {
  {
    const std::lock_guard lock{state_->mutex};
    const auto found = state_->blocks.find(number);
    if (found != state_->blocks.end() && found->second.working && state_->owns_operation()) {
      std::memcpy(into.data(), found->second.working->data() + offset, into.size());
      return {};
    }
  }
  TRY(contents, read(number));
  std::memcpy(into.data(), contents->data() + offset, into.size());
  return {};
}

void BlockCache::read_ahead(BlockNumber first, std::uint32_t count) {
  constexpr std::uint32_t kMostBytes = 1 << 20;
  if (first >= state_->limit) return;
  count = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      {count, state_->limit - first, kMostBytes / state_->block_size, std::max<std::size_t>(state_->capacity / 4, 1)}));
  std::unique_lock lock{state_->mutex};
  const BlockNumber end = first + count;
  while (first < end) {
    std::vector<Block*> run;
    for (; first < end; ++first) {
      const auto found = state_->blocks.find(first);
      // The log has it at hand: nothing to read ahead.
      const bool absent =
          found == state_->blocks.end() && (state_->logged == nullptr || !state_->logged->find(first));
      if (!absent && run.empty()) continue;
      if (!absent) break;
      Block& block = state_->at(first);
      block.loading = true;
      run.push_back(&block);
    }
    if (run.empty()) return;
    lock.unlock();
    std::vector<std::byte> bytes(run.size() * state_->block_size);
    const bool read = state_->device.read(run.front()->number * state_->block_size, bytes).ok();
    std::vector<Contents> contents(run.size());
    for (std::size_t i = 0; read && i < run.size(); ++i) {
      const auto* start = bytes.data() + i * state_->block_size;
      contents[i] = std::make_shared<const std::vector<std::byte>>(start, start + state_->block_size);
    }
    lock.lock();
    for (std::size_t i = 0; i < run.size(); ++i) (void)state_->finish_load(*run[i], std::move(contents[i]), {});
  }
}

void BlockCache::begin_operation() {
  const std::lock_guard lock{state_->mutex};
  assert(state_->touched.empty() && state_->operator_thread.load() == std::thread::id{});
  state_->operator_thread = std::this_thread::get_id();
}

void BlockCache::commit_operation() {
  const std::lock_guard lock{state_->mutex};
  assert(state_->owns_operation());
  for (Block* block : state_->touched) {
    block->touched = false;
    if (block->forgotten) {
      state_->set_dirty(*block, false);
      block->working.reset();
      block->current.reset();
      if (!block->loading) block->forgotten = false;
    } else if (block->working) {
      block->current = std::move(block->working);
      block->working.reset();
      block->kind = block->working_kind;
      block->fresh = block->working_fresh;
      state_->set_dirty(*block, true);
    }
    state_->place(*block);
  }
  state_->touched.clear();
  state_->operator_thread = std::thread::id{};
}

void BlockCache::roll_back_operation() {
  const std::lock_guard lock{state_->mutex};
  assert(state_->owns_operation());
  for (Block* block : state_->touched) {
    block->touched = false;
    block->forgotten = false;
    block->working.reset();
    state_->place(*block);
  }
  state_->touched.clear();
  state_->operator_thread = std::thread::id{};
}

bool BlockCache::in_operation() const noexcept {
  return state_->operator_thread.load(std::memory_order_relaxed) != std::thread::id{};
}

std::size_t BlockCache::operation_blocks() const noexcept {
  const std::lock_guard lock{state_->mutex};
  return state_->touched.size();
}

Result<std::span<std::byte>> BlockCache::modify(BlockNumber number, BlockKind kind) {
  std::unique_lock lock{state_->mutex};
  assert(state_->owns_operation());
  const auto found = state_->blocks.find(number);
  Block* block = found != state_->blocks.end() && found->second.working ? &found->second : nullptr;
  if (block == nullptr) {
    TRY(present, state_->load(lock, number));
    block = present;
    state_->touch(*block);
    block->working = std::make_shared<std::vector<std::byte>>(*block->current);
    block->working_kind = block->dirty ? block->kind : kind;
    block->working_fresh = block->dirty && block->fresh;
  }
  block->forgotten = false;
  block->working_kind = std::max(block->working_kind, kind);
  return std::span<std::byte>{*block->working};
}

std::span<std::byte> BlockCache::create(BlockNumber number, BlockKind kind) {
  const std::lock_guard lock{state_->mutex};
  assert(state_->owns_operation() && number < state_->limit);
  Block& block = state_->at(number);
  state_->touch(block);
  if (!block.working) {
    block.working = std::make_shared<std::vector<std::byte>>(state_->block_size);
    block.working_kind = block.dirty ? block.kind : kind;
    block.working_fresh = !block.dirty || block.fresh;
  } else {
    std::fill(block.working->begin(), block.working->end(), std::byte{0});
  }
  block.forgotten = false;
  block.working_kind = std::max(block.working_kind, kind);
  return *block.working;
}

void BlockCache::forget(BlockNumber first, std::uint64_t count) {
  const std::lock_guard lock{state_->mutex};
  assert(state_->owns_operation());
  const auto forget_one = [this](Block& block) {
    state_->touch(block);
    block.forgotten = true;
  };
  if (count <= state_->blocks.size()) {
    for (BlockNumber number = first; number < first + count; ++number)
      if (auto found = state_->blocks.find(number); found != state_->blocks.end()) forget_one(found->second);
    return;
  }
  for (auto& [number, block] : state_->blocks)
    if (number >= first && number - first < count) forget_one(block);
}

std::size_t BlockCache::dirty_blocks() const noexcept {
  const std::lock_guard lock{state_->mutex};
  std::size_t count = state_->dirty_count;
  for (const Block* block : state_->touched) {
    if (block->forgotten && block->dirty) --count;
    if (!block->forgotten && block->working && !block->dirty) ++count;
  }
  return count;
}

std::size_t BlockCache::clean_blocks() const noexcept {
  const std::lock_guard lock{state_->mutex};
  return state_->clean_count;
}

std::vector<FrozenBlock> BlockCache::freeze() {
  std::vector<FrozenBlock> frozen, fresh_directories;
  {
    const std::lock_guard lock{state_->mutex};
    assert(!in_operation());
    frozen.reserve(state_->dirty_count);
    while (!state_->dirty.alone()) {
      Block& block = static_cast<Block&>(*state_->dirty.after);
      assert(!block.in_flight);
      const bool apart = block.fresh && block.kind == BlockKind::directory;
      (apart ? fresh_directories : frozen).push_back({block.number, block.kind, block.current});
      block.in_flight = block.current;
      state_->set_dirty(block, false);
      state_->place(block);
    }
  }
  const auto by_kind_and_number = [](const FrozenBlock& a, const FrozenBlock& b) {
    return std::tie(a.kind, a.number) < std::tie(b.kind, b.number);
  };
  std::sort(frozen.begin(), frozen.end(), by_kind_and_number);
  std::sort(fresh_directories.begin(), fresh_directories.end(), by_kind_and_number);
  // A split moves names from an old block to a fresh one: written in this order, no name is ever in neither.
  const auto first = std::partition_point(frozen.begin(), frozen.end(),
                                          [](const FrozenBlock& block) { return block.kind < BlockKind::directory; });
  frozen.insert(first, fresh_directories.begin(), fresh_directories.end());
  return frozen;
}

void BlockCache::settle(const std::vector<FrozenBlock>& frozen, bool written) {
  const std::lock_guard lock{state_->mutex};
  for (const FrozenBlock& one : frozen) {
    const auto found = state_->blocks.find(one.number);
    if (found == state_->blocks.end() || found->second.in_flight != one.contents) continue;
    Block& block = found->second;
    block.in_flight.reset();
    // Without `current` the block was freed meanwhile: nothing is owed any more.
    if (!written && block.current && !block.dirty) {
      block.kind = one.kind;
      state_->set_dirty(block, true);
    }
    state_->place(block);
  }
}

}  // namespace worker::disk
