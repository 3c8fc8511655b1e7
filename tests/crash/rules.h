// The rules as a test sees them: all in force, or one off.
#pragma once

#include <string>
#include <vector>

#include "worker/disk/crash_rules.h"

namespace crash {

namespace rule = worker::disk::rule;

struct Rule {
  std::string name;
  bool& in_force;
};

inline const std::vector<Rule>& rules() {
  static const std::vector<Rule> all{
      {"flush_before_commit_block", rule::flush_before_commit_block},
      {"flush_after_commit_block", rule::flush_after_commit_block},
      {"revoke", rule::revoke},
      {"delay_reuse", rule::delay_reuse},
      {"flush_before_tail_update", rule::flush_before_tail_update},
      {"home_writes_after_commit", rule::home_writes_after_commit},
      {"orphan_protection", rule::orphan_protection},
      {"data_before_metadata", rule::data_before_metadata},
  };
  return all;
}

/// Sets rules for as long as it lives, then puts back what was.
class AllRules {
 public:
  AllRules() { set(true); }
  ~AllRules() {
    for (std::size_t i = 0; i < rules().size(); ++i) rules()[i].in_force = before_[i];
  }
  AllRules(const AllRules&) = delete;
  AllRules& operator=(const AllRules&) = delete;

 private:
  void set(bool value) {
    for (const Rule& rule : rules()) {
      before_.push_back(rule.in_force);
      rule.in_force = value;
    }
  }
  std::vector<bool> before_;
};

/// A rule that does not hold while this lives.
class Without {
 public:
  explicit Without(const Rule& rule) : in_force_{rule.in_force} { in_force_ = false; }
  ~Without() { in_force_ = true; }
  Without(const Without&) = delete;
  Without& operator=(const Without&) = delete;

 private:
  bool& in_force_;
};

/// Every recording begins at the same time.
void rewind_clock();

}  // namespace crash
