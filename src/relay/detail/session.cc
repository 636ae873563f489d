// Frames and the recorder's tap; what the core asks for is in session_actions.cc.
#include "relay/detail/session.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/log.h"
#include "recording/core/policy.h"
#include "recording/recorder.h"
#include "relay/detail/messages.h"
#include "relay/detail/shard.h"

namespace everspan::relay {
namespace {

// An honest sender stays within its peer's windows; more than this for one leg is an attack or a
// bug.
constexpr std::size_t kLegOutputBytesMax = 32 << 20;
// Not yet durable: above it the session's legs are not read until it fell to a quarter.
constexpr std::uint64_t kTapBytesHigh = 8 << 20;
// Held while the other process is asked: more than any honest end's windows in that time.
constexpr std::size_t kHeldBytesHigh = 4 << 20;
constexpr Duration kAskEndAgain = std::chrono::seconds(30);

}  // namespace

Leg::Leg(Session& s, LegId i, Origin o, net::Executor executor,
         std::unique_ptr<net::Transport> transport, std::string early)
    : WatchedLink(std::move(executor), std::move(transport), std::move(early)),
      session(s),
      id(i),
      origin(std::move(o)) {}

void Leg::on_link_frame(const wire::Frame& frame, std::string_view raw) {
  session.on_frame(*this, frame, raw);
}
void Leg::on_link_writable() {
  session.on_writable(*this);
}
void Leg::on_link_closed(const Error& why) {
  session.on_closed(*this, why);
}

Session::Session(Shard& shard, SessionId id, access::GrantClaims claims, std::string grant_digest)
    : shard_(shard),
      id_(id),
      raw_id_(id.raw()),
      claims_(std::move(claims)),
      grant_digest_(std::move(grant_digest)),
      since_ms_(net::wall_now().unix_ms) {
  core_.peer_connected(shard_.bridge_up());
}

Session::~Session() {
  if (tap_) {
    tap_->finish(shard_.batch());
    shard_.submit();  // What is in the batch goes before the end of its stream.
    shard_.unwatch_stream(tap_->stream());
    shard_.recorder->close_stream(tap_->stream(), tap_reason_.empty() ? "stopped" : tap_reason_);
  }
}

void Session::attach(Leg::Origin origin, std::unique_ptr<net::Transport> transport,
                     std::string early) {
  if (ended_) return shard_.refuse(std::move(transport), shard_.why_ended(claims_.session));
  const auto leg_id = shard_.next_leg_id();
  const auto side = origin.side;
  const auto generation = origin.generation;
  const auto reason = origin.reason;
  auto leg = std::make_unique<Leg>(*this, leg_id, std::move(origin), shard_.executor,
                                   std::move(transport), std::move(early));
  leg->since_ms = net::wall_now().unix_ms;
  legs_.emplace(leg_id, std::move(leg));
  core_.attach(leg_id, side, generation, reason);
  perform();
}

Leg* Session::find(LegId leg) {
  const auto found = legs_.find(leg);
  return found == legs_.end() ? nullptr : found->second.get();
}

// ---- Frames ----

void Session::on_frame(Leg& leg, const wire::Frame& frame, std::string_view raw) {
  if (ended_) return;
  const auto side = leg.origin.side;
  if (std::holds_alternative<wire::Data>(frame) || std::holds_alternative<wire::Ack>(frame) ||
      std::holds_alternative<wire::Resume>(frame)) {
    if (core_.takes_over(other(side)))
      hold(side, frame, raw);
    else
      pass(side, frame, raw);
  } else if (std::holds_alternative<wire::Barrier>(frame)) {
    core_.barrier(leg.id);
    perform();
  } else if (const auto* control = std::get_if<wire::Control>(&frame)) {
    on_control(leg, control->message);
  }
  // `recorded` is the node's word alone: from an end it means nothing.
}

void Session::on_control(Leg& leg, std::string_view bytes) {
  pb::LinkMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  if (message.has_end_request())
    shard_.services.request_end(id_, printable(message.end_request().reason()));
}

void Session::pass(Side from, const wire::Frame& frame, std::string_view raw) {
  if (const auto* data = std::get_if<wire::Data>(&frame)) {
    bytes_[index(from)] += data->payload.size();
    if (from == Side::agent || core_.where(Side::agent) == Where::here) record(from, *data);
  }
  forward(from, raw);
}

void Session::hold(Side from, const wire::Frame& frame, std::string_view raw) {
  // Recorded now: by the time that it is passed on another process may be the recorder.
  const auto* data = std::get_if<wire::Data>(&frame);
  if (data != nullptr && from == Side::agent) record(from, *data);
  auto& held = held_[index(from)];
  const bool was_full = held.size() > kHeldBytesHigh;
  held += raw;
  if (!was_full && held.size() > kHeldBytesHigh) update_flow();
}

void Session::pass_held(Side from) {
  if (held_[index(from)].empty() || core_.takes_over(other(from))) return;
  const std::string frames = std::exchange(held_[index(from)], {});
  std::string_view rest = frames;
  while (!rest.empty() && !ended_) {
    std::size_t size = 0;
    const auto frame = wire::parse_frame(rest, size);
    check(frame && *frame, "whole frames are held");
    pass(from, **frame, rest.substr(0, size));
    rest.remove_prefix(size);
  }
}

void Session::forward(Side from, std::string_view raw) {
  const auto to = other(from);
  if (core_.where(to) == Where::nowhere) {
    core_.frames_dropped();
    return;
  }
  (void)to_side(to, raw);
  if (recorded_waits_[index(to)]) tell_recorded(to);
  if (core_.where(to) == Where::peer) {
    if (shard_.bridge_high()) update_flow();
    return;
  }
  auto* leg = find(core_.leg(to));
  if (leg == nullptr || !leg->above_high_water()) return;
  if (leg->pending_bytes() > kLegOutputBytesMax) {
    log_warning("leg.too_slow", {{"session", id_.hex()}});
    const auto lost = leg->id;
    shard_.move_ended(*leg, false);
    legs_.erase(lost);
    core_.leg_lost(lost);
    perform();
  } else if (!std::exchange(blocked_[index(from)], true)) {
    update_flow();
  }
}

// To the newest leg of this side, here or at the peer process.
bool Session::to_side(Side side, std::string_view frame) {
  if (core_.where(side) == Where::peer) {
    shard_.bridge_frame(raw_id_, side, frame);
    return true;
  }
  auto* leg = find(core_.leg(side));
  if (leg == nullptr) return false;
  leg->send(frame);
  return true;
}

void Session::on_bridge_frame(Side to, std::string_view raw) {
  if (ended_) return;
  std::size_t size = 0;
  const auto frame = wire::parse_frame(raw, size);
  if (!frame || !*frame || size != raw.size()) return;
  if (core_.where(to) != Where::here) {
    core_.frames_dropped();
    return;
  }
  if (const auto* data = std::get_if<wire::Data>(&**frame)) {
    bytes_[index(other(to))] += data->payload.size();
    if (to == Side::agent) record(Side::console, *data);
  }
  forward(other(to), raw);
}

// ---- Flow ----

void Session::on_writable(Leg& leg) {
  if (leg.id != core_.leg(leg.origin.side)) return;
  blocked_[index(other(leg.origin.side))] = false;
  update_flow();
}

void Session::on_bridge_pressure() {
  update_flow();
}

// Who is read. A paused leg still gets all that is for it, so no two legs can wait for each other:
// each end reads always, up to its own windows.
void Session::update_flow() {
  for (const auto from : {Side::console, Side::agent}) {
    const auto to = other(from);
    auto* target = core_.where(to) == Where::here ? find(core_.leg(to)) : nullptr;
    auto& blocked = blocked_[index(from)];
    if (target == nullptr) blocked = false;
    const bool bridge_full = core_.where(to) == Where::peer && shard_.bridge_high();
    const bool stop = blocked || bridge_full || peer_blocks_[index(from)] || recorder_full_ ||
                      held_[index(from)].size() > kHeldBytesHigh;
    for (const auto& [leg_id, leg] : legs_)
      if (leg->origin.side == from) leg->set_paused(stop);
    const bool tell = blocked && core_.where(from) == Where::peer;
    if (tell == told_peer_[index(from)]) continue;
    told_peer_[index(from)] = tell;
    pb::BridgeMessage message;
    message.mutable_flow()->set_session_id(raw_id_);
    message.mutable_flow()->set_side(static_cast<std::uint32_t>(from));
    message.mutable_flow()->set_paused(tell);
    send_bridge(message);
  }
}

// ---- Recording ----

void Session::open_tap() {
  tap_reason_.clear();
  if (tap_ || shard_.recorder == nullptr) return;
  recording::SessionInfo info;
  info.session = id_;
  info.endpoint = claims_.endpoint;
  info.person = claims_.person;
  info.policy = recording::policy_of(claims_.recording);
  info.grant_digest = grant_digest_;
  tap_ = std::make_unique<recording::SessionTap>(shard_.recorder->open_stream(info), info.policy);
  shard_.watch_stream(tap_->stream(), *this);
  if (known_) tap_->merge(*known_, shard_.batch());
  known_.reset();
}

void Session::record(Side from, const wire::Data& data) {
  if (!tap_) return;
  tap_->add(direction_of(from), data.channel, data.offset, data.fin, data.payload,
            net::wall_now().unix_ms, shard_.batch());
  if (!recorder_full_ && tap_->bytes_in_flight() > kTapBytesHigh) {
    recorder_full_ = true;
    update_flow();
  }
}

void Session::on_durable(const recording::Batch::Note& note) {
  if (tap_) tap_->mark_durable(note);
}

// A few bytes are told with the next frame to their sender, or at the next beat: a keystroke's
// `recorded` wakes nobody up by itself.
void Session::after_durable() {
  if (tap_ && !ended_ && !tap_->progress_is_urgent())
    recorded_waits_[0] = recorded_waits_[1] = true;
  else
    tell_recorded();
  if (recorder_full_ && (!tap_ || tap_->bytes_in_flight() < kTapBytesHigh / 4)) {
    recorder_full_ = false;
    update_flow();
  }
  finish_tap_when_settled();
}

void Session::tell_recorded() {
  for (const auto side : {Side::console, Side::agent}) tell_recorded(side);
}

void Session::tell_waiting() {
  for (const auto side : {Side::console, Side::agent})
    if (recorded_waits_[index(side)]) tell_recorded(side);
}

void Session::tell_recorded(Side side) {
  // Sent over the bridge it would pass the answer (P9), and be lost with nobody to say it again.
  recorded_waits_[index(side)] = core_.takes_over(side);
  if (!tap_ || ended_ || recorded_waits_[index(side)]) return;
  std::string frames;
  for (const auto& progress : tap_->take_progress(direction_of(side))) {
    const wire::Recorded recorded{progress.channel, progress.durable};
    if (core_.where(side) != Where::peer) {
      wire::append_frame(frames, recorded);
      continue;
    }
    std::string one;
    wire::append_frame(one, recorded);
    (void)to_side(side, one);
  }
  if (!frames.empty()) (void)to_side(side, frames);  // Nobody there: said again at its attach.
}

// The segment is complete: tell the process that records now, and let go of it.
void Session::finish_tap_when_settled() {
  if (!tap_ || tap_reason_.empty() || !tap_->settled()) return;
  if (!ended_ && shard_.bridge_up()) {
    pb::BridgeMessage message;
    message.mutable_recorder_done()->set_session_id(raw_id_);
    tap_->snapshot(*message.mutable_recorder_done()->mutable_recorder());
    send_bridge(message);
  }
  tap_->finish(shard_.batch());
  shard_.submit();  // What is in the batch goes before the end of its stream.
  shard_.unwatch_stream(tap_->stream());
  shard_.recorder->close_stream(tap_->stream(), tap_reason_);
  tap_.reset();
  if (recorder_full_) {
    recorder_full_ = false;
    update_flow();
  }
  shard_.forget_later(id_);
}

void Session::on_recovered(const pb::RecorderSnapshot& snapshot) {
  const bool nothing = snapshot.streams().empty() && snapshot.finished().empty();
  if (tap_) {
    tap_->merge(snapshot, shard_.batch());
    tell_recorded();
  } else if (!nothing) {
    known_ = std::make_unique<pb::RecorderSnapshot>(snapshot);
  }
  if (nothing && core_.pending()) {
    // Nobody remembers this session, so this is its first attach, whatever its end says.
    std::vector<LegId> late;
    for (const auto& [leg_id, leg] : legs_)
      if (!leg->origin.grant_in_time && !leg->closing()) late.push_back(leg_id);
    for (const auto leg_id : late) {
      find(leg_id)->say_and_close(refuse_frame({"grant_expired",
                                                "The grant has expired before the session began",
                                                {},
                                                "Open a new session"}));
      find(leg_id)->start();
      core_.leg_lost(leg_id);
    }
  }
  core_.recovered();
  perform();
}

// ---- Ends ----

void Session::on_closed(Leg& leg, const Error& why) {
  const auto leg_id = leg.id;
  const bool was_current = core_.leg(leg.origin.side) == leg_id;
  if (was_current && !ended_) journal(SessionEventKind::lost, leg, why.code);
  if (leg.asked_at) shard_.session_closed_leg(leg.moved);
  shard_.move_ended(leg, false);
  const auto gone = legs_.extract(leg_id);
  if (ended_) {
    if (legs_.empty()) shard_.forget_later(id_);
    return;
  }
  core_.leg_lost(leg_id);
  perform();
}

void Session::end(const std::string& signed_tombstone, const std::string& reason) {
  if (std::exchange(ended_, true)) return;
  pb::LinkMessage message;
  if (!message.mutable_ended()->ParseFromString(signed_tombstone))
    log_error("session.bad_tombstone", {{"session", id_.hex()}});
  const auto frame = control_frame(message);
  for (const auto& [leg_id, leg] : legs_) {
    if (!leg->closing()) leg->set_paused(false);
    const bool pending = core_.leg(leg->origin.side) != leg_id && !leg->drain_until;
    leg->say_and_close(frame);
    if (pending && !leg->started()) leg->start();
  }
  SessionEvent event;
  event.kind = SessionEventKind::ended;
  event.session = id_;
  event.endpoint = claims_.endpoint;
  event.person = claims_.person;
  event.detail = reason;
  shard_.services.journal(event);
  tap_reason_ = "ended";
  finish_tap_when_settled();
  shard_.forget_later(id_);
}

bool Session::may_go() const {
  if (ended_) return legs_.empty() && !tap_;
  return legs_.empty() && !tap_ && core_.may_forget();
}

void Session::tick(Instant now, Duration heartbeat, unsigned silent_max) {
  std::vector<LegId> dead;
  for (const auto& [leg_id, leg] : legs_) {
    const bool overdue = leg->drain_until && now >= *leg->drain_until && !leg->closing();
    if (overdue || !leg->beat(now, heartbeat, silent_max)) dead.push_back(leg_id);
  }
  for (const auto leg_id : dead) on_closed(*find(leg_id), {"silent", "Nothing was heard", {}, {}});
  if (ended_) return;
  if (core_.has_leg_anywhere() || !legs_.empty()) {
    without_legs_since_.reset();
    return;
  }
  if (!without_legs_since_) without_legs_since_ = now;
  if (now - *without_legs_since_ < std::chrono::seconds(claims_.ttl_s)) return;
  if (end_asked_at_ && now - *end_asked_at_ < kAskEndAgain) return;
  end_asked_at_ = now;
  shard_.services.request_end(id_, "time to live");
}

void Session::check_queries(Instant now) {
  std::vector<std::uint64_t> overdue;
  std::erase_if(queries_, [&](const auto& query) {
    if (now < query.second) return false;
    overdue.push_back(query.first);
    return true;
  });
  for (const auto query : overdue) core_.peer_silent(query);
  if (!overdue.empty()) perform();
}

bool Session::migrate(LegId leg_id, std::string_view frame, Instant now) {
  auto* leg = find(leg_id);
  if (leg == nullptr || core_.leg(leg->origin.side) != leg_id) return false;
  shard_.move_asked(*leg, now);
  leg->send(frame);
  return true;
}

void Session::send_notice(std::string_view frame) {
  auto* leg = find(core_.leg(Side::console));
  if (leg != nullptr && leg->origin.wire >= wire::kWireNotice) leg->send(frame);
}

void Session::send_orders(std::string_view frame) {
  for (const auto side : {Side::console, Side::agent})
    if (auto* leg = find(core_.leg(side))) leg->send(frame);
}

SessionInfoRow Session::row() const {
  SessionInfoRow row;
  row.session = id_;
  row.endpoint = claims_.endpoint;
  row.person = claims_.person;
  row.since_ms = since_ms_;
  row.bytes_c2a = bytes_[index(Side::console)];
  row.bytes_a2c = bytes_[index(Side::agent)];
  for (const auto side : {Side::console, Side::agent}) {
    auto& info = side == Side::console ? row.console : row.agent;
    info.generation = core_.generation(side);
    info.here = core_.where(side) == Where::here;
    info.at_peer_process = core_.where(side) == Where::peer;
    const auto found = legs_.find(core_.leg(side));
    if (found == legs_.end()) continue;
    info.address = found->second->address();
    info.release = found->second->origin.release;
    info.since_ms = found->second->since_ms;
  }
  return row;
}

void Session::journal(SessionEventKind kind, const Leg& leg, std::string detail) {
  SessionEvent event;
  event.kind = kind;
  event.session = id_;
  event.endpoint = claims_.endpoint;
  event.person = claims_.person;
  event.side = leg.origin.side;
  event.generation = leg.origin.generation;
  event.address = leg.address();
  event.detail = std::move(detail);
  shard_.services.journal(event);
}

}  // namespace everspan::relay
