// One sample of every message, with every field away from its default.
#pragma once

#include "protocol/messages.h"

namespace support {

using namespace protocol;

template <typename Message>
Message sample();

template <>
inline Hello sample() {
  return {1, kPrivateVersion, kHelloAllowOther | kHelloBlock};
}
template <>
inline HelloReply sample() {
  return {kPrivateVersion, {}};
}
template <>
inline File sample() {
  return {13, {"/dev/vdb"}};
}
template <>
inline Reply sample() {
  return {22};
}
template <>
inline OpenFile sample() {
  return {0x82, 0600, kOpenQuiet, 4096, {"disk.img"}};
}
template <>
inline OpenBlockDevice sample() {
  return {2, 1, 0, 512, {"/dev/loop7"}};
}
template <>
inline SetType sample() {
  return {kTypeBlock};
}
template <>
inline SetName sample() {
  return {{"/dev/loop7"}};
}
template <>
inline SetMountPoint sample() {
  return {0x4000, 7, {"/mnt"}};
}
template <>
inline SetOptions sample() {
  return {{"default_permissions,max_read=4096"}};
}
template <>
inline SetTableOptions sample() {
  return {{"x-foo=bar"}};
}
template <>
inline DoMount sample() {
  return {6};
}
template <>
inline Goodbye sample() {
  return {3};
}
template <>
inline Facts sample() {
  return {4096, kFactJournal, {"root\xff"}, {"internal"}};
}
template <>
inline Note sample() {
  return {1, {"was not cleanly unmounted"}};
}
template <>
inline Refusal sample() {
  return {1, {"unknown option"}};
}
template <>
inline Ready sample() {
  return {};
}
template <>
inline Attached sample() {
  return {};
}
template <>
inline Serving sample() {
  return {};
}

/// Calls `visit` with a sample of every alternative of a message set.
template <typename Set, std::size_t index = 0>
void each_sample(auto&& visit) {
  if constexpr (index < std::variant_size_v<Set>) {
    visit(sample<std::variant_alternative_t<index, Set>>());
    each_sample<Set, index + 1>(visit);
  }
}

}  // namespace support
