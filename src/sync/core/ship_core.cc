// ShipLeader: sending. Finding where to begin is in ship_compare.cc.
#include "sync/core/ship_core.h"

#include <algorithm>
#include <utility>

namespace everspan::sync {

std::string_view word(ShipLeader::State state) {
  switch (state) {
    case ShipLeader::State::off:
      return "off";
    case ShipLeader::State::comparing:
      return "comparing";
    case ShipLeader::State::cutting:
      return "cutting";
    case ShipLeader::State::catching_up:
      return "catching_up";
    case ShipLeader::State::live:
      return "live";
    case ShipLeader::State::snapshot:
      return "snapshot";
    case ShipLeader::State::stopped:
      return "stopped";
    case ShipLeader::State::diverged:
      return "diverged";
  }
  return "?";
}

std::vector<ShipLeader::Action> ShipLeader::handle(const Event& event) {
  std::visit([this](const auto& e) { on(e); }, event);
  return std::exchange(actions_, {});
}

void ShipLeader::on(const Connected& event) {
  link_ = event.link;
  own_base_ = event.own_base;
  own_head_ = event.own_head;
  if (last_batch_.heads.empty() || last_batch_.heads.back() != own_head_) last_batch_ = {};
  if (event.own_committed.revision > committed_.head.revision)
    committed_ = {event.own_committed, event.stores};
  peer_base_ = event.base;
  peer_committed_ = event.committed;
  peer_yields_ = event.yields;
  one_lineage_ = event.own_lineage == event.lineage;
  durable_ = {};
  start_over(event.head);
}

void ShipLeader::on(const Disconnected&) {
  state_ = State::off;
  drop_in_flight();
  durable_ = {};
}

void ShipLeader::drop_in_flight() {
  in_flight_.clear();
  in_flight_bytes_ = 0;
  loading_ = false;
}

// ---- sending ----

void ShipLeader::agreed(const store::LogHead& point) {
  sent_ = point;
  peer_head_ = point;
  state_ = State::catching_up;
  durable_ = point.revision;
  act(Durable{point});  // S3: its own word, and the same history.
  catch_up();
}

void ShipLeader::catch_up() {
  if (state_ != State::catching_up) return;
  if (sent_.revision >= own_head_.revision) {
    state_ = State::live;
    act(CaughtUp{});
    const bool sent = committed_.head.revision <= sent_.revision;  // S7
    if (committed_.head.revision.value > 0 && sent)
      act(SendCommitted{committed_.head, committed_.stores});
    return;
  }
  if (loading_ || !room() || send_last_batch()) return;
  loading_ = true;
  act(Load{sent_.revision, std::min(kBatchEntries, kInFlightEntries - in_flight_.size()),
           kBatchBytes});
}

// S4: the only entries that the log may not give yet.
bool ShipLeader::send_last_batch() {
  const Appended& batch = last_batch_;
  std::size_t from = 0;
  if (batch.heads.empty()) return false;
  if (batch.before != sent_) {
    const auto at = std::ranges::find(batch.heads, sent_);
    if (at == batch.heads.end()) return false;
    from = static_cast<std::size_t>(at - batch.heads.begin()) + 1;
  }
  send(sent_, batch.heads.data() + from, batch.entries.data() + from, batch.heads.size() - from);
  catch_up();
  return true;
}

// In messages of a bounded size.
void ShipLeader::send(const store::LogHead& before, const store::LogHead* heads,
                      const std::string* entries, std::size_t count) {
  SendEntries message{before, {}};
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool full =
        bytes + entries[i].size() > kBatchBytes || message.entries.size() >= kBatchEntries;
    if (!message.entries.empty() && full) {
      act(std::exchange(message, SendEntries{heads[i - 1], {}}));
      bytes = 0;
    }
    bytes += entries[i].size();
    message.entries.push_back(entries[i]);
    in_flight_.push_back({heads[i], entries[i].size()});
    in_flight_bytes_ += entries[i].size();
    sent_ = heads[i];
  }
  if (!message.entries.empty()) act(std::move(message));
}

void ShipLeader::on(const Appended& event) {
  if (event.heads.empty()) return;
  own_head_ = event.heads.back();
  last_batch_ = event;
  if (state_ != State::live && state_ != State::catching_up) return;
  if (state_ == State::live && event.before == sent_ && room())
    return send(event.before, event.heads.data(), event.entries.data(), event.heads.size());
  state_ = State::catching_up;  // S4
  catch_up();
}

void ShipLeader::on(const TakenBack& event) {
  own_head_ = event.head;
  last_batch_ = {};
  durable_ = std::min(durable_, event.head.revision);
  switch (state_) {
    case State::comparing:
      return start_over(peer_head_);  // What was compared may be what is gone.
    case State::catching_up:
    case State::live:
      if (sent_.revision > event.head.revision) return cut(event.head);  // S5
      if (sent_.revision == event.head.revision) catch_up();
      return;
    case State::off:
    case State::cutting:  // Only what is durable here is cut to.
    case State::snapshot:
    case State::stopped:
    case State::diverged:
      return;
  }
}

void ShipLeader::on(const Committed& event) {
  committed_ = event;
  // Further behind it could not take it: it is told when it has caught up.
  if (state_ == State::live) act(SendCommitted{event.head, event.stores});
}

void ShipLeader::on(const Loaded& event) {
  if (state_ != State::catching_up || !loading_) return;
  if (event.before.revision != sent_.revision) return;  // Of an earlier Load.
  loading_ = false;
  if (event.compacted) {
    why_ = "this node's log does not reach back to what the other has";
    return one_lineage_ || peer_committed_.value == 0 || peer_yields_ ? send_snapshot(peer_yields_)
                                                                      : no_common_point();
  }
  if (event.before != sent_) return start_over(peer_head_);
  if (event.heads.empty()) return;  // Not there yet: the next Appended or TryAgain.
  send(sent_, event.heads.data(), event.entries.data(), event.heads.size());
  if (event.foldable.revision.value > 0) act(SendCommitted{event.foldable, event.stores});
  catch_up();
}

void ShipLeader::on(const Acked& event) {
  if (!current(event.link)) return;
  if (state_ == State::cutting) {
    // Its head before the cut was made may still be on the way.
    if (event.head == cut_to_) agreed(cut_to_);
    return;
  }
  if (state_ != State::live && state_ != State::catching_up) return;
  const auto at =
      std::ranges::find_if(in_flight_, [&](const Sent& sent) { return sent.head == event.head; });
  if (at == in_flight_.end()) return;  // Acknowledged before, or not of this history (S3).
  for (auto one = in_flight_.begin(); one != at + 1; ++one) in_flight_bytes_ -= one->bytes;
  in_flight_.erase(in_flight_.begin(), at + 1);
  peer_head_ = event.head;
  durable_ = event.head.revision;
  act(Durable{event.head});
  catch_up();
}

void ShipLeader::on(const Refused& event) {
  if (!current(event.link)) return;
  if (state_ == State::diverged || state_ == State::snapshot || state_ == State::off) return;
  if (state_ == State::cutting && event.code == "committed") return differs(event.message, cut_to_);
  if (event.code == "not_next" || event.code == "not_ancestor") return start_over(event.head);
  why_ = event.code + ": " + event.message;
  drop_in_flight();
  peer_head_ = event.head;
  state_ = State::stopped;
}

// ---- a copy instead of entries ----

void ShipLeader::send_snapshot(bool replaces) {
  drop_in_flight();
  state_ = State::snapshot;
  snapshot_failed_ = false;
  snapshot_replaces_ = replaces;
  act(SendSnapshot{replaces});
}

void ShipLeader::on(const SnapshotTaken& event) {
  if (!current(event.link) || state_ != State::snapshot) return;
  peer_base_ = event.head;
  peer_committed_ = event.head.revision;
  peer_yields_ = false;
  one_lineage_ = true;
  start_over(event.head);
}

void ShipLeader::on(const SnapshotFailed& event) {
  if (!current(event.link) || state_ != State::snapshot) return;
  why_ = event.why;
  snapshot_failed_ = true;
}

void ShipLeader::on(const TryAgain&) {
  if (state_ == State::stopped) return start_over(peer_head_);
  if (state_ == State::snapshot && snapshot_failed_) return send_snapshot(snapshot_replaces_);
  catch_up();
}

}  // namespace everspan::sync
