#include "tests/worker/sandbox/bpf_evaluator.h"

#include <array>
#include <cstring>

namespace testing_support {
namespace {

/// The registers and scratch memory of one run.
struct Machine {
  std::uint32_t accumulator = 0, index = 0;
  std::array<std::uint32_t, BPF_MEMWORDS> memory{};

  std::uint32_t operand(const sock_filter& step) const { return BPF_SRC(step.code) == BPF_X ? index : step.k; }

  bool compute(const sock_filter& step) {
    const std::uint32_t value = operand(step);
    switch (BPF_OP(step.code)) {
      case BPF_AND:
        accumulator &= value;
        return true;
      case BPF_OR:
        accumulator |= value;
        return true;
      case BPF_XOR:
        accumulator ^= value;
        return true;
      case BPF_ADD:
        accumulator += value;
        return true;
      case BPF_SUB:
        accumulator -= value;
        return true;
      case BPF_LSH:
        accumulator <<= value & 31;
        return true;
      case BPF_RSH:
        accumulator >>= value & 31;
        return true;
      default:
        return false;
    }
  }

  std::optional<bool> compare(const sock_filter& step) const {
    const std::uint32_t value = operand(step);
    switch (BPF_OP(step.code)) {
      case BPF_JEQ:
        return accumulator == value;
      case BPF_JGT:
        return accumulator > value;
      case BPF_JGE:
        return accumulator >= value;
      case BPF_JSET:
        return (accumulator & value) != 0;
      default:
        return std::nullopt;
    }
  }
};

}  // namespace

std::optional<std::uint32_t> evaluate(std::span<const sock_filter> program, const seccomp_data& call) {
  Machine machine;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    switch (BPF_CLASS(step.code)) {
      case BPF_LD:
        if (step.code == (BPF_LD | BPF_W | BPF_ABS)) {
          if (step.k % 4 != 0 || step.k + 4 > sizeof call) return std::nullopt;
          std::memcpy(&machine.accumulator, reinterpret_cast<const char*>(&call) + step.k, 4);
        } else if (BPF_MODE(step.code) == BPF_MEM && step.k < BPF_MEMWORDS) {
          machine.accumulator = machine.memory[step.k];
        } else {
          return std::nullopt;
        }
        break;
      case BPF_ST:
        if (step.k >= BPF_MEMWORDS) return std::nullopt;
        machine.memory[step.k] = machine.accumulator;
        break;
      case BPF_ALU:
        if (!machine.compute(step)) return std::nullopt;
        break;
      case BPF_JMP:
        if (BPF_OP(step.code) == BPF_JA) {
          at += step.k;
        } else if (const auto taken = machine.compare(step)) {
          at += *taken ? step.jt : step.jf;
        } else {
          return std::nullopt;
        }
        break;
      case BPF_RET:
        return BPF_RVAL(step.code) == BPF_A ? machine.accumulator : step.k;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace testing_support
