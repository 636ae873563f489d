// How far each stream of a session came, for a session of which nothing is kept but that (policy
// `off`). Pure.
//
// Limits: kTapStreamsMax streams, those of the first channels; further ones are not counted one by
// one (the session's record holds the totals of all).
#pragma once
#include <cstdint>
#include <vector>

#include "recording/core/types.h"

namespace everspan::pb {
class RecorderSnapshot;
}

namespace everspan::recording {

class LengthCounter {
 public:
  // True: it is time to write() what is counted, at the first bytes and then each second.
  [[nodiscard]] bool add(Direction direction, std::uint32_t channel, std::uint64_t end,
                         std::int64_t wall_ms);
  void merge(const pb::RecorderSnapshot& other);
  void write(pb::RecorderSnapshot& out) const;
  [[nodiscard]] bool changed() const { return changed_; }  // Since written().
  void written(std::int64_t wall_ms);
  [[nodiscard]] std::uint64_t end_of(std::uint32_t channel, Direction direction) const;

 private:
  struct Count {
    std::uint32_t channel = 0;
    Direction direction = Direction::c2a;
    std::uint64_t end = 0;  // One above the highest number seen.
  };
  Count* find(std::uint32_t channel, Direction direction);

  std::vector<Count> counts_;
  std::size_t last_ = 0;  // Frames come in runs of one stream.
  std::int64_t due_ms_ = 0;
  bool changed_ = false;
};

}  // namespace everspan::recording
