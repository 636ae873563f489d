#include "recording/core/offset_set.h"

#include <algorithm>

namespace everspan::recording {

std::vector<Range> OffsetSet::add(std::uint64_t from, std::uint64_t to) {
  std::vector<Range> fresh;
  if (from >= to) return fresh;
  std::uint64_t new_from = from;
  std::uint64_t new_to = to;
  auto it = ranges_.upper_bound(from);
  if (it != ranges_.begin()) {
    const auto before = std::prev(it);
    if (before->second >= from) it = before;
  }
  std::uint64_t at = from;
  while (it != ranges_.end() && it->first <= to) {
    if (it->first > at) fresh.push_back({at, it->first});
    at = std::max(at, it->second);
    new_from = std::min(new_from, it->first);
    new_to = std::max(new_to, it->second);
    it = ranges_.erase(it);
  }
  if (at < to) fresh.push_back({at, to});
  ranges_[new_from] = new_to;
  return fresh;
}

std::uint64_t OffsetSet::first_missing(std::uint64_t from) const {
  auto it = ranges_.upper_bound(from);
  if (it == ranges_.begin()) return from;
  --it;
  return it->second > from ? it->second : from;
}

std::vector<Range> OffsetSet::missing_below(std::uint64_t end) const {
  std::vector<Range> missing;
  std::uint64_t at = 0;
  for (const auto& [from, to] : ranges_) {
    if (from >= end) break;
    if (from > at) missing.push_back({at, from});
    at = to;
  }
  if (at < end) missing.push_back({at, end});
  return missing;
}

bool OffsetSet::contains(std::uint64_t number) const {
  return first_missing(number) != number;
}

std::uint64_t OffsetSet::end() const {
  return ranges_.empty() ? 0 : ranges_.rbegin()->second;
}

std::vector<Range> OffsetSet::list() const {
  std::vector<Range> all;
  for (const auto& [from, to] : ranges_) all.push_back({from, to});
  return all;
}

}  // namespace everspan::recording
