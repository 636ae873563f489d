// Reads what cut_to() put aside (LogWriter, core/orphan_format.h).
#pragma once
#include <string>

#include "store/core/orphan_format.h"

namespace everspan::store {

// Fails with not_found, io_error, bad_orphan.
[[nodiscard]] Result<Orphan> read_orphan(const std::string& path, const VisitOrphan& visit);

}  // namespace everspan::store
