// Judges the segments of one session: are all numbers there, do overlapping pieces agree, do chains
// hold. Pure: records in, report out.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "recording/core/offset_set.h"
#include "recording/core/types.h"

namespace everspan::recording {

struct VerifyReport {
  struct Gap {
    std::uint32_t channel = 0;
    Direction direction = Direction::c2a;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };
  bool ok = false;  // No gap, no conflict, every chain holds, nothing broken before a tail.
  std::vector<Gap> gaps;
  std::uint64_t overlaps = 0;   // Pieces, in part or whole held twice, with the same bytes.
  std::uint64_t conflicts = 0;  // Held twice with different bytes.
  std::uint64_t bytes = 0;
  std::uint32_t segments = 0;
  std::uint32_t open_segments = 0;  // Without an end: being written, or the writer died.
  std::uint32_t broken_chains = 0;
  std::uint32_t torn_tails = 0;    // Files cut inside a record at their end: after a crash.
  std::uint32_t broken_files = 0;  // Damaged elsewhere.
};

}  // namespace everspan::recording
