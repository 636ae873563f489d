#include "net/async.h"

#include <time.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/system/system_error.hpp>
#include <list>
#include <vector>

#include "common/check.h"
#include "common/log.h"

namespace everspan::net {
namespace {

timespec read_clock(clockid_t clock) {
  timespec at{};
  check(clock_gettime(clock, &at) == 0, "the clock can be read");
  return at;
}

TimerClock::time_point timer_point(Instant when) {
  return TimerClock::time_point{when.time_since_epoch()};
}

}  // namespace

Instant now() {
  const timespec at = read_clock(CLOCK_BOOTTIME);
  return Instant{std::chrono::seconds(at.tv_sec) + std::chrono::microseconds(at.tv_nsec / 1000)};
}

WallTime wall_now() {
  const timespec at = read_clock(CLOCK_REALTIME);
  return {static_cast<std::int64_t>(at.tv_sec) * 1000 + at.tv_nsec / 1'000'000};
}

Task<bool> is_cancelled() {
  const auto state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() != asio::cancellation_type::none;
}

Task<bool> sleep_until(Instant when) {
  const bool stop = co_await is_cancelled();
  if (stop) co_return false;
  const auto executor = co_await asio::this_coro::executor;
  Timer timer(executor);
  timer.expires_at(timer_point(when));
  boost::system::error_code error;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

struct TaskScope::State {
  struct Entry {
    std::string name;
    asio::cancellation_signal signal;
    bool cancelled = false;
  };

  explicit State(Executor e) : executor(std::move(e)), empty(executor) {
    empty.expires_at(TimerClock::time_point::max());
  }

  Executor executor;
  std::list<Entry> entries;
  Timer empty;  // Never expires; cancelled when the last task has ended.
};

namespace {

// Cancelled tasks see it in the results of their waits, not as an exception.
Task<void> run_quietly(Task<void> task) {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await std::move(task);
}

void report_exception(const std::string& name, std::exception_ptr exception, bool cancelled) {
  try {
    std::rethrow_exception(std::move(exception));
  } catch (const boost::system::system_error& e) {
    // A task that was cancelled before its first step, or in a bare Asio operation.
    if (cancelled && e.code() == asio::error::operation_aborted) return;
    log_error("task.exception", {{"task", name}, {"what", e.what()}});
  } catch (const std::exception& e) {
    log_error("task.exception", {{"task", name}, {"what", e.what()}});
  } catch (...) {
    log_error("task.exception", {{"task", name}, {"what", "unknown"}});
  }
  check(false, "no exception leaves a task");
}

}  // namespace

TaskScope::TaskScope(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

TaskScope::~TaskScope() {
  check(state_->entries.empty(), "a task scope outlives its tasks");
}

void TaskScope::spawn(std::string name, Task<void> task) {
  State& state = *state_;
  state.entries.emplace_back();
  const auto entry = std::prev(state.entries.end());
  entry->name = std::move(name);
  auto ended = [held = state_, entry](std::exception_ptr exception) {
    if (exception) report_exception(entry->name, std::move(exception), entry->cancelled);
    held->entries.erase(entry);
    if (held->entries.empty()) held->empty.cancel();
  };
  asio::co_spawn(state.executor, run_quietly(std::move(task)),
                 asio::bind_cancellation_slot(entry->signal.slot(), std::move(ended)));
}

void TaskScope::cancel() {
  const auto held = state_;
  for (State::Entry& entry : held->entries) {
    entry.cancelled = true;
    entry.signal.emit(asio::cancellation_type::terminal);
  }
}

Task<void> TaskScope::join() {
  const auto held = state_;
  while (!held->entries.empty()) {
    boost::system::error_code error;
    // No cancellation slot: a cancelled caller still has to wait for its tasks.
    co_await held->empty.async_wait(asio::bind_cancellation_slot(
        asio::cancellation_slot(), asio::redirect_error(asio::use_awaitable, error)));
  }
}

int TaskScope::running() const {
  return static_cast<int>(state_->entries.size());
}

struct Wakeup::State {
  struct Waiter {
    explicit Waiter(Executor executor) : timer(std::move(executor)) {}
    Timer timer;
    bool woken = false;
  };
  Executor executor;
  std::vector<std::shared_ptr<Waiter>> waiters;
  bool notified = false;
};

Wakeup::Wakeup(Executor executor)
    : state_(std::make_shared<State>(State{std::move(executor), {}, false})) {}

void Wakeup::notify() {
  const auto waiters = std::exchange(state_->waiters, {});
  if (waiters.empty()) state_->notified = true;
  for (const auto& waiter : waiters) {
    waiter->woken = true;
    waiter->timer.cancel();
  }
}

Task<bool> Wakeup::wait_until(Instant deadline) {
  const auto state = state_;
  const bool stop = co_await is_cancelled();
  if (stop) co_return false;
  if (std::exchange(state->notified, false)) co_return true;
  const auto waiter = std::make_shared<State::Waiter>(state->executor);
  waiter->timer.expires_at(timer_point(deadline));
  state->waiters.push_back(waiter);
  boost::system::error_code error;
  co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  std::erase(state->waiters, waiter);
  co_return waiter->woken;
}

}  // namespace everspan::net
