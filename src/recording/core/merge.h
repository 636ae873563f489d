// Puts the pieces that all segments hold of one session in order, each number once. Pure.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "recording/core/types.h"
#include "recording/core/verify.h"

namespace everspan::recording {

// Where a piece lies; its bytes are read when they are needed.
struct PieceRef {
  std::uint32_t channel = 0;
  Direction direction = Direction::c2a;
  bool fin = false;
  bool hashed = false;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // Without FIN's number
  std::int64_t wall_ms = 0;
  std::uint32_t file = 0;      // Index of the reader's files
  std::uint64_t position = 0;  // Of the payload (or hash) in it
  [[nodiscard]] std::uint64_t end() const { return offset + length + (fin ? 1 : 0); }
};

// A piece, or the part of it from `skip` on that no earlier one holds.
struct Slice {
  PieceRef piece;
  std::uint64_t skip = 0;  // Bytes to leave out at its begin; a hashed piece is never cut
  [[nodiscard]] std::uint64_t offset() const { return piece.offset + skip; }
};

struct Merged {
  std::vector<Slice> slices;  // By (channel, direction, offset)
  std::vector<VerifyReport::Gap> gaps;
  std::uint64_t overlaps = 0;
  std::uint64_t conflicts = 0;
};

// Payload bytes [skip, skip + length) of a content piece, or the hash of a hashed one.
using ReadPiece = std::function<Result<std::string>(const PieceRef& piece, std::uint64_t skip,
                                                    std::uint64_t length)>;

// Overlapping parts are read and compared.
[[nodiscard]] Result<Merged> merge_pieces(std::vector<PieceRef> pieces, const ReadPiece& read);

}  // namespace everspan::recording
