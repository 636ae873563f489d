#include "net/async.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "net/io_threads.h"
#include "net/testing_run.h"

namespace everspan::net {
namespace {

using testing::run_task;
using testing::run_until;

struct Seen {
  bool waited = false;
  bool cancelled = false;
  bool second_wait = true;
};

Task<void> sleeper(Seen& seen) {
  seen.waited = co_await sleep_until(Instant::max());
  seen.cancelled = co_await is_cancelled();
  // A cancelled task may still run code, but must not wait any more.
  seen.second_wait = co_await sleep_until(Instant::max());
}

Task<bool> joins(TaskScope& scope) {
  co_await scope.join();
  co_return true;
}

TEST(TaskScope, CancelEndsWaitsAndJoinReturns) {
  asio::io_context loop;
  TaskScope scope(loop.get_executor());
  Seen a;
  Seen b;
  scope.spawn("a", sleeper(a));
  scope.spawn("b", sleeper(b));
  loop.poll();
  EXPECT_EQ(scope.running(), 2);
  scope.cancel();
  EXPECT_TRUE(run_task(loop, joins(scope)));
  EXPECT_EQ(scope.running(), 0);
  EXPECT_FALSE(a.waited);
  EXPECT_TRUE(a.cancelled);
  EXPECT_FALSE(a.second_wait);
  EXPECT_TRUE(b.cancelled);
}

TEST(TaskScope, ATaskCancelledBeforeItsFirstStepEndsQuietly) {
  asio::io_context loop;
  TaskScope scope(loop.get_executor());
  Seen seen;
  scope.spawn("never started", sleeper(seen));
  scope.cancel();
  EXPECT_TRUE(run_task(loop, joins(scope)));
}

Task<void> joiner_that_is_cancelled(TaskScope& inner, bool& joined) {
  co_await inner.join();
  joined = true;
}

TEST(TaskScope, ACancelledJoinerStillWaitsForItsTasks) {
  asio::io_context loop;
  TaskScope inner(loop.get_executor());
  TaskScope outer(loop.get_executor());
  Seen seen;
  bool joined = false;
  inner.spawn("sleeper", sleeper(seen));
  outer.spawn("joiner", joiner_that_is_cancelled(inner, joined));
  loop.poll();
  outer.cancel();
  loop.poll();
  EXPECT_FALSE(joined);
  inner.cancel();
  EXPECT_TRUE(run_until(loop, [&] { return joined; }));
}

Task<void> thrower() {
  throw std::runtime_error("planted");
  co_return;
}

TEST(TaskScopeDeathTest, AnExceptionThatLeavesATaskEndsTheProcess) {
  EXPECT_DEATH(
      {
        asio::io_context loop;
        TaskScope scope(loop.get_executor());
        scope.spawn("thrower", thrower());
        loop.run();
      },
      "no exception leaves a task");
}

Task<bool> wait_on(Wakeup& wakeup, Instant deadline) {
  const bool notified = co_await wakeup.wait_until(deadline);
  co_return notified;
}

TEST(Wakeup, RemembersANotificationBeforeTheWaitOnce) {
  asio::io_context loop;
  Wakeup wakeup(loop.get_executor());
  wakeup.notify();
  EXPECT_TRUE(run_task(loop, wait_on(wakeup, Instant::max())));
  EXPECT_FALSE(run_task(loop, wait_on(wakeup, now())));
}

Task<void> count_wake(Wakeup& wakeup, int& woken) {
  const bool notified = co_await wakeup.wait_until(Instant::max());
  if (notified) woken++;
}

TEST(Wakeup, WakesEveryWaiter) {
  asio::io_context loop;
  Wakeup wakeup(loop.get_executor());
  TaskScope scope(loop.get_executor());
  int woken = 0;
  scope.spawn("one", count_wake(wakeup, woken));
  scope.spawn("two", count_wake(wakeup, woken));
  loop.poll();
  wakeup.notify();
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  EXPECT_EQ(woken, 2);
}

TEST(IoThreads, RunsWorkOnTheChosenThreadAndShowsAStuckLoop) {
  IoThreads threads(2);
  std::promise<std::thread::id> first;
  std::promise<std::thread::id> second;
  asio::post(threads.executor(0), [&] { first.set_value(std::this_thread::get_id()); });
  asio::post(threads.executor(1), [&] { second.set_value(std::this_thread::get_id()); });
  EXPECT_TRUE(first.get_future().get() != second.get_future().get());

  std::promise<void> release;
  asio::post(threads.executor(1), [&] { release.get_future().wait(); });
  const Instant limit = testing::soon();
  while (threads.loop_delay() < std::chrono::milliseconds(200) && now() < limit) {
    std::this_thread::yield();
  }
  EXPECT_GE(threads.loop_delay(), std::chrono::milliseconds(200));
  release.set_value();
}

}  // namespace
}  // namespace everspan::net
