// The writer's thread behind LogWriter: queue, fence, group commit, checkpoints, the end after an
// I/O error.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "store/detail/files.h"
#include "store/detail/log_batch.h"
#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store {

// All SQLite work happens on one thread; `mutex_` guards the queue and what submit() may answer at
// once.
class LogWriter::Worker {
 public:
  explicit Worker(Options options) : options_(std::move(options)) {}

  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start();
  void submit(Transaction transaction, Done done);
  Result<void> become_writer(Generation generation);
  void release(Released released);
  void verify_ahead();
  Revision head() const { return {head_revision_.load()}; }
  bool is_writer() const {
    const std::lock_guard lock(mutex_);
    return refusal_.empty();
  }

 private:
  struct Become {
    Generation generation;
    std::promise<Result<void>> done;
  };
  struct Release {
    Released done;
  };
  struct VerifyAhead {};
  using Item = std::variant<detail::Pending, Become, Release, VerifyAhead>;

  void run();
  std::optional<Item> next();
  Result<void> open_database();
  Result<void> handle_become(Generation generation);
  Result<void> take_over(Generation generation);
  Result<LogHead> verify_chain_from_known(const LogMeta& meta);
  void handle_verify_ahead();
  Result<LogHead> handle_release();
  void commit_batch(std::vector<detail::Pending> batch);
  Result<detail::BatchResult> commit_when_free(std::vector<detail::Pending>& batch);
  void finish_batch(std::vector<detail::Pending>& batch, Result<detail::BatchResult> result);
  void announce(Revision committed);
  void checkpoint_if_due();
  void refuse_from_now_on(const std::string& code);
  void fatal(const Error& error);
  bool stopping() const {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }
  static Error refusal_error(const std::string& code);

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  std::size_t queued_bytes_ = 0;
  std::string refusal_ = "not_writer";  // Empty: this is the writer.
  bool stopping_ = false;
  bool failed_ = false;
  bool ahead_queued_ = false;
  std::atomic<std::uint64_t> head_revision_ = 0;

  // Of the thread only (and of start(), before it runs):
  std::optional<Database> db_;
  ino_t inode_ = 0;
  std::optional<LogHead> verified_;  // The chain is known to be good up to here.
  Generation generation_;
  detail::File hint_;
  int checkpointed_at_ = 0;
  std::thread thread_;
};

}  // namespace everspan::store
