// A few threads for work that blocks (downloads, back-ups, directory walks): never on an event
// loop.
#pragma once
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <optional>

#include "net/async.h"

namespace everspan::node {

class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads) : pool_(threads) {}
  ~WorkerPool() { pool_.join(); }

  // Runs `work` on a pool thread; the caller goes on on its own executor.
  template <class T>
  [[nodiscard]] net::Task<T> run(std::function<T()> work) {
    // optional: an awaited value must be default-constructible on its way between executors.
    std::optional<T> out = co_await net::asio::co_spawn(
        pool_.get_executor(), call<T>(std::move(work)), net::asio::use_awaitable);
    co_return std::move(*out);
  }

 private:
  template <class T>
  static net::Task<std::optional<T>> call(std::function<T()> work) {
    co_return std::optional<T>(work());
  }

  net::asio::thread_pool pool_;
};

}  // namespace everspan::node
