#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <variant>

#include "common/check.h"
#include "common/log.h"
#include "store/detail/files.h"
#include "store/detail/log_batch.h"
#include "store/detail/log_table.h"
#include "store/detail/suspect.h"
#include "store/log.h"

namespace everspan::store {
namespace {

constexpr std::size_t kQueueTransactionsMax = 8192;
constexpr std::size_t kQueueBytesMax = 64 * 1024 * 1024;
constexpr std::size_t kBatchTransactionsMax = 512;  // Bounds how long one fsync's group may grow.
constexpr std::size_t kBatchBytesMax = 8 * 1024 * 1024;
constexpr int kCheckpointPages = 1000;      // When idle; 4 MiB of WAL.
constexpr int kCheckpointPagesBusy = 8000;  // Under load too; 32 MiB.

}  // namespace

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
  using Item = std::variant<detail::Pending, Become, Release>;

  void run();
  std::optional<Item> next();
  Result<void> open_database();
  Result<void> handle_become(Generation generation);
  Result<void> take_over(Generation generation);
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

  // Of the thread only (and of start(), before it runs):
  std::optional<Database> db_;
  ino_t inode_ = 0;
  std::optional<LogHead> verified_;  // The chain is known to be good up to here.
  Generation generation_;
  detail::File hint_;
  int checkpointed_at_ = 0;
  std::thread thread_;
};

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
  return {code, "This process does not write", "Nothing of this write was stored",
          "Send it to the writer"};
}

Result<void> LogWriter::Worker::start() {
  if (!options_.now) return fail("bad_options", "LogWriter needs a clock");
  const bool suspect = detail::is_suspect(options_.path);
  if (!suspect && !detail::path_exists(options_.path)) {
    if (!options_.new_site)
      return fail("not_found", "There is no log at " + options_.path, "",
                  "Start a new site or join one");
    if (auto made = detail::create_log_file(options_.path, options_.node_id, *options_.new_site);
        !made)
      return made;
  }
  // A suspect log is copied by the granted writer only, and checked then.
  if (!suspect) {
    if (auto opened = open_database(); !opened) return opened;
    if (auto good = db_->integrity_check(); !good) return good;
    auto transaction = ReadTransaction::begin(*db_);
    if (!transaction) return fail(transaction);
    auto meta = detail::read_meta(*db_);
    if (!meta) return fail(meta);
    if (meta->node_id != options_.node_id)
      return fail("wrong_node", "This log belongs to node " + meta->node_id.hex(),
                  "It was not touched");
    auto head = detail::verify_chain(*db_, *meta, meta->base);
    if (!head) return fail(head);
    verified_ = *head;
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

Result<void> LogWriter::Worker::open_database() {
  db_.reset();
  struct stat file{};
  if (::stat(options_.path.c_str(), &file) != 0)
    return fail_errno("not_found", "Open " + options_.path, errno);
  Database::Options how;
  how.busy_wait = options_.lock_wait;
  how.auto_checkpoint = false;
  how.vfs = options_.vfs;
  auto db = Database::open(options_.path, how);
  if (!db) return fail(db);
  if (auto good = detail::check_format(*db); !good) return good;
  db_.emplace(std::move(*db));
  inode_ = file.st_ino;
  checkpointed_at_ = 0;
  return {};
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
  {
    const std::lock_guard lock(mutex_);
    if (stopping_)
      refusal = "stopped";
    else if (!refusal_.empty())
      refusal = refusal_;
    else if (queue_.size() >= kQueueTransactionsMax ||
             queued_bytes_ + pending.bytes > kQueueBytesMax)
      refusal = "slow_down";
    else {
      queued_bytes_ += pending.bytes;
      pending.done = std::move(done);
      queue_.emplace_back(std::move(pending));
    }
  }
  if (refusal.empty()) return wake_.notify_one();
  if (refusal == "slow_down")
    return done(fail("slow_down", "Too many writes wait for the disk", "Nothing was stored",
                     "Send it again in a moment"));
  done(std::unexpected(refusal_error(refusal)));
}

Result<void> LogWriter::Worker::become_writer(Generation generation) {
  std::future<Result<void>> done;
  {
    const std::lock_guard lock(mutex_);
    if (failed_) return std::unexpected(refusal_error("log_failed"));
    if (stopping_) return std::unexpected(refusal_error("stopped"));
    Become item{generation, {}};
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

void LogWriter::Worker::run() {
  for (;;) {
    auto item = next();
    if (!item) break;
    if (auto* become = std::get_if<Become>(&*item)) {
      become->done.set_value(handle_become(become->generation));
    } else if (auto* release = std::get_if<Release>(&*item)) {
      release->done(handle_release());
    } else {
      std::vector<detail::Pending> batch;
      std::size_t bytes = 0;
      {
        const std::lock_guard lock(mutex_);
        auto* first = &std::get<detail::Pending>(*item);
        bytes = first->bytes;
        batch.push_back(std::move(*first));
        while (!queue_.empty() && std::holds_alternative<detail::Pending>(queue_.front()) &&
               batch.size() < kBatchTransactionsMax && bytes < kBatchBytesMax) {
          batch.push_back(std::move(std::get<detail::Pending>(queue_.front())));
          bytes += batch.back().bytes;
          queue_.pop_front();
        }
        queued_bytes_ -= bytes;
      }
      commit_batch(std::move(batch));
    }
  }
  // Whoever still waits gets an answer.
  for (Item& item : queue_) {
    if (auto* pending = std::get_if<detail::Pending>(&item))
      pending->done(std::unexpected(refusal_error("stopped")));
    else if (auto* become = std::get_if<Become>(&item))
      become->done.set_value(std::unexpected(refusal_error("stopped")));
    else
      std::get<Release>(item).done(std::unexpected(refusal_error("stopped")));
  }
}

std::optional<LogWriter::Worker::Item> LogWriter::Worker::next() {
  std::unique_lock lock(mutex_);
  if (queue_.empty() && db_ && refusal_.empty() && !stopping_) {
    lock.unlock();
    checkpoint_if_due();
    lock.lock();
  }
  wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (stopping_) return std::nullopt;
  Item item = std::move(queue_.front());
  queue_.pop_front();
  return item;
}

Result<void> LogWriter::Worker::handle_become(Generation generation) {
  auto taken = take_over(generation);
  if (!taken) {
    if (taken.error().code == "db_io") fatal(taken.error());
    return taken;
  }
  generation_ = generation;
  // A hint only: without it learners look when they next ask.
  auto hint = detail::File::open(options_.path + ".head", O_CREAT | O_WRONLY);
  if (hint) hint_ = std::move(*hint);
  const std::lock_guard lock(mutex_);
  refusal_.clear();
  return {};
}

Result<void> LogWriter::Worker::take_over(Generation generation) {
  if (detail::is_suspect(options_.path)) {
    db_.reset();
    verified_.reset();
    if (auto replaced = detail::replace_suspect_log(options_.path); !replaced) return replaced;
  }
  struct stat file{};
  if (!db_ || ::stat(options_.path.c_str(), &file) != 0 || file.st_ino != inode_) {
    verified_.reset();
    if (auto opened = open_database(); !opened) return opened;
  }
  auto transaction = WriteTransaction::begin(*db_);
  if (!transaction) return fail(transaction);
  auto meta = detail::read_meta(*db_);
  if (!meta) return fail(meta);
  if (meta->node_id != options_.node_id)
    return fail("wrong_node", "This log belongs to node " + meta->node_id.hex());
  if (generation <= meta->generation)
    return fail("generation_not_higher",
                "The log has generation " + std::to_string(meta->generation.value) +
                    ", not below " + std::to_string(generation.value),
                "Nothing was changed");
  // Only what came since open() is left to check, unless history was cut meanwhile.
  LogHead from = meta->base;
  if (verified_ && verified_->revision >= from.revision) {
    auto hash = detail::hash_at(*db_, *meta, verified_->revision);
    if (hash && *hash == verified_->hash) from = *verified_;
  }
  auto head = detail::verify_chain(*db_, *meta, from);
  if (!head) return fail(head);
  // Every member of the in-sync set, this node alone, has what is appended: it is committed.
  if (auto folded = detail::fold_through(*db_, head->revision, {options_.node_id}); !folded)
    return folded;
  if (auto raised = detail::write_generation(*db_, generation); !raised) return raised;
  if (auto committed = transaction->commit(); !committed) return committed;
  verified_ = *head;
  return {};
}

Result<LogHead> LogWriter::Worker::handle_release() {
  if (!db_) return std::unexpected(refusal_error("log_failed"));
  auto transaction = ReadTransaction::begin(*db_);
  if (!transaction) return fail(transaction);
  auto meta = detail::read_meta(*db_);
  if (!meta) return fail(meta);
  return meta->head;
}

void LogWriter::Worker::commit_batch(std::vector<detail::Pending> batch) {
  {
    const std::lock_guard lock(mutex_);
    if (!refusal_.empty() && refusal_ != "released") {  // Superseded or failed with these queued.
      const Error error = refusal_error(refusal_);
      for (auto& it : batch) it.result = std::unexpected(error);
    }
  }
  const bool refused = batch.front().result.has_value();
  if (!refused) {
    auto result = commit_when_free(batch);
    return finish_batch(batch, std::move(result));
  }
  for (auto& it : batch) it.done(std::move(*it.result));
}

// Another process's lock is waited for: it is a quick commit, or base kills its holder.
Result<detail::BatchResult> LogWriter::Worker::commit_when_free(
    std::vector<detail::Pending>& batch) {
  const detail::BatchContext context{options_.node_id, generation_, options_.now()};
  for (;;) {
    auto result = detail::commit_batch(*db_, context, batch);
    if (result || result.error().code != "db_busy") return result;
    if (stopping()) return std::unexpected(refusal_error("stopped"));
    log_warning("log.waits_for_lock", {{"log", options_.path}});
  }
}

void LogWriter::Worker::finish_batch(std::vector<detail::Pending>& batch,
                                     Result<detail::BatchResult> result) {
  if (!result) {
    Error error = result.error();
    if (error.code == "superseded") {
      refuse_from_now_on("superseded");
      log_warning("log.superseded", {{"generation", std::to_string(generation_.value)}});
      error = refusal_error("superseded");
    } else if (error.code == "db_full") {
      error = {"disk_full", "The disk is full", "Nothing of this write was stored",
               "Free space, then send it again"};
    } else if (error.code != "stopped") {
      fatal(error);
      error = refusal_error("log_failed");
    }
    for (auto& it : batch) it.done(std::unexpected(error));
    return;
  }
  for (auto& it : batch) {
    check(it.result.has_value(), "a transaction of a batch got no answer");
    it.done(std::move(*it.result));
  }
  if (!result->changed) return;
  verified_ = result->head;
  announce(result->head.revision);
  if (db_->wal_pages() >= kCheckpointPagesBusy) checkpoint_if_due();
}

void LogWriter::Worker::announce(Revision committed) {
  if (options_.head_moved) options_.head_moved(committed);
  if (!hint_) return;
  std::string bytes;
  put_u64(bytes, committed.value);
  // A hint: it may fail, and a full disk is reported by the log itself.
  [[maybe_unused]] const auto written = ::pwrite(hint_.fd(), bytes.data(), bytes.size(), 0);
}

// Never waits for a reader; when one keeps the WAL from shrinking, tries again 1,000 pages later.
void LogWriter::Worker::checkpoint_if_due() {
  const int pages = db_->wal_pages();
  if (pages < checkpointed_at_) checkpointed_at_ = 0;  // The WAL began anew.
  if (pages - checkpointed_at_ < kCheckpointPages) return;
  checkpointed_at_ = pages;
  auto done = db_->checkpoint();
  if (done) return;
  if (done.error().code == "db_io") return fatal(done.error());
  log_warning("log.checkpoint_failed", {{"why", done.error().message}});
}

void LogWriter::Worker::refuse_from_now_on(const std::string& code) {
  const std::lock_guard lock(mutex_);
  refusal_ = code;
}

void LogWriter::Worker::fatal(const Error& error) {
  detail::mark_suspect(options_.path);
  log_error("log.failed", {{"log", options_.path}, {"why", error.text()}});
  if (!options_.on_fatal) ::_exit(kLogFatalExit);
  {
    const std::lock_guard lock(mutex_);
    refusal_ = "log_failed";
    failed_ = true;
  }
  options_.on_fatal(error);
}

LogWriter::LogWriter(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
LogWriter::~LogWriter() = default;

Result<std::unique_ptr<LogWriter>> LogWriter::open(Options options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (auto started = worker->start(); !started) return fail(started);
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(worker)));
}
Result<void> LogWriter::become_writer(Generation generation) {
  return worker_->become_writer(generation);
}
void LogWriter::submit(Transaction transaction, Done done) {
  worker_->submit(std::move(transaction), std::move(done));
}
void LogWriter::release(Released released) {
  worker_->release(std::move(released));
}
bool LogWriter::is_writer() const {
  return worker_->is_writer();
}

Result<Outcome> LogWriter::submit_and_wait(Transaction transaction) {
  std::promise<Result<Outcome>> promise;
  auto future = promise.get_future();
  submit(std::move(transaction),
         [&](Result<Outcome> result) { promise.set_value(std::move(result)); });
  return future.get();
}
Result<LogHead> LogWriter::release_and_wait() {
  std::promise<Result<LogHead>> promise;
  auto future = promise.get_future();
  release([&](Result<LogHead> result) { promise.set_value(std::move(result)); });
  return future.get();
}

Write Write::put(std::string kind, std::string key, std::string bytes,
                 std::optional<Revision> expected) {
  return {{Action::put, std::move(kind), std::move(key), std::move(bytes)}, expected};
}
Write Write::erase(std::string kind, std::string key, std::optional<Revision> expected) {
  return {{Action::erase, std::move(kind), std::move(key), {}}, expected};
}

}  // namespace everspan::store
