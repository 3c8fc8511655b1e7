#include "broker/broker.h"

#include <syslog.h>

#include <exception>

#include "broker/mounting.h"
#include "broker/privileges.h"
#include "broker/process.h"
#include "broker/supervisor.h"
#include "protocol/log.h"

namespace broker {

namespace {

using protocol::Severity;

constexpr int kInternalFailure = 4, kInterrupted = 8, kMountFailed = 32;
const Error kInterruption{{}, "interrupted"};

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

asio::awaitable<void> obey(asio::io_context& context, int interrupts, Session& session) {
  co_await until_readable(context, interrupts);
  session.interrupt();
}

SessionOutcome converse(asio::io_context& context, Session& session, int interrupts) {
  SessionOutcome outcome;
  asio::co_spawn(context, obey(context, interrupts, session), asio::detached);
  std::exception_ptr failure;
  asio::co_spawn(context, session.run(), [&](std::exception_ptr thrown, SessionOutcome ended) {
    failure = thrown;
    outcome = std::move(ended);
    context.stop();
  });
  context.run();
  if (failure) std::rethrow_exception(failure);
  return outcome;
}

/// A mount that stands, and who looks after it.
struct Standing {
  Mounting::Remains remains;
  std::optional<protocol::Channel> channel;
};

/// The steps of a mount. On failure all is undone when this returns, and the line is printed.
std::optional<Standing> mount(const MountPlan& plan, int interrupts, int& exit_code) {
  const auto deadline = std::chrono::steady_clock::now() + plan.timeout;
  const auto failed = [&](const Error& error) {
    exit_code = error.code == std::errc::interrupted ? fail(plan, plan.source, kInterruption, kInterrupted)
                                                     : fail(plan, plan.source, error, kMountFailed);
    return std::nullopt;
  };
  Mounting mounting{plan, deadline, interrupts};
  if (auto ready = enter_stage(Stage::open); !ready) return failed(ready.error());
  if (auto opened = mounting.open_everything(); !opened) return failed(opened.error());
  auto channel = mounting.start_worker();
  if (!channel) return failed(channel.error());
  if (auto ready = enter_stage(Stage::mount); !ready) return failed(ready.error());

  asio::io_context context{1};
  Session session{
      context, std::move(*channel), mounting.grants(), {.message = plan.timeout, .overall = deadline}, mounting};
  const auto outcome = converse(context, session, interrupts);
  exit_code = tell(plan, outcome, mounting.source_warning());
  if (exit_code != 0) return std::nullopt;
  Standing standing{mounting.release(), {}};
  if (outcome.version == protocol::kPrivateVersion) standing.channel = std::move(session).take_channel();
  return standing;
}

int supervise(Standing standing, int interrupts) {
  asio::io_context context{1};
  Supervisor supervisor{context, std::move(standing.remains), std::move(standing.channel), interrupts};
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
    const auto interrupts = block_interrupts();
    if (!interrupts) return report.mounted(fail(plan, plan.source, interrupts.error(), kInternalFailure));
    int exit_code = kInternalFailure;
    auto standing = mount(plan, interrupts->get(), exit_code);
    if (!standing) return report.mounted(exit_code);
    // Too late to undo it: what stands is unmounted, as the supervisor does with every interrupt, and then reported.
    const bool interrupted = readable(interrupts->get());
    if (!interrupted) report.mounted(0);
    // A working directory keeps its file system busy.
    if (::chdir("/") != 0) protocol::log(Severity::warning, protocol::last_error("chdir").message());
    if (!plan.foreground && !interrupted) {
      report.leave_caller();
      loudest = Severity{-1};
    }
    const int ended = supervise(std::move(*standing), interrupts->get());
    report.ended(interrupted ? fail(plan, plan.source, kInterruption, kInterrupted) : ended);
  } catch (const std::exception& exception) {
    report.mounted(fail(plan, plan.source, Error{{}, exception.what()}, kInternalFailure));
  }
}

}  // namespace broker
