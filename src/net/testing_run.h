// Runs coroutines of a test to their end, with a limit that fails the test. Tests only.
#pragma once
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "net/async.h"

namespace everspan::net::testing {

inline constexpr Duration kTestLimit = std::chrono::seconds(20);

inline Instant soon() {
  return now() + kTestLimit;
}

template <class T>
Task<void> store_result(Task<T> task, std::optional<T>& into) {
  auto value = co_await std::move(task);
  into.emplace(std::move(value));
}

// The task's result; the loop runs until it is there.
template <class T>
T run_task(asio::io_context& loop, Task<T> task) {
  std::optional<T> out;
  TaskScope scope(loop.get_executor());
  scope.spawn("test", store_result(std::move(task), out));
  const Instant limit = soon();
  loop.restart();
  while (scope.running() > 0 && now() < limit) loop.run_one_for(std::chrono::milliseconds(100));
  if (scope.running() > 0) {
    ADD_FAILURE() << "the task did not end in time";
    std::abort();
  }
  return std::move(*out);
}

// Runs the loop until `holds()` is true; false when it never was.
template <class Condition>
bool run_until(asio::io_context& loop, Condition holds) {
  const Instant limit = soon();
  loop.restart();
  while (!holds() && now() < limit) {
    loop.run_one_for(std::chrono::milliseconds(20));
    if (loop.stopped()) loop.restart();
  }
  return holds();
}

// Cancels on the loop, as a scope asks (outside of it a task that ends in that moment would be told
// to stop after it is gone), and runs until none is left.
inline bool stop(asio::io_context& loop, TaskScope& scope) {
  asio::post(loop, [&scope] { scope.cancel(); });
  return run_until(loop, [&scope] { return scope.running() == 0; });
}

}  // namespace everspan::net::testing
