#include "recording/core/knowledge.h"

#include "proto/recording.pb.h"

namespace everspan::recording {

void Knowledge::merge(const pb::RecorderSnapshot& other) {
  for (const auto& range : other.finished()) {
    for (const auto& fresh : finished_.add(range.from(), range.to())) {
      const auto from = static_cast<std::uint32_t>(fresh.from);
      const auto to = static_cast<std::uint32_t>(fresh.to);
      kept_.erase(kept_.lower_bound({from, Direction::c2a}),
                  kept_.lower_bound({to, Direction::c2a}));
      kinds_.erase(kinds_.lower_bound(from), kinds_.lower_bound(to));
    }
  }
  for (const auto& mark : other.streams())
    if (mark.direction() <= 1 && !finished_.contains(mark.channel()))
      kept_[{mark.channel(), static_cast<Direction>(mark.direction())}].add(0, mark.durable());
  for (const auto& kind : other.kinds())
    if (!finished_.contains(kind.channel())) kinds_[kind.channel()] = kind.kind();
  const auto take = [](Mark& mine, const pb::ControlMark& theirs) {
    if (theirs.offset() + theirs.tail().size() <= mine.offset + mine.tail.size()) return;
    mine = {theirs.offset(), theirs.tail()};
  };
  take(marks_[0], other.c2a());
  take(marks_[1], other.a2c());
}

void Knowledge::add(const PieceRecord& piece) {
  if (finished_.contains(piece.channel)) return;
  kept_[{piece.channel, piece.direction}].add(piece.offset, piece.end());
}

void Knowledge::write(pb::RecorderSnapshot& out) const {
  for (const auto& [key, kept] : kept_) {
    auto* mark = out.add_streams();
    mark->set_channel(key.first);
    mark->set_direction(static_cast<std::uint32_t>(key.second));
    mark->set_durable(kept.first_missing());
  }
  for (const auto& [channel, name] : kinds_) {
    auto* kind = out.add_kinds();
    kind->set_channel(channel);
    kind->set_kind(name);
  }
  for (const auto& range : finished_.list()) {
    auto* added = out.add_finished();
    added->set_from(static_cast<std::uint32_t>(range.from));
    added->set_to(static_cast<std::uint32_t>(range.to));
  }
  out.mutable_c2a()->set_offset(marks_[0].offset);
  out.mutable_c2a()->set_tail(marks_[0].tail);
  out.mutable_a2c()->set_offset(marks_[1].offset);
  out.mutable_a2c()->set_tail(marks_[1].tail);
}

}  // namespace everspan::recording
