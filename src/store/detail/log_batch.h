// One SQLite transaction for many of ours: one fsync acknowledges all of them. Checks the fence
// first.
#pragma once
#include <optional>
#include <vector>

#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store::detail {

// A transaction that waits for its commit.
struct Pending {
  std::vector<Operation> operations;
  std::vector<std::optional<Revision>> expected;  // As many.
  RequestId request_id;
  std::uint32_t flags = 0;
  std::uint32_t feature_level = 1;
  std::size_t bytes = 0;
  LogWriter::Done done;
  std::optional<Result<Outcome>> result;  // True only once the batch has committed.
};

struct BatchContext {
  NodeId node;
  Generation generation;
  WallTime now;
};
struct BatchResult {
  bool changed = false;  // False: all were repeats or conflicts, nothing was written.
  LogHead before;
  LogHead head;
};

// Both need everything appended before to be committed, so that conditions and request ids are
// checked against all of it. Fail as a whole with superseded, db_busy (before anything was done),
// db_full, db_io, ...

// Append and fold: with this node alone in the in-sync set one fsync does both.
[[nodiscard]] Result<BatchResult> commit_batch(Database& db, const BatchContext& context,
                                               std::vector<Pending>& batch);
// Appends only, and gives what it appended to `replication` before the fsync. The results lack
// their stores.
[[nodiscard]] Result<BatchResult> append_batch(Database& db, const BatchContext& context,
                                               Replication& replication,
                                               std::vector<Pending>& batch);

}  // namespace everspan::store::detail
