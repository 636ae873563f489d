// What the writer of a pair's primary tells about its log, so that another store has each entry
// before it is acknowledged. Whoever holds the link to the other node implements it; it answers
// with LogWriter::confirm().
#pragma once
#include <string>
#include <vector>

#include "common/ids.h"
#include "store/core/log_format.h"

namespace everspan::store {

// All calls come on the writer's thread, in order, and must not wait. Calling back into LogWriter
// (confirm() above all) is fine.
class Replication {
 public:
  struct Shipped {
    Revision revision;
    Sha256 hash{};      // Of the chain, after this entry.
    std::string entry;  // encode_entry()
  };

  virtual ~Replication() = default;

  // Just before the local fsync: `batch` follows `before`. Nobody sees it yet, and it may still
  // fail here; then taken_back(before) is next.
  virtual void appended(LogHead before, std::vector<Shipped> batch) = 0;
  // The local transaction was rolled back: history ends at `head` again, and what comes next is
  // something else. A store that has more cuts it.
  virtual void taken_back(LogHead head) = 0;
  // Folded and visible here; followers may fold as far, and never further.
  virtual void committed(LogHead committed, const std::vector<NodeId>& stores) = 0;
};

}  // namespace everspan::store
