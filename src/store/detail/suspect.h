// One file takes the log's place, so that a crash at any point leaves the old one or the new one.
//
// After an I/O error nobody knows which pages reached the disk, and the page cache may call lost
// ones clean. So the process ends, and the next writer first copies the log, as it is readable now,
// to a new fsynced file and goes on with that (DESIGN section 3). A snapshot of another node's log
// takes the place of this node's in the same way (detail/snapshot.h).
//
//   LOG.suspect    the marker: an I/O error happened
//   LOG.new        what takes the log's place, complete and fsynced
//   LOG.replacing  LOG.new counts from here on. Holds what the old file's name ends in; empty: .old
//   LOG.old*       the file that was there, kept
#pragma once
#include <string>

#include "common/result.h"

namespace everspan::store::detail {

// Best effort: the disk may be dying. Logs what it could not do.
void mark_suspect(const std::string& log_path);
// Marked, or half way through being replaced (LOG itself may be missing then).
[[nodiscard]] bool is_suspect(const std::string& log_path);

// Only by the granted writer, with no connection of this process to the log. A crash at any point
// in here is picked up by the next call.
[[nodiscard]] Result<void> replace_suspect_log(const std::string& log_path);

[[nodiscard]] std::string replacement_of(const std::string& log_path);  // LOG.new
[[nodiscard]] Result<void> remove_replacement(const std::string& log_path);
// The replacement counts from here on, whatever happens; the old file will be LOG + `old_suffix`.
[[nodiscard]] Result<void> mark_replacing(const std::string& log_path,
                                          const std::string& old_suffix);
// With no connection of this process to the log.
[[nodiscard]] Result<void> finish_replacing(const std::string& log_path);

}  // namespace everspan::store::detail
