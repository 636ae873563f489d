// A few threads for work that blocks (downloads, back-ups, directory walks): never on an event
// loop. A pool with `niceness` yields to threads that people wait for.
#pragma once
#include <sys/resource.h>

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <optional>
#include <tuple>

#include "net/async.h"

namespace everspan::node {

class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads, int niceness = 0) : niceness_(niceness), pool_(threads) {}
  ~WorkerPool() { pool_.join(); }

  // Runs `work` on a pool thread; the caller goes on on its own executor.
  template <class T>
  [[nodiscard]] net::Task<T> run(std::function<T()> work) {
    // optional: an awaited value must be default-constructible on its way between executors.
    std::optional<T> out = co_await net::asio::co_spawn(
        pool_.get_executor(), call<T>(niceness_, std::move(work)), net::asio::use_awaitable);
    co_return std::move(*out);
  }

 private:
  template <class T>
  static net::Task<std::optional<T>> call(int niceness, std::function<T()> work) {
    // Of the calling thread alone (setpriority(2), Linux). Where it is refused the work is done all
    // the same, only not as politely.
    thread_local const int lowered = niceness == 0 ? 0 : setpriority(PRIO_PROCESS, 0, niceness);
    std::ignore = lowered;
    co_return std::optional<T>(work());
  }

  const int niceness_;
  net::asio::thread_pool pool_;
};

}  // namespace everspan::node
