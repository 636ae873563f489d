// Writes history that is about to be cut off into a file (core/orphan_format.h).
#pragma once
#include <string>

#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store::detail {

// Everything after `common`, inside the caller's transaction. Whole and fsynced when this returns
// its path; the same history gets the same name, so doing it again after a crash leaves one file.
// Fails with io_error, disk_full; or with what the log failed with.
[[nodiscard]] Result<std::string> write_orphan(Database& db, const LogMeta& meta,
                                               const LogHead& common, const std::string& folder);

}  // namespace everspan::store::detail
