// LogWriter::Worker: history that is not needed any more. A snapshot of the primary's log takes the
// place of this one; old entries go.
#include <memory>
#include <utility>

#include "common/bytes.h"
#include "common/failpoint.h"
#include "store/detail/files.h"
#include "store/detail/log_table.h"
#include "store/detail/log_worker.h"
#include "store/detail/snapshot.h"
#include "store/detail/suspect.h"

namespace everspan::store {
namespace {

std::string at(Revision revision) {
  return "revision " + std::to_string(revision.value);
}

// What an earlier snapshot replaced is never overwritten; an empty log is worth no file of its own.
std::string free_suffix(const std::string& path, const LogHead& head) {
  if (head.revision == Revision{}) return ".old-empty";
  const std::string suffix = ".old-" + std::to_string(head.revision.value) + "-" +
                             to_hex(Bytes(head.hash.data(), head.hash.size())).substr(0, 8);
  std::string free = suffix;
  for (int n = 2; detail::path_exists(path + free); ++n) free = suffix + "." + std::to_string(n);
  return free;
}

// May `ours` go for `snapshot` without a person's word?
Result<void> check_behind(const LogMeta& ours, const LogMeta& snapshot) {
  if (ours.head.revision == Revision{} && ours.lineage.is_zero()) return {};
  if (ours.lineage != snapshot.lineage)
    return fail("other_lineage",
                "The snapshot is of lineage " + snapshot.lineage.hex() + ", this log of " +
                    ours.lineage.hex(),
                "Nothing was changed", "A person decides which one goes on");
  if (snapshot.epoch < ours.epoch)
    return fail("epoch_lower",
                "The snapshot is of epoch " + std::to_string(snapshot.epoch.value) +
                    ", this log knows epoch " + std::to_string(ours.epoch.value),
                "Nothing was changed", "Ask the register who the primary is");
  if (snapshot.head.revision < ours.committed)
    return fail("committed",
                "The snapshot ends at " + at(snapshot.head.revision) +
                    ", and this log has committed up to " + at(ours.committed),
                "Nothing was changed", "A person decides which side goes on");
  return {};
}

}  // namespace

void LogWriter::Worker::install_snapshot(std::string snapshot, Replaces what, Advanced done) {
  enqueue({[this, from = std::move(snapshot), what] { return handle_install(from, what); },
           std::move(done)});
}

Result<LogHead> LogWriter::Worker::handle_install(const std::string& snapshot, Replaces what) {
  const std::string& path = options_.path;
  if (auto gone = detail::remove_replacement(path); !gone) return fail(gone);
  auto meta = detail::make_log_from_snapshot(snapshot, detail::replacement_of(path),
                                             options_.node_id, generation_);
  if (!meta) return fail(meta);
  failpoint("log.replace");
  if (auto placed = take_place(*meta, what); !placed) return fail(placed);
  committed_ = meta->head.revision;
  unfolded_.reset();
  moved_to(meta->head);
  announce(committed_);
  return meta->head;
}

// Up to the marker a failure leaves the old log, from there on the next granted writer goes on
// (take_over), so this one ends.
Result<void> LogWriter::Worker::take_place(const LogMeta& snapshot, Replaces what) {
  const std::string& path = options_.path;
  auto marked = write(Database::Durability::full, [&](const LogMeta& ours) -> Result<LogHead> {
    if (what == Replaces::behind)
      if (auto behind = check_behind(ours, snapshot); !behind) return fail(behind);
    auto marked = detail::mark_replacing(path, free_suffix(path, ours.head));
    if (!marked) return fail(marked);
    return snapshot.head;
  });
  if (!marked) {
    // It must not count later on, when this log has gone on.
    if (auto gone = detail::remove_replacement(path); !gone)
      return fail("db_error", gone.error().message);
    return fail(marked);
  }
  db_.reset();
  auto placed = detail::finish_replacing(path);
  if (placed) placed = open_database();
  if (!placed)
    return fail("db_error",
                "The snapshot could not be put in the log's place: " + placed.error().message);
  return {};
}

// Each step is a turn of its own: what was submitted meanwhile is written between two of them.
void LogWriter::Worker::compact(WallTime older_than, Revision below, Advanced done) {
  const auto more = std::make_shared<bool>(false);
  auto run = [this, older_than, below, more] {
    // Not fsynced: a power cut brings entries back that may go again.
    return write(Database::Durability::normal, [&](const LogMeta& meta) -> Result<LogHead> {
      auto compacted = detail::compact_some(*db_, meta, older_than, below);
      if (!compacted) return fail(compacted);
      *more = compacted->more;
      return compacted->base;
    });
  };
  auto next = [this, older_than, below, more, done = std::move(done)](Result<LogHead> base) {
    if (base && *more) return compact(older_than, below, done);
    done(std::move(base));
  };
  enqueue({std::move(run), std::move(next), 0, false});
}

}  // namespace everspan::store
