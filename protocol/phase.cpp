#include "protocol/phase.h"

#include "protocol/codec.h"
#include "protocol/errors.h"

namespace protocol {

namespace {

using enum Phase;

/// Up to the mount the worker leads.
constexpr Phases kPreparing = opening | described | typed | named | placed | optioned | tabled;
constexpr auto kBoth = Speaks::both, kOne = Speaks::version1, kOurs = Speaks::private_version;

constexpr PhaseRule kRules[] = {
    // message, sender, version, in which phases, answer, next phase, how often
    {Tag::hello, End::broker, kBoth, just(greeting), Tag::hello_reply, arguments, 1},
    {Tag::file, End::broker, kBoth, just(arguments), Tag::file, fuse_device, 1},
    {Tag::file, End::broker, kBoth, just(fuse_device), Tag::file, opening, 1},

    {Tag::open_file, End::worker, kBoth, just(opening), Tag::file, kStay, kOpens},
    {Tag::open_block_device, End::worker, kBoth, just(opening), Tag::file, kStay, kOpens},
    {Tag::facts, End::worker, kOurs, just(opening), Tag::facts, described, 1},
    {Tag::note, End::worker, kOurs, kPreparing, Tag::note, kStay, kNotes},

    {Tag::set_type, End::worker, kOne, just(opening), Tag::reply, typed, kRetries},
    {Tag::set_type, End::worker, kOurs, just(described), Tag::reply, typed, kRetries},
    {Tag::set_name, End::worker, kBoth, just(typed), Tag::reply, named, kRetries},
    {Tag::set_mount_point, End::worker, kBoth, just(named), Tag::reply, placed, kRetries},
    {Tag::set_options, End::worker, kBoth, just(placed), Tag::reply, optioned, kRetries},
    {Tag::set_table_options, End::worker, kBoth, placed | optioned, Tag::reply, tabled, kRetries},
    {Tag::do_mount, End::worker, kOne, placed | optioned | tabled, Tag::reply, mounted, kRetries},
    {Tag::do_mount, End::worker, kOurs, placed | optioned | tabled, Tag::reply, starting, kRetries},

    {Tag::goodbye, End::worker, kOne, kPreparing | mounted, Tag::goodbye, ended, 1},
    {Tag::ready, End::worker, kOurs, just(starting), Tag::ready, ready, 1},
    {Tag::attached, End::broker, kOurs, just(ready), Tag::attached, attached, 1},
    {Tag::serving, End::worker, kOurs, just(attached), Tag::serving, serving, 1},
    {Tag::refusal, End::worker, kOurs, kPreparing | starting | attached, Tag::refusal, ended, 1},
    {Tag::goodbye, End::worker, kOurs, just(serving), Tag::goodbye, ended, 1},
};

}  // namespace

std::span<const PhaseRule> phase_rules() { return kRules; }

bool PhaseMachine::speaks(Speaks speaks) const noexcept {
  if (speaks == Speaks::both || version_ == 0) return true;
  return (speaks == Speaks::private_version) == (version_ == kPrivateVersion);
}

Result<void> PhaseMachine::take(End sender, Tag tag, std::uint32_t error) {
  static_assert(std::size(kRules) <= kMaximumRules);
  if (pending_ != nullptr) {
    if (sender == pending_->sender || tag != pending_->answer)
      return protocol_error(Violation::out_of_phase, tag_name(tag));
    if (error == 0 && pending_->next != kStay) phase_ = pending_->next;
    pending_ = nullptr;
    return {};
  }
  for (std::size_t i = 0; i < std::size(kRules); ++i) {
    const PhaseRule& rule = kRules[i];
    if (rule.tag != tag || rule.sender != sender || !contains(rule.phases, phase_) || !speaks(rule.version)) continue;
    if (++seen_[i] > rule.limit) return protocol_error(Violation::too_often, tag_name(tag));
    if (rule.answer != tag) {
      pending_ = &rule;
    } else if (rule.next != kStay) {
      phase_ = rule.next;
    }
    return {};
  }
  return protocol_error(Violation::out_of_phase, tag_name(tag));
}

}  // namespace protocol
