// The Asio words that shells may use: Task (a coroutine), Executor, clocks, Timer, TaskScope.
//
// House rules (STYLE part 0): a `co_await` stands alone; a coroutine is a named function with value
// parameters; nothing is spawned but into a TaskScope; every wait has a deadline.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "common/result.h"
#include "common/time.h"

namespace everspan::net {

namespace asio = boost::asio;

template <class T = void>
using Task = asio::awaitable<T>;
using Executor = asio::any_io_executor;

[[nodiscard]] Instant now();        // CLOCK_BOOTTIME.
[[nodiscard]] WallTime wall_now();  // CLOCK_REALTIME.

struct TimerClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<TimerClock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept { return time_point{net::now().time_since_epoch()}; }
};
using Timer = asio::basic_waitable_timer<TimerClock>;

// Waits until `when`. False: cancelled.
[[nodiscard]] Task<bool> sleep_until(Instant when);
[[nodiscard]] inline Task<bool> sleep_for(Duration length) {
  return sleep_until(now() + length);
}

// Runs tasks on one executor and knows when all have ended. An exception that leaves a task is a
// bug: logged under the task's name, then the process ends. Not thread-safe: use on its executor.
// Must outlive its tasks: cancel(), then join(), before destruction (asserted). A cancelled task
// does not throw: the waits of net/ return false or `cancelled` at once from then on, so it can
// clean up.
class TaskScope {
 public:
  explicit TaskScope(Executor executor);
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope();

  void spawn(std::string name, Task<void> task);
  void cancel();                    // Terminal cancellation of every task.
  [[nodiscard]] Task<void> join();  // Until none is left.
  [[nodiscard]] int running() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Wakes all who wait; may be notified before anybody waits (then the next wait returns at once).
// One executor only.
class Wakeup {
 public:
  explicit Wakeup(Executor executor);
  void notify();
  // True: notified. False: `deadline` passed or the waiter was cancelled.
  [[nodiscard]] Task<bool> wait_until(Instant deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// True once the coroutine that asks was told to stop (TaskScope::cancel). Loops that may run
// without waiting ask this.
[[nodiscard]] Task<bool> is_cancelled();

}  // namespace everspan::net
