#include "broker/broker.h"

#include <syslog.h>

#include <exception>

#include "broker/mounting.h"
#include "broker/privileges.h"
#include "broker/supervisor.h"
#include "protocol/log.h"

namespace broker {

namespace {

using protocol::Severity;

constexpr int kInternalFailure = 4, kMountFailed = 32;

/// Severities up to this also go to standard error; set before there is anything to log. Syslog gets all.
Severity loudest = Severity::critical;

void log_line(Severity severity, std::string_view line) noexcept {
  ::syslog(LOG_AUTHPRIV | static_cast<int>(severity), "%.*s", static_cast<int>(line.size()), line.data());
  if (severity > loudest) return;
  std::string text{line};
  text = "fuservicemount: " + text + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

void start_logging(const MountPlan& plan) {
  ::openlog("ext4box", LOG_PID | LOG_NDELAY, LOG_AUTHPRIV);
  if (plan.foreground) loudest = Severity::warning;
  if (plan.verbose) loudest = Severity::information;
  protocol::set_log_sink(log_line);
}

/// What is owed to the user besides the exit code: a failure's line, warnings.
int tell(const MountPlan& plan, const SessionOutcome& outcome, const std::string& source_warning) {
  for (const auto& note : outcome.notes) {
    if (note.level != 0 || plan.verbose) warn(plan, plan.source, note.text.value);
  }
  if (outcome.exit_code != 0) return fail(plan, plan.source, Error{{}, outcome.reason}, outcome.exit_code);
  if (!source_warning.empty()) warn(plan, plan.source, source_warning);
  return 0;
}

SessionOutcome converse(asio::io_context& context, Session& session) {
  SessionOutcome outcome;
  asio::signal_set interrupts{context, SIGINT, SIGTERM};
  interrupts.async_wait([&session](const boost::system::error_code& cancelled, int) {
    if (!cancelled) session.interrupt();
  });
  std::exception_ptr failure;
  asio::co_spawn(context, session.run(), [&](std::exception_ptr thrown, SessionOutcome ended) {
    failure = thrown;
    outcome = std::move(ended);
    interrupts.cancel();
  });
  context.run();
  context.restart();
  if (failure) std::rethrow_exception(failure);
  return outcome;
}

/// A mount that stands, and who looks after it.
struct Standing {
  Mounting::Remains remains;
  std::optional<protocol::Channel> channel;
};

/// The steps of a mount. On failure all is undone when this returns, and the line is printed.
std::optional<Standing> mount(const MountPlan& plan, asio::io_context& context, int& exit_code) {
  const auto deadline = std::chrono::steady_clock::now() + plan.timeout;
  const auto failed = [&](const Error& error) {
    exit_code = fail(plan, plan.source, error, kMountFailed);
    return std::nullopt;
  };
  Mounting mounting{plan};
  if (auto ready = enter_stage(Stage::open); !ready) return failed(ready.error());
  if (auto opened = mounting.open_everything(deadline); !opened) return failed(opened.error());
  auto channel = mounting.start_worker();
  if (!channel) return failed(channel.error());
  if (auto ready = enter_stage(Stage::mount); !ready) return failed(ready.error());

  Session session{
      context, std::move(*channel), mounting.grants(), {.message = plan.timeout, .overall = deadline}, mounting};
  const auto outcome = converse(context, session);
  exit_code = tell(plan, outcome, mounting.source_warning());
  if (exit_code != 0) return std::nullopt;
  auto remains = mounting.release(outcome);
  if (!remains) return failed(remains.error());
  Standing standing{std::move(*remains), {}};
  if (outcome.version == protocol::kPrivateVersion) standing.channel = std::move(session).take_channel();
  return standing;
}

int supervise(Standing standing, asio::io_context& context) {
  Supervisor supervisor{context, std::move(standing.remains), std::move(standing.channel)};
  if (auto ready = enter_stage(Stage::supervise); !ready) {
    // The mount is better off without a supervisor than with one that could do anything.
    protocol::log(Severity::error, "no supervisor: " + ready.error().message());
    return kInternalFailure;
  }
  int exit_code = kInternalFailure;
  asio::co_spawn(context, supervisor.run(), [&](std::exception_ptr thrown, int ended) {
    if (!thrown) exit_code = ended;
  });
  context.run();
  return exit_code;
}

}  // namespace

void run_broker(const MountPlan& plan, Report& report) {
  start_logging(plan);
  for (const auto& note : plan.notes) {
    if (plan.verbose) warn(plan, plan.source, note);
  }
  try {
    asio::io_context context{1};
    int exit_code = kInternalFailure;
    auto standing = mount(plan, context, exit_code);
    report.mounted(exit_code);
    if (!standing) return;
    // A working directory keeps its file system busy.
    if (::chdir("/") != 0) protocol::log(Severity::warning, protocol::last_error("chdir").message());
    if (!plan.foreground) {
      report.leave_caller();
      loudest = Severity{-1};
    }
    report.ended(supervise(std::move(*standing), context));
  } catch (const std::exception& exception) {
    report.mounted(fail(plan, plan.source, Error{{}, exception.what()}, kInternalFailure));
  }
}

}  // namespace broker
