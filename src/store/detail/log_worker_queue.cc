// LogWriter::Worker: who may submit, what waits, and which answer is given at once.
#include <utility>

#include "store/detail/log_worker.h"

namespace everspan::store {
namespace {

constexpr std::size_t kQueueTransactionsMax = 8192;
constexpr std::size_t kQueueBytesMax = 64 * 1024 * 1024;
constexpr std::size_t kBatchTransactionsMax = 512;  // Bounds how long one fsync's group may grow.
constexpr std::size_t kBatchBytesMax = 8 * 1024 * 1024;

}  // namespace

// `why` was said of a batch whose outcome nobody knows; this one is not even appended.
Error LogWriter::Worker::nothing_stored(Error why) {
  why.kept = "Nothing of this write was stored";
  return why;
}

Error LogWriter::Worker::refusal_error(const std::string& code) {
  if (code == "superseded")
    return {code, "Another process took over writing", "Nothing of this write was stored",
            "Send it again: the new process answers"};
  if (code == "released")
    return {code, "This process hands over writing", "Nothing of this write was stored",
            "Forward it to the next writer"};
  if (code == "stopped")
    return {code, "This process is ending", "Nothing of this write was stored", "Send it again"};
  if (code == "log_failed")
    return {code, "The log had an I/O error", "What was acknowledged before is kept",
            "Look at the disk; the site starts again with a copy"};
  if (code == "slow_down")
    return {code, "Too many writes wait for the disk", "Nothing was stored",
            "Send it again in a moment"};
  if (code == "leading")
    return {code, "This log is written here and follows no other", "Nothing was changed",
            "Give up writing it first"};
  return {code, "This process does not write", "Nothing of this write was stored",
          "Send it to the writer"};
}

void LogWriter::Worker::submit(Transaction transaction, Done done) {
  std::vector<Operation> operations;
  operations.reserve(transaction.writes.size());
  for (Write& it : transaction.writes) operations.push_back(std::move(it.operation));
  if (auto good = check_operations(operations); !good) return done(fail(good));
  detail::Pending pending;
  for (const Write& it : transaction.writes) pending.expected.push_back(it.expected);
  pending.operations = std::move(operations);
  pending.request_id = transaction.request_id;
  pending.flags = transaction.flags;
  pending.feature_level = transaction.feature_level;
  pending.bytes = 0;
  for (const Operation& it : pending.operations)
    pending.bytes += it.kind.size() + it.key.size() + it.bytes.size() + 16;
  std::string refusal;
  Error why;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_)
      refusal = "stopped";
    else if (!refusal_.empty())
      refusal = refusal_;
    else if (following_) {
      refusal = "following";
      why = why_refused_;
    } else if (queue_.size() >= kQueueTransactionsMax ||
               queued_bytes_ + pending.bytes > kQueueBytesMax)
      refusal = "slow_down";
    else {
      queued_bytes_ += pending.bytes;
      pending.done = std::move(done);
      queue_.emplace_back(std::move(pending));
    }
  }
  if (refusal.empty()) return wake_.notify_one();
  done(std::unexpected(refusal == "following" ? nothing_stored(why) : refusal_error(refusal)));
}

void LogWriter::Worker::enqueue(Task task) {
  std::string refusal;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_)
      refusal = "stopped";
    else if (!refusal_.empty())
      refusal = refusal_;
    else if (task.following && !following_)
      refusal = "leading";
    else if (queue_.size() >= kQueueTransactionsMax || queued_bytes_ + task.bytes > kQueueBytesMax)
      refusal = "slow_down";
    else {
      queued_bytes_ += task.bytes;
      queue_.emplace_back(std::move(task));
    }
  }
  if (refusal.empty()) return wake_.notify_one();
  task.done(std::unexpected(refusal_error(refusal)));
}

Result<void> LogWriter::Worker::become_writer(Generation generation, Tail tail) {
  std::future<Result<void>> done;
  {
    const std::lock_guard lock(mutex_);
    if (failed_) return std::unexpected(refusal_error("log_failed"));
    if (stopping_) return std::unexpected(refusal_error("stopped"));
    Become item{generation, tail, {}};
    done = item.done.get_future();
    queue_.emplace_back(std::move(item));
  }
  wake_.notify_one();
  return done.get();
}

void LogWriter::Worker::release(Released released) {
  {
    const std::lock_guard lock(mutex_);
    if (refusal_.empty()) refusal_ = "released";
    queue_.emplace_back(Release{std::move(released)});
  }
  wake_.notify_one();
}

void LogWriter::Worker::verify_ahead() {
  {
    const std::lock_guard lock(mutex_);
    if (failed_ || stopping_ || refusal_.empty() || std::exchange(ahead_queued_, true)) return;
    queue_.emplace_back(VerifyAhead{});
  }
  wake_.notify_one();
}

void LogWriter::Worker::run() {
  for (;;) {
    auto item = next();
    if (!item) break;
    if (auto* become = std::get_if<Become>(&*item)) {
      become->done.set_value(handle_become(become->generation, become->tail));
    } else if (auto* release = std::get_if<Release>(&*item)) {
      release->done(handle_release());
    } else if (std::holds_alternative<VerifyAhead>(*item)) {
      {
        const std::lock_guard lock(mutex_);
        ahead_queued_ = false;
      }
      handle_verify_ahead();
    } else if (std::holds_alternative<Confirmed>(*item)) {
      handle_confirmed();
    } else if (auto* task = std::get_if<Task>(&*item)) {
      run_task(*task);
    } else {
      commit_batch(take_batch(std::move(std::get<detail::Pending>(*item))));
    }
  }
  // Whoever still waits gets an answer.
  for (Item& item : queue_) {
    if (auto* pending = std::get_if<detail::Pending>(&item))
      pending->done(std::unexpected(refusal_error("stopped")));
    else if (auto* become = std::get_if<Become>(&item))
      become->done.set_value(std::unexpected(refusal_error("stopped")));
    else if (auto* release = std::get_if<Release>(&item))
      release->done(std::unexpected(refusal_error("stopped")));
    else if (auto* task = std::get_if<Task>(&item))
      task->done(std::unexpected(refusal_error("stopped")));
  }
}

// Everything that waits shares one fsync, within bounds.
std::vector<detail::Pending> LogWriter::Worker::take_batch(detail::Pending first) {
  std::vector<detail::Pending> batch;
  std::size_t bytes = first.bytes;
  batch.push_back(std::move(first));
  const std::lock_guard lock(mutex_);
  while (!queue_.empty() && std::holds_alternative<detail::Pending>(queue_.front()) &&
         batch.size() < kBatchTransactionsMax && bytes < kBatchBytesMax) {
    batch.push_back(std::move(std::get<detail::Pending>(queue_.front())));
    bytes += batch.back().bytes;
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  return batch;
}

std::optional<LogWriter::Worker::Item> LogWriter::Worker::next() {
  std::unique_lock lock(mutex_);
  if (queue_.empty() && confirmed_.empty() && db_ && refusal_.empty() && !stopping_) {
    lock.unlock();
    checkpoint_if_due();
    lock.lock();
  }
  wake_.wait(lock, [this] { return stopping_ || !queue_.empty() || !confirmed_.empty(); });
  if (stopping_) return std::nullopt;
  if (!confirmed_.empty()) return Confirmed{};
  Item item = std::move(queue_.front());
  queue_.pop_front();
  if (const auto* task = std::get_if<Task>(&item)) queued_bytes_ -= task->bytes;
  return item;
}

}  // namespace everspan::store
