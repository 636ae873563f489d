// An orphan file: entries that a follower had, that its primary did not, and that were cut off
// (DESIGN section 3, Overwriting). Kept for a person to read; no node reads it again by itself.
// Pure. Golden bytes are in orphan_format_test.cc.
//
//   "everspan orphan 1\n" revision(8) hash(32)   where they were cut off
//   { size(4, not 0) encode_entry() }            each of them
//   0(4) hash(32)                                of the last: the file is whole
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "store/core/log_format.h"

namespace everspan::store {

struct Orphan {
  LogHead before;
  LogHead last;
};

[[nodiscard]] std::string orphan_start(const LogHead& before);
[[nodiscard]] std::string orphan_entry(std::string_view encoded_entry);
[[nodiscard]] std::string orphan_end(const Sha256& last);

// Calls `visit` for each entry and checks the chain to the end. Fails with bad_orphan; what was
// visited before is whole.
using VisitOrphan = std::function<Result<void>(LogEntry&&)>;
[[nodiscard]] Result<Orphan> walk_orphan(std::string_view bytes, const VisitOrphan& visit);

}  // namespace everspan::store
