// A log without its entries: `current`, `outcomes`, and the point of history where they stand. It
// is a log file of no node, and becomes a node's log by being copied row by row into a new one.
#pragma once
#include <string>

#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store::detail {

// Committed state, inside the caller's read transaction. `path` must not exist; it appears when it
// is whole and fsynced.
[[nodiscard]] Result<void> write_snapshot(Database& log, const std::string& path);

// Foreign bytes: nothing of the file is taken over that was not looked at. `path` must not exist.
// Returns where history stands in it. Fails with bad_snapshot, not_found, disk_full, io_error; then
// there is nothing at `path`.
[[nodiscard]] Result<LogMeta> make_log_from_snapshot(const std::string& snapshot,
                                                     const std::string& path, const NodeId& node,
                                                     Generation generation);

}  // namespace everspan::store::detail
