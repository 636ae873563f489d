#include "relay/core/session_core.h"

#include <algorithm>
#include <utility>

namespace everspan::relay {

std::vector<Action> SessionCore::take_actions() {
  return std::exchange(actions_, {});
}

std::uint64_t SessionCore::highest(Side side) const {
  auto top = at(side).highest;
  for (const auto& waiting : pending_)
    if (waiting.side == side) top = std::max(top, waiting.generation);
  return top;
}

bool SessionCore::has_leg_anywhere() const {
  return at(Side::console).where != Where::nowhere || at(Side::agent).where != Where::nowhere ||
         !pending_.empty();
}

bool SessionCore::takes_over(Side side) const {
  return at(side).where == Where::peer && std::ranges::any_of(pending_, [&](const Pending& waits) {
           return waits.side == side && waits.query != 0;
         });
}

bool SessionCore::may_forget() const {
  bool at_peer = false;
  for (const auto& side : sides_) {
    if (side.where == Where::here || !side.draining.empty()) return false;
    at_peer |= side.where == Where::peer;
  }
  return at_peer && pending_.empty() && !recording_;
}

// ---- Attaching ----

void SessionCore::attach(LegId leg, Side side, std::uint64_t generation, AttachReason reason) {
  if (generation <= highest(side)) return act(Refuse{leg, "superseded"});
  refuse_pending_below(side, generation);
  Pending waiting{leg, side, generation, reason, 0, false, false};
  if (peer_connected_) {
    waiting.query = next_query_++;
    waiting.asked = true;
    act(AskPeer{side, generation, reason == AttachReason::planned, waiting.query});
  }
  pending_.push_back(waiting);
  proceed(pending_.size() - 1);
}

void SessionCore::refuse_pending_below(Side side, std::uint64_t generation) {
  for (const auto& waiting : pending_)
    if (waiting.side == side && waiting.generation < generation)
      act(Refuse{waiting.leg, "superseded"});
  std::erase_if(pending_, [&](const Pending& waiting) {
    return waiting.side == side && waiting.generation < generation;
  });
}

// The next thing that this attach has to wait for, or its completion.
void SessionCore::proceed(std::size_t i) {
  auto& waiting = pending_[i];
  if (waiting.query != 0 || waiting.recovering) return;
  if (!known_ && waiting.reason != AttachReason::first) {
    const bool asked = std::ranges::any_of(pending_, &Pending::recovering);
    waiting.recovering = true;
    if (!asked) act(Recover{});
    return;
  }
  const auto ready = waiting;
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
  complete(ready);
}

void SessionCore::recovered() {
  known_ = true;
  for (auto& waiting : pending_) waiting.recovering = false;
  for (std::size_t i = pending_.size(); i-- > 0;) proceed(i);
}

void SessionCore::retire_current(Side side, bool planned, bool successor_at_peer) {
  auto& state = at(side);
  if (state.where != Where::here) return;
  const auto leg = std::exchange(state.leg, 0);
  const bool barrier_seen = std::exchange(state.barrier_seen, false);
  state.where = Where::nowhere;
  if (!planned) return act(Supersede{leg});
  act(Drain{leg});
  const Draining old{leg, state.generation, successor_at_peer};
  if (barrier_seen) {
    act(CloseDrained{leg});
    drained(side, old, true);
  } else {
    state.draining.push_back(old);
  }
}

void SessionCore::complete(const Pending& attach) {
  auto& mine = at(attach.side);
  const auto& theirs = at(other(attach.side));
  const bool planned = attach.reason == AttachReason::planned;
  const bool old_leg = mine.where == Where::here || !mine.draining.empty() || mine.draining_at_peer;
  // A planned move whose old leg nobody has is a loss that its end does not know of yet.
  const bool lost = attach.reason == AttachReason::lost || (planned && !old_leg) ||
                    (attach.reason == AttachReason::first && mine.generation != 0);
  retire_current(attach.side, planned, false);
  mine.generation = attach.generation;
  mine.highest = std::max(mine.highest, attach.generation);
  mine.where = Where::here;
  mine.leg = attach.leg;
  mine.barrier_seen = false;
  known_ = true;
  if (attach.side == Side::agent) recording_ = true;
  act(Accept{attach.leg, attach.side, attach.generation, theirs.where != Where::nowhere});
  if (theirs.where == Where::nowhere) {
    unsynced_ |= lost;
    return;
  }
  const bool both = unsynced_ || (lost && attach.reason != AttachReason::lost);
  unsynced_ = false;
  act(TellAttached{other(attach.side), attach.generation, lost || both});
  if (both) act(TellAttached{attach.side, theirs.generation, true});
}

// ---- Legs here ----

void SessionCore::leg_lost(LegId leg) {
  const auto waiting = std::ranges::find(pending_, leg, &Pending::leg);
  if (waiting != pending_.end()) {
    auto& state = at(waiting->side);
    // Numbers are not given twice, even to an attach that came to nothing.
    state.highest = std::max(state.highest, waiting->generation);
    const auto still = state.where == Where::here ? state.generation : 0;
    if (waiting->asked && peer_connected_)
      act(SendLegGone{waiting->side, waiting->generation, still});
    pending_.erase(waiting);
    return;
  }
  for (const auto side : {Side::console, Side::agent}) {
    auto& state = at(side);
    if (state.where == Where::here && state.leg == leg) {
      const auto gone = state.generation;
      state.where = Where::nowhere;
      state.leg = 0;
      state.barrier_seen = false;
      const bool back = reinstate(side);
      if (peer_connected_) act(SendLegGone{side, gone, back ? state.generation : 0});
      if (back) return resync();
      if (at(other(side)).where != Where::nowhere) act(TellGone{other(side)});
      return;
    }
    const auto old = std::ranges::find(state.draining, leg, &Draining::leg);
    if (old == state.draining.end()) continue;
    const auto gone = *old;
    state.draining.erase(old);
    drained(side, gone, false);
    return;
  }
}

bool SessionCore::reinstate(Side side) {
  auto& state = at(side);
  const auto newest = std::ranges::max_element(state.draining, {}, &Draining::generation);
  if (newest == state.draining.end()) return false;
  state.where = Where::here;
  state.leg = newest->leg;
  state.generation = newest->generation;
  state.draining.erase(newest);
  act(Reinstate{state.leg});
  if (side == Side::agent) recording_ = true;
  return true;
}

void SessionCore::barrier(LegId leg) {
  for (const auto side : {Side::console, Side::agent}) {
    auto& state = at(side);
    if (state.where == Where::here && state.leg == leg) state.barrier_seen = true;
    const auto old = std::ranges::find(state.draining, leg, &Draining::leg);
    if (old == state.draining.end()) continue;
    const auto gone = *old;
    state.draining.erase(old);
    act(CloseDrained{leg});
    drained(side, gone, true);
    return;
  }
}

void SessionCore::drained(Side side, const Draining& leg, bool clean) {
  if (leg.successor_at_peer && peer_connected_) {
    act(SendLegDrained{side, clean});
  } else if (!clean) {
    resync();
  }
  hand_over_recorder_if_moved();
}

void SessionCore::resync() {
  const auto& console = at(Side::console);
  const auto& agent = at(Side::agent);
  if (console.where == Where::nowhere || agent.where == Where::nowhere) {
    unsynced_ = true;
    return;
  }
  unsynced_ = false;
  act(TellAttached{Side::console, agent.generation, true});
  act(TellAttached{Side::agent, console.generation, true});
}

void SessionCore::frames_dropped() {
  unsynced_ = true;
}

void SessionCore::hand_over_recorder_if_moved() {
  const auto& agent = at(Side::agent);
  if (!recording_ || agent.where != Where::peer || !agent.draining.empty()) return;
  recording_ = false;
  act(HandOverRecorder{});
}

// ---- The other process ----

void SessionCore::peer_connected(bool connected) {
  if (peer_connected_ == connected) return;
  peer_connected_ = connected;
  if (connected) return;
  bool went = false;
  for (const auto side : {Side::console, Side::agent}) {
    auto& state = at(side);
    for (auto& old : state.draining) old.successor_at_peer = false;
    unsynced_ |= std::exchange(state.draining_at_peer, false);
    if (state.where != Where::peer) continue;
    state.where = Where::nowhere;
    if (reinstate(side))
      unsynced_ = true;
    else
      went = true;
  }
  for (auto& waiting : pending_) waiting.query = 0;
  // The other process recorded: what it held last is in its files only.
  if (!recording_) known_ = false;
  if (went)
    for (const auto side : {Side::console, Side::agent})
      if (at(side).where == Where::here) act(TellGone{side});
  if (std::exchange(awaits_recorder_, false) && recording_) act(Recover{});
  for (std::size_t i = pending_.size(); i-- > 0;) proceed(i);
  const bool both = at(Side::console).where == Where::here && at(Side::agent).where == Where::here;
  if (unsynced_ && both) resync();
}

void SessionCore::take_peer_side(Side side, const SideView& view) {
  auto& state = at(side);
  state.highest = std::max(state.highest, view.highest);
  const bool ours = state.where == Where::here && view.generation <= state.generation;
  if (!view.here || ours) return;
  retire_current(side, false, true);
  refuse_pending_below(side, view.generation);
  state.generation = view.generation;
  state.where = Where::peer;
}

void SessionCore::peer_answer(std::uint64_t query, const PeerView& view) {
  const auto found = std::ranges::find(pending_, query, &Pending::query);
  if (query == 0 || found == pending_.end()) return;
  known_ |= view.known;
  unsynced_ |= view.unsynced;
  const auto side = found->side;
  const auto leg = found->leg;
  found->query = 0;
  take_peer_side(other(side), view.sides[index(other(side))]);
  const auto& own = view.sides[index(side)];
  const auto again = std::ranges::find(pending_, leg, &Pending::leg);
  if (own.highest > again->generation) {
    act(Refuse{leg, "superseded"});
    pending_.erase(again);
    take_peer_side(side, own);
    return;
  }
  at(side).draining_at_peer |= own.draining;
  awaits_recorder_ |= view.known;
  proceed(static_cast<std::size_t>(again - pending_.begin()));
}

void SessionCore::peer_silent(std::uint64_t query) {
  peer_answer(query, PeerView{});
}

void SessionCore::peer_attached(Side side, std::uint64_t generation, bool planned,
                                std::uint64_t query) {
  auto& state = at(side);
  if (generation > highest(side)) {
    refuse_pending_below(side, generation);
    retire_current(side, planned, true);
    for (auto& old : state.draining) old.successor_at_peer = true;
    state.generation = generation;
    state.highest = generation;
    state.where = Where::peer;
  }
  act(AnswerPeer{query});
  hand_over_recorder_if_moved();
}

PeerView SessionCore::answer() {
  PeerView view;
  view.known = known_;
  view.unsynced = std::exchange(unsynced_, false);
  for (const auto side : {Side::console, Side::agent}) {
    auto& said = view.sides[index(side)];
    said.generation = at(side).generation;
    said.highest = highest(side);
    said.here = at(side).where == Where::here;
    said.draining = !at(side).draining.empty();
  }
  return view;
}

void SessionCore::peer_leg_gone(Side side, std::uint64_t generation, std::uint64_t still) {
  auto& state = at(side);
  if (state.where != Where::peer || state.generation != generation) return;
  if (still != 0) {
    state.generation = still;  // The peer process tells both ends to resume.
    return;
  }
  state.where = Where::nowhere;
  if (reinstate(side)) {
    if (peer_connected_) act(SendLegGone{side, generation, state.generation});
    return resync();
  }
  if (at(other(side)).where == Where::here) act(TellGone{other(side)});
}

void SessionCore::peer_leg_drained(Side side, bool clean) {
  at(side).draining_at_peer = false;
  if (!clean) resync();
}

void SessionCore::recorder_done() {
  awaits_recorder_ = false;
}

}  // namespace everspan::relay
