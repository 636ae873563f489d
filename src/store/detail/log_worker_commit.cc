// LogWriter::Worker: everything that touches SQLite.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/check.h"
#include "common/log.h"
#include "store/detail/log_table.h"
#include "store/detail/log_worker.h"
#include "store/detail/suspect.h"

namespace everspan::store {
namespace {

constexpr int kCheckpointPages = 1000;      // When idle; 4 MiB of WAL.
constexpr int kCheckpointPagesBusy = 8000;  // Under load too; 32 MiB.

}  // namespace

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

Result<void> LogWriter::Worker::handle_become(Generation generation, Tail tail) {
  auto taken = take_over(generation, tail);
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

Result<void> LogWriter::Worker::take_over(Generation generation, Tail tail) {
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
  auto head = verify_chain_from_known(*meta);
  if (!head) return fail(head);
  if (tail == Tail::fold) {
    // Every member of the in-sync set, this node alone, has what is appended: it is committed.
    auto folded = detail::fold_through(*db_, head->revision, {options_.node_id});
    if (!folded) return folded;
  }
  if (auto raised = detail::write_generation(*db_, generation); !raised) return raised;
  if (auto committed = transaction->commit(); !committed) return committed;
  committed_ = tail == Tail::fold ? head->revision : meta->committed;
  unfolded_.reset();
  moved_to(*head);
  const std::lock_guard lock(mutex_);
  confirmed_.clear();
  return {};
}

// Only what came since it was looked at is left to check, unless history was cut meanwhile.
Result<LogHead> LogWriter::Worker::verify_chain_from_known(const LogMeta& meta) {
  LogHead from = meta.base;
  if (verified_ && verified_->revision >= from.revision) {
    auto hash = detail::hash_at(*db_, meta, verified_->revision);
    if (hash && *hash == verified_->hash) from = *verified_;
  }
  return detail::verify_chain(*db_, meta, from);
}

void LogWriter::Worker::handle_verify_ahead() {
  struct stat file{};
  const bool same = db_ && ::stat(options_.path.c_str(), &file) == 0 && file.st_ino == inode_;
  if (!same || is_writer() || detail::is_suspect(options_.path)) return;
  auto transaction = ReadTransaction::begin(*db_);
  if (!transaction) return;
  const auto meta = detail::read_meta(*db_);
  if (!meta) return;
  const auto head = verify_chain_from_known(*meta);
  if (head)
    verified_ = *head;
  else
    log_warning("log.bad_ahead", {{"log", options_.path}, {"why", head.error().text()}});
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
  std::shared_ptr<Replication> replication;
  std::optional<Error> refused;
  std::uint64_t refusals = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!refusal_.empty() && refusal_ != "released")  // Superseded or failed with these queued.
      refused = refusal_error(refusal_);
    else if (following_)
      refused = nothing_stored(why_refused_);
    replication = replication_;
    refusals = refusals_;
  }
  if (!refused && committed_ < last().revision) {
    const auto settled = settle(refusals);
    if (!settled) refused = nothing_stored(settled.error());
  }
  if (refused) {
    for (auto& it : batch) it.done(std::unexpected(*refused));
  } else if (replication) {
    commit_replicated(batch, *replication, refusals);
  } else {
    finish_batch(batch, run_batch(batch, nullptr));
  }
}

// Another process's lock is waited for: it is a quick commit, or base kills its holder.
Result<detail::BatchResult> LogWriter::Worker::run_batch(std::vector<detail::Pending>& batch,
                                                         Replication* replication) {
  const detail::BatchContext context{options_.node_id, generation_,
                                     std::max(options_.now(), not_before_)};
  for (;;) {
    auto result = replication == nullptr ? detail::commit_batch(*db_, context, batch)
                                         : detail::append_batch(*db_, context, *replication, batch);
    if (!result && result.error().code == "db_full")
      not_before_ = {context.now.unix_ms + 1};  // It may have been shipped.
    if (result || result.error().code != "db_busy") return result;
    if (stopping()) return std::unexpected(refusal_error("stopped"));
    log_warning("log.waits_for_lock", {{"log", options_.path}});
  }
}

// What a failed transaction means for this writer, and what its callers are told.
Error LogWriter::Worker::after_failure(Error error) {
  const std::string& code = error.code;
  if (code == "superseded") {
    refuse_from_now_on("superseded");
    log_warning("log.superseded", {{"generation", std::to_string(generation_.value)}});
    return refusal_error("superseded");
  }
  if (code == "db_full")
    return {"disk_full", "The disk is full", "Nothing of this write was stored",
            "Free space, then send it again"};
  if (code.starts_with("db_") || code == "bad_log" || code == "bad_chain") {
    fatal(error);
    return refusal_error("log_failed");
  }
  return error;
}

void LogWriter::Worker::finish_batch(std::vector<detail::Pending>& batch,
                                     Result<detail::BatchResult> result) {
  if (!result) {
    const Error error = after_failure(result.error());
    for (auto& it : batch) it.done(std::unexpected(error));
    return;
  }
  if (result->changed) {
    committed_ = result->head.revision;
    moved_to(result->head);
  }
  for (auto& it : batch) {
    check(it.result.has_value(), "a transaction of a batch got no answer");
    it.done(std::move(*it.result));
  }
  if (!result->changed) return;
  announce(committed_);
  checkpoint_if_busy();
}

void LogWriter::Worker::announce(Revision committed) {
  if (options_.head_moved) options_.head_moved(committed);
  if (!hint_) return;
  std::string bytes;
  put_u64(bytes, committed.value);
  // A hint: it may fail, and a full disk is reported by the log itself.
  [[maybe_unused]] const auto written = ::pwrite(hint_.fd(), bytes.data(), bytes.size(), 0);
}

void LogWriter::Worker::checkpoint_if_busy() {
  if (db_->wal_pages() >= kCheckpointPagesBusy) checkpoint_if_due();
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

}  // namespace everspan::store
