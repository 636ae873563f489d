// The node's own log as what runs writes: the turn is the generation that base granted.
#pragma once
#include "node/worker_pool.h"
#include "node/write_path.h"
#include "store/log.h"

namespace everspan::node {

// On the control executor. `pool` outlives it.
class LogBackend : public WritePath::Backend {
 public:
  explicit LogBackend(WorkerPool& pool) : pool_(pool) {}
  void set_log(store::LogWriter* log) { log_ = log; }
  // Asked before this process becomes the writer: what it does with an appended tail.
  void set_tail(std::function<store::LogWriter::Tail()> tail) { tail_ = std::move(tail); }

  [[nodiscard]] net::Task<Result<void>> raise(std::uint64_t turn) override;
  void run(store::Transaction transaction, Done done) override;
  void release(Released done) override;

 private:
  WorkerPool& pool_;
  store::LogWriter* log_ = nullptr;
  std::function<store::LogWriter::Tail()> tail_;
};

}  // namespace everspan::node
