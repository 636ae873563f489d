#include "relay/end/session_end.h"

#include <algorithm>

#include "common/check.h"
#include "proto/link.pb.h"
#include "relay/end/session_slot.h"

namespace everspan::relay_end {

SessionEnd::SessionEnd(SessionOptions options, Instant now)
    : options_(std::move(options)),
      legs_(options_.orders, options_.ttl, options_.seed, options_.generation_used),
      peer_away_since_(now) {
  if (!options_.make_channel)
    options_.make_channel = [](const ChannelLimits& limits) {
      return std::make_unique<ChannelEnd>(limits);
    };
  make_slot(0, now).opened = true;
}

SessionEnd::~SessionEnd() = default;

SessionEnd::Slot* SessionEnd::find(std::uint32_t channel) const {
  const auto at = slots_.find(channel);
  return at == slots_.end() ? nullptr : at->second.get();
}

SessionEnd::Slot& SessionEnd::make_slot(std::uint32_t channel, Instant now) {
  auto slot = std::make_unique<Slot>();
  slot->end = options_.make_channel(options_.limits);
  slot->progress_at = now;
  slot->stall = kStallFirst;
  return *(slots_[channel] = std::move(slot));
}

bool SessionEnd::peers_number(std::uint32_t channel) const {
  return channel % 2 == (options_.side == Side::console ? 0 : 1);
}

// ---- The application's half ----

bool SessionEnd::add_channel(std::uint32_t channel, Instant now) {
  if (channel == 0 || ended_) return false;
  std::uint32_t& highest = highest_opened_[channel % 2];
  Slot* slot = find(channel);
  if (slot ? slot->opened : channel <= highest) return false;
  if (!slot && channels() >= kChannelsMax) return false;
  highest = std::max(highest, channel);
  if (!slot) slot = &make_slot(channel, now);
  slot->opened = true;
  if (!slot->end->readable().empty() || slot->end->at_end())
    actions_.emplace_back(Readable{channel});
  return true;
}

void SessionEnd::abort_channel(std::uint32_t channel, std::string code, std::string message,
                               Instant now) {
  if (channel == 0 || ended_) return;
  highest_opened_[channel % 2] = std::max(highest_opened_[channel % 2], channel);
  pb::SessionControl closed;
  closed.mutable_closed()->set_channel(channel);
  closed.mutable_closed()->set_code(code.empty() ? "closed" : code);
  closed.mutable_closed()->set_message(message);
  slots_.erase(channel);
  send_control(closed, now);
}

std::size_t SessionEnd::write(std::uint32_t channel, std::string_view bytes, Instant now) {
  Slot* slot = find(channel);
  if (!slot || ended_) return 0;
  if (!slot->end->outstanding()) progress(*slot, now);
  const std::size_t taken = slot->end->write(bytes);
  slot->wants_room = taken < bytes.size();
  flush(now);
  return taken;
}

std::size_t SessionEnd::room(std::uint32_t channel) const {
  const Slot* slot = find(channel);
  return slot ? slot->end->room() : 0;
}

void SessionEnd::want_room(std::uint32_t channel) {
  if (Slot* slot = find(channel)) slot->wants_room = true;
}

void SessionEnd::finish(std::uint32_t channel, Instant now) {
  Slot* slot = find(channel);
  if (!slot || ended_) return;
  if (!slot->end->outstanding()) progress(*slot, now);
  slot->end->finish();
  flush(now);
}

std::string_view SessionEnd::readable(std::uint32_t channel) const {
  const Slot* slot = find(channel);
  return slot ? slot->end->readable() : std::string_view{};
}

void SessionEnd::consume(std::uint32_t channel, std::size_t bytes, Instant now) {
  Slot* slot = find(channel);
  if (!slot) return;
  slot->end->consume(bytes);  // After the end too: what was taken is not given again.
  if (!ended_) flush(now);
}

bool SessionEnd::at_end(std::uint32_t channel) const {
  const Slot* slot = find(channel);
  return slot && slot->end->at_end();
}

void SessionEnd::send_control(const pb::SessionControl& message, Instant now) {
  if (ended_) return;
  const std::string bytes = message.SerializeAsString();
  check(bytes.size() <= kControlMessageBytesMax, "a control message fits its limit");
  if (!find(0)->end->outstanding()) progress(*find(0), now);
  put_u32(control_backlog_, static_cast<std::uint32_t>(bytes.size()));
  control_backlog_ += bytes;
  flush(now);
}

void SessionEnd::request_end(std::string reason, Instant now) {
  if (ended_) return;
  end_request_ = std::move(reason);
  end_request_leg_ = 0;
  flush(now);
}

bool SessionEnd::has_channel(std::uint32_t channel) const {
  return find(channel) != nullptr;
}

std::size_t SessionEnd::channels() const {
  return slots_.size() - 1;
}

bool SessionEnd::control_drained() const {
  return control_backlog_.empty() && find(0)->end->drained();
}

bool SessionEnd::connected() const {
  return legs_.current() && peer_attached_;
}

const ChannelEnd* SessionEnd::channel(std::uint32_t channel) const {
  const Slot* slot = find(channel);
  return slot ? slot->end.get() : nullptr;
}

SessionState SessionEnd::state() const {
  SessionState out{.generation_used = legs_.generation_used(),
                   .highest_odd = highest_opened_[1],
                   .highest_even = highest_opened_[0],
                   .control_backlog = control_backlog_,
                   .candidates = legs_.candidates()};
  for (const auto& [number, slot] : slots_)
    if (slot->opened)
      out.channels.push_back(
          {number, slot->closed_sent, slot->closed_received, slot->end->state()});
  for (const Action& action : actions_)
    if (const auto* message = std::get_if<ControlMessage>(&action))
      out.unheard.push_back(message->bytes);
  return out;
}

void SessionEnd::restore(const SessionState& state, Instant now) {
  highest_opened_[1] = state.highest_odd;
  highest_opened_[0] = state.highest_even;
  control_backlog_ = state.control_backlog;
  for (const auto& channel : state.channels) {
    Slot* slot = find(channel.number);
    if (!slot) slot = &make_slot(channel.number, now);
    slot->opened = true;
    slot->closed_sent = channel.closed_sent;
    slot->closed_received = channel.closed_received;
    slot->end->restore(channel.bytes);
  }
  for (const auto& bytes : state.unheard) actions_.emplace_back(ControlMessage{bytes});
}

// ---- Channel frames ----

// The slot; or a new one for a channel whose OpenChannel is on its way behind this frame (or in the
// application's hands). Null for channels that are gone (S5).
SessionEnd::Slot* SessionEnd::find_or_expect(std::uint32_t channel, Instant now) {
  if (Slot* slot = find(channel)) return slot;
  if (!peers_number(channel) || channel <= highest_opened_[channel % 2]) return nullptr;
  const auto early =
      std::count_if(slots_.begin(), slots_.end(), [](const auto& s) { return !s.second->opened; });
  if (static_cast<std::size_t>(early) >= kEarlyChannelsMax) return nullptr;  // S4 brings it again.
  return &make_slot(channel, now);
}

void SessionEnd::on_data(const wire::Data& data, Instant now) {
  Slot* slot = find_or_expect(data.channel, now);
  if (!slot) return;
  const std::size_t before = slot->end->readable().size();
  const bool ended_before = slot->end->at_end();
  const auto taken = slot->end->on_data(data.offset, data.payload, data.fin);
  if (!taken) return end("bad_peer", taken.error().message);
  if (!slot->end->has_hole())
    slot->hole_since.reset();
  else if (!slot->hole_since)
    slot->hole_since = now;
  if (data.channel == 0) return read_control(now);
  if (slot->opened &&
      (slot->end->readable().size() > before || slot->end->at_end() != ended_before))
    actions_.emplace_back(Readable{data.channel});
}

void SessionEnd::progress(Slot& slot, Instant now) {
  slot.progress_at = now;
  slot.stall = kStallFirst;
}

void SessionEnd::note_room(std::uint32_t channel, Slot& slot) {
  if (!slot.wants_room || slot.end->room() < options_.limits.ring_bytes / 4) return;
  slot.wants_room = false;
  if (channel != 0) actions_.emplace_back(Writable{channel});
}

void SessionEnd::on_ack(const wire::Ack& ack, Instant now) {
  Slot* slot = find_or_expect(ack.channel, now);
  if (!slot) return;
  const std::uint64_t before = slot->end->acked();
  const auto taken = slot->end->on_ack(ack.received, ack.window_end);
  if (!taken) return end("bad_peer", taken.error().message);
  if (slot->end->acked() > before) progress(*slot, now);
  note_room(ack.channel, *slot);
}

void SessionEnd::on_recorded(std::uint32_t channel, std::uint64_t durable, Instant now) {
  Slot* slot = find(channel);
  if (!slot) return;
  const std::uint64_t before = slot->end->recorded();
  const auto taken = slot->end->on_recorded(durable);
  if (!taken) return end("bad_peer", taken.error().message);
  if (slot->end->recorded() > before) progress(*slot, now);
  note_room(channel, *slot);
}

void SessionEnd::on_resume(const wire::Resume& resume, Instant now) {
  if (Slot* slot = find(resume.channel)) {
    const auto taken = slot->end->on_resume(resume.received, resume.window_end);
    if (!taken) return end("bad_peer", taken.error().message);
    slot->held = false;
    progress(*slot, now);
  }
  if (resume.channel != 0) return;
  release_held();
  // The other end waits for ours, whether or not the node told us of the loss.
  const bool said = resume_said_at_ && now - *resume_said_at_ < kResumeMax;
  if (!said && connected()) say_resume(now);
}

void SessionEnd::release_held() {
  for (auto& [number, slot] : slots_) {
    if (!slot->held) continue;
    slot->held = false;
    slot->end->rewind();
  }
  resume_until_.reset();
}

// ---- Channel 0 ----

void SessionEnd::read_control(Instant now) {
  ChannelEnd& stream = *find(0)->end;
  while (!ended_ && control_backlog_.size() < kControlBacklogBytesMax) {
    const std::string_view bytes = stream.readable();
    if (bytes.size() < 4) return;
    const std::size_t size = get_u32(as_bytes(bytes).data());
    if (size > kControlMessageBytesMax) return end("bad_peer", "A control message is too long");
    if (bytes.size() < 4 + size) return;
    pb::SessionControl message;
    std::string raw(bytes.substr(4, size));
    stream.consume(4 + size);
    if (!message.ParseFromString(raw)) return end("bad_peer", "A control message is malformed");
    if (message.has_closed())
      on_channel_closed(message);
    else
      actions_.emplace_back(ControlMessage{std::move(raw)});
  }
}

void SessionEnd::on_channel_closed(const pb::SessionControl& message) {
  const auto& closed = message.closed();
  Slot* slot = find(closed.channel());
  if (!slot || closed.channel() == 0) return;
  slot->closed_received = true;
  if (!closed.code().empty())
    drop_slot(closed.channel(), closed.code(), closed.message());
  else if (slot->closed_sent)
    drop_slot(closed.channel(), "", "");
}

void SessionEnd::drop_slot(std::uint32_t channel, std::string code, std::string message) {
  slots_.erase(channel);
  actions_.emplace_back(ChannelGone{channel, std::move(code), std::move(message)});
}

void SessionEnd::close_finished(Instant now) {
  std::vector<std::uint32_t> gone;
  for (auto& [number, slot] : slots_) {
    if (number == 0 || !slot->opened || slot->closed_sent) continue;
    if (!slot->end->settled() || !slot->end->at_end()) continue;
    slot->closed_sent = true;
    pb::SessionControl closed;
    closed.mutable_closed()->set_channel(number);
    const std::string bytes = closed.SerializeAsString();
    put_u32(control_backlog_, static_cast<std::uint32_t>(bytes.size()));
    control_backlog_ += bytes;
    if (slot->closed_received) gone.push_back(number);
  }
  for (const std::uint32_t number : gone) drop_slot(number, "", "");
}

// ---- What leaves ----

void SessionEnd::emit(std::uint64_t leg, const wire::Frame& frame) {
  auto* last = actions_.empty() ? nullptr : std::get_if<SendFrames>(&actions_.back());
  if (!last || last->leg != leg)
    last = &std::get<SendFrames>(actions_.emplace_back(SendFrames{.leg = leg}));
  wire::append_frame(last->bytes, frame);
}

void SessionEnd::emit_control(std::uint64_t leg, const pb::LinkMessage& message) {
  const std::string bytes = message.SerializeAsString();
  emit(leg, wire::Control{bytes});
}

void SessionEnd::flush(Instant now) {
  if (ended_) return;
  read_control(now);  // What waited for the backlog to shrink.
  close_finished(now);
  flush_control();
  const auto leg = legs_.current();
  if (!leg) return;
  if (end_request_ && end_request_leg_ != *leg) {
    end_request_leg_ = *leg;
    pb::LinkMessage message;
    message.mutable_end_request()->set_reason(*end_request_);
    emit_control(*leg, message);
  }
  if (!peer_attached_) return;  // S1
  // Data first: an OpenChannel before the window of its channel.
  const bool data_left = flush_data();
  flush_acks(data_left, now);
}

void SessionEnd::flush_control() {
  if (control_backlog_.empty()) return;
  control_backlog_.erase(0, find(0)->end->write(control_backlog_));
}

void SessionEnd::flush_acks(bool with_data, Instant now) {
  for (auto& [number, slot] : slots_) {
    if (!slot->opened || !slot->end->ack_due()) continue;
    if (!slot->ack_since) slot->ack_since = now;
    const bool may_wait = number != 0 && !with_data && !slot->end->ack_urgent();
    if (may_wait && now - *slot->ack_since < kAckDelay) continue;  // S7
    slot->ack_since.reset();
    const auto ack = slot->end->take_ack();
    emit(*legs_.current(), wire::Ack{number, ack.received, ack.window_end});
  }
}

bool SessionEnd::flush_data() {
  bool left = false;
  for (bool more = true; more;) {
    more = false;
    for (auto& [number, slot] : slots_) {
      if (slot->held) continue;
      const auto piece = slot->end->next_piece(kPayloadBytes);
      if (!piece) continue;
      emit(*legs_.current(), wire::Data{number, piece->fin, piece->offset, piece->payload});
      slot->end->mark_sent(*piece);
      more = left = true;
    }
  }
  return left;
}

std::vector<Action> SessionEnd::take_actions() {
  return std::exchange(actions_, {});
}

void SessionEnd::end(std::string code, std::string message) {
  if (ended_) return;
  ended_ = true;
  actions_.emplace_back(Ended{std::move(code), std::move(message)});
}

}  // namespace everspan::relay_end
