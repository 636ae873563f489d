#include "recording/core/merge.h"

#include <algorithm>
#include <tuple>

#include "common/crypto.h"

namespace everspan::recording {
namespace {

auto stream_of(const PieceRef& piece) {
  return std::tuple(piece.channel, piece.direction);
}

// Content pieces of the same start come before hashed ones: they say more.
bool earlier(const PieceRef& a, const PieceRef& b) {
  return std::tuple(stream_of(a), a.offset, a.hashed, b.end()) <
         std::tuple(stream_of(b), b.offset, b.hashed, a.end());
}

// Do both pieces hold the same bytes where they overlap? What only a hash tells of in part cannot
// be compared and counts as the same.
Result<bool> agree(const PieceRef& a, const PieceRef& b, const ReadPiece& read) {
  const auto from = std::max(a.offset, b.offset);
  const auto to = std::min(a.offset + a.length, b.offset + b.length);
  if (from >= to) return true;
  const auto size = to - from;
  const bool same_range = a.offset == b.offset && a.length == b.length;
  if ((a.hashed || b.hashed) && !same_range) return true;
  const auto left = read(a, a.hashed ? 0 : from - a.offset, a.hashed ? 32 : size);
  if (!left) return fail(left);
  const auto right = read(b, b.hashed ? 0 : from - b.offset, b.hashed ? 32 : size);
  if (!right) return fail(right);
  const auto digest = [](const std::string& bytes) { return std::string(as_text(sha256(bytes))); };
  if (a.hashed == b.hashed) return *left == *right;
  return a.hashed ? *left == digest(*right) : digest(*left) == *right;
}

class Merger {
 public:
  explicit Merger(const ReadPiece& read) : read_(read) {}

  Result<void> add(const PieceRef& piece) {
    if (!last_ || stream_of(*last_) != stream_of(piece)) {
      last_.reset();
      held_to_ = 0;
    }
    if (piece.offset > held_to_)
      out_.gaps.push_back({piece.channel, piece.direction, held_to_, piece.offset});
    if (piece.offset < held_to_ && last_) {
      ++out_.overlaps;
      const auto same = agree(*last_, piece, read_);
      if (!same) return fail(same);
      if (!*same) ++out_.conflicts;
    }
    if (piece.end() <= held_to_) return {};
    Slice slice{piece, 0};
    if (piece.offset < held_to_ && !piece.hashed)
      slice.skip = std::min(held_to_ - piece.offset, piece.length);
    out_.slices.push_back(slice);
    held_to_ = piece.end();
    last_ = piece;
    return {};
  }
  Merged take() { return std::move(out_); }

 private:
  const ReadPiece& read_;
  Merged out_;
  std::optional<PieceRef> last_;  // The one that reaches furthest in this stream.
  std::uint64_t held_to_ = 0;
};

}  // namespace

Result<Merged> merge_pieces(std::vector<PieceRef> pieces, const ReadPiece& read) {
  std::ranges::sort(pieces, earlier);
  Merger merger(read);
  for (const auto& piece : pieces) {
    const auto added = merger.add(piece);
    if (!added) return fail(added);
  }
  return merger.take();
}

}  // namespace everspan::recording
