// What follows an I/O error on the log: nobody knows which pages reached the disk, and the page
// cache may call lost ones clean. So the process ends, and the next writer first copies the log, as
// it is readable now, to a new fsynced file and goes on with that (DESIGN section 3).
//
//   LOG.suspect    the marker: an I/O error happened
//   LOG.new        the copy, until it takes the log's place
//   LOG.replacing  the copy is complete and counts from here on
//   LOG.old*       the file that failed, kept
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

}  // namespace everspan::store::detail
