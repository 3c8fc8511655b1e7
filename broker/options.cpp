#include "broker/options.h"

#include <linux/mount.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>

#include "broker/install_paths.h"
#include "broker/mount_words.h"
#include "broker/text.h"
#include "protocol/log.h"

namespace broker {
namespace {

/// Whose command line is read: ours, or mount(8)'s or umount(8)'s through a link.
enum Form : unsigned { kOwn = 1, kMountLink = 2, kUmountLink = 4 };

Error refuse(std::string why) { return Error{{}, std::move(why)}; }

std::string quoted(std::string_view text) { return "'" + std::string{text} + "'"; }

struct Invocation {
  std::string program;
  Form form = kOwn;
  std::string type = "ext4";
};

std::string_view without_prefix(std::string_view text, std::string_view prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

/// "fuse.ext4", "fuseblk.ext4" and "ext4" are all "ext4"; only one prefix is taken off, as libfuse's helper does.
std::string_view plain_type(std::string_view type) {
  return type.starts_with("fuse.") ? type.substr(5) : without_prefix(type, "fuseblk.");
}

Invocation invocation(std::string_view argv0) {
  const std::string_view base = argv0.substr(argv0.rfind('/') + 1);
  for (const auto& [prefix, form] : {std::pair{"mount.", kMountLink}, std::pair{"umount.", kUmountLink}})
    if (base.starts_with(prefix))
      return {std::string{base}, form, std::string{plain_type(without_prefix(base, prefix))}};
  return {"fuservicemount"};
}

/// Decimal with an optional K, M, G or T, or hexadecimal after 0x. Nothing above the largest file offset.
std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  unsigned shift = 0;
  if (!hexadecimal && !text.empty()) {
    constexpr std::string_view kSuffixes = "KkMmGgTt";
    if (const auto at = kSuffixes.find(text.back()); at != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(at) / 2 + 1);
      text.remove_suffix(1);
    }
  }
  const auto number = parse_number<std::uint64_t>(text, hexadecimal ? 16 : 10);
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!number || *number > kLargest >> shift) return std::nullopt;
  return *number << shift;
}

class Parser {
 public:
  Parser(const Invocation& invocation, bool real_root) : form_{invocation.form} {
    plan_.program = invocation.program;
    plan_.type = invocation.type;
    plan_.mount_attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    plan_.allow_other = real_root;
    if (form_ == kUmountLink) plan_.action = Action::unmount;
  }

  Result<MountPlan> parse(std::span<const char* const> arguments, bool real_root) {
    TRY(read_switches(arguments));
    if (plan_.action == Action::help || plan_.action == Action::version) return std::move(plan_);
    for (const std::string_view list : lists_)
      if (auto applied = apply_list(list, 0); !applied)
        return refuse((positional_.empty() ? "-o" : std::string{positional_[0]}) + ": " + applied.error().detail);
    TRY(place_positionals());
    // mount(8) says `rw` even when its user did not, so through a link it can not mean that falling back is unwelcome.
    if (form_ == kMountLink && plan_.action == Action::mount && plan_.writing == Writing::read_write)
      plan_.writing = Writing::unsaid;
    if (!real_root) plan_.mount_attributes |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    return std::move(plan_);
  }

 private:
  struct Switch {
    char letter;
    std::string_view name;
    unsigned forms;
    bool takes_value;
    Result<void> (*apply)(Parser&, std::string_view);
  };
  static const Switch kSwitches[];

  static Result<void> unsupported_namespace(Parser&, std::string_view) {
    return refuse("-N: mounting into another namespace is not supported; run it there with nsenter(1)");
  }

  template <Action kAction>
  static Result<void> act(Parser& parser, std::string_view) {
    if (parser.plan_.action != Action::mount) return refuse("only one action at a time");
    parser.plan_.action = kAction;
    return {};
  }
  template <auto kMember, auto kValue = true>
  static Result<void> put(Parser& parser, std::string_view) {
    parser.plan_.*kMember = kValue;
    return {};
  }
  template <std::string MountPlan::*kMember>
  static Result<void> text(Parser& parser, std::string_view value) {
    if (value.empty()) return refuse("an empty value makes no sense here");
    parser.plan_.*kMember = value;
    return {};
  }
  static Result<void> ignore(Parser&, std::string_view) { return {}; }
  static Result<void> list(Parser& parser, std::string_view value) {
    parser.lists_.push_back(value);
    return {};
  }
  static Result<void> type(Parser& parser, std::string_view value) {
    const std::string_view plain = plain_type(value);
    const auto odd = [](unsigned char c) { return c <= ' ' || c == '/' || c == 0x7f; };
    if (plain.empty() || plain.size() > 64 || plain[0] == '.' ||
        std::find_if(plain.begin(), plain.end(), odd) != plain.end())
      return refuse(quoted(value) + " is no file system type");
    parser.plan_.type = plain;
    return {};
  }
  static Result<void> timeout(Parser& parser, std::string_view value) {
    const unsigned seconds = parse_number<unsigned>(value).value_or(0);
    if (seconds == 0 || seconds > 86'400) return refuse(quoted(value) + " is not a number of seconds from 1 to 86400");
    parser.plan_.timeout = std::chrono::seconds{seconds};
    return {};
  }

  Result<void> read_switches(std::span<const char* const> arguments) {
    bool switches_ended = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const std::string_view argument = arguments[i];
      if (switches_ended || argument.size() < 2 || argument[0] != '-') {
        positional_.push_back(argument);
      } else if (argument == "--") {
        switches_ended = true;
      } else if (argument[1] == '-') {
        TRY(read_long(argument.substr(2), arguments, i));
      } else {
        TRY(read_letters(argument.substr(1), arguments, i));
      }
    }
    return {};
  }

  Result<void> run(const Switch& found, const std::string& shown, std::string_view value) {
    if (auto applied = found.apply(*this, value); !applied) return refuse(shown + ": " + applied.error().detail);
    return {};
  }

  Result<void> read_long(std::string_view name, std::span<const char* const> arguments, std::size_t& i) {
    const auto equals = name.find('=');
    const std::string shown = "--" + std::string{name.substr(0, equals)};
    const Switch* found =
        find([&](const Switch& one) { return !one.name.empty() && one.name == name.substr(0, equals); });
    if (!found) return refuse(shown + ": unknown switch");
    if (!found->takes_value && equals != name.npos) return refuse(shown + ": takes no value");
    if (!found->takes_value || equals != name.npos)
      return run(*found, shown, equals == name.npos ? "" : name.substr(equals + 1));
    if (i + 1 == arguments.size()) return refuse(shown + ": needs a value");
    return run(*found, shown, arguments[++i]);
  }

  Result<void> read_letters(std::string_view letters, std::span<const char* const> arguments, std::size_t& i) {
    for (; !letters.empty(); letters.remove_prefix(1)) {
      const std::string shown = "-" + std::string{letters.substr(0, 1)};
      const Switch* found = find([&](const Switch& one) { return one.letter == letters[0]; });
      if (!found) return refuse(shown + ": unknown switch");
      if (!found->takes_value) {
        TRY(run(*found, shown, ""));
        continue;
      }
      if (letters.size() > 1) return run(*found, shown, letters.substr(1));
      if (i + 1 == arguments.size()) return refuse(shown + ": needs a value");
      return run(*found, shown, arguments[++i]);
    }
    return {};
  }

  template <typename Predicate>
  const Switch* find(Predicate wanted) const;

  /// Splits at commas outside double quotes.
  Result<void> apply_list(std::string_view list, unsigned depth) {
    bool inside = false;
    for (std::size_t start = 0, at = 0; at <= list.size(); ++at) {
      if (at < list.size() && list[at] == '"') inside = !inside;
      if (at < list.size() && (list[at] != ',' || inside)) continue;
      if (at > start) TRY(apply_word(list.substr(start, at - start), depth));
      start = at + 1;
    }
    if (inside) return refuse("a double quote is not closed");
    return {};
  }

  Result<void> apply_word(std::string_view word, unsigned depth) {
    const auto equals = word.find('=');
    const auto known = find_mount_word(word.substr(0, equals));
    if (!known) {
      plan_.worker_options.emplace_back(word);
      return {};
    }
    if (known->takes == Takes::value && equals == word.npos) return refuse(quoted(word) + " needs a value");
    if (known->takes == Takes::nothing && equals != word.npos) return refuse(quoted(word) + " takes no value");
    std::string_view value = equals == word.npos ? "" : word.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return apply_effect(*known->word, word, value, depth);
  }

  Result<void> apply_effect(const MountWord& known, std::string_view word, std::string_view value, unsigned depth) {
    switch (known.effect) {
      case Effect::no_recovery:
        plan_.worker_options.emplace_back(word);
        [[fallthrough]];
      case Effect::read_only:
        plan_.writing = Writing::read_only;
        break;
      case Effect::read_write:
        plan_.writing = Writing::read_write;
        break;
      case Effect::remount:
        if (plan_.action != Action::mount && plan_.action != Action::remount) return refuse("'remount' is for mounts");
        plan_.action = Action::remount;
        break;
      case Effect::set:
      case Effect::clear:
        say(std::get<std::uint64_t>(known.object), known.effect == Effect::set);
        break;
      case Effect::bytes: {
        const auto parsed = parse_bytes(value);
        if (!parsed) return refuse(quoted(word) + ": not a number of bytes");
        plan_.window.*std::get<std::uint64_t Window::*>(known.object) = *parsed;
        break;
      }
      case Effect::yes:
      case Effect::no:
        plan_.*std::get<bool MountPlan::*>(known.object) = known.effect == Effect::yes;
        break;
      case Effect::text:
        plan_.*std::get<std::string MountPlan::*>(known.object) = value;
        break;
      case Effect::replace:
      case Effect::implied:
        if (depth > 0 || (known.effect == Effect::implied && (form_ != kOwn || !value.empty()))) break;
        return apply_list(known.words(), depth + 1);
      case Effect::bookkeeping:
        break;
      case Effect::no_effect:
        plan_.notes.push_back(std::string{word} + ": " + std::string{known.words()});
        break;
      case Effect::refused:
        return refuse(quoted(word) + " is refused: " + std::string{known.words()});
    }
    return {};
  }

  /// The access time settings share one field, so that naming one takes back the others.
  void say(std::uint64_t bits, bool set) {
    const std::uint64_t value = set ? bits : 0;
    if (bits & MOUNT_ATTR__ATIME) bits |= MOUNT_ATTR__ATIME;
    plan_.mount_attributes = (plan_.mount_attributes & ~bits) | value;
    plan_.attributes_said |= bits;
  }

  Result<void> place_positionals() {
    struct Shape {
      std::size_t least, most;
      std::string_view wanted;
    };
    const Shape shape = plan_.action == Action::mount     ? Shape{2, 2, "SOURCE and MOUNTPOINT"}
                        : plan_.action == Action::remount ? Shape{1, 2, "MOUNTPOINT"}
                        : plan_.action == Action::unmount ? Shape{1, 1, "one MOUNTPOINT"}
                        : plan_.action == Action::status  ? Shape{0, 1, ""}
                                                          : Shape{0, 0, ""};
    if (positional_.size() > shape.most) return refuse(quoted(positional_[shape.most]) + ": one argument too many");
    if (positional_.size() < shape.least) return refuse("expected " + std::string{shape.wanted} + "; --help shows how");
    for (const std::string_view one : positional_)
      if (one.empty()) return refuse("an empty SOURCE or MOUNTPOINT");
    if (positional_.size() == 2) plan_.source = positional_[0];
    if (!positional_.empty()) plan_.mount_point = positional_.back();
    const bool mounts = plan_.action == Action::mount || plan_.action == Action::remount;
    if (!mounts && !lists_.empty()) return refuse("-o: only with SOURCE and MOUNTPOINT");
    if (plan_.json && plan_.action != Action::status) return refuse("--json: only with --status");
    if (plan_.lazy && plan_.action != Action::unmount) return refuse("-l: only with --unmount");
    return {};
  }

  Form form_;
  MountPlan plan_;
  std::vector<std::string_view> positional_, lists_;
};

// Through a link `-f` and `-r` mean what mount(8) and umount(8) mean by them.
const Parser::Switch Parser::kSwitches[] = {
    {'t', "", kOwn | kMountLink | kUmountLink, true, &Parser::type},
    {'o', "", kOwn | kMountLink, true, &Parser::list},
    {'r', "", kOwn | kMountLink, false, &Parser::put<&MountPlan::writing, Writing::read_only>},
    {'w', "", kOwn | kMountLink, false, &Parser::put<&MountPlan::writing, Writing::read_write>},
    {'r', "", kUmountLink, false, &Parser::put<&MountPlan::read_only_if_busy>},
    {'n', "", kOwn | kMountLink | kUmountLink, false, &Parser::ignore},
    {'s', "", kOwn | kMountLink, false, &Parser::put<&MountPlan::sloppy>},
    {'v', "", kOwn | kMountLink | kUmountLink, false, &Parser::put<&MountPlan::verbose>},
    {'f', "", kOwn, false, &Parser::put<&MountPlan::foreground>},
    {'f', "", kMountLink, false, &Parser::put<&MountPlan::fake>},
    {'f', "", kUmountLink, false, &Parser::put<&MountPlan::force>},
    {'l', "", kOwn | kUmountLink, false, &Parser::put<&MountPlan::lazy>},
    {'N', "", kMountLink | kUmountLink, true, &Parser::unsupported_namespace},
    {0, "check", kOwn, false, &Parser::act<Action::check>},
    {0, "unmount", kOwn, false, &Parser::act<Action::unmount>},
    {0, "status", kOwn, false, &Parser::act<Action::status>},
    {0, "json", kOwn, false, &Parser::put<&MountPlan::json>},
    {0, "spawn", kOwn, false, &Parser::put<&MountPlan::way, Way::spawn>},
    {0, "service", kOwn, false, &Parser::put<&MountPlan::way, Way::service>},
    {0, "worker", kOwn, true, &Parser::text<&MountPlan::worker_path>},
    {0, "socket-dir", kOwn, true, &Parser::text<&MountPlan::socket_dir>},
    {0, "timeout", kOwn, true, &Parser::timeout},
    {'h', "help", kOwn | kMountLink | kUmountLink, false, &Parser::put<&MountPlan::action, Action::help>},
    {'V', "version", kOwn | kMountLink | kUmountLink, false, &Parser::put<&MountPlan::action, Action::version>},
};

template <typename Predicate>
const Parser::Switch* Parser::find(Predicate wanted) const {
  for (const Switch& one : kSwitches)
    if ((one.forms & form_) && wanted(one)) return &one;
  return nullptr;
}

void print_line(const MountPlan& plan, std::string_view subject, const std::string& reason) {
  const std::string line = plan.program + ": " + (subject.empty() ? "" : std::string{subject} + ": ") + reason;
  std::fprintf(stderr, "%s\n", protocol::escape_controls(line, 4096).c_str());
}

}  // namespace

Result<MountPlan> parse_command_line(std::span<const char* const> argv, bool real_root) {
  if (argv.empty()) return refuse("an empty command line");
  return Parser{invocation(argv[0]), real_root}.parse(argv.subspan(1), real_root);
}

std::string program_name(std::string_view argv0) { return invocation(argv0).program; }

std::string worker_option_list(const MountPlan& plan, bool read_only, const Window* window) {
  std::string list;
  const auto add = [&list](std::string_view word) { (list += list.empty() ? "" : ",") += word; };
  if (read_only) add("ro");
  if (plan.sloppy) add("sloppy");
  for (const std::string& word : plan.worker_options) add(word);
  if (window && window->offset) add("offset=" + std::to_string(window->offset));
  if (window && window->length) add("sizelimit=" + std::to_string(window->length));
  return list;
}

std::string socket_path(const MountPlan& plan) {
  return (plan.socket_dir.empty() ? std::string{kSocketDirectory} : plan.socket_dir) + "/" + plan.type;
}

int fail(const MountPlan& plan, std::string_view subject, const Error& error, int exit_code) {
  print_line(plan, subject, error.code ? error.message() : error.detail);
  return exit_code;
}

void warn(const MountPlan& plan, std::string_view subject, std::string_view reason) {
  print_line(plan, subject, std::string{reason});
}

}  // namespace broker
