#include "relay/end/channel_end.h"

#include <algorithm>

#include "common/check.h"

namespace everspan::relay_end {
namespace {

// A buffer with a head that moves: bytes leave at the front without moving the rest each time.
void drop_front(std::string& buffer, std::size_t& head, std::size_t bytes) {
  constexpr std::size_t kKeptCapacity = 4 * 1024;  // Idle channels give their memory back.
  head += bytes;
  if (head == buffer.size()) {
    if (buffer.capacity() > kKeptCapacity)
      std::string().swap(buffer);
    else
      buffer.clear();
    head = 0;
  } else if (head >= buffer.size() / 2 && head >= kKeptCapacity) {
    buffer.erase(0, head);
    head = 0;
  }
}

constexpr std::uint64_t kOffsetMax = 1ULL << 62;

}  // namespace

ChannelEnd::ChannelEnd(const ChannelLimits& limits) : limits_(limits) {
  check(limits.ring_bytes > 0, "a ring holds something");
}

// ---- Sending ----

std::size_t ChannelEnd::room() const {
  return fin_ ? 0 : limits_.ring_bytes - kept();
}

std::size_t ChannelEnd::write(std::string_view bytes) {
  const std::size_t taken = std::min(bytes.size(), room());
  ring_.append(bytes.substr(0, taken));
  return taken;
}

void ChannelEnd::finish() {
  fin_ = true;
}

std::optional<Piece> ChannelEnd::next_piece(std::size_t bytes_max) const {
  const std::uint64_t end = written();
  const std::uint64_t limit = std::min(end, peer_window_end_);
  if (next_ < limit) {
    const std::size_t size = std::min<std::uint64_t>(limit - next_, bytes_max);
    return Piece{.offset = next_,
                 .payload = std::string_view(ring_).substr(ring_head_ + (next_ - base_), size),
                 .fin = fin_ && next_ + size == end && end < peer_window_end_};
  }
  if (fin_ && next_ == end && end < peer_window_end_)
    return Piece{.offset = end, .payload = {}, .fin = true};
  return std::nullopt;
}

void ChannelEnd::mark_sent(const Piece& piece) {
  next_ = std::max(next_, piece.offset + piece.payload.size() + (piece.fin ? 1 : 0));
  sent_max_ = std::max(sent_max_, next_);
}

Result<void> ChannelEnd::on_ack(std::uint64_t received, std::uint64_t window_end) {
  if (received > sent_max_)
    return fail("bad_ack", "The other end acknowledges bytes that were never sent");
  if (window_end > kOffsetMax) return fail("bad_ack", "The other end's window is out of range");
  acked_ = std::max(acked_, received);
  peer_window_end_ = std::max(peer_window_end_, window_end);
  forget();
  return {};
}

Result<void> ChannelEnd::on_recorded(std::uint64_t durable) {
  if (durable > sent_max_)
    return fail("bad_recorded", "The recorder claims bytes that were never sent");
  recorded_ = std::max(recorded_, durable);
  forget();
  return {};
}

Result<void> ChannelEnd::on_resume(std::uint64_t received, std::uint64_t window_end) {
  if (received > sent_max_)
    return fail("bad_resume", "The other end claims to have bytes that were never sent");
  if (window_end > kOffsetMax) return fail("bad_resume", "The other end's window is out of range");
  peer_window_end_ = std::max(peer_window_end_, window_end);
  // A resume that was overtaken by later acknowledgements asks for less than is kept: C3.
  next_ = std::max(base_, std::min(next_, send_again_from(received)));
  return {};
}

void ChannelEnd::rewind() {
  next_ = base_;
}

std::optional<Piece> ChannelEnd::probe() {
  if (!outstanding() || next_ < sent_max_) return std::nullopt;
  if (limits_.strict && acked_ > recorded_) {
    next_ = std::max(base_, std::min(next_, recorded_));
    if (next_ < sent_max_) return std::nullopt;  // The ordinary way sends it.
  }
  const std::uint64_t last = sent_max_ - 1;
  if (last == written()) return Piece{.offset = last, .payload = {}, .fin = true};
  if (last < base_) return std::nullopt;
  return Piece{.offset = last,
               .payload = std::string_view(ring_).substr(ring_head_ + (last - base_), 1),
               .fin = false};
}

bool ChannelEnd::outstanding() const {
  if (sent_max_ > acked_) return true;
  return limits_.strict && recorded_ < std::min(sent_max_, written());
}

bool ChannelEnd::drained() const {
  if (acked_ < written() + (fin_ ? 1 : 0)) return false;
  return !limits_.strict || recorded_ >= written();
}

std::uint64_t ChannelEnd::forget_below() const {
  return limits_.strict ? std::min(acked_, recorded_) : acked_;
}

std::uint64_t ChannelEnd::send_again_from(std::uint64_t received) const {
  return limits_.strict ? std::min(received, recorded_) : received;
}

void ChannelEnd::forget() {
  const std::uint64_t below = std::min(forget_below(), written());  // FIN is not in the ring.
  if (below <= base_) return;
  drop_front(ring_, ring_head_, below - base_);
  base_ = below;
  next_ = std::max(next_, base_);
}

// ---- Receiving ----

Result<void> ChannelEnd::check_data(std::uint64_t offset, std::size_t size, bool fin) const {
  const std::uint64_t end = offset + size;
  if (end + (fin ? 1 : 0) > advertised_)
    return fail("above_window", "The other end sent more than it may");
  if (fin_at_ && (end > *fin_at_ || (fin && end != *fin_at_)))
    return fail("behind_fin", "The other end sent more after its last byte");
  if (fin && end < received())
    return fail("behind_fin", "The other end ended its stream before bytes that it had sent");
  return {};
}

Result<void> ChannelEnd::on_data(std::uint64_t offset, std::string_view payload, bool fin) {
  if (auto fine = check_data(offset, payload.size(), fin); !fine) return fine;
  const std::uint64_t before = received();
  const bool had_fin = fin_at_.has_value();
  if (fin) fin_at_ = offset + payload.size();
  if (offset > before) {
    keep_early(offset, payload);
    return {};
  }
  const std::size_t skip = already_here(offset);
  if (skip < payload.size()) in_.append(payload.substr(skip));
  absorb_early();
  // Nothing new: the sender may have missed an acknowledgement.
  if (received() == before && had_fin == fin_at_.has_value()) repeat_ack_ = true;
  return {};
}

std::size_t ChannelEnd::already_here(std::uint64_t offset) const {
  return received() - offset;
}

void ChannelEnd::keep_early(std::uint64_t offset, std::string_view payload) {
  if (payload.empty()) return;
  auto [at, fresh] = early_.try_emplace(offset);
  if (!fresh && at->second.size() >= payload.size()) return;
  const std::size_t more = payload.size() - at->second.size();
  // Overlapping pieces could take more than the window; what is dropped here is asked for again.
  if (early_bytes_ + more > limits_.window_bytes || early_.size() > kEarlyPiecesMax) {
    if (fresh) early_.erase(at);
    return;
  }
  early_bytes_ += more;
  at->second.assign(payload);
}

void ChannelEnd::absorb_early() {
  while (!early_.empty() && early_.begin()->first <= received()) {
    auto piece = early_.extract(early_.begin());
    early_bytes_ -= piece.mapped().size();
    const std::size_t skip = received() - piece.key();
    if (skip < piece.mapped().size()) in_.append(piece.mapped(), skip);
  }
}

std::string_view ChannelEnd::readable() const {
  return std::string_view(in_).substr(in_head_);
}

void ChannelEnd::consume(std::size_t bytes) {
  check(bytes <= waiting(), "only what is here can be consumed");
  consumed_ += bytes;
  drop_front(in_, in_head_, bytes);
}

bool ChannelEnd::at_end() const {
  return fin_at_ && *fin_at_ == consumed_;
}

bool ChannelEnd::ack_due() const {
  return repeat_ack_ || !window_told_ || consumed_number() > ack_sent_;
}

bool ChannelEnd::ack_urgent() const {
  if (repeat_ack_ || !window_told_) return true;
  if (at_end() && consumed_number() > ack_sent_) return true;  // Its sender waits for nothing else.
  return consumed_number() - ack_sent_ >= limits_.window_bytes / 4;
}

ChannelEnd::AckNumbers ChannelEnd::take_ack() {
  repeat_ack_ = false;
  window_told_ = true;
  ack_sent_ = consumed_number();
  advertised_ = std::max(advertised_, consumed_ + limits_.window_bytes);
  return {.received = ack_sent_, .window_end = advertised_};
}

ChannelEnd::AckNumbers ChannelEnd::take_resume() {
  advertised_ = std::max(advertised_, consumed_ + limits_.window_bytes);
  const bool fin_here = fin_at_ && *fin_at_ == received();
  return {.received = received() + (fin_here ? 1 : 0), .window_end = advertised_};
}

ChannelState ChannelEnd::state() const {
  return {.kept = ring_.substr(ring_head_),
          .finished = fin_,
          .base = base_,
          .sent_max = sent_max_,
          .acked = acked_,
          .recorded = recorded_,
          .consumed = consumed_,
          .advertised = advertised_};
}

void ChannelEnd::restore(const ChannelState& state) {
  check(sent_max_ == 0 && consumed_ == 0 && ring_.empty(), "a new channel is restored");
  ring_ = state.kept;
  fin_ = state.finished;
  base_ = next_ = state.base;
  sent_max_ = state.sent_max;
  acked_ = state.acked;
  recorded_ = state.recorded;
  consumed_ = ack_sent_ = state.consumed;
  advertised_ = std::max(kInitialWindowBytes, state.advertised);
}

}  // namespace everspan::relay_end
