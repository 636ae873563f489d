// The writer's thread behind LogWriter: queue, fence, group commit, what a pair adds, checkpoints,
// the end after an I/O error.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
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
  Result<void> become_writer(Generation generation, Tail tail);
  void release(Released released);
  void verify_ahead();
  LogHead last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  bool is_writer() const {
    const std::lock_guard lock(mutex_);
    return refusal_.empty();
  }

  // In a pair (log_worker_pair.cc).
  void set_replication(std::shared_ptr<Replication> replication);
  void confirm(LogHead through, std::vector<NodeId> stores);
  void refuse_unconfirmed(Error why);
  void accept_again();
  void append_shipped(Epoch turn, LogHead before, std::vector<std::string> entries, Advanced done);
  void fold_shipped(LogHead committed, std::vector<NodeId> stores, Advanced done);
  void cut_to(LogHead common, std::string orphan_folder, Advanced done);
  void install_snapshot(std::string snapshot, Replaces what, Advanced done);
  void raise_epoch(Epoch epoch, Advanced done);
  void begin_lineage(LineageId lineage, Epoch epoch, Advanced done);
  void compact(WallTime older_than, Revision below, Advanced done);

 private:
  struct Become {
    Generation generation;
    Tail tail;
    std::promise<Result<void>> done;
  };
  struct Release {
    Released done;
  };
  struct VerifyAhead {};
  // Something else that the granted writer does, in its turn.
  struct Task {
    std::function<Result<LogHead>()> run;
    Advanced done;
    std::size_t bytes = 0;
    bool following = true;  // Refused while submissions are accepted.
  };
  struct Confirmed {};  // Somebody called confirm() while no batch waited for it.
  using Item = std::variant<detail::Pending, Become, Release, VerifyAhead, Task, Confirmed>;
  struct Confirmation {
    LogHead through;
    std::vector<NodeId> stores;
  };
  using Step = std::function<Result<LogHead>(const LogMeta&)>;

  void run();
  std::optional<Item> next();
  std::vector<detail::Pending> take_batch(detail::Pending first);
  Result<void> open_database();
  Result<void> handle_become(Generation generation, Tail tail);
  Result<void> take_over(Generation generation, Tail tail);
  Result<LogHead> verify_chain_from_known(const LogMeta& meta);
  void handle_verify_ahead();
  Result<LogHead> handle_release();
  void commit_batch(std::vector<detail::Pending> batch);
  void commit_replicated(std::vector<detail::Pending>& batch, Replication& replication,
                         std::uint64_t refusals);
  Result<detail::BatchResult> run_batch(std::vector<detail::Pending>& batch,
                                        Replication* replication);
  void finish_batch(std::vector<detail::Pending>& batch, Result<detail::BatchResult> result);
  void announce(Revision committed);
  void checkpoint_if_busy();
  void checkpoint_if_due();
  void refuse_from_now_on(const std::string& code);
  Error after_failure(Error error);
  void fatal(const Error& error);

  void enqueue(Task task);
  void run_task(Task& task);
  Result<LogHead> write(Database::Durability durability, const Step& step);
  Result<LogHead> write_once(const Step& step);
  Result<std::vector<NodeId>> settle(std::uint64_t refusals);
  Result<void> fold(const Confirmation& confirmed);
  void tell_committed(const Confirmation& confirmed);
  void handle_confirmed();
  Result<std::vector<LogEntry>> read_shipped(Epoch turn, const LogHead& before,
                                             const std::vector<std::string>& raw) const;
  Result<LogHead> handle_shipped(Epoch turn, const LogHead& before,
                                 const std::vector<std::string>& raw);
  Result<LogHead> handle_fold(const Confirmation& committed);
  Result<LogHead> handle_cut(const LogHead& common, const std::string& orphan_folder);
  Result<LogHead> handle_install(const std::string& snapshot, Replaces what);
  Result<void> take_place(const LogMeta& snapshot, Replaces what);
  void moved_to(const LogHead& head) {
    verified_ = head;
    const std::lock_guard lock(mutex_);
    last_ = head;
  }
  bool stopping() const {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }
  static Error refusal_error(const std::string& code);
  static Error nothing_stored(Error why);

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  std::size_t queued_bytes_ = 0;
  std::string refusal_ = "not_writer";  // Empty: this is the writer.
  bool stopping_ = false;
  bool failed_ = false;
  bool ahead_queued_ = false;
  LogHead last_;
  std::shared_ptr<Replication> replication_;
  std::deque<Confirmation> confirmed_;  // Not looked at yet.
  bool following_ = false;              // Since refuse_unconfirmed(why_refused_).
  Error why_refused_;
  std::uint64_t refusals_ = 0;  // How often; so that a batch notices one that is over again.

  // Of the thread only (and of start(), before it runs):
  std::optional<Database> db_;
  ino_t inode_ = 0;
  std::optional<LogHead> verified_;  // The chain is known to be good up to here.
  Generation generation_;
  Revision committed_;
  std::optional<Confirmation> unfolded_;  // Confirmed, but the disk was full.
  WallTime not_before_;  // Entries get a later time: none is the same as one that was taken back.
  detail::File hint_;
  int checkpointed_at_ = 0;
  std::thread thread_;
};

}  // namespace everspan::store
