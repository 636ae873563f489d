#include "recording/core/session_tap.h"

#include <algorithm>
#include <limits>

#include "common/crypto.h"
#include "proto/recording.pb.h"
#include "recording/core/record.h"

namespace everspan::recording {
namespace {

constexpr std::string_view kHashedKind = "tunnel";

}  // namespace

SessionTap::SessionTap(std::uint32_t stream, Policy policy) : stream_(stream), policy_(policy) {}
SessionTap::~SessionTap() = default;

std::string_view SessionTap::kind(std::uint32_t channel) const {
  const auto found = kinds_.find(channel);
  return found == kinds_.end() ? std::string_view() : std::string_view(found->second);
}

void SessionTap::add(Direction direction, std::uint32_t channel, std::uint64_t offset, bool fin,
                     std::string_view payload, std::int64_t wall_ms, Batch& out) {
  const std::uint64_t end = offset + payload.size() + (fin ? 1 : 0);
  // Numbers that no honest end reaches: they would run over.
  if (end < offset || channel == std::numeric_limits<std::uint32_t>::max()) return;
  if (policy_ == Policy::off) return count(direction, channel, end, wall_ms, out);
  if (finished_.contains(channel)) {
    auto& answer = again_[{channel, direction}];
    answer = std::max(answer, end);
    return;
  }
  const Key key{channel, direction};
  auto found = streams_.find(key);
  if (found == streams_.end()) {
    if (streams_.size() >= kTapStreamsMax) return;
    found = streams_.emplace(key, Stream{}).first;
  }
  auto& stream = found->second;
  if (fin) stream.fin_end = end;
  for (const auto& part : stream.taken.add(offset, end)) {
    PieceRecord piece;
    piece.channel = channel;
    piece.direction = direction;
    piece.offset = part.from;
    piece.wall_ms = wall_ms;
    const auto payload_end = offset + payload.size();
    piece.fin = fin && part.to == end;
    if (part.from < payload_end)
      piece.payload =
          payload.substr(part.from - offset, std::min(part.to, payload_end) - part.from);
    piece.length = piece.payload.size();
    Sha256 digest;
    if (policy_ == Policy::metadata || kind(channel) == kHashedKind) {
      digest = sha256(piece.payload);
      piece.hashed = true;
      piece.payload = as_text(digest);
    }
    append_piece(out.records, stream_, piece);
    out.notes.push_back({stream_, channel, direction, part.from, part.to});
    stream.in_flight += part.to - part.from;
    bytes_in_flight_ += part.to - part.from;
  }
  if (channel == 0 && !payload.empty()) follow(direction, offset, payload, out);
}

void SessionTap::count(Direction direction, std::uint32_t channel, std::uint64_t end,
                       std::int64_t wall_ms, Batch& out) {
  if (lengths_.add(direction, channel, end, wall_ms)) write_counts(wall_ms, out);
}

// As a snapshot record, which every release can read.
void SessionTap::write_counts(std::int64_t wall_ms, Batch& out) {
  pb::RecorderSnapshot counts;
  lengths_.write(counts);
  lengths_.written(wall_ms);
  append_message(out.records, RecordType::snapshot, stream_, counts.SerializeAsString());
}

void SessionTap::finish(Batch& out) {
  if (policy_ == Policy::off && lengths_.changed()) write_counts(0, out);
}

void SessionTap::follow(Direction direction, std::uint64_t offset, std::string_view bytes,
                        Batch& out) {
  const auto news = followers_[static_cast<int>(direction)].add(offset, bytes);
  if (!news.advanced) return;
  pb::RecorderSnapshot delta;
  apply(news, delta);
  followers_[0].mark(*delta.mutable_c2a());
  followers_[1].mark(*delta.mutable_a2c());
  for (const auto channel : newly_finished_) {
    auto* range = delta.add_finished();
    range->set_from(channel);
    range->set_to(channel + 1);
  }
  newly_finished_.clear();
  append_message(out.records, RecordType::snapshot, stream_, delta.SerializeAsString());
}

void SessionTap::apply(const ControlNews& news, pb::RecorderSnapshot& delta) {
  for (const auto& opened : news.opened) {
    if (!kinds_.emplace(opened.channel, opened.kind).second) continue;
    auto* kind = delta.add_kinds();
    kind->set_channel(opened.channel);
    kind->set_kind(opened.kind);
  }
  for (const auto channel : news.closed) {
    if (channel == 0) continue;
    closed_.add(channel, std::uint64_t{channel} + 1);
    retire_if_over(channel);
  }
}

bool SessionTap::over(std::uint32_t channel, Direction direction) const {
  const auto found = streams_.find({channel, direction});
  if (found == streams_.end()) return closed_.contains(channel);
  const auto& stream = found->second;
  if (stream.in_flight != 0) return false;
  const auto kept = stream.kept.first_missing();
  if (stream.told < kept) return false;
  if (stream.fin_end != 0) return kept >= stream.fin_end;
  return closed_.contains(channel) && kept == stream.taken.end();
}

void SessionTap::retire_if_over(std::uint32_t channel) {
  if (channel == 0 || !over(channel, Direction::c2a) || !over(channel, Direction::a2c)) return;
  finished_.add(channel, std::uint64_t{channel} + 1);
  newly_finished_.push_back(channel);
  streams_.erase({channel, Direction::c2a});
  streams_.erase({channel, Direction::a2c});
  kinds_.erase(channel);
}

void SessionTap::mark_durable(const Batch::Note& note) {
  const auto size = note.to - note.from;
  const auto found = streams_.find({note.channel, note.direction});
  bytes_in_flight_ -= std::min(bytes_in_flight_, size);
  if (found == streams_.end()) return;
  found->second.in_flight -= std::min(found->second.in_flight, size);
  found->second.kept.add(note.from, note.to);
}

void SessionTap::merge(const pb::RecorderSnapshot& other, Batch& out) {
  if (policy_ == Policy::off) return lengths_.merge(other);
  pb::RecorderSnapshot delta;
  bool changed = false;
  for (const auto& range : other.finished()) {
    for (const auto& fresh : finished_.add(range.from(), range.to())) {
      auto* added = delta.add_finished();
      added->set_from(static_cast<std::uint32_t>(fresh.from));
      added->set_to(static_cast<std::uint32_t>(fresh.to));
      changed = true;
    }
  }
  for (const auto& mark : other.streams()) {
    if (mark.direction() > 1 || mark.durable() == 0 || finished_.contains(mark.channel())) continue;
    const Key key{mark.channel(), static_cast<Direction>(mark.direction())};
    if (!streams_.contains(key) && streams_.size() >= kTapStreamsMax) continue;
    auto& stream = streams_[key];
    stream.taken.add(0, mark.durable());
    if (stream.kept.add(0, mark.durable()).empty()) continue;
    *delta.add_streams() = mark;
    changed = true;
  }
  for (const auto& kind : other.kinds()) {
    if (finished_.contains(kind.channel())) continue;
    if (!kinds_.emplace(kind.channel(), kind.kind()).second) continue;
    *delta.add_kinds() = kind;
    changed = true;
  }
  const auto c2a = followers_[0].merge(other.c2a());
  const auto a2c = followers_[1].merge(other.a2c());
  apply(c2a, delta);
  apply(a2c, delta);
  if (!changed && !c2a.advanced && !a2c.advanced) return;
  followers_[0].mark(*delta.mutable_c2a());
  followers_[1].mark(*delta.mutable_a2c());
  append_message(out.records, RecordType::snapshot, stream_, delta.SerializeAsString());
}

std::vector<SessionTap::Progress> SessionTap::take_progress(Direction direction) {
  std::vector<Progress> grown;
  for (auto& [key, stream] : streams_) {
    if (key.second != direction) continue;
    const auto kept = stream.kept.first_missing();
    if (kept <= stream.told) continue;
    stream.told = kept;
    grown.push_back({key.first, kept});
  }
  for (const auto& progress : grown) retire_if_over(progress.channel);
  for (auto it = again_.begin(); it != again_.end();) {
    if (it->first.second != direction) {
      ++it;
      continue;
    }
    grown.push_back({it->first.first, it->second});
    it = again_.erase(it);
  }
  return grown;
}

bool SessionTap::progress_is_urgent() const {
  constexpr std::uint64_t kMuch = 32 * 1024;  // An eighth of a sender's ring.
  if (!again_.empty()) return true;
  return std::ranges::any_of(streams_, [](const auto& entry) {
    const auto& [key, stream] = entry;
    const auto kept = stream.kept.first_missing();
    if (kept <= stream.told) return false;
    return key.first == 0 || stream.fin_end != 0 || kept - stream.told >= kMuch;
  });
}

std::vector<SessionTap::Progress> SessionTap::all_progress(Direction direction) const {
  std::vector<Progress> all;
  for (const auto& [key, stream] : streams_)
    if (key.second == direction && stream.kept.first_missing() > 0)
      all.push_back({key.first, stream.kept.first_missing()});
  return all;
}

std::uint64_t SessionTap::durable(std::uint32_t channel, Direction direction) const {
  const auto found = streams_.find({channel, direction});
  return found == streams_.end() ? 0 : found->second.kept.first_missing();
}

void SessionTap::snapshot(pb::RecorderSnapshot& out) const {
  if (policy_ == Policy::off) return lengths_.write(out);
  for (const auto& [key, stream] : streams_) {
    auto* mark = out.add_streams();
    mark->set_channel(key.first);
    mark->set_direction(static_cast<std::uint32_t>(key.second));
    mark->set_durable(stream.kept.first_missing());
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
  followers_[0].mark(*out.mutable_c2a());
  followers_[1].mark(*out.mutable_a2c());
}

}  // namespace everspan::recording
