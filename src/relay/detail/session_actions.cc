// What a session does for its core, and what comes for it over the bridge.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "relay/detail/messages.h"
#include "relay/detail/session.h"
#include "relay/detail/shard.h"

namespace everspan::relay {

void Session::perform() {
  if (std::exchange(performing_, true)) return;  // The outer call takes what was added.
  for (;;) {
    const auto actions = core_.take_actions();
    if (actions.empty()) break;
    for (const auto& action : actions) std::visit([this](const auto& what) { run(what); }, action);
  }
  performing_ = false;
  for (const auto side : {Side::console, Side::agent}) pass_held(side);
  update_flow();
  if (core_.may_forget()) shard_.forget_later(id_);
}

void Session::run(const Accept& action) {
  auto* leg = find(action.leg);
  if (leg == nullptr) return;
  if (action.side == Side::agent) open_tap();
  pb::LinkMessage message;
  auto& attached = *message.mutable_attached();
  attached.set_generation(action.generation);
  write_orders(shard_.orders(), *attached.mutable_orders());
  attached.set_peer_attached(action.peer_attached);
  const auto direction = direction_of(action.side);
  const auto add = [&attached](std::uint32_t channel, std::uint64_t offset) {
    attached.add_recorded()->set_channel(channel);
    attached.mutable_recorded(attached.recorded_size() - 1)->set_offset(offset);
  };
  if (tap_) {
    for (const auto& progress : tap_->all_progress(direction))
      add(progress.channel, progress.durable);
  } else if (known_) {
    for (const auto& mark : known_->streams())
      if (mark.direction() == static_cast<std::uint32_t>(direction) && mark.durable() > 0)
        add(mark.channel(), mark.durable());
  }
  leg->send(control_frame(message));
  if (action.side == Side::console && leg->origin.wire >= wire::kWireNotice) {
    const auto notice = shard_.services.notice();
    if (notice && !notice->text.empty()) leg->send(notice_frame(*notice));
  }
  leg->start();
  const bool moved = leg->origin.reason == AttachReason::planned;
  journal(moved ? SessionEventKind::moved : SessionEventKind::attached, *leg);
}

void Session::run(const Refuse& action) {
  auto* leg = find(action.leg);
  if (leg == nullptr || leg->closing()) return;
  journal(SessionEventKind::refused, *leg, action.code);
  leg->say_and_close(
      refuse_frame({action.code, "A newer attachment of this end is in use", {}, {}}));
  leg->start();
}

void Session::run(const Supersede& action) {
  auto* leg = find(action.leg);
  if (leg == nullptr) return;
  leg->set_paused(false);
  leg->say_and_close(
      refuse_frame({"superseded", "A newer attachment of this end is in use", {}, {}}));
}

void Session::run(const Drain& action) {
  auto* leg = find(action.leg);
  if (leg == nullptr) return;
  leg->drain_until = net::now() + shard_.options.barrier_deadline;
  shard_.move_ended(*leg, true);
}

void Session::run(const Reinstate& action) {
  if (auto* leg = find(action.leg)) leg->drain_until.reset();
  tap_reason_.clear();
}

void Session::run(const CloseDrained& action) {
  auto* leg = find(action.leg);
  if (leg == nullptr) return;
  leg->moved = true;
  shard_.move_ended(*leg, true);
  leg->set_paused(false);
  leg->send_frame(wire::Barrier{});
  leg->say_and_close({});
}

void Session::run(const TellAttached& action) {
  pb::LinkMessage message;
  message.mutable_peer_attached()->set_generation(action.generation);
  message.mutable_peer_attached()->set_lost(action.lost);
  (void)to_side(action.side, control_frame(message));  // Gone meanwhile: hears it at its attach.
}

void Session::run(const TellGone& action) {
  pb::LinkMessage message;
  message.mutable_peer_gone();
  (void)to_side(action.side, control_frame(message));
}

void Session::run(const AskPeer& action) {
  queries_.emplace_back(action.query, net::now() + shard_.options.peer_answer_deadline);
  pb::BridgeMessage message;
  auto& said = *message.mutable_leg_attached();
  said.set_session_id(raw_id_);
  said.set_side(static_cast<std::uint32_t>(action.side));
  said.set_generation(action.generation);
  said.set_planned(action.planned);
  said.set_query(action.query);
  send_bridge(message);
}

void Session::run(const AnswerPeer& action) {
  const auto view = core_.answer();
  pb::BridgeMessage message;
  auto& state = *message.mutable_session_state();
  state.set_session_id(raw_id_);
  state.set_query(action.query);
  state.set_known(view.known);
  state.set_unsynced(view.unsynced);
  for (const auto side : {Side::console, Side::agent}) {
    const auto& from = view.sides[index(side)];
    auto* to = state.add_sides();
    to->set_side(static_cast<std::uint32_t>(side));
    to->set_generation(from.generation);
    to->set_here(from.here);
    to->set_draining(from.draining);
    to->set_highest(from.highest);
  }
  if (tap_)
    tap_->snapshot(*state.mutable_recorder());
  else if (known_)
    *state.mutable_recorder() = *known_;
  send_bridge(message);
}

void Session::run(const SendLegGone& action) {
  pb::BridgeMessage message;
  message.mutable_leg_gone()->set_session_id(raw_id_);
  message.mutable_leg_gone()->set_side(static_cast<std::uint32_t>(action.side));
  message.mutable_leg_gone()->set_generation(action.generation);
  message.mutable_leg_gone()->set_still(action.still);
  send_bridge(message);
}

void Session::run(const SendLegDrained& action) {
  pb::BridgeMessage message;
  message.mutable_leg_drained()->set_session_id(raw_id_);
  message.mutable_leg_drained()->set_side(static_cast<std::uint32_t>(action.side));
  message.mutable_leg_drained()->set_clean(action.clean);
  send_bridge(message);
}

void Session::run(const Recover&) {
  shard_.recover(id_);
}

void Session::run(const HandOverRecorder&) {
  if (!tap_) return;
  tap_reason_ = "moved";
  finish_tap_when_settled();
}

// ---- The bridge ----

void Session::send_bridge(const pb::BridgeMessage& message) {
  shard_.bridge_message(raw_id_, message);
}

void Session::on_bridge(bool connected) {
  queries_.clear();
  peer_blocks_[0] = peer_blocks_[1] = false;
  told_peer_[0] = told_peer_[1] = false;
  core_.peer_connected(connected);
  perform();
}

void Session::take_session_state(const pb::SessionState& state) {
  std::erase_if(queries_, [&](const auto& query) { return query.first == state.query(); });
  PeerView view;
  view.known = state.known();
  view.unsynced = state.unsynced();
  for (const auto& said : state.sides()) {
    Side side{};
    if (!read_side(said.side(), side)) continue;
    view.sides[index(side)] = {said.generation(), said.highest(), said.here(), said.draining()};
  }
  if (tap_) {
    tap_->merge(state.recorder(), shard_.batch());
    tell_recorded();
  } else if (state.recorder().streams_size() > 0) {
    known_ = std::make_unique<pb::RecorderSnapshot>(state.recorder());
  }
  core_.peer_answer(state.query(), view);
}

void Session::on_bridge_message(const pb::BridgeMessage& message) {
  if (ended_) return;
  Side side{};
  if (message.has_leg_attached()) {
    const auto& said = message.leg_attached();
    if (!read_side(said.side(), side)) return;
    core_.peer_attached(side, said.generation(), said.planned(), said.query());
  } else if (message.has_session_state()) {
    take_session_state(message.session_state());
  } else if (message.has_leg_gone()) {
    if (!read_side(message.leg_gone().side(), side)) return;
    core_.peer_leg_gone(side, message.leg_gone().generation(), message.leg_gone().still());
  } else if (message.has_leg_drained()) {
    if (!read_side(message.leg_drained().side(), side)) return;
    core_.peer_leg_drained(side, message.leg_drained().clean());
  } else if (message.has_recorder_done()) {
    core_.recorder_done();
    if (tap_) {
      tap_->merge(message.recorder_done().recorder(), shard_.batch());
      tell_recorded();
    } else {
      known_ = std::make_unique<pb::RecorderSnapshot>(message.recorder_done().recorder());
    }
  } else if (message.has_flow()) {
    if (!read_side(message.flow().side(), side)) return;
    peer_blocks_[index(side)] = message.flow().paused();
  }
  perform();
}

}  // namespace everspan::relay
