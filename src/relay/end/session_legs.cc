// SessionEnd's half that deals with legs, losses and moves.
#include <algorithm>

#include "common/crypto.h"
#include "proto/link.pb.h"
#include "relay/end/session_slot.h"

namespace everspan::relay_end {
namespace {

std::vector<Candidate> to_candidates(const auto& list) {
  std::vector<Candidate> out;
  for (const auto& c : list) {
    if (out.size() == kCandidatesMax) break;
    if (c.port() == 0 || c.port() > 65535 || c.host().empty() || c.host().size() > 255) continue;
    out.push_back({c.host(), static_cast<std::uint16_t>(c.port()), c.node()});
  }
  return out;
}

LegOrders to_orders(const pb::Orders& orders) {
  static constexpr std::uint32_t kLongestMs =
      10 * 60 * 1000;  // An order cannot park an end for ever.
  const auto ms = [](std::uint32_t n) {
    return std::chrono::milliseconds(std::min(n, kLongestMs));
  };
  return {.candidates = to_candidates(orders.candidates()),
          .redial_after = ms(orders.redial_after_ms()),
          .redial_spread = ms(orders.redial_spread_ms()),
          .heartbeat = ms(orders.heartbeat_ms())};
}

}  // namespace

void SessionEnd::start(Instant now) {
  const bool goes_on = options_.generation_used > 0;
  peer_seen_ = goes_on;
  legs_.start(goes_on ? DialReason::lost : DialReason::first, now);
  tick(now);
}

void SessionEnd::leg_frame(std::uint64_t leg, const wire::Frame& frame, Instant now) {
  if (ended_) return;
  legs_.heard(leg, now);
  if (const auto* control = std::get_if<wire::Control>(&frame)) {
    on_control_frame(leg, control->message, now);
  } else if (!legs_.delivers(leg)) {
    return;  // S2
  } else if (const auto* data = std::get_if<wire::Data>(&frame)) {
    on_data(*data, now);
  } else if (const auto* ack = std::get_if<wire::Ack>(&frame)) {
    on_ack(*ack, now);
  } else if (const auto* recorded = std::get_if<wire::Recorded>(&frame)) {
    on_recorded(recorded->channel, recorded->durable, now);
  } else if (const auto* resume = std::get_if<wire::Resume>(&frame)) {
    on_resume(*resume, now);
  } else if (const auto* ping = std::get_if<wire::Ping>(&frame)) {
    if (!legs_.is_draining(leg)) emit(leg, wire::Pong{ping->token});
  } else if (std::holds_alternative<wire::Barrier>(frame)) {
    actions_.emplace_back(CloseLeg{leg});
    if (legs_.is_draining(leg)) {
      legs_.drained(leg);
    } else {  // The node gives this leg up although we have no other yet.
      LegKeeper::Out out;
      legs_.failed(leg, Duration{0}, now, out);
      apply(out, now);
    }
  }
  flush(now);
}

void SessionEnd::on_control_frame(std::uint64_t leg, std::string_view bytes, Instant now) {
  const bool known = legs_.delivers(leg) || legs_.attaching(leg);
  if (!known) return;
  pb::LinkMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return end("bad_peer", "The node sent a malformed message");
  const bool is_current = legs_.current() == leg;
  if (message.has_attached()) {
    on_attached(leg, message, now);
  } else if (message.has_refuse()) {
    on_refused(leg, message, now);
  } else if (message.has_ended()) {
    on_tombstone(message);
  } else if (message.has_notice()) {
    actions_.emplace_back(NodeNotice{message.notice().text()});
  } else if (!is_current) {
    // A draining leg has no news of its own; this may have been under way when its end moved.
    if (message.has_peer_attached() && message.peer_attached().lost() && connected())
      begin_resume(now);
  } else if (message.has_peer_attached()) {
    on_peer_attached(message.peer_attached().lost(), now);
  } else if (message.has_peer_gone()) {
    if (peer_attached_) peer_away_since_ = now;
    peer_attached_ = false;
  } else if (message.has_orders()) {
    legs_.set_orders(to_orders(message.orders()));
  } else if (message.has_migrate()) {
    const auto delay = std::chrono::milliseconds(std::min(message.migrate().delay_ms(), 60'000U));
    legs_.migrate(leg, to_candidates(message.migrate().candidates()), delay, now);
    tick(now);
  }
}

void SessionEnd::on_attached(std::uint64_t leg, const pb::LinkMessage& message, Instant now) {
  const auto& attached = message.attached();
  const auto as = legs_.attached(leg, now);
  if (!as) return;
  if (as->old) emit(*as->old, wire::Barrier{});  // L2: the last frame there.
  if (attached.has_orders()) legs_.set_orders(to_orders(attached.orders()));
  for (const auto& r : attached.recorded()) on_recorded(r.channel(), r.offset(), now);
  actions_.emplace_back(LegUp{leg, as->reason});
  if (as->reason == DialReason::lost) {
    peer_seen_ = true;  // It may have sent to a leg that broke: S3 when it is there.
    if (peer_attached_) peer_away_since_ = now;
    peer_attached_ = false;
    if (attached.peer_attached()) on_peer_attached(true, now);
    return;
  }
  if (as->reason == DialReason::planned && attached.peer_attached() && peer_attached_) {
    if (as->retried) ask_again(now);
    return;
  }
  if (attached.peer_attached()) {
    on_peer_attached(false, now);
  } else if (peer_attached_) {
    peer_attached_ = false;
    peer_away_since_ = now;
  }
}

void SessionEnd::on_peer_attached(bool lost, Instant now) {
  const bool was_away = !peer_attached_ && peer_seen_;
  peer_attached_ = true;
  peer_seen_ = true;
  if (lost || was_away) begin_resume(now);
}

void SessionEnd::begin_resume(Instant now) {
  ++resumes_;
  for (auto& [number, slot] : slots_) {
    slot->held = true;
    progress(*slot, now);
  }
  say_resume(now);
  resume_until_ = now + kResumeMax;
}

void SessionEnd::say_resume(Instant now) {
  resume_said_at_ = now;
  for (auto& [number, slot] : slots_)
    if (number != 0) send_resume(number, *slot);
  send_resume(0, *find(0));
}

void SessionEnd::ask_again(Instant now) {
  if (!connected()) return;
  for (auto& [number, slot] : slots_) slot->end->rewind();
  say_resume(now);
}

void SessionEnd::send_resume(std::uint32_t channel, Slot& slot) {
  const auto numbers = slot.end->take_resume();
  emit(*legs_.current(), wire::Resume{channel, numbers.received, numbers.window_end});
}

void SessionEnd::on_refused(std::uint64_t leg, const pb::LinkMessage& message, Instant now) {
  const auto& refuse = message.refuse();
  actions_.emplace_back(CloseLeg{leg});
  const bool attaching = legs_.attaching(leg);
  const bool newer_of_ours = !attaching && legs_.current() != leg;
  if (refuse.code() == "ended") return end("ended", refuse.message());
  // Somebody else goes on as this end. A host is the only one of its kind and dials again.
  if (refuse.code() == "superseded" && !attaching && !newer_of_ours &&
      options_.side == Side::console)
    return end("superseded", "This session was taken over by another console");
  // Once attached, a session ends by its tombstone or its time to live only.
  const bool was_up = peer_seen_ || legs_.current();
  const bool passing = refuse.code() == "retry_later" || refuse.code() == "superseded";
  if (attaching && !passing && !was_up) return end(refuse.code(), refuse.message());
  LegKeeper::Out out;
  const auto wait = std::chrono::milliseconds(std::min(refuse.retry_after_ms(), 60'000U));
  legs_.failed(leg, wait, now, out);
  apply(out, now);
}

void SessionEnd::on_tombstone(const pb::LinkMessage& message) {
  const auto& signed_tombstone = message.ended();
  pb::Tombstone tombstone;
  if (!tombstone.ParseFromString(signed_tombstone.tombstone()) ||
      tombstone.session_id() != options_.session_id)
    return;
  using namespace std::string_view_literals;
  if (!options_.site_key.empty() &&
      !verify_signature(options_.site_key,
                        std::string("everspan tombstone 1\0"sv) + signed_tombstone.tombstone(),
                        signed_tombstone.signature()))
    return;
  end("ended", tombstone.reason());
}

void SessionEnd::leg_failed(std::uint64_t leg, Instant now) {
  if (ended_) return;
  LegKeeper::Out out;
  legs_.failed(leg, Duration{0}, now, out);
  apply(out, now);
  tick(now);
}

void SessionEnd::apply(const LegKeeper::Out& out, Instant now) {
  for (const std::uint64_t leg : out.close) actions_.emplace_back(CloseLeg{leg});
  if (out.current_lost) {
    actions_.emplace_back(LegDown{});
    resume_until_.reset();
  }
  // S4: what was on its way there may be lost, both ways, and nobody else will say so.
  if (out.drain_lost) ask_again(now);
  if (out.ping) emit(*out.ping, wire::Ping{*out.ping});
  if (out.dial) actions_.emplace_back(*out.dial);
  if (out.ttl_over) end("ttl", "No way to the site was found for the session's time to live");
}

void SessionEnd::tick(Instant now) {
  if (ended_) return;
  LegKeeper::Out out;
  legs_.tick(now, out);
  apply(out, now);
  if (ended_) return;
  if (legs_.current() && !peer_attached_ && now - peer_away_since_ >= options_.ttl)
    return end("ttl", "The other end did not come back within the session's time to live");
  if (resume_until_ && now >= *resume_until_) release_held();
  check_stalls(now);
  flush(now);
}

void SessionEnd::check_stalls(Instant now) {
  if (!connected()) return;
  for (auto& [number, slot] : slots_) {
    if (slot->held) continue;
    if (slot->hole_since && now - *slot->hole_since >= kHoleMax) {
      slot->hole_since = now;
      ++noticed_;
      send_resume(number, *slot);
    }
    if (!slot->end->outstanding()) {
      progress(*slot, now);
    } else if (now - slot->progress_at >= slot->stall) {
      slot->progress_at = now;
      slot->stall = std::min(kStallMax, slot->stall * 2);
      ++noticed_;
      if (const auto piece = slot->end->probe())
        emit(*legs_.current(), wire::Data{number, piece->fin, piece->offset, piece->payload});
    }
  }
}

Instant SessionEnd::wake_at() const {
  if (ended_) return Instant::max();
  Instant at = legs_.wake_at();
  if (resume_until_) at = std::min(at, *resume_until_);
  if (legs_.current() && !peer_attached_) at = std::min(at, peer_away_since_ + options_.ttl);
  if (!connected()) return at;
  for (const auto& [number, slot] : slots_) {
    if (slot->ack_since) at = std::min(at, *slot->ack_since + kAckDelay);
    if (slot->held) continue;
    if (slot->hole_since) at = std::min(at, *slot->hole_since + kHoleMax);
    if (slot->end->outstanding()) at = std::min(at, slot->progress_at + slot->stall);
  }
  return at;
}

}  // namespace everspan::relay_end
