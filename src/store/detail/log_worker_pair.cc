// LogWriter::Worker: what a pair adds. The primary's side: a batch is appended, waits until the
// other stores have it, and is folded. The follower's: append what is shipped, fold as far as the
// primary did, cut what the primary does not have.
#include <utility>

#include "common/log.h"
#include "store/detail/log_table.h"
#include "store/detail/log_worker.h"
#include "store/detail/orphan_file.h"

namespace everspan::store {
namespace {

constexpr std::size_t kConfirmationsMax = 64;  // A later one says more; the first may go.

std::string at(Revision revision) {
  return "revision " + std::to_string(revision.value);
}

auto epoch_lower(Epoch epoch, Epoch known) {
  return fail("epoch_lower",
              "Epoch " + std::to_string(epoch.value) + " is over: this log knows epoch " +
                  std::to_string(known.value),
              "Nothing was changed", "Ask the register who the primary is");
}

}  // namespace

void LogWriter::Worker::set_replication(std::shared_ptr<Replication> replication) {
  const std::lock_guard lock(mutex_);
  replication_ = std::move(replication);
}

void LogWriter::Worker::confirm(LogHead through, std::vector<NodeId> stores) {
  {
    const std::lock_guard lock(mutex_);
    if (following_ || stopping_) return;
    if (confirmed_.size() == kConfirmationsMax) confirmed_.pop_front();
    confirmed_.push_back({through, std::move(stores)});
  }
  wake_.notify_one();
}

void LogWriter::Worker::refuse_unconfirmed(Error why) {
  {
    const std::lock_guard lock(mutex_);
    following_ = true;
    why_refused_ = std::move(why);
    ++refusals_;
    confirmed_.clear();  // By a register that is not in force any more: another node commits now.
  }
  wake_.notify_one();
}

void LogWriter::Worker::accept_again() {
  const std::lock_guard lock(mutex_);
  following_ = false;
  confirmed_.clear();
}

// Waits until every member of the in-sync set has what is appended, commits it, and returns who
// has it. `refusals`: as of when the caller found that it may go on.
Result<std::vector<NodeId>> LogWriter::Worker::settle(std::uint64_t refusals) {
  const LogHead head = last();
  if (unfolded_ && unfolded_->through == head) {
    Confirmation again = *unfolded_;
    if (auto folded = fold(again); !folded) return fail(folded);
    return std::move(again.stores);
  }
  for (;;) {
    std::deque<Confirmation> news;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || refusals_ != refusals || !confirmed_.empty(); });
      news.swap(confirmed_);
      if (news.empty()) return std::unexpected(stopping_ ? refusal_error("stopped") : why_refused_);
    }
    for (Confirmation& it : news) {
      if (it.through != head) continue;  // Part of it, or of a history that was taken back.
      if (auto folded = fold(it); !folded) return fail(folded);
      return std::move(it.stores);
    }
  }
}

Result<void> LogWriter::Worker::fold(const Confirmation& confirmed) {
  auto folded = write(Database::Durability::normal, [&](const LogMeta&) -> Result<LogHead> {
    auto done = detail::fold_through(*db_, confirmed.through.revision, confirmed.stores);
    if (!done) return fail(done);
    return confirmed.through;
  });
  if (folded) {
    committed_ = confirmed.through.revision;
    unfolded_.reset();
    return {};
  }
  if (folded.error().code == "db_full") unfolded_ = confirmed;  // The next batch tries again.
  return std::unexpected(after_failure(folded.error()));
}

void LogWriter::Worker::tell_committed(const Confirmation& confirmed) {
  std::shared_ptr<Replication> replication;
  {
    const std::lock_guard lock(mutex_);
    replication = replication_;
  }
  if (replication) replication->committed(confirmed.through, confirmed.stores);
  announce(confirmed.through.revision);
}

void LogWriter::Worker::commit_replicated(std::vector<detail::Pending>& batch,
                                          Replication& replication, std::uint64_t refusals) {
  auto appended = run_batch(batch, &replication);
  if (!appended || !appended->changed) return finish_batch(batch, std::move(appended));
  moved_to(appended->head);
  auto settled = settle(refusals);
  for (auto& it : batch) {
    Result<Outcome>& result = *it.result;
    if (result && result->revision > appended->before.revision) {
      if (settled) {
        result->stores = *settled;
      } else {
        result = std::unexpected(settled.error());
        result.error().kept = kOutcomeUnknown;
        result.error().next = "Send it again with the same request id";
      }
    }
    it.done(std::move(result));
  }
  if (!settled) return;
  tell_committed({appended->head, std::move(*settled)});
  checkpoint_if_busy();
}

// Nobody waits for these: they commit what was left appended, whole or in part.
void LogWriter::Worker::handle_confirmed() {
  std::deque<Confirmation> news;
  {
    const std::lock_guard lock(mutex_);
    news.swap(confirmed_);
    if (!refusal_.empty() && refusal_ != "released") return;
  }
  for (const Confirmation& it : news) {
    if (it.through.revision <= committed_ || it.through.revision > last().revision) continue;
    const auto meta = detail::read_meta(*db_);
    const auto hash = meta ? detail::hash_at(*db_, *meta, it.through.revision) : fail(meta);
    if (!hash || *hash != it.through.hash) continue;
    auto folded = fold(it);
    if (folded)
      tell_committed(it);
    else
      log_warning("log.fold_failed", {{"why", folded.error().text()}});
  }
}

// One transaction of the granted writer's. Waits for another process's lock, as a batch does.
Result<LogHead> LogWriter::Worker::write(Database::Durability durability, const Step& step) {
  const bool quick = durability == Database::Durability::normal;
  if (quick)
    if (auto set = db_->set_durability(durability); !set) return fail(set);
  auto written = write_once(step);
  if (quick)
    if (auto set = db_->set_durability(Database::Durability::full); !set) return fail(set);
  return written;
}

Result<LogHead> LogWriter::Worker::write_once(const Step& step) {
  for (;;) {
    auto transaction = WriteTransaction::begin(*db_);
    if (!transaction) {
      if (transaction.error().code != "db_busy") return fail(transaction);
      if (stopping()) return std::unexpected(refusal_error("stopped"));
      log_warning("log.waits_for_lock", {{"log", options_.path}});
      continue;
    }
    auto meta = detail::read_meta(*db_);
    if (!meta) return fail(meta);
    if (meta->generation != generation_)
      return fail("superseded", "The log has generation " + std::to_string(meta->generation.value));
    auto head = step(*meta);
    if (!head) return head;
    if (auto committed = transaction->commit(); !committed) return fail(committed);
    return head;
  }
}

void LogWriter::Worker::run_task(Task& task) {
  std::optional<Error> refused;
  {
    const std::lock_guard lock(mutex_);
    if (!refusal_.empty() && refusal_ != "released")
      refused = refusal_error(refusal_);
    else if (task.following && !following_)
      refused = refusal_error("leading");
  }
  if (refused) return task.done(std::unexpected(*refused));
  auto result = task.run();
  if (!result) result = std::unexpected(after_failure(result.error()));
  const bool good = result.has_value();
  task.done(std::move(result));
  if (good) checkpoint_if_busy();
}

void LogWriter::Worker::append_shipped(Epoch turn, LogHead before, std::vector<std::string> entries,
                                       Advanced done) {
  std::size_t bytes = 0;
  for (const std::string& it : entries) bytes += it.size();
  if (entries.size() > kShippedEntriesMax || bytes > kShippedBytesMax)
    return done(fail("too_large", "Too many entries were shipped at once", "Nothing was appended",
                     "Ship fewer"));
  enqueue(
      {[this, turn, before, raw = std::move(entries)] { return handle_shipped(turn, before, raw); },
       std::move(done), bytes});
}

// What can be said of them without the log.
Result<std::vector<LogEntry>> LogWriter::Worker::read_shipped(
    Epoch turn, const LogHead& before, const std::vector<std::string>& raw) const {
  std::vector<LogEntry> entries;
  entries.reserve(raw.size());
  Revision revision = before.revision;
  for (const std::string& bytes : raw) {
    auto entry = decode_entry(bytes);
    if (!entry) return fail(entry);
    revision = revision.next();
    if (entry->revision != revision)
      return fail("bad_entry",
                  "An entry was shipped as " + at(revision) + " and is " + at(entry->revision));
    if (entry->epoch > turn)
      return fail("bad_entry",
                  "The entry at " + at(revision) + " is of a later epoch than its sender");
    if (options_.admit_shipped)
      if (auto admitted = options_.admit_shipped(*entry); !admitted) return fail(admitted);
    entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<LogHead> LogWriter::Worker::handle_shipped(Epoch turn, const LogHead& before,
                                                  const std::vector<std::string>& raw) {
  auto entries = read_shipped(turn, before, raw);
  if (!entries) return fail(entries);
  auto head = write(Database::Durability::full, [&](const LogMeta& meta) -> Result<LogHead> {
    if (turn < meta.epoch) return epoch_lower(turn, meta.epoch);
    if (before != meta.head)
      return fail("not_next",
                  "This log ends at " + at(meta.head.revision) +
                      (before.revision == meta.head.revision ? ", with another history" : ""),
                  "Nothing was appended", "Ship what follows there");
    LineageId lineage = meta.lineage;
    if (lineage.is_zero() && meta.head.revision == Revision{} && !entries->empty()) {
      lineage = entries->front().lineage;  // A node that joins has no history of its own.
      if (auto set = detail::write_lineage(*db_, lineage); !set) return fail(set);
    }
    if (turn > meta.epoch)
      if (auto raised = detail::write_epoch(*db_, turn); !raised) return fail(raised);
    LogHead head = meta.head;
    for (std::size_t i = 0; i < entries->size(); ++i) {
      const LogEntry& entry = (*entries)[i];
      if (entry.lineage != lineage)
        return fail("other_lineage",
                    "The entry at " + at(entry.revision) + " is of lineage " + entry.lineage.hex() +
                        ", this log is of " + lineage.hex(),
                    "Nothing was appended", "A person decides which one goes on");
      head = {entry.revision, chain_hash(head.hash, raw[i])};
      if (auto appended = detail::append_entry(*db_, entry, head.hash); !appended)
        return fail(appended);
    }
    if (entries->empty()) return head;
    if (auto moved = detail::write_head(*db_, head); !moved) return fail(moved);
    return head;
  });
  if (head) moved_to(*head);
  return head;
}

void LogWriter::Worker::fold_shipped(LogHead committed, std::vector<NodeId> stores, Advanced done) {
  enqueue({[this, it = Confirmation{committed, std::move(stores)}] { return handle_fold(it); },
           std::move(done)});
}

Result<LogHead> LogWriter::Worker::handle_fold(const Confirmation& committed) {
  const LogHead& to = committed.through;
  auto stands = write(Database::Durability::normal, [&](const LogMeta& meta) -> Result<LogHead> {
    if (to.revision > meta.head.revision)
      return fail("not_next", "This log ends before, at " + at(meta.head.revision),
                  "Nothing was committed", "Ship it first");
    if (to.revision >= meta.base.revision) {
      const auto hash = detail::hash_at(*db_, meta, to.revision);
      if (!hash) return fail(hash);
      if (*hash != to.hash)
        return fail("diverged", "Another history stands at " + at(to.revision),
                    "Nothing was committed");
    }
    if (to.revision > meta.committed) {
      auto folded = detail::fold_through(*db_, to.revision, committed.stores);
      if (!folded) return fail(folded);
      return to;
    }
    const auto hash = detail::hash_at(*db_, meta, meta.committed);
    if (!hash) return fail(hash);
    return LogHead{meta.committed, *hash};
  });
  if (stands && stands->revision > committed_) {
    committed_ = stands->revision;
    announce(committed_);
  }
  return stands;
}

void LogWriter::Worker::cut_to(LogHead common, std::string orphan_folder, Advanced done) {
  enqueue({[this, common, folder = std::move(orphan_folder)] { return handle_cut(common, folder); },
           std::move(done)});
}

Result<LogHead> LogWriter::Worker::handle_cut(const LogHead& common, const std::string& folder) {
  auto head = write(Database::Durability::full, [&](const LogMeta& meta) -> Result<LogHead> {
    if (common.revision < meta.committed)
      return fail("committed",
                  "History up to " + at(meta.committed) +
                      " is committed here, and would be cut to " + at(common.revision),
                  "Nothing was cut", "A person decides which side goes on");
    const bool beyond = common.revision > meta.head.revision;
    const auto hash = beyond ? Result<Sha256>() : detail::hash_at(*db_, meta, common.revision);
    if (!hash) return fail(hash);
    if (beyond || *hash != common.hash)
      return fail("not_ancestor",
                  "This history does not pass through the given point at " + at(common.revision),
                  "Nothing was cut");
    if (common == meta.head) return common;
    auto orphan = detail::write_orphan(*db_, meta, common, folder);
    if (!orphan) return fail(orphan);
    if (auto cut = detail::cut_after(*db_, common); !cut) return fail(cut);
    log_warning("log.cut", {{"to", std::to_string(common.revision.value)},
                            {"from", std::to_string(meta.head.revision.value)},
                            {"kept_in", *orphan}});
    return common;
  });
  if (head) moved_to(*head);
  return head;
}

void LogWriter::Worker::raise_epoch(Epoch epoch, Advanced done) {
  auto run = [this, epoch] {
    return write(Database::Durability::full, [&](const LogMeta& meta) -> Result<LogHead> {
      if (epoch < meta.epoch) return epoch_lower(epoch, meta.epoch);
      if (epoch == meta.epoch) return meta.head;
      if (auto raised = detail::write_epoch(*db_, epoch); !raised) return fail(raised);
      return meta.head;
    });
  };
  enqueue({std::move(run), std::move(done), 0, false});
}

void LogWriter::Worker::begin_lineage(LineageId lineage, Epoch epoch, Advanced done) {
  auto run = [this, lineage, epoch]() -> Result<LogHead> {
    if (lineage.is_zero()) return fail("bad_lineage", "A lineage has an id", "Nothing was changed");
    return write(Database::Durability::full, [&](const LogMeta& meta) -> Result<LogHead> {
      if (epoch < meta.epoch) return epoch_lower(epoch, meta.epoch);
      if (auto begun = detail::write_lineage(*db_, lineage); !begun) return fail(begun);
      if (auto raised = detail::write_epoch(*db_, epoch); !raised) return fail(raised);
      return meta.head;
    });
  };
  enqueue({std::move(run), std::move(done), 0, false});
}

}  // namespace everspan::store
