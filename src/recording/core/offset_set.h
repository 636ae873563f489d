// A set of numbers as half-open ranges: which bytes of a stream somebody holds. Mostly one range.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

namespace everspan::recording {

struct Range {
  std::uint64_t from = 0;
  std::uint64_t to = 0;  // First number that is not in it.
  auto operator<=>(const Range&) const = default;
};

class OffsetSet {
 public:
  // Adds [from, to) and returns the parts of it that were not in the set before, in order.
  std::vector<Range> add(std::uint64_t from, std::uint64_t to);
  // First number at or above `from` that is not in the set.
  [[nodiscard]] std::uint64_t first_missing(std::uint64_t from = 0) const;
  [[nodiscard]] bool contains(std::uint64_t number) const;
  [[nodiscard]] std::vector<Range> missing_below(std::uint64_t end) const;
  [[nodiscard]] std::uint64_t end() const;  // One above the highest; 0 when empty.
  [[nodiscard]] std::size_t ranges() const { return ranges_.size(); }
  [[nodiscard]] std::vector<Range> list() const;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // from -> to; disjoint, not touching.
};

}  // namespace everspan::recording
