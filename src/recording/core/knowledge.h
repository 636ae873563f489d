// What files hold of one session, gathered record by record: enough to go on recording it
// elsewhere. Pure.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "recording/core/offset_set.h"
#include "recording/core/record.h"
#include "recording/core/types.h"

namespace everspan::pb {
class RecorderSnapshot;
}

namespace everspan::recording {

class Knowledge {
 public:
  void merge(const pb::RecorderSnapshot& other);
  void add(const PieceRecord& piece);
  void write(pb::RecorderSnapshot& out) const;

 private:
  struct Mark {
    std::uint64_t offset = 0;
    std::string tail;
  };
  std::map<std::pair<std::uint32_t, Direction>, OffsetSet> kept_;
  std::map<std::uint32_t, std::string> kinds_;
  OffsetSet finished_;
  Mark marks_[2];
};

}  // namespace everspan::recording
