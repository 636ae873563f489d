#include "recording/core/length_counter.h"

#include <algorithm>

#include "proto/recording.pb.h"
#include "recording/core/session_tap.h"

namespace everspan::recording {
namespace {

constexpr std::int64_t kWriteEveryMs = 1000;

}  // namespace

LengthCounter::Count* LengthCounter::find(std::uint32_t channel, Direction direction) {
  const auto is_it = [&](const Count& count) {
    return count.channel == channel && count.direction == direction;
  };
  if (last_ < counts_.size() && is_it(counts_[last_])) return &counts_[last_];
  const auto found = std::ranges::find_if(counts_, is_it);
  if (found == counts_.end()) {
    if (counts_.size() >= kTapStreamsMax) return nullptr;
    counts_.push_back({channel, direction, 0});
    last_ = counts_.size() - 1;
  } else {
    last_ = static_cast<std::size_t>(found - counts_.begin());
  }
  return &counts_[last_];
}

bool LengthCounter::add(Direction direction, std::uint32_t channel, std::uint64_t end,
                        std::int64_t wall_ms) {
  auto* count = find(channel, direction);
  if (count == nullptr || end <= count->end) return false;
  count->end = end;
  changed_ = true;
  return wall_ms >= due_ms_;
}

void LengthCounter::merge(const pb::RecorderSnapshot& other) {
  for (const auto& mark : other.streams()) {
    if (mark.direction() > 1 || mark.durable() == 0) continue;
    auto* count = find(mark.channel(), static_cast<Direction>(mark.direction()));
    if (count == nullptr || mark.durable() <= count->end) continue;
    count->end = mark.durable();
    changed_ = true;
  }
}

void LengthCounter::write(pb::RecorderSnapshot& out) const {
  for (const auto& count : counts_) {
    auto* mark = out.add_streams();
    mark->set_channel(count.channel);
    mark->set_direction(static_cast<std::uint32_t>(count.direction));
    mark->set_durable(count.end);
  }
}

void LengthCounter::written(std::int64_t wall_ms) {
  changed_ = false;
  due_ms_ = wall_ms + kWriteEveryMs;
}

std::uint64_t LengthCounter::end_of(std::uint32_t channel, Direction direction) const {
  for (const auto& count : counts_)
    if (count.channel == channel && count.direction == direction) return count.end;
  return 0;
}

}  // namespace everspan::recording
