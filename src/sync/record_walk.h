// How far the records of a growing file are good, for the formats whose files the union copies.
// sync/ knows the journal's; node/ gives that of recordings (its module is of the same layer).
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "common/ids.h"

namespace everspan::sync {

class RecordWalk {
 public:
  virtual ~RecordWalk() = default;
  struct Step {
    std::size_t good = 0;  // Bytes of whole, good records at the front.
    bool broken = false;   // What follows is not the begin of a record.
  };
  // `bytes` goes on where the good ones of the call before ended.
  [[nodiscard]] virtual Step walk(std::string_view bytes) = 0;
  // Who wrote the file, as it says itself; none before its first record.
  [[nodiscard]] virtual std::optional<NodeId> origin() const = 0;
};
using MakeWalk = std::function<std::unique_ptr<RecordWalk>()>;

[[nodiscard]] std::unique_ptr<RecordWalk> walk_journal_segment();

}  // namespace everspan::sync
